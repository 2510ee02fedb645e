/* SPDX-License-Identifier: MIT
 *
 * Who has rows in the next step of each track: fair between users, by class within one.
 *
 * Answers are one track, prompts two (pace.h): a step of each may be under way at a time, and who
 * has rows in one has none in another. Prompts with few rows left are read in short steps where
 * others are read in a long one, or where all of them fit.
 *
 * Each uid has a clock for its answers and one for its prompts, which every op moves by what the
 * uid's rows took of it, as measured: start-time fair queueing. Who is behind chooses first, and
 * who is ahead of somebody else who is served by more than 50 ms has no rows until he is not. Who
 * comes, or comes back after a while, starts 50 ms before the least clock of those that have work:
 * he has a turn at once, and has saved up no more than that. Rows that share a step are cheaper for
 * all: each is let off what the least had of it. Within a uid those that have begun and those that
 * have not go by class, then in order of arrival: what has begun may be set aside for a better
 * class, or for another uid, and goes on later with its pages.
 *
 * Pages are promised when a sequence begins, all that it may ever need, so none gets stuck. A uid
 * that has some begins another only if it leaves an eighth of what it would have then, and nobody
 * who has fewer waits for memory; nor does one begin that would have no place among the answers.
 *
 * No clock of its own, no memory but for a few bytes a uid. The engine's thread's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/own.h"
#include "engine/pace.h"

enum sched_class { CLASS_INTERACTIVE, CLASS_BATCH, CLASS_BACKGROUND, N_CLASSES };

enum {
    SCHED_SHARE = 7,       /* times what it leaves is what a uid may be promised of the memory */
    SCHED_SHORT_ROWS = 64, /* of a short step, at most */
    SCHED_READERS = 16,    /* of prompts in a step, at most */
};

struct lane;
struct sched;

struct sched_task { /* part of a sequence, which outlives its time here */
    uint32_t uid;
    enum sched_class class;
    int pages;            /* that it may ever need */
    uint64_t added_ns;    /* when */
    uint64_t deadline_ns; /* to begin by; 0: none */
    /* As it is now; looked at by sched_look(): */
    bool rests;   /* it takes no rows */
    bool is_busy; /* a step with its rows is under way */
    bool writes;  /* one row; else it reads: */
    int n_rows;   /* at most */
    /* The scheduler's: */
    bool has_begun;
    int position; /* in its uid's queue, from 1 on; 0: it has begun. Of the last sched_number() */
    struct lane *lane;
    TAILQ_ENTRY(sched_task) beside;
};

/* For steps of at most so many answers, and rows of prompts, of which few_rows take about as long
 * as fewer. -ENOMEM. */
int sched_new(int answers, int rows, int few_rows, struct sched **ret);
/* Tasks must have gone. */
void sched_free(struct sched *sched);
OWN_DEFINE(sched, sched_free);

int sched_add(struct sched *sched, struct sched_task *task); /* -ENOMEM */
void sched_remove(struct sched *sched, struct sched_task *task);

/* Looks at all tasks, with so many pages that nobody has or was promised: before plans. */
void sched_look(struct sched *sched, int free_pages);
/* Begins the plan of a step, where none of that track is under way; false: nobody has rows. */
bool sched_plan(struct sched *sched, enum track track);
/* Who is next, and how many rows he may have; NULL: the step is planned. One that has not begun is
 * to begin now. */
struct sched_task *sched_next(struct sched *sched, int *rows);
void sched_begin(struct sched *sched, struct sched_task *task, uint64_t now_ns);
/* He has so many; 0: for some reason he takes none in this step. */
void sched_give(struct sched *sched, struct sched_task *task, int rows);
/* The planned step, if anybody has rows in it, is under way; how many. */
int sched_start(struct sched *sched);

/* Whose op is next; N_TRACKS: nothing is under way. */
enum track sched_turn(const struct sched *sched);
/* It took that long. */
void sched_charge(struct sched *sched, enum track track, uint64_t ns);
/* The step is done, or was given up. */
void sched_stop(struct sched *sched, enum track track, bool is_done);

/* How long until a queued task begins, by the pace at which its uid's have begun of late; 0:
 * nothing says that it waits. */
uint64_t sched_wait_ns(const struct sched_task *task, uint64_t now_ns);
/* Numbers those that wait. */
void sched_number(struct sched *sched);
int sched_n_queued(const struct sched *sched, enum sched_class class);
int sched_n_begun(const struct sched *sched);
