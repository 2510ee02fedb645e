/* SPDX-License-Identifier: MIT
 *
 * How fast a model reads and writes on this machine, beside what the machine allows.
 *
 *     moed-bench MODEL [options]        see --help
 *     moed-bench --probe [options]      the machine alone
 *
 * Runs the engine's forward pass itself: no sockets, no sampling, random tokens. Before and after
 * each repetition the machine is probed, and shares are of the mean of the two probes.
 */
#include <errno.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/view.h"
#include "model/cost.h"
#include "model/forward.h"
#include "model/model.h"
#include "place/place.h"
#include "place/pool.h"
#include "probe.h"
#include "profile.h"

enum { MOST = 16, MAX_REPEATS = 99, WARM_STEPS = 2, WARM_TOKENS = 128, MEETINGS = 101 };

struct list {
    int at[MOST], n;
};

struct options {
    const char *model, *isa, *trace;
    int threads, chunk, steps, repeats;
    struct list prefill, decode, sequences;
    bool csv, json, profile, probe;
};

struct bench {
    struct options options;
    struct model *model;
    struct place *place;
    struct forward *forward;
    struct page_pool *pool;
    struct prober *prober;
    struct profile *profile;
    struct rows rows;
    int32_t *token, *position, *wanted;
    void *const **page;
    int vocab;
    size_t page_bytes;
    int n_shown;        /* rows of JSON */
    struct probe probe; /* the last one */
    struct probe best;
    double meeting, best_meeting; /* seconds; the median and the least */
};

struct meeting { /* a job that is over when all workers have come */
    atomic_int came;
    int workers;
};

struct result {
    const char *test;
    int tokens, depth, sequences;
    double tps[MAX_REPEATS], read[MAX_REPEATS], peak[MAX_REPEATS]; /* shares of the probes */
    struct cost cost;                                              /* of a step, or of the prompt */
};

