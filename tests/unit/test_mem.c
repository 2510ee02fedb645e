/* SPDX-License-Identifier: MIT
 *
 * Blocks from the kernel, and what is told of their pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "place/mem.h"

static bool transparent_is(const char *word)
{
    char line[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    bool is = file && fgets(line, sizeof line, file) && strstr(line, word);
    if (file)
        fclose(file);
    return is;
}

static void blocks_of_any_size_come_and_go(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4096, (16 << 20) - 1, 16 << 20, (16 << 20) + 1, 33333333};
    int (*const alloc[])(size_t, void **) = {mem_alloc, mem_alloc_long, mem_reserve};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int how = 0; how < 3; how++) {
            void *mem;
            assert_int_equal(alloc[how](sizes[i], &mem), 0);
            if (sizes[i] > 0) {
                char *c = mem;
                assert_int_equal(c[0] + c[sizes[i] - 1], 0);
                c[0] = c[sizes[i] - 1] = 1;
            }
            mem_free(mem, sizes[i]);
        }
    mem_free(NULL, 5);
    void *mem;
    assert_int_equal(mem_alloc((size_t)1 << 62, &mem), -ENOMEM);
    assert_int_equal(mem_alloc(SIZE_MAX, &mem), -ENOMEM);
}

static void what_is_touched_is_seen(void **state)
{
    (void)state;
    enum { BYTES = 64 << 20 };
    void *mem;
    struct mem_look look;
    char words[256];
    assert_int_equal(mem_alloc(BYTES, &mem), 0);
    mem_look(mem, BYTES, &look);
    assert_in_range(look.touched, 0, 4 << 20); /* of a neighbour, perhaps */
    memset(mem, 1, BYTES);
    mem_look(mem, BYTES, &look);
    mem_describe(&look, words, sizeof words);
    print_message("%s\n", words);
    assert_in_range(look.touched, BYTES, BYTES + (4 << 20));
    assert_int_equal(look.bytes, BYTES);
    assert_false(look.is_set_aside);
    if (transparent_is("[madvise]") || transparent_is("[always]"))
        assert_true(look.is_asked);
    if (transparent_is("[never]"))
        assert_int_equal(look.huge, 0);
    mem_free(mem, BYTES);
    mem_look(mem, BYTES, &look);
    assert_int_equal(look.touched, 0);
}

/* Only where an administrator set some aside. */
static void set_aside_pages_come_first(void **state)
{
    (void)state;
    enum { BYTES = (16 << 20) + 5 };
    uint64_t before = mem_set_aside();
    if (before < 18 << 20)
        skip();
    void *mem;
    struct mem_look look;
    char words[256];
    assert_int_equal(mem_alloc_long(BYTES, &mem), 0);
    assert_int_equal(mem_set_aside(), before - (18 << 20)); /* promised, all of them */
    memset(mem, 1, BYTES);
    mem_look(mem, BYTES, &look);
    assert_true(look.is_set_aside);
    assert_int_equal(look.huge, 18 << 20);
    mem_describe(&look, words, sizeof words);
    assert_string_equal(words, "16.8 MB in huge pages that were set aside (vm.nr_hugepages)");
    mem_free(mem, BYTES);
    assert_int_equal(mem_set_aside(), before);
    assert_int_equal(mem_alloc_long((size_t)before + 1, &mem), 0); /* all or none */
    mem_look(mem, (size_t)before + 1, &look);
    assert_false(look.is_set_aside);
    mem_free(mem, (size_t)before + 1);
}

static void words_say_what_it_is(void **state)
{
    (void)state;
    char words[256];
    mem_describe(&(struct mem_look){.bytes = 9900000, .touched = 9900000}, words, sizeof words);
    assert_string_equal(words, "9.9 MB in small pages: too little for huge ones");
    if (transparent_is("[never]"))
        skip();
    struct mem_look look = {.bytes = 20000000000, .touched = 20000000000, .huge = 19900000000};
    mem_describe(&look, words, sizeof words);
    assert_string_equal(words, "20.0 GB, 100 % in transparent huge pages");
    look.huge = 5000000000;
    mem_describe(&look, words, sizeof words);
    assert_string_equal(words, "20.0 GB, 25 % in transparent huge pages: the kernel found no more, "
                               "memory is in pieces");
    look.touched = look.huge = 0;
    mem_describe(&look, words, sizeof words);
    assert_string_equal(words, "20.0 GB, will ask for transparent huge pages");
    mem_describe(&look, words, 4);
    assert_string_equal(words, "20.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_any_size_come_and_go),
        cmocka_unit_test(what_is_touched_is_seen),
        cmocka_unit_test(set_aside_pages_come_first),
        cmocka_unit_test(words_say_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
