/* SPDX-License-Identifier: MIT
 *
 * The scratch of a step on a host place: one block, cut once for the program's largest ops.
 *
 * Sized at prepare, so that a step allocates nothing. Row-wise areas hold max_rows rows; they are
 * written by one phase of an op and read by the next.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "place/op.h"

enum {
    SCRATCH_FEW = 8,    /* rows of a step that a worker may make for itself */
    SCRATCH_INPUTS = 2, /* job.h */
};

struct worker_scratch {               /* one a thread: nobody else touches it */
    _Alignas(64) float *mm;           /* mk_mm_tmp of the longest row and all rows of a step */
    float *attend;                    /* mk_attend_tmp or mk_prompt_tmp */
    float *absorbed;                  /* [attend_rows][latent + rope] */
    float *latent;                    /* [attend_rows][latent] */
    float *router;                    /* [SCRATCH_FEW][experts] */
    float *route;                     /* mk->route's tmp */
    float *h;                         /* [SCRATCH_FEW][hidden or q_rank] normed input of few rows */
    uint8_t *rounded[SCRATCH_INPUTS]; /* [SCRATCH_FEW] times the rows of a token: as integers */
    uint64_t made[SCRATCH_INPUTS];    /* numbers of the inputs that are made */
    float *matrices;                  /* a head's k_b and v_b */
    struct mk_peak *peak;             /* [rows] */
    const void **page;                /* pages of the longest context */
    char *wide;                       /* rows of a part in bf16, of a cache in int8 */
};

enum { SCRATCH_ANSWERS = 32 }; /* rows of answers that attend together */

struct block { /* rows [first, first + m) */
    int first, m;
};

struct scratch {
    float *h;                         /* [rows][hidden or q_rank] normed input */
    uint8_t *rounded[SCRATCH_INPUTS]; /* inputs as integers, of the longest op */
    float *q_latent;                  /* [rows][q_rank] */
    float *q;                         /* [rows][heads · (nope + rope)] */
    float *kv;                        /* [rows][latent + rope] */
    float *o;                         /* [rows][heads · value] */
    float *hidden, *other; /* [rows · experts used][expert width], or [rows][dense width] */
    float *shared_hidden, *shared_other; /* [rows][shared width] */
    float *logits;                       /* [SCRATCH_FEW][experts] of the router */
    int32_t *chosen;                     /* [rows][used] experts of each row */
    float *chosen_weight;
    int32_t *slot_row; /* [rows · used] sorted by expert */
    float *slot_weight;
    int32_t *expert_start; /* [experts + 1] */
    int32_t *expert_next;  /* [experts] */
    int32_t *active;       /* experts that have rows, ascending */
    int n_active;
    struct block *block; /* [rows] of prompts */
    int n_blocks;
    struct block answers; /* those that attend together */
    int n_slots;          /* parts of their pasts for which there is room */
    int32_t *part_start;  /* [SCRATCH_ANSWERS + 1] first slot of each; they follow each other */
    float *absorbed;      /* [SCRATCH_ANSWERS][heads][latent + rope] */
    float *part;          /* [n_slots][heads][latent] */
    struct mk_peak *peak; /* [n_slots][heads] */
    struct worker_scratch *worker;
    void *mem;
    size_t bytes;
};

int scratch_prepare(struct scratch *s, const struct op *ops, int n_ops, int max_rows, int threads,
                    int attend_rows, enum mk_type cache_type, struct err *err);
void scratch_fini(struct scratch *s);
/* Between steps: all but what workers remember goes to the kernel until it is touched; bytes. */
size_t scratch_shed(struct scratch *s, int threads);
