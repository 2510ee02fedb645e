/* SPDX-License-Identifier: MIT
 *
 * Views of sessions and of what is in them.
 */
#include <errno.h>

#include "lib/view.h"
#include "moed/v1/session.pb-c.h"

static int build_sessions(struct view *view, Moed__V1__Session *const *from, size_t n)
{
    const struct moed_session **list = view_lay(view, n, sizeof *list);
    struct moed_session *session = view_lay(view, n, sizeof *session);
    if (!list || !session)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const Moed__V1__Session *s = from[i];
        session[i] = (struct moed_session){
            .size = sizeof session[i],
            .id = view_word(s->id),
            .name = view_word(s->name),
            .revision = s->revision,
            .model = view_word(s->model),
            .is_raw = s->raw,
            .messages = s->messages,
            .tokens = s->tokens,
            .bytes = s->bytes,
            .created = s->created,
            .used = s->used,
            .is_busy = s->busy,
            .is_cut = s->cut,
            .unkept = view_word(s->unkept),
            .is_pinned = s->pinned,
            .is_parked = s->parked,
            .memory_bytes = s->memory_bytes,
            .disk_bytes = s->disk_bytes,
        };
        list[i] = &session[i];
    }
    view->sessions = list;
    view->n_sessions = n;
    return 0;
}

int view_build_session(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    Moed__V1__Session *const from = (Moed__V1__Session *)message;
    return build_sessions(view, &from, 1);
}

int view_build_sessions(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    (void)id;
    const Moed__V1__SessionListResponse *from = (const void *)message;
    return build_sessions(view, from->sessions, from->n_sessions);
}

static const struct moed_tool_call *const *lay_calls(struct view *view,
                                                     const Moed__V1__Message *from)
{
    const struct moed_tool_call **list = view_lay(view, from->n_calls, sizeof *list);
    struct moed_tool_call *call = view_lay(view, from->n_calls, sizeof *call);
    if (!list || !call)
        return NULL;
    for (size_t i = 0; i < from->n_calls; i++) {
        const Moed__V1__ToolCall *c = from->calls[i];
        call[i] = (struct moed_tool_call){
            .size = sizeof call[i],
            .name = view_word(c->name),
            .arguments = view_word(c->arguments),
            .id = view_word(c->id),
        };
        list[i] = &call[i];
    }
    return list;
}

int view_build_shown(struct view *view, const ProtobufCMessage *message, const uint8_t *id)
{
    const Moed__V1__SessionShowResponse *from = (const void *)message;
    const struct moed_message **list = view_lay(view, from->n_messages, sizeof *list);
    struct moed_message *said = view_lay(view, from->n_messages, sizeof *said);
    if (!list || !said)
        return -ENOMEM;
    for (size_t i = 0; i < from->n_messages; i++) {
        const Moed__V1__Message *m = from->messages[i];
        said[i] = (struct moed_message){
            .size = sizeof said[i],
            .role = (enum moed_role)m->role,
            .content = view_word(m->content),
            .reasoning = view_word(m->reasoning),
            .tool_call_id = view_word(m->tool_call_id),
            .calls = lay_calls(view, m),
            .n_calls = m->n_calls,
            .tokens = m->tokens,
            .n_tokens = m->n_tokens,
            .finish = (enum moed_finish)m->finish,
            .is_cut = m->prefix,
        };
        if (!said[i].calls)
            return -ENOMEM;
        list[i] = &said[i];
    }
    view->messages = list;
    view->n_messages = from->n_messages;
    view->next_message = from->next;
    return from->session ? view_build_session(view, &from->session->base, id) : 0;
}
