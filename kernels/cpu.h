/* SPDX-License-Identifier: MIT
 *
 * What this CPU and its operating system allow: one bit an instruction set of mk_isa_names.
 */
#pragma once

#include <stdbool.h>

struct cpu {
    bool avx2;   /* AVX2, FMA and F16C; the system saves the 256-bit state */
    bool avx512; /* F, BW, DQ, VL and VNNI besides avx2; the system saves masks and 512-bit state */
    bool amx;    /* tiles of bf16 and AVX-512's conversions to it; the system lets us use tiles */
};

/* Asks the CPU, and the system for the right to use tiles, which later threads inherit. */
void cpu_detect(struct cpu *ret);
