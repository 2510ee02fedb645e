/* SPDX-License-Identifier: MIT
 *
 * Tokenize, Detokenize and Render: text work for a helper, one message in, one out.
 *
 * Handlers and done: loop thread. The run functions: a helper, on nothing but their job.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/models.h"
#include "model/model.h"
#include "moed/v1/text.pb-c.h"
#include "service/ask.h"
#include "service/call.h"
#include "service/field.h"
#include "service/job.h"
#include "service/method.h"
#include "service/reason.h"
#include "service/seek.h"
#include "service/status.h"
#include "text/detok.h"
#include "text/token.h"
#include "ttrpc.h"

struct text_job {
    struct job job;
    struct payload request;
    struct payload response; /* packed */
};

#define OWN_IDS __attribute__((cleanup(ids_fini))) struct ids
#define OWN_BUF __attribute__((cleanup(ttrpc_buf_fini))) struct ttrpc_buf

static void *unpack(struct job *job, const ProtobufCMessageDescriptor *type)
{
    struct text_job *t = (struct text_job *)job;
    char words[TTRPC_WORDS];
    void *message = ttrpc_unpack(type, t->request.data, t->request.n, words);
    if (!message)
        err_set(&job->err, -EBADMSG, "%s", words);
    return message;
}

static int pack(struct job *job, const ProtobufCMessage *message)
{
    struct text_job *t = (struct text_job *)job;
    size_t n = protobuf_c_message_get_packed_size(message);
    t->response.data = malloc(n + 1);
    if (!t->response.data)
        return err_set(&job->err, -ENOMEM, "no memory for an answer of %zu bytes", n);
    t->response.n = protobuf_c_message_pack(message, t->response.data);
    return 0;
}

/* ---- on a helper */
static int tokenize(struct job *job, const Moed__V1__TokenizeRequest *request)
{
    const struct vocab *vocab = model_vocab(job->model);
    const char *text = request->text ? request->text : "";
    OWN_IDS ids = {0};
    if (request->add_bos && vocab_bos(vocab) >= 0 && ids_push(&ids, vocab_bos(vocab)) < 0)
        return err_set(&job->err, -ENOMEM, "no memory for the tokens");
    int r = vocab_encode(vocab, text, strlen(text), request->no_special ? 0 : VOCAB_SPECIAL, &ids,
                         &job->err);
    if (r < 0)
        return r;
    Moed__V1__TokenizeResponse response = MOED__V1__TOKENIZE_RESPONSE__INIT;
    response.ids = ids.id;
    response.n_ids = ids.n;
    return pack(job, &response.base);
}

static int run_tokenize(struct job *job)
{
    Moed__V1__TokenizeRequest *request = unpack(job, &moed__v1__tokenize_request__descriptor);
    if (!request)
        return job->err.code;
    int r = tokenize(job, request);
    moed__v1__tokenize_request__free_unpacked(request, NULL);
    return r;
}

