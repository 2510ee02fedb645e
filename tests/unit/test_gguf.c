/* SPDX-License-Identifier: MIT
 *
 * GGUF: what a good file gives, and that every lie a file can tell is refused in words that name
 * the place, the value found and the value expected.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "image.h"

#define DIMS(...)                                                                                  \
    (uint64_t[])                                                                                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* Opens, expects the code, and each of the words in the message. */
static void expect(struct image im, int code, const char *const *words)
{
    struct err err;
    struct format *format = NULL;
    int r = image_open(&im, &format, NULL, &err);
    if (r != code)
        fail_msg("found %d \"%s\", expected %d", r, err.text, code);
    assert_int_equal(err.code, code);
    assert_null(format);
    for (; *words; words++)
        if (!strstr(err.text, *words))
            fail_msg("\"%s\" lacks \"%s\"", err.text, *words);
}
#define EXPECT(im, code, ...) expect(im, code, (const char *const[]){__VA_ARGS__, NULL})

static struct format *open_good(struct image im)
{
    struct err err;
    struct format *format = NULL;
    if (image_open(&im, &format, NULL, &err) < 0)
        fail_msg("%s", err.text);
    return format;
}

/* One F32 tensor of 4 x 2 and its data; the tensor's fields to be chosen. */
static struct image one_tensor(const char *name, uint32_t type, uint32_t n_dims,
                               const uint64_t *dims, uint64_t offset)
{
    struct image im = image_new(3, 1, 0);
    image_tensor(&im, name, type, n_dims, dims, offset);
    image_pad(&im, 32);
    image_zeros(&im, 32);
    return im;
}

/* One key and nothing else, with a value of the given bytes. */
static struct image one_key(const char *key, uint32_t type, const void *value, size_t bytes)
{
    struct image im = image_new(3, 0, 1);
    image_key(&im, key, type);
    image_bytes(&im, value, bytes);
    return im;
}

/* ------------------------------------------------------------------ good files */

static void test_empty_file_with_keys_only(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct image im = image_new(version, 0, 1);
        image_str_key(&im, "general.architecture", "deepseek2");
        struct format *format = open_good(im);
        assert_string_equal(format_kind(format), version == 2 ? "GGUF v2" : "GGUF v3");
        assert_int_equal(format_n_tensors(format), 0);
        assert_null(format_tensor(format, 0));
        assert_null(format_find(format, "x"));
        format_close(format);
    }
}

static void test_tensors_in_file_order(void **state)
{
    (void)state;
    struct image im = image_new(3, 3, 1);
    image_u32_key(&im, "general.alignment", 64);
    image_tensor(&im, "z", 0, 1, DIMS(5), 128); /* data in another order than the infos */
    image_tensor(&im, "a", 8, 3, DIMS(32, 1, 1), 64);
    image_tensor(&im, "m", 30, 4, DIMS(2, 2, 2, 2), 0);
    image_pad(&im, 64);
    uint64_t data = im.n;
    for (int i = 0; i < 148; i++)
        image_u8(&im, (uint8_t)i);
    struct format *format = open_good(im);
    assert_int_equal(format_n_tensors(format), 3);
    assert_int_equal(format_file_bytes(format), data + 148);
    const struct tensor *z = format_tensor(format, 0);
    const struct tensor *a = format_tensor(format, 1);
    const struct tensor *m = format_tensor(format, 2);
    assert_string_equal(z->name, "z");
    assert_ptr_equal(format_find(format, "z"), z);
    assert_ptr_equal(format_find(format, "a"), a);
    assert_ptr_equal(format_find(format, "m"), m);
    assert_null(format_find(format, "b"));
    assert_int_equal(z->type, MK_F32);
    assert_int_equal(z->bytes, 20);
    assert_int_equal(z->offset, data + 128);
    assert_int_equal(a->type, MK_Q8_0);
    assert_int_equal(a->bytes, 34);
    assert_int_equal(a->n_dims, 3);
    assert_int_equal(a->dims[3], 1);
    assert_int_equal(m->bytes, 32);
    assert_int_equal(m->part, 0);
    unsigned char two[2];
    assert_int_equal(format_read(format, a, 32, two, 2, NULL), 0);
    assert_int_equal(two[0], 96);
    assert_int_equal(two[1], 97);
    format_close(format);
}

