/* SPDX-License-Identifier: MIT */
#include "engine/archive.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <xxhash.h>

#include "base/log.h"
#include "engine/seq.h"
#include "kv/porter.h"
#include "model/digest.h"
#include "place/place.h"

#define QUIET_NS      60000000000u /* between two lines in the log about a disk that does not work */
#define FIRST_WAIT_NS 250000000u
#define MOST_WAIT_NS  600000000000u /* before what failed is tried again */

/* A sequence that is away. */
struct asked {
    struct seq *seq; /* NULL: none */
    uint8_t *answer; /* bits of what is found */
};

struct archive {
    struct desk *desk;
    struct rowfile_key key;
    struct page_pool *pool;
    struct tree *tree;
    struct asked *asked; /* [n_asked] */
    int n_asked;

    /* The talk that is being written. */
    bool saving;
    struct view view;
    int32_t *token;
    uint8_t *answer;

    /* Talks that failed. */
    uint64_t wait_ns, retry_ns; /* wait 0: there are none */
    bool is_retry;              /* what is being written failed before */
    bool is_told;               /* that there are some */
    bool is_last;               /* nothing follows that could be waited for */
    uint64_t n_failed;
    uint64_t told_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t bits_bytes(int n)
{
    return (size_t)view_pages(n) * (PAGE_TOKENS / 8);
}

int archive_key(const struct model *model, const struct place *place,
                const struct kv_schema *schema, enum mk_type type, struct rowfile_key *ret,
                struct err *err)
{
    size_t page_bytes = kv_page_bytes(schema, type);
    if (page_bytes > ROWFILE_MOST_PAGE)
        return err_set(err, -E2BIG, "a page has %zu bytes, at most %d go into a file", page_bytes,
                       ROWFILE_MOST_PAGE);
    /* Whatever may move a bit of a row: rows of other arithmetic would be as good, but an answer
     * would not have the same bytes before and after a restart. */
    char words[512];
    int n = snprintf(words, sizeof words, "moed %s; %s, %s; %s; %s, %d layers of %d + %d",
                     MOED_VERSION, place->ops->kind, place->isa, place->attention,
                     mk_type_info[type].name, schema->n_layers, schema->latent, schema->rope);
    if (n < 0 || (size_t)n >= sizeof words)
        return err_set(err, -E2BIG, "a place's words have %d bytes", n);
    XXH128_hash_t kind = XXH3_128bits(words, (size_t)n);
    *ret =
        (struct rowfile_key){.kind = {kind.low64, kind.high64}, .page_bytes = (uint32_t)page_bytes};
    return model_digest(model, ret->model, err);
}

int archive_open(struct porter *porter, const struct rowfile_key *key, struct page_pool *pool,
                 struct tree *tree, int sequences, int tokens, void (*wake)(void *arg), void *arg,
                 struct archive **ret)
{
    OWN(archive) *a = calloc(1, sizeof *a);
    if (!a)
        return -ENOMEM;
    a->key = *key;
    a->pool = pool;
    a->tree = tree;
    a->n_asked = sequences;
    a->asked = calloc((size_t)sequences, sizeof *a->asked);
    a->token = calloc((size_t)view_pages(tokens) * PAGE_TOKENS, sizeof *a->token);
    a->answer = calloc(bits_bytes(tokens), 1);
    if (!a->asked || !a->token || !a->answer || view_init(&a->view, tokens, 0) < 0)
        return -ENOMEM;
    int r = desk_open(porter, sequences + 1, wake, arg, &a->desk);
    if (r == 0)
        *ret = TAKE(a);
    return r;
}

/* The view is empty again. */
static void let_go(struct archive *a)
{
    while (a->view.n > 0)
        page_unref(a->pool, a->view.page[--a->view.n]);
    a->saving = false;
}

static void come_back(struct asked *asked)
{
    asked->seq->is_away = false;
    free(asked->answer);
    *asked = (struct asked){0};
}

void archive_close(struct archive *a)
{
    if (!a)
        return;
    desk_close(a->desk);
    for (int i = 0; a->asked && i < a->n_asked; i++) {
        struct seq *seq = a->asked[i].seq;
        if (seq)
            come_back(&a->asked[i]);
        if (seq && seq->is_over)
            seq_free(seq, a->pool);
    }
    free(a->asked);
    let_go(a);
    view_fini(&a->view, a->pool);
    free(a->token);
    free(a->answer);
    free(a);
}

/* How its rows must have been made: all of them if it says so, else those it knows. */
static void fill_answers(const struct seq *seq, int most, uint8_t *answer)
{
    for (int i = 0; i < most && (seq->answers || i < seq->n_known); i++) {
        uint32_t word =
            seq->answers ? seq->answers[i / PAGE_TOKENS] : seq->view.page[i / PAGE_TOKENS]->answers;
        answer[i / 8] |= (uint8_t)((word >> i % PAGE_TOKENS & 1) << i % 8);
    }
}

static struct asked *find_place(const struct archive *a)
{
    struct asked *asked = a->asked;
    while (asked < a->asked + a->n_asked && asked->seq)
        asked++;
    return asked < a->asked + a->n_asked ? asked : NULL;
}

static void send_away(struct archive *a, struct asked *asked, struct porter_job *job)
{
    asked->seq->is_away = true;
    job->ticket = (uint64_t)(asked - a->asked);
    job->key = a->key;
    job->key.uid = asked->seq->view.uid;
    job->uid_bytes = asked->seq->view.disk_bytes;
    job->token = asked->seq->token;
    job->answer = asked->answer;
    job->page = asked->seq->view.data;
    if (!desk_send(a->desk, job))
        abort(); /* it has room for all who may be away */
}

bool archive_ask(struct archive *a, struct seq *seq)
{
    int most = seq->n_tokens - 1; /* the last one is to be put through the model */
    if (most - seq->n_known < PAGE_TOKENS)
        return false;
    bool waits = seq->request->care != CARE_NONE;
    if (a->saving && most < 2 * seq->n_known && !waits) /* sooner read than waited for */
        return false;
    struct asked *asked = find_place(a);
    if (!asked)
        return false;
    tree_make_room(a->tree, &seq->view, view_pages(most) - seq->view.n);
    if (view_grow(&seq->view, a->pool, most) < 0) /* some are with the porter just now */
        return false;
    uint8_t *answer = calloc(bits_bytes(most), 1);
    if (!answer)
        return false;
    fill_answers(seq, most, answer);
    *asked = (struct asked){.seq = seq, .answer = answer};
    struct porter_job job = {
        .task = PORTER_FETCH,
        .n_tokens = most,
        .n_made = seq->answers ? most : seq->n_known,
        .n_known = seq->n_known,
    };
    send_away(a, asked, &job);
    return true;
}

bool archive_park(struct archive *a, struct seq *seq)
{
    struct asked *asked = find_place(a);
    if (!asked)
        return false;
    uint8_t *answer = calloc(bits_bytes(seq->n_known), 1);
    if (!answer) {
        seq->park.is_done = true;
        seq->park.code =
            err_set(&seq->park.err, -ENOMEM, "no memory to park %d tokens", seq->n_known);
        return true;
    }
    fill_answers(seq, seq->n_known, answer);
    *asked = (struct asked){.seq = seq, .answer = answer};
    struct porter_job job = {
        .task = PORTER_KEEP, .talk = seq->request->talk, .n_tokens = seq->n_known};
    send_away(a, asked, &job);
    return true;
}

/* What was fetched is known from now on, as if it had never been gone. */
static void settle(struct archive *a, struct seq *seq, const struct porter_job *job)
{
    struct view *view = &seq->view;
    int whole = seq->n_known / PAGE_TOKENS;
    if (job->result < 0) /* the pages behind were cleared */
        seq->n_known = whole * PAGE_TOKENS;
    if (job->result <= 0)
        return;
    seq->n_known = job->result;
    for (int i = whole; i < view_pages(seq->n_known); i++)
        memcpy(&view->page[i]->answers, job->answer + i * (PAGE_TOKENS / 8), PAGE_TOKENS / 8);
    tree_keep(a->tree, view, seq->token, seq->n_known);
}

static void settle_park(struct seq *seq, const struct porter_job *job)
{
    seq->park.is_done = true;
    seq->park.code = job->result < 0 ? job->result : 0;
    seq->park.bytes = job->bytes;
    seq->park.err = job->err;
}

/* Whether there was a line. */
static bool complain(struct archive *a, const char *what, const struct porter_job *job)
{
    uint64_t now = now_ns();
    if (a->told_ns && now - a->told_ns < QUIET_NS)
        return false;
    a->told_ns = now;
    log_about(LOG_LEVEL_WARNING, "engine", LOG_ABOUT(.event = EVENT_DISK), "%s: %s", what,
              job->err.text);
    return true;
}

/* It stays unsaved. Who fails for the first time while others wait does not make them wait more. */
static void note_failure(struct archive *a, const struct porter_job *job)
{
    a->n_failed++;
    if (!a->is_told)
        a->is_told = complain(a, "a talk is not kept on the disk yet, and tried again later", job);
    if (a->wait_ns && !a->is_retry)
        return;
    a->wait_ns = a->wait_ns ? 2 * a->wait_ns : FIRST_WAIT_NS;
    if (a->wait_ns > MOST_WAIT_NS)
        a->wait_ns = MOST_WAIT_NS;
    a->retry_ns = now_ns() + a->wait_ns;
}

/* None is left of those that failed: dropped, or saved. */
static void recover(struct archive *a)
{
    if (a->is_told)
        log_about(LOG_LEVEL_INFO, "engine", LOG_ABOUT(.event = EVENT_DISK),
                  "no talk waits any more that could not be kept on the disk");
    a->is_told = false;
    a->wait_ns = a->retry_ns = 0;
}

/* What came of the talk that was being written. */
static void settle_talk(struct archive *a, const struct porter_job *job)
{
    enum tree_outcome outcome = TREE_SAVED;
    if (job->result == -EFBIG) { /* of such a size, never */
        outcome = TREE_REFUSED;
        complain(a, "a talk is not kept on the disk", job);
    } else if (job->result < 0) {
        outcome = TREE_FAILED;
        note_failure(a, job);
    } else if (a->is_retry) {
        a->retry_ns = 0; /* the disk works again: the next one may be tried at once */
    }
    tree_settle(a->tree, &a->view, outcome);
    let_go(a);
}

struct seq *archive_serve(struct archive *a)
{
    struct porter_job job;
    while (desk_take(a->desk, &job)) {
        if (job.task == PORTER_KEEP && !job.talk) {
            settle_talk(a, &job);
            continue;
        }
        if (job.result < 0 && job.task == PORTER_FETCH)
            complain(a, "a talk kept on the disk is not read", &job);
        struct asked *asked = &a->asked[job.ticket];
        struct seq *seq = asked->seq;
        if (job.task == PORTER_KEEP)
            settle_park(seq, &job);
        else
            settle(a, seq, &job);
        come_back(asked);
        return seq;
    }
    return NULL;
}

/* The first n tokens are in the view. */
static void hand_over(struct archive *a, int n)
{
    for (int i = 0; i < a->view.n; i++)
        memcpy(a->answer + i * (PAGE_TOKENS / 8), &a->view.page[i]->answers, PAGE_TOKENS / 8);
    struct porter_job job = {
        .task = PORTER_KEEP,
        .key = a->key,
        .token = a->token,
        .n_tokens = n,
        .answer = a->answer,
        .page = a->view.data,
        .uid_bytes = a->view.disk_bytes,
    };
    job.key.uid = a->view.uid;
    a->saving = true;
    if (!desk_send(a->desk, &job))
        abort(); /* it has room for all who may be away, and this */
}

static bool may_retry(const struct archive *a)
{
    return a->wait_ns && now_ns() >= a->retry_ns;
}

bool archive_save(struct archive *a, bool at_last)
{
    assert(!a->saving);
    if (at_last && !a->is_last)
        a->retry_ns = 0;
    a->is_last = at_last;
    int n = tree_unsaved(a->tree, false, &a->view, a->token);
    a->is_retry = n == 0 && may_retry(a);
    if (a->is_retry) {
        n = tree_unsaved(a->tree, true, &a->view, a->token);
        if (n == 0)
            recover(a);
    }
    if (n > 0)
        hand_over(a, n);
    return n > 0;
}

bool archive_save_idle(struct archive *a, bool all)
{
    assert(!a->saving);
    int n = tree_unsaved_idle(a->tree, false, all, &a->view, a->token);
    a->is_retry = n == 0 && may_retry(a);
    if (a->is_retry)
        n = tree_unsaved_idle(a->tree, true, all, &a->view, a->token);
    if (n > 0)
        hand_over(a, n);
    return n > 0;
}

bool archive_is_saving(const struct archive *a)
{
    return a->saving;
}

uint64_t archive_retry_ns(const struct archive *a)
{
    return a->wait_ns ? a->retry_ns : UINT64_MAX;
}

uint64_t archive_n_failed(const struct archive *a)
{
    return a->n_failed;
}
