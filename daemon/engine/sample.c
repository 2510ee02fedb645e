/* SPDX-License-Identifier: MIT */
#include "engine/sample.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ban.h"

void sample_params_init(struct sample_params *params)
{
    *params = (struct sample_params){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
}

void sample_params_fini(struct sample_params *params)
{
    free(params->bias);
    for (int i = 0; i < params->dry.n_breakers; i++)
        free(params->dry.breakers[i]);
    free(params->dry.breakers);
    ban_free(params->ban);
    *params = (struct sample_params){0};
}

int candidates_init(struct candidates *c, int vocab)
{
    *c = (struct candidates){.room = vocab};
    c->at = calloc((size_t)vocab, sizeof *c->at);
    c->weight = calloc((size_t)vocab, sizeof *c->weight);
    if (c->at && c->weight)
        return 0;
    candidates_fini(c);
    return -ENOMEM;
}

void candidates_fini(struct candidates *c)
{
    free(c->at);
    free(c->weight);
    *c = (struct candidates){0};
}

static bool wants_history(const struct sample_params *p)
{
    return p->repetition_penalty != 1 || p->presence_penalty != 0 || p->frequency_penalty != 0;
}

static bool wants_dry(const struct sample_params *p)
{
    return p->dry.multiplier > 0;
}

int sampler_init(struct sampler *s, const struct sample_params *params, int logits,
                 const struct vocab *vocab, int limit)
{
    *s = (struct sampler){
        .params = params,
        .n_logits = logits,
        .max_surprise = 2 * (double)params->mirostat_tau,
    };
    if (wants_history(params)) {
        s->generated = calloc((size_t)logits, sizeof *s->generated);
        s->seen = calloc((size_t)logits, sizeof *s->seen);
        if (!s->generated || !s->seen) {
            sampler_fini(s);
            return -ENOMEM;
        }
    }
    int r = wants_dry(params) ? dry_init(&s->dry, &params->dry, vocab, logits, limit) : 0;
    if (r < 0)
        sampler_fini(s);
    return r;
}

void sampler_fini(struct sampler *s)
{
    free(s->generated);
    free(s->seen);
    dry_fini(&s->dry);
    *s = (struct sampler){0};
}

void sampler_saw_prompt(struct sampler *s, const int32_t *ids, int n)
{
    for (int i = 0; s->seen && i < n; i++)
        s->seen[ids[i]] = 1;
    for (int i = 0; wants_dry(s->params) && i < n; i++)
        dry_push(&s->dry, ids[i]);
}

void sampler_accept(struct sampler *s, int32_t id)
{
    s->n_drawn++;
    if (wants_dry(s->params))
        dry_push(&s->dry, id);
    if (s->params->ban)
        ban_push(s->params->ban, id);
    if (!s->seen)
        return;
    s->seen[id] = 1;
    if (s->generated[id] < UINT16_MAX)
        s->generated[id]++;
}

/* ------------------------------------------------------------------ order */

/* Higher score first; ties to the lower id. A strict order, so that sorting is unique. */
static bool better(const struct candidate *a, const struct candidate *b)
{
    return a->score != b->score ? a->score > b->score : a->id < b->id;
}

static void sift_down(struct candidate *heap, int n, int i)
{
    for (;;) {
        int best = i, left = 2 * i + 1;
        if (left < n && better(&heap[left], &heap[best]))
            best = left;
        if (left + 1 < n && better(&heap[left + 1], &heap[best]))
            best = left + 1;
        if (best == i)
            return;
        struct candidate moved = heap[i];
        heap[i] = heap[best];
        heap[best] = moved;
        i = best;
    }
}

/* Moves candidates to the front, best first, until `enough` says so; the rest is dropped.
 * A heap at the back gives up only as many as are asked for: O(n + kept · log n). */
static void keep_best(struct candidates *c, bool (*enough)(void *arg, const struct candidate *last),
                      void *arg)
{
    int n = c->n;
    for (int i = n / 2 - 1; i >= 0; i--)
        sift_down(c->at, n, i);
    int kept = 0;
    bool done = false;
    while (!done && kept < n) {
        /* What leaves the heap goes behind it, so the best end up last: turned round below. */
        struct candidate best = c->at[0];
        int last = n - 1 - kept;
        c->at[0] = c->at[last];
        c->at[last] = best;
        kept++;
        sift_down(c->at, last, 0);
        done = enough(arg, &best);
    }
    struct candidate *kept_at = c->at + (n - kept);
    for (int i = 0, j = kept - 1; i < j; i++, j--) {
        struct candidate moved = kept_at[i];
        kept_at[i] = kept_at[j];
        kept_at[j] = moved;
    }
    memmove(c->at, kept_at, (size_t)kept * sizeof *c->at);
    c->n = kept;
}

/* ------------------------------------------------------------------ stages */

static float best_score(const struct candidates *c)
{
    float best = -INFINITY;
    for (int i = 0; i < c->n; i++)
        if (c->at[i].score > best)
            best = c->at[i].score;
    return best;
}

/* Drops candidates below a score, the others stay in order. */
static void keep_above(struct candidates *c, double least)
{
    int n = 0;
    for (int i = 0; i < c->n; i++)
        if ((double)c->at[i].score >= least)
            c->at[n++] = c->at[i];
    c->n = n;
}

/* What a chain is told in. */
struct words {
    char *at;
    size_t n;
};

static __attribute__((format(printf, 2, 3))) void say(struct words *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(w->at + w->n, SAMPLE_CHAIN_BYTES - w->n, fmt, args);
    va_end(args);
    w->n = w->n + (size_t)n < SAMPLE_CHAIN_BYTES ? w->n + (size_t)n : SAMPLE_CHAIN_BYTES - 1;
}

/* With as few digits as give the same float back. */
static void say_real(struct words *w, const char *name, float value)
{
    char digits[32];
    for (int n = 6; n <= 9; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, (double)value);
        if (strtof(digits, NULL) == value)
            break;
    }
    say(w, "%s=%s ", name, digits);
}

