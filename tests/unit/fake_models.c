/* SPDX-License-Identifier: MIT
 *
 * Scripted models: the interfaces that the service sees of the floors below it, with nothing below.
 * A thread an engine, one mutex for everything: simple, not fast.
 */
#include "fake_models.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/meter.h"
#include "engine/models.h"
#include "engine/scrub.h"
#include "format/format.h"
#include "model/model.h"
#include "place/place.h"
#include "text/chat.h"
#include "text/detok.h"
#include "text/token.h"

enum { BOS = 256, EOS, THINK, END_THINK, N_VOCAB = 512, CONTEXT = 1 << 20, MAX_WAITING = 256 };

struct vocab {
    int unused;
};
static const struct vocab the_vocab;
static const char *const specials[] = {"<bos>", "<eos>", "<think>", "</think>"};
static char single[256]; /* each byte; filled before there are threads */
static atomic_int n_requests, n_paused, load_ms;

void fake_set_load_ms(int ms)
{
    load_ms = ms;
}

int fake_n_requests(void)
{
    return n_requests;
}

int fake_n_paused(void)
{
    return n_paused;
}

/* ---- text/token.h */
int ids_append(struct ids *ids, const int32_t *id, size_t n)
{
    int32_t *grown = reallocarray(ids->id, ids->n + n + 1, sizeof *grown);
    if (!grown)
        return -ENOMEM;
    memcpy(grown + ids->n, id, n * sizeof *id);
    ids->id = grown;
    ids->n += n;
    return 0;
}

int ids_push(struct ids *ids, int32_t id)
{
    return ids_append(ids, &id, 1);
}

void ids_fini(struct ids *ids)
{
    free(ids->id);
    *ids = (struct ids){0};
}

int vocab_encode(const struct vocab *vocab, const char *text, size_t bytes, unsigned flags,
                 struct ids *ret, struct err *err)
{
    (void)vocab;
    (void)err;
    int32_t *id = malloc((bytes + 1) * sizeof *id);
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        size_t taken = 1;
        id[n] = (unsigned char)text[i];
        for (int s = 0; (flags & VOCAB_SPECIAL) && s < 4; s++) {
            size_t length = strlen(specials[s]);
            if (bytes - i >= length && memcmp(text + i, specials[s], length) == 0) {
                id[n] = BOS + s;
                taken = length;
            }
        }
        i += taken;
        n++;
    }
    int r = ids_append(ret, id, n);
    free(id);
    return r;
}

int32_t vocab_size(const struct vocab *vocab)
{
    (void)vocab;
    return N_VOCAB;
}

int32_t vocab_bos(const struct vocab *vocab)
{
    (void)vocab;
    return BOS;
}

bool vocab_add_bos(const struct vocab *vocab)
{
    (void)vocab;
    return true;
}

bool vocab_is_end(const struct vocab *vocab, int32_t id)
{
    (void)vocab;
    return id == EOS;
}

bool vocab_is_special(const struct vocab *vocab, int32_t id)
{
    (void)vocab;
    return id >= BOS && id <= END_THINK;
}

bool vocab_is_unused(const struct vocab *vocab, int32_t id)
{
    (void)vocab;
    return id > END_THINK;
}

size_t vocab_max_bytes(const struct vocab *vocab)
{
    (void)vocab;
    return 8;
}

const char *vocab_bytes(const struct vocab *vocab, int32_t id, size_t *bytes)
{
    (void)vocab;
    *bytes = 0;
    if (id < 0 || id > END_THINK)
        return "";
    if (id >= BOS) {
        *bytes = strlen(specials[id - BOS]);
        return specials[id - BOS];
    }
    *bytes = 1;
    return &single[id];
}

/* ---- text/chat.h: the contents with | between; if asked to think, every other one is thinking */
struct chat_reply {
    bool thinking;
};

