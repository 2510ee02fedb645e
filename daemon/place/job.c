/* SPDX-License-Identifier: MIT */
#include "place/job.h"

#include <time.h>

enum {
    MIN_TILE = 16, /* weight rows below which a tile isn't worth handing out */
    TILES_A_THREAD = 4,
};

int job_tile_rows(const struct cpu *cpu, int n)
{
    int tile = ceil_div(n, cpu->place.threads * TILES_A_THREAD);
    tile = ceil_div(tile, MIN_TILE) * MIN_TILE;
    return tile > 0 ? tile : MIN_TILE;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void job_run_phase(struct job *job, const char *name, tile_fn phase, int n_tiles)
{
    const struct place *place = &job->cpu->place;
    uint64_t start = place->trace ? now_ns() : 0;
    pool_run(job->cpu->pool, phase, job, n_tiles);
    if (place->trace)
        place->trace(place->trace_arg, name, start, now_ns());
}

const void *job_find_rows(const struct weight *w, int index, int row, int *first, int *end)
{
    const struct weight_part *part = w->part;
    *first = 0;
    *end = w->n;
    if (!part)
        return (const char *)w->data + (size_t)index * w->stride;
    while (part->end <= (w->by_matrix ? index : row))
        part++;
    if (w->by_matrix)
        return (const char *)part->data + (size_t)(index - part->first) * part->stride;
    *first = part->first;
    *end = part->end;
    return (const char *)part->data + (size_t)index * part->stride;
}

/* What lies together of a matrix times m rows. */
static void multiply_part(const struct mk_mat *mat, struct mk_mm mm, int n_decode)
{
    int m = mm.m;
    mm.m = max_int(0, min_int(m, n_decode));
    if (mm.m > 0)
        mat->gemv(&mm);
    if (mm.m == m)
        return;
    if (mm.xrow)
        mm.xrow += mm.m;
    else
        mm.x += (size_t)mm.m * (size_t)mm.ldx;
    if (mm.yrow)
        mm.yrow += mm.m;
    else
        mm.y += (size_t)mm.m * (size_t)mm.ldy;
    mm.m = m - mm.m;
    mat->gemm(&mm);
}

void job_multiply(const struct cpu *cpu, int worker, const struct weight *w, int index,
                  struct mk_mm mm, int n_decode)
{
    mm.k = w->k;
    mm.tmp = cpu->scratch.worker[worker].mm;
    for (int n0 = mm.n0, n1 = mm.n1, first, end; n0 < n1; n0 = end) {
        struct mk_mm part = mm;
        part.w = job_find_rows(w, index, n0, &first, &end);
        part.n = end - first;
        end = min_int(end, n1);
        part.y += first;
        part.n0 = n0 - first;
        part.n1 = end - first;
        multiply_part(cpu->mk.mat[w->type], part, n_decode);
    }
}

void job_norm_tile(const struct job *job, const struct buf *x, const struct weight *norm, float eps,
                   int tile)
{
    const struct scratch *s = &job->cpu->scratch;
    int end = min_int((tile + 1) * NORM_ROWS, job->rows->n);
    for (int i = tile * NORM_ROWS; i < end; i++)
        job->cpu->mk.rms_norm(s->h + (size_t)i * (size_t)norm->k,
                              x->data + (size_t)i * (size_t)norm->k, norm->data, norm->k, eps);
}

void job_project(const struct job *job, int worker, const struct weight *w, const float *x,
                 float *y, bool add, int tile)
{
    job_multiply(job->cpu, worker, w, 0,
                 (struct mk_mm){
                     .x = x,
                     .y = y,
                     .m = job->rows->n,
                     .ldx = w->k,
                     .ldy = w->n,
                     .n0 = tile * job->tile_n,
                     .n1 = min_int((tile + 1) * job->tile_n, w->n),
                     .add = add,
                 },
                 job->rows->n_decode);
}