static void fail(const struct err *err)
{
    fprintf(stderr, "moed-bench: %s\n", err->text);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ------------------------------------------------------------------ steps */

static void clear(struct bench *b)
{
    b->rows = (struct rows){
        .token = b->token, .position = b->position, .page = b->page, .wanted = b->wanted};
}

static void add_row(struct bench *b, const struct view *view, int position, bool wanted)
{
    static uint32_t x = 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    int row = b->rows.n++;
    b->token[row] = (int32_t)(x % (uint32_t)b->vocab);
    b->position[row] = position;
    b->page[row] = view->data;
    if (wanted)
        b->wanted[b->rows.n_wanted++] = row;
}

static void open_view(struct bench *b, struct view *view, int tokens)
{
    if (view_init(view, tokens, 0) < 0 || view_grow(view, b->pool, tokens) < 0) {
        fprintf(stderr, "moed-bench: no memory for %d tokens of cache\n", tokens);
        exit(1);
    }
}

/* A past that nobody has read: latents of about ±0.5. */
static void fill(const struct bench *b, const struct view *view)
{
    uint32_t x = 88172645u;
    for (int p = 0; p < view->n; p++)
        for (size_t i = 0; i < b->page_bytes / 2; i++) {
            x = x * 1664525u + 1013904223u;
            uint16_t sign = (uint16_t)(x >> 16 & 0x8000);
            uint16_t half = forward_cache_type(b->forward) == MK_BF16 ? 0x3e80 : 0x3400;
            uint16_t value = (uint16_t)(sign | half | (x >> 20 & 0x7f));
            if (forward_cache_type(b->forward) == MK_F32)
                value = i % 2 ? (uint16_t)(sign | 0x3e80) : 0;
            memcpy((char *)view->data[p] + 2 * i, &value, 2);
        }
}

static double read_prompt(struct bench *b, int tokens)
{
    struct view view;
    open_view(b, &view, tokens);
    double start = now();
    for (int done = 0; done < tokens;) {
        clear(b);
        for (int i = 0; i < b->options.chunk && done < tokens; i++, done++)
            add_row(b, &view, done, done == tokens - 1);
        forward_run(b->forward, &b->rows);
    }
    double took = now() - start;
    view_fini(&view, b->pool);
    return tokens / took;
}

static double write_answers(struct bench *b, int depth, int sequences)
{
    static struct view view[MOST * MOST];
    int steps = WARM_STEPS + b->options.steps;
    for (int s = 0; s < sequences; s++) {
        open_view(b, &view[s], depth + steps);
        fill(b, &view[s]);
    }
    double start = 0;
    for (int i = 0; i < steps; i++) {
        if (i == WARM_STEPS)
            start = now();
        clear(b);
        for (int s = 0; s < sequences; s++)
            add_row(b, &view[s], depth + i, true);
        b->rows.n_decode = b->rows.n;
        forward_run(b->forward, &b->rows);
    }
    double took = now() - start;
    for (int s = 0; s < sequences; s++)
        view_fini(&view[s], b->pool);
    return b->options.steps * sequences / took;
}

/* ------------------------------------------------------------------ results */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double peak_of(const struct probe *probe, const char *isa)
{
    double peak = !strcmp(isa, "amx") ? probe->amx_int8 : !strcmp(isa, "avx512") ? probe->vnni : 0;
    return peak > 0 ? peak : probe->fma;
}

static void show_head(const struct bench *b)
{
    const struct options *o = &b->options;
    if (o->json)
        printf("{\"isa\":\"%s\",\"threads\":%d,", b->place->isa, b->place->threads);
    else if (o->csv)
        printf("test,tokens,depth,sequences,tps_min,tps,tps_max,bytes,operations,bandwidth_share,"
               "peak_share\n");
    else
        printf("%-8s %7s %7s %4s  %-24s %9s %9s %6s %6s\n", "test", "tokens", "depth", "seq",
               "tokens/s min/med/max", "GB/step", "GOP/step", "bandw.", "peak");
}

static void show(struct bench *b, struct result *r)
{
    int n = b->options.repeats;
    qsort(r->tps, (size_t)n, sizeof *r->tps, by_value);
    qsort(r->read, (size_t)n, sizeof *r->read, by_value);
    qsort(r->peak, (size_t)n, sizeof *r->peak, by_value);
    double bytes = r->cost.weights + r->cost.cache;
    if (b->options.csv) {
        printf("%s,%d,%d,%d,%.3f,%.3f,%.3f,%.0f,%.0f,%.4f,%.4f\n", r->test, r->tokens, r->depth,
               r->sequences, r->tps[0], r->tps[n / 2], r->tps[n - 1], bytes, r->cost.operations,
               r->read[n / 2], r->peak[n / 2]);
    } else if (!b->options.json) {
        printf("%-8s %7d %7d %4d  %7.2f %7.2f %7.2f  %9.3f %9.2f %5.1f%% %5.1f%%\n", r->test,
               r->tokens, r->depth, r->sequences, r->tps[0], r->tps[n / 2], r->tps[n - 1],
               bytes * 1e-9, r->cost.operations * 1e-9, 100 * r->read[n / 2], 100 * r->peak[n / 2]);
    } else {
        printf("%s{\"test\":\"%s\",\"tokens\":%d,", b->n_shown++ ? ",\n " : "\"rows\":[\n ",
               r->test, r->tokens);
        if (r->sequences)
            printf("\"depth\":%d,\"sequences\":%d,", r->depth, r->sequences);
        printf("\"tps_min\":%.3f,\"tps\":%.3f,\"tps_max\":%.3f,\"bytes\":%.0f,"
               "\"operations\":%.0f,\"bandwidth_share\":%.4f,\"peak_share\":%.4f}",
               r->tps[0], r->tps[n / 2], r->tps[n - 1], bytes, r->cost.operations, r->read[n / 2],
               r->peak[n / 2]);
    }
    fflush(stdout);
}

static void meet(void *arg, int worker, int tile)
{
    (void)worker, (void)tile;
    struct meeting *m = arg;
    atomic_fetch_add_explicit(&m->came, 1, memory_order_acq_rel);
    pool_await(&m->came, m->workers);
}

/* How long it takes all workers of the place to come, meet, and let the first go on. */
static void time_meetings(struct bench *b)
{
    static double took[MEETINGS];
    struct meeting m = {.workers = b->place->threads};
    struct topo topo;
    struct pool *pool;
    struct err err;
    if (topo_read(TOPO_AUTO, &topo, &err) < 0 || pool_new(&topo, m.workers, &pool, &err) < 0)
        fail(&err);
    for (int i = 0; i < MEETINGS; i++) {
        double start = now();
        for (int j = 0; j < 16; j++) {
            atomic_store(&m.came, 0);
            pool_run(pool, meet, &m, m.workers);
        }
        took[i] = (now() - start) / 16;
    }
    pool_free(pool);
    qsort(took, MEETINGS, sizeof *took, by_value);
    b->meeting = took[MEETINGS / 2];
    b->best_meeting = took[0];
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static void probe(struct bench *b)
{
    prober_run(b->prober, &b->probe);
    b->best = (struct probe){
        .read = larger(b->best.read, b->probe.read),
        .fma = larger(b->best.fma, b->probe.fma),
        .vnni = larger(b->best.vnni, b->probe.vnni),
        .amx_int8 = larger(b->best.amx_int8, b->probe.amx_int8),
        .amx_loaded = larger(b->best.amx_loaded, b->probe.amx_loaded),
        .amx_bf16 = larger(b->best.amx_bf16, b->probe.amx_bf16),
    };
}

static void measure(struct bench *b, struct result *r)
{
    bool reads = !strcmp(r->test, "prefill");
    if (reads)
        forward_cost(b->forward, r->tokens, r->tokens / 2.0, r->tokens, 1, &r->cost);
    else
        forward_cost(b->forward, r->sequences, r->depth + b->options.steps / 2.0, 1, r->sequences,
                     &r->cost);
    probe(b);
    profile_begin(b->profile, r->test, r->tokens, r->depth, r->sequences);
    for (int i = 0; i < b->options.repeats; i++) {
        struct probe before = b->probe;
        r->tps[i] = reads ? read_prompt(b, r->tokens) : write_answers(b, r->depth, r->sequences);
        probe(b);
        double steps = r->tps[i] / (reads ? r->tokens : r->sequences); /* a second */
        double read = (before.read + b->probe.read) / 2;
        double peak = (peak_of(&before, b->place->isa) + peak_of(&b->probe, b->place->isa)) / 2;
        r->read[i] = (r->cost.weights + r->cost.cache) * steps / read;
        r->peak[i] = r->cost.operations * steps / peak;
    }
    show(b, r);
    profile_end(b->profile, !b->options.csv && !b->options.json ? stdout : NULL);
}

/* ------------------------------------------------------------------ options */

static void usage(FILE *to)
{
    fputs("Usage: moed-bench MODEL [OPTION...]\n"
          "       moed-bench --probe [OPTION...]\n"
          "Measure how fast a model reads and writes, beside what this machine allows.\n\n"
          "  --threads N        workers (one a core)\n"
          "  --cpu ISA          use no more than c, avx2, avx512 or amx\n"
          "  --prefill N,...    prompts of so many tokens (128,512,2048)\n"
          "  --decode N,...     answers behind so many tokens (0,2048)\n"
          "  --sequences N,...  so many answers at once, at depth 0 (1,2,4,8)\n"
          "  --chunk N          rows of a prompt in a step (512)\n"
          "  --tokens N         steps of an answer (24)\n"
          "  --repeat N         repetitions (3)\n"
          "  --csv, --json      instead of a table\n"
          "  --profile          where the time went\n"
          "  --trace FILE       the same as events for chrome://tracing\n"
          "  --probe            what the machine allows, without a model\n"
          "An empty list leaves a test out. A share is of the memory bandwidth, or of the peak of\n"
          "AMX int8, VNNI or float32, whichever the instruction set has, probed beside each run.\n",
          to);
}

static int number(const char *text, const char *option, int least, int most)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < least || n > most) {
        fprintf(stderr, "moed-bench: %s: found '%s', expected a number from %d to %d\n", option,
                text, least, most);
        exit(2);
    }
    return (int)n;
}

