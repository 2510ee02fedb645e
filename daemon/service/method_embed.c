/* SPDX-License-Identifier: MIT
 *
 * Embed. A helper makes tokens of the text, then an engine reads them.
 *
 * Handlers and done: loop thread. run_embed: a helper, on nothing but its job.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "engine/models.h"
#include "moed/v1/embed.pb-c.h"
#include "service/ask.h"
#include "service/call.h"
#include "service/embedding.h"
#include "service/hub.h"
#include "service/job.h"
#include "service/method.h"
#include "service/pressure.h"
#include "service/seek.h"
#include "service/status.h"
#include "ttrpc.h"

struct embed_job {
    struct job job;
    struct payload request;
    struct ask *ask; /* the text as a prompt */
    bool normalize;
};

/* ---- on a helper */
static int check_pooling(const char *pooling, struct err *err)
{
    if (!pooling || !*pooling)
        return err_set(
            err, -ENOTSUP,
            "a DeepSeek chat model is no embedding model: it was trained to go on with a "
            "text, and its hidden states search poorly. Use a model that was made for "
            "embeddings; if the mean of the hidden states is what you want, ask for it "
            "with embed.pooling 'mean'");
    return strcmp(pooling, "mean") == 0
               ? 0
               : err_set(err, -EINVAL, "embed.pooling is '%s', expected 'mean'", pooling);
}

/* The text becomes tokens as that of a Generate does. */
static int understand(struct embed_job *e, Moed__V1__EmbedRequest *request)
{
    struct err *err = &e->job.err;
    int r = check_pooling(request->pooling, err);
    if (r < 0)
        return r;
    Moed__V1__GenerateRequest prompt = MOED__V1__GENERATE_REQUEST__INIT;
    prompt.text = request->text;
    prompt.tokens = request->tokens;
    struct ask_part part = {.n = moed__v1__generate_request__get_packed_size(&prompt)};
    OWN_MEM uint8_t *bytes = malloc(part.n + 1);
    if (!bytes)
        return err_set(err, -ENOMEM, "no memory for the request");
    moed__v1__generate_request__pack(&prompt, bytes);
    part.data = bytes;
    e->normalize = request->normalize;
    return ask_new(e->job.model, &part, 1, &e->ask, err);
}

static int run_embed(struct job *job)
{
    struct embed_job *e = (struct embed_job *)job;
    char words[TTRPC_WORDS];
    Moed__V1__EmbedRequest *request = (Moed__V1__EmbedRequest *)ttrpc_unpack(
        &moed__v1__embed_request__descriptor, e->request.data, e->request.n, words);
    if (!request)
        return err_set(&job->err, -EBADMSG, "%s", words);
    int r = understand(e, request);
    moed__v1__embed_request__free_unpacked(request, NULL);
    return r;
}

/* ---- on the loop; while the model loads, a call waits */
struct waiting {
    struct engine_request *request;
    bool normalize;
    int entry;
};

static void waiting_free(struct waiting *w)
{
    if (w)
        engine_request_free(w->request);
    free(w);
}

static void go_on(struct call *call)
{
    struct waiting *w = call->data;
    struct hub *hub = call->hub;
    const struct models_entry *entry = models_at(hub->models, w->entry);
    if (hub_is_unloading(hub, w->entry)) {
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' is being unloaded", entry->name);
    } else if (entry->state == MODELS_READY) {
        struct waiting last = *w;
        free(TAKE(call->data));
        call_charge(call, 0);
        embedding_start(call, last.entry, last.request, last.normalize);
    } else if (entry->state != MODELS_LOADING) {
        call_fail(call, TTRPC_FAILED_PRECONDITION, "model '%s' is %s: load it first", entry->name,
                  models_state_name(entry->state));
    }
}

static void on_end(struct call *call)
{
    waiting_free(call->data);
}

static const struct call_hooks hooks = {.changed = go_on, .end = on_end};

static void on_done(struct job *job)
{
    struct embed_job *e = (struct embed_job *)job;
    struct call *call = job->call;
    if (job->code < 0) {
        call_fail(call, status_of(job->code), "%s", job->err.text);
        return;
    }
    struct waiting *w = calloc(1, sizeof *w);
    if (!w) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    *w = (struct waiting){TAKE(e->ask->request), e->normalize, job->entry};
    call->data = w;
    call->hooks = &hooks;
    go_on(call);
}

static void free_embed(struct job *job)
{
    struct embed_job *e = (struct embed_job *)job;
    payload_fini(&e->request);
    ask_free(e->ask);
}

void method_embed(struct call *call, struct payload *payload)
{
    if (pressure_refuses(call->hub->pressure, call))
        return;
    char model[SEEK_NAME_BYTES];
    if (!seek_name(call, payload, model))
        return;
    struct embed_job *e = calloc(1, sizeof *e);
    if (!e) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the request");
        return;
    }
    e->request = *payload;
    *payload = (struct payload){0};
    e->job.run = run_embed;
    e->job.done = on_done;
    e->job.free = free_embed;
    job_seek(&e->job, call, model, SEEK_WAKE, e->request.n);
}