static bool wants_bias(const struct sample_params *p)
{
    return p->n_bias > 0;
}

static void tell_bias(const struct sample_params *p, struct words *w)
{
    say(w, "logit_bias[%d] ", p->n_bias);
}

/* Before candidates are filtered at[i].id == order of the vocabulary, but banned ids are absent. */
static void stage_bias(struct sampler *s, struct candidates *c)
{
    for (int b = 0; b < s->params->n_bias; b++) {
        int32_t id = s->params->bias[b].id;
        int low = 0, high = c->n; /* ids ascend: search */
        while (low < high) {
            int middle = (low + high) / 2;
            if (c->at[middle].id < id)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < c->n && c->at[low].id == id)
            c->at[low].score += s->params->bias[b].bias;
    }
}

static void tell_penalties(const struct sample_params *p, struct words *w)
{
    if (p->repetition_penalty != 1)
        say_real(w, "repetition_penalty", p->repetition_penalty);
    if (p->presence_penalty != 0)
        say_real(w, "presence_penalty", p->presence_penalty);
    if (p->frequency_penalty != 0)
        say_real(w, "frequency_penalty", p->frequency_penalty);
}

static void stage_penalties(struct sampler *s, struct candidates *c)
{
    const struct sample_params *p = s->params;
    for (int i = 0; i < c->n; i++) {
        struct candidate *at = &c->at[i];
        if (s->seen[at->id])
            at->score = at->score > 0 ? at->score / p->repetition_penalty
                                      : at->score * p->repetition_penalty;
        if (s->generated[at->id])
            at->score -= p->presence_penalty + p->frequency_penalty * (float)s->generated[at->id];
    }
}

static void tell_dry(const struct sample_params *p, struct words *w)
{
    say_real(w, "dry_multiplier", p->dry.multiplier);
    say_real(w, "dry_base", p->dry.base);
    say(w, "dry_allowed_length=%d ", p->dry.allowed_length);
    if (p->dry.range > 0)
        say(w, "dry_range=%d ", p->dry.range);
    say(w, "dry_breakers[%d] ", p->dry.n_breakers);
}

static void stage_dry(struct sampler *s, struct candidates *c)
{
    dry_match(&s->dry);
    for (int i = 0; i < c->n; i++)
        c->at[i].score -= dry_penalty(&s->dry, c->at[i].id);
}

static bool wants_ban(const struct sample_params *p)
{
    return p->ban;
}

static void tell_ban(const struct sample_params *p, struct words *w)
{
    say(w, "banned[%d] ", ban_count(p->ban));
}

static void stage_ban(struct sampler *s, struct candidates *c)
{
    for (int i = 0; i < c->n; i++)
        if (ban_has(s->params->ban, c->at[i].id))
            c->at[i].score = -INFINITY;
}

