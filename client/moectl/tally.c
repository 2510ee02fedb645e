/* SPDX-License-Identifier: MIT
 *
 * One table of what is measured drives the text, the object and the file.
 */
#include "moectl/tally.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "moectl/screen.h"

static const struct measure {
    const char *key, *title;
    size_t offset;
} measure_table[] = {
    {"late_seconds", "late", offsetof(struct sample, late)},
    {"queue_seconds", "in the queue", offsetof(struct sample, queue)},
    {"first_token_seconds", "first token", offsetof(struct sample, first)},
    {"token_seconds", "token to token", offsetof(struct sample, token)},
    {"gap_seconds", "longest gap", offsetof(struct sample, gap)},
    {"whole_seconds", "whole answer", offsetof(struct sample, whole)},
};
enum { N_MEASURES = sizeof measure_table / sizeof *measure_table };

static const struct {
    const char *name;
    double share;
} rank_table[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"most", 1}};
enum { N_RANKS = sizeof rank_table / sizeof *rank_table };

void tally_fini(struct tally *tally)
{
    free(tally->samples);
    *tally = (struct tally){0};
}

bool tally_add(struct tally *tally, const struct sample *sample)
{
    if (tally->n == TALLY_MOST)
        return false;
    if (tally->n == tally->room) {
        tally->room = tally->room ? tally->room * 2 : 256;
        tally->samples = realloc(tally->samples, tally->room * sizeof *sample);
        if (!tally->samples)
            abort();
    }
    tally->samples[tally->n++] = *sample;
    return true;
}

void tally_fail(struct tally *tally, const struct moed_error *error)
{
    int i = 0;
    tally->n_failed++;
    while (i < tally->n_failures && tally->failures[i].status != error->status)
        i++;
    if (i == TALLY_KINDS)
        i--;
    struct failure *kind = &tally->failures[i];
    if (i == tally->n_failures) {
        kind->status = error->status;
        snprintf(kind->message, sizeof kind->message, "%s", error->message);
        tally->n_failures++;
    }
    kind->count++;
}

/* ---- figures */
static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double value_of(const struct sample *sample, const struct measure *measure)
{
    return *(const double *)(const void *)((const char *)sample + measure->offset);
}

/* Each rank is a value that was measured: the smallest that so many do not exceed. NAN if nothing
 * was. */
static void rank(const struct tally *tally, const struct measure *measure, double ret[N_RANKS])
{
    size_t n = 0;
    double *sorted = malloc((tally->n + 1) * sizeof *sorted);
    if (!sorted)
        abort();
    for (size_t i = 0; i < tally->n; i++) {
        double value = value_of(&tally->samples[i], measure);
        if (!isnan(value))
            sorted[n++] = value;
    }
    qsort(sorted, n, sizeof *sorted, by_size);
    for (int i = 0; i < N_RANKS; i++) {
        size_t place = (size_t)ceil(rank_table[i].share * (double)n);
        ret[i] = n > 0 ? sorted[place > 0 ? place - 1 : 0] : NAN;
    }
    free(sorted);
}

struct sums {
    int64_t prompt, cached, answer; /* tokens */
};

static struct sums sum(const struct tally *tally)
{
    struct sums sums = {0};
    for (size_t i = 0; i < tally->n; i++) {
        sums.prompt += tally->samples[i].prompt;
        sums.cached += tally->samples[i].cached;
        sums.answer += tally->samples[i].answer;
    }
    return sums;
}

static double per_second(int64_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static void print_failures(const struct tally *tally)
{
    for (int i = 0; i < tally->n_failures; i++) {
        const struct failure *kind = &tally->failures[i];
        printf("%llu × %s: ", (unsigned long long)kind->count, moed_status_name(kind->status));
        screen_word(stdout, kind->message);
        putchar('\n');
    }
}

void tally_print(const struct tally *tally, double seconds)
{
    struct sums sums = sum(tally);
    printf("%zu answered, %llu failed, %llu cancelled in %.3f s\n", tally->n,
           (unsigned long long)tally->n_failed, (unsigned long long)tally->n_cancelled, seconds);
    print_failures(tally);
    if (tally->n == 0)
        return;
    printf("%.1f answer tokens/s, %.1f prompt tokens/s (%.1f %% known)\n\n%-16s",
           per_second(sums.answer, seconds), per_second(sums.prompt, seconds),
           100 * (double)sums.cached / (double)(sums.prompt > 0 ? sums.prompt : 1), "seconds");
    for (int i = 0; i < N_RANKS; i++)
        printf("%12s", rank_table[i].name);
    putchar('\n');
    for (int m = 0; m < N_MEASURES; m++) {
        double ranks[N_RANKS];
        rank(tally, &measure_table[m], ranks);
        if (isnan(ranks[0]))
            continue;
        printf("%-16s", measure_table[m].title);
        for (int i = 0; i < N_RANKS; i++)
            printf("%12.4f", ranks[i]);
        putchar('\n');
    }
}

void tally_json(const struct tally *tally, double seconds, json_t *object)
{
    struct sums sums = sum(tally);
    json_t *failures = json_array();
    for (int i = 0; i < tally->n_failures; i++) {
        const struct failure *kind = &tally->failures[i];
        json_t *one = json_object();
        json_object_set_new(one, "status", screen_json_word(moed_status_name(kind->status)));
        json_object_set_new(one, "count", json_integer((json_int_t)kind->count));
        json_object_set_new(one, "message", screen_json_word(kind->message));
        json_array_append_new(failures, one);
    }
    json_object_set_new(object, "seconds", screen_json_real(seconds));
    json_object_set_new(object, "answered", json_integer((json_int_t)tally->n));
    json_object_set_new(object, "failed", json_integer((json_int_t)tally->n_failed));
    json_object_set_new(object, "cancelled", json_integer((json_int_t)tally->n_cancelled));
    json_object_set_new(object, "failures", failures);
    json_object_set_new(object, "prompt_tokens", json_integer(sums.prompt));
    json_object_set_new(object, "cached_tokens", json_integer(sums.cached));
    json_object_set_new(object, "answer_tokens", json_integer(sums.answer));
    json_object_set_new(object, "prompt_tokens_per_second",
                        screen_json_real(per_second(sums.prompt, seconds)));
    json_object_set_new(object, "answer_tokens_per_second",
                        screen_json_real(per_second(sums.answer, seconds)));
    for (int m = 0; m < N_MEASURES; m++) {
        double ranks[N_RANKS];
        json_t *one = json_object();
        rank(tally, &measure_table[m], ranks);
        for (int i = 0; i < N_RANKS; i++)
            json_object_set_new(one, rank_table[i].name, screen_json_real(ranks[i]));
        json_object_set_new(object, measure_table[m].key, one);
    }
}

/* ---- a file */
void tally_csv_head(FILE *to)
{
    fputs("start_seconds,client,prompt_tokens,cached_tokens,answer_tokens", to);
    for (int m = 0; m < N_MEASURES; m++)
        fprintf(to, ",%s", measure_table[m].key);
    fputs(",status\n", to);
}

void tally_csv_line(FILE *to, const struct sample *s, const char *status)
{
    fprintf(to, "%.6f,%d,%d,%d,%d", s->start, s->client, s->prompt, s->cached, s->answer);
    for (int m = 0; m < N_MEASURES; m++) {
        double value = value_of(s, &measure_table[m]);
        if (isnan(value))
            fputc(',', to);
        else
            fprintf(to, ",%.6f", value);
    }
    fprintf(to, ",%s\n", status);
}
