/* SPDX-License-Identifier: MIT
 *
 * Requests on the wire: cut into parts, since a prompt may be larger than a frame; and as one piece
 * of bytes, for those who keep them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/request.h"
#include "moed/v1/engine.pb-c.h"

typedef Moed__V1__GenerateRequest Part;

enum {
    PART_BYTES = 1 << 20,
    PART_IDS = 100000, /* 10 bytes each at most */
    PART_FIELDS = 900, /* of messages: the daemon counts fields before it unpacks */
};

struct slice { /* the prompt's place in one part; the part's pointers lead here */
    Moed__V1__Chat chat;
    Moed__V1__Tokens tokens;
    char *text; /* on the heap */
};

/* At most PART_BYTES from `at` on of the text and then of the suffix, ended between characters. */
static int slice_text(const struct moed_request *request, size_t *at, struct slice *slice,
                      Part *part)
{
    bool is_suffix = *at >= request->n_text && request->n_suffix > 0;
    size_t all = request->n_text + request->n_suffix;
    size_t n = (is_suffix ? all : request->n_text) - *at;
    const char *from = n == 0      ? ""
                       : is_suffix ? request->suffix + (*at - request->n_text)
                                   : request->text + *at;
    if (n > PART_BYTES) {
        n = PART_BYTES;
        while (((unsigned char)from[n] & 0xc0) == 0x80)
            n--;
    }
    slice->text = malloc(n + 1);
    if (!slice->text)
        return -ENOMEM;
    if (n > 0)
        memcpy(slice->text, from, n);
    slice->text[n] = '\0';
    *(is_suffix ? &part->suffix : &part->text) = slice->text;
    *at += n;
    return *at == all;
}

static int slice_ids(const struct moed_request *request, size_t *at, struct slice *slice,
                     Part *part)
{
    size_t n = request->n_ids - *at;
    if (n > PART_IDS)
        n = PART_IDS;
    moed__v1__tokens__init(&slice->tokens);
    slice->tokens.ids = request->ids + *at;
    slice->tokens.n_ids = n;
    part->tokens = &slice->tokens;
    *at += n;
    return *at == request->n_ids;
}

static int slice_messages(const struct moed_request *request, size_t *at, struct slice *slice,
                          Part *part)
{
    bool is_first = *at == 0;
    size_t bytes = 0, fields = 0;
    slice->chat = request->chat;
    slice->chat.messages = request->messages + *at;
    if (is_first && request->tools) {
        slice->chat.tools = request->tools;
        bytes = strlen(request->tools);
    }
    for (; *at < request->n_messages; ++*at) {
        const Moed__V1__Message *m = request->messages[*at];
        bytes += moed__v1__message__get_packed_size(m);
        fields += 4 + 3 * m->n_calls;
        if (slice->chat.n_messages > 0 && (bytes > PART_BYTES || fields > PART_FIELDS))
            break;
        slice->chat.n_messages++;
    }
    part->chat = &slice->chat;
    return *at == request->n_messages;
}

/* Messages, or what goes with those that a session has. */
static bool has_chat(const struct moed_request *request)
{
    return request->kind == PROMPT_CHAT || request->chat.has_thinking || request->chat.has_effort ||
           request->tools;
}

/* Puts the next slice into the part; 1: it was the last. */
static int next_slice(const struct moed_request *request, size_t *at, struct slice *slice,
                      Part *part)
{
    switch (request->kind) {
    case PROMPT_TEXT:
        return slice_text(request, at, slice, part);
    case PROMPT_IDS:
        return slice_ids(request, at, slice, part);
    case PROMPT_CHAT:
        return slice_messages(request, at, slice, part);
    case PROMPT_NONE: /* the daemon says what is missing, if anything is */
        return has_chat(request) ? slice_messages(request, at, slice, part) : 1;
    }
    return 1;
}

static int put_whole(struct out_list *list, uint32_t stream, const Part *part)
{
    size_t n = moed__v1__generate_request__get_packed_size(part);
    OWN_MEM uint8_t *bytes = malloc(n + 1);
    if (!bytes)
        return -ENOMEM;
    moed__v1__generate_request__pack(part, bytes);
    return session_put_request(list, stream, TTRPC_REMOTE_CLOSED, "Generate", bytes, n, 0);
}

int request_frames(const struct moed_request *request, uint32_t stream, struct out_list *ret)
{
    Part part = request->fields;
    Moed__V1__Sampling sampling = request->sampling;
    part.sampling = request->has_sampling ? &sampling : NULL;
    size_t at = 0;
    for (bool is_first = true;; is_first = false) {
        struct slice slice = {0};
        int is_last = next_slice(request, &at, &slice, &part);
        int r = is_last < 0 ? is_last : 0;
        if (r == 0 && is_first && is_last)
            r = put_whole(ret, stream, &part);
        else if (r == 0 && is_first)
            r = session_put_request(ret, stream, TTRPC_REMOTE_OPEN, "Generate", NULL, 0, 0);
        if (r == 0 && !(is_first && is_last))
            r = session_put_data(ret, stream, 0, &part.base);
        free(slice.text);
        if (r < 0 || (is_first && is_last))
            return r;
        if (is_last)
            return session_put_data(ret, stream, 0, NULL);
        part = (Part)MOED__V1__GENERATE_REQUEST__INIT; /* the rest is prompt alone */
    }
}

