/* SPDX-License-Identifier: MIT
 *
 * token: encoding against a plain implementation, added tokens, and every broken table refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys.h"
#include "text/token.h"
#include "text/utf8.h"

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES  "tokenizer.ggml.token_type"
#define MERGES "tokenizer.ggml.merges"

/* A sanitizer makes each one ten times as long, and looks for something else. */
#ifdef SANITIZED
enum { RANDOM_TEXTS = 50 * 1000 };
#else
enum { RANDOM_TEXTS = 1000 * 1000 };
#endif

static struct vocab *open_vocab(const struct meta *meta)
{
    struct vocab *vocab = NULL;
    struct err err = {0};
    if (vocab_open(meta, &vocab, &err) < 0)
        fail_msg("%s", err.text);
    return vocab;
}

static struct vocab *open_toy(void)
{
    OWN(meta) *meta = keys_toy("deepseek-v3");
    return open_vocab(meta); /* lives on without the meta: nothing is borrowed */
}

/* The ids as the texts of their tokens with '|' between. */
static void spell(const struct vocab *vocab, const struct ids *ids, char *dst, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) {
        size_t bytes;
        const char *s = vocab_bytes(vocab, ids->id[i], &bytes);
        assert_true(n + bytes + 2 < size);
        if (i > 0)
            dst[n++] = '|';
        memcpy(dst + n, s, bytes);
        n += bytes;
    }
    dst[n] = 0;
}

static void assert_tokens(const struct vocab *vocab, const char *text, unsigned flags,
                          const char *expected)
{
    struct ids ids = {0};
    char spelled[1024];
    assert_int_equal(vocab_encode(vocab, text, strlen(text), flags, &ids, NULL), 0);
    spell(vocab, &ids, spelled, sizeof(spelled));
    assert_string_equal(spelled, expected);
    ids_fini(&ids);
}

static void assert_round_trip(const struct vocab *vocab, const char *text, size_t bytes,
                              const struct ids *ids)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const char *s = vocab_bytes(vocab, ids->id[i], &n);
        assert_true(n <= bytes - at);
        assert_memory_equal(s, text + at, n);
        at += n;
    }
    assert_int_equal(at, bytes);
}

/* ---- merges */

static void test_merge_order(void **state)
{
    (void)state;
    OWN(vocab) *vocab = open_toy();
    assert_tokens(vocab, "the", 0, "the");
    assert_tokens(vocab, " the", 0, " the");
    assert_tokens(vocab, "hello", 0, "hello");
    assert_tokens(vocab, "thell", 0, "the|ll"); /* "t h" comes before "h e" */
    assert_tokens(vocab, "aaa", 0, "aa|a");     /* among equals the leftmost */
    assert_tokens(vocab, "aaaaaaa", 0, "aaaa|aa|a");
    assert_tokens(vocab, "think", 0, "th|ink");
    assert_tokens(vocab, "", 0, "");
    assert_tokens(vocab, "x\n", 0, "x|\n");
}

static char *joined(const char *left, const char *between, const char *right)
{
    char *text = NULL;
    assert_true(asprintf(&text, "%s%s%s", left, between, right) >= 0);
    return text;
}

/* Merges as the definition says them: over and over, the pair of the lowest rank, leftmost. */
static void plain_bpe(const struct meta *meta, const struct vocab *vocab, const char *text,
                      struct ids *ret)
{
    char *parts[64];
    int n = 0;
    for (; text[n]; n++)
        parts[n] = strdup(keys_letter((unsigned char)text[n]));
    for (;;) {
        int best = -1;
        uint64_t best_rank = keys_count(meta, MERGES);
        for (int i = 0; i + 1 < n; i++) {
            char *pair = joined(parts[i], " ", parts[i + 1]);
            for (uint64_t rank = 0; rank < best_rank; rank++) {
                size_t bytes;
                if (strcmp(meta_str_at(meta, MERGES, rank, &bytes), pair) == 0) {
                    best = i;
                    best_rank = rank;
                }
            }
            free(pair);
        }
        if (best < 0)
            break;
        char *both = joined(parts[best], "", parts[best + 1]);
        free(parts[best]);
        free(parts[best + 1]);
        parts[best] = both;
        n--;
        for (int i = best + 1; i < n; i++)
            parts[i] = parts[i + 1];
    }
    for (int i = 0; i < n; i++) {
        for (int32_t id = 0; id < vocab_size(vocab); id++) {
            size_t bytes;
            if (strcmp(meta_str_at(meta, TOKENS, (uint64_t)id, &bytes), parts[i]) == 0)
                ids_push(ret, id);
        }
        free(parts[i]);
    }
}