static int render(const struct vocab *vocab, const struct chat_message *messages, int n_messages,
                  const struct chat_options *options, struct ids *ret, struct err *err)
{
    if (n_messages == 0)
        return err_set(err, -EINVAL, "a chat needs a message");
    if (options->thinking)
        ids_push(ret, THINK);
    for (int i = 0; i < n_messages; i++) {
        vocab_encode(vocab, messages[i].content ? messages[i].content : "", messages[i].bytes, 0,
                     ret, err);
        if (i + 1 < n_messages)
            ids_push(ret, !options->thinking ? '|' : i % 2 == 0 ? END_THINK : THINK);
    }
    return 0;
}

static bool opens_thinking(const struct chat_options *options)
{
    return options->thinking;
}

static const struct chat_family family = {"fake", render, opens_thinking, true};

const struct chat_family *chat_by_name(const char *name)
{
    return strcmp(name, family.name) == 0 ? &family : NULL;
}

/* BOS, what stands before, '_', what stands behind; "none" there: no markers. */
int chat_render_hole(const struct vocab *vocab, const char *prefix, size_t prefix_bytes,
                     const char *suffix, size_t suffix_bytes, struct ids *ret, struct err *err)
{
    if (suffix_bytes == 4 && memcmp(suffix, "none", 4) == 0)
        return err_set(err, -EINVAL, "no markers");
    if (ids_push(ret, BOS) < 0 || vocab_encode(vocab, prefix, prefix_bytes, 0, ret, err) < 0 ||
        ids_push(ret, '_') < 0)
        return -ENOMEM;
    return vocab_encode(vocab, suffix, suffix_bytes, 0, ret, err);
}

struct chat_options chat_options_for(const struct chat_family *f,
                                     const struct chat_message *messages, int n_messages,
                                     const struct chat_options *options)
{
    (void)f;
    (void)messages;
    (void)n_messages;
    return *options;
}

bool chat_begins_thinking(const struct chat_family *f, const struct chat_options *options)
{
    return f->opens_thinking(options);
}

bool chat_think_marks(const struct chat_family *f, const struct vocab *vocab, int32_t *open,
                      int32_t *close)
{
    (void)f;
    (void)vocab;
    *open = THINK;
    *close = END_THINK;
    return true;
}

