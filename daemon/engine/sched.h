/* SPDX-License-Identifier: MIT
 *
 * Who has rows in the next step: fair between users, by class within one.
 *
 * Each uid has a clock, which a step moves by what the uid's rows took of it, as measured:
 * start-time fair queueing. Who is behind chooses first, and who is ahead by more than 50 ms has no
 * rows until he is not. Who comes, or comes back after a while, starts 100 ms before the least
 * clock of those that have work: he has a turn at once, and has saved up no more than that. Rows
 * that share a step are cheaper for all: each is let off what the least had of it. Within a uid
 * those that have begun and those that have not go by class, then in order of arrival: what has
 * begun may be set aside for a better class, or for another uid, and goes on later with its pages.
 *
 * The prompts' part of a step takes no longer than that of the answers beside them, and at most
 * 50 ms, on average at least (pace.h); while those who write are left out, up to 200 ms until they
 * are not. When nobody writes it may have all rows of a step.
 *
 * Pages are promised when a sequence begins, all that it may ever need, so none gets stuck. A uid
 * that has some begins another only if it leaves an eighth of what it would have then, and nobody
 * who has fewer waits for memory.
 *
 * No clock of its own, no memory but for a few bytes a uid. The engine's thread's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/own.h"

enum sched_class { CLASS_INTERACTIVE, CLASS_BATCH, CLASS_BACKGROUND, N_CLASSES };

enum { SCHED_SHARE = 7 }; /* times what it leaves is what a uid may be promised of the memory */

struct lane;
struct sched;

struct sched_task { /* part of a sequence, which outlives its time here */
    uint32_t uid;
    enum sched_class class;
    int pages;            /* that it may ever need */
    uint64_t added_ns;    /* when */
    uint64_t deadline_ns; /* to begin by; 0: none */
    /* As it is now; looked at by sched_plan(): */
    bool rests;  /* it takes no rows */
    bool writes; /* one row; else it reads: */
    int n_rows;  /* at most */
    /* The scheduler's: */
    bool has_begun;
    int position; /* in its uid's queue, from 1 on; 0: it has begun. Of the last sched_number() */
    struct lane *lane;
    TAILQ_ENTRY(sched_task) beside;
};

/* For steps of at most `tasks` tasks and `rows` rows. -ENOMEM. */
int sched_new(int tasks, int rows, struct sched **ret);
/* Tasks must have gone. */
void sched_free(struct sched *sched);
OWN_DEFINE(sched, sched_free);

int sched_add(struct sched *sched, struct sched_task *task); /* -ENOMEM */
void sched_remove(struct sched *sched, struct sched_task *task);

/* Begins a plan, with so many pages that nobody has or was promised. */
void sched_plan(struct sched *sched, int free_pages);
/* Who is next, and how many rows he may have; NULL: the step is planned. One that has not begun is
 * to begin now. */
struct sched_task *sched_next(struct sched *sched, int *rows);
void sched_begin(struct sched *sched, struct sched_task *task, uint64_t now_ns);
/* He has so many; 0: for some reason he takes none in this step. */
void sched_give(struct sched *sched, struct sched_task *task, int rows);
/* The planned step took that long; says how much of it was the prompts'. */
uint64_t sched_charge(struct sched *sched, uint64_t ns);

/* How long until a queued task begins, by the pace at which its uid's have begun of late; 0:
 * nothing says that it waits. */
uint64_t sched_wait_ns(const struct sched_task *task, uint64_t now_ns);
/* Numbers those that wait. */
void sched_number(struct sched *sched);
int sched_n_queued(const struct sched *sched, enum sched_class class);
int sched_n_begun(const struct sched *sched);