static void parse_list(char *text, const char *option, int least, int most, struct list *ret)
{
    char *save = NULL;
    ret->n = 0;
    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        if (ret->n == MOST) {
            fprintf(stderr, "moed-bench: %s: expected at most %d numbers\n", option, MOST);
            exit(2);
        }
        ret->at[ret->n++] = number(word, option, least, most);
    }
}

enum {
    THREADS = 1,
    CPU,
    PREFILL,
    DECODE,
    SEQUENCES,
    CHUNK,
    TOKENS,
    REPEAT,
    CSV,
    JSON,
    PROFILE,
    TRACE,
    PROBE,
    HELP
};

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option all[] = {
        {"threads", 1, NULL, THREADS},
        {"cpu", 1, NULL, CPU},
        {"prefill", 1, NULL, PREFILL},
        {"decode", 1, NULL, DECODE},
        {"sequences", 1, NULL, SEQUENCES},
        {"chunk", 1, NULL, CHUNK},
        {"tokens", 1, NULL, TOKENS},
        {"repeat", 1, NULL, REPEAT},
        {"csv", 0, NULL, CSV},
        {"json", 0, NULL, JSON},
        {"profile", 0, NULL, PROFILE},
        {"trace", 1, NULL, TRACE},
        {"probe", 0, NULL, PROBE},
        {"help", 0, NULL, HELP},
        {0},
    };
    enum { MOST_TOKENS = 1 << 20, MOST_SEQUENCES = MOST * MOST };
    *o = (struct options){.chunk = 512,
                          .steps = 24,
                          .repeats = 3,
                          .prefill = {{128, 512, 2048}, 3},
                          .decode = {{0, 2048}, 2},
                          .sequences = {{1, 2, 4, 8}, 4}};
    for (int c; (c = getopt_long(argc, argv, "", all, NULL)) != -1;)
        switch (c) {
        case THREADS:
            o->threads = number(optarg, "--threads", 1, PROBER_MAX_THREADS);
            break;
        case CPU:
            o->isa = optarg;
            break;
        case PREFILL:
            parse_list(optarg, "--prefill", 1, MOST_TOKENS, &o->prefill);
            break;
        case DECODE:
            parse_list(optarg, "--decode", 0, MOST_TOKENS, &o->decode);
            break;
        case SEQUENCES:
            parse_list(optarg, "--sequences", 1, MOST_SEQUENCES, &o->sequences);
            break;
        case CHUNK:
            o->chunk = number(optarg, "--chunk", 1, 1 << 16);
            break;
        case TOKENS:
            o->steps = number(optarg, "--tokens", 1, MOST_TOKENS);
            break;
        case REPEAT:
            o->repeats = number(optarg, "--repeat", 1, MAX_REPEATS);
            break;
        case CSV:
            o->csv = true;
            break;
        case JSON:
            o->json = true;
            break;
        case PROFILE:
            o->profile = true;
            break;
        case TRACE:
            o->trace = optarg;
            break;
        case PROBE:
            o->probe = true;
            break;
        case HELP:
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    if (optind != argc - !o->probe) {
        usage(stderr);
        exit(2);
    }
    o->model = o->probe ? NULL : argv[optind];
}