/* Random merges over three letters, so that pairs overlap and compete all the time. */
static void test_merges_against_the_definition(void **state)
{
    (void)state;
    unsigned seed = 11;
    for (int round = 0; round < 40; round++) {
        OWN(meta) *meta = keys_toy("deepseek-v3");
        char made[16][16] = {"x", "y", "z"};
        int n_made = 3;
        while (n_made < 14) {
            const char *left = made[rand_r(&seed) % n_made], *right = made[rand_r(&seed) % n_made];
            char *both = joined(left, "", right);
            bool known = strlen(both) > 8;
            for (int i = 0; i < n_made; i++)
                known = known || strcmp(made[i], both) == 0;
            if (!known) {
                keys_merge(meta, left, right);
                strcpy(made[n_made++], both);
            }
            free(both);
        }
        OWN(vocab) *vocab = open_vocab(meta);
        for (int i = 0; i < 60; i++) {
            char text[40] = "";
            for (int n = rand_r(&seed) % 36; n > 0; n--)
                strcat(text, &"x\0y\0z"[2 * (rand_r(&seed) % 3)]);
            struct ids ids = {0}, expected = {0};
            plain_bpe(meta, vocab, text, &expected);
            assert_int_equal(vocab_encode(vocab, text, strlen(text), 0, &ids, NULL), 0);
            assert_int_equal(ids.n, expected.n);
            if (ids.n > 0)
                assert_memory_equal(ids.id, expected.id, ids.n * sizeof(*ids.id));
            ids_fini(&ids);
            ids_fini(&expected);
        }
    }
}

static void test_long_piece(void **state)
{
    (void)state;
    OWN(vocab) *vocab = open_toy();
    enum { N = 1000 * 1000 };
    char *text = malloc(N);
    assert_non_null(text);
    memset(text, 'a', N);
    struct ids ids = {0};
    alarm(60); /* squared, this takes an hour */
    assert_int_equal(vocab_encode(vocab, text, N, 0, &ids, NULL), 0);
    alarm(0);
    assert_int_equal(ids.n, N / 4);
    ids_fini(&ids);
    free(text);
}

static void test_invalid_utf8(void **state)
{
    (void)state;
    OWN(vocab) *vocab = open_toy();
    char text[256];
    for (int i = 0; i < 256; i++)
        text[i] = (char)(255 - i);
    struct ids ids = {0};
    assert_int_equal(vocab_encode(vocab, text, 256, 0, &ids, NULL), 0);
    assert_round_trip(vocab, text, 256, &ids);
    ids_fini(&ids);
}

/* DeepSeek-LLM has no tokens for bytes that never occur in UTF-8. */
static void test_byte_without_token(void **state)
{
    (void)state;
    OWN(meta) *meta = keys_toy("deepseek-llm");
    keys_set_i32(meta, TYPES, 0xFF, 4);
    OWN(vocab) *vocab = open_vocab(meta);
    struct ids ids = {0};
    struct err err = {0};
    ids_push(&ids, 7);
    assert_int_equal(vocab_encode(vocab, "ab\xFF", 3, 0, &ids, &err), -EINVAL);
    assert_non_null(strstr(err.text, "0xFF"));
    assert_int_equal(ids.n, 1); /* as it was */
    ids_fini(&ids);
}

