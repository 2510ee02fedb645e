/* SPDX-License-Identifier: MIT
 *
 * What an engine measured, as parts of a ModelStats: histograms, and counts of experts. Loop
 * thread.
 */
#pragma once

#include <stdbool.h>

#include "base/own.h"
#include "moed/v1/stats.pb-c.h"

struct engine;
struct figures; /* a list of what messages borrow; NULL is empty */

/* -ENOMEM */
int figures_add(struct figures **list, const struct engine *engine, bool experts,
                Moed__V1__ModelStats *stats);
void figures_free(struct figures *list);
OWN_DEFINE(figures, figures_free);
