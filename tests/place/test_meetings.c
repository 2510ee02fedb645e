/* SPDX-License-Identifier: MIT
 *
 * A step that writes answers behind short pasts lets the workers of the place meet at most five
 * times a layer, and once for the logits; of more workers than heads, where it writes one.
 *
 *     test_meetings MODEL.gguf…
 */
#include <stdio.h>

#include "../fixture/loaded.h"

enum { MOST = 8, PAST = 40, A_LAYER = 5 };

static int count(struct loaded_model *m, const struct view *view, int sequences, int position)
{
    static struct loaded_step step;
    loaded_step_clear(&step);
    for (int s = 0; s < sequences; s++)
        loaded_step_add(&step, &view[s], 100 + s, position, true);
    step.rows.n_decode = step.rows.n;
    uint64_t before = m->place->meetings;
    forward_run(m->forward, &step.rows);
    return (int)(m->place->meetings - before);
}

static int check(const char *path, int threads, int most_sequences)
{
    struct loaded_model m;
    struct view view[MOST];
    int failed = 0;
    if (!loaded_open(&m, path, "cpu", NULL, threads))
        return 1;
    for (int s = 0; s < MOST; s++)
        if (view_init(&view[s], PAST + 1, 0) < 0 || view_grow(&view[s], m.pool, PAST + 1) < 0)
            abort();
    for (int position = 0; position < PAST; position++)
        count(&m, view, MOST, position);
    int layers = model_hparams(m.model)->layers, most = A_LAYER * layers + 1;
    for (int sequences = 1; sequences <= most_sequences; sequences++) {
        int n = count(&m, view, sequences, PAST);
        bool good = n > 0 && n <= most;
        printf("%s  %s, %d threads: %d meetings for %d rows through %d layers, at most %d\n",
               good ? "ok  " : "FAIL", path, threads, n, sequences, layers, most);
        failed += !good;
    }
    forward_rest(m.forward);
    for (int s = 0; s < MOST; s++)
        view_fini(&view[s], m.pool);
    loaded_close(&m);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = argc < 2;
    for (int i = 1; i < argc; i++)
        failed += check(argv[i], 2, MOST) + check(argv[i], 3, 1); /* toys have two heads */
    return failed != 0;
}
