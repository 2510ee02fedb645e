/* SPDX-License-Identifier: MIT */
#include "moectl/held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "moed/v1/session.pb-c.h"

static int append(struct held *held, const Moed__V1__GenerateRequest *part)
{
    size_t n = moed__v1__generate_request__get_packed_size(part);
    uint8_t *more = realloc(held->bytes, held->n + n + 1);
    if (!more)
        return -ENOMEM;
    held->bytes = more;
    held->n += moed__v1__generate_request__pack(part, more + held->n);
    return 0;
}

/* The model, the settings and the messages, in the order in which the daemon takes them. Raw text
 * is not needed: there the prompt's tokens are the request. */
static int add(struct held *held, const Moed__V1__SessionShowResponse *shown, bool is_first)
{
    Moed__V1__GenerateRequest part = MOED__V1__GENERATE_REQUEST__INIT;
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    part.model = shown->session->model;
    held->revision = shown->session->revision;
    int r = is_first ? append(held, &part) : 0;
    if (r == 0 && is_first && shown->settings)
        r = append(held, shown->settings);
    if (shown->session->raw || shown->n_messages == 0)
        return r;
    chat.messages = shown->messages;
    chat.n_messages = shown->n_messages;
    part.model = NULL;
    part.chat = &chat;
    return r == 0 ? append(held, &part) : r;
}

/* One answer of showing; what is asked for next in *first, 0: nothing. Negative errno. */
static int take(struct held *held, const struct moed_call *call, uint32_t *first)
{
    size_t n;
    const void *bytes = moed_call_bytes(call, &n);
    Moed__V1__SessionShowResponse *shown = moed__v1__session_show_response__unpack(NULL, n, bytes);
    if (!shown)
        return -EBADMSG;
    int r = shown->session ? add(held, shown, *first == 0) : -EBADMSG;
    *first = shown->next;
    moed__v1__session_show_response__free_unpacked(shown, NULL);
    return r;
}

static int fetch_some(const struct options *o, struct moed *moed, const char *session,
                      struct held *ret, uint32_t *first)
{
    Moed__V1__SessionShowRequest request = MOED__V1__SESSION_SHOW_REQUEST__INIT;
    struct moed_error error = MOED_ERROR_INIT;
    OWN(moed_call) *call = NULL;
    request.session = (char *)session;
    request.has_first = request.has_tokens = request.tokens = true;
    request.first = *first;
    size_t n = moed__v1__session_show_request__get_packed_size(&request);
    OWN_MEM uint8_t *bytes = malloc(n + 1);
    if (!bytes)
        return link_error(o, "no memory for the session");
    moed__v1__session_show_request__pack(&request, bytes);
    int r = moed_raw(moed, "SessionShow", 0, bytes, n, &call, &error);
    if (r == 0)
        r = moed_wait(call, &error);
    if (r < 0) {
        *first = 0;
        return error.status == MOED_NOT_FOUND ? 0 : link_failed(o, &error);
    }
    r = take(ret, call, first);
    return r < 0 ? link_error(o, "the session cannot be taken in: %s", strerror(-r)) : 0;
}

int held_fetch(const struct options *o, struct moed *moed, const char *session, struct held *ret)
{
    uint32_t first = 0;
    int r;
    *ret = (struct held){0};
    do
        r = fetch_some(o, moed, session, ret, &first);
    while (r == 0 && first > 0);
    return r;
}

void held_fini(struct held *held)
{
    free(held->bytes);
    *held = (struct held){0};
}
