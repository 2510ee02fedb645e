/* SPDX-License-Identifier: MIT
 *
 * The methods of sessions.
 */

#include "lib/conn.h"
#include "lib/method.h"
#include "lib/request.h"
#include "moed/v1/session.pb-c.h"

static int start(struct moed *moed, const char *method, const ProtobufCMessage *request,
                 struct moed_call **ret, struct moed_error *error)
{
    return method_start(moed, method, false, request, moed->timeout_ms, ret, error);
}

/* The two strings that most of them have. */
static int check(const char *session, const char *name, struct moed_error *error)
{
    int r = method_check(session, "session", error);
    return r < 0 ? r : method_check(name, "name", error);
}

/* A request within another, and so in no session by itself; NULL without one. */
static Moed__V1__GenerateRequest *borrow(const struct moed_request *request,
                                         struct request_part *part)
{
    if (!request)
        return NULL;
    request_borrow(request, part);
    part->part.in_session = NULL;
    return &part->part;
}

int moed_session_create(struct moed *moed, const char *name, const struct moed_request *settings,
                        struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionCreateRequest request = MOED__V1__SESSION_CREATE_REQUEST__INIT;
    struct request_part part;
    request.name = (char *)name;
    int r = check(NULL, name, error);
    request.settings = borrow(settings, &part);
    return r < 0 ? r : start(moed, "SessionCreate", &request.base, ret, error);
}

int moed_session_list(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionListRequest request = MOED__V1__SESSION_LIST_REQUEST__INIT;
    return start(moed, "SessionList", &request.base, ret, error);
}

int moed_session_show(struct moed *moed, const char *session, uint32_t first, bool tokens,
                      struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionShowRequest request = MOED__V1__SESSION_SHOW_REQUEST__INIT;
    int r = check(session, NULL, error);
    request.session = (char *)session;
    request.has_first = request.has_tokens = true;
    request.first = first;
    request.tokens = tokens;
    return r < 0 ? r : start(moed, "SessionShow", &request.base, ret, error);
}

int moed_session_append(struct moed *moed, const char *session, uint64_t revision,
                        const struct moed_request *more, struct moed_call **ret,
                        struct moed_error *error)
{
    Moed__V1__SessionAppendRequest request = MOED__V1__SESSION_APPEND_REQUEST__INIT;
    struct request_part part;
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    int r = check(session, NULL, error);
    request.more = borrow(more, &part);
    return r < 0 ? r : start(moed, "SessionAppend", &request.base, ret, error);
}

static Moed__V1__SessionPlace place_of(uint32_t messages, uint64_t tokens)
{
    Moed__V1__SessionPlace place = MOED__V1__SESSION_PLACE__INIT;
    place.has_messages = place.has_tokens = true;
    place.messages = messages;
    place.tokens = tokens;
    return place;
}

int moed_session_rewind(struct moed *moed, const char *session, uint64_t revision,
                        uint32_t messages, uint64_t tokens, struct moed_call **ret,
                        struct moed_error *error)
{
    Moed__V1__SessionRewindRequest request = MOED__V1__SESSION_REWIND_REQUEST__INIT;
    Moed__V1__SessionPlace place = place_of(messages, tokens);
    int r = check(session, NULL, error);
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    request.to = &place;
    return r < 0 ? r : start(moed, "SessionRewind", &request.base, ret, error);
}

int moed_session_fork(struct moed *moed, const char *session, uint64_t revision, uint32_t messages,
                      uint64_t tokens, const char *name, struct moed_call **ret,
                      struct moed_error *error)
{
    Moed__V1__SessionForkRequest request = MOED__V1__SESSION_FORK_REQUEST__INIT;
    Moed__V1__SessionPlace place = place_of(messages, tokens);
    int r = check(session, name, error);
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    request.at = messages == MOED_ALL_MESSAGES ? NULL : &place;
    request.name = (char *)name;
    return r < 0 ? r : start(moed, "SessionFork", &request.base, ret, error);
}

int moed_session_update(struct moed *moed, const char *session, uint64_t revision, const char *name,
                        const struct moed_request *settings, struct moed_call **ret,
                        struct moed_error *error)
{
    Moed__V1__SessionUpdateRequest request = MOED__V1__SESSION_UPDATE_REQUEST__INIT;
    struct request_part part;
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    request.name = (char *)name;
    int r = check(session, name, error);
    request.settings = borrow(settings, &part);
    return r < 0 ? r : start(moed, "SessionUpdate", &request.base, ret, error);
}

int moed_session_pin(struct moed *moed, const char *session, uint64_t revision, bool pin,
                     struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionPinRequest request = MOED__V1__SESSION_PIN_REQUEST__INIT;
    int r = check(session, NULL, error);
    request.session = (char *)session;
    request.has_revision = request.has_unpin = true;
    request.revision = revision;
    request.unpin = !pin;
    return r < 0 ? r : start(moed, "SessionPin", &request.base, ret, error);
}

int moed_session_park(struct moed *moed, const char *session, uint64_t revision,
                      struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionParkRequest request = MOED__V1__SESSION_PARK_REQUEST__INIT;
    int r = check(session, NULL, error);
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    return r < 0 ? r : start(moed, "SessionPark", &request.base, ret, error);
}

int moed_session_resume(struct moed *moed, const char *session, uint64_t revision,
                        struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionResumeRequest request = MOED__V1__SESSION_RESUME_REQUEST__INIT;
    int r = check(session, NULL, error);
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    return r < 0 ? r : start(moed, "SessionResume", &request.base, ret, error);
}

int moed_session_delete(struct moed *moed, const char *session, uint64_t revision,
                        struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__SessionDeleteRequest request = MOED__V1__SESSION_DELETE_REQUEST__INIT;
    int r = check(session, NULL, error);
    request.session = (char *)session;
    request.has_revision = true;
    request.revision = revision;
    return r < 0 ? r : start(moed, "SessionDelete", &request.base, ret, error);
}