/* ---- added tokens */

static void test_added(void **state)
{
    (void)state;
    OWN(vocab) *vocab = open_toy();
    assert_tokens(vocab, "aübü", 0, "a|üb|ü"); /* the longest at the leftmost place */
    assert_tokens(vocab, "x   y", 0, "x|  | |y");
    assert_tokens(vocab, "<think>a</think>", VOCAB_SPECIAL, "<think>|a|</think>");
    assert_tokens(vocab, "a<think", VOCAB_SPECIAL, "a|<|th|ink");
    assert_int_equal(vocab_find(vocab, "ü") >= 0, 1);
    assert_int_equal(vocab_is_special(vocab, vocab_find(vocab, "ü")), 0);
    assert_int_equal(vocab_find(vocab, "hello"), -1); /* ordinary */
    assert_int_equal(vocab_find(vocab, "<thi"), -1);
    assert_int_equal(vocab_find(vocab, ""), -1);
}

static void test_unused(void **state)
{
    (void)state;
    OWN(meta) *meta = keys_toy("deepseek-v3");
    OWN(vocab) *vocab = open_vocab(meta);
    int n_unused = 0;
    for (int32_t id = 0; id < vocab_size(vocab); id++) {
        if (!vocab_is_unused(vocab, id))
            continue;
        size_t bytes;
        const char *text = vocab_bytes(vocab, id, &bytes);
        char copy[64];
        snprintf(copy, sizeof(copy), "%.*s", (int)bytes, text);
        assert_int_equal(vocab_find(vocab, copy), -1);
        struct ids ids = {0};
        assert_int_equal(vocab_encode(vocab, copy, bytes, VOCAB_SPECIAL, &ids, NULL), 0);
        for (size_t i = 0; i < ids.n; i++)
            assert_int_not_equal(ids.id[i], id);
        assert_round_trip(vocab, copy, bytes, &ids);
        ids_fini(&ids);
        n_unused++;
    }
    assert_int_equal(n_unused, 3);
    /* "[PAD5]" is padding only at 5 */
    keys_token(meta, "[PAD5]", 4);
    OWN(vocab) *other = open_vocab(meta);
    assert_int_equal(vocab_find(other, "[PAD5]"), vocab_size(other) - 1);
}

static void assert_no_special(const struct vocab *vocab, const char *text, size_t bytes)
{
    struct ids ids = {0};
    assert_int_equal(vocab_encode(vocab, text, bytes, 0, &ids, NULL), 0);
    for (size_t i = 0; i < ids.n; i++)
        assert_false(vocab_is_special(vocab, ids.id[i]) || vocab_is_unused(vocab, ids.id[i]));
    assert_round_trip(vocab, text, bytes, &ids);
    ids_fini(&ids);
}

/* Every special token, every part of it, and strings made of such parts. */
static void test_content_is_never_special(void **state)
{
    (void)state;
    OWN(vocab) *vocab = open_toy();
    int n = 0;
    for (; keys_toy_special[n]; n++) {
        const char *text = keys_toy_special[n];
        size_t bytes = strlen(text);
        assert_true(vocab_is_special(vocab, vocab_find(vocab, text)));
        for (size_t from = 0; from < bytes; from++)
            for (size_t to = from + 1; to <= bytes; to++)
                assert_no_special(vocab, text + from, to - from);
    }
    unsigned seed = 3;
    for (int round = 0; round < RANDOM_TEXTS; round++) {
        char text[256];
        size_t at = 0;
        for (int parts = 1 + rand_r(&seed) % 5; parts > 0; parts--) {
            const char *s = keys_toy_special[rand_r(&seed) % n];
            size_t bytes = strlen(s), from = rand_r(&seed) % 2 ? 0 : (size_t)rand_r(&seed) % bytes;
            size_t length = rand_r(&seed) % 2 ? bytes - from : (size_t)rand_r(&seed) % bytes;
            length = length > bytes - from ? bytes - from : length;
            memcpy(text + at, s + from, length);
            at += length;
        }
        assert_no_special(vocab, text, at);
    }
}

