/* SPDX-License-Identifier: MIT */
#include "service/figures.h"

#include <errno.h>
#include <stdlib.h>

#include <uv.h>

#include "engine/engine.h"
#include "engine/meter.h"
#include "engine/usage.h"

struct figures {
    struct figures *next;
    Moed__V1__Histogram histogram[N_METERS];
    Moed__V1__Histogram *histogram_list[N_METERS];
    struct histogram_reading reading[N_METERS];
    Moed__V1__ExpertLayer *layer; /* of each layer that has experts */
    Moed__V1__ExpertLayer **layer_list;
    uint64_t *chosen; /* of all of them */
    float *recent;
};

void figures_free(struct figures *list)
{
    for (struct figures *f = list, *next; f; f = next) {
        next = f->next;
        free(f->layer);
        free(f->layer_list);
        free(f->chosen);
        free(f->recent);
        free(f);
    }
}

static void fill_histograms(struct figures *f, const struct meters *meters,
                            Moed__V1__ModelStats *stats)
{
    for (int i = 0; i < N_METERS; i++) {
        const struct histogram *from = &meters->histogram[i];
        Moed__V1__Histogram *h = &f->histogram[i];
        histogram_read(from, &f->reading[i]);
        moed__v1__histogram__init(h);
        h->name = (char *)meter_table[i].name;
        h->unit = (char *)meter_table[i].unit;
        h->help = (char *)meter_table[i].help;
        h->bounds = (double *)from->scale->bound;
        h->n_bounds = (size_t)from->scale->n;
        h->counts = f->reading[i].count;
        h->n_counts = h->n_bounds + 1;
        h->has_sum = true;
        h->sum = f->reading[i].sum;
        f->histogram_list[i] = h;
    }
    stats->histograms = f->histogram_list;
    stats->n_histograms = N_METERS;
}

static int fill_experts(struct figures *f, struct usage *usage, Moed__V1__ModelStats *stats)
{
    int first, layers, experts;
    usage_shape(usage, &first, &layers, &experts);
    size_t n = (size_t)layers, each = (size_t)experts;
    f->layer = calloc(n, sizeof *f->layer);
    f->layer_list = calloc(n, sizeof *f->layer_list);
    f->chosen = calloc(n * each, sizeof *f->chosen);
    f->recent = calloc(n * each, sizeof *f->recent);
    if (!f->layer || !f->layer_list || !f->chosen || !f->recent)
        return -ENOMEM;
    usage_read(usage, uv_hrtime(), f->chosen, f->recent);
    for (size_t i = 0; i < n; i++) {
        Moed__V1__ExpertLayer *layer = &f->layer[i];
        moed__v1__expert_layer__init(layer);
        layer->has_layer = true;
        layer->layer = (uint32_t)first + (uint32_t)i;
        layer->chosen = f->chosen + i * each;
        layer->recent = f->recent + i * each;
        layer->n_chosen = layer->n_recent = each;
        f->layer_list[i] = layer;
    }
    stats->experts = f->layer_list;
    stats->n_experts = n;
    return 0;
}

int figures_add(struct figures **list, const struct engine *engine, bool experts,
                Moed__V1__ModelStats *stats)
{
    struct figures *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    f->next = *list;
    *list = f;
    fill_histograms(f, engine_meters(engine), stats);
    struct usage *usage = experts ? engine_usage(engine) : NULL;
    return usage ? fill_experts(f, usage, stats) : 0;
}
