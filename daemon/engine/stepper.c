/* SPDX-License-Identifier: MIT */
#include "engine/stepper.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "engine/archive.h"
#include "engine/cache.h"
#include "engine/draw.h"
#include "engine/haste.h"
#include "engine/meter.h"
#include "engine/news.h"
#include "engine/outbox.h"
#include "engine/pass.h"
#include "engine/pins.h"
#include "engine/sched.h"
#include "engine/seq.h"
#include "engine/slots.h"
#include "engine/speed.h"
#include "engine/tally.h"
#include "engine/usage.h"
#include "kv/tree.h"
#include "model/forward.h"
#include "model/model.h"
#include "text/token.h"

enum {
    SAVE_AFTER_NS = 1000000000, /* without a step */
    NUMBER_NS = 250000000,      /* from one count of who waits to the next */
    FEW_ROWS = 12,              /* for each expert's weights */
    LEAST_ROWS = 32,
    LOOK_NS = 2000000, /* from one look at who waits to the next, while ops run */
};

struct share { /* of a step */
    struct seq *seq;
    int rows;
};

struct stepper {
    struct model *model;
    struct engine_config config;
    struct slots *slots;
    struct outbox *outbox;
    struct tally tally;
    atomic_int rung;
    atomic_bool is_news; /* there is something to look at */
    bool is_shed;        /* there is no scratch to give back */
    struct meters meters;
    struct usage *usage; /* NULL: no experts */

