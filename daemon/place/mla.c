/* SPDX-License-Identifier: MIT
 *
 * Latent attention on the CPU place: queries and latents, attending, output. The engine's thread
 * and the workers.
 */
#include <string.h>

#include "place/job.h"

static void *cached_row(const struct op_mla *op, enum mk_type type, void *const *pages,
                        int position)
{
    size_t bytes = mk_cache_row_bytes(type, op->latent, op->rope);
    return (char *)pages[position / op->page_tokens] + op->plane +
           (size_t)(position % op->page_tokens) * bytes;
}

static bool is_int8(const struct job *job)
{
    return job->cpu->place.cache_type == MK_Q8_0;
}

/* What kernels see of the cache: look_at_pages(). */
static enum mk_type seen_type(const struct job *job)
{
    return is_int8(job) ? MK_BF16 : job->cpu->place.cache_type;
}

/* A token's numbers to its row of the cache. */
static void store_row(const struct job *job, const float *kv, void *row)
{
    const struct op_mla *op = &job->op->mla;
    const struct mk *mk = &job->cpu->mk;
    if (!is_int8(job)) {
        mk->store(row, job->cpu->place.cache_type, kv, op->latent + op->rope);
        return;
    }
    mk->narrow(row, kv, op->latent);
    mk->store((char *)row + mk_row_bytes(MK_Q8_0, (size_t)op->latent), MK_BF16, kv + op->latent,
              op->rope);
}

/* Rows [first, first + m) of kv go to the cache. */
static void store_rows(const struct job *job, int first, int m)
{
    const struct op_mla *op = &job->op->mla;
    const struct mk *mk = &job->cpu->mk;
    int width = op->latent + op->rope;
    for (int i = first; i < first + m; i++) {
        float *kv = job->cpu->scratch.kv + (size_t)i * (size_t)width;
        mk->rms_norm(kv, kv, op->kv_a_norm.data, op->latent, op->eps);
        mk->rope(kv + op->latent, op->cs->data + (size_t)i * (size_t)op->rope, op->rope);
        void *row =
            cached_row(op, job->cpu->place.cache_type, job->rows->page[i], job->rows->position[i]);
        store_row(job, kv, row);
    }
}

static void mla_store(void *arg, int worker, int tile)
{
    (void)worker;
    const struct job *job = arg;
    int first = tile * NORM_ROWS;
    store_rows(job, first, min_int(NORM_ROWS, job->rows->n - first));
}

/* kv_a's tiles, then the query's. Who ends the last one of kv_a stores the rows, if they are few.
 */
static void mla_down(void *arg, int worker, int tile)
{
    struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    struct scratch *s = &job->cpu->scratch;
    if (tile >= job->n_tiles) {
        job_project(job, worker, op->q_rank ? &op->q_a : &op->q_b, op->q_rank ? s->q_latent : s->q,
                    false, tile - job->n_tiles);
        return;
    }
    job_project(job, worker, &op->kv_a, s->kv, false, tile);
    if (is_few(job->rows->n) && atomic_fetch_sub_explicit(&job->left, 1, memory_order_acq_rel) == 1)
        store_rows(job, 0, job->rows->n);
}

static void mla_query(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    job_project(job, worker, &job->op->mla.q_b, job->cpu->scratch.q, false, tile);
}

/* Pages of a row's sequence that hold tokens [from, to), as this layer's kernels see them; `from`
 * is the first of a page. Of a cache in int8 they are made here, in memory that stays in the core's
 * cache: at most a part or a span. */
static void look_at_pages(const struct job *job, struct worker_scratch *w, int row, int from,
                          int to)
{
    const struct op_mla *op = &job->op->mla;
    size_t bytes = mk_cache_row_bytes(MK_BF16, op->latent, op->rope) * (size_t)op->page_tokens;
    char *wide = w->wide;
    int n_pages = job->rows->position[row] / op->page_tokens + 1;
    for (int t = from; t < to; t += op->page_tokens, wide += bytes) {
        int p = t / op->page_tokens;
        const char *rows = (const char *)job->rows->page[row][p] + op->plane;
        w->page[p] = rows;
        if (!is_int8(job))
            continue;
        const char *next =
            p + 1 < n_pages ? (const char *)job->rows->page[row][p + 1] + op->plane : NULL;
        job->cpu->mk.widen(wide, rows, next, op->latent, op->rope,
                           min_int(op->page_tokens, to - t));
        w->page[p] = wide;
    }
}

