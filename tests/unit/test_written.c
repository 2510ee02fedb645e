/* SPDX-License-Identifier: MIT
 *
 * chat: an answer that comes with the ids it was written with is replayed by them, in every family,
 * so that a prompt begins as the one before it and its answer; and only where they spell it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "families.h"
#include "text/token.h"

static struct vocab *vocab;
static const struct chat_options options = {.add_generation_prompt = true};

static int open_vocab(void **state)
{
    (void)state;
    OWN(meta) *meta = families_toy(true);
    return vocab_open(meta, &vocab, NULL);
}

static int close_vocab(void **state)
{
    (void)state;
    vocab_close(vocab);
    return 0;
}

/* A token a byte: not what an encoder would choose. */
static struct ids spell(const char *text)
{
    struct ids ids = {0};
    for (; *text; text++)
        assert_int_equal(vocab_encode(vocab, text, 1, 0, &ids, NULL), 0);
    return ids;
}

static struct ids render(const struct chat_family *family, const struct chat_message *messages,
                         int n)
{
    struct ids ids = {0};
    struct err err = {0};
    if (family->render(vocab, messages, n, &options, &ids, &err) < 0)
        fail_msg("%s: %s", family->name, err.text);
    return ids;
}

static char *text_of(const struct ids *ids)
{
    char *text = calloc(ids->n + 1, 64);
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const char *bytes = vocab_bytes(vocab, ids->id[i], &n);
        strncat(text, bytes, n);
    }
    return text;
}

#define TALK(name, with_ids, with_n)                                                               \
    const struct chat_message name[] = {                                                           \
        {.role = CHAT_USER, .content = "Say hello", .bytes = 9},                                   \
        {.role = CHAT_ASSISTANT,                                                                   \
         .content = "hello there",                                                                 \
         .bytes = 11,                                                                              \
         .written = with_ids,                                                                      \
         .n_written = (int)(with_n)},                                                              \
        {.role = CHAT_USER, .content = "hello there", .bytes = 11},                                \
    }

static void test_begins_as_it_was_written(void **state)
{
    (void)state;
    for (int i = 0; chat_table[i]; i++) {
        const struct chat_family *family = chat_table[i];
        struct ids written = spell(family->trims_space ? " hello there" : "hello there");
        TALK(talk, written.id, written.n);
        TALK(plain, NULL, 0);
        struct ids before = render(family, talk, 1), all = render(family, talk, 3);
        struct ids without = render(family, plain, 3);
        assert_true(all.n > without.n); /* the user's own words are as ever */
        assert_true(all.n < without.n + 11);
        char *a = text_of(&all), *b = text_of(&without);
        assert_string_equal(a, b);
        if (!family->opens_thinking(&options)) { /* which is not replayed */
            assert_int_equal(ids_append(&before, written.id, written.n), 0);
            assert_true(before.n < all.n);
            assert_memory_equal(all.id, before.id, before.n * sizeof *all.id);
        }
        free(a);
        free(b);
        ids_fini(&before);
        ids_fini(&all);
        ids_fini(&without);
        ids_fini(&written);
    }
}

static void assert_refused(const struct ids *written)
{
    for (int i = 0; chat_table[i]; i++) {
        TALK(talk, written->id, written->n);
        TALK(plain, NULL, 0);
        struct ids all = render(chat_table[i], talk, 3), without = render(chat_table[i], plain, 3);
        assert_int_equal(all.n, without.n);
        assert_memory_equal(all.id, without.id, all.n * sizeof *all.id);
        ids_fini(&all);
        ids_fini(&without);
    }
}

/* Ids are a client's word for what it said: they never bring in what the text has not. */
static void test_ids_that_say_something_else(void **state)
{
    (void)state;
    struct ids ids = spell("hello there!");
    assert_refused(&ids);
    ids_fini(&ids);
    ids = spell("Hello there");
    assert_refused(&ids);
    ids.id[0] = -1;
    ids.id[1] = vocab_size(vocab);
    ids.n = 2;
    assert_refused(&ids);
    ids_fini(&ids);
    ids = (struct ids){0};
    assert_int_equal(
        vocab_encode(vocab, "<｜User｜>", strlen("<｜User｜>"), VOCAB_SPECIAL, &ids, NULL), 0);
    assert_int_equal(ids.n, 1);
    assert_refused(&ids);
    ids_fini(&ids);
}

static void test_a_marker_in_letters(void **state)
{
    (void)state;
    const struct chat_family *family = chat_by_name("deepseek-v3");
    int32_t marker = vocab_find(vocab, "<｜User｜>");
    const struct chat_message talk[] = {
        {.role = CHAT_USER, .content = "a", .bytes = 1},
        {.role = CHAT_ASSISTANT,
         .content = "<｜User｜>",
         .bytes = strlen("<｜User｜>"),
         .written = &marker,
         .n_written = 1},
    };
    struct ids ids = render(family, talk, 2);
    int n = 0;
    for (size_t i = 0; i < ids.n; i++)
        n += ids.id[i] == marker;
    assert_int_equal(n, 1); /* the turn's own */
    ids_fini(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_as_it_was_written),
        cmocka_unit_test(test_ids_that_say_something_else),
        cmocka_unit_test(test_a_marker_in_letters),
    };
    return cmocka_run_group_tests(tests, open_vocab, close_vocab);
}
