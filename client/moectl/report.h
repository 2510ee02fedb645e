/* SPDX-License-Identifier: MIT
 *
 * Models and counters as tables and as JSON, for the verbs that show them.
 */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "moed/moed.h"

json_t *report_model_json(const struct moed_model *m);
json_t *report_models_json(const struct moed_call *call);
/* A table on stdout, "no models" where there are none. */
void report_models(const struct moed_call *call);
/* A name a line. */
void report_names(const struct moed_call *call);
/* Values in all, and what so many percent of them are at most, as far as buckets tell; where it is
 * above all bounds, the last of them. */
uint64_t report_count(const struct moed_histogram *h);
double report_percentile(const struct moed_histogram *h, double percent);
/* Percentiles as a table on stdout, of a model; whether it has had a request; of all that have,
 * under their names. */
void report_histograms(const struct moed_model_stats *m);
bool report_has_fared(const struct moed_model_stats *m);
void report_fares(const struct moed_stats_info *stats);
json_t *report_model_stats_json(const struct moed_model_stats *s);
json_t *report_pressure_json(const struct moed_pressure *p);
json_t *report_generation_json(const struct moed_generation *g);