int chat_reply_new(const struct chat_family *f, const struct vocab *vocab,
                   const struct chat_options *options, struct chat_reply **ret)
{
    (void)f;
    (void)vocab;
    (void)options;
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

void chat_reply_free(struct chat_reply *reply)
{
    free(reply);
}

void chat_reply_push(struct chat_reply *reply, int32_t id, const char *text, size_t bytes,
                     chat_emit emit, void *arg)
{
    if (bytes > 0)
        emit(arg, reply->thinking ? CHAT_PART_THINKING : CHAT_PART_TEXT, text, bytes);
    if (id == THINK || id == END_THINK)
        reply->thinking = id == THINK;
}

void chat_reply_finish(struct chat_reply *reply, chat_emit emit, void *arg)
{
    (void)reply;
    (void)emit;
    (void)arg;
}

int chat_reply_n_calls(const struct chat_reply *reply)
{
    (void)reply;
    return 0;
}

const char *chat_reply_call_id(const struct chat_reply *reply)
{
    (void)reply;
    return NULL;
}

/* ---- model/model.h, format/format.h */
struct model {
    struct model_info info;
    bool chats;
};

const struct model_info *model_info(const struct model *model)
{
    return &model->info;
}

const struct vocab *model_vocab(const struct model *model)
{
    (void)model;
    return &the_vocab;
}

const struct chat_family *model_chat(const struct model *model)
{
    return model->chats ? &family : NULL;
}

const struct format *model_format(const struct model *model)
{
    (void)model;
    return NULL;
}

const struct meta *format_meta(const struct format *format)
{
    (void)format;
    return NULL;
}

/* ---- engine/engine.h */
struct engine_request *engine_request_new(void)
{
    n_requests++;
    return calloc(1, sizeof(struct engine_request));
}

void engine_request_free(struct engine_request *request)
{
    if (!request)
        return;
    for (int i = 0; i < request->n_stops; i++)
        free(request->stops[i]);
    free(request->stops);
    sample_params_fini(&request->sample);
    free(request->prompt);
    free(request);
    n_requests--;
}

struct run { /* a call inside the fake */
    struct run *next;
    uint64_t call;
    struct engine_request *request;
    struct detok detok;
    int n_done, at, skip; /* next token of the prompt, first one after BOS */
    int n_thinking;
    bool is_thinking;
    bool cancelled, paused;
    enum { ECHO, HANG, ERROR, FLOOD, SLOW } script;
    uint64_t due_ns;
};

struct waiting {
    struct waiting *next;
    struct engine_event ev;
};

struct engine {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct run *runs;
    struct waiting *first, **last;
    int n_waiting;
    uint64_t next_call;
    bool closing;
    void (*wake)(void *arg);
    void *arg;
    struct engine_stat stat;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void say(struct engine *e, const struct engine_event *ev)
{
    struct waiting *w = calloc(1, sizeof *w);
    w->ev = *ev;
    *e->last = w;
    e->last = &w->next;
    e->n_waiting++;
}

static void end_run(struct engine *e, struct run *run, enum engine_finish finish, const char *why)
{
    struct engine_event ev = {.call = run->call, .kind = ENGINE_MORE};
    const char *text;
    size_t n;
    detok_finish(&run->detok, &text, &n);
    if (n > 0 && n < ENGINE_TEXT_BYTES) {
        memcpy(ev.text, text, n);
        ev.n_text = (uint16_t)n;
        say(e, &ev);
    }
    ev = (struct engine_event){.call = run->call, .kind = ENGINE_DONE, .finish = finish};
    ev.stop_index = run->detok.stopped ? run->detok.stop : -1;
    ev.n_prompt = run->request->n_prompt;
    ev.n_tokens = run->n_done;
    ev.n_thinking = run->n_thinking;
    ev.care_bytes = run->request->care == CARE_PARK ? 1000 : 0;
    ev.care_code = run->request->care != CARE_NONE && finish == ENGINE_ERROR ? -EIO : 0;
    strcpy(ev.text, why);
    say(e, &ev);
    struct run **at = &e->runs;
    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
    n_paused -= run->paused;
    detok_fini(&run->detok);
    engine_request_free(run->request);
    free(run);
    e->stat.sequences--;
}

/* One token, or the end. */
static void step(struct engine *e, struct run *run)
{
    struct engine_request *request = run->request;
    if (run->cancelled) {
        end_run(e, run, ENGINE_CANCELLED, "");
        return;
    }
    if (run->paused || run->script == HANG || (run->due_ns && now_ns() < run->due_ns))
        return;
    if (request->care != CARE_NONE) {
        end_run(e, run, run->script == ERROR ? ENGINE_ERROR : ENGINE_STOP,
                run->script == ERROR ? "the disk is broken" : "");
        return;
    }
    if (request->is_embedding) {
        say(e, &(struct engine_event){
                   .call = run->call, .kind = ENGINE_VALUES, .n_values = 2, .value = {3, 4}});
        end_run(e, run, ENGINE_STOP, "");
        return;
    }
    if (run->script == ERROR && run->n_done == 3) {
        end_run(e, run, ENGINE_ERROR, "non-finite logits at token 3");
        return;
    }
    if (request->max_tokens && run->n_done == request->max_tokens) {
        end_run(e, run, ENGINE_LENGTH, "");
        return;
    }
    if (run->script == FLOOD && run->at == request->n_prompt)
        run->at = run->skip;
    int32_t id = run->at < request->n_prompt ? request->prompt[run->at++] : EOS;
    if (id == EOS && !request->ignore_end) {
        end_run(e, run, ENGINE_STOP, "");
        return;
    }
    if (id == EOS)
        run->at = run->skip;
    run->n_thinking += run->is_thinking || id == THINK;
    run->is_thinking = id != END_THINK && (run->is_thinking || id == THINK);
    struct engine_event ev = {.call = run->call, .kind = ENGINE_TOKEN, .id = id, .logprob = -0.5f};
    const char *text;
    size_t n;
    detok_push(&run->detok, id, &text, &n);
    assert(n <= ENGINE_TEXT_BYTES);
    memcpy(ev.text, text, n);
    ev.n_text = (uint16_t)n;
    for (int i = 0; i < request->top_logprobs; i++, ev.n_top++) {
        ev.top[i].id = i;
        ev.top[i].logprob = -(float)i;
    }
    run->n_done++;
    run->due_ns = run->script == SLOW ? now_ns() + 20000000 : 0;
    e->stat.decoded_tokens++;
    say(e, &ev);
    if (run->detok.stopped)
        end_run(e, run, ENGINE_STOP, "");
}

static void *work(void *arg)
{
    struct engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->closing) {
        int before = e->n_waiting;
        for (struct run *run = e->runs, *next; run; run = next) {
            next = run->next;
            if (e->n_waiting < MAX_WAITING)
                step(e, run);
        }
        e->stat.steps++;
        if (e->n_waiting > before) {
            pthread_mutex_unlock(&e->lock);
            e->wake(e->arg);
            pthread_mutex_lock(&e->lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 2000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&e->change, &e->lock, &until);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

static struct engine *engine_start(void (*wake)(void *), void *arg)
{
    struct engine *e = calloc(1, sizeof *e);
    e->wake = wake;
    e->arg = arg;
    e->last = &e->first;
    e->next_call = 1;
    e->stat.pages_total = 100;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->change, NULL);
    pthread_create(&e->thread, NULL, work, e);
    return e;
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_signal(&e->change);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    while (e->runs)
        end_run(e, e->runs, ENGINE_CANCELLED, "");
    struct engine_event ev;
    while (engine_poll(e, &ev))
        ;
    pthread_cond_destroy(&e->change);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int engine_submit(struct engine *e, struct engine_request *request, uint64_t *call, struct err *err)
{
    char head[8] = "";
    int skip = request->n_prompt > 0 && request->prompt[0] == BOS;
    for (int i = 0; i < 7 && skip + i < request->n_prompt; i++)
        head[i] = (char)request->prompt[skip + i];
    if (strncmp(head, "!busy", 5) == 0)
        return err_set(err, -EBUSY, "the queue is full: 0 requests wait");
    struct run *run = calloc(1, sizeof *run);
    int r = detok_init(&run->detok, &the_vocab, request->show_special,
                       (const char *const *)request->stops, request->n_stops, err);
    if (r < 0) {
        free(run);
        return r;
    }
    run->request = request;
    run->script = strncmp(head, "!hang", 5) == 0    ? HANG
                  : strncmp(head, "!error", 6) == 0 ? ERROR
                  : strncmp(head, "!flood", 6) == 0 ? FLOOD
                  : strncmp(head, "!slow", 5) == 0  ? SLOW
                                                    : ECHO;
    run->at = run->skip = skip;
    pthread_mutex_lock(&e->lock);
    run->call = *call = e->next_call++;
    run->next = e->runs;
    e->runs = run;
    e->stat.sequences++;
    pthread_cond_signal(&e->change);
    pthread_mutex_unlock(&e->lock);
    return 0;
}

static struct run *find(struct engine *e, uint64_t call)
{
    struct run *run = e->runs;
    while (run && run->call != call)
        run = run->next;
    return run;
}

void engine_cancel(struct engine *e, uint64_t call)
{
    pthread_mutex_lock(&e->lock);
    struct run *run = find(e, call);
    if (run)
        run->cancelled = true;
    pthread_cond_signal(&e->change);
    pthread_mutex_unlock(&e->lock);
}

void engine_pause(struct engine *e, uint64_t call, bool paused)
{
    pthread_mutex_lock(&e->lock);
    struct run *run = find(e, call);
    if (run && run->paused != paused) {
        run->paused = paused;
        n_paused += paused ? 1 : -1;
    }
    pthread_mutex_unlock(&e->lock);
}

bool engine_poll(struct engine *e, struct engine_event *ret)
{
    pthread_mutex_lock(&e->lock);
    struct waiting *w = e->first;
    if (w) {
        *ret = w->ev;
        e->first = w->next;
        if (!e->first)
            e->last = &e->first;
        e->n_waiting--;
        free(w);
        pthread_cond_signal(&e->change);
    }
    pthread_mutex_unlock(&e->lock);
    return w != NULL;
}

uint64_t engine_retry_ns(const struct engine *engine)
{
    (void)engine;
    return 7000000000;
}

bool engine_look(const struct engine *engine, uint64_t call, struct engine_look *ret)
{
    (void)engine;
    (void)call;
    (void)ret;
    return false;
}

void engine_stat(const struct engine *engine, struct engine_stat *ret)
{
    struct engine *e = (struct engine *)engine;
    pthread_mutex_lock(&e->lock);
    *ret = e->stat;
    ret->pages_used = ret->sequences;
    pthread_mutex_unlock(&e->lock);
}

void engine_press(struct engine *engine, enum rung rung)
{
    (void)engine;
    (void)rung;
}

uint64_t engine_pinned_bytes(struct engine *engine, uint32_t uid, uint64_t talk)
{
    (void)engine;
    return uid + talk > 0 ? 2000 : 0;
}

void engine_unpin(struct engine *engine, uint32_t uid, uint64_t talk)
{
    (void)engine;
    (void)uid;
    (void)talk;
}

struct porter *models_porter(const struct models *m)
{
    (void)m;
    return NULL;
}

static struct meters meters;

const struct meters *engine_meters(const struct engine *engine)
{
    (void)engine;
    return &meters;
}

struct usage *engine_usage(const struct engine *engine)
{
    (void)engine;
    return NULL;
}

/* ---- engine/models.h */
enum { N_MODELS = 4 };

struct models {
    struct models_entry entries[N_MODELS];
    struct model models[N_MODELS];
    uint64_t ready_ns[N_MODELS]; /* when a load is through; 0: none runs */
    pthread_t alarm;
    atomic_bool ending;
    void (*changed)(void *arg);
    void *arg;
};

const char *models_state_name(enum models_state state)
{
    static const char *const names[] = {"unloaded", "loading", "ready",
                                        "text",     "failed",  "unloading"};
    return names[state];
}

static void *ring_alarm(void *arg)
{
    struct models *models = arg;
    while (!models->ending) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        models->changed(models->arg);
    }
    return NULL;
}

int models_new(const struct models_config *config, void (*changed)(void *arg), void *arg,
               struct models **ret, struct err *err)
{
    static const char *const names[N_MODELS] = {"fake", "plain", "words", "broken"};
    (void)config;
    (void)err;
    meters_init(&meters);
    for (int i = 0; i < 256; i++)
        single[i] = (char)i;
    struct models *models = calloc(1, sizeof *models);
    models->changed = changed;
    models->arg = arg;
    for (int i = 0; i < N_MODELS; i++) {
        models->models[i] = (struct model){{.name = names[i],
                                            .path = "/fake",
                                            .family = "fake",
                                            .file_type = "",
                                            .kind = "none",
                                            .context = CONTEXT,
                                            .vocab = N_VOCAB,
                                            .text_only = i == 2},
                                           .chats = i == 0};
        models->entries[i] = (struct models_entry){.name = names[i],
                                                   .path = "/fake",
                                                   .model = &models->models[i],
                                                   .info = &models->models[i].info};
    }
    models->entries[2].state = MODELS_TEXT;
    pthread_create(&models->alarm, NULL, ring_alarm, models);
    *ret = models;
    return 0;
}

void models_free(struct models *models)
{
    if (!models)
        return;
    models->ending = true;
    pthread_join(models->alarm, NULL);
    for (int i = 0; i < N_MODELS; i++)
        engine_close(models->entries[i].engine);
    free(models);
}

void models_scrubbed(const struct models_entry *entry, struct scrub_stat *ret)
{
    (void)entry;
    *ret = (struct scrub_stat){0};
}

const char *models_vault(const struct models *m)
{
    (void)m;
    return "";
}

int models_count(const struct models *models)
{
    (void)models;
    return N_MODELS;
}

struct models_entry *models_at(struct models *models, int i)
{
    return &models->entries[i];
}

struct models_entry *models_find(struct models *models, const char *name)
{
    if (!name || !*name)
        return &models->entries[0];
    for (int i = 0; i < N_MODELS; i++)
        if (strcmp(models->entries[i].name, name) == 0)
            return &models->entries[i];
    return NULL;
}

/* No folders: there is nothing to list, and everything is open. */
unsigned models_scan(struct models *models)
{
    (void)models;
    return 0;
}

bool models_is_scanned(const struct models *models, unsigned ticket)
{
    (void)models;
    (void)ticket;
    return true;
}

void models_describe(const struct models_entry *entry, struct place_words *ret)
{
    (void)entry;
    *ret = (struct place_words){.workers = "1 on processor 0, of 1 core"};
}

void models_receipt(const struct models_entry *entry, struct models_receipt *ret)
{
    (void)entry;
    *ret = (struct models_receipt){"none", "script", "F32", "absorbed", "0123456789abcdef"};
}

int models_open(struct models *models, struct models_entry *entry, struct err *err)
{
    (void)models;
    return err_set(err, -EINVAL, "'%s' is open", entry->name);
}

void models_shut(struct models_entry *entry)
{
    (void)entry;
}

int models_load(struct models *models, struct models_entry *entry, struct err *err)
{
    if (entry->state == MODELS_TEXT)
        return err_set(err, -ENOTSUP, "'%s' has no weights", entry->name);
    if (entry->state == MODELS_LOADING || entry->state == MODELS_READY)
        return 0;
    entry->state = MODELS_LOADING;
    entry->generation++;
    entry->bytes_all = 1000;
    models->ready_ns[entry - models->entries] = now_ns() + (uint64_t)load_ms * 1000000 + 1;
    return 0;
}

int models_unload(struct models *models, struct models_entry *entry, struct err *err)
{
    (void)models;
    if (entry->state == MODELS_LOADING)
        return err_set(err, -EBUSY, "'%s' is loading", entry->name);
    engine_close(entry->engine);
    entry->engine = NULL;
    if (entry->state == MODELS_READY)
        entry->state = MODELS_UNLOADED;
    entry->generation++;
    return 0;
}

int models_rest(struct models *models, struct models_entry *entry, struct err *err)
{
    entry->resting = true;
    return models_unload(models, entry, err);
}

bool models_update(struct models *models)
{
    bool is_changed = false;
    for (int i = 0; i < N_MODELS; i++) {
        struct models_entry *entry = &models->entries[i];
        if (models->ready_ns[i] == 0 || now_ns() < models->ready_ns[i])
            continue;
        models->ready_ns[i] = 0;
        entry->generation++;
        is_changed = true;
        if (i == 3) {
            entry->state = MODELS_FAILED;
            err_set(&entry->error, -EIO, "the weights cannot be read");
            continue;
        }
        entry->state = MODELS_READY;
        entry->engine = engine_start(models->changed, models->arg);
    }
    return is_changed;
}