/* As a string of the wire: without NUL, and ended by one. */
static int put_text(struct ttrpc_buf *buf, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t run = strnlen(text + i, n - i);
        if (ttrpc_buf_put(buf, text + i, run) < 0)
            return -ENOMEM;
        i += run;
        if (i < n && ttrpc_buf_put(buf, "\xef\xbf\xbd", 3) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int detokenize_all(struct detok *detok, const struct vocab *vocab,
                          const Moed__V1__DetokenizeRequest *request, struct ttrpc_buf *text,
                          struct ttrpc_buf *raw)
{
    const char *piece;
    size_t n;
    for (size_t i = 0; i < request->n_ids; i++) {
        int32_t id = request->ids[i];
        detok_push(detok, id, &piece, &n);
        if (put_text(text, piece, n) < 0)
            return -ENOMEM;
        if (request->hide_special && vocab_is_special(vocab, id))
            continue;
        piece = vocab_bytes(vocab, id, &n);
        if (ttrpc_buf_put(raw, piece, n) < 0)
            return -ENOMEM;
    }
    detok_finish(detok, &piece, &n);
    if (put_text(text, piece, n) < 0)
        return -ENOMEM;
    return ttrpc_buf_put(text, "", 1);
}

static int detokenize(struct job *job, const Moed__V1__DetokenizeRequest *request)
{
    const struct vocab *vocab = model_vocab(job->model);
    int32_t size = vocab_size(vocab);
    for (size_t i = 0; i < request->n_ids; i++)
        if (request->ids[i] < 0 || request->ids[i] >= size)
            return err_set(&job->err, -EINVAL, "%s[%zu] is %d, expected 0 to %d",
                           field_table[FIELD_DETOKENIZE_ID].name, i, request->ids[i], size - 1);
    OWN_BUF text = {0};
    OWN_BUF raw = {0};
    struct detok detok;
    int r = detok_init(&detok, vocab, !request->hide_special, NULL, 0, &job->err);
    if (r < 0)
        return r;
    r = detokenize_all(&detok, vocab, request, &text, &raw);
    detok_fini(&detok);
    if (r < 0)
        return err_set(&job->err, r, "no memory for the text");
    Moed__V1__DetokenizeResponse response = MOED__V1__DETOKENIZE_RESPONSE__INIT;
    response.text = (char *)text.data + text.start;
    response.has_raw = true;
    response.raw = (ProtobufCBinaryData){raw.n, raw.data ? raw.data + raw.start : NULL};
    return pack(job, &response.base);
}

static int run_detokenize(struct job *job)
{
    Moed__V1__DetokenizeRequest *request = unpack(job, &moed__v1__detokenize_request__descriptor);
    if (!request)
        return job->err.code;
    int r = detokenize(job, request);
    moed__v1__detokenize_request__free_unpacked(request, NULL);
    return r;
}

static int render(struct job *job, const Moed__V1__RenderRequest *request)
{
    const struct vocab *vocab = model_vocab(job->model);
    if (!request->chat)
        return err_set(&job->err, -EINVAL, "render.chat is missing");
    OWN_IDS ids = {0};
    const Moed__V1__Chat *chat = request->chat;
    const struct chat_family *family;
    int64_t effort;
    int r = ask_family(job->model, chat->family, &family, &job->err);
    if (r == 0)
        r = field_int(FIELD_RENDER_EFFORT, (int64_t)chat->effort, &effort, &job->err);
    if (r < 0)
        return r;
    struct chat_options options = {.thinking = chat->thinking,
                                   .add_generation_prompt = true,
                                   .effort = reason_words(effort),
                                   .tools = chat->tools,
                                   .response_format = chat->response_format};
    r = ask_render(job->model, family, chat->messages, chat->n_messages, &options,
                   FIELD_RENDER_ROLE, &ids, &job->err);
    if (r < 0)
        return r;
    OWN_BUF text = {0};
    for (size_t i = 0; i < ids.n && r == 0; i++) {
        size_t n;
        const char *piece = vocab_bytes(vocab, ids.id[i], &n);
        r = put_text(&text, piece, n);
    }
    if (r < 0 || ttrpc_buf_put(&text, "", 1) < 0)
        return err_set(&job->err, -ENOMEM, "no memory for the text");
    Moed__V1__RenderResponse response = MOED__V1__RENDER_RESPONSE__INIT;
    response.ids = ids.id;
    response.n_ids = ids.n;
    response.text = (char *)text.data + text.start;
    return pack(job, &response.base);
}

static int run_render(struct job *job)
{
    Moed__V1__RenderRequest *request = unpack(job, &moed__v1__render_request__descriptor);
    if (!request)
        return job->err.code;
    int r = render(job, request);
    moed__v1__render_request__free_unpacked(request, NULL);
    return r;
}

/* ---- on the loop */
static void on_done(struct job *job)
{
    struct text_job *t = (struct text_job *)job;
    struct call *call = job->call;
    if (job->code < 0)
        call_fail(call, status_of(job->code), "%s", job->err.text);
    else
        call_reply_bytes(call, t->response.data, t->response.n);
}

static void free_text(struct job *job)
{
    struct text_job *t = (struct text_job *)job;
    payload_fini(&t->request);
    payload_fini(&t->response);
}

static void start(struct call *call, struct payload *payload, int (*run)(struct job *job))
{
    char model[SEEK_NAME_BYTES];
    if (!seek_name(call, payload, model))
        return;
    struct text_job *t = calloc(1, sizeof *t);
    if (!t) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    t->request = *payload;
    *payload = (struct payload){0};
    t->job.run = run;
    t->job.done = on_done;
    t->job.free = free_text;
    job_seek(&t->job, call, model, 0, t->request.n);
}

void method_tokenize(struct call *call, struct payload *payload)
{
    start(call, payload, run_tokenize);
}

void method_detokenize(struct call *call, struct payload *payload)
{
    start(call, payload, run_detokenize);
}

void method_render(struct call *call, struct payload *payload)
{
    start(call, payload, run_render);
}
