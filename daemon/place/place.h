/* SPDX-License-Identifier: MIT
 *
 * A place: somewhere weights live and ops run. A new kind is one file and a line in place_table[].
 *
 * A place is driven by one thread at a time (the engine's); packing is the loaders', several at
 * once, before that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "place/op.h"

struct node_room;

struct place_spec {
    const char *kind;  /* a name in place_table[] */
    const char *isa;   /* NULL: the best this CPU has */
    int threads;       /* 0: as many as topo.h says */
    int nodes;         /* of memory to spread weights over; 0: those that the machine has */
    const char *cores; /* which may be workers: NULL or "auto", "performance", "all" */
    const char *cache; /* latents in it: NULL or "float", what kernels like best; "int8" */
};

/* The shape of a weight before it is packed. */
struct mat {
    enum mk_type type;
    int n, k, count;
};

/* What a place is made of, for people; "" where there is nothing to say. */
struct place_words {
    char workers[768]; /* how many threads, where, and why no more */
    char memory[512];  /* what pages it lies in */
    char nodes[1024];  /* what lies on which node */
};

struct place {
    const struct place_ops *ops;
    enum mk_type cache_type; /* number format of cached latents */
    int threads;
    const char *isa;
    int n_nodes;                  /* of memory, if weights are to be spread over them */
    const struct node_room *node; /* [n_nodes], their rooms unknown */
    /* How a row attends, of its absolute position: "absorbed", in latents, or "expanded". Words of
     * an answer's receipt; a literal, or the place's. */
    const char *attention;
    /* Set by who wants to see where time goes, NULL otherwise: is told of each phase when it is
     * over. Clock: CLOCK_MONOTONIC. `what` is a literal. */
    void (*trace)(void *arg, const char *what, uint64_t start_ns, uint64_t end_ns);
    void *trace_arg;
    uint64_t meetings; /* phases so far in which the workers met; of who drives the place */
};

/* Memory of a place, float32 rows unless said otherwise; host memory on every kind so far. */
struct buf {
    float *data;
    size_t bytes;
};

struct place_ops {
    const char *kind;
    const char *what; /* for --help */
    int (*open)(const struct place_spec *spec, struct place **ret, struct err *err);
    void (*close)(struct place *place);
    /* Bytes of a packed mat; rows of one matrix may be packed in pieces of a multiple of
     * PLACE_PACK_ROWS, each at the size of the rows before it. */
    size_t (*pack_size)(const struct place *place, const struct mat *mat);
    void (*pack)(struct place *place, const struct mat *rows, const void *src, void *dst);
    /* Whether packed rows of a type are the file's own, so that they may be read to where they
     * stay; NULL: never. */
    bool (*is_plain)(const struct place *place, enum mk_type type);
    void (*bind)(struct place *place, const struct mat *mat, const void *packed,
                 struct weight *ret);
    /* Asks for all scratch that the program needs for steps of max_rows; -ENOMEM; -ENOTSUP: its
     * latents do not fit the format of the cache. */
    int (*prepare)(struct place *place, const struct op *ops, int n_ops, int max_rows,
                   struct err *err);
    /* Bytes that prepare asked for. */
    size_t (*scratch_bytes)(const struct place *place);
    /* Runs the program over the rows (at most max_rows); returns when it is done. */
    void (*submit)(struct place *place, const struct op *ops, int n_ops, const struct rows *rows);
    /* The step is over: workers may sleep. */
    void (*rest)(struct place *place);
    /* After rest: gives memory that only a step needs to the kernel, until the next step; bytes.
     * NULL: it has none. */
    size_t (*shed)(struct place *place);
    /* Another number as long as submit gets on; any thread. NULL: nobody knows. */
    uint64_t (*beat)(const struct place *place);
    /* The calling thread will drive the place and do little else: it may be pinned. NULL: no need.
     */
    void (*drive)(struct place *place);
    /* NULL: nothing to say. Any thread. */
    void (*describe)(const struct place *place, struct place_words *ret);
};

enum { PLACE_PACK_ROWS = 64 };

extern const struct place_ops *const place_table[]; /* ended by NULL */

/* -EINVAL names an unknown kind or instruction set; -ENOTSUP one that this machine lacks. */
int place_open(const struct place_spec *spec, struct place **ret, struct err *err);
void place_close(struct place *place);
void place_drive(struct place *place);
void place_describe(const struct place *place, struct place_words *ret);
OWN_DEFINE(place, place_close);

/* n numbers of a file's type as float32, for conversions at load. */
void place_unpack(enum mk_type type, const void *src, float *dst, size_t n);
/* The rotation's frequencies [n_dims / 2], for op_begin. */
void place_frequencies(const struct mk_rope *rope, double *ret);

int buf_new(struct place *place, size_t bytes, struct buf **ret);
void buf_free(struct buf *buf);
/* What is in it is lost, and its memory the kernel's until somebody writes; bytes. */
size_t buf_shed(struct buf *buf);
OWN_DEFINE(buf, buf_free);
/* Copies bytes of a buffer to the caller. */
void buf_fetch(struct place *place, const struct buf *src, size_t offset, void *dst, size_t bytes);
