/* SPDX-License-Identifier: MIT
 *
 * What this CPU and its operating system allow: one bit an instruction set of mk_isa_names.
 */
#pragma once

#include <stdbool.h>

struct cpu {
    bool avx2;   /* AVX2, FMA and F16C; the system saves the 256-bit state */
    bool avx512; /* F, BW, DQ and VL besides avx2; the system saves masks and 512-bit state */
};

/* Asks the CPU. No state is kept; any thread. */
void cpu_detect(struct cpu *ret);