/* ------------------------------------------------------------------ the run */

static int most_of(const struct list *list)
{
    int most = 0;
    for (int i = 0; i < list->n; i++)
        most = list->at[i] > most ? list->at[i] : most;
    return most;
}

static void open_place(struct bench *b)
{
    struct err err = {0};
    struct place_spec spec = {.kind = "cpu", .isa = b->options.isa, .threads = b->options.threads};
    if (place_open(&spec, &b->place, &err) < 0)
        fail(&err);
    b->prober = prober_new(b->place->threads);
    if (!b->prober)
        abort();
}

static void open_model(struct bench *b)
{
    const struct options *o = &b->options;
    struct err err = {0};
    struct kv_schema schema;
    if (model_open(o->model, &b->model, &err) < 0 ||
        model_load(b->model, b->place, NULL, NULL, &err) < 0)
        fail(&err);
    int sequences = most_of(&o->sequences), rows = sequences > o->chunk ? sequences : o->chunk;
    if (forward_new(b->model, rows, sequences > 0 ? sequences : 1, &b->forward, &err) < 0)
        fail(&err);
    forward_schema(b->forward, &schema);
    enum mk_type type = forward_cache_type(b->forward);
    int tokens = most_of(&o->prefill), deep = most_of(&o->decode) + WARM_STEPS + o->steps;
    int pages = view_pages(tokens > deep ? tokens : deep) +
                (sequences > 0 ? sequences : 1) * view_pages(WARM_STEPS + o->steps);
    b->page_bytes = kv_page_bytes(&schema, type);
    if (page_pool_open(&schema, type, (uint64_t)pages * b->page_bytes, &b->pool, &err) < 0)
        fail(&err);
    b->vocab = model_hparams(b->model)->vocab;
    b->token = calloc((size_t)rows, sizeof *b->token);
    b->position = calloc((size_t)rows, sizeof *b->position);
    b->wanted = calloc((size_t)rows, sizeof *b->wanted);
    b->page = calloc((size_t)rows, sizeof *b->page);
    b->profile = profile_new(o->profile, o->trace);
    if (!b->token || !b->position || !b->wanted || !b->page || !b->profile)
        abort();
    if (tokens > 0) /* fresh memory is slow once */
        read_prompt(b, tokens < WARM_TOKENS ? tokens : WARM_TOKENS);
    if (o->profile || o->trace) {
        b->place->trace = profile_phase;
        b->place->trace_arg = b->profile;
    }
}