static void test_file_may_end_inside_the_last_padding(void **state)
{
    (void)state;
    struct image im = image_new(3, 1, 0);
    image_tensor(&im, "w", 0, 1, DIMS(1), 0);
    image_pad(&im, 32);
    image_zeros(&im, 4);
    format_close(open_good(im));
}

/* ------------------------------------------------------------------ the head */

static void test_magic_and_version(void **state)
{
    (void)state;
    struct image im = image_new(3, 0, 0);
    im.data[3] = 'X';
    EXPECT(im, -EINVAL, "byte 0", "47 47 55 58", "\"GGUF\"");
    EXPECT(image_new(1, 0, 0), -ENOTSUP, "version 1", "expected 2 or 3");
    EXPECT(image_new(4, 0, 0), -ENOTSUP, "version 4", "expected 2 or 3");
    EXPECT(image_new(0, 0, 0), -EINVAL, "version 0");
    EXPECT(image_new(0x03000000, 0, 0), -ENOTSUP, "big-endian");
}

static void test_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct image whole = image_new(3, 1, 3);
    image_str_key(&whole, "general.name", "cut");
    image_array_key(&whole, "a", V_STR, 2);
    image_text(&whole, "x", 1);
    image_text(&whole, "", 0);
    image_array_key(&whole, "b", V_ARRAY, 1);
    image_u32(&whole, V_I16);
    image_u64(&whole, 2);
    image_u32(&whole, 7);
    image_tensor(&whole, "w", 0, 2, DIMS(4, 2), 0);
    image_pad(&whole, 32);
    image_zeros(&whole, 32);
    for (size_t n = 0; n < whole.n; n++) {
        struct image cut = {0};
        image_bytes(&cut, whole.data, n);
        if (!cut.data)
            cut.data = malloc(1);
        EXPECT(cut, -EINVAL, "'/proc/self/fd/");
    }
    format_close(open_good(whole));
}

static void test_counts_are_bounded_by_the_bytes(void **state)
{
    (void)state;
    static const uint64_t many[] = {1,         3,          UINT32_MAX, UINT64_MAX / 33 + 1,
                                    INT64_MAX, UINT64_MAX, 1ull << 63, UINT64_MAX / 14 + 1};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        struct image im = image_new(3, many[i], 0);
        image_zeros(&im, 13);
        EXPECT(im, -EINVAL, "byte 8", "number of tensors", "at most 0");
        im = image_new(3, 0, many[i]);
        image_zeros(&im, 13);
        EXPECT(im, -EINVAL, "byte 16", "number of keys", "at most 0");
    }
}

static void test_absolute_limits_on_counts(void **state)
{
    (void)state;
    enum { TENSORS = 131072, KEYS = 65536, KEY_BYTES = 65535 };
    struct image im = image_new(3, TENSORS + 1, 0);
    image_zeros(&im, (TENSORS + 1) * 33);
    EXPECT(im, -EINVAL, "131073 tensors", "at most 131072");
    im = image_new(3, 0, KEYS + 1);
    image_zeros(&im, (KEYS + 1) * 14);
    EXPECT(im, -EINVAL, "65537 keys", "at most 65536");

    im = image_new(3, TENSORS, KEYS);
    char name[KEY_BYTES + 1];
    for (int i = 0; i < KEYS - 1; i++) {
        snprintf(name, sizeof name, "%d", i);
        image_key(&im, name, V_U8);
        image_u8(&im, 1);
    }
    memset(name, 'k', KEY_BYTES);
    name[KEY_BYTES] = '\0';
    image_key(&im, name, V_U8);
    image_u8(&im, 1);
    for (int i = 0; i < TENSORS; i++) {
        snprintf(name, sizeof name, "%d", i);
        image_tensor(&im, name, 0, 1, DIMS(8), (uint64_t)i * 32);
    }
    image_pad(&im, 32);
    image_zeros(&im, (size_t)TENSORS * 32);
    struct format *format = open_good(im);
    for (int i = 0; i < TENSORS; i += 1001) {
        snprintf(name, sizeof name, "%d", i);
        assert_ptr_equal(format_find(format, name), format_tensor(format, i));
    }
    format_close(format);
}

