/* SPDX-License-Identifier: MIT
 *
 * What this machine can do right now: bytes that n threads read from memory, operations that they
 * do in registers. Neighbours of a virtual machine take their share, so a figure is worth something
 * only beside a probe of the same minute.
 */
#pragma once

struct probe {
    double read;       /* bytes a second, from memory, huge pages where granted */
    double fma;        /* float32 operations a second, widest vectors */
    double vnni;       /* int8 operations a second, AVX-512 VNNI; 0 without */
    double amx_int8;   /* int8 operations a second in tiles; 0 without */
    double amx_loaded; /* the same, one tile loaded from the L1 cache for each product */
    double amx_bf16;   /* bf16 operations a second in tiles; 0 without */
};

enum { PROBER_MAX_THREADS = 1024 };
struct prober; /* threads and a gigabyte to read */

/* NULL without memory. At most PROBER_MAX_THREADS, pinned to the first processors that this process
 * may use. */
struct prober *prober_new(int threads);
void prober_free(struct prober *prober);
void prober_run(struct prober *prober, struct probe *ret); /* some half a second */