static bool wants_top_n_sigma(const struct sample_params *p)
{
    return p->top_n_sigma > 0;
}

static void tell_top_n_sigma(const struct sample_params *p, struct words *w)
{
    say_real(w, "top_n_sigma", p->top_n_sigma);
}

/* What is banned has no part in the deviation. */
static void stage_top_n_sigma(struct sampler *s, struct candidates *c)
{
    double sum = 0, squares = 0;
    int n = 0;
    for (int i = 0; i < c->n; i++)
        if (isfinite(c->at[i].score)) {
            sum += (double)c->at[i].score;
            n++;
        }
    double mean = sum / n;
    for (int i = 0; i < c->n; i++)
        if (isfinite(c->at[i].score))
            squares += ((double)c->at[i].score - mean) * ((double)c->at[i].score - mean);
    keep_above(c, (double)best_score(c) - (double)s->params->top_n_sigma * sqrt(squares / n));
}

static bool wants_temperature(const struct sample_params *p)
{
    return p->temperature != 1;
}

static void tell_temperature(const struct sample_params *p, struct words *w)
{
    say_real(w, "temperature", p->temperature);
}

static void stage_temperature(struct sampler *s, struct candidates *c)
{
    float best = best_score(c); /* from it, so that a tiny temperature overflows downwards only */
    for (int i = 0; i < c->n; i++)
        c->at[i].score = (c->at[i].score - best) / s->params->temperature;
}

static bool wants_top_k(const struct sample_params *p)
{
    return p->top_k > 0;
}

static void tell_top_k(const struct sample_params *p, struct words *w)
{
    say(w, "top_k=%d ", p->top_k);
}

static bool enough_count(void *arg, const struct candidate *last)
{
    (void)last;
    return --*(int *)arg == 0;
}

static void stage_top_k(struct sampler *s, struct candidates *c)
{
    int left = s->params->top_k;
    if (left < c->n)
        keep_best(c, enough_count, &left);
}

static bool wants_top_p(const struct sample_params *p)
{
    return p->top_p < 1;
}

static void tell_top_p(const struct sample_params *p, struct words *w)
{
    say_real(w, "top_p", p->top_p);
}

struct mass {
    double left; /* of the probability wanted, unnormalised */
    float best;
};

static bool enough_mass(void *arg, const struct candidate *last)
{
    struct mass *m = arg;
    m->left -= exp((double)last->score - (double)m->best);
    return m->left <= 0;
}

static void stage_top_p(struct sampler *s, struct candidates *c)
{
    struct mass m = {.best = best_score(c)};
    double all = 0;
    for (int i = 0; i < c->n; i++)
        all += exp((double)c->at[i].score - (double)m.best);
    m.left = all * (double)s->params->top_p;
    keep_best(c, enough_mass, &m); /* at least the best one stays */
}

static bool wants_min_p(const struct sample_params *p)
{
    return p->min_p > 0;
}

static void tell_min_p(const struct sample_params *p, struct words *w)
{
    say_real(w, "min_p", p->min_p);
}

static void stage_min_p(struct sampler *s, struct candidates *c)
{
    keep_above(c, (double)(best_score(c) + logf(s->params->min_p)));
}

static bool wants_mirostat(const struct sample_params *p)
{
    return p->mirostat_tau > 0;
}

static void tell_mirostat(const struct sample_params *p, struct words *w)
{
    say_real(w, "mirostat_tau", p->mirostat_tau);
    say_real(w, "mirostat_eta", p->mirostat_eta);
}

/* A surprise is -log2 of the probability among all that got here. */
static void stage_mirostat(struct sampler *s, struct candidates *c)
{
    double best = (double)best_score(c), sum = 0;
    for (int i = 0; i < c->n; i++)
        sum += exp((double)c->at[i].score - best);
    s->log_sum = best + log(sum);
    keep_above(c, fmin(best, s->log_sum - s->max_surprise * M_LN2));
}

static void learn_surprise(struct sampler *s, float score)
{
    double surprise = (s->log_sum - (double)score) / M_LN2;
    s->max_surprise -=
        (double)s->params->mirostat_eta * (surprise - (double)s->params->mirostat_tau);
}

struct stage {
    bool (*is_wanted)(const struct sample_params *p);
    void (*tell)(const struct sample_params *p, struct words *w);
    void (*run)(struct sampler *s, struct candidates *c);
};