/* ------------------------------------------------------------------ keys */

static void test_key_names(void **state)
{
    (void)state;
    EXPECT(one_key("", V_U8, "\0\0", 2), -EINVAL, "key 0", "key of 0 bytes");
    format_close(open_good(one_key(" ~", V_U8, "\0", 1)));
    EXPECT(one_key("a\nb", V_U8, "\0", 1), -EINVAL, "byte 0x0a", "printable ASCII");
    EXPECT(one_key("a\x7f", V_U8, "\0", 1), -EINVAL, "byte 0x7f");
    EXPECT(one_key("\xc3\xa9", V_U8, "\0", 1), -EINVAL, "byte 0xc3");
    struct image im = image_new(3, 0, 1);
    image_text(&im, "a\0b", 3);
    image_u32(&im, V_U8);
    image_u8(&im, 0);
    EXPECT(im, -EINVAL, "byte 0x00");
    im = image_new(3, 0, 1);
    image_u64(&im, 65536);
    image_zeros(&im, 70000);
    EXPECT(im, -EINVAL, "key of 65536 bytes", "1 to 65535");
    im = image_new(3, 0, 1);
    image_u64(&im, UINT64_MAX);
    image_zeros(&im, 64);
    EXPECT(im, -EINVAL, "length of the key is 18446744073709551615", "64 bytes that remain");
}

static void test_duplicate_keys(void **state)
{
    (void)state;
    struct image im = image_new(3, 0, 3);
    image_u32_key(&im, "a.twice", 1);
    image_u32_key(&im, "a.once", 1);
    image_u32_key(&im, "a.twice", 1);
    EXPECT(im, -EINVAL, "key 'a.twice'", "found twice", "entries 0 and 2");
}

static void test_value_types(void **state)
{
    (void)state;
    EXPECT(one_key("k", 13, "\0\0\0\0", 4), -EINVAL, "key 'k'", "type of the value is 13",
           "0 to 12");
    EXPECT(one_key("k", UINT32_MAX, "\0\0\0\0", 4), -EINVAL, "4294967295");
    EXPECT(one_key("k", V_BOOL, "\2", 1), -EINVAL, "key 'k'", "bool is 2", "0 or 1");
    struct image im = image_new(3, 0, 1);
    image_array_key(&im, "k", 13, 0);
    EXPECT(im, -EINVAL, "type of the elements is 13");
    im = image_new(3, 0, 1);
    image_array_key(&im, "k", V_BOOL, 2);
    image_u8(&im, 1);
    image_u8(&im, 255);
    EXPECT(im, -EINVAL, "bool is 255");
}

static void test_standard_keys_have_their_types(void **state)
{
    (void)state;
    struct image im = image_new(3, 0, 1);
    image_u32_key(&im, "general.name", 5);
    EXPECT(im, -EINVAL, "key 'general.name'", "type u32", "a string");
    EXPECT(one_key("tokenizer.ggml.add_eos_token", V_U8, "\1", 1), -EINVAL, "type u8", "bool");
    im = image_new(3, 0, 1);
    image_array_key(&im, "tokenizer.ggml.tokens", V_I32, 0);
    EXPECT(im, -EINVAL, "an array of i32", "an array of elements each a string");
    im = image_new(3, 0, 1);
    image_str_key(&im, "tokenizer.ggml.scores", "x");
    EXPECT(im, -EINVAL, "type string", "an array of elements each f32 or f64");
    format_close(open_good(one_key("tokenizer.ggml.padding_token_id", V_I8, "\xff", 1)));
    im = image_new(3, 0, 1);
    image_array_key(&im, "tokenizer.ggml.token_type", V_U8, 0);
    format_close(open_good(im));
}

