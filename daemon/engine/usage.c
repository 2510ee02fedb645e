/* SPDX-License-Identifier: MIT
 *
 * Counts only grow. Every few seconds what came since the last time is folded into sums that fade;
 * a lock guards these, and while a reader has it the engine goes on and folds at a later step.
 */
#include "engine/usage.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "model/forward.h"

#define FOLD_NS 10000000000u

struct usage {
    struct forward_experts of;
    size_t n; /* of them in all layers */
    pthread_mutex_t lock;
    uint64_t folded_ns;  /* when */
    uint64_t stepped_ns; /* when the last step began: what is not folded yet is of about then */
    uint64_t *folded;    /* [n] so many of the counts are in the sums */
    double *sum;
};

int usage_new(const struct forward_experts *experts, uint64_t now_ns, struct usage **ret)
{
    size_t n = (size_t)experts->n_layers * (size_t)experts->n_experts;
    *ret = NULL;
    if (n == 0)
        return 0;
    struct usage *usage = calloc(1, sizeof *usage);
    if (!usage)
        return -ENOMEM;
    pthread_mutex_init(&usage->lock, NULL);
    usage->of = *experts;
    usage->n = n;
    usage->folded_ns = usage->stepped_ns = now_ns;
    usage->folded = calloc(n, sizeof *usage->folded);
    usage->sum = calloc(n, sizeof *usage->sum);
    if (!usage->folded || !usage->sum) {
        usage_free(usage);
        return -ENOMEM;
    }
    *ret = usage;
    return 0;
}

void usage_free(struct usage *usage)
{
    if (!usage)
        return;
    pthread_mutex_destroy(&usage->lock);
    free(usage->folded);
    free(usage->sum);
    free(usage);
}

/* What is left of one at a later time. */
static double fade(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? exp2((double)(to_ns - from_ns) * -1e-9 / USAGE_HALF_S) : 1;
}

static uint64_t count_of(const struct usage *usage, size_t i)
{
    return atomic_load_explicit(&usage->of.chosen[i], memory_order_relaxed);
}

void usage_tick(struct usage *usage, uint64_t now_ns)
{
    if (pthread_mutex_trylock(&usage->lock) != 0)
        return;
    if (now_ns - usage->folded_ns >= FOLD_NS) {
        double old = fade(usage->folded_ns, now_ns), fresh = fade(usage->stepped_ns, now_ns);
        for (size_t i = 0; i < usage->n; i++) {
            uint64_t count = count_of(usage, i);
            usage->sum[i] = usage->sum[i] * old + (double)(count - usage->folded[i]) * fresh;
            usage->folded[i] = count;
        }
        usage->folded_ns = now_ns;
    }
    usage->stepped_ns = now_ns;
    pthread_mutex_unlock(&usage->lock);
}

void usage_shape(const struct usage *usage, int *first, int *layers, int *experts)
{
    *first = usage->of.first;
    *layers = usage->of.n_layers;
    *experts = usage->of.n_experts;
}

void usage_read(struct usage *usage, uint64_t now_ns, uint64_t *total, float *recent)
{
    pthread_mutex_lock(&usage->lock);
    double old = fade(usage->folded_ns, now_ns), fresh = fade(usage->stepped_ns, now_ns);
    for (size_t i = 0; i < usage->n; i++) {
        total[i] = count_of(usage, i);
        recent[i] = (float)(usage->sum[i] * old + (double)(total[i] - usage->folded[i]) * fresh);
    }
    pthread_mutex_unlock(&usage->lock);
}