/* A token that no merges make: it stands for a whole piece, or for nothing. */
static void test_whole_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *pre;
        int said; /* by the file; -1: nothing */
        bool whole;
    } cases[] = {
        {"glm4", -1, true},         {"chatglm-bpe", -1, true}, {"kimi-k2", -1, true},
        {"deepseek-v3", -1, false}, {"glm4", false, false},    {"deepseek-v3", true, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        OWN(meta) *meta = keys_toy(cases[i].pre);
        keys_token(meta, "QZX", 1);
        if (cases[i].said >= 0)
            keys_bool(meta, "tokenizer.ggml.ignore_merges", cases[i].said);
        OWN(vocab) *vocab = open_vocab(meta);
        assert_tokens(vocab, "QZX\n", 0, cases[i].whole ? "QZX|\n" : "Q|Z|X|\n");
        assert_tokens(vocab, "QZXX", 0, "Q|Z|X|X");
        assert_tokens(vocab, "QZ", 0, "Q|Z");
        assert_tokens(vocab, "ü", 0, "ü"); /* added tokens come before pieces */
    }
}

/* ---- what a file may say */

/* Whatever the file calls its eos: every marker that ends an answer in these families. */
static void test_ends(void **state)
{
    (void)state;
    static const char *const ends[] = {"<|im_end|>",    "[EOS]",    "[EOT]",
                                       "<|endoftext|>", "<|user|>", "<|observation|>"};
    static const char *const others[] = {"<|im_user|>", "<|assistant|>", "<|system|>", "[BOS]",
                                         "[PAD]",       "<sop>",         "[gMASK]"};
    OWN(meta) *meta = keys_toy("deepseek-v3");
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        keys_token(meta, ends[i], i % 2 ? 3 : 4);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        keys_token(meta, others[i], 3);
    OWN(vocab) *vocab = open_vocab(meta);
    for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
        assert_true(vocab_is_end(vocab, vocab_find(vocab, ends[i])));
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_false(vocab_is_end(vocab, vocab_find(vocab, others[i])));
    for (int32_t id = 0; id < KEYS_TOY_BYTES; id++)
        assert_false(vocab_is_end(vocab, id));
}

static void test_properties(void **state)
{
    (void)state;
    OWN(meta) *meta = keys_toy("joyai-llm");
    OWN(vocab) *vocab = open_vocab(meta);
    assert_string_equal(vocab_pre(vocab), "joyai-llm");
    assert_int_equal(vocab_bos(vocab), vocab_find(vocab, "<｜begin▁of▁sentence｜>"));
    assert_int_equal(vocab_eos(vocab), vocab_find(vocab, "<｜end▁of▁sentence｜>"));
    assert_true(vocab_add_bos(vocab)); /* where the file does not say */
    assert_true(vocab_is_end(vocab, vocab_eos(vocab)));
    assert_true(vocab_is_end(vocab, vocab_find(vocab, "<|EOT|>")));
    assert_false(vocab_is_end(vocab, vocab_bos(vocab)));
    assert_false(vocab_is_end(vocab, -1));
    assert_false(vocab_is_special(vocab, vocab_size(vocab)));
    size_t bytes = 7;
    vocab_bytes(vocab, vocab_size(vocab), &bytes);
    assert_int_equal(bytes, 0);
    vocab_bytes(vocab, -1, &bytes);
    assert_int_equal(bytes, 0);
    assert_int_equal(vocab_max_bytes(vocab), strlen("<｜tool▁outputs▁begin｜>"));

    keys_bool(meta, "tokenizer.ggml.add_bos_token", false);
    keys_u32(meta, "tokenizer.ggml.eot_token_id", (uint32_t)vocab_find(vocab, "<｜tool▁sep｜>"));
    keys_token(meta, "<|im_end|>", 4);
    keys_token(meta, "[EOS]", 3);
    OWN(vocab) *other = open_vocab(meta);
    assert_false(vocab_add_bos(other));
    assert_true(vocab_is_end(other, vocab_find(other, "<｜tool▁sep｜>")));
    assert_true(vocab_is_end(other, vocab_find(other, "<|im_end|>")));
    assert_true(vocab_is_special(other, vocab_find(other, "[EOS]")));

    keys_drop(meta, "tokenizer.ggml.bos_token_id");
    keys_drop(meta, "tokenizer.ggml.add_bos_token");
    OWN(vocab) *bare = open_vocab(meta);
    assert_int_equal(vocab_bos(bare), -1);
    assert_false(vocab_add_bos(bare));
}