static void test_strings(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80",
        "\xe2\x82",
        "a\xe2\x82z",
        "\xc3",
        "\xff",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct image im = image_new(3, 0, 1);
        image_str_key(&im, "k", bad[i]);
        EXPECT(im, -EINVAL, "key 'k'", "not UTF-8");
        im = image_new(3, 0, 1);
        image_array_key(&im, "k", V_STR, 1);
        image_text(&im, bad[i], strlen(bad[i]));
        EXPECT(im, -EINVAL, "key 'k'", "not UTF-8");
    }
    struct image im = image_new(3, 0, 1);
    image_key(&im, "k", V_STR);
    image_text(&im, "a\0b", 3);
    EXPECT(im, -EINVAL, "NUL inside");
    im = image_new(3, 0, 1);
    image_key(&im, "k", V_STR);
    image_u64(&im, 4);
    image_bytes(&im, "abc", 3);
    EXPECT(im, -EINVAL, "length of the string is 4", "3 bytes that remain");

    im = image_new(3, 0, 1);
    image_str_key(&im, "k",
                  "a\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80"
                  "\x80\xf4\x8f\xbf\xbf");
    format_close(open_good(im));
}

static void test_array_counts(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        unsigned bytes;
    } element[] = {{V_U8, 1},  {V_I16, 2},    {V_F32, 4}, {V_I32, 4},
                   {V_STR, 8}, {V_ARRAY, 12}, {V_U64, 8}, {V_F64, 8}};
    for (size_t i = 0; i < sizeof element / sizeof *element; i++) {
        const unsigned bytes = element[i].bytes;
        const uint64_t counts[] = {96 / bytes + 1, UINT64_MAX, UINT64_MAX / 2 / bytes * 2 + 1,
                                   1ull << 61};
        for (size_t k = 0; k < 4; k++) {
            struct image im = image_new(3, 0, 1);
            image_array_key(&im, "k", element[i].type, counts[k]);
            image_zeros(&im, 96);
            EXPECT(im, -EINVAL, "key 'k'", "number of elements", "96 bytes that remain");
        }
    }
    struct image im = image_new(3, 0, 1); /* a promise that a sparse file keeps */
    image_array_key(&im, "k", V_STR, 1ull << 40);
    struct err err;
    int fd = memfd_create("sparse", MFD_CLOEXEC);
    assert_int_equal(write(fd, im.data, im.n), (ssize_t)im.n);
    assert_int_equal(ftruncate(fd, (off_t)1 << 50), 0);
    free(im.data);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct format *format = NULL;
    assert_int_equal(format_open(path, &format, &err), -EINVAL);
    assert_non_null(strstr(err.text, "256 MiB"));
    close(fd);
}

static void test_nested_arrays(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    struct image im = image_new(3, 0, 1);
    image_key(&im, "k", V_ARRAY);
    for (int i = 0; i < DEEP; i++) {
        image_u32(&im, V_ARRAY);
        image_u64(&im, 1);
    }
    EXPECT(im, -EINVAL, "key 'k'", "nested deeper than 64");

    im = image_new(3, 0, 2);
    image_array_key(&im, "k", V_ARRAY, 3); /* [["a", ""], [], [[1.0, 2.0]]] */
    image_u32(&im, V_STR);
    image_u64(&im, 2);
    image_text(&im, "a", 1);
    image_text(&im, "", 0);
    image_u32(&im, V_U8);
    image_u64(&im, 0);
    image_u32(&im, V_ARRAY);
    image_u64(&im, 1);
    image_u32(&im, V_F32);
    image_u64(&im, 2);
    image_zeros(&im, 8);
    image_u32_key(&im, "after", 5);
    struct format *format = open_good(im);
    uint32_t after = 0;
    assert_int_equal(meta_u32(format_meta(format), "after", &after, NULL), 0);
    assert_int_equal(after, 5);
    format_close(format);
}

