/* SPDX-License-Identifier: MIT
 *
 * A plan is a walk: each lane has a place in its own tasks, and the lane that is furthest behind,
 * with what it was given in this step, makes the next move.
 */
#include "engine/sched.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "engine/pace.h"

enum {
    AHEAD_NS = 50000000,  /* at most */
    FIRST_NS = 100000000, /* behind all others, who comes */
    PROMPT_NS = 50000000, /* of a step, at most, beside answers */
    ALONE_NS = 200000000, /* while those who write are left out */
    NEW_PART = 4,         /* of an average: a quarter */
    STAGES = 2 * N_CLASSES,
};

TAILQ_HEAD(tasks, sched_task);

struct lane { /* of a uid */
    TAILQ_ENTRY(lane) beside;
    uint32_t uid;
    uint64_t clock_ns;
    int n_tasks, pages;
    /* By class: what has begun, what waits, in turns. */
    struct tasks tasks[STAGES];
    uint64_t begun_ns, pace_ns; /* when one began; from one to the next, where they waited */

    /* The plan's: */
    bool works; /* it could have rows */
    bool is_out, may_begin;
    int n_writing; /* that could */
    int n_waiting; /* rows to be read */
    int stage;
    struct sched_task *at;
    uint64_t given_ns; /* about */
    int n_answers, n_rows;
};

struct sched {
    TAILQ_HEAD(, lane) lanes;
    struct pace pace;
    int most_tasks, most_rows;
    uint64_t clock_ns; /* the least of those who go on working; who comes begins a bit before */
    int n_queued[N_CLASSES], n_begun;

    int tasks_left, rows_left, pages_left;
    uint64_t lead_ns; /* until the first of those who are left out is not any more */
    double answer_ns; /* about */
};

int sched_new(int tasks, int rows, struct sched **ret)
{
    struct sched *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    TAILQ_INIT(&s->lanes);
    s->most_tasks = tasks;
    s->most_rows = rows;
    *ret = s;
    return 0;
}

static void drop_lane(struct sched *s, struct lane *lane)
{
    TAILQ_REMOVE(&s->lanes, lane, beside);
    free(lane);
}

void sched_free(struct sched *s)
{
    if (!s)
        return;
    while (!TAILQ_EMPTY(&s->lanes))
        drop_lane(s, TAILQ_FIRST(&s->lanes));
    free(s);
}

/* ------------------------------------------------------------------ coming and going */

static struct lane *lane_of(struct sched *s, uint32_t uid)
{
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (lane->uid == uid)
            return lane;
    lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->uid = uid;
    for (int i = 0; i < STAGES; i++)
        TAILQ_INIT(&lane->tasks[i]);
    TAILQ_INSERT_HEAD(&s->lanes, lane, beside);
    return lane;
}

static struct tasks *list_of(const struct sched_task *task)
{
    return &task->lane->tasks[2 * task->class + !task->has_begun];
}

int sched_add(struct sched *s, struct sched_task *task)
{
    task->lane = lane_of(s, task->uid);
    if (!task->lane)
        return -ENOMEM;
    task->has_begun = false;
    if (task->lane->n_tasks++ == 0)
        task->lane->begun_ns = task->lane->pace_ns = 0; /* that was another time */
    s->n_queued[task->class]++;
    TAILQ_INSERT_TAIL(list_of(task), task, beside);
    return 0;
}

/* Out of its list, with the walk in mind. */
static void take_out(struct sched_task *task)
{
    struct lane *lane = task->lane;
    if (lane->at == task)
        lane->at = TAILQ_NEXT(task, beside);
    TAILQ_REMOVE(list_of(task), task, beside);
}

void sched_remove(struct sched *s, struct sched_task *task)
{
    struct lane *lane = task->lane;
    take_out(task);
    lane->n_tasks--;
    if (task->has_begun) {
        s->n_begun--;
        lane->pages -= task->pages;
    } else {
        s->n_queued[task->class]--;
    }
    task->lane = NULL; /* the lane stays until the next plan: its clock may be ahead */
}

void sched_begin(struct sched *s, struct sched_task *task, uint64_t now_ns)
{
    struct lane *lane = task->lane;
    take_out(task);
    if (task->added_ns < lane->begun_ns) {
        uint64_t pace = now_ns - lane->begun_ns;
        lane->pace_ns =
            lane->pace_ns ? lane->pace_ns - lane->pace_ns / NEW_PART + pace / NEW_PART : pace;
    }
    lane->begun_ns = now_ns;
    pace_forget(&s->pace);
    task->has_begun = true;
    s->n_queued[task->class]--;
    s->n_begun++;
    lane->pages += task->pages;
    s->pages_left -= task->pages;
    TAILQ_INSERT_TAIL(list_of(task), task, beside);
}

/* ------------------------------------------------------------------ before a step */

