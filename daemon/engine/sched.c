/* SPDX-License-Identifier: MIT
 *
 * A plan is a walk: each lane has a place in its own tasks, and the lane that is furthest behind,
 * with what it was given in this plan, makes the next move.
 */
#include "engine/sched.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

enum {
    AHEAD_NS = 50000000, /* at most; and so much behind all others begins who comes */
    NEW_PART = 4,        /* of an average: a quarter */
    STAGES = 2 * N_CLASSES,
};

enum group { ANSWERS, PROMPTS, N_GROUPS }; /* of tracks */

TAILQ_HEAD(tasks, sched_task);

struct lane { /* of a uid */
    TAILQ_ENTRY(lane) beside;
    uint32_t uid;
    uint64_t clock_ns[N_GROUPS];
    int n_tasks, pages;
    /* By class: what has begun, what waits, in turns. */
    struct tasks tasks[STAGES];
    uint64_t begun_ns, pace_ns; /* when one began; from one to the next, where they waited */

    int n_rows[N_TRACKS]; /* in the steps under way */

    /* As sched_look() sees it: */
    bool works[N_GROUPS], worked[N_GROUPS]; /* it could have rows; when looked at before */
    bool may_begin;
    int n_begun[N_CLASSES]; /* that do not rest */

    /* The plan's: */
    bool is_out;
    int stage;
    struct sched_task *at;
    uint64_t given_ns; /* about */
};

struct sched {
    TAILQ_HEAD(, lane) lanes;
    struct pace pace;
    int most_answers, most_rows;
    uint64_t clock_ns[N_GROUPS]; /* the least of those who go on working */
    int n_queued[N_CLASSES], n_begun;
    int n_under_way[N_TRACKS]; /* rows */

    int n_users;         /* that have something to do */
    int n_writing;       /* tasks that could */
    int n_short, n_long; /* tasks that have to read: few rows, or many */
    int64_t short_rows;  /* of the former */
    int pages_left;

    enum track track; /* the plan's */
    int tasks_left, rows_left;
};

int sched_new(int answers, int rows, int few_rows, struct sched **ret)
{
    struct sched *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    TAILQ_INIT(&s->lanes);
    s->most_answers = answers;
    s->most_rows = rows;
    s->pace.few_rows = few_rows;
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
    task->has_begun = true;
    s->n_queued[task->class]--;
    s->n_begun++;
    lane->n_begun[task->class]++;
    lane->pages += task->pages;
    s->pages_left -= task->pages;
    TAILQ_INSERT_TAIL(list_of(task), task, beside);
}

/* ------------------------------------------------------------------ looking */

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

static enum group group_of(enum track track)
{
    return track == TRACK_ANSWERS ? ANSWERS : PROMPTS;
}

static bool is_under_way(const struct lane *lane, enum group group)
{
    for (enum track track = 0; track < N_TRACKS; track++)
        if (group_of(track) == group && lane->n_rows[track] > 0)
            return true;
    return false;
}

static void count_reader(struct sched *s, const struct sched_task *task)
{
    if (task->n_rows > SCHED_SHORT_ROWS) {
        s->n_long++;
        return;
    }
    s->n_short++;
    s->short_rows += task->n_rows;
}

/* Whether it could have rows. */
static void look_at_tasks(struct sched *s, struct lane *lane)
{
    const struct sched_task *task;
    for (enum group g = 0; g < N_GROUPS; g++)
        lane->works[g] = is_under_way(lane, g);
    for (int i = 0; i < STAGES; i++) {
        bool has_begun = i % 2 == 0;
        if (has_begun)
            lane->n_begun[i / 2] = 0;
        TAILQ_FOREACH (task, &lane->tasks[i], beside) {
            lane->n_begun[i / 2] += has_begun && !task->rests;
            if (task->rests || task->is_busy || (!has_begun && !lane->may_begin))
                continue;
            lane->works[task->writes ? ANSWERS : PROMPTS] = true;
            if (task->writes)
                s->n_writing++;
            else
                count_reader(s, task);
        }
    }
}

/* Where who comes begins. */
static uint64_t first_clock(const struct sched *s, enum group group)
{
    return s->clock_ns[group] > AHEAD_NS ? s->clock_ns[group] - AHEAD_NS : 0;
}

/* Sets the clock of all by those who go on working, and that of who comes by it. Nobody remembers
 * what was before all was quiet. */