/* Whether a head's queries are made by who attends with them: then all rows do so together. */
static bool is_query_late(const struct job *job)
{
    return job->op->mla.q_rank && is_few(job->rows->n) && job->rows->n_decode == job->rows->n;
}

static void late_query(const struct job *job, int worker, int head, int first, int m)
{
    const struct op_mla *op = &job->op->mla;
    int width = op->nope + op->rope;
    struct made_rows rows = job_input_rows(job, 0, worker);
    job_multiply(job->cpu, worker, &op->q_b, 0,
                 (struct mk_mm){
                     .x = rows.x + (size_t)first * (size_t)op->q_b.k,
                     .rounded = rows.rounded
                                    ? rows.rounded + (size_t)first * mk_rounded_bytes(op->q_b.k)
                                    : NULL,
                     .y = job->cpu->scratch.q + (size_t)first * (size_t)op->q_b.n,
                     .m = m,
                     .ldx = op->q_b.k,
                     .ldy = op->q_b.n,
                     .n0 = head * width,
                     .n1 = (head + 1) * width,
                 },
                 job->rows->n_decode - first);
}

/* Head `head` of rows [first, first + m): k_b into the queries, at every `stride`-th of
 * w->absorbed. */
static void absorb(const struct job *job, int worker, int head, int first, int m, float *absorbed,
                   int stride)
{
    const struct op_mla *op = &job->op->mla;
    const struct cpu *cpu = job->cpu;
    int ldq = op->heads * (op->nope + op->rope);
    int width = op->latent + op->rope;
    const float *q =
        cpu->scratch.q + (size_t)first * (size_t)ldq + (size_t)head * (size_t)(op->nope + op->rope);
    if (is_query_late(job))
        late_query(job, worker, head, first, m);
    job_multiply(cpu, worker, &op->k_b, head,
                 (struct mk_mm){
                     .x = q,
                     .y = absorbed,
                     .m = m,
                     .ldx = ldq,
                     .ldy = stride,
                     .n1 = op->latent,
                 },
                 job->rows->n_decode - first);
    for (int i = 0; i < m; i++, absorbed += stride, q += ldq) {
        float *rotated = absorbed + op->latent;
        memcpy(rotated, q + op->nope, (size_t)op->rope * sizeof *q);
        cpu->mk.rope(rotated, op->cs->data + (size_t)(first + i) * (size_t)op->rope, op->rope);
        for (int c = 0; c < width; c++)
            absorbed[c] *= op->scale;
    }
}

/* What the head's rows found leaves the latent through v_b. */
static void reveal(const struct job *job, int worker, int head, int first, int m,
                   const float *latent, int stride)
{
    const struct op_mla *op = &job->op->mla;
    int ldo = op->heads * op->value;
    job_multiply(job->cpu, worker, &op->v_b, head,
                 (struct mk_mm){
                     .x = latent,
                     .y = job->cpu->scratch.o + (size_t)first * (size_t)ldo +
                          (size_t)head * (size_t)op->value,
                     .m = m,
                     .ldx = stride,
                     .ldy = ldo,
                     .n1 = op->value,
                 },
                 job->rows->n_decode - first);
}

/* Tokens [from, to) of a row's past. */
static struct mk_attend look_back(const struct job *job, int worker, int row, int from, int to)
{
    const struct op_mla *op = &job->op->mla;
    struct worker_scratch *w = &job->cpu->scratch.worker[worker];
    int ahead = is_int8(job) ? 0 : MK_ATTEND_KEYS;
    int next = min_int(to + ahead, job->rows->position[row] + 1);
    look_at_pages(job, w, row, from, next);
    return (struct mk_attend){
        .page = w->page,
        .tmp = w->attend,
        .type = seen_type(job),
        .ldq = op->latent + op->rope,
        .ldo = op->latent,
        .latent = op->latent,
        .rope = op->rope,
        .page_tokens = op->page_tokens,
        .from = from,
        .to = to,
        .next = next,
    };
}

/* ---- rows of answers: absorb | attend to parts of the past | merge and reveal */

/* Tokens of a part of the past: whole pages. */
static int part_tokens(const struct op_mla *op)
{
    return ceil_div(MK_ATTEND_PART, op->page_tokens) * op->page_tokens;
}

/* Rows that attend by parts: those of answers. Of a cache in int8 no more is met at once; where
 * keys and values are not expanded, span by span, those of prompts do so too. */
static int rows_by_parts(const struct job *job)
{
    bool all = is_int8(job) && !job->cpu->mk.prompt_attend;
    return all ? job->rows->n : job->rows->n_decode;
}

static int parts_of(const struct job *job, int row)
{
    return ceil_div(job->rows->position[row] + 1, part_tokens(&job->op->mla));
}