static void refuse(const struct meta *meta, int code, const char *words)
{
    struct vocab *vocab = NULL;
    struct err err = {0};
    assert_int_equal(vocab_open(meta, &vocab, &err), code);
    assert_null(vocab);
    assert_int_equal(utf8_valid(err.text, strlen(err.text)), strlen(err.text));
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
}

#define BROKEN(change, code, words)                                                                \
    do {                                                                                           \
        OWN(meta) *meta = keys_toy("deepseek-v3");                                                 \
        change;                                                                                    \
        refuse(meta, code, words);                                                                 \
    } while (0)

#define WIDE "中中中中中中中中中中中中中中中中中中中中中中"

static void test_broken(void **state)
{
    (void)state;
    char longest[5000];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;

    BROKEN(keys_str(meta, "tokenizer.ggml.model", "llama"), -ENOTSUP, "'llama'");
    BROKEN(keys_drop(meta, "tokenizer.ggml.model"), -EINVAL, "tokenizer.ggml.model");
    BROKEN(keys_str(meta, "tokenizer.ggml.pre", "qwen2"), -ENOTSUP, "'qwen2'");
    BROKEN(keys_drop(meta, "tokenizer.ggml.pre"), -ENOTSUP, "tokenizer.ggml.pre");
    BROKEN(keys_u32(meta, "tokenizer.ggml.pre", 1), -EINVAL, "tokenizer.ggml.pre");
    BROKEN(keys_drop(meta, TOKENS), -EINVAL, TOKENS);
    BROKEN(keys_u32(meta, TOKENS, 5), -EINVAL, TOKENS);
    BROKEN(keys_drop(meta, TYPES), -EINVAL, TYPES);
    BROKEN(keys_push_i32(meta, TYPES, 1), -EINVAL, TYPES " has 299 entries, expected 298");
    BROKEN(keys_push(meta, TOKENS, "x"), -EINVAL, TYPES " has 298 entries, expected 299");
    BROKEN(keys_set_i32(meta, TYPES, 9, 6), -EINVAL, "[9] is 6");
    BROKEN(keys_set_i32(meta, TYPES, 9, 0), -EINVAL, "[9] is 0");
    BROKEN(keys_set_i32(meta, TYPES, 9, -1), -EINVAL, "[9] is -1");
    BROKEN(keys_set(meta, TOKENS, 260, ""), -EINVAL, "[260] has 0 bytes");
    BROKEN(keys_set(meta, TOKENS, 260, longest), -EINVAL, "[260] has 4999 bytes");
    BROKEN(keys_token(meta, longest, 4), -EINVAL, "expected 1 to 1024");
    BROKEN(keys_set(meta, TOKENS, 260, "a b"), -EINVAL, "[260] 'a b' has a character outside");
    BROKEN(keys_set(meta, TOKENS, 260, "中"), -EINVAL, "outside the alphabet");
    BROKEN(keys_set(meta, TOKENS, 260, "\xC5\x84"), -EINVAL, "outside"); /* U+0144 */
    BROKEN(keys_set(meta, TOKENS, 260, "\xC2\xAD"), -EINVAL, "outside"); /* the soft hyphen */
    BROKEN(keys_set(meta, TOKENS, 260, WIDE), -EINVAL, "outside the alphabet"); /* quoted whole */
    BROKEN(keys_push(meta, MERGES, WIDE " a"), -EINVAL, "outside the alphabet");
    BROKEN((keys_token(meta, WIDE, 4), keys_token(meta, WIDE, 4)), -EINVAL, "are both");
    BROKEN(keys_str(meta, "tokenizer.ggml.pre", WIDE), -ENOTSUP, "joyai-llm");
    BROKEN(keys_token(meta, "the", 1), -EINVAL, "spelled the same");
    BROKEN(keys_token(meta, "<think>", 4), -EINVAL, "are both '<think>'");
    BROKEN(keys_set(meta, TOKENS, 'q', "qqq"), -EINVAL, "no token for the byte 0x71");
    BROKEN(keys_drop(meta, MERGES), -EINVAL, MERGES);
    BROKEN(keys_push(meta, MERGES, "ab"), -EINVAL, "'ab': expected two");
    BROKEN(keys_push(meta, MERGES, " b"), -EINVAL, "expected two");
    BROKEN(keys_push(meta, MERGES, "a "), -EINVAL, "expected two");
    BROKEN(keys_push(meta, MERGES, "a b c"), -EINVAL, "expected two");
    BROKEN(keys_push(meta, MERGES, ""), -EINVAL, "expected two");
    BROKEN(keys_push(meta, MERGES, longest), -EINVAL, "expected two");
    BROKEN(keys_push(meta, MERGES, "a 中"), -EINVAL, "outside the alphabet");
    BROKEN(keys_push(meta, MERGES, "h e"), -EINVAL, "repeats merge 1");
    BROKEN(keys_push(meta, MERGES, "qq r"), -EINVAL, "left part");
    BROKEN(keys_push(meta, MERGES, "q rr"), -EINVAL, "right part");
    BROKEN(keys_push(meta, MERGES, "q r"), -EINVAL, "result");
    /* A merge that would lead content to a control token. */
    BROKEN((keys_token(meta, "<q", 3), keys_push(meta, MERGES, "< q")), -EINVAL, "result");
    BROKEN(keys_u32(meta, "tokenizer.ggml.bos_token_id", 298), -EINVAL, "expected less than 298");
    BROKEN(keys_u32(meta, "tokenizer.ggml.eos_token_id", UINT32_MAX), -EINVAL, "expected less");
    BROKEN(keys_u32(meta, "tokenizer.ggml.eos_token_id", 5), -EINVAL, "ordinary token");
    BROKEN(keys_u32(meta, "tokenizer.ggml.eot_token_id", 297), -EINVAL, "unused token");
    BROKEN(keys_str(meta, "tokenizer.ggml.bos_token_id", "x"), -EINVAL, "bos_token_id");
    BROKEN((keys_bool(meta, "tokenizer.ggml.add_bos_token", true),
            keys_drop(meta, "tokenizer.ggml.bos_token_id")),
           -EINVAL, "add_bos_token is true");
}

static void test_ids(void **state)
{
    (void)state;
    struct ids ids = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(ids_push(&ids, i), 0);
    int32_t more[300] = {[299] = 5};
    assert_int_equal(ids_append(&ids, more, 300), 0);
    assert_int_equal(ids_append(&ids, NULL, 0), 0);
    assert_int_equal(ids.n, 1300);
    assert_int_equal(ids.id[999], 999);
    assert_int_equal(ids.id[1299], 5);
    assert_int_equal(ids_append(&ids, more, SIZE_MAX / 2), -ENOMEM);
    assert_int_equal(ids.n, 1300);
    ids_fini(&ids);
    ids_fini(&ids);
    vocab_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_order),
        cmocka_unit_test(test_merges_against_the_definition),
        cmocka_unit_test(test_long_piece),
        cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_byte_without_token),
        cmocka_unit_test(test_added),
        cmocka_unit_test(test_unused),
        cmocka_unit_test(test_content_is_never_special),
        cmocka_unit_test(test_whole_pieces),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