static void close_all(struct bench *b)
{
    profile_free(b->profile);
    prober_free(b->prober);
    free(b->token);
    free(b->position);
    free(b->wanted);
    free((void *)b->page);
    forward_free(b->forward);
    page_pool_close(b->pool);
    model_close(b->model);
    place_close(b->place);
}

static void show_probe(struct bench *b)
{
    const struct probe *p = &b->best;
    time_meetings(b);
    if (b->options.json) {
        printf("%s],\n\"probe\":{\"read\":%.0f,\"fma\":%.0f,\"vnni\":%.0f,\"amx_int8\":%.0f,"
               "\"amx_loaded\":%.0f,\"amx_bf16\":%.0f,\"meeting_ns\":%.0f}}\n",
               b->n_shown ? "" : "\"rows\":[", p->read, p->fma, p->vnni, p->amx_int8, p->amx_loaded,
               p->amx_bf16, b->meeting * 1e9);
    } else if (!b->options.csv || b->options.probe) {
        printf("best probes, %d threads, %s: read %.1f GB/s, float32 %.0f GFLOP/s, VNNI %.2f, "
               "AMX int8 %.1f (%.1f with loads), AMX bf16 %.1f TOP/s\n"
               "a meeting of the workers: best %.2f us, median %.2f us\n",
               b->place->threads, b->place->isa, p->read * 1e-9, p->fma * 1e-9, p->vnni * 1e-12,
               p->amx_int8 * 1e-12, p->amx_loaded * 1e-12, p->amx_bf16 * 1e-12,
               b->best_meeting * 1e6, b->meeting * 1e6);
    }
}

int main(int argc, char **argv)
{
    static struct bench b;
    parse(argc, argv, &b.options);
    const struct options *o = &b.options;
    open_place(&b);
    if (o->probe) {
        if (o->json)
            show_head(&b);
        probe(&b);
        show_probe(&b);
        close_all(&b);
        return 0;
    }
    open_model(&b);
    show_head(&b);
    for (int i = 0; i < o->prefill.n; i++)
        measure(&b, &(struct result){.test = "prefill", .tokens = o->prefill.at[i]});
    for (int i = 0; i < o->decode.n; i++)
        measure(&b, &(struct result){.test = "decode",
                                     .tokens = o->steps,
                                     .depth = o->decode.at[i],
                                     .sequences = 1});
    for (int i = 0; i < o->sequences.n; i++)
        if (o->sequences.at[i] > 1 || o->decode.n == 0 || o->decode.at[0] != 0)
            measure(&b, &(struct result){
                            .test = "decode", .tokens = o->steps, .sequences = o->sequences.at[i]});
    show_probe(&b);
    close_all(&b);
    return 0;
}