static void test_alignment(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0, 3, 31, 33, 0x80000001, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct image im = image_new(3, 0, 1);
        image_u32_key(&im, "general.alignment", bad[i]);
        EXPECT(im, -EINVAL, "general.alignment", "power of two");
    }
    struct image im = image_new(3, 0, 1);
    image_str_key(&im, "general.alignment", "32");
    EXPECT(im, -EINVAL, "general.alignment", "type string", "an integer");
    im = image_new(3, 1, 1);
    image_u32_key(&im, "general.alignment", 0x80000000);
    image_tensor(&im, "w", 0, 1, DIMS(1), 0);
    image_zeros(&im, 4096);
    EXPECT(im, -EINVAL, "data starts at byte 2147483648");
}

static void test_split_files(void **state)
{
    (void)state;
    struct image im = image_new(3, 0, 1);
    image_key(&im, "split.count", V_U16);
    image_u16(&im, 3);
    EXPECT(im, -EINVAL, "split.no", "found none", "expected one in a split file");
    im = image_new(3, 0, 3);
    image_u32_key(&im, "split.count", 3);
    image_u32_key(&im, "split.no", 1);
    image_u32_key(&im, "split.tensors.count", 0);
    EXPECT(im, -EINVAL, "part 2 of 3", "does not end in '-00002-of-00003.gguf'");
    im = image_new(3, 0, 1);
    image_u32_key(&im, "split.count", 513);
    EXPECT(im, -EINVAL, "split.no", "found none");
    im = image_new(3, 0, 3);
    image_u32_key(&im, "split.count", 513);
    image_u32_key(&im, "split.no", 513);
    image_u32_key(&im, "split.tensors.count", 0);
    EXPECT(im, -EINVAL, "split.count", "found 513, expected at most 512");
    im = image_new(3, 0, 1);
    image_key(&im, "split.count", V_U16);
    image_u16(&im, 1);
    format_close(open_good(im));
}

/* ------------------------------------------------------------------ tensors */

static void test_tensor_names(void **state)
{
    (void)state;
    char name[65];
    memset(name, 'n', sizeof name);
    name[63] = '\0';
    format_close(open_good(one_tensor(name, 0, 2, DIMS(4, 2), 0)));
    name[63] = 'n';
    name[64] = '\0';
    EXPECT(one_tensor(name, 0, 2, DIMS(4, 2), 0), -EINVAL, "tensor 0", "64 bytes", "1 to 63");
    EXPECT(one_tensor("", 0, 2, DIMS(4, 2), 0), -EINVAL, "tensor 0", "0 bytes");
    EXPECT(one_tensor("a\tb", 0, 2, DIMS(4, 2), 0), -EINVAL, "byte 0x09");
    EXPECT(one_tensor("a\xff", 0, 2, DIMS(4, 2), 0), -EINVAL, "not UTF-8");
    struct image im = image_new(3, 1, 0);
    image_u64(&im, UINT64_MAX);
    image_zeros(&im, 64);
    EXPECT(im, -EINVAL, "length of the name is 18446744073709551615");
}

static void test_duplicate_tensors(void **state)
{
    (void)state;
    struct image im = image_new(3, 3, 0);
    image_tensor(&im, "w", 0, 1, DIMS(8), 0);
    image_tensor(&im, "v", 0, 1, DIMS(8), 32);
    image_tensor(&im, "w", 0, 1, DIMS(8), 64);
    image_pad(&im, 32);
    image_zeros(&im, 96);
    EXPECT(im, -EINVAL, "tensor 'w'", "found twice");
}

