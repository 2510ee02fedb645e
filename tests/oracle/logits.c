/* SPDX-License-Identifier: MIT
 *
 * Writes the log-probabilities of a model's answers, on a place.
 *
 *     oracle_logits PLACE MODEL JOB.json OUT
 *
 * JOB: {"prompts": [{"ids", "wanted"}]}; OUT becomes float32 [wanted position][vocabulary].
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../fixture/loaded.h"

static int number(const json_t *list, size_t i)
{
    return (int)json_integer_value(json_array_get(list, i));
}

static void to_log(float *logits, int n)
{
    double best = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        best = fmax(best, (double)logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - best);
    for (int i = 0; i < n; i++)
        logits[i] = (float)((double)logits[i] - best - log(sum));
}

/* A prompt is one step of all its tokens. */
static void answer(struct loaded_model *m, const json_t *prompt, float *logits, FILE *out)
{
    static struct loaded_step step;
    const json_t *ids = json_object_get(prompt, "ids");
    const json_t *wanted = json_object_get(prompt, "wanted");
    int n = (int)json_array_size(ids);
    struct view view;
    if (view_init(&view, n, 0) < 0 || view_grow(&view, m->pool, n) < 0)
        abort();
    loaded_step_clear(&step);
    size_t next = 0;
    for (int i = 0; i < n; i++) {
        bool is_wanted = next < json_array_size(wanted) && number(wanted, next) == i;
        loaded_step_add(&step, &view, number(ids, (size_t)i), i, is_wanted);
        next += is_wanted;
    }
    forward_run(m->forward, &step.rows);
    for (size_t i = 0; i < next; i++) {
        forward_logits(m->forward, (int)i, logits);
        to_log(logits, m->vocab);
        if (fwrite(logits, sizeof *logits, (size_t)m->vocab, out) != (size_t)m->vocab)
            abort();
    }
    view_fini(&view, m->pool);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: oracle_logits PLACE MODEL JOB.json OUT\n");
        return 2;
    }
    json_error_t json_error;
    json_t *job = json_load_file(argv[3], 0, &json_error);
    const json_t *prompts = json_object_get(job, "prompts");
    if (!json_array_size(prompts)) {
        fprintf(stderr, "%s: %s\n", argv[3], job ? "no prompts" : json_error.text);
        return 2;
    }
    FILE *out = fopen(argv[4], "wb");
    struct loaded_model m;
    if (!out || !loaded_open(&m, argv[2], argv[1], NULL, 2)) {
        perror(argv[4]);
        return 1;
    }
    float *logits = calloc((size_t)m.vocab, sizeof *logits);
    for (size_t i = 0; i < json_array_size(prompts); i++)
        answer(&m, json_array_get(prompts, i), logits, out);
    free(logits);
    loaded_close(&m);
    json_decref(job);
    return fclose(out) != 0;
}
