/* SPDX-License-Identifier: MIT
 *
 * What a row computes depends on nothing but the row: the logits of a prompt and of an answer to it
 * have the same bits for any number of threads, any cutting of the prompt into steps, and any
 * neighbours in them. So have those of answers to pasts that are cut into parts.
 *
 *     test_invariance [--long] [--int8] MODEL.gguf [ISA…]
 *
 * The long form takes minutes, more than a thousand runs and prompts that fill a large step. With
 * --int8 latents are cached so.
 */
#include <stdio.h>
#include <string.h>

#include "../fixture/loaded.h"

enum { PROMPT = 75, LONG_PROMPT = 530, ANSWER = 9 };
enum { MAX_NEIGHBOURS = 16, DEEP = 4, DEEP_ANSWER = 3, READ_ON = 50, MAX_THREADS = 4 };

struct mix { /* how a prompt is read */
    int chunk, neighbours;
};

static int n_passed, n_failed;

static int32_t token_of(const struct loaded_model *m, int sequence, int position)
{
    uint32_t x = (uint32_t)(sequence * 7919 + position * 104729 + 12345);
    x ^= x >> 7;
    x *= 2654435761u;
    return (int32_t)(x % (uint32_t)m->vocab);
}

/* Tokens [done, done + n) of the sequences [first, last]. */
static void add(struct loaded_model *m, struct loaded_step *step, const struct view *view,
                int first, int last, int done, int n, bool wanted)
{
    for (int s = first; s <= last; s++)
        for (int i = 0; i < n; i++)
            loaded_step_add(step, &view[s], token_of(m, s, done + i), done + i,
                            wanted && i == n - 1);
}

/* The text in steps of `chunk` tokens up to the end of the prompt, beside neighbours that are as
 * far in theirs; then one by one as an answer's, beside some neighbours that answer and others that
 * still read. The logits are those after the prompt and those after the answer. */
static void run(struct loaded_model *m, int prompt, struct mix mix, float *logits)
{
    static struct loaded_step step;
    int neighbours = mix.neighbours, chunk = LOADED_MAX_ROWS / (neighbours + 1);
    chunk = mix.chunk < chunk ? mix.chunk : chunk;
    struct view view[MAX_NEIGHBOURS + 1];
    for (int s = 0; s <= neighbours; s++)
        if (view_init(&view[s], 4 * prompt, 0) < 0 || view_grow(&view[s], m->pool, 4 * prompt) < 0)
            abort();
    for (int done = 0; done < prompt;) {
        int n = prompt - done < chunk ? prompt - done : chunk;
        loaded_step_clear(&step);
        add(m, &step, view, 1, neighbours / 2, done, n, false);
        add(m, &step, view, 0, 0, done, n, done + n == prompt);
        add(m, &step, view, neighbours / 2 + 1, neighbours, done, n, done > 0);
        forward_run(m->forward, &step.rows);
        done += n;
    }
    forward_logits(m->forward, 0, logits);
    for (int done = prompt, read = prompt; done < prompt + ANSWER; done++) {
        int n = 2 * prompt - read < chunk ? 2 * prompt - read : chunk;
        loaded_step_clear(&step);
        add(m, &step, view, 1, neighbours / 2, done, 1, false);
        add(m, &step, view, 0, 0, done, 1, true);
        step.rows.n_decode = step.rows.n;
        add(m, &step, view, neighbours / 2 + 1, neighbours, read, n, false);
        forward_run(m->forward, &step.rows);
        read += n;
    }
    forward_logits(m->forward, 0, logits + m->vocab);
    forward_rest(m->forward);
    for (int s = 0; s <= neighbours; s++)
        view_fini(&view[s], m->pool);
}

/* A number of about ±0.5 from the upper bits of x. */
static uint16_t half_of(uint32_t x, bool is_bf16)
{
    return (uint16_t)((x >> 16 & 0x8000) | (is_bf16 ? 0x3e80 : 0x3400) | (x >> 20 & 0x7f));
}