static void test_dimensions(void **state)
{
    (void)state;
    EXPECT(one_tensor("w", 0, 0, NULL, 0), -EINVAL, "tensor 0 'w'", "0 dimensions", "1 to 4");
    EXPECT(one_tensor("w", 0, 5, DIMS(1, 1, 1, 1, 8), 0), -EINVAL, "5 dimensions");
    struct image im = image_new(3, 1, 0);
    image_text(&im, "w", 1);
    image_u32(&im, UINT32_MAX);
    image_zeros(&im, 64);
    EXPECT(im, -EINVAL, "4294967295 dimensions");
    for (int i = 0; i < 4; i++) {
        uint64_t dims[4] = {8, 1, 1, 1};
        dims[i] = 0;
        char words[32];
        snprintf(words, sizeof words, "dimension %d is 0", i);
        EXPECT(one_tensor("w", 0, 4, dims, 0), -EINVAL, "tensor 'w'", words);
    }
    EXPECT(one_tensor("w", 8, 1, DIMS(33), 0), -EINVAL, "dimension 0 is 33", "multiple of 32",
           "Q8_0");
    EXPECT(one_tensor("w", 12, 1, DIMS(128), 0), -EINVAL, "multiple of 256", "Q4_K");
}

static void test_sizes_that_wrap(void **state)
{
    (void)state;
    static const uint64_t dims[][4] = {
        {1ull << 32, 1ull << 32, 1, 1},
        {1ull << 62, 1, 1, 1}, /* 4 bytes each: 2^64 */
        {UINT64_MAX, 1, 1, 1},
        {8, 1, 1, UINT64_MAX},
        {(1ull << 62) + 8, 1, 1, 1}, /* wraps to the 32 bytes that are there */
        {8, (1ull << 59) + 1, 1, 1}, /* so does this */
        {1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16},
        {1ull << 31, 1ull << 32, 1, 1}, /* 2^63 elements */
        {1ull << 61, 1, 1, 1},          /* 2^63 bytes */
    };
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        EXPECT(one_tensor("w", 0, 4, dims[i], 0), -EINVAL, "tensor 'w'", "beyond 63 bits");
    EXPECT(one_tensor("w", 8, 2, DIMS(32, UINT64_MAX / 34 + 2), 0), -EINVAL, "beyond 63 bits");
    EXPECT(one_tensor("w", 0, 2, DIMS(4, 3), 0), -EINVAL, "needs 48 bytes at offset 0", "has 32");
    EXPECT(one_tensor("w", 0, 1, DIMS(1ull << 40), 0), -EINVAL, "needs 4398046511104 bytes");
}

static void test_tensor_types(void **state)
{
    (void)state;
    EXPECT(one_tensor("blk.0.x", 34, 1, DIMS(256), 0), -ENOTSUP, "tensor 'blk.0.x'",
           "TQ1_0 (id 34)", "not supported yet", "F32, F16, BF16, Q8_0, Q4_0", "MXFP4, NVFP4");
    EXPECT(one_tensor("x", 35, 1, DIMS(256), 0), -ENOTSUP, "TQ2_0 (id 35)");
    EXPECT(one_tensor("x", 26, 1, DIMS(8), 0), -ENOTSUP, "I32 (id 26)");
    EXPECT(one_tensor("x", 4, 1, DIMS(32), 0), -EINVAL, "id 4", "removed");
    EXPECT(one_tensor("x", 38, 1, DIMS(32), 0), -EINVAL, "id 38", "removed");
    EXPECT(one_tensor("x", 97, 1, DIMS(32), 0), -ENOTSUP, "id 97", "ik_llama.cpp");
    EXPECT(one_tensor("x", 41, 1, DIMS(32), 0), -EINVAL, "id 41", "unknown");
    /* the number of FP8_E4M3's row in the list of formats, which GGUF doesn't have */
    EXPECT(one_tensor("x", MK_NO_GGUF_ID, 1, DIMS(128), 0), -EINVAL, "id 4294967295", "unknown");
}

