/* SPDX-License-Identifier: MIT
 *
 * For functions in headers of an instruction set: no symbol of theirs may reach another machine.
 */
#pragma once

#define INLINE static inline __attribute__((always_inline))