    struct pass pass[N_TRACKS];
    struct cache cache;
    bool unsaved; /* the tree has grown since all of it was handed to the archive */
    uint64_t stepped_ns, numbered_ns;
    struct sched *sched;
    struct speed speed;
    TAILQ_HEAD(, seq) seqs; /* all, in order of arrival */
    struct share *share;    /* [max_sequences] of the step that is planned */
    int n_shares;
    struct draw draw;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct seq *seq_of(struct sched_task *task)
{
    return (struct seq *)((char *)task - offsetof(struct seq, task));
}

/* Of a sequence that is busy. */
static struct pass *pass_of(struct stepper *s, const struct seq *seq)
{
    for (enum track track = 0; track < N_TRACKS; track++)
        for (int i = 0; s->pass[track].is_on && i < s->pass[track].batch.n_seqs; i++)
            if (s->pass[track].batch.seq[i] == seq)
                return &s->pass[track];
    abort();
}

/* ------------------------------------------------------------------ coming and going */

/* Pages of the sequence that needs the most. */
static int most_needed(const struct stepper *s)
{
    int most = 0;
    const struct seq *seq;
    TAILQ_FOREACH (seq, &s->seqs, beside)
        if (seq->view.room > most)
            most = seq->view.room;
    return most;
}

/* Sends the last event of a sequence and frees it, or leaves it to the archive. */
static void finish(struct stepper *s, struct seq *seq, enum engine_finish how, const char *reason)
{
    uint64_t now = now_ns();
    uint64_t waited = now - seq->task.added_ns, wait = sched_wait_ns(&seq->task, now);
    news_end(s->outbox, seq, how, reason, wait > waited ? wait : waited, now);
    if (seq->request->care == CARE_NONE)
        tally_end(&s->tally, how, now);
    TAILQ_REMOVE(&s->seqs, seq, beside);
    sched_remove(s->sched, &seq->task);
    if (seq->is_away || seq->task.is_busy) { /* its pages are lent, or in use */
        seq->is_over = true;
        if (seq->task.is_busy)
            pass_of(s, seq)->n_over++;
        return;
    }
    /* Where numbers ran away, who asks again starts anew. */
    bool is_broken = how == ENGINE_ERROR && seq->request->care == CARE_NONE;
    tally_add(&s->tally.given_back, cache_leave(&s->cache, seq, is_broken, most_needed(s)));
}

/* A step is over whose sequence was told to be over before. */
static void let_go(struct stepper *s, struct seq *seq)
{
    tally_add(&s->tally.given_back, cache_leave(&s->cache, seq, false, most_needed(s)));
}

/* It has not begun by when it should have, or will not have. */
static void refuse(struct stepper *s, struct seq *seq, uint64_t now)
{
    char reason[ENGINE_TEXT_BYTES];
    double wait = (double)sched_wait_ns(&seq->task, now) * 1e-9;
    double asked = (double)seq->request->queue_ns * 1e-9;
    if (now >= seq->task.deadline_ns)
        snprintf(reason, sizeof reason, "its turn has not come in %.3g s", asked);
    else
        snprintf(reason, sizeof reason,
                 "it may wait %.3g s for its turn, which would come in about %.3g s", asked, wait);
    finish(s, seq, ENGINE_REFUSED, reason);
}

/* Tokens in all. Who does not say how many has no more than pins leave, if his prompt fits there.
 */
static int limit_of(const struct stepper *s, const struct engine_request *request)
{
    int limit = s->cache.context, n_prompt = request->n_prompt;
    int64_t left = (int64_t)pins_n_left(s->cache.pins) * PAGE_TOKENS;
    if (request->care != CARE_NONE)
        return n_prompt;
    if (request->max_tokens > 0)
        return request->max_tokens < limit - n_prompt ? n_prompt + request->max_tokens : limit;
    return left > n_prompt && left < limit ? (int)left : limit;
}

void stepper_accept(struct stepper *s, uint64_t call, struct engine_request *request,
                    uint64_t submitted_ns)
{
    int limit = limit_of(s, request), n_prompt = request->n_prompt;
    struct seq *seq;
    int r =
        seq_new(call, request, model_vocab(s->model), limit, model_hparams(s->model)->vocab, &seq);
    if (r == 0) {
        cache_limit(&s->cache, request, &seq->view);
        seq->task = (struct sched_task){
            .uid = request->uid,
            .class = request->class,
            .pages = seq->view.room,
            .added_ns = submitted_ns,
            .deadline_ns = request->queue_ns ? submitted_ns + request->queue_ns : 0,
        };
        if (request->is_embedding)
            r = mean_init(&seq->mean, model_hparams(s->model)->hidden);
        if (r == 0)
            r = sched_add(s->sched, &seq->task);
        if (r < 0)
            seq_free(seq, s->cache.pool);
    }
    if (r < 0) {
        news_no_memory(s->outbox, call, n_prompt);
        tally_end(&s->tally, ENGINE_ERROR, now_ns());
        return;
    }
    if (!request->prompt_logprobs && !request->is_embedding)
        seq->n_hoped = tree_peek(s->cache.tree, request->uid, seq->token, n_prompt, seq->answers);
    TAILQ_INSERT_TAIL(&s->seqs, seq, beside);
    uint64_t now = now_ns();
    if (seq->task.deadline_ns && now + sched_wait_ns(&seq->task, now) > seq->task.deadline_ns)
        refuse(s, seq, now);
}

static bool is_late(const struct seq *seq, uint64_t now)
{
    return !seq->task.has_begun && seq->task.deadline_ns && now >= seq->task.deadline_ns;
}

/* Ends who was cancelled or is too late, and looks who could have rows. */
static void look_at_seqs(struct stepper *s, uint64_t now)
{
    for (struct seq *seq = TAILQ_FIRST(&s->seqs), *next; seq; seq = next) {
        next = TAILQ_NEXT(seq, beside);
        if (slots_is_cancelled(s->slots, seq->call)) {
            finish(s, seq, ENGINE_CANCELLED, NULL);
            continue;
        }
        if (is_late(seq, now)) {
            refuse(s, seq, now);
            continue;
        }
        if (haste_is_over(seq, now, 0)) {
            finish(s, seq, ENGINE_TIME, NULL);
            continue;
        }
        seq->task.rests = seq->is_away || slots_is_paused(s->slots, seq->call);
        if (!seq->task.has_begun)
            pins_leave(s->cache.pins, seq->view.room);
        if (seq->task.is_busy)
            continue;
        seq->task.writes = seq_is_decoding(seq);
        seq->task.n_rows = seq_n_waiting(seq) - (seq->is_recalled ? 0 : seq->n_hoped);
    }
}

/* Nobody is left to whom a step matters. */
static void give_up_idle_passes(struct stepper *s)
{
    for (enum track track = 0; track < N_TRACKS; track++) {
        struct pass *pass = &s->pass[track];
        if (!pass->is_on || pass->n_over < pass->batch.n_seqs)
            continue;
        for (int i = 0; i < pass->batch.n_seqs; i++)
            let_go(s, pass->batch.seq[i]);
        sched_stop(s->sched, track, false);
        pass->is_on = false;
    }
}

/* ------------------------------------------------------------------ what is known */

static void know(struct stepper *s, struct seq *seq)
{
    seq->n_cached = seq->n_known;
    seq->task.n_rows = seq_n_waiting(seq);
    if (seq->request->care == CARE_NONE)
        tally_add(&s->tally.cached_tokens, (uint64_t)seq->n_known);
    news_known(s->slots, s->outbox, seq);
}

/* As late as can be: whoever is reading the same has come further by now. */
static void recall(struct stepper *s, struct seq *seq)
{
    seq->is_recalled = true;
    seq->n_known = tree_recall(s->cache.tree, &seq->view, seq->token, seq->n_tokens, seq->answers);
    if (!s->cache.archive || !archive_ask(s->cache.archive, seq))
        know(s, seq);
}

/* Who was away goes on, or ends at last. */
static void take_back(struct stepper *s)
{
    struct seq *seq;
    while (s->cache.archive && (seq = archive_serve(s->cache.archive))) {
        if (seq->is_over)
            seq_free(seq, s->cache.pool);
        else if (!seq->park.is_done)
            know(s, seq);
    }
}

/* ------------------------------------------------------------------ a step */

/* Pages that are neither in use nor promised to those who have begun. What is only kept counts as
 * free: it goes when somebody needs it. */
static int n_unpromised(const struct stepper *s)
{
    int n = s->cache.n_pages - page_pool_used(s->cache.pool) + page_pool_idle(s->cache.pool);
    const struct seq *seq;
    TAILQ_FOREACH (seq, &s->seqs, beside)
        if (seq->task.has_begun)
            n -= seq->view.room - seq->view.n;
    return n;
}

/* As if those who read now were done with that when this one is. */
static void estimate(struct stepper *s, struct seq *seq)
{
    int rows = 0, answers = seq->request->n_beside;
    const struct seq *other;
    TAILQ_FOREACH (other, &s->seqs, beside)
        if (other->task.has_begun) {
            answers++;
            rows += other->task.writes ? 0 : other->task.n_rows;
        }
    struct engine_event event;
    haste_estimate(seq, &s->speed, rows, answers, now_ns(), &event);
    outbox_push(s->outbox, &event);
    seq->is_estimated = true;
}

/* How many rows a sequence takes now that its turn to read has come, 0: it waits for the disk. */
static int rows_to_read(struct stepper *s, struct seq *seq, int most, int n_scored)
{
    bool all = seq->request->prompt_logprobs; /* which need every row */
    if (!seq->is_recalled && !all && !seq->request->is_embedding)
        recall(s, seq);
    if (seq->is_away)
        return 0;
    if (seq->request->finish_by_ns > 0 && !seq->is_estimated)
        estimate(s, seq);
    if (all && most > ENGINE_PROMPT_ROWS - n_scored)
        most = ENGINE_PROMPT_ROWS - n_scored;
    if (seq_is_writing(seq) && most > ENGINE_REPLAY_ROWS)
        most = ENGINE_REPLAY_ROWS;
    return seq_n_alike(seq, most < seq->task.n_rows ? most : seq->task.n_rows);
}

/* Whether the sequence goes on: a prompt may fill the context. */
static bool begin(struct stepper *s, struct seq *seq)
{
    seq->started_ns = seq->told_ns = now_ns();
    news_begun(s->slots, seq);
    sched_begin(s->sched, &seq->task, seq->started_ns);
    if (!seq_is_full(seq) || seq->request->is_embedding || seq->request->care != CARE_NONE)
        return true;
    finish(s, seq, ENGINE_LENGTH, NULL);
    return false;
}

/* Its tokens are moved, not read: it is over, or away, or is to come again. */
static void care(struct stepper *s, struct seq *seq)
{
    if (!seq->is_recalled)
        recall(s, seq);
    if (!seq->is_away && cache_care(&s->cache, seq)) {
        int code = seq->park.code;
        finish(s, seq, code < 0 ? ENGINE_ERROR : ENGINE_STOP, code < 0 ? seq->park.err.text : NULL);
        return;
    }
    sched_give(s->sched, &seq->task, 0);
    seq->task.rests = true;
}

/* Of what was promised when it began the porter may have some, kept by nobody else: then false, and
 * it waits until he brings that back. */
static bool take_pages(struct stepper *s, struct seq *seq, int rows)
{
    int n = seq->n_cached + rows;
    tree_make_room(s->cache.tree, &seq->view, view_pages(n) - seq->view.n);
    return view_grow(&seq->view, s->cache.pool, n) == 0;
}

/* Shares out a step; false: it is to be done again, since nobody is left of those who kept others
 * out. */
static bool plan(struct stepper *s, enum track track)
{
    struct sched_task *task;
    int rows, n_scored = 0;
    bool is_left = false;
    s->n_shares = 0;
    if (!sched_plan(s->sched, track))
        return true;
    while ((task = sched_next(s->sched, &rows))) {
        struct seq *seq = seq_of(task);
        if (!task->has_begun && !begin(s, seq)) {
            is_left = true;
            continue;
        }
        if (seq->request->care != CARE_NONE) {
            care(s, seq);
            is_left = true;
            continue;
        }
        if (!task->writes)
            rows = rows_to_read(s, seq, rows, n_scored);
        if (rows > 0 && !take_pages(s, seq, rows)) {
            task->rests = true;
            rows = 0;
        }
        n_scored += !task->writes && seq->request->prompt_logprobs ? rows : 0;
        sched_give(s->sched, task, rows);
        if (rows > 0)
            s->share[s->n_shares++] = (struct share){seq, rows};
        if (seq->is_away)
            is_left = task->rests = true;
    }
    return s->n_shares > 0 || !is_left;
}

/* Rows that are made as those of answers come first, home by home: then workers have shares of rows
 * whose pages are near. */
static void fill_batch(struct stepper *s, struct batch *batch)
{
    batch_clear(batch);
    for (int home = 0; home < page_pool_homes(s->cache.pool); home++)
        for (int i = 0; i < s->n_shares; i++)
            if (seq_is_writing(s->share[i].seq) && s->share[i].seq->view.home == home)
                batch_add(batch, s->share[i].seq, s->share[i].rows);
    for (int i = 0; i < s->n_shares; i++)
        if (!seq_is_writing(s->share[i].seq))
            batch_add(batch, s->share[i].seq, s->share[i].rows);
}

/* Begins the steps that can be begun. */
static void start_passes(struct stepper *s)
{
    for (enum track track = 0; track < N_TRACKS; track++) {
        struct pass *pass = &s->pass[track];
        if (pass->is_on)
            continue;
        do
            sched_look(s->sched, n_unpromised(s));
        while (!plan(s, track));
        if (s->n_shares == 0)
            continue;
        fill_batch(s, &pass->batch);
        sched_start(s->sched);
        pass_start(pass, now_ns());
    }
}

/* The step has made the sequence's next n rows. */
static void keep_rows(struct stepper *s, struct seq *seq, int n)
{
    if (seq_is_writing(seq))
        view_mark_answers(&seq->view, seq->n_cached, n);
    seq->n_cached += n;
    tree_keep(s->cache.tree, &seq->view, seq->token, seq->n_cached);
    if (seq->request->is_followed && seq->n_cached == seq->request->n_prompt)
        tree_keep_end(s->cache.tree, &seq->view, seq->token, seq->n_cached);
}

/* Answers with which one of that step goes on. */
static int n_company(const struct stepper *s, const struct pass *pass)
{
    const struct pass *answers = &s->pass[TRACK_ANSWERS];
    int n = pass == answers || answers->is_on ? answers->batch.rows.n : 0;
    return pass == answers ? n : n + 1;
}

/* A token is drawn; the sequence may be over then. */
static void draw(struct stepper *s, struct seq *seq, const struct pass *pass, int logits)
{
    struct draw_fault fault;
    const struct vocab *vocab = model_vocab(s->model);
    int32_t id = draw_token(&s->draw, pass->forward, seq, logits, s->stepped_ns, &fault);
    if (id < 0) {
        finish(s, seq, ENGINE_ERROR, fault.text);
        return;
    }
    meters_token(&s->meters, seq, s->stepped_ns);
    news_writing(s->slots, seq);
    uint64_t token_ns = speed_token_ns(&s->speed, n_company(s, pass));
    if (seq->detok.stopped || (vocab_is_end(vocab, id) && !seq->request->ignore_end))
        finish(s, seq, ENGINE_STOP, NULL);
    else if (seq_is_full(seq))
        finish(s, seq, ENGINE_LENGTH, NULL);
    else if (haste_is_over(seq, s->stepped_ns, token_ns))
        finish(s, seq, ENGINE_TIME, NULL);
}

/* The sequence's rows from the batch's row `row` on are there. */
static void end_rows(struct stepper *s, const struct pass *pass, int i, int row)
{
    const struct batch *b = &pass->batch;
    struct seq *seq = b->seq[i];
    seq->task.is_busy = false;
    keep_rows(s, seq, b->n_rows[i]);
    if (seq->is_over) {
        let_go(s, seq);
        return;
    }
    if (!seq_is_decoding(seq))
        news_reading(s->slots, s->outbox, seq, s->stepped_ns);
    int r = 0;
    struct draw_fault fault;
    if (seq->request->is_embedding)
        r = draw_embedding(&s->draw, pass->forward, seq, row, b->n_rows[i], &fault);
    else if (b->prompt[i] >= 0)
        r = draw_scores(&s->draw, pass->forward, seq, b->prompt[i], b->n_rows[i], &fault);
    if (r != 0)
        finish(s, seq, r < 0 ? ENGINE_ERROR : ENGINE_STOP, r < 0 ? fault.text : NULL);
    else if (b->logits[i] >= 0)
        draw(s, seq, pass, b->logits[i]);
}

static void after_step(struct stepper *s, enum track track)
{
    struct pass *pass = &s->pass[track];
    const struct batch *b = &pass->batch;
    bool answers = track == TRACK_ANSWERS;
    pass->is_on = false;
    s->stepped_ns = now_ns();
    speed_note(&s->speed, answers ? 0 : b->rows.n, answers ? b->rows.n : 0,
               s->stepped_ns - pass->start_ns);
    for (int i = 0, row = 0, n; i < b->n_seqs; i++, row += n) {
        n = b->n_rows[i];
        end_rows(s, pass, i, row);
    }
    s->unsaved = true;
    sched_stop(s->sched, track, true);
    tally_add(&s->tally.steps, 1);
    tally_add(answers ? &s->tally.decoded_tokens : &s->tally.prompt_tokens, (uint64_t)b->rows.n);
    tally_add(answers ? &s->tally.decode_ns : &s->tally.prefill_ns, pass->ns);
}

/* Runs ops until a step is over or there is something to look at; false: nothing is under way. */
static bool go_on(struct stepper *s, uint64_t until_ns)
{
    enum track track;
    uint64_t ns, now = now_ns();
    while ((track = sched_turn(s->sched)) != N_TRACKS) {
        bool is_done = pass_go_on(&s->pass[track], now, &ns);
        now += ns;
        sched_charge(s->sched, track, ns);
        if (is_done)
            after_step(s, track);
        if (is_done || now >= until_ns ||
            atomic_exchange_explicit(&s->is_news, false, memory_order_acquire))
            return true;
    }
    return false;
}

/* Who waits where, a few times a second. */
static void publish_positions(struct stepper *s, uint64_t now)
{
    if (now - s->numbered_ns < NUMBER_NS)
        return;
    s->numbered_ns = now;
    sched_number(s->sched);
    const struct seq *seq;
    TAILQ_FOREACH (seq, &s->seqs, beside)
        if (!seq->task.has_begun)
            atomic_store_explicit(&slots_of(s->slots, seq->call)->position, seq->task.position,
                                  memory_order_relaxed);
}

static void publish(struct stepper *s)
{
    for (int i = 0; i < N_CLASSES; i++)
        tally_set(&s->tally.queued[i], sched_n_queued(s->sched, i));
    int kept = page_pool_idle(s->cache.pool), shared = page_pool_pinned(s->cache.pool);
    tally_set(&s->tally.sequences, sched_n_begun(s->sched));
    tally_set(&s->tally.pages_used, page_pool_used(s->cache.pool) - kept - shared);
    tally_set(&s->tally.pages_kept, kept);
    tally_set(&s->tally.pages_shared, shared);
    tally_set(&s->tally.pages_pinned, pins_n_pages(s->cache.pins));
    if (s->cache.archive) {
        tally_store(&s->tally.lost, tree_n_lost(s->cache.tree));
        tally_store(&s->tally.unwritten, archive_n_failed(s->cache.archive));
    }
    outbox_tell(s->outbox);
}

static void rest_passes(struct stepper *s)
{
    forward_rest(s->pass[TRACK_LONG].forward); /* of the place, whoever says so */
}

/* What the ladder asks for. */
static void relieve(struct stepper *s, bool at_rest)
{
    int rung = atomic_load_explicit(&s->rung, memory_order_relaxed);
    if (rung == RUNG_CALM)
        return;
    size_t bytes = cache_relieve(&s->cache, (enum rung)rung);
    if (at_rest && !s->is_shed) {
        s->is_shed = true;
        for (enum track track = 0; track < N_TRACKS; track++)
            bytes += forward_shed(s->pass[track].forward);
    }
    tally_add(&s->tally.given_back, bytes);
}

bool stepper_step(struct stepper *s)
{
    uint64_t asked_ns = now_ns();
    take_back(s);
    pins_sweep(s->cache.pins);
    look_at_seqs(s, asked_ns);
    give_up_idle_passes(s);
    start_passes(s);
    publish_positions(s, asked_ns);
    uint64_t start_ns = now_ns();
    tally_add(&s->tally.plan_ns, start_ns - asked_ns);
    if (s->usage)
        usage_tick(s->usage, start_ns);
    bool works = go_on(s, start_ns + LOOK_NS);
    if (works)
        s->is_shed = false;
    else
        rest_passes(s);
    cache_save_ahead(&s->cache, s->stepped_ns);
    relieve(s, !works);
    publish(s);
    return works;
}

void stepper_nudge(struct stepper *s)
{
    atomic_store_explicit(&s->is_news, true, memory_order_release);
}

/* ------------------------------------------------------------------ between steps */

/* When the first of those who wait is too late. */
static uint64_t first_deadline(const struct stepper *s)
{
    uint64_t first = UINT64_MAX;
    const struct seq *seq;
    TAILQ_FOREACH (seq, &s->seqs, beside) {
        if (!seq->task.has_begun && seq->task.deadline_ns && seq->task.deadline_ns < first)
            first = seq->task.deadline_ns;
        if (seq->request->finish_by_ns > 0 && seq->request->finish_by_ns < first)
            first = seq->request->finish_by_ns;
    }
    return first;
}

uint64_t stepper_rest(struct stepper *s)
{
    if (!TAILQ_EMPTY(&s->seqs))
        return first_deadline(s);
    struct archive *archive = s->cache.archive;
    if (!archive || archive_is_saving(archive))
        return UINT64_MAX;
    uint64_t next = s->unsaved ? s->stepped_ns + SAVE_AFTER_NS : archive_retry_ns(archive);
    if (now_ns() < next)
        return next;
    s->unsaved = archive_save(archive, false);
    return s->unsaved ? UINT64_MAX : archive_retry_ns(archive);
}

bool stepper_save(struct stepper *s)
{
    take_back(s);
    return s->cache.archive &&
           (archive_is_saving(s->cache.archive) || archive_save(s->cache.archive, true));
}

/* Of a talk that goes on, the last page may be written to while the porter reads it. */
bool stepper_flush(struct stepper *s)
{
    struct archive *archive = s->cache.archive;
    if (!archive || archive_is_saving(archive))
        return archive != NULL;
    return TAILQ_EMPTY(&s->seqs) ? archive_save(archive, false) : archive_save_idle(archive, true);
}

void stepper_end(struct stepper *s)
{
    rest_passes(s);
    archive_close(s->cache.archive);
    s->cache.archive = NULL;
    while (!TAILQ_EMPTY(&s->seqs))
        finish(s, TAILQ_FIRST(&s->seqs), ENGINE_CANCELLED, NULL);
    give_up_idle_passes(s);
    publish(s);
}

/* ------------------------------------------------------------------ open and close */

/* Each expert's weights are read for some 12 of them, so that reading is not all there is to do. */
static int few_rows(const struct hparams *hp)
{
    int rows = hp->experts > 0 ? FEW_ROWS * hp->experts / hp->experts_used : FEW_ROWS;
    return rows > LEAST_ROWS ? rows : LEAST_ROWS;
}

static int open_memory(struct stepper *s)
{
    int sequences = s->config.max_sequences;
    s->share = calloc((size_t)sequences + SCHED_READERS, sizeof *s->share);
    int r = s->share ? draw_open(&s->draw, s->model, s->outbox) : -ENOMEM;
    if (r == 0)
        r = sched_new(sequences, pass_size(&s->config, TRACK_LONG).rows,
                      few_rows(model_hparams(s->model)), &s->sched);
    return r;
}

static int open_usage(struct stepper *s, struct err *err)
{
    struct forward_experts experts;
    forward_experts(s->pass[TRACK_LONG].forward, &experts);
    int r = usage_new(&experts, now_ns(), &s->usage);
    return r < 0
               ? err_set(err, r, "no memory to count how %d experts are chosen", experts.n_experts)
               : 0;
}

int stepper_open(struct model *model, struct place *place, const struct engine_config *config,
                 struct slots *slots, struct outbox *outbox, void (*wake)(void *arg), void *arg,
                 struct stepper **ret, struct err *err)
{
    OWN(stepper) *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "no memory for an engine");
    s->model = model;
    s->config = *config;
    s->slots = slots;
    s->outbox = outbox;
    meters_init(&s->meters);
    TAILQ_INIT(&s->seqs);
    int r = open_memory(s);
    if (r < 0)
        return err_set(err, r, "no memory for an engine of %d sequences", config->max_sequences);
    r = passes_open(s->pass, &s->config, model, err);
    if (r == 0)
        r = open_usage(s, err);
    if (r == 0)
        r = cache_open(&s->cache, model, place, s->pass[TRACK_LONG].forward, &s->config, wake, arg,
                       err);
    s->config.shared = NULL; /* lent until here */
    if (r == 0)
        *ret = TAKE(s);
    return r;
}

