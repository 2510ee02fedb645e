/* SPDX-License-Identifier: MIT */
#include "model/sums.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include <xxhash.h>

#include "base/thread.h"
#include "model/spread.h"
#include "model/weights.h"

enum { MOST_THREADS = 8 };

/* The matrices of an item that lie on node j. */
static void list_item(const struct plan *plan, const struct spread *spread, int item, int j,
                      struct sums_at *ret)
{
    const struct weight_part *part = &spread->part[item * spread->n_nodes + j];
    bool whole = spread_by_matrix(&plan->item[item]);
    int n = spread_matrices(spread, plan, item, j);
    for (int i = 0; i < n; i++)
        ret[i] = (struct sums_at){
            .data = (const char *)part->data + (size_t)i * part->stride,
            .bytes = part->stride,
            .item = item,
            .matrix = whole ? part->first + i : i,
            .node = j,
            .first = whole ? 0 : part->first,
            .end = whole ? plan->item[item].mat.n : part->end,
        };
}

int sums_list(const struct plan *plan, const struct spread *spread, struct sums *ret)
{
    int n = 0;
    for (int i = 0; i < plan->n; i++)
        for (int j = 0; j < spread->n_nodes; j++)
            n += spread_matrices(spread, plan, i, j);
    struct sums sums = {.n = n};
    sums.at = calloc((size_t)n + 1, sizeof *sums.at);
    sums.sum = calloc((size_t)n + 1, sizeof *sums.sum);
    if (!sums.at || !sums.sum) {
        sums_fini(&sums);
        return -ENOMEM;
    }
    n = 0;
    for (int i = 0; i < plan->n; i++)
        for (int j = 0; j < spread->n_nodes; j++) {
            list_item(plan, spread, i, j, sums.at + n);
            n += spread_matrices(spread, plan, i, j);
        }
    *ret = sums;
    return 0;
}

struct work {
    struct sums *sums;
    atomic_int next;
};

static void *make_some(void *arg)
{
    struct work *work = arg;
    int i;
    while ((i = atomic_fetch_add(&work->next, 1)) < work->sums->n)
        work->sums->sum[i] = XXH3_64bits(work->sums->at[i].data, work->sums->at[i].bytes);
    return NULL;
}

void sums_make(struct sums *sums, int threads)
{
    pthread_t thread[MOST_THREADS];
    struct work work = {.sums = sums};
    int n = threads < MOST_THREADS ? threads : MOST_THREADS, started = 1;
    while (started < n && thread_start(&thread[started], "moed-loader", make_some, &work) == 0)
        started++; /* fewer do as well */
    make_some(&work);
    for (int i = 1; i < started; i++)
        pthread_join(thread[i], NULL);
}

bool sums_hold(const struct sums *sums, int i)
{
    return XXH3_64bits(sums->at[i].data, sums->at[i].bytes) == sums->sum[i];
}

void sums_fini(struct sums *sums)
{
    free(sums->at);
    free(sums->sum);
    *sums = (struct sums){0};
}
