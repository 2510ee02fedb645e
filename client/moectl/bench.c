/* SPDX-License-Identifier: MIT
 *
 * bench: many clients at once, and how long they wait. One thread: a connection a client, all of
 * them polled together.
 *
 * With a rate, requests are due at random times that do not depend on how fast answers come; one
 * that finds every client busy waits for the next, and its wait counts.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "moectl/interrupt.h"
#include "moectl/link.h"
#include "moectl/prompts.h"
#include "moectl/screen.h"
#include "moectl/tally.h"
#include "moectl/verb.h"

enum {
    MOST_CLIENTS = 1000,
    REQUESTS_EACH = 10, /* where neither requests nor a time are given */
    REST_US = 100000,   /* of a client whose request failed, so that refusals are no storm */
    NAP_US = 10000000,  /* the longest sleep */
};

struct bench;

struct client {
    struct bench *bench;
    struct moed *moed;      /* NULL: the daemon was not there any more */
    struct moed_call *call; /* NULL: free */
    uint64_t due_us, rest_until_us;
    uint64_t first_us, last_us; /* tokens; 0: none yet */
    bool is_over;               /* it has ended: `result`, `error` */
    int result;
    struct moed_error error;
    struct sample sample;
};

struct bench {
    const struct options *o;
    struct prompts prompts;
    struct client *clients; /* [o->clients] */
    struct pollfd *polls;   /* the same */
    struct tally tally;
    FILE *csv; /* NULL: none */
    uint64_t n_started, most_requests, n_missed;
    struct dice arrivals;
    uint64_t begin_us, end_us; /* end: no request begins any more */
    uint64_t next_us;          /* with a rate: when the next one is due */
    bool is_interrupted;
};

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static double seconds(uint64_t us)
{
    return (double)us / 1e6;
}

/* ---- one request */
static void take_event(struct client *c, const struct moed_event *event)
{
    struct sample *s = &c->sample;
    uint64_t now = now_us();
    if (event->n_tokens > 0 || event->text_bytes > 0 || event->thinking_bytes > 0) {
        if (!c->first_us)
            c->first_us = now;
        else if (isnan(s->gap) || seconds(now - c->last_us) > s->gap)
            s->gap = seconds(now - c->last_us);
        c->last_us = now;
    }
    if (!event->usage)
        return;
    s->prompt = event->usage->prompt_tokens;
    s->cached = event->usage->cached_tokens;
    s->answer = event->usage->completion_tokens;
    s->queue = event->usage->queue_seconds;
}

static void on_progress(struct moed_call *call, int result, void *arg)
{
    struct client *c = arg;
    if (result > 0) {
        take_event(c, moed_call_event(call));
        return;
    }
    c->result = moed_call_result(call, &c->error);
    c->is_over = true;
}

static int build(struct bench *b, uint64_t number, struct moed_request **ret)
{
    OWN(moed_request) *request = moed_request_new();
    if (!request)
        return -ENOMEM;
    if (options_apply(b->o, request))
        return -EINVAL; /* reported; it was tried once before the first */
    struct dice lengths = dice_of(b->prompts.seed, ~number);
    moed_request_set_integer(request, MOED_MAX_TOKENS, dice_range(&lengths, b->o->answer));
    moed_request_set_integer(request, MOED_IGNORE_END, 1); /* lengths are as asked */
    int n = prompts_add(&b->prompts, number, request);
    if (n < 0)
        return n;
    *ret = TAKE(request);
    return n;
}

static void send_request(struct client *c, uint64_t due_us, uint64_t now)
{
    struct bench *b = c->bench;
    OWN(moed_request) *request = NULL;
    c->error = (struct moed_error)MOED_ERROR_INIT;
    c->due_us = due_us;
    c->first_us = c->last_us = 0;
    c->is_over = false;
    c->sample = (struct sample){.client = (int)(c - b->clients),
                                .start = seconds(due_us - b->begin_us),
                                .late = seconds(now - due_us),
                                .queue = NAN,
                                .first = NAN,
                                .token = NAN,
                                .gap = NAN,
                                .whole = NAN};
    int n = build(b, b->n_started++, &request);
    if (n < 0)
        abort(); /* no memory for a prompt */
    c->sample.prompt = n;
    c->result = moed_generate(c->moed, request, &c->call, &c->error);
    if (c->result < 0)
        c->is_over = true;
    else
        moed_call_on(c->call, on_progress, c);
}

