/* SPDX-License-Identifier: MIT
 *
 * A fuzz target: one function over bytes that must come back, whatever they are. It may assert
 * what its room promises; it keeps nothing from one input to the next.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
