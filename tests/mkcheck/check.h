/* SPDX-License-Identifier: MIT
 *
 * What every part of mkcheck shares: the case under test, random numbers, memory with guarded
 * edges, and the count of what passed.
 *
 * One thread. The name of the running case is kept where a signal handler can print it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mk.h"

/* ------------------------------------------------------------------ counting */

struct check {
    uint64_t random; /* state of the generator */
    long passed, failed;
    bool case_failed;
};

/* Starts a case and names it; the case before counts as passed or failed. */
void check_begin(struct check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Says what is wrong; the first time in a case it prints the case's name. */
void check_fail(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
void check_end(struct check *check);
/* From now on a crash prints the name of the running case and ends the program with status 1. */
void check_catch_crashes(void);

/* ------------------------------------------------------------------ random numbers */

uint64_t random_bits(struct check *check);
/* 0 … below - 1 */
int random_below(struct check *check, int below);
/* Evenly in [-1, 1). */
float random_float(struct check *check);

/* ------------------------------------------------------------------ guarded memory */

enum { GUARD_COUNT = 8 };

/**
 * Memory that ends where an unreadable page begins.
 *
 *   which   0 … GUARD_COUNT - 1: one buffer each; asking again moves the buffer
 *   bytes   its size; a byte behind the last one is a fault. The start is not aligned
 *   ret     the buffer, with what was in it before at other sizes
 */
void *guard(int which, size_t bytes);

/* ------------------------------------------------------------------ the parts */

enum pattern { PATTERN_RANDOM, PATTERN_LARGE, PATTERN_TINY, PATTERN_ZERO, PATTERN_COUNT };

/* n weights of a type; LARGE has the greatest scales and codes, TINY subnormal ones. */
void fill_weights(struct check *check, enum mk_type type, enum pattern pattern, void *w, size_t n);
void fill_floats(struct check *check, enum pattern pattern, float *x, size_t n);

/* How far a sum over `terms` products may be from the exact one, relative to Σ|w·x|. */
double sum_tolerance(const char *isa, int terms);
/* The same of few or many rows, where a set may round both factors first, take what is below
 * `flushed`, of factors and products, for zero, round x to int8 as mk_ref_dot() does, or weights as
 * well, as mk_ref_mul(). */
struct tolerance {
    double relative, flushed;
    bool rounds_x, rounds_w;
};
struct tolerance tolerance_of(const struct mk_mat *mat, enum mk_arithmetic arithmetic, int terms);

void check_mat(struct check *check, const struct mk *mk);
void check_vec(struct check *check, const struct mk *mk);
void check_route(struct check *check, const struct mk *mk);
void check_attend(struct check *check, const struct mk *mk);
void check_narrow(struct check *check, const struct mk *mk);

/* Speed of every kernel of a table, as shares of what this core can read and multiply. */
void bench(struct check *check, const struct mk *mk);
