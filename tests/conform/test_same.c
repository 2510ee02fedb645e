/* SPDX-License-Identifier: MIT
 *
 * The same weights in several containers give the same logits, bit for bit.
 *
 *     test_same FIRST OTHER …       on places ref and cpu
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../fixture/loaded.h"

enum { TOKENS = 24 };

/* The logits after every token of one prompt, [TOKENS][vocab]. */
static float *run(const char *path, const char *kind, int *vocab)
{
    struct loaded_model m;
    if (!loaded_open(&m, path, kind, NULL, 2))
        return NULL;
    static struct loaded_step step;
    struct view view;
    *vocab = m.vocab;
    float *logits = calloc((size_t)TOKENS * (size_t)m.vocab, sizeof *logits);
    if (!logits || view_init(&view, TOKENS, 0) < 0 || view_grow(&view, m.pool, TOKENS) < 0)
        abort();
    loaded_step_clear(&step);
    for (int i = 0; i < TOKENS; i++)
        loaded_step_add(&step, &view, (i * 37 + 11) % 256, i, true);
    forward_run(m.forward, &step.rows);
    for (int i = 0; i < TOKENS; i++)
        forward_logits(m.forward, i, logits + (size_t)i * (size_t)m.vocab);
    view_fini(&view, m.pool);
    loaded_close(&m);
    return logits;
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"ref", "cpu"};
    int failed = argc < 3;
    for (int k = 0; k < 2; k++) {
        int vocab = 0, other_vocab = 0;
        float *first = run(argv[1], kinds[k], &vocab);
        for (int i = 2; i < argc; i++) {
            float *other = run(argv[i], kinds[k], &other_vocab);
            bool same = first && other && vocab == other_vocab &&
                        !memcmp(first, other, (size_t)TOKENS * (size_t)vocab * sizeof *first);
            printf("%s  %s: %s\n", same ? "ok  " : "FAIL", kinds[k], argv[i]);
            failed |= !same;
            free(other);
        }
        free(first);
    }
    return failed;
}