/* The next that would begin. */
static const struct sched_task *first_queued(const struct lane *lane)
{
    const struct sched_task *task;
    for (int i = 1; i < STAGES; i += 2)
        TAILQ_FOREACH (task, &lane->tasks[i], beside)
            if (!task->rests)
                return task;
    return NULL;
}

static bool has_memory(const struct sched *s, const struct lane *lane,
                       const struct sched_task *task)
{
    int left = s->pages_left - task->pages;
    return left >= 0 &&
           (lane->pages == 0 || lane->pages + task->pages <= SCHED_SHARE * (int64_t)left);
}

/* Of those who wait for memory, who has the least of it? He is next. */
static void look_at_memory(struct sched *s)
{
    int least = INT_MAX;
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        const struct sched_task *task = first_queued(lane);
        lane->may_begin = task && has_memory(s, lane, task);
        if (task && !lane->may_begin && lane->pages < least)
            least = lane->pages;
    }
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (lane->pages > least)
            lane->may_begin = false;
}

/* Whether it could have rows. */
static bool look_at_tasks(struct lane *lane)
{
    bool works = lane->may_begin;
    const struct sched_task *task;
    const struct sched_task *first = lane->may_begin ? first_queued(lane) : NULL;
    lane->n_writing = 0;
    lane->n_waiting = first ? first->n_rows : 0;
    for (int i = 0; i < STAGES; i += 2)
        TAILQ_FOREACH (task, &lane->tasks[i], beside) {
            if (task->rests)
                continue;
            works = true;
            lane->n_writing += task->writes;
            lane->n_waiting += task->writes ? 0 : task->n_rows;
        }
    return works;
}

static uint64_t first_clock(const struct sched *s)
{
    return s->clock_ns > FIRST_NS ? s->clock_ns - FIRST_NS : 0;
}

/* Sets the clock of all by those who go on working, and that of who comes by it. Nobody remembers
 * what was before all was quiet. */
static void set_clocks(struct sched *s)
{
    uint64_t least = UINT64_MAX, most = 0;
    bool is_quiet = true;
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        bool worked = lane->works;
        lane->works = look_at_tasks(lane);
        lane->is_out = lane->works && !worked; /* for a moment: it is new */
        is_quiet = is_quiet && !lane->works;
        if (lane->works && worked && lane->clock_ns < least)
            least = lane->clock_ns;
        if (lane->clock_ns > most)
            most = lane->clock_ns;
    }
    if (is_quiet)
        least = most;
    if (least != UINT64_MAX && least > s->clock_ns)
        s->clock_ns = least;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        if (lane->is_out && lane->clock_ns < first_clock(s))
            lane->clock_ns = first_clock(s);
        lane->is_out = false;
    }
}

static void drop_empty_lanes(struct sched *s)
{
    for (struct lane *lane = TAILQ_FIRST(&s->lanes), *next; lane; lane = next) {
        next = TAILQ_NEXT(lane, beside);
        if (lane->n_tasks == 0 && lane->clock_ns <= first_clock(s))
            drop_lane(s, lane);
    }
}

static void leave_out(struct sched *s)
{
    uint64_t least = UINT64_MAX;
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (lane->works && lane->clock_ns < least)
            least = lane->clock_ns;
    s->lead_ns = UINT64_MAX;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        lane->is_out = !lane->works || lane->clock_ns - least > AHEAD_NS;
        if (lane->works && lane->is_out && lane->clock_ns - least - AHEAD_NS < s->lead_ns)
            s->lead_ns = lane->clock_ns - least - AHEAD_NS;
    }
}

/* How many rows of prompts there may be. */
static int rows_of_prompts(struct sched *s)
{
    int n = 0, n_out = 0, n_waiting = 0;
    const struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        *(lane->is_out ? &n_out : &n) += lane->n_writing;
        n_waiting += lane->is_out ? 0 : lane->n_waiting;
    }
    if (n > s->most_tasks)
        n = s->most_tasks;
    uint64_t answers_ns = n > 0 ? pace_answers_ns(&s->pace, n) : 0;
    s->answer_ns = n > 0 ? (double)answers_ns / n : 0;
    if (n + n_out == 0) {
        pace_all_rows(&s->pace);
        return s->most_rows;
    }
    if (n > 0 && answers_ns == 0)
        return 0;
    uint64_t most_ns = PROMPT_NS;
    if (n > 0 && answers_ns < most_ns)
        most_ns = answers_ns;
    if (n == 0 && s->lead_ns > most_ns)
        most_ns = s->lead_ns < ALONE_NS ? s->lead_ns : ALONE_NS;
    int most = s->most_rows > n ? s->most_rows - n : 1;
    return n_waiting > 0 ? pace_rows(&s->pace, most_ns, n_waiting, most, n == 0) : 0;
}

