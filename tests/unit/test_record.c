/* SPDX-License-Identifier: MIT
 *
 * A session as bytes: what was packed comes back, and whatever else is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "service/record.h"
#include "sessions.h"

static uint8_t *bytes;
static size_t n_bytes;

static int setup(void **state)
{
    (void)state;
    struct record record;
    fixture_record(&record, 7, 3);
    assert_int_equal(record_pack(&record, &bytes, &n_bytes), 0);
    record_fini(&record);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(bytes);
    return 0;
}

static int parse(const uint8_t *data, size_t n)
{
    struct record record = {0};
    struct err err = {0};
    int r = record_parse(data, n, &record, &err);
    assert_true(r == 0 || *err.text);
    if (r < 0)
        assert_int_equal(record.transcript.n, 0);
    for (int i = 0; i < record.transcript.n; i++)
        assert_in_range(record.transcript.line[i]->kind, 0, N_LINE_KINDS - 1);
    record_fini(&record);
    return r;
}

static void test_comes_back(void **state)
{
    (void)state;
    struct record was, is;
    fixture_record(&was, 7, 3);
    assert_int_equal(record_parse(bytes, n_bytes, &is, NULL), 0);
    fixture_assert_same(&was, &is);
    assert_int_equal(is.transcript.bytes, was.transcript.bytes);
    record_fini(&was);
    record_fini(&is);
    struct record empty = {.id = 1};
    uint8_t *data;
    size_t n;
    assert_int_equal(record_pack(&empty, &data, &n), 0);
    assert_int_equal(parse(data, n), 0);
    free(data);
}

static void test_any_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_bytes * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_true(parse(bytes, n_bytes) < 0);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    assert_int_equal(parse(bytes, n_bytes), 0);
}

static void test_any_length(void **state)
{
    (void)state;
    for (size_t n = 0; n < n_bytes; n++) {
        uint8_t *cut = malloc(n + 1); /* so that a sanitizer sees its end */
        memcpy(cut, bytes, n);
        assert_true(parse(cut, n) < 0);
        free(cut);
    }
    uint8_t *more = malloc(n_bytes + 1);
    memcpy(more, bytes, n_bytes);
    more[n_bytes] = 0;
    assert_int_equal(parse(more, n_bytes + 1), -EBADMSG);
    free(more);
}

static void sign(void)
{
    XXH128_hash_t sum = XXH3_128bits(bytes, n_bytes - sizeof sum);
    memcpy(bytes + n_bytes - sizeof sum, &sum, sizeof sum);
}

/* Liars whose sum is right: every number of the head and the lines, with values that wrap. */
static void test_any_lie(void **state)
{
    (void)state;
    uint8_t *honest = malloc(n_bytes);
    memcpy(honest, bytes, n_bytes);
    static const uint64_t lies[] = {0, 1, 63, 64, 255, 256, UINT32_MAX, UINT64_MAX, UINT64_MAX - 7};
    int n_taken = 0;
    for (size_t at = 12; at + 8 + 16 < n_bytes; at++)
        for (size_t i = 0; i < 2 * sizeof lies / sizeof lies[0]; i++) {
            memcpy(bytes + at, &lies[i / 2], i % 2 ? 8 : 4);
            sign();
            n_taken += parse(bytes, n_bytes) == 0; /* an id or a time is as good as another */
            memcpy(bytes, honest, n_bytes);
        }
    assert_true(n_taken > 0);
    free(honest);
    assert_int_equal(parse(bytes, n_bytes), 0);
}

static void test_foreign(void **state)
{
    (void)state;
    bytes[0] ^= 1;
    sign();
    assert_int_equal(parse(bytes, n_bytes), -ESTALE);
    bytes[0] ^= 1;
    bytes[8]++; /* the version */
    sign();
    assert_int_equal(parse(bytes, n_bytes), -ESTALE);
}

/* As it was packed before sessions were pinned and parked. */
static void test_first_version(void **state)
{
    (void)state;
    enum { HEAD = 80, MORE = 16 };
    struct record was, is;
    fixture_record(&was, 7, 3);
    was.is_pinned = false;
    memmove(bytes + HEAD, bytes + HEAD + MORE, n_bytes - HEAD - MORE);
    n_bytes -= MORE;
    uint64_t n = n_bytes;
    memcpy(bytes + 16, &n, sizeof n);
    bytes[8] = 1;
    sign();
    assert_int_equal(record_parse(bytes, n_bytes, &is, NULL), 0);
    fixture_assert_same(&was, &is);
    record_fini(&was);
    record_fini(&is);
    test_any_bit(state);
    test_any_length(state);
    bytes[8] = 0;
    sign();
    assert_int_equal(parse(bytes, n_bytes), -ESTALE);
}

static void test_names(void **state)
{
    (void)state;
    char name[80];
    uint64_t id;
    assert_true(record_is_name("the fox"));
    assert_true(record_is_name("\xe2\x82\xac"));
    assert_false(record_is_name(""));
    assert_false(record_is_name("a\tb"));
    assert_false(record_is_name("a\x7f"));
    assert_false(record_is_name("\xff"));
    assert_false(record_is_name("0123456789abcdef"));
    assert_true(record_is_name("0123456789abcdeF"));
    memset(name, 'a', sizeof name);
    name[RECORD_MOST_NAME] = '\0';
    assert_true(record_is_name(name));
    name[RECORD_MOST_NAME] = 'a';
    name[RECORD_MOST_NAME + 1] = '\0';
    assert_false(record_is_name(name));
    assert_true(record_is_id("00000000000000ff", &id));
    assert_int_equal(id, 255);
    assert_false(record_is_id("00000000000000f", &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_lie, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_version, setup, teardown),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
