/* SPDX-License-Identifier: MIT
 *
 * Weights that lie on several nodes give the bits of weights that lie on one. The nodes are made
 * up: what is tested is the cutting, and everything that must find its pieces.
 *
 *     test_nodes MODEL.gguf
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "../fixture/loaded.h"
#include "model/parts.h"

enum { PROMPT = 41, ANSWER = 5, MOST_NODES = 8 };

static const char *path;

/* Logits after a prompt, and after an answer to it. */
static float *run(struct loaded_model *m)
{
    static struct loaded_step step;
    struct view view;
    float *logits = malloc(2 * (size_t)m->vocab * sizeof *logits);
    assert_true(logits && view_init(&view, 2 * PROMPT, 0) == 0 &&
                view_grow(&view, m->pool, 2 * PROMPT) == 0);
    loaded_step_clear(&step);
    for (int i = 0; i < PROMPT; i++)
        loaded_step_add(&step, &view, i * 37 % m->vocab, i, i == PROMPT - 1);
    forward_run(m->forward, &step.rows);
    forward_logits(m->forward, 0, logits);
    for (int i = PROMPT; i < PROMPT + ANSWER; i++) {
        loaded_step_clear(&step);
        loaded_step_add(&step, &view, i * 37 % m->vocab, i, true);
        step.rows.n_decode = 1;
        forward_run(m->forward, &step.rows);
    }
    forward_logits(m->forward, 0, logits + m->vocab);
    forward_rest(m->forward);
    view_fini(&view, m->pool);
    return logits;
}

/* Every part of every weight lies in the block of its node, and all blocks have some. */
static void check_parts(const struct loaded_model *m, int nodes)
{
    const struct loaded *loaded = model_loaded(m->model);
    const struct spread *s = &loaded->spread;
    size_t bytes = 0;
    int cut = 0;
    assert_int_equal(s->n_nodes, nodes);
    for (int j = 0; j < nodes; j++) {
        assert_true(s->block[j].bytes > 0);
        bytes += s->block[j].bytes;
    }
    assert_int_equal(bytes, loaded->bytes);
    for (int i = 0; i < model_plan(m->model)->n; i++) {
        const struct weight_part *part = &s->part[i * nodes];
        for (int j = 0; j < nodes; j++) {
            const char *data = part[j].data, *block = s->block[j].mem;
            assert_true(data >= block && data <= block + s->block[j].bytes);
            assert_int_equal(part[j].first, j ? part[j - 1].end : 0);
        }
        cut += part[0].end > 0 && part[0].end < part[nodes - 1].end;
    }
    assert_true(nodes == 1 || cut >= 3);
}

static void bits_do_not_depend_on_nodes(void **state)
{
    (void)state;
    for (int i = 0; mk_isa_names[i]; i++) {
        float *truth = NULL;
        for (int nodes = 1; nodes <= MOST_NODES; nodes += nodes < 3 ? 1 : 5) {
            struct loaded_model m;
            const struct place_spec spec = {
                .kind = "cpu", .isa = mk_isa_names[i], .threads = 2, .nodes = nodes};
            if (!loaded_open_on(&m, path, &spec))
                break;
            check_parts(&m, nodes);
            float *logits = run(&m);
            if (truth)
                assert_memory_equal(truth, logits, 2 * (size_t)m.vocab * sizeof *logits);
            free(truth);
            truth = logits;
            loaded_close(&m);
        }
        free(truth);
    }
}

static void words_tell_of_each_node(void **state)
{
    (void)state;
    struct loaded_model m;
    char words[512];
    assert_true(
        loaded_open_on(&m, path, &(struct place_spec){.kind = "cpu", .threads = 1, .nodes = 2}));
    spread_describe(&model_loaded(m.model)->spread, words, sizeof words);
    print_message("%s\n", words);
    assert_memory_equal(words, "2 made up: 0 has ", 17);
    assert_non_null(strstr(words, "; 1 has "));
    spread_describe(&model_loaded(m.model)->spread, words, 10);
    assert_string_equal(words, "2 made up");
    loaded_close(&m);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: test_nodes MODEL.gguf\n");
        return 2;
    }
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_nodes),
        cmocka_unit_test(words_tell_of_each_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