static const struct stage logit_stages[] = {
    /* also where nothing is drawn */
    {wants_bias, tell_bias, stage_bias},
    {wants_history, tell_penalties, stage_penalties},
    {wants_dry, tell_dry, stage_dry},
    {wants_ban, tell_ban, stage_ban},
};
static const struct stage stage_table[] = {
    {wants_top_n_sigma, tell_top_n_sigma, stage_top_n_sigma},
    {wants_temperature, tell_temperature, stage_temperature},
    {wants_top_k, tell_top_k, stage_top_k},
    {wants_top_p, tell_top_p, stage_top_p},
    {wants_min_p, tell_min_p, stage_min_p},
    {wants_mirostat, tell_mirostat, stage_mirostat},
};
enum {
    N_LOGIT_STAGES = sizeof logit_stages / sizeof *logit_stages,
    N_STAGES = sizeof stage_table / sizeof *stage_table,
};

static void run_stages(const struct stage *stages, int n, struct sampler *s, struct candidates *c)
{
    for (int i = 0; i < n; i++)
        if (stages[i].is_wanted(s->params))
            stages[i].run(s, c);
}

static void tell_stages(const struct stage *stages, int n, const struct sample_params *p,
                        struct words *w)
{
    for (int i = 0; i < n; i++)
        if (stages[i].is_wanted(p))
            stages[i].tell(p, w);
}

void sample_chain(const struct sample_params *p, char ret[SAMPLE_CHAIN_BYTES])
{
    struct words w = {.at = ret};
    tell_stages(logit_stages, N_LOGIT_STAGES, p, &w);
    if (p->temperature > 0)
        tell_stages(stage_table, N_STAGES, p, &w);
    say(&w, "%s", p->temperature > 0 ? "draw" : "greedy");
}

/* ------------------------------------------------------------------ the draw */

/* A counter-based generator (the finaliser of SplitMix64): draw i depends on seed and i alone. */
static double uniform(uint64_t seed, uint64_t index)
{
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static int32_t greedy(const struct candidates *c)
{
    int best = 0;
    for (int i = 1; i < c->n; i++)
        if (better(&c->at[i], &c->at[best]))
            best = i;
    return c->at[best].id;
}

static const struct candidate *draw(const struct sampler *s, struct candidates *c)
{
    float best = best_score(c);
    double sum = 0;
    for (int i = 0; i < c->n; i++) {
        c->weight[i] = expf(c->at[i].score - best);
        sum += (double)c->weight[i];
    }
    double left = uniform(s->params->seed, s->n_drawn) * sum;
    int chosen = 0;
    for (int i = 0; i < c->n; i++) {
        if (c->weight[i] <= 0)
            continue;
        chosen = i;
        left -= (double)c->weight[i];
        if (left < 0)
            break;
    }
    return &c->at[chosen];
}

int32_t sampler_draw(struct sampler *s, const float *logits, const uint8_t *banned,
                     struct candidates *c)
{
    c->n = 0;
    for (int32_t id = 0; id < s->n_logits; id++)
        if (!banned[id])
            c->at[c->n++] = (struct candidate){.id = id, .score = logits[id]};
    run_stages(logit_stages, N_LOGIT_STAGES, s, c);
    if (c->n == 0 || best_score(c) == -INFINITY)
        return -1;
    if (s->params->temperature == 0)
        return greedy(c);
    run_stages(stage_table, N_STAGES, s, c);
    const struct candidate *chosen = draw(s, c);
    if (wants_mirostat(s->params))
        learn_surprise(s, chosen->score);
    return chosen->id;
}

/* ------------------------------------------------------------------ probabilities */

double sample_log_sum(const float *logits, int n)
{
    float best = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (!isfinite(logits[i]))
            return NAN;
        if (logits[i] > best)
            best = logits[i];
    }
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - (double)best);
    return (double)best + log(sum);
}

int sample_top(const float *logits, int n, int want, int32_t *ids)
{
    int have = 0;
    for (int32_t id = 0; id < n; id++) {
        if (have == want && (want == 0 || !(logits[id] > logits[ids[have - 1]])))
            continue;
        int at = have < want ? have++ : have - 1;
        while (at > 0 && logits[ids[at - 1]] < logits[id]) {
            ids[at] = ids[at - 1];
            at--;
        }
        ids[at] = id;
    }
    return have;
}