static void end_request(struct client *c)
{
    struct bench *b = c->bench;
    struct sample *s = &c->sample;
    uint64_t now = now_us();
    moed_call_free(TAKE(c->call));
    c->is_over = false;
    s->whole = seconds(now - c->due_us);
    if (c->first_us)
        s->first = seconds(c->first_us - c->due_us);
    if (s->answer > 1)
        s->token = seconds(c->last_us - c->first_us) / (s->answer - 1);
    if (c->result < 0) {
        tally_fail(&b->tally, &c->error);
        c->rest_until_us = now + REST_US;
    } else {
        tally_add(&b->tally, s);
    }
    if (b->csv)
        tally_csv_line(b->csv, s, c->result < 0 ? moed_status_name(c->error.status) : "");
}

/* A client whose connection has ended gets another; false: there is no daemon any more. */
static bool reconnect(struct client *c)
{
    if (moed_is_open(c->moed))
        return true;
    struct moed_error error = MOED_ERROR_INIT;
    moed_close(TAKE(c->moed));
    if (moed_open(c->bench->o->socket, &c->moed, &error) == 0)
        return true;
    tally_fail(&c->bench->tally, &error);
    return false;
}

/* ---- who begins when */
static void draw_next(struct bench *b)
{
    b->next_us += (uint64_t)(-log(dice_unit(&b->arrivals)) / b->o->rate * 1e6);
}

static bool is_ending(const struct bench *b, uint64_t now)
{
    return b->is_interrupted || b->n_started >= b->most_requests || now >= b->end_us;
}

/* When the next request is due; later than now: nobody needs to begin. */
static uint64_t due(const struct bench *b, uint64_t now)
{
    return b->o->rate > 0 ? b->next_us : now;
}

/* Gives work to those who are free; how long until somebody else may begin. */
static uint64_t begin_requests(struct bench *b)
{
    uint64_t now = now_us(), wake = now + NAP_US;
    for (int i = 0; i < b->o->clients && !is_ending(b, now); i++) {
        struct client *c = &b->clients[i];
        if (!c->moed || c->call)
            continue;
        uint64_t when = due(b, now);
        uint64_t from = when > c->rest_until_us ? when : c->rest_until_us;
        if (from > now) {
            wake = from < wake ? from : wake;
            continue;
        }
        if (!reconnect(c))
            continue;
        if (b->o->rate > 0)
            draw_next(b);
        send_request(c, when, now);
        wake = now; /* it may have failed already */
    }
    if (b->end_us > now && b->end_us < wake)
        wake = b->end_us;
    return wake > now ? wake - now : 0;
}

static void count_missed(struct bench *b)
{
    uint64_t now = now_us();
    uint64_t until = b->end_us < now ? b->end_us : now;
    for (uint64_t n = b->n_started; b->o->rate > 0 && n < b->most_requests && b->next_us < until;
         n++) {
        b->n_missed++;
        draw_next(b);
    }
}

/* ---- the loop */
/* Whether a request of the client has ended. */
static bool tend(struct client *c)
{
    while (c->moed && moed_dispatch(c->moed) > 0)
        ;
    if (!c->is_over)
        return false;
    end_request(c);
    return true;
}

/* How many have a connection, and how many of them a call. */
static int count(const struct bench *b, int *n_busy)
{
    int n = 0;
    *n_busy = 0;
    for (int i = 0; i < b->o->clients; i++) {
        n += b->clients[i].moed != NULL;
        *n_busy += b->clients[i].call != NULL;
    }
    return n;
}

static void sleep_a_while(struct bench *b, uint64_t us, const sigset_t *mask)
{
    for (int i = 0; i < b->o->clients; i++) {
        struct moed *moed = b->clients[i].moed;
        b->polls[i] = (struct pollfd){.fd = -1};
        if (moed && moed_is_open(moed))
            b->polls[i] = (struct pollfd){.fd = moed_fd(moed), .events = moed_events(moed)};
    }
    struct timespec t = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    ppoll(b->polls, (nfds_t)b->o->clients, &t, mask);
}

static void loop(struct bench *b, const sigset_t *mask)
{
    int n_busy, n_alive;
    while (true) {
        b->is_interrupted |= interrupt_came();
        uint64_t us = begin_requests(b);
        for (int i = 0; i < b->o->clients; i++)
            if (tend(&b->clients[i]))
                us = 0; /* it may begin another */
        n_alive = count(b, &n_busy);
        if (b->is_interrupted || n_alive == 0 || (n_busy == 0 && is_ending(b, now_us())))
            return;
        sleep_a_while(b, us, mask);
    }
}

static void cancel_all(struct bench *b)
{
    for (int i = 0; i < b->o->clients; i++) {
        struct client *c = &b->clients[i];
        if (!c->call)
            continue;
        moed_call_cancel(c->call);
        b->tally.n_cancelled++;
        if (b->csv)
            tally_csv_line(b->csv, &c->sample, moed_status_name(MOED_CANCELLED));
    }
}