int request_pack_render(const struct moed_request *request, uint8_t **ret, size_t *n)
{
    Moed__V1__RenderRequest render = MOED__V1__RENDER_REQUEST__INIT;
    Moed__V1__Chat chat = request->chat;
    render.model = request->fields.model;
    chat.messages = request->messages;
    chat.n_messages = request->n_messages;
    chat.tools = request->tools;
    render.chat = &chat;
    *n = moed__v1__render_request__get_packed_size(&render);
    *ret = malloc(*n + 1);
    if (!*ret)
        return -ENOMEM;
    moed__v1__render_request__pack(&render, *ret);
    return 0;
}

/* ---- as one piece */
void request_borrow(const struct moed_request *request, struct request_part *ret)
{
    *ret = (struct request_part){
        .part = request->fields, .sampling = request->sampling, .chat = request->chat};
    moed__v1__tokens__init(&ret->tokens);
    ret->tokens.ids = request->ids;
    ret->tokens.n_ids = request->n_ids;
    ret->chat.messages = request->messages;
    ret->chat.n_messages = request->n_messages;
    ret->chat.tools = request->tools;
    ret->part.sampling = request->has_sampling ? &ret->sampling : NULL;
    if (request->kind == PROMPT_TEXT) {
        ret->part.text = request->text ? request->text : (char *)"";
        ret->part.suffix = request->suffix;
    } else if (request->kind == PROMPT_IDS) {
        ret->part.tokens = &ret->tokens;
    } else if (has_chat(request)) {
        ret->part.chat = &ret->chat;
    }
}

int moed_request_pack(const struct moed_request *request, uint8_t **ret, size_t *n)
{
    struct request_part whole;
    request_borrow(request, &whole);
    size_t size = moed__v1__generate_request__get_packed_size(&whole.part);
    uint8_t *bytes = malloc(size + 1);
    if (!bytes)
        return -ENOMEM;
    *n = moed__v1__generate_request__pack(&whole.part, bytes);
    *ret = bytes;
    return 0;
}

/* Takes the prompt out of the fields. */
static void take_prompt(struct moed_request *request)
{
    Part *fields = &request->fields;
    Moed__V1__Chat *chat = TAKE(fields->chat);
    Moed__V1__Tokens *tokens = TAKE(fields->tokens);
    request->kind = chat           ? PROMPT_CHAT
                    : tokens       ? PROMPT_IDS
                    : fields->text ? PROMPT_TEXT
                                   : PROMPT_NONE;
    request->text = TAKE(fields->text);
    request->n_text = request->text ? strlen(request->text) : 0;
    request->suffix = TAKE(fields->suffix);
    request->n_suffix = request->suffix ? strlen(request->suffix) : 0;
    if (tokens) {
        request->n_ids = tokens->n_ids;
        tokens->n_ids = 0;
        request->ids = TAKE(tokens->ids);
        moed__v1__tokens__free_unpacked(tokens, NULL);
    }
    if (chat) {
        request->n_messages = chat->n_messages;
        request->messages = chat->messages;
        request->tools = chat->tools;
        request->chat = *chat; /* scalars; a string of it would be lost, and missed below */
        request->chat.n_messages = 0;
        request->chat.messages = NULL;
        request->chat.tools = request->chat.response_format = request->chat.family = NULL;
        free(chat->response_format);
        free(chat->family);
        free(chat);
    }
}

int moed_request_unpack(const uint8_t *bytes, size_t n, struct moed_request **ret)
{
    char words[TTRPC_WORDS];
    Part *whole = (Part *)ttrpc_unpack(&moed__v1__generate_request__descriptor, bytes, n, words);
    if (!whole)
        return -EINVAL;
    bool is_strange = whole->base.n_unknown_fields > 0 ||
                      (whole->sampling && whole->sampling->base.n_unknown_fields > 0) ||
                      (whole->chat && whole->chat->base.n_unknown_fields > 0);
    struct moed_request *request = is_strange ? NULL : moed_request_new();
    if (!request) {
        moed__v1__generate_request__free_unpacked(whole, NULL);
        return is_strange ? -EINVAL : -ENOMEM;
    }
    Moed__V1__Sampling *sampling = TAKE(whole->sampling);
    request->fields = *whole;
    free(whole); /* its strings are the request's now */
    if (sampling) {
        request->has_sampling = true;
        request->sampling = *sampling;
        free(sampling);
    }
    take_prompt(request);
    /* What a request has no place for would be lost: then it does not pack to the same. */
    OWN_MEM uint8_t *again = NULL;
    size_t n_again;
    int r = moed_request_pack(request, &again, &n_again);
    if (r == 0 && (n_again != n || memcmp(again, bytes, n) != 0))
        r = -EINVAL;
    if (r < 0) {
        moed_request_free(request);
        return r;
    }
    *ret = request;
    return 0;
}
