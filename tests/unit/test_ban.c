/* SPDX-License-Identifier: MIT
 *
 * Banned strings against the plain way of finding them: after every token of a long walk, every
 * token of the vocabulary is tried.
 *
 *     test_ban MODEL.gguf          for its vocabulary
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/ban.h"
#include "engine/sample.h"
#include "model/model.h"
#include "text/token.h"

enum { MAX_TEXT = 1 << 14 };

static const struct vocab *vocab;
static uint64_t seed = 1;

static uint32_t random_below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static int32_t id_of(const char *text)
{
    struct ids ids __attribute__((cleanup(ids_fini))) = {0};
    assert_int_equal(vocab_encode(vocab, text, strlen(text), 0, &ids, NULL), 0);
    assert_int_equal(ids.n, 1);
    return ids.id[0];
}

static bool is_hidden(int32_t id)
{
    return vocab_is_special(vocab, id) || vocab_is_unused(vocab, id);
}

struct walk {
    const char *const *strings;
    int n;
    bool show_special;
    struct ban *ban;
    char text[MAX_TEXT]; /* since the last border */
    size_t n_text;
    int string, letter; /* being written */
};

/* Whether the text with this token behind it holds a banned string. */
static bool would_hold(struct walk *w, int32_t id)
{
    size_t bytes;
    const char *text = vocab_bytes(vocab, id, &bytes);
    if (!w->show_special && is_hidden(id))
        return false;
    memcpy(w->text + w->n_text, text, bytes);
    for (int i = 0; i < w->n; i++)
        if (memmem(w->text, w->n_text + bytes, w->strings[i], strlen(w->strings[i])))
            return true;
    return false;
}

static int check_all(struct walk *w)
{
    int n = 0;
    for (int32_t id = 0; id < vocab_size(vocab); id++) {
        bool expected = would_hold(w, id);
        assert_int_equal(ban_has(w->ban, id), expected);
        n += expected;
    }
    return n;
}

static void push(struct walk *w, int32_t id)
{
    size_t bytes;
    const char *text = vocab_bytes(vocab, id, &bytes);
    ban_push(w->ban, id);
    if (!w->show_special && is_hidden(id)) {
        w->n_text = 0;
        return;
    }
    memcpy(w->text + w->n_text, text, bytes);
    w->n_text += bytes;
}

/* Writes out a banned string as far as it may, some token, the next string. */
static int32_t next(struct walk *w)
{
    const char *s = w->strings[w->string];
    char letter[2] = {s[w->letter++]};
    if (letter[0] && (letter[0] & 0x80) == 0 && !ban_has(w->ban, id_of(letter)))
        return id_of(letter);
    w->string = (w->string + 1) % w->n;
    w->letter = 0;
    for (;;) {
        int32_t id = (int32_t)random_below((uint32_t)vocab_size(vocab));
        if (!ban_has(w->ban, id))
            return id;
    }
}

static void take_a_walk(const char *const *strings, int n, bool show_special)
{
    static struct walk w;
    w = (struct walk){.strings = strings, .n = n, .show_special = show_special};
    assert_int_equal(ban_new(vocab, strings, n, show_special, &w.ban), 0);
    assert_int_equal(ban_count(w.ban), n);
    int before = check_all(&w), more = 0;
    for (int i = 0; i < 60; i++) {
        push(&w, next(&w));
        more += check_all(&w) > before;
    }
    assert_true(more > 0); /* the walk stood before a banned string at all */
    ban_free(w.ban);
}

static void exactly_what_completes_a_string_is_banned(void **state)
{
    (void)state;
    static const char *const some[] = {"the cat", "aaab", "ababac", "é!", "on", "that is so"};
    take_a_walk(some, 6, false);
    take_a_walk(some + 1, 2, false);
    take_a_walk((const char *const[]){"zz"}, 1, false);
    take_a_walk((const char *const[]){"xyxyx", "yx", "xyz q"}, 3, true);
    take_a_walk((const char *const[]){"<x", "< ", ">a", "|b"}, 4, true);
}

static void a_hidden_token_is_a_border(void **state)
{
    (void)state;
    int32_t eos = vocab_eos(vocab);
    for (int shown = 0; shown < 2; shown++) {
        struct ban *ban;
        size_t bytes;
        const char *mark = vocab_bytes(vocab, eos, &bytes);
        char whole[300];
        memcpy(whole, mark, bytes);
        strcpy(whole + bytes, "b");
        const char *const strings[] = {"ab", whole};
        assert_int_equal(ban_new(vocab, strings, 2, shown, &ban), 0);
        ban_push(ban, id_of("a"));
        assert_true(ban_has(ban, id_of("b")));
        ban_push(ban, eos);
        assert_int_equal(ban_has(ban, id_of("b")), shown);
        assert_false(ban_has(ban, eos));
        ban_push(ban, id_of("a"));
        assert_true(ban_has(ban, id_of("b")));
        ban_free(ban);
    }
}

static void the_sampler_goes_round(void **state)
{
    (void)state;
    int32_t n = vocab_size(vocab);
    struct sample_params p;
    struct sampler s;
    struct candidates c;
    float *logits = calloc((size_t)n, sizeof *logits);
    uint8_t *banned = calloc((size_t)n, 1);
    sample_params_init(&p);
    p.temperature = 0;
    assert_int_equal(ban_new(vocab, (const char *const[]){"ab", "aq"}, 2, false, &p.ban), 0);
    assert_int_equal(candidates_init(&c, n), 0);
    assert_int_equal(sampler_init(&s, &p, n, vocab, 100), 0);
    logits[id_of("b")] = 3;
    logits[id_of("q")] = 2;
    logits[id_of("z")] = 1;
    assert_int_equal(sampler_draw(&s, logits, banned, &c), id_of("b"));
    sampler_saw_prompt(&s, (const int32_t[]){id_of("a")}, 1); /* the answer alone counts */
    assert_int_equal(sampler_draw(&s, logits, banned, &c), id_of("b"));
    sampler_accept(&s, id_of("a"));
    assert_int_equal(sampler_draw(&s, logits, banned, &c), id_of("z"));
    sampler_accept(&s, id_of("z"));
    assert_int_equal(sampler_draw(&s, logits, banned, &c), id_of("b"));
    struct sample_bias bias = {.id = id_of("b"), .bias = 100}; /* is no way past it */
    p.bias = &bias;
    p.n_bias = 1;
    sampler_accept(&s, id_of("a"));
    assert_int_equal(sampler_draw(&s, logits, banned, &c), id_of("z"));
    for (int32_t id = 0; id < n; id++)
        banned[id] = id != id_of("b");
    assert_int_equal(sampler_draw(&s, logits, banned, &c), -1);
    char chain[SAMPLE_CHAIN_BYTES];
    sample_chain(&p, chain);
    assert_string_equal(chain, "logit_bias[1] banned[2] greedy");
    p.bias = NULL;
    sampler_fini(&s);
    sample_params_fini(&p);
    candidates_fini(&c);
    free(logits);
    free(banned);
}

int main(int argc, char **argv)
{
    OWN(model) *model = NULL;
    if (argc != 2 || model_open(argv[1], &model, NULL) < 0)
        return 2;
    vocab = model_vocab(model);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_what_completes_a_string_is_banned),
        cmocka_unit_test(a_hidden_token_is_a_border),
        cmocka_unit_test(the_sampler_goes_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