/* ---- opening */
static int check(const struct options *o)
{
    if (o->clients < 1 || o->clients > MOST_CLIENTS)
        return usage_error(o, "--clients: found %d, expected 1 to %d", o->clients, MOST_CLIENTS);
    if (o->requests > TALLY_MOST)
        return usage_error(o, "--requests: found %d, expected at most %d", o->requests, TALLY_MOST);
    if (o->shared > 1)
        return usage_error(o, "--shared: found %g, expected a share of at most 1", o->shared);
    OWN(moed_request) *trial = moed_request_new();
    return trial ? options_apply(o, trial) : link_error(o, "no memory for a request");
}

static int open_csv(struct bench *b)
{
    if (!b->o->csv)
        return 0;
    b->csv = fopen(b->o->csv, "we");
    if (!b->csv)
        return link_error(b->o, "cannot open '%s': %s", b->o->csv, strerror(errno));
    tally_csv_head(b->csv);
    return 0;
}

static int close_csv(struct bench *b)
{
    if (!b->csv)
        return 0;
    errno = 0;
    bool is_bad = ferror(b->csv);
    is_bad |= fclose(TAKE(b->csv)) != 0;
    return is_bad ? link_error(b->o, "cannot write '%s': %s", b->o->csv, strerror(errno)) : 0;
}

static int open_clients(struct bench *b)
{
    b->clients = calloc((size_t)b->o->clients, sizeof *b->clients);
    b->polls = calloc((size_t)b->o->clients, sizeof *b->polls);
    if (!b->clients || !b->polls)
        abort();
    for (int i = 0; i < b->o->clients; i++) {
        b->clients[i].bench = b;
        int r = link_open(b->o, &b->clients[i].moed);
        if (r)
            return r;
    }
    return 0;
}

static int open_bench(struct bench *b)
{
    const struct options *o = b->o;
    int r = check(o);
    if (r == 0)
        r = open_clients(b);
    if (r == 0)
        r = prompts_open(o, b->clients[0].moed, &b->prompts);
    if (r == 0)
        r = open_csv(b);
    if (r)
        return r;
    bool is_bounded = o->requests > 0 || o->duration > 0;
    b->most_requests = o->requests > 0 ? (uint64_t)o->requests
                       : is_bounded    ? TALLY_MOST
                                       : (uint64_t)o->clients * REQUESTS_EACH;
    b->arrivals = dice_of(b->prompts.seed, UINT64_MAX);
    b->begin_us = b->next_us = now_us();
    b->end_us = o->duration > 0 ? b->begin_us + (uint64_t)(o->duration * 1e6) : UINT64_MAX;
    if (o->rate > 0)
        draw_next(b);
    return 0;
}

static void close_bench(struct bench *b)
{
    for (int i = 0; b->clients && i < b->o->clients; i++) {
        moed_call_free(b->clients[i].call);
        moed_close(b->clients[i].moed);
    }
    free(b->clients);
    free(b->polls);
    if (b->csv)
        fclose(b->csv);
    prompts_fini(&b->prompts);
    tally_fini(&b->tally);
}

/* ---- telling */
static json_t *range_json(struct range range)
{
    return json_pack("[i,i]", range.least, range.most);
}

static void tell(const struct bench *b, double took)
{
    const struct options *o = b->o;
    if (!o->json) {
        tally_print(&b->tally, took);
        if (b->n_missed > 0)
            printf("\n%llu more were due and found no free client in time\n",
                   (unsigned long long)b->n_missed);
        return;
    }
    json_t *object = json_object();
    json_object_set_new(object, "clients", json_integer(o->clients));
    json_object_set_new(object, "rate", o->rate > 0 ? json_real(o->rate) : json_null());
    json_object_set_new(object, "prompt", range_json(o->prompt));
    json_object_set_new(object, "answer", range_json(o->answer));
    json_object_set_new(object, "shared", json_real(o->shared));
    json_object_set_new(object, "missed", json_integer((json_int_t)b->n_missed));
    tally_json(&b->tally, took, object);
    screen_json(object);
}

static int run(struct bench *b)
{
    struct interrupt interrupt;
    interrupt_catch(&interrupt);
    loop(b, &interrupt.open);
    uint64_t end = now_us();
    cancel_all(b);
    interrupt_release(&interrupt);
    count_missed(b);
    int r = close_csv(b);
    tell(b, seconds(end - b->begin_us));
    if (b->is_interrupted)
        return EXIT_INTERRUPTED;
    return r || b->tally.n_failed > 0 ? EXIT_FAILED : EXIT_DONE;
}

int verb_bench(const struct options *o)
{
    struct bench b = {.o = o};
    int r = open_bench(&b);
    if (r == 0)
        r = run(&b);
    close_bench(&b);
    return r;
}