void stepper_close(struct stepper *s)
{
    if (!s)
        return;
    usage_free(s->usage);
    passes_close(s->pass);
    cache_close(&s->cache);
    draw_close(&s->draw);
    sched_free(s->sched);
    free(s->share);
    free(s);
}

bool stepper_press(struct stepper *s, enum rung rung)
{
    return atomic_exchange(&s->rung, (int)rung) != (int)rung;
}

int stepper_context(const struct stepper *s)
{
    return s->cache.context;
}

const void *stepper_cache(const struct stepper *s, size_t *bytes)
{
    return page_pool_memory(s->cache.pool, bytes);
}

struct pins *stepper_pins(struct stepper *s)
{
    return s->cache.pins;
}

const struct meters *stepper_meters(const struct stepper *s)
{
    return &s->meters;
}

struct usage *stepper_usage(const struct stepper *s)
{
    return s->usage;
}

uint64_t stepper_end_pace_ns(const struct stepper *s)
{
    return tally_end_pace_ns(&s->tally);
}

void stepper_stat(const struct stepper *s, struct engine_stat *ret)
{
    *ret = (struct engine_stat){
        .pages_total = (uint32_t)s->cache.n_pages,
        .context = (uint32_t)s->cache.context,
        .step_rows = (uint32_t)pass_size(&s->config, TRACK_LONG).rows,
        .cache_bytes = s->cache.bytes,
    };
    tally_read(&s->tally, ret);
}
