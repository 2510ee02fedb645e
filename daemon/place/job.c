/* SPDX-License-Identifier: MIT */
#include "place/job.h"

#include <time.h>

enum {
    TILES_A_THREAD = 4,    /* each reads all rows */
    TILES_OF_FEW_ROWS = 8, /* so much finer that the end of a phase is short */
};

int job_tile_rows(const struct job *job, int n)
{
    int tiles = is_few(job->rows->n) ? TILES_OF_FEW_ROWS : TILES_A_THREAD;
    int tile = ceil_div(n, job->cpu->place.threads * tiles);
    int unit = tile >= MK_DOT_GROUP ? MK_DOT_GROUP : tile >= 64 ? 64 : 16;
    return max_int(unit, (tile + unit / 2) / unit * unit);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void job_run_phase(struct job *job, const char *name, tile_fn phase, int n_first, int n_then)
{
    struct place *place = &job->cpu->place;
    uint64_t start = place->trace ? now_ns() : 0;
    if (n_first)
        pool_run_two(job->cpu->pool, phase, job, n_first, n_then);
    else
        pool_run(job->cpu->pool, phase, job, n_then);
    place->meetings += place->threads > 1 && n_first + n_then > 1;
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
static void multiply_part(const struct mk_mat *mat, struct mk_mm mm, int n_decode, bool coarse)
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
    if (mm.rounded && !mm.xrow)
        mm.rounded = (const uint8_t *)mm.rounded + (size_t)mm.m * mk_rounded_bytes(mm.k);
    if (mm.yrow)
        mm.yrow += mm.m;
    else
        mm.y += (size_t)mm.m * (size_t)mm.ldy;
    mm.m = m - mm.m;
    (coarse ? mat->gemm_coarse : mat->gemm)(&mm);
}

static void multiply(const struct cpu *cpu, int worker, const struct weight *w, int index,
                     struct mk_mm mm, int n_decode, bool coarse)
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
        multiply_part(&cpu->mk.mat[w->type], part, n_decode, coarse);
    }
}

void job_multiply(const struct cpu *cpu, int worker, const struct weight *w, int index,
                  struct mk_mm mm, int n_decode)
{
    multiply(cpu, worker, w, index, mm, n_decode, false);
}

void job_multiply_coarse(const struct cpu *cpu, int worker, const struct weight *w, int index,
                         struct mk_mm mm, int n_decode)
{
    multiply(cpu, worker, w, index, mm, n_decode, true);
}

/* ------------------------------------------------------------------ inputs */

static bool is_rounding(enum mk_arithmetic arithmetic)
{
    return arithmetic == MK_CODES || arithmetic == MK_BYTES;
}

int job_round_for(const struct job *job, const struct weight *w, bool coarse)
{
    const struct mk_mat *mat = &job->cpu->mk.mat[w->type];
    const struct rows *rows = job->rows;
    if (rows->n_decode < rows->n && is_rounding(coarse ? mat->coarse : mat->many))
        return rows->n;
    return is_rounding(mat->few) ? rows->n_decode : 0;
}

/* Rows [first, first + m) of the input, normed to h where it has a norm. */
static void make_rows(const struct job *job, const struct input *in, int first, int m, float *h,
                      uint8_t *rounded)
{
    const struct mk *mk = &job->cpu->mk;
    size_t k = (size_t)in->k, bytes = mk_rounded_bytes(in->k);
    for (int i = first; i < first + m; i++, h += k, rounded += bytes) {
        const float *x = in->x + (size_t)(in->which ? in->which[i] : i) * k;
        if (in->norm) {
            mk->rms_norm(h, x, in->norm->data, in->k, in->eps);
            x = h;
        }
        if (i < in->n_rounded)
            mk->round(rounded, x, in->k);
    }
}

void job_make_rows(const struct job *job, int index, int first, int m)
{
    const struct input *in = &job->input[index];
    struct scratch *s = &job->cpu->scratch;
    make_rows(job, in, first, m, s->h + (size_t)first * (size_t)in->k,
              s->rounded[index] + (size_t)first * mk_rounded_bytes(in->k));
}

void job_set_input(struct job *job, int index, struct input input)
{
    job->input[index] = input;
    job->input[index].number = ++job->cpu->n_inputs;
}

struct made_rows job_input_rows(const struct job *job, int index, int worker)
{
    const struct input *in = &job->input[index];
    struct scratch *s = &job->cpu->scratch;
    struct worker_scratch *w = &s->worker[worker];
    if (in->is_few && w->made[index] != in->number) {
        make_rows(job, in, 0, in->n, w->h, w->rounded[index]);
        w->made[index] = in->number;
    }
    const float *h = in->is_few ? w->h : s->h;
    const uint8_t *rounded = in->is_few ? w->rounded[index] : s->rounded[index];
    return (struct made_rows){in->norm ? h : in->x, in->n_rounded ? rounded : NULL};
}

static void norm(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    job_make_rows(job, 0, tile * NORM_ROWS, min_int(NORM_ROWS, job->input[0].n - tile * NORM_ROWS));
}

static void round_shared(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    job_make_rows(job, 1, tile * NORM_ROWS, min_int(NORM_ROWS, job->input[1].n - tile * NORM_ROWS));
}

void job_run_input(struct job *job, int index, struct input input)
{
    job_set_input(job, index, input);
    int rows = input.norm ? input.n : input.n_rounded;
    if (input.is_few || rows == 0)
        return;
    job_run_phase(job, input.norm ? "norm" : "round", index ? round_shared : norm, 0,
                  ceil_div(rows, NORM_ROWS));
}

/* What job_project() multiplies in a tile. */
static struct mk_mm projection(const struct job *job, int worker, const struct weight *w, float *y,
                               bool add, int tile)
{
    struct made_rows rows = job_input_rows(job, 0, worker);
    return (struct mk_mm){
        .x = rows.x,
        .rounded = rows.rounded,
        .y = y,
        .m = job->rows->n,
        .ldx = w->k,
        .ldy = w->n,
        .n0 = tile * job->tile_n,
        .n1 = min_int((tile + 1) * job->tile_n, w->n),
        .add = add,
    };
}

void job_project(const struct job *job, int worker, const struct weight *w, float *y, bool add,
                 int tile)
{
    job_multiply(job->cpu, worker, w, 0, projection(job, worker, w, y, add, tile),
                 job->rows->n_decode);
}

void job_project_coarse(const struct job *job, int worker, const struct weight *w, float *y,
                        bool add, int tile)
{
    job_multiply_coarse(job->cpu, worker, w, 0, projection(job, worker, w, y, add, tile),
                        job->rows->n_decode);
}