static void set_clocks(struct sched *s, enum group g)
{
    uint64_t least = UINT64_MAX, most = 0;
    bool is_quiet = true;
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        is_quiet = is_quiet && !lane->works[g];
        if (lane->works[g] && lane->worked[g] && lane->clock_ns[g] < least)
            least = lane->clock_ns[g];
        if (lane->clock_ns[g] > most)
            most = lane->clock_ns[g];
    }
    if (is_quiet)
        least = most;
    if (least != UINT64_MAX && least > s->clock_ns[g])
        s->clock_ns[g] = least;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        bool comes = lane->works[g] && !lane->worked[g];
        if (comes && lane->clock_ns[g] < first_clock(s, g))
            lane->clock_ns[g] = first_clock(s, g);
        lane->worked[g] = lane->works[g];
    }
}

static void drop_empty_lanes(struct sched *s)
{
    for (struct lane *lane = TAILQ_FIRST(&s->lanes), *next; lane; lane = next) {
        next = TAILQ_NEXT(lane, beside);
        bool is_needed = lane->n_tasks > 0;
        for (enum group g = 0; g < N_GROUPS; g++)
            is_needed = is_needed || is_under_way(lane, g) || lane->clock_ns[g] > first_clock(s, g);
        if (!is_needed)
            drop_lane(s, lane);
    }
}

void sched_look(struct sched *s, int free_pages)
{
    struct lane *lane;
    s->pages_left = free_pages;
    s->n_users = s->n_writing = s->n_short = s->n_long = 0;
    s->short_rows = 0;
    look_at_memory(s);
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        look_at_tasks(s, lane);
        s->n_users += lane->works[ANSWERS] || lane->works[PROMPTS];
    }
    for (enum group g = 0; g < N_GROUPS; g++)
        set_clocks(s, g);
    drop_empty_lanes(s);
}

/* ------------------------------------------------------------------ before a step */

/* Whether there is a place for it among the answers, once it has been read: of those of other users
 * as many count as have a right to one, of its own those that are no worse. */
static bool has_place(const struct sched *s, const struct lane *lane, const struct sched_task *task)
{
    int n = 0, fair = s->most_answers / s->n_users;
    const struct lane *other;
    TAILQ_FOREACH (other, &s->lanes, beside) {
        int begun = 0;
        for (int i = 0; i < N_CLASSES; i++)
            begun += other != lane || i <= (int)task->class ? other->n_begun[i] : 0;
        n += other == lane || begun < fair ? begun : fair;
    }
    return n < s->most_answers;
}

static bool takes_rows(const struct sched *s, struct lane *lane, const struct sched_task *task)
{
    bool answers = s->track == TRACK_ANSWERS;
    if (task->rests || task->is_busy || task->writes != answers)
        return false;
    if (!answers && s->rows_left == 0)
        return false;
    if (s->track == TRACK_SHORT && task->n_rows > SCHED_SHORT_ROWS)
        return false;
    if (!task->has_begun && lane->may_begin) /* nobody of this uid overtakes who waits for that */
        lane->may_begin = has_memory(s, lane, task) && has_place(s, lane, task);
    return task->has_begun || lane->may_begin;
}

static void enter(struct lane *lane, int stage)
{
    lane->stage = stage;
    lane->at = stage < STAGES ? TAILQ_FIRST(&lane->tasks[stage]) : NULL;
}

static struct sched_task *next_of(const struct sched *s, struct lane *lane)
{
    for (; lane->stage < STAGES; enter(lane, lane->stage + 1))
        for (; lane->at; lane->at = TAILQ_NEXT(lane->at, beside))
            if (takes_rows(s, lane, lane->at))
                return lane->at;
    return NULL;
}

/* Whoever is too far ahead of those who are served, or would be now; false: nobody is left. */
static bool leave_out(struct sched *s)
{
    enum group g = group_of(s->track);
    uint64_t least = UINT64_MAX;
    bool is_any = false;
    struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        lane->given_ns = 0;
        enter(lane, 0);
        lane->is_out = !next_of(s, lane);
        if ((!lane->is_out || is_under_way(lane, g)) && lane->clock_ns[g] < least)
            least = lane->clock_ns[g];
    }
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        lane->is_out = lane->is_out || lane->clock_ns[g] - least > AHEAD_NS;
        is_any = is_any || !lane->is_out;
    }
    return is_any;
}