static void absorb_head(const struct job *job, int worker, int head)
{
    const struct op_mla *op = &job->op->mla;
    const struct block *group = &job->cpu->scratch.answers;
    int width = op->latent + op->rope;
    absorb(job, worker, head, group->first, group->m,
           job->cpu->scratch.absorbed + (size_t)head * (size_t)width, op->heads * width);
}

/* Part `part` of a row of the group, for some heads. */
static void attend_part(const struct job *job, int worker, int i, int part, int head, int heads)
{
    const struct op_mla *op = &job->op->mla;
    const struct scratch *s = &job->cpu->scratch;
    int row = s->answers.first + i, tokens = part_tokens(op);
    int to = min_int((part + 1) * tokens, job->rows->position[row] + 1);
    size_t slot = (size_t)(s->part_start[i] + part) * (size_t)op->heads + (size_t)head;
    struct mk_attend a = look_back(job, worker, row, part * tokens, to);
    a.q = s->absorbed + (size_t)(i * op->heads + head) * (size_t)a.ldq;
    a.n_heads = heads;
    a.out = s->part + slot * (size_t)op->latent;
    a.peak = s->peak + slot;
    job->cpu->mk.attend(&a);
}

static void reveal_head(const struct job *job, int worker, int head)
{
    const struct op_mla *op = &job->op->mla;
    const struct scratch *s = &job->cpu->scratch;
    float *latent = s->worker[worker].latent;
    for (int i = 0; i < s->answers.m; i++) {
        size_t slot = (size_t)s->part_start[i] * (size_t)op->heads + (size_t)head;
        job->cpu->mk.merge(&(struct mk_merge){
            .part = s->part + slot * (size_t)op->latent,
            .peak = s->peak + slot,
            .out = latent + (size_t)i * (size_t)op->latent,
            .part_stride = (size_t)op->heads * (size_t)op->latent,
            .peak_stride = (size_t)op->heads,
            .n = s->part_start[i + 1] - s->part_start[i],
            .latent = op->latent,
        });
    }
    reveal(job, worker, head, s->answers.first, s->answers.m, latent, op->latent);
}

/* All three for some heads, where nobody's past is longer than a part. */
static void mla_answers(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    int first = tile * job->tile_n, end = min_int(first + job->tile_n, job->op->mla.heads);
    for (int head = first; head < end; head++)
        absorb_head(job, worker, head);
    for (int i = 0; i < job->cpu->scratch.answers.m; i++)
        attend_part(job, worker, i, 0, first, end - first);
    for (int head = first; head < end; head++)
        reveal_head(job, worker, head);
}

static void mla_absorb(void *arg, int worker, int tile)
{
    absorb_head(arg, worker, tile);
}

/* A part of one row's past for tile_n heads. */
static void mla_parts(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct scratch *s = &job->cpu->scratch;
    int slot = tile / job->n_tiles, head = tile % job->n_tiles * job->tile_n, i = 0;
    while (s->part_start[i + 1] <= slot)
        i++;
    attend_part(job, worker, i, slot - s->part_start[i], head,
                min_int(job->tile_n, job->op->mla.heads - head));
}

static void mla_reveal(void *arg, int worker, int tile)
{
    reveal_head(arg, worker, tile);
}

/* The next rows of answers, as many as there is room for; how many. */
static int next_answers(const struct job *job, int first)
{
    struct scratch *s = &job->cpu->scratch;
    int m = 0, slots = 0;
    for (; first + m < rows_by_parts(job) && m < SCRATCH_ANSWERS; m++) {
        int parts = parts_of(job, first + m);
        if (m && slots + parts > s->n_slots)
            break;
        s->part_start[m] = slots;
        slots += parts;
    }
    s->part_start[m] = slots;
    s->answers = (struct block){.first = first, .m = m};
    return m;
}

/* Heads of a tile, of a row's part: together they read the cache once, but every worker wants
 * some. */
static int heads_together(const struct job *job, int parts)
{
    int heads = job->op->mla.heads, together = MK_ATTEND_HEADS;
    while (together > 1 && ceil_div(heads, together) * parts < job->cpu->place.threads)
        together /= 2;
    return together;
}

