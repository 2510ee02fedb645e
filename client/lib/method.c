/* SPDX-License-Identifier: MIT
 *
 * The methods of moed.v1.Engine: each packs its request and starts a call.
 */
#include <string.h>

#include "lib/conn.h"
#include "lib/method.h"
#include "lib/request.h"
#include "moed/v1/engine.pb-c.h"

enum { GRACE_MS = 2000 }; /* a generation's deadline is the daemon's; ours is for a silent daemon */

static int refuse(struct moed_error *error, int r, size_t bytes)
{
    if (r == -EMSGSIZE)
        return error_set(error, r, MOED_RESOURCE_EXHAUSTED,
                         "the request exceeds a frame: %zu bytes, the most is %u", bytes,
                         (unsigned)TTRPC_MAX_DATA);
    return error_set(error, r, MOED_RESOURCE_EXHAUSTED, "no memory for the request");
}

static const ProtobufCMessageDescriptor *answer_of(const char *method)
{
    const ProtobufCMethodDescriptor *found =
        protobuf_c_service_descriptor_get_method_by_name(&moed__v1__engine__descriptor, method);
    return found ? found->output : NULL;
}

static int start(struct moed *moed, const char *method, bool is_stream, const void *payload,
                 size_t n, const ProtobufCMessageDescriptor *answer, uint64_t timeout_ms,
                 struct moed_call **ret, struct moed_error *error)
{
    uint32_t stream;
    int r = conn_check(moed, &stream, error);
    if (r < 0)
        return r;
    OWN(moed_call) *call = call_new();
    if (!call)
        return refuse(error, -ENOMEM, 0);
    call->is_stream = is_stream;
    call->answer = answer;
    struct out_list frames = {0};
    r = session_put_request(&frames, stream, is_stream ? TTRPC_REMOTE_CLOSED : 0, method, payload,
                            n, (int64_t)timeout_ms * 1000000);
    if (r < 0)
        return refuse(error, r, n);
    conn_begin(moed, call, &frames, timeout_ms);
    *ret = TAKE(call);
    return 0;
}

int method_start(struct moed *moed, const char *method, bool is_stream,
                 const ProtobufCMessage *request, uint64_t timeout_ms, struct moed_call **ret,
                 struct moed_error *error)
{
    size_t n = protobuf_c_message_get_packed_size(request);
    if (n > TTRPC_MAX_DATA)
        return refuse(error, -EMSGSIZE, n);
    OWN_MEM uint8_t *payload = malloc(n + 1);
    if (!payload)
        return refuse(error, -ENOMEM, n);
    protobuf_c_message_pack(request, payload);
    return start(moed, method, is_stream, payload, n, answer_of(method), timeout_ms, ret, error);
}

/* -EINVAL: what is named is no text that a message can carry. */
static int check_text(const char *text, size_t bytes, const char *name, struct moed_error *error)
{
    if (bytes > 0 && memchr(text, '\0', bytes))
        return error_set(error, -EINVAL, MOED_INVALID_ARGUMENT, "%s: holds a zero byte at %zu",
                         name, (size_t)((const char *)memchr(text, '\0', bytes) - text));
    if (!ttrpc_is_utf8(text, bytes))
        return error_set(error, -EINVAL, MOED_INVALID_ARGUMENT, "%s: is not UTF-8", name);
    return 0;
}

/* A message's text, ended by a zero byte. */
static int copy_text(const char *text, size_t bytes, char **ret, struct moed_error *error)
{
    int r = check_text(text, bytes, "text", error);
    if (r < 0)
        return r;
    char *copy = malloc(bytes + 1);
    if (!copy)
        return refuse(error, -ENOMEM, bytes);
    if (bytes > 0)
        memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    *ret = copy;
    return 0;
}

int method_check(const char *text, const char *name, struct moed_error *error)
{
    return text ? check_text(text, strlen(text), name, error) : 0;
}

