/* SPDX-License-Identifier: MIT
 *
 * stats: how requests fare, and which experts they go to. One thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "moectl/link.h"
#include "moectl/report.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

enum { HOTTEST = 6 };

/* ---- experts */
/* Who has the most, after those that were told. */
static size_t next_hottest(const struct moed_expert_layer *l, const size_t *told, int n_told)
{
    size_t best = l->n;
    for (size_t e = 0; e < l->n; e++) {
        bool is_told = false;
        for (int i = 0; i < n_told; i++)
            is_told |= told[i] == e;
        if (!is_told && (best == l->n || l->recent[e] > l->recent[best]))
            best = e;
    }
    return best;
}

static void print_layer(const struct moed_expert_layer *l)
{
    double all = 0;
    size_t told[HOTTEST];
    for (size_t e = 0; e < l->n; e++)
        all += (double)l->recent[e];
    printf("  layer %-3" PRIu32, l->layer);
    for (int i = 0; i < HOTTEST && all > 0; i++) {
        told[i] = next_hottest(l, told, i);
        if (told[i] == l->n || !(l->recent[told[i]] > 0))
            break;
        printf("  %4zu %4.1f %%", told[i], 100 * (double)l->recent[told[i]] / all);
    }
    putchar('\n');
}

static json_t *layer_json(const struct moed_expert_layer *l)
{
    json_t *chosen = json_array(), *recent = json_array();
    for (size_t e = 0; e < l->n; e++) {
        json_array_append_new(chosen, json_integer((json_int_t)l->chosen[e]));
        json_array_append_new(recent, screen_json_real((double)l->recent[e]));
    }
    return json_pack("{s:I,s:o,s:o}", "layer", (json_int_t)l->layer, "chosen", chosen, "recent",
                     recent);
}

/* ---- both */
static json_t *stats_json(const struct options *o, const struct moed_stats_info *stats)
{
    json_t *models = json_array();
    for (size_t i = 0; i < stats->n_models; i++) {
        const struct moed_model_stats *m = stats->models[i];
        json_t *model = report_model_stats_json(m), *experts = json_array();
        for (size_t j = 0; j < m->n_experts; j++)
            json_array_append_new(experts, layer_json(m->experts[j]));
        if (o->experts)
            json_object_set(model, "experts", experts);
        json_decref(experts);
        json_array_append_new(models, model);
    }
    return json_pack("{s:o}", "models", models);
}

static void print_stats(const struct options *o, const struct moed_stats_info *stats)
{
    if (stats->n_models == 0)
        puts("no model is loaded");
    for (size_t i = 0; i < stats->n_models; i++) {
        const struct moed_model_stats *m = stats->models[i];
        screen_word(stdout, m->model);
        putchar('\n');
        report_histograms(m);
        if (o->experts)
            puts(m->n_experts ? "  hottest experts of late, with their share" : "  no experts");
        for (size_t j = 0; j < m->n_experts; j++)
            print_layer(m->experts[j]);
    }
}

int verb_stats(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = link_open(o, &moed);
    if (r)
        return r;
    r = link_wait(o, (o->experts ? moed_stats_experts : moed_stats)(moed, &call, &error), &call,
                  &error);
    if (r)
        return r;
    if (o->json)
        screen_json(stats_json(o, moed_call_stats(call)));
    else
        print_stats(o, moed_call_stats(call));
    return EXIT_DONE;
}