static void run_answers(struct job *job)
{
    int heads = job->op->mla.heads;
    const struct scratch *s = &job->cpu->scratch;
    for (int first = 0, m; first < rows_by_parts(job); first += m) {
        m = next_answers(job, first);
        int slots = s->part_start[m];
        if (slots == m && (m == 1 || heads >= job->cpu->place.threads)) {
            job->tile_n = heads_together(job, 1);
            job_run(job, mla_answers, ceil_div(heads, job->tile_n));
            continue;
        }
        job_run(job, mla_absorb, heads);
        job->tile_n = heads_together(job, slots);
        job->n_tiles = ceil_div(heads, job->tile_n);
        job_run(job, mla_parts, slots * job->n_tiles);
        job_run(job, mla_reveal, heads);
    }
}

/* ---- rows of prompts */

/* `heads` heads of rows [first, first + m), row by row. */
static void attend_heads(const struct job *job, int worker, int head, int heads, int first, int m)
{
    const struct op_mla *op = &job->op->mla;
    const struct cpu *cpu = job->cpu;
    struct worker_scratch *w = &cpu->scratch.worker[worker];
    int width = op->latent + op->rope;
    for (int h = 0; h < heads; h++)
        absorb(job, worker, head + h, first, m, w->absorbed + (size_t)h * (size_t)width,
               heads * width);
    for (int i = 0; i < m; i++) {
        float *latent = w->latent + (size_t)i * (size_t)(heads * op->latent);
        struct mk_peak peak[ATTEND_ROWS];
        struct mk_attend a =
            look_back(job, worker, first + i, 0, job->rows->position[first + i] + 1);
        a.q = w->absorbed + (size_t)i * (size_t)(heads * width);
        a.n_heads = heads;
        a.out = latent;
        a.peak = peak;
        cpu->mk.attend(&a);
        for (int h = 0; h < heads; h++, latent += op->latent)
            cpu->mk.merge(&(struct mk_merge){
                .part = latent, .peak = &peak[h], .out = latent, .n = 1, .latent = op->latent});
    }
    for (int h = 0; h < heads; h++)
        reveal(job, worker, head + h, first, m, w->latent + (size_t)h * (size_t)op->latent,
               heads * op->latent);
}

/* Rows of a head's matrix as floats. */
static void unpack_matrix(const struct job *job, const struct weight *w, int head, float *dst)
{
    const struct mk_mat *mat = &job->cpu->mk.mat[w->type];
    for (int row = 0; row < w->n; row++, dst += w->k) {
        int first, end;
        const void *packed = job_find_rows(w, head, row, &first, &end);
        mat->row(dst, packed, end - first, w->k, row - first);
    }
}

/* One head of rows of one prompt, with keys and values made from the latents: of each span once. */
static void attend_prompt(const struct job *job, int worker, int head, const struct block *block)
{
    const struct op_mla *op = &job->op->mla;
    const struct mk *mk = &job->cpu->mk;
    const struct scratch *s = &job->cpu->scratch;
    struct worker_scratch *w = &s->worker[worker];
    int key = op->nope + op->rope, ldq = op->heads * key, ldo = op->heads * op->value;
    const int32_t *position = job->rows->position + block->first;
    float *q = s->q + (size_t)block->first * (size_t)ldq + (size_t)head * (size_t)key;
    float *out = s->o + (size_t)block->first * (size_t)ldo + (size_t)head * (size_t)op->value;

    struct mk_prompt prompt = {op->latent, op->nope, op->rope, op->value, w->attend};
    float *v_b = w->matrices + (size_t)op->latent * (size_t)op->nope;
    unpack_matrix(job, &op->k_b, head, w->matrices);
    unpack_matrix(job, &op->v_b, head, v_b);
    mk->prompt_head(&prompt, w->matrices, v_b);
    for (int i = 0; i < block->m; i++) {
        float *one = q + (size_t)i * (size_t)ldq;
        mk->rope(one + op->nope, op->cs->data + (size_t)(block->first + i) * (size_t)op->rope,
                 op->rope);
        for (int c = 0; c < key; c++)
            one[c] *= op->scale;
    }

    int n = position[block->m - 1] + 1;
    for (int from = 0; from < n; from += MK_PROMPT_SPAN) {
        struct mk_prompt_span span = {w->page, seen_type(job), op->page_tokens, from,
                                      min_int(from + MK_PROMPT_SPAN, n)};
        look_at_pages(job, w, block->first, from, span.to);
        mk->prompt_expand(&prompt, &span);
        for (int i = 0, m; i < block->m; i += m) {
            int32_t seen[MK_PROMPT_ROWS];
            m = min_int(MK_PROMPT_ROWS, block->m - i);
            for (int j = 0; j < m; j++)
                seen[j] = position[i + j] + 1;
            if (seen[m - 1] > from)
                mk->prompt_attend(&prompt, &span,
                                  &(struct mk_prompt_rows){
                                      .q = q + (size_t)i * (size_t)ldq,
                                      .n = seen,
                                      .out = out + (size_t)i * (size_t)ldo,
                                      .peak = w->peak + i,
                                      .m = m,
                                      .ldq = ldq,
                                      .ldo = ldo,
                                  });
        }
    }
}

