/* SPDX-License-Identifier: MIT
 *
 * Two halves: the loop's, which fills slots and drains events, and the engine's own thread, which
 * admits, batches, runs a step, samples and tells. They share the rings and the slots' flags.
 */
#include "engine/engine.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/ring.h"
#include "engine/archive.h"
#include "engine/batch.h"
#include "engine/budget.h"
#include "engine/outbox.h"
#include "engine/request.h"
#include "engine/score.h"
#include "engine/slots.h"
#include "kv/tree.h"
#include "model/forward.h"
#include "model/model.h"
#include "place/mem.h"
#include "place/place.h"
#include "text/token.h"

enum { SAVE_AFTER_NS = 1000000000 }; /* without a step */

struct command {
    uint64_t call;
    struct engine_request *request;
    uint64_t submitted_ns;
};

struct counters { /* written by the engine's thread, read by any */
    atomic_uint_fast64_t steps, prompt_tokens, cached_tokens, decoded_tokens, done, cancelled,
        errors, prefill_ns, decode_ns;
    atomic_uint sequences, queued, pages_used, pages_kept;
};

struct engine {
    struct model *model;
    struct place *place;
    struct engine_config config;
    int context; /* tokens: the model's, or what the cache holds */
    int n_pages;
    uint64_t cache_bytes;

    struct ring *commands;
    struct slots slots;
    struct outbox outbox;
    sem_t work;
    atomic_bool stop;
    atomic_uint_fast64_t save_until_ns;
    pthread_t thread;
    bool started;
    struct counters count;

