/* SPDX-License-Identifier: MIT
 *
 * Very old files have a tensor for each expert of a layer: here they become one of all experts.
 *
 * Belongs to the thread that opens the file.
 */
#pragma once

#include "base/err.h"

struct format;

/* Makes "blk.N.ffn_gate_exps.weight" of all "blk.N.ffn_gate.E.weight" in order of E, likewise up
 * and down; nothing, where there are none. All tensors must be placed and checked. -EINVAL with
 * words, if an expert is missing or differs from the others; -ENOMEM. */
int experts_join(struct format *format, struct err *err);