int moed_hello(struct moed *moed, const char *client, struct moed_call **ret,
               struct moed_error *error)
{
    int r = method_check(client, "client", error);
    if (r < 0)
        return r;
    Moed__V1__HelloRequest request = MOED__V1__HELLO_REQUEST__INIT;
    request.client = (char *)client;
    return method_start(moed, "Hello", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_ping(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__PingRequest request = MOED__V1__PING_REQUEST__INIT;
    return method_start(moed, "Ping", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_generate(struct moed *moed, const struct moed_request *request, struct moed_call **ret,
                  struct moed_error *error)
{
    uint32_t stream;
    int r = conn_check(moed, &stream, error);
    if (r < 0)
        return r;
    OWN(moed_call) *call = call_new();
    if (!call)
        return refuse(error, -ENOMEM, 0);
    call->is_stream = call->is_generation = true;
    call->n_answers = request_answers(request);
    call->answer = &moed__v1__generate_event__descriptor;
    struct out_list frames = {0};
    r = request_frames(request, stream, &frames);
    if (r < 0) {
        out_list_fini(&frames);
        return r == -EMSGSIZE ? error_set(error, r, MOED_RESOURCE_EXHAUSTED,
                                          "a message of the conversation exceeds a frame of %u "
                                          "bytes",
                                          (unsigned)TTRPC_MAX_DATA)
                              : refuse(error, r, 0);
    }
    int64_t timeout_ms = request_timeout_ms(request);
    conn_begin(moed, call, &frames, timeout_ms > 0 ? (uint64_t)timeout_ms + GRACE_MS : 0);
    *ret = TAKE(call);
    return 0;
}

int moed_cancel(struct moed *moed, const uint8_t id[16], struct moed_call **ret,
                struct moed_error *error)
{
    Moed__V1__CancelRequest request = MOED__V1__CANCEL_REQUEST__INIT;
    request.has_generation_id = true;
    request.generation_id = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)id};
    return method_start(moed, "Cancel", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_tokenize(struct moed *moed, const char *model, const char *text, size_t bytes,
                  unsigned flags, struct moed_call **ret, struct moed_error *error)
{
    OWN_MEM char *copy = NULL;
    int r = method_check(model, "model", error);
    if (r == 0)
        r = copy_text(text, bytes, &copy, error);
    if (r < 0)
        return r;
    Moed__V1__TokenizeRequest request = MOED__V1__TOKENIZE_REQUEST__INIT;
    request.model = (char *)model;
    request.text = copy;
    request.has_add_bos = request.add_bos = (flags & MOED_ADD_BOS) != 0;
    request.has_no_special = request.no_special = (flags & MOED_NO_SPECIAL) != 0;
    return method_start(moed, "Tokenize", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_detokenize(struct moed *moed, const char *model, const int32_t *ids, size_t n,
                    unsigned flags, struct moed_call **ret, struct moed_error *error)
{
    int r = method_check(model, "model", error);
    if (r < 0)
        return r;
    Moed__V1__DetokenizeRequest request = MOED__V1__DETOKENIZE_REQUEST__INIT;
    request.model = (char *)model;
    request.ids = (int32_t *)ids;
    request.n_ids = n;
    request.has_hide_special = request.hide_special = (flags & MOED_HIDE_SPECIAL) != 0;
    return method_start(moed, "Detokenize", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_embed(struct moed *moed, const char *model, const char *text, size_t bytes,
               const char *pooling, unsigned flags, struct moed_call **ret,
               struct moed_error *error)
{
    OWN_MEM char *copy = NULL;
    int r = method_check(model, "model", error);
    if (r == 0)
        r = method_check(pooling, "pooling", error);
    if (r == 0)
        r = copy_text(text, bytes, &copy, error);
    if (r < 0)
        return r;
    Moed__V1__EmbedRequest request = MOED__V1__EMBED_REQUEST__INIT;
    request.model = (char *)model;
    request.text = copy;
    request.pooling = (char *)pooling;
    request.has_normalize = request.normalize = (flags & MOED_NORMALIZE) != 0;
    return method_start(moed, "Embed", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_render(struct moed *moed, const struct moed_request *request, struct moed_call **ret,
                struct moed_error *error)
{
    OWN_MEM uint8_t *payload = NULL;
    size_t n = 0;
    int r = request_pack_render(request, &payload, &n);
    if (r < 0)
        return refuse(error, r, 0);
    if (n > TTRPC_MAX_DATA)
        return refuse(error, -EMSGSIZE, n);
    return start(moed, "Render", false, payload, n, answer_of("Render"), moed->timeout_ms, ret,
                 error);
}

int moed_list(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__ListRequest request = MOED__V1__LIST_REQUEST__INIT;
    return method_start(moed, "List", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_show(struct moed *moed, const char *model, struct moed_call **ret,
              struct moed_error *error)
{
    int r = method_check(model, "model", error);
    if (r < 0)
        return r;
    Moed__V1__ShowRequest request = MOED__V1__SHOW_REQUEST__INIT;
    request.model = (char *)model;
    return method_start(moed, "Show", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_load(struct moed *moed, const char *model, bool wait, struct moed_call **ret,
              struct moed_error *error)
{
    int r = method_check(model, "model", error);
    if (r < 0)
        return r;
    Moed__V1__LoadRequest request = MOED__V1__LOAD_REQUEST__INIT;
    request.model = (char *)model;
    request.has_wait = request.wait = wait;
    return method_start(moed, "Load", false, &request.base, wait ? 0 : moed->timeout_ms, ret,
                        error);
}

int moed_unload(struct moed *moed, const char *model, struct moed_call **ret,
                struct moed_error *error)
{
    int r = method_check(model, "model", error);
    if (r < 0)
        return r;
    Moed__V1__UnloadRequest request = MOED__V1__UNLOAD_REQUEST__INIT;
    request.model = (char *)model;
    return method_start(moed, "Unload", false, &request.base, moed->timeout_ms, ret, error);
}

static int ask_stats(struct moed *moed, bool experts, struct moed_call **ret,
                     struct moed_error *error)
{
    Moed__V1__StatsRequest request = MOED__V1__STATS_REQUEST__INIT;
    request.has_experts = request.experts = experts;
    return method_start(moed, "Stats", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_stats(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    return ask_stats(moed, false, ret, error);
}

int moed_stats_experts(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    return ask_stats(moed, true, ret, error);
}

int moed_watch(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__WatchRequest request = MOED__V1__WATCH_REQUEST__INIT;
    return method_start(moed, "Watch", true, &request.base, 0, ret, error);
}

int moed_reload(struct moed *moed, struct moed_call **ret, struct moed_error *error)
{
    Moed__V1__ReloadRequest request = MOED__V1__RELOAD_REQUEST__INIT;
    return method_start(moed, "Reload", false, &request.base, moed->timeout_ms, ret, error);
}

int moed_raw(struct moed *moed, const char *method, unsigned flags, const void *message,
             size_t bytes, struct moed_call **ret, struct moed_error *error)
{
    int r = method_check(method, "method", error);
    if (r < 0)
        return r;
    bool is_stream = flags & MOED_RAW_STREAM;
    return start(moed, method, is_stream, message, bytes, NULL, is_stream ? 0 : moed->timeout_ms,
                 ret, error);
}