static void enter(struct lane *lane, int stage)
{
    lane->stage = stage;
    lane->at = stage < STAGES ? TAILQ_FIRST(&lane->tasks[stage]) : NULL;
}

void sched_plan(struct sched *s, int free_pages)
{
    struct lane *lane;
    s->pages_left = free_pages;
    s->tasks_left = s->most_tasks;
    look_at_memory(s);
    set_clocks(s);
    drop_empty_lanes(s);
    leave_out(s);
    s->rows_left = rows_of_prompts(s);
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        lane->given_ns = 0;
        lane->n_answers = lane->n_rows = 0;
        enter(lane, 0);
    }
}

static bool takes_rows(const struct sched *s, struct lane *lane, const struct sched_task *task)
{
    if (task->rests || (!task->writes && s->rows_left == 0))
        return false;
    if (!task->has_begun && lane->may_begin)
        lane->may_begin = has_memory(s, lane, task); /* nobody of this uid overtakes who waits */
    return task->has_begun || lane->may_begin;
}

static struct sched_task *next_of(const struct sched *s, struct lane *lane)
{
    for (; lane->stage < STAGES; enter(lane, lane->stage + 1))
        for (; lane->at; lane->at = TAILQ_NEXT(lane->at, beside))
            if (takes_rows(s, lane, lane->at))
                return lane->at;
    return NULL;
}

struct sched_task *sched_next(struct sched *s, int *rows)
{
    struct lane *first = NULL, *lane;
    if (s->tasks_left == 0)
        return NULL;
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (!lane->is_out && next_of(s, lane) &&
            (!first || lane->clock_ns + lane->given_ns < first->clock_ns + first->given_ns))
            first = lane;
    if (!first)
        return NULL;
    struct sched_task *task = first->at;
    *rows = task->writes ? 1 : task->n_rows < s->rows_left ? task->n_rows : s->rows_left;
    return task;
}

void sched_give(struct sched *s, struct sched_task *task, int rows)
{
    struct lane *lane = task->lane;
    if (lane->at == task)
        lane->at = TAILQ_NEXT(task, beside);
    if (rows == 0)
        return;
    s->tasks_left--;
    if (task->writes) {
        lane->n_answers++;
        lane->given_ns += (uint64_t)s->answer_ns + 1;
    } else {
        s->rows_left -= rows;
        lane->n_rows += rows;
        lane->given_ns += (uint64_t)(s->pace.row_ns * rows) + (uint64_t)rows;
    }
}

/* ------------------------------------------------------------------ after a step */

uint64_t sched_charge(struct sched *s, uint64_t ns)
{
    int n_answers = 0, n_rows = 0;
    uint64_t least = UINT64_MAX;
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        n_answers += lane->n_answers;
        n_rows += lane->n_rows;
    }
    uint64_t prompt_ns = pace_learn(&s->pace, n_answers, n_rows, ns);
    double answer_ns = n_answers ? (double)(ns - prompt_ns) / n_answers : 0;
    double row_ns = n_rows ? (double)prompt_ns / n_rows : 0;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        if (lane->n_answers + lane->n_rows == 0)
            continue;
        lane->given_ns = (uint64_t)(answer_ns * lane->n_answers + row_ns * lane->n_rows);
        if (lane->given_ns < least)
            least = lane->given_ns;
    }
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (lane->n_answers + lane->n_rows > 0)
            lane->clock_ns += lane->given_ns - least > least ? lane->given_ns - least : least;
    return prompt_ns;
}

/* ------------------------------------------------------------------ what is told */

/* Queued tasks of its uid that are before it. */
static int n_before(const struct sched_task *task)
{
    int n = 0;
    const struct sched_task *other;
    for (int i = 1; i <= 2 * (int)task->class + 1; i += 2)
        TAILQ_FOREACH (other, &task->lane->tasks[i], beside) {
            if (other == task)
                return n;
            n++;
        }
    return n;
}

uint64_t sched_wait_ns(const struct sched_task *task, uint64_t now_ns)
{
    const struct lane *lane = task->lane;
    int n = n_before(task);
    if (n == 0 || lane->begun_ns == 0)
        return 0;
    const struct sched_task *first = first_queued(lane);
    uint64_t since = lane->begun_ns;
    if (first && first->added_ns > since)
        since = first->added_ns;
    uint64_t pace_ns = lane->pace_ns;
    if (now_ns - since > pace_ns)
        pace_ns = now_ns - since; /* it has become slower */
    return (uint64_t)n * pace_ns;
}

void sched_number(struct sched *s)
{
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        int n = 0;
        struct sched_task *task;
        for (int i = 1; i < STAGES; i += 2)
            TAILQ_FOREACH (task, &lane->tasks[i], beside)
                task->position = ++n;
    }
}

int sched_n_queued(const struct sched *s, enum sched_class class)
{
    return s->n_queued[class];
}

int sched_n_begun(const struct sched *s)
{
    return s->n_begun;
}