/* A past that nobody has read. */
static void fill(const struct loaded_model *m, const struct view *view, int sequence)
{
    struct kv_schema schema;
    forward_schema(m->forward, &schema);
    enum mk_type type = forward_cache_type(m->forward);
    size_t row = kv_row_bytes(&schema, type), plane = kv_plane_bytes(&schema, type);
    int latent = type == MK_Q8_0 ? schema.latent : 0; /* numbers that are no halves */
    struct mk ref;
    mk_ref_init(&ref);
    uint32_t x = 88172645u + (uint32_t)sequence;
    for (int i = 0; i < view->n * schema.n_layers * PAGE_TOKENS; i++) {
        char *page = view->data[i / PAGE_TOKENS / schema.n_layers];
        char *to = page + (size_t)(i / PAGE_TOKENS % schema.n_layers) * plane +
                   (size_t)(i % PAGE_TOKENS) * row;
        float number[1024];
        for (int c = 0; c < schema.latent + schema.rope; c++) {
            x = x * 1664525u + 1013904223u;
            uint16_t half = half_of(x, type != MK_F16);
            if (c < latent)
                mk_ref_unpack(MK_BF16, &half, &number[c], 1);
            else
                memcpy(to + row - 2 * (size_t)(schema.latent + schema.rope - c), &half, 2);
        }
        ref.narrow(to, number, latent);
    }
}

/* Answers at the edges of parts and beyond, the first one's logits wanted. */
static void run_deep(struct loaded_model *m, int neighbours, float *logits)
{
    static const int depth[DEEP] = {2 * MK_ATTEND_PART - 1, 5, MK_ATTEND_PART - 1,
                                    3 * MK_ATTEND_PART + 77};
    static struct loaded_step step;
    struct view view[DEEP];
    for (int s = 0; s <= neighbours; s++) {
        if (view_init(&view[s], depth[s] + DEEP_ANSWER, 0) < 0 ||
            view_grow(&view[s], m->pool, depth[s] + DEEP_ANSWER) < 0)
            abort();
        fill(m, &view[s], s);
    }
    for (int i = 0; i < DEEP_ANSWER; i++) {
        loaded_step_clear(&step);
        for (int s = neighbours; s >= 0; s--)
            loaded_step_add(&step, &view[s], token_of(m, s, i), depth[s] + i, s == 0);
        step.rows.n_decode = step.rows.n;
        forward_run(m->forward, &step.rows);
    }
    forward_logits(m->forward, 0, logits);
    forward_rest(m->forward);
    for (int s = 0; s <= neighbours; s++)
        view_fini(&view[s], m->pool);
}

/* READ_ON tokens of a prompt across the edge of a span, the last one's logits wanted. */
static void run_on(struct loaded_model *m, int chunk, float *logits)
{
    static struct loaded_step step;
    const int depth = MK_PROMPT_SPAN - READ_ON / 2;
    struct view view;
    if (view_init(&view, depth + READ_ON, 0) < 0 || view_grow(&view, m->pool, depth + READ_ON) < 0)
        abort();
    fill(m, &view, 0);
    for (int done = 0, n; done < READ_ON; done += n) {
        n = READ_ON - done < chunk ? READ_ON - done : chunk;
        loaded_step_clear(&step);
        for (int i = done; i < done + n; i++)
            loaded_step_add(&step, &view, token_of(m, 0, i), depth + i, i == READ_ON - 1);
        forward_run(m->forward, &step.rows);
    }
    forward_logits(m->forward, 0, logits);
    forward_rest(m->forward);
    view_fini(&view, m->pool);
}

static void check_same(const float *truth, const float *is, size_t bytes, const char *isa,
                       const char *what, int threads, struct mix mix)
{
    bool same = !memcmp(truth, is, bytes);
    *(same ? &n_passed : &n_failed) += 1;
    if (!same)
        printf("FAIL  %s, %s: %d threads, chunks of %d, %d neighbours\n", isa, what, threads,
               mix.chunk, mix.neighbours);
}

/* Each mix on every number of threads, against the whole prompt alone on one. */
static void check_prompts(struct loaded_model *const *models, const char *isa, int prompt,
                          const struct mix *mixes, int n_mixes)
{
    size_t bytes = 2 * (size_t)models[1]->vocab * sizeof(float);
    float *truth = malloc(bytes), *logits = malloc(bytes);
    if (!truth || !logits)
        abort();
    run(models[1], prompt, (struct mix){prompt, 0}, truth);
    for (int threads = 1; models[threads]; threads++)
        for (int i = 0; i < n_mixes; i++) {
            run(models[threads], prompt, mixes[i], logits);
            check_same(truth, logits, bytes, isa, "read and answered", threads, mixes[i]);
        }
    free(truth);
    free(logits);
}