    /* The engine thread's own. */
    struct forward *forward;
    struct page_pool *pool;
    struct tree *tree;       /* of pages that may be known again */
    struct archive *archive; /* NULL: nothing outlives the process */
    bool unsaved;            /* the tree has grown since all of it was handed to the archive */
    uint64_t stepped_ns;
    struct batch batch;
    struct candidates candidates;
    float *logits;
    uint8_t *banned; /* [vocab] rows that are no token of the vocabulary */
    struct seq **active;
    int n_active;
    struct seq *queue, **queue_end;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ------------------------------------------------------------------ events */

static void count_up(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Sends the last event of a sequence and frees it. */
static void finish(struct engine *e, struct seq *seq, enum engine_finish how, const char *reason)
{
    const char *text;
    size_t bytes;
    detok_finish(&seq->detok, &text, &bytes);
    if (bytes)
        outbox_push_text(&e->outbox, &(struct engine_event){.call = seq->call, .kind = ENGINE_MORE},
                         text, bytes);
    uint64_t now = now_ns();
    uint64_t started = seq->started_ns ? seq->started_ns : now;
    uint64_t first = seq->first_token_ns ? seq->first_token_ns : now;
    struct engine_event event = {
        .call = seq->call,
        .kind = ENGINE_DONE,
        .finish = how,
        .stop_index = seq->detok.stopped ? seq->detok.stop : -1,
        .n_prompt = seq->request->n_prompt,
        .n_cached = seq->n_known,
        .n_tokens = seq_n_generated(seq),
        .n_thinking = seq->think.n,
        .cut = seq->think.cut,
        .queue_ns = started - seq->submitted_ns,
        .prefill_ns = first - started,
        .decode_ns = now - first,
    };
    if (reason)
        event.n_text = (uint16_t)snprintf(event.text, sizeof event.text, "%s", reason);
    outbox_push(&e->outbox, &event);
    count_up(how == ENGINE_CANCELLED ? &e->count.cancelled
             : how == ENGINE_ERROR   ? &e->count.errors
                                     : &e->count.done,
             1);
    if (how == ENGINE_ERROR) /* where numbers ran away, who asks again starts anew */
        tree_forget(e->tree, &seq->view);
    else
        tree_keep_end(e->tree, &seq->view, seq->token, seq->n_cached);
    seq_free(seq, e->pool);
}

/* ------------------------------------------------------------------ admission */

static void accept_commands(struct engine *e)
{
    struct command c;
    while (ring_pop(e->commands, &c)) {
        int limit = e->context;
        int asked = c.request->max_tokens;
        if (asked > 0 && asked < limit - c.request->n_prompt)
            limit = c.request->n_prompt + asked;
        struct seq *seq;
        int n_prompt = c.request->n_prompt;
        int r = seq_new(c.call, c.request, model_vocab(e->model), limit,
                        model_hparams(e->model)->vocab, &seq);
        if (r < 0) {
            struct engine_event event = {.call = c.call,
                                         .kind = ENGINE_DONE,
                                         .finish = ENGINE_ERROR,
                                         .stop_index = -1,
                                         .n_prompt = n_prompt};
            event.n_text =
                (uint16_t)snprintf(event.text, sizeof event.text, "no memory for the sequence");
            outbox_push(&e->outbox, &event);
            count_up(&e->count.errors, 1);
            continue;
        }
        seq->submitted_ns = c.submitted_ns;
        *e->queue_end = seq;
        e->queue_end = &seq->next;
    }
}

static int index_of(const struct engine *e, const struct seq *seq)
{
    int i = 0;
    while (e->active[i] != seq)
        i++;
    return i;
}

/* Drops sequences that ended, keeping the order of the others. */
static void close_gaps(struct engine *e)
{
    int kept = 0;
    for (int i = 0; i < e->n_active; i++)
        if (e->active[i])
            e->active[kept++] = e->active[i];
    e->n_active = kept;
}

static void drop_cancelled(struct engine *e)
{
    for (struct seq **at = &e->queue; *at;) {
        struct seq *seq = *at;
        if (!slots_is_cancelled(&e->slots, seq->call)) {
            at = &seq->next;
            continue;
        }
        *at = seq->next;
        finish(e, seq, ENGINE_CANCELLED, NULL);
    }
    e->queue_end = &e->queue;
    while (*e->queue_end)
        e->queue_end = &(*e->queue_end)->next;
    for (int i = 0; i < e->n_active; i++) {
        struct seq *seq = e->active[i];
        if (!slots_is_cancelled(&e->slots, seq->call) || seq->is_away)
            continue;
        e->active[i] = NULL;
        finish(e, seq, ENGINE_CANCELLED, NULL);
    }
    close_gaps(e);
}

/* Pages that are neither in use nor promised to those who are writing. What is only kept counts as
 * free: it goes when somebody needs it. */
static int n_unpromised(const struct engine *e)
{
    int n = e->n_pages - page_pool_used(e->pool) + page_pool_idle(e->pool);
    for (int i = 0; i < e->n_active; i++)
        n -= e->active[i]->view.room - e->active[i]->view.n;
    return n;
}

/* In order of arrival. A sequence is promised all pages it may ever need, so none gets stuck. */
static void admit(struct engine *e)
{
    while (e->queue && e->n_active < e->config.max_sequences &&
           e->queue->view.room <= n_unpromised(e)) {
        struct seq *seq = e->queue;
        e->queue = seq->next;
        if (!e->queue)
            e->queue_end = &e->queue;
        seq->next = NULL;
        seq->started_ns = now_ns();
        if (seq_is_full(seq)) {
            finish(e, seq, ENGINE_LENGTH, NULL); /* the prompt fills the context */
            continue;
        }
        e->active[e->n_active++] = seq;
    }
}

/* ------------------------------------------------------------------ a step */

static void tell_known(struct engine *e, const struct seq *seq)
{
    struct engine_event event = {.call = seq->call, .kind = ENGINE_KNOWN};
    for (int at = 0; at < seq->n_known;) {
        int run = view_run(&seq->view, at, seq->n_known);
        at += run;
        event.run[event.n_runs++] = run;
        if (event.n_runs < ENGINE_RUNS && at < seq->n_known)
            continue;
        outbox_push(&e->outbox, &event);
        event.n_runs = 0;
    }
}

/* What a sequence knows when it begins. */
static void begin(struct engine *e, struct seq *seq)
{
    seq->n_cached = seq->n_known;
    count_up(&e->count.cached_tokens, (uint64_t)seq->n_known);
    tell_known(e, seq);
}

/* As late as can be: whoever is reading the same has come further by now. */
static void recall(struct engine *e, struct seq *seq)
{
    seq->is_recalled = true;
    seq->n_known = tree_recall(e->tree, &seq->view, seq->token, seq->n_tokens);
    if (!e->archive || !archive_ask(e->archive, seq))
        begin(e, seq);
}

static void add_rows(struct engine *e, struct seq *seq, int n)
{
    if (n > seq_n_waiting(seq))
        n = seq_n_waiting(seq);
    tree_make_room(e->tree, &seq->view, view_pages(seq->n_cached + n) - seq->view.n);
    int r = view_grow(&seq->view, e->pool, seq->n_cached + n);
    if (r < 0)
        abort(); /* pages were promised at admission */
    batch_add(&e->batch, seq, n);
}

static void fill_batch(struct engine *e)
{
    batch_clear(&e->batch);
    /* Home by home: then workers have shares of rows whose pages are near. */
    for (int home = 0; home < page_pool_homes(e->pool); home++)
        for (int i = 0; i < e->n_active && batch_room(&e->batch) > 0; i++)
            if (seq_is_decoding(e->active[i]) && e->active[i]->view.home == home &&
                !slots_is_paused(&e->slots, e->active[i]->call))
                add_rows(e, e->active[i], 1);
    for (int i = 0; i < e->n_active && batch_room(&e->batch) > 0; i++) {
        struct seq *seq = e->active[i];
        if (seq_is_decoding(seq) || slots_is_paused(&e->slots, seq->call))
            continue;
        if (!seq->is_recalled && !seq->request->prompt_logprobs) /* which need every row */
            recall(e, seq);
        if (!seq->is_away)
            add_rows(e, seq, batch_room(&e->batch));
    }
}

/* Fetches the logits behind the sequence's first n tokens; false: they are not finite, and it is
 * over. */
static bool fetch_logits(struct engine *e, struct seq *seq, int logits, int n, double *log_sum)
{
    char reason[ENGINE_TEXT_BYTES];
    forward_logits(e->forward, logits, e->logits);
    *log_sum = sample_log_sum(e->logits, model_hparams(e->model)->vocab);
    if (isfinite(*log_sum))
        return true;
    snprintf(reason, sizeof reason, "non-finite logits at token %d", n);
    finish(e, seq, ENGINE_ERROR, reason);
    return false;
}

/* Tells how probable the tokens behind the prompt's n last rows were; false: it is over. */
static bool score_prompt(struct engine *e, struct seq *seq, int logits, int n)
{
    int top = seq->request->top_logprobs > 0 ? seq->request->top_logprobs : 0;
    for (int at = seq->n_cached - n + 1; at <= seq->n_cached; at++, logits++) {
        double log_sum;
        if (at == seq->n_tokens)
            return true; /* what follows the last is yet to be drawn */
        if (!fetch_logits(e, seq, logits, at, &log_sum))
            return false;
        struct engine_event event = {
            .call = seq->call, .kind = ENGINE_PROMPT, .id = seq->token[at]};
        score(e->logits, model_hparams(e->model)->vocab, log_sum, top, &event);
        outbox_push(&e->outbox, &event);
    }
    return true;
}

/* The sequence's next token; -1: there is nothing left to choose from. */
static int32_t choose(struct engine *e, struct seq *seq)
{
    int32_t id = sampler_draw(&seq->sampler, e->logits, e->banned, &e->candidates);
    id = think_limit(&seq->think, id);
    if (id >= 0)
        seq_accept(seq, id, model_vocab(e->model));
    return id;
}

/* Chooses, tells, and says whether the sequence goes on. */
static bool step_sequence(struct engine *e, struct seq *seq, int logits)
{
    double log_sum;
    if (!fetch_logits(e, seq, logits, seq->n_tokens, &log_sum))
        return false;
    int32_t id = choose(e, seq);
    if (id < 0) {
        finish(e, seq, ENGINE_ERROR, "every token is banned, by logit_bias or by banned strings");
        return false;
    }
    if (!seq->first_token_ns)
        seq->first_token_ns = now_ns();

    struct engine_event event = {.call = seq->call, .kind = ENGINE_TOKEN, .id = id};
    if (seq->request->top_logprobs >= 0)
        score(e->logits, model_hparams(e->model)->vocab, log_sum, seq->request->top_logprobs,
              &event);
    const char *text;
    size_t bytes;
    detok_push(&seq->detok, id, &text, &bytes);
    outbox_push_text(&e->outbox, &event, text, bytes);

    if (seq->detok.stopped ||
        (vocab_is_end(model_vocab(e->model), id) && !seq->request->ignore_end)) {
        finish(e, seq, ENGINE_STOP, NULL);
        return false;
    }
    if (seq_is_full(seq)) {
        finish(e, seq, ENGINE_LENGTH, NULL);
        return false;
    }
    return true;
}

/* The step has made the sequence's next n rows. */
static void keep_rows(struct engine *e, struct seq *seq, int n)
{
    if (seq_is_decoding(seq))
        view_mark_answers(&seq->view, seq->n_cached, n);
    seq->n_cached += n;
    tree_keep(e->tree, &seq->view, seq->token, seq->n_cached);
}

static void after_step(struct engine *e, uint64_t ns)
{
    struct batch *b = &e->batch;
    int prompt_rows = 0, decode_rows = 0;
    for (int i = 0; i < b->n_seqs; i++) {
        struct seq *seq = b->seq[i];
        *(seq_is_decoding(seq) ? &decode_rows : &prompt_rows) += b->n_rows[i];
        keep_rows(e, seq, b->n_rows[i]);
        int index = index_of(e, seq);
        if ((b->prompt[i] >= 0 && !score_prompt(e, seq, b->prompt[i], b->n_rows[i])) ||
            (b->logits[i] >= 0 && !step_sequence(e, seq, b->logits[i])))
            e->active[index] = NULL; /* it is freed */
    }
    close_gaps(e);
    e->unsaved = true;
    e->stepped_ns = now_ns();

    count_up(&e->count.steps, 1);
    count_up(&e->count.prompt_tokens, (uint64_t)prompt_rows);
    count_up(&e->count.decoded_tokens, (uint64_t)decode_rows);
    int rows = prompt_rows + decode_rows;
    count_up(&e->count.prefill_ns, ns * (uint64_t)prompt_rows / (uint64_t)rows);
    count_up(&e->count.decode_ns, ns * (uint64_t)decode_rows / (uint64_t)rows);
}

static void publish(struct engine *e)
{
    int queued = 0;
    for (const struct seq *s = e->queue; s; s = s->next)
        queued++;
    atomic_store_explicit(&e->count.sequences, (unsigned)e->n_active, memory_order_relaxed);
    atomic_store_explicit(&e->count.queued, (unsigned)queued, memory_order_relaxed);
    int kept = page_pool_idle(e->pool), used = page_pool_used(e->pool) - kept;
    atomic_store_explicit(&e->count.pages_used, (unsigned)used, memory_order_relaxed);
    atomic_store_explicit(&e->count.pages_kept, (unsigned)kept, memory_order_relaxed);
    outbox_tell(&e->outbox);
}

static void cancel_all(struct engine *e)
{
    slots_cancel_all(&e->slots);
    accept_commands(e);
    drop_cancelled(e);
}

static void wait_until(struct engine *e, uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    sem_clockwait(&e->work, CLOCK_MONOTONIC, &t);
}

/* With no rows to compute: one talk after the other goes to the disk, once nobody has asked for
 * anything for a while. */
static void rest(struct engine *e)
{
    uint64_t due = e->stepped_ns + SAVE_AFTER_NS;
    bool may_save = e->archive && e->unsaved && e->n_active == 0 && !archive_is_saving(e->archive);
    if (may_save && now_ns() < due) {
        wait_until(e, due);
    } else {
        if (may_save)
            e->unsaved = archive_save(e->archive);
        while (sem_wait(&e->work) < 0) /* EINTR */
            ;
    }
    while (sem_trywait(&e->work) == 0) /* wishes that came during steps are one wish */
        ;
}

/* Who was away goes on. */
static void take_back(struct engine *e)
{
    struct seq *seq;
    while (e->archive && (seq = archive_serve(e->archive)))
        begin(e, seq);
}

static void save_the_rest(struct engine *e)
{
    uint64_t end = atomic_load(&e->save_until_ns);
    while (now_ns() < end) {
        while (archive_serve(e->archive)) /* they are cancelled next */
            ;
        if (!archive_is_saving(e->archive) && !archive_save(e->archive))
            return;
        wait_until(e, end);
    }
}

static void *engine_main(void *arg)
{
    struct engine *e = arg;
    place_drive(e->place);
    while (!atomic_load(&e->stop)) {
        accept_commands(e);
        take_back(e);
        drop_cancelled(e);
        admit(e);
        fill_batch(e);
        if (e->batch.rows.n == 0) {
            forward_rest(e->forward);
            publish(e);
            rest(e);
            continue;
        }
        uint64_t start = now_ns();
        forward_run(e->forward, &e->batch.rows);
        after_step(e, now_ns() - start);
        publish(e);
    }
    forward_rest(e->forward);
    if (e->archive)
        save_the_rest(e);
    archive_close(e->archive);
    e->archive = NULL;
    cancel_all(e);
    publish(e);
    return NULL;
}

/* ------------------------------------------------------------------ open and close */

/* Every sequence at full context, but no more than half of what is left now that the weights are
 * in; at least what the budget promised. Only reserved: what no one uses is never touched. */
static uint64_t default_cache_bytes(const struct engine *e, size_t page_bytes)
{
    char limit[64];
    int talk = e->context < BUDGET_TOKENS ? e->context : BUDGET_TOKENS;
    uint64_t least = (uint64_t)view_pages(talk) * page_bytes;
    uint64_t all =
        (uint64_t)view_pages(e->context) * page_bytes * (uint64_t)e->config.max_sequences;
    uint64_t most = mem_available(limit, sizeof limit) / 2;
    return all < most ? all : least > most ? least : most;
}

static int open_cache(struct engine *e, struct err *err)
{
    struct kv_schema schema;
    forward_schema(e->forward, &schema);
    enum mk_type type = forward_cache_type(e->forward);
    size_t page_bytes = kv_page_bytes(&schema, type);
    uint64_t bytes = e->config.cache_bytes;
    if (bytes == 0)
        bytes = default_cache_bytes(e, page_bytes);
    int r = page_pool_open(&schema, type, bytes, &e->pool, err);
    if (r < 0)
        return r;
    page_pool_spread(e->pool, e->place);
    e->n_pages = page_pool_total(e->pool);
    e->cache_bytes = (uint64_t)e->n_pages * page_bytes;
    r = tree_open(e->pool, (int)((int64_t)e->n_pages * e->config.keep_percent / 100), &e->tree);
    if (r < 0)
        return err_set(err, r, "no memory to remember %d pages", e->n_pages);
    if ((int64_t)e->n_pages * PAGE_TOKENS < e->context)
        e->context = e->n_pages * PAGE_TOKENS;
    return 0;
}

static void porter_is_back(void *arg)
{
    sem_post(&((struct engine *)arg)->work);
}

/* Without one everything goes on, but for a process's time only. */
static int open_archive(struct engine *e, struct err *err)
{
    if (!e->config.porter || e->config.keep_percent == 0)
        return 0;
    struct kv_schema schema;
    forward_schema(e->forward, &schema);
    struct rowfile_key key;
    struct err why = {0};
    if (archive_key(e->model, e->place, &schema, forward_cache_type(e->forward), &key, &why) < 0) {
        log_warning("engine", "nothing is kept on the disk: %s", why.text);
        return 0;
    }
    int r = archive_open(e->config.porter, &key, e->pool, e->tree, e->config.max_sequences,
                         e->context, porter_is_back, e, &e->archive);
    return r < 0 ? err_set(err, r, "no memory for an archive of %d tokens", e->context) : 0;
}

static int open_memory(struct engine *e)
{
    int vocab = model_hparams(e->model)->vocab;
    int sequences = e->config.max_sequences;
    int calls = sequences + e->config.max_queue;
    e->active = calloc((size_t)sequences, sizeof *e->active);
    e->logits = calloc((size_t)vocab, sizeof *e->logits);
    e->banned = calloc((size_t)vocab, 1);
    if (!e->active || !e->logits || !e->banned)
        return -ENOMEM;
    for (int32_t id = 0; id < vocab; id++)
        e->banned[id] =
            id >= vocab_size(model_vocab(e->model)) || vocab_is_unused(model_vocab(e->model), id);
    int r = batch_init(&e->batch, e->config.step_rows);
    if (r == 0)
        r = candidates_init(&e->candidates, vocab);
    if (r == 0)
        r = slots_init(&e->slots, calls);
    if (r == 0)
        r = ring_new((size_t)calls, sizeof(struct command), &e->commands);
    return r;
}

static int start_thread(struct engine *e)
{
    sigset_t all, old; /* signals are the loop's business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&e->thread, NULL, engine_main, e);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    e->started = r == 0;
    return -r;
}

int engine_open(struct model *model, struct place *place, const struct engine_config *config,
                void (*wake)(void *arg), void *arg, struct engine **ret, struct err *err)
{
    struct engine *made = aligned_alloc(64, (sizeof *made + 63) / 64 * 64);
    if (!made)
        return err_set(err, -ENOMEM, "no memory for an engine");
    memset(made, 0, sizeof *made);
    OWN(engine) *e = made;
    e->model = model;
    e->place = place;
    e->config = *config;
    e->queue_end = &e->queue;
    sem_init(&e->work, 0, 0);
    if (e->config.step_rows < e->config.max_sequences)
        e->config.step_rows = e->config.max_sequences;
    e->context = model_hparams(model)->context;
    int r = outbox_init(&e->outbox, wake, arg);
    if (r == 0)
        r = open_memory(e);
    if (r < 0)
        return err_set(err, r, "no memory for an engine of %d sequences", config->max_sequences);
    r = forward_new(model, e->config.step_rows, e->config.max_sequences + ENGINE_PROMPT_ROWS,
                    &e->forward, err);
    if (r == 0)
        r = open_cache(e, err);
    if (r == 0)
        r = open_archive(e, err);
    if (r < 0)
        return r;
    r = start_thread(e);
    if (r < 0)
        return err_set(err, r, "cannot start the engine's thread: %s", strerror(-r));
    *ret = TAKE(e);
    return 0;
}

void engine_save(struct engine *e, uint64_t until_ns)
{
    atomic_store(&e->save_until_ns, until_ns);
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    if (e->started) {
        outbox_close(&e->outbox);
        atomic_store(&e->stop, true);
        sem_post(&e->work);
        pthread_join(e->thread, NULL);
    }
    forward_free(e->forward);
    archive_close(e->archive);
    tree_close(e->tree);
    assert(!e->pool || page_pool_used(e->pool) == 0);
    page_pool_close(e->pool);
    batch_fini(&e->batch);
    candidates_fini(&e->candidates);
    ring_free(e->commands);
    outbox_fini(&e->outbox);
    sem_destroy(&e->work);
    slots_fini(&e->slots);
    free(e->active);
    free(e->logits);
    free(e->banned);
    free(e);
}

/* ------------------------------------------------------------------ the loop's side */

int engine_submit(struct engine *e, struct engine_request *request, uint64_t *call, struct err *err)
{
    int r = request_check(request, model_vocab(e->model), e->context, err);
    if (r < 0)
        return r;
    const struct slot *slot = slots_take(&e->slots);
    if (!slot)
        return err_set(err, -EBUSY, "%d requests are running or waiting, no more are taken",
                       e->slots.n_calls);
    struct command c = {.call = slot->call, .request = request, .submitted_ns = now_ns()};
    if (!ring_push(e->commands, &c))
        abort(); /* it has room for every slot */
    *call = slot->call;
    sem_post(&e->work);
    return 0;
}

void engine_cancel(struct engine *e, uint64_t call)
{
    struct slot *slot = slots_find(&e->slots, call);
    if (!slot)
        return;
    atomic_store(&slot->cancelled, true);
    sem_post(&e->work);
}

void engine_pause(struct engine *e, uint64_t call, bool paused)
{
    struct slot *slot = slots_find(&e->slots, call);
    if (!slot)
        return;
    atomic_store(&slot->paused, paused);
    sem_post(&e->work);
}

bool engine_poll(struct engine *e, struct engine_event *ret)
{
    if (!outbox_pop(&e->outbox, ret))
        return false;
    struct slot *slot = slots_find(&e->slots, ret->call);
    if (slot && ret->kind == ENGINE_DONE)
        slots_give_back(&e->slots, slot);
    return true;
}

const void *engine_cache(const struct engine *e, size_t *bytes)
{
    return page_pool_memory(e->pool, bytes);
}

void engine_stat(const struct engine *e, struct engine_stat *ret)
{
    const struct counters *c = &e->count;
#define READ(field) atomic_load_explicit(&c->field, memory_order_relaxed)
    *ret = (struct engine_stat){
        .steps = READ(steps),
        .prompt_tokens = READ(prompt_tokens),
        .cached_tokens = READ(cached_tokens),
        .decoded_tokens = READ(decoded_tokens),
        .requests_done = READ(done),
        .requests_cancelled = READ(cancelled),
        .errors = READ(errors),
        .prefill_ns = READ(prefill_ns),
        .decode_ns = READ(decode_ns),
        .sequences = READ(sequences),
        .queued = READ(queued),
        .pages_used = READ(pages_used),
        .pages_kept = READ(pages_kept),
        .pages_total = (uint32_t)e->n_pages,
        .context = (uint32_t)e->context,
        .step_rows = (uint32_t)e->config.step_rows,
        .cache_bytes = e->cache_bytes,
    };
#undef READ
}