/* First the last blocks of rows, which see the most. */
static void mla_prompts(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    const struct scratch *s = &job->cpu->scratch;
    const struct block *block = &s->block[s->n_blocks - 1 - tile / job->n_tiles];
    int head = tile % job->n_tiles * job->tile_n;
    if (job->cpu->mk.prompt_attend)
        attend_prompt(job, worker, head, block);
    else
        attend_heads(job, worker, head, min_int(job->tile_n, op->heads - head), block->first,
                     block->m);
}

/* Cuts the step's rows of prompts into blocks of neighbours of one prompt. */
static void cut_blocks(struct job *job, int most)
{
    const struct rows *rows = job->rows;
    struct scratch *s = &job->cpu->scratch;
    s->n_blocks = 0;
    for (int i = rows_by_parts(job), m; i < rows->n; i += m) {
        for (m = 1; m < most && i + m < rows->n && rows->page[i + m] == rows->page[i];)
            m++;
        s->block[s->n_blocks++] = (struct block){.first = i, .m = m};
    }
}

/* Rows that share a head's keys and values: all, but every worker wants two tiles or so. */
static int rows_together(const struct job *job)
{
    int blocks = ceil_div(2 * job->cpu->place.threads, job->op->mla.heads);
    int most = ceil_div(job->rows->n - job->rows->n_decode, blocks);
    return ceil_div(max_int(most, 1), MK_PROMPT_ROWS) * MK_PROMPT_ROWS;
}

static void run_prompts(struct job *job)
{
    enum { HEADS_AT_ONCE = 4 }; /* more don't fit into registers */
    bool expands = job->cpu->mk.prompt_attend;
    job->tile_n = expands ? 1 : HEADS_AT_ONCE;
    job->n_tiles = ceil_div(job->op->mla.heads, job->tile_n);
    cut_blocks(job, expands ? rows_together(job) : ATTEND_ROWS / HEADS_AT_ONCE);
    job_run(job, mla_prompts, job->n_tiles * job->cpu->scratch.n_blocks);
}

static void mla_out(void *arg, int worker, int tile)
{
    const struct job *job = arg;
    const struct op_mla *op = &job->op->mla;
    job_project(job, worker, &op->out, op->x->data, true, tile);
}

void mla_run(struct job *job)
{
    const struct op_mla *op = &job->op->mla;
    int n = job->rows->n;
    const struct weight *query = op->q_rank ? &op->q_a : &op->q_b;
    job_run_input(job, 0,
                  (struct input){
                      .x = op->x->data,
                      .norm = &op->norm,
                      .eps = op->eps,
                      .n = n,
                      .k = op->kv_a.k,
                      .n_rounded = max_int(job_round_for(job, &op->kv_a, false),
                                           job_round_for(job, query, false)),
                      .is_few = is_few(n),
                  });
    job->tile_n = job_tile_rows(job, query->n + op->kv_a.n);
    job->n_tiles = ceil_div(op->kv_a.n, job->tile_n);
    atomic_store(&job->left, job->n_tiles);
    job_run(job, mla_down, job->n_tiles + ceil_div(query->n, job->tile_n));
    if (!is_few(n))
        job_run(job, mla_store, ceil_div(n, NORM_ROWS));

    if (op->q_rank) {
        job_run_input(job, 0,
                      (struct input){
                          .x = job->cpu->scratch.q_latent,
                          .norm = &op->q_a_norm,
                          .eps = op->eps,
                          .n = n,
                          .k = op->q_rank,
                          .n_rounded = job_round_for(job, &op->q_b, false),
                          .is_few = is_few(n),
                      });
    }
    if (op->q_rank && !is_query_late(job)) {
        job->tile_n = job_tile_rows(job, op->q_b.n);
        job_run(job, mla_query, ceil_div(op->q_b.n, job->tile_n));
    }
    run_answers(job);
    run_prompts(job);
    job_run_input(job, 0,
                  (struct input){
                      .x = job->cpu->scratch.o,
                      .n = n,
                      .k = op->out.k,
                      .n_rounded = job_round_for(job, &op->out, false),
                      .is_few = is_few(n),
                  });
    job->tile_n = job_tile_rows(job, op->out.n);
    job_run(job, mla_out, ceil_div(op->out.n, job->tile_n));
}