/* Every format that GGUF has is read, by the id and the block that the list gives. */
static void test_every_type(void **state)
{
    (void)state;
    int n = 0;
    for (int type = 0; type < MK_TYPE_COUNT; type++) {
        const struct mk_type_info *info = &mk_type_info[type];
        if (info->gguf_id == MK_NO_GGUF_ID)
            continue;
        struct image im = image_new(3, 1, 0);
        image_tensor(&im, "w", info->gguf_id, 2, DIMS(info->block_elements, 3), 0);
        image_pad(&im, 32);
        image_zeros(&im, 3 * info->block_bytes);
        struct format *format = open_good(im);
        const struct tensor *w = format_find(format, "w");
        assert_int_equal(w->type, type);
        assert_int_equal(w->bytes, 3 * info->block_bytes);
        format_close(format);
        n++;
    }
    assert_int_equal(n, 24);
}

static void test_offsets(void **state)
{
    (void)state;
    EXPECT(one_tensor("w", 0, 2, DIMS(4, 2), 1), -EINVAL, "offset 1", "alignment, 32");
    EXPECT(one_tensor("w", 0, 2, DIMS(4, 2), 32), -EINVAL, "needs 32 bytes at offset 32", "has 0");
    EXPECT(one_tensor("w", 0, 2, DIMS(4, 2), 64), -EINVAL, "needs 32 bytes at offset 64", "has 0");
    EXPECT(one_tensor("w", 0, 2, DIMS(4, 2), UINT64_MAX - 31), -EINVAL, "at offset 184467");
    EXPECT(one_tensor("w", 0, 2, DIMS(4, 2), 1ull << 63), -EINVAL, "at offset 92233");
}

static void test_overlaps_and_gaps(void **state)
{
    (void)state;
    struct image im = image_new(3, 2, 0);
    image_tensor(&im, "v", 0, 1, DIMS(8), 32);
    image_tensor(&im, "w", 0, 1, DIMS(16), 0);
    image_pad(&im, 32);
    image_zeros(&im, 64);
    EXPECT(im, -EINVAL, "tensor 'v'", "inside tensor 'w'");
    im = image_new(3, 2, 0);
    image_tensor(&im, "v", 0, 1, DIMS(8), 0);
    image_tensor(&im, "w", 0, 1, DIMS(8), 0);
    image_pad(&im, 32);
    image_zeros(&im, 32);
    EXPECT(im, -EINVAL, "inside tensor");
    im = image_new(3, 2, 0);
    image_tensor(&im, "v", 0, 1, DIMS(8), 0);
    image_tensor(&im, "w", 0, 1, DIMS(8), 64);
    image_pad(&im, 32);
    image_zeros(&im, 96);
    EXPECT(im, -EINVAL, "tensor 'w'", "32 bytes after the end of tensor 'v'");
    im = image_new(3, 1, 0);
    image_tensor(&im, "w", 0, 1, DIMS(8), 32);
    image_pad(&im, 32);
    image_zeros(&im, 64);
    EXPECT(im, -EINVAL, "tensor 'w'", "after the end of the header");
    im = one_tensor("w", 0, 2, DIMS(4, 2), 0);
    image_zeros(&im, 32);
    EXPECT(im, -EINVAL, "32 bytes after the end of the last tensor");
    im = image_new(3, 0, 0);
    image_zeros(&im, 32);
    EXPECT(im, -EINVAL, "byte 24", "32 bytes after the end of the header");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_file_with_keys_only),
        cmocka_unit_test(test_tensors_in_file_order),
        cmocka_unit_test(test_file_may_end_inside_the_last_padding),
        cmocka_unit_test(test_magic_and_version),
        cmocka_unit_test(test_cut_anywhere_is_refused),
        cmocka_unit_test(test_counts_are_bounded_by_the_bytes),
        cmocka_unit_test(test_absolute_limits_on_counts),
        cmocka_unit_test(test_key_names),
        cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_value_types),
        cmocka_unit_test(test_standard_keys_have_their_types),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_array_counts),
        cmocka_unit_test(test_nested_arrays),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_split_files),
        cmocka_unit_test(test_tensor_names),
        cmocka_unit_test(test_duplicate_tensors),
        cmocka_unit_test(test_dimensions),
        cmocka_unit_test(test_sizes_that_wrap),
        cmocka_unit_test(test_tensor_types),
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_overlaps_and_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