static void check_deep(struct loaded_model *const *models, const char *isa)
{
    size_t bytes = (size_t)models[1]->vocab * sizeof(float);
    float *truth = malloc(bytes), *logits = malloc(bytes);
    if (!truth || !logits)
        abort();
    run_deep(models[1], 0, truth);
    for (int threads = 1; models[threads]; threads++)
        for (int o = 0; o < DEEP; o += DEEP - 1) {
            run_deep(models[threads], o, logits);
            check_same(truth, logits, bytes, isa, "answered at depth", threads, (struct mix){1, o});
        }
    run_on(models[1], READ_ON, truth);
    for (int threads = 1; models[threads]; threads++)
        for (int chunk = 11; chunk <= READ_ON; chunk += 22) {
            run_on(models[threads], chunk, logits);
            check_same(truth, logits, bytes, isa, "read on at depth", threads,
                       (struct mix){chunk, 0});
        }
    free(truth);
    free(logits);
}

/* Every chunk beside every number of neighbours. */
static int all_mixes(const int *chunks, int n_chunks, const int *neighbours, int n_neighbours,
                     struct mix *ret)
{
    int n = 0;
    for (int c = 0; c < n_chunks; c++)
        for (int o = 0; o < n_neighbours; o++)
            ret[n++] = (struct mix){chunks[c], neighbours[o]};
    return n;
}

static void check_long(struct loaded_model *const *models, const char *isa)
{
    static const int chunks[] = {1, 2, 3, 8, 9, 16, 31, 64, PROMPT},
                     neighbours[] = {0, 1, 2, 5, 7, 8, 12, 16}, large[] = {64, 100, 512},
                     beside[] = {0, 1, 3};
    struct mix mixes[9 * 8];
    check_prompts(models, isa, PROMPT, mixes, all_mixes(chunks, 9, neighbours, 8, mixes));
    check_prompts(models, isa, LONG_PROMPT, mixes, all_mixes(large, 3, beside, 3, mixes));
    check_deep(models, isa);
}

static void check_short(struct loaded_model *const *models, const char *isa)
{
#ifdef SANITIZED /* some of all: watched, each takes its time */
    static const struct mix mixes[] = {{PROMPT, 5}, {7, 0}, {7, 5}};
#else
    static const struct mix mixes[] = {{PROMPT, 0}, {PROMPT, 16}, {1, 0}, {3, 1},
                                       {7, 7},      {32, 5},      {64, 2}};
#endif
    check_prompts(models, isa, PROMPT, mixes, sizeof mixes / sizeof *mixes);
    check_deep(models, isa);
}

static void check_isa(const char *path, const char *isa, const char *cache, bool is_long)
{
    struct loaded_model model[MAX_THREADS + 1], *models[MAX_THREADS + 2] = {NULL};
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        const struct place_spec spec = {
            .kind = "cpu", .isa = isa, .threads = threads, .cache = cache};
        if (!loaded_open_on(&model[threads], path, &spec))
            return;
        models[threads] = &model[threads];
    }
    (is_long ? check_long : check_short)(models, isa);
    for (int threads = 1; threads <= MAX_THREADS; threads++)
        loaded_close(&model[threads]);
}

int main(int argc, char **argv)
{
    bool is_long = false;
    const char *cache = NULL;
    for (; argc > 1 && !strncmp(argv[1], "--", 2); argv++, argc--) {
        is_long |= !strcmp(argv[1], "--long");
        cache = !strcmp(argv[1], "--int8") ? "int8" : cache;
    }
    if (argc < 2) {
        fprintf(stderr, "usage: test_invariance [--long] [--int8] MODEL.gguf [ISA…]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++)
        check_isa(argv[1], argv[i], cache, is_long);
    for (int i = 0; argc == 2 && mk_isa_names[i]; i++)
        check_isa(argv[1], mk_isa_names[i], cache, is_long);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed != 0;
}
