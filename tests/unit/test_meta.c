/* SPDX-License-Identifier: MIT
 *
 * Metadata: each getter on each type, at the bounds of what fits, and the texts for `show`.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "image.h"

static struct format *file;
static const struct meta *meta;

static void put_f32(struct image *im, float v)
{
    uint32_t raw;
    memcpy(&raw, &v, sizeof raw);
    image_u32(im, raw);
}

static void put_f64(struct image *im, double v)
{
    uint64_t raw;
    memcpy(&raw, &v, sizeof raw);
    image_u64(im, raw);
}

static int open_file(void **state)
{
    (void)state;
    struct image im = image_new(3, 0, 28);
    image_key(&im, "u8", V_U8), image_u8(&im, 200);
    image_key(&im, "i8", V_I8), image_u8(&im, (uint8_t)-3);
    image_key(&im, "u16", V_U16), image_u16(&im, 65535);
    image_key(&im, "i16", V_I16), image_u16(&im, 300);
    image_key(&im, "u32", V_U32), image_u32(&im, UINT32_MAX);
    image_key(&im, "i32", V_I32), image_u32(&im, (uint32_t)-1);
    image_key(&im, "u64", V_U64), image_u64(&im, UINT32_MAX);
    image_key(&im, "u64.big", V_U64), image_u64(&im, (uint64_t)UINT32_MAX + 1);
    image_key(&im, "i64", V_I64), image_u64(&im, 7);
    image_key(&im, "i64.least", V_I64), image_u64(&im, 1ull << 63);
    image_key(&im, "f32", V_F32), put_f32(&im, 1.5f);
    image_key(&im, "f64", V_F64), put_f64(&im, -2.25);
    image_key(&im, "f64.big", V_F64), put_f64(&im, 1e300);
    image_key(&im, "nan", V_F32), image_u32(&im, 0x7fc00000);
    image_key(&im, "inf", V_F64), put_f64(&im, 1e300 * 1e300);
    image_key(&im, "true", V_BOOL), image_u8(&im, 1);
    image_key(&im, "false", V_BOOL), image_u8(&im, 0);
    image_str_key(&im, "str", "Füchse");
    image_str_key(&im, "str.empty", "");
    image_array_key(&im, "strs", V_STR, 5);
    image_text(&im, "a", 1), image_text(&im, "", 0), image_text(&im, "b\0c", 3);
    image_text(&im, "ü", 2), image_text(&im, "last", 4);
    image_array_key(&im, "i32s", V_I32, 3);
    image_u32(&im, 1), image_u32(&im, (uint32_t)-1), image_u32(&im, 0x7fffffff);
    image_array_key(&im, "u8s", V_U8, 2);
    image_u8(&im, 255), image_u8(&im, 0);
    image_array_key(&im, "u32s.big", V_U32, 2);
    image_u32(&im, 1), image_u32(&im, 0x80000000);
    image_array_key(&im, "none", V_I32, 0);
    image_array_key(&im, "f32s", V_F32, 2);
    put_f32(&im, 1), put_f32(&im, 2);
    image_array_key(&im, "nested", V_ARRAY, 1);
    image_u32(&im, V_U8), image_u64(&im, 1), image_u8(&im, 9);
    image_key(&im, "i8.zero", V_I8), image_u8(&im, 0);
    char text[400];
    for (int i = 0; i < 198; i++)
        text[i] = 'l';
    strcpy(text + 198, "üüü"); /* the cut at 200 bytes falls behind the first, not into it */
    image_str_key(&im, "str.long", text);
    struct err err;
    if (image_open(&im, &file, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    meta = format_meta(file);
    return 0;
}

static int close_file(void **state)
{
    (void)state;
    format_close(file);
    return 0;
}

static const char *const all[] = {
    "u8",      "i8",       "u16",       "i16",  "u32",       "i32",     "u64",
    "u64.big", "i64",      "i64.least", "f32",  "f64",       "f64.big", "nan",
    "inf",     "true",     "false",     "str",  "str.empty", "strs",    "i32s",
    "u8s",     "u32s.big", "none",      "f32s", "nested",    "i8.zero", "str.long",
};
enum { N_ALL = sizeof all / sizeof *all };

static bool is_one_of(const char *key, const char *const *keys)
{
    for (; *keys; keys++)
        if (!strcmp(key, *keys))
            return true;
    return false;
}

/* Of all keys, exactly `good` satisfy the getter; the others are refused in words. */
static void only(int (*get)(const char *key, struct err *err), const char *const *good)
{
    for (int i = 0; i < N_ALL; i++) {
        struct err err = {0};
        int r = get(all[i], &err);
        if (is_one_of(all[i], good)) {
            if (r != 0)
                fail_msg("%s: %s", all[i], err.text);
            continue;
        }
        assert_int_equal(r, -EINVAL);
        assert_int_equal(err.code, -EINVAL);
        assert_non_null(strstr(err.text, all[i]));
        assert_non_null(strstr(err.text, "found"));
    }
    struct err err = {0};
    assert_int_equal(get("absent", &err), -ENOENT);
    assert_int_equal(err.code, 0);
}
#define ONLY(get, ...) only(get, (const char *const[]){__VA_ARGS__, NULL})

static int get_u32(const char *key, struct err *err)
{
    uint32_t v = 77;
    int r = meta_u32(meta, key, &v, err);
    if (r < 0)
        assert_int_equal(v, 77);
    return r;
}

static int get_f32(const char *key, struct err *err)
{
    float v;
    return meta_f32(meta, key, &v, err);
}

static int get_bool(const char *key, struct err *err)
{
    bool v;
    return meta_bool(meta, key, &v, err);
}

static int get_str(const char *key, struct err *err)
{
    const char *v;
    return meta_str(meta, key, &v, NULL, err);
}

static int get_strs(const char *key, struct err *err)
{
    uint64_t n;
    return meta_str_array(meta, key, &n, err);
}

static int get_ints(const char *key, struct err *err)
{
    const int32_t *v;
    uint64_t n;
    return meta_i32_array(meta, key, &v, &n, err);
}

static void test_getters_take_their_types_only(void **state)
{
    (void)state;
    ONLY(get_u32, "u8", "u16", "i16", "u32", "u64", "i64", "i8.zero");
    ONLY(get_f32, "f32", "f64");
    ONLY(get_bool, "true", "false");
    ONLY(get_str, "str", "str.empty", "str.long");
    ONLY(get_strs, "strs");
    ONLY(get_ints, "i32s", "u8s", "none");
}

static void test_values(void **state)
{
    (void)state;
    uint32_t u;
    float f;
    bool b;
    const char *s;
    size_t bytes;
    assert_int_equal(meta_u32(meta, "u8", &u, NULL), 0);
    assert_int_equal(u, 200);
    assert_int_equal(meta_u32(meta, "u32", &u, NULL), 0);
    assert_int_equal(u, UINT32_MAX);
    assert_int_equal(meta_u32(meta, "u64", &u, NULL), 0);
    assert_int_equal(u, UINT32_MAX);
    assert_int_equal(meta_u32(meta, "i16", &u, NULL), 0);
    assert_int_equal(u, 300);
    assert_int_equal(meta_f32(meta, "f64", &f, NULL), 0);
    assert_true(f == -2.25f);
    assert_int_equal(meta_bool(meta, "true", &b, NULL), 0);
    assert_true(b);
    assert_int_equal(meta_bool(meta, "false", &b, NULL), 0);
    assert_false(b);
    assert_int_equal(meta_str(meta, "str", &s, &bytes, NULL), 0);
    assert_string_equal(s, "Füchse");
    assert_int_equal(bytes, 7);
    assert_true(meta_has(meta, "nested"));
    assert_false(meta_has(meta, "neste"));
    assert_int_equal(strncmp(meta_path(meta), "/proc/self/fd/", 14), 0);
}

static void test_arrays(void **state)
{
    (void)state;
    uint64_t n;
    size_t bytes;
    const int32_t *v;
    assert_int_equal(meta_str_array(meta, "strs", &n, NULL), 0);
    assert_int_equal(n, 5);
    assert_string_equal(meta_str_at(meta, "strs", 0, &bytes), "a");
    assert_string_equal(meta_str_at(meta, "strs", 1, &bytes), "");
    assert_int_equal(bytes, 0);
    assert_memory_equal(meta_str_at(meta, "strs", 2, &bytes), "b\0c", 4);
    assert_int_equal(bytes, 3);
    assert_string_equal(meta_str_at(meta, "strs", 4, NULL), "last");
    assert_null(meta_str_at(meta, "strs", 5, NULL));
    assert_null(meta_str_at(meta, "i32s", 0, NULL));
    assert_null(meta_str_at(meta, "absent", 0, NULL));
    assert_int_equal(meta_i32_array(meta, "i32s", &v, &n, NULL), 0);
    assert_int_equal(n, 3);
    assert_int_equal(v[1], -1);
    assert_int_equal(v[2], INT32_MAX);
    assert_int_equal(meta_i32_array(meta, "u8s", &v, &n, NULL), 0);
    assert_int_equal(v[0], 255);
    assert_int_equal(meta_i32_array(meta, "none", &v, &n, NULL), 0);
    assert_int_equal(n, 0);
}

/* A narrow array grows fourfold when it is kept; beyond 8 MiB of that it is only counted. */
static void test_narrow_arrays_are_bounded(void **state)
{
    (void)state;
    enum { N = 2 << 20 };
    struct image im = image_new(3, 0, 2);
    image_array_key(&im, "fits", V_U8, N);
    image_zeros(&im, N);
    image_array_key(&im, "more", V_U8, 1);
    image_u8(&im, 5);
    struct err err;
    struct format *format = NULL;
    assert_int_equal(image_open(&im, &format, NULL, &err), 0);
    const int32_t *v;
    uint64_t n;
    assert_int_equal(meta_i32_array(format_meta(format), "fits", &v, &n, &err), 0);
    assert_int_equal(n, N);
    assert_int_equal(meta_i32_array(format_meta(format), "more", &v, &n, &err), -EINVAL);
    assert_non_null(strstr(err.text, "key 'more'"));
    format_close(format);
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const expected[N_ALL] = {
        "200",
        "-3",
        "65535",
        "300",
        "4294967295",
        "-1",
        "4294967295",
        "4294967296",
        "7",
        "-9223372036854775808",
        "1.5",
        "-2.25",
        "1e+300",
        "nan",
        "inf",
        "true",
        "false",
        "Füchse",
        "",
        "[5] string: a, , b c, ü, …",
        "[3] i32: 1, -1, 2147483647",
        "[2] u8: 255, 0",
        "[2] u32",
        "[0] i32",
        "[2] f32",
        "[1] array",
        "0",
        NULL,
    };
    assert_int_equal(meta_n_keys(meta), N_ALL);
    for (int i = 0; i < N_ALL; i++) {
        char text[100];
        assert_string_equal(meta_key(meta, i), all[i]);
        size_t n = meta_text(meta, i, text, sizeof text);
        assert_int_equal(n, strlen(text));
        if (expected[i])
            assert_string_equal(text, expected[i]);
    }
    char wide[500];
    assert_int_equal(meta_text(meta, N_ALL - 1, wide, sizeof wide), 203);
    assert_string_equal(wide + 197, "lü…");
    assert_int_equal(meta_text(meta, N_ALL - 1, wide, 399), 201); /* at most half of it: 199 */
    assert_string_equal(wide + 197, "l…");
    assert_null(meta_key(meta, -1));
    assert_null(meta_key(meta, N_ALL));
    char text[8] = "x";
    assert_int_equal(meta_text(meta, N_ALL, text, sizeof text), 0);
    assert_int_equal(meta_text(meta, 0, text, 0), 0);
    for (size_t size = 1; size < 40; size++) /* never past the end, never half a character */
        for (int i = 0; i < N_ALL; i++) {
            char small[40];
            memset(small, 'x', sizeof small);
            size_t n = meta_text(meta, i, small, size);
            assert_true(n < size);
            assert_int_equal(small[n], '\0');
            for (size_t k = size; k < sizeof small; k++)
                assert_int_equal(small[k], 'x');
            assert_true(n == 0 || (unsigned char)small[n - 1] != 0xc3);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getters_take_their_types_only),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_narrow_arrays_are_bounded),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, open_file, close_file);
}