/* A short step is for what would wait for a long one, or needs none. */
static bool is_wanted(const struct sched *s, enum track track)
{
    if (track == TRACK_ANSWERS)
        return s->n_writing > 0;
    if (track == TRACK_LONG)
        return s->n_short + s->n_long > 0;
    return s->n_short > 0 &&
           (s->n_long > 0 || s->n_under_way[TRACK_LONG] > 0 || s->short_rows <= SCHED_SHORT_ROWS);
}

bool sched_plan(struct sched *s, enum track track)
{
    s->track = track;
    if (!is_wanted(s, track))
        return false;
    s->tasks_left = track == TRACK_ANSWERS ? s->most_answers : SCHED_READERS;
    s->rows_left = s->most_rows;
    if (track == TRACK_SHORT && s->rows_left > SCHED_SHORT_ROWS)
        s->rows_left = SCHED_SHORT_ROWS;
    if (track == TRACK_LONG && (s->n_writing > 0 || s->n_under_way[TRACK_ANSWERS] > 0))
        s->rows_left = pace_rows(&s->pace, s->most_rows);
    return leave_out(s);
}

struct sched_task *sched_next(struct sched *s, int *rows)
{
    struct lane *first = NULL, *lane;
    enum group g = group_of(s->track);
    if (s->tasks_left == 0)
        return NULL;
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (!lane->is_out && next_of(s, lane) &&
            (!first || lane->clock_ns[g] + lane->given_ns < first->clock_ns[g] + first->given_ns))
            first = lane;
    if (!first)
        return NULL;
    struct sched_task *task = first->at;
    *rows = task->writes ? 1 : task->n_rows < s->rows_left ? task->n_rows : s->rows_left;
    return task;
}

/* About what a row of the planned step will take. */
static double row_ns(const struct sched *s)
{
    if (s->track != TRACK_ANSWERS)
        return s->pace.row_ns;
    return s->pace.answers_ns / (s->n_writing < s->most_answers ? s->n_writing : s->most_answers);
}

void sched_give(struct sched *s, struct sched_task *task, int rows)
{
    struct lane *lane = task->lane;
    if (lane->at == task)
        lane->at = TAILQ_NEXT(task, beside);
    if (rows == 0)
        return;
    s->tasks_left--;
    if (!task->writes)
        s->rows_left -= rows;
    lane->n_rows[s->track] += rows;
    s->n_under_way[s->track] += rows;
    lane->given_ns += (uint64_t)(row_ns(s) * rows) + (uint64_t)rows;
    task->is_busy = true;
}

int sched_start(struct sched *s)
{
    int n = s->n_under_way[s->track];
    bool is_owed = false;
    const struct lane *lane;
    TAILQ_FOREACH (lane, &s->lanes, beside)
        is_owed = is_owed || (lane->n_rows[TRACK_SHORT] > 0 && !lane->works[ANSWERS]);
    if (n > 0)
        pace_start(&s->pace, s->track, n, is_owed && s->track == TRACK_SHORT);
    return n;
}

/* ------------------------------------------------------------------ while steps are under way */

enum track sched_turn(const struct sched *s)
{
    return pace_next(&s->pace);
}

void sched_charge(struct sched *s, enum track track, uint64_t ns)
{
    double row_ns = (double)ns / s->n_under_way[track];
    uint64_t least = UINT64_MAX;
    struct lane *lane;
    pace_spend(&s->pace, track, ns);
    TAILQ_FOREACH (lane, &s->lanes, beside) {
        if (lane->n_rows[track] == 0)
            continue;
        lane->given_ns = (uint64_t)(row_ns * lane->n_rows[track]);
        if (lane->given_ns < least)
            least = lane->given_ns;
    }
    TAILQ_FOREACH (lane, &s->lanes, beside)
        if (lane->n_rows[track] > 0)
            lane->clock_ns[group_of(track)] +=
                lane->given_ns - least > least ? lane->given_ns - least : least;
}

void sched_stop(struct sched *s, enum track track, bool is_done)
{
    struct lane *lane;
    pace_stop(&s->pace, track, is_done);
    s->n_under_way[track] = 0;
    TAILQ_FOREACH (lane, &s->lanes, beside)
        lane->n_rows[track] = 0;
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
