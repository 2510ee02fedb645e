/* SPDX-License-Identifier: MIT
 *
 * A line on stderr that shows how far a model is loaded or a prompt is read, drawn again and again.
 * One thread; for terminals only.
 */
#pragma once

#include <moed/moed.h>

struct bar {
    int width; /* of what stands there; 0: nothing */
};

void bar_draw(struct bar *bar, const struct moed_model *model);
void bar_reading(struct bar *bar, const struct moed_progress *progress);
/* Leaves the line empty. */
void bar_clear(struct bar *bar);
