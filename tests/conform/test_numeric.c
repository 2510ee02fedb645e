/* SPDX-License-Identifier: MIT
 *
 * Arithmetic against numbers that others computed: number formats, router, rotation, attention, on
 * every instruction set of this CPU.
 *
 *     test_numeric FOLDER   holds dequant/, tables/ and numeric/; their origin: vectors/README.md
 *
 * Weights and halves must agree to the bit, chosen experts exactly, and everything else to 1e-5.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "mk.h"
#include "ref/codebook.h"

static const char *folder;
static struct mk tables[8];
static int n_tables;

static json_t *load(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s.json", folder, name);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    return root;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* The numbers of an array as floats; the caller frees. */
static float *floats(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    float *ret = calloc(*n + 1, sizeof(*ret));
    assert_non_null(ret);
    for (size_t i = 0; i < *n; i++)
        ret[i] = (float)json_number_value(json_array_get(array, i));
    return ret;
}

static uint8_t *bytes_of_hex(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    uint8_t *ret = calloc(*n + 1, 1);
    assert_non_null(ret);
    for (size_t i = 0; i < *n; i++) {
        unsigned int byte;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        ret[i] = (uint8_t)byte;
    }
    return ret;
}

static void assert_near(double is, double expected, const char *what)
{
    if (!(fabs(is - expected) <= 1e-5 * fmax(fabs(expected), 0.01)))
        fail_msg("%s is %.9g, expected %.9g", what, is, expected);
}

/* ------------------------------------------------------------------ number formats */

/* The product of a row and the vector of activation.json, beside the exact one. */
static void check_dot(const struct mk *mk, enum mk_type type, const uint8_t *w)
{
    static _Alignas(64) float x[1024];
    float *tmp = aligned_alloc(64, (mk_mm_tmp(1024, 1) * sizeof(float) + 63) / 64 * 64);
    json_t *root = load("numeric/activation");
    size_t size;
    uint8_t *raw = bytes_of_hex(json_string_value(json_object_get(root, "x_f32_le_hex")), &size);
    assert_true(size <= sizeof(x));
    memcpy(x, raw, size);
    free(raw);
    const json_t *exact = json_object_get(json_object_get(root, "exact_dot_with_dequant_first_n"),
                                          mk_type_info[type].name);
    int k = (int)number(exact, "n");
    assert_true((size_t)k * sizeof(float) <= size);

    void *packed = aligned_alloc(64, (mk->mat[type].pack_size(1, k) + 63) / 64 * 64);
    mk->mat[type].pack(packed, w, 1, k);
    float is[2], sum = 0, coarse = 0;
    struct mk_mm mm = {.x = x,
                       .w = packed,
                       .y = &is[0],
                       .tmp = tmp,
                       .m = 1,
                       .n = 1,
                       .k = k,
                       .n1 = 1,
                       .ldx = k,
                       .ldy = 1};
    mk->mat[type].gemv(&mm);
    mm.y = &is[1];
    mk->mat[type].gemm(&mm);
    mk->mat[type].row(tmp, packed, 1, k, 0);
    for (int c = 0; c < k; c++) /* errors are relative to the terms, which may cancel */
        sum += fabsf(tmp[c] * x[c]);
    for (int g = 0; g < k; g += MK_DOT_GROUP) { /* where x is rounded to 127ths of its largest */
        float largest = 0;
        for (int c = g; c < k && c < g + MK_DOT_GROUP; c++)
            largest = fmaxf(largest, fabsf(x[c]));
        for (int c = g; c < k && c < g + MK_DOT_GROUP; c++)
            coarse += fabsf(tmp[c]) * largest / 253.9f;
    }
    for (int i = 0; i < 2; i++) {
        enum mk_arithmetic by = i ? mk->mat[type].many : mk->mat[type].few;
        double slack = (by == MK_HALVES ? 0x1p-7 : 1e-6) * (double)sum;
        if (by == MK_CODES)
            slack += (double)coarse;
        if (!(fabs((double)is[i] - number(exact, "dot")) <= slack))
            fail_msg("%s on %s: product is %.9g, expected %.9g", mk_type_info[type].name, mk->isa,
                     (double)is[i], number(exact, "dot"));
    }
    free(packed);
    free(tmp);
    json_decref(root);
}

static void check_blocks(enum mk_type type)
{
    const struct mk_type_info *info = &mk_type_info[type];
    char path[64];
    snprintf(path, sizeof(path), "dequant/%s", info->name);
    json_t *root = load(path);
    assert_int_equal((int)number(root, "type_id"), info->gguf_id);
    assert_int_equal((int)number(root, "block_elems"), info->block_elements);
    assert_int_equal((int)number(root, "block_bytes"), info->block_bytes);

    const json_t *blocks = json_object_get(root, "blocks_hex");
    size_t n = json_array_size(blocks), size, k = n * info->block_elements;
    assert_true(n > 0);
    uint8_t *w = calloc(n, info->block_bytes);
    for (size_t b = 0; b < n; b++) {
        uint8_t *block = bytes_of_hex(json_string_value(json_array_get(blocks, b)), &size);
        assert_int_equal(size, info->block_bytes);
        memcpy(w + b * info->block_bytes, block, size);
        free(block);
    }
    uint8_t *expected =
        bytes_of_hex(json_string_value(json_object_get(root, "values_f32_le_hex")), &size);
    assert_int_equal(size, k * sizeof(float));

    float *row = calloc(k, sizeof(*row));
    mk_ref_unpack(type, w, row, k);
    if (memcmp(row, expected, size))
        fail_msg("%s: other bits than expected", info->name);
    for (int t = 0; t < n_tables; t++) {
        memset(row, 0, size);
        size_t bytes = tables[t].mat[type].pack_size(1, (int)k);
        void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
        tables[t].mat[type].pack(packed, w, 1, (int)k);
        tables[t].mat[type].row(row, packed, 1, (int)k, 0);
        free(packed);
        if (memcmp(row, expected, size))
            fail_msg("%s on %s: other bits than expected", info->name, tables[t].isa);
        check_dot(&tables[t], type, w);
    }
    free(row);
    free(expected);
    free(w);
    json_decref(root);
}

static void test_dequant(void **state)
{
    (void)state;
    int n = 0;
    for (int type = 0; type < MK_TYPE_COUNT; type++) {
        if (mk_type_info[type].block_elements == 1 || type == MK_FP8_E4M3)
            continue; /* these have files of their own */
        check_blocks(type);
        n++;
    }
    assert_int_equal(n, 21);
}

/* ------------------------------------------------------------------ codebooks */

/* The entries of a published list, one a line in hex; returns how many there are. */
static int read_list(const char *name, uint64_t *ret, int most)
{
    char path[512], line[64];
    snprintf(path, sizeof(path), "%s/tables/%s.txt", folder, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    int n = 0;
    for (; n < most && fgets(line, sizeof(line), file); n++)
        ret[n] = strtoull(line, NULL, 16);
    fclose(file);
    return n;
}

static void test_codebooks(void **state)
{
    (void)state;
    enum { MOST = 4096 };
    static uint64_t list[MOST];
    static const struct {
        const char *name;
        const uint16_t *book;
        const float *level;
        int n, elements, bits;
    } books[] = {
        {"iq1s_grid", codebook_iq1_s, codebook_iq1_level, 2048, 8, 2},
        {"iq2xxs_grid", codebook_iq2_xxs, codebook_iq2_level, 256, 8, 2},
        {"iq2xs_grid", codebook_iq2_xs, codebook_iq2_level, 512, 8, 2},
        {"iq2s_grid", codebook_iq2_s, codebook_iq2_level, 1024, 8, 2},
        {"iq3xxs_grid", codebook_iq3_xxs, codebook_iq3_xxs_level, 256, 4, 3},
        {"iq3s_grid", codebook_iq3_s, codebook_iq3_s_level, 512, 4, 3},
    };
    for (size_t b = 0; b < sizeof(books) / sizeof(books[0]); b++) {
        assert_int_equal(read_list(books[b].name, list, MOST), books[b].n);
        for (int i = 0; i < books[b].n; i++)
            for (int e = 0; e < books[b].elements; e++) {
                int level = books[b].book[i] >> books[b].bits * e & ((1 << books[b].bits) - 1);
                assert_true(books[b].bits == 3 || level < 3);
                assert_int_equal((int8_t)(list[i] >> 8 * e), (int)books[b].level[level]);
            }
    }
    assert_int_equal(read_list("ksigns_iq2xs", list, MOST), 128);
    for (uint32_t i = 0; i < 128; i++)
        assert_int_equal(codebook_signs(i), list[i]);
}

/* ------------------------------------------------------------------ fp8 */

enum { FP8_BLOCK = 128, FP8_BYTES = 4 + FP8_BLOCK };

static void fp8_row(float scale, const uint8_t *bytes, float *ret, int t)
{
    uint8_t block[FP8_BYTES];
    memcpy(block, &scale, sizeof(scale));
    memcpy(block + sizeof(scale), bytes, FP8_BLOCK);
    tables[t].mat[MK_FP8_E4M3].row(ret, block, 1, FP8_BLOCK, 0);
}

static void test_fp8_every_byte(void **state)
{
    (void)state;
    json_t *root = load("numeric/fp8_tables");
    const json_t *values = json_object_get(root, "e4m3fn");
    assert_int_equal(json_array_size(values), 256);
    for (int t = 0; t < n_tables; t++)
        for (size_t from = 0; from < 256; from += FP8_BLOCK) {
            uint8_t bytes[FP8_BLOCK];
            float is[FP8_BLOCK];
            for (size_t i = 0; i < FP8_BLOCK; i++)
                bytes[i] = (uint8_t)(from + i);
            fp8_row(1, bytes, is, t);
            for (size_t i = 0; i < FP8_BLOCK; i++) {
                const json_t *value = json_array_get(values, from + i);
                float expected = (float)json_number_value(value);
                if (json_is_null(value))
                    assert_true(isnan(is[i]));
                else
                    assert_memory_equal(&is[i], &expected, sizeof(expected));
            }
        }

    /* the scales of NVFP4 are the same numbers, without sign; 1 is nibble 2 twice halved */
    values = json_object_get(root, "ue4m3_nvfp4");
    assert_int_equal(json_array_size(values), 128);
    for (uint32_t i = 0; i < 128; i++) {
        uint8_t block[36] = {(uint8_t)i, 0, 0, 0, 2};
        float is[64];
        mk_ref_unpack(MK_NVFP4, block, is, 64);
        assert_float_equal(is[0], json_number_value(json_array_get(values, i)), 0);
    }
    json_decref(root);
}

/* Blocks of 2 x 2 weights share a scale there; here each weight brings its block's along. */
static void test_fp8_blocks(void **state)
{
    (void)state;
    json_t *root = load("numeric/fp8_block_small");
    size_t side = (size_t)number(root, "block"), r, c;
    const json_t *row, *value;
    json_array_foreach(json_object_get(root, "w_bytes"), r, row) json_array_foreach(row, c, value)
    {
        uint8_t bytes[FP8_BLOCK] = {0};
        float is[FP8_BLOCK];
        const json_t *scales = json_array_get(json_object_get(root, "scale_inv"), r / side);
        const json_t *dequant = json_array_get(json_object_get(root, "dequant"), r);
        bytes[c] = (uint8_t)json_integer_value(value);
        for (int t = 0; t < n_tables; t++) {
            fp8_row((float)json_number_value(json_array_get(scales, c / side)), bytes, is, t);
            assert_float_equal(is[c], json_number_value(json_array_get(dequant, c)), 0);
        }
    }
    json_decref(root);
}

static uint32_t hex_of(const json_t *pair, size_t which)
{
    return (uint32_t)strtoul(json_string_value(json_array_get(pair, which)), NULL, 16);
}

static void check_halves(const json_t *list, enum mk_type type)
{
    size_t i;
    const json_t *pair;
    assert_true(json_array_size(list) > 0);
    json_array_foreach(list, i, pair)
    {
        uint16_t half = (uint16_t)hex_of(pair, 0), back;
        const json_t *value = json_array_get(pair, 1);
        float expected = json_is_string(value) ? INFINITY : (float)json_number_value(value), is;
        for (int t = 0; t < n_tables; t++) {
            tables[t].mat[type].row(&is, &half, 1, 1, 0);
            assert_memory_equal(&is, &expected, sizeof(is));
            tables[t].store(&back, type, &expected, 1);
            assert_int_equal(back, half);
        }
    }
}

static void test_halves(void **state)
{
    (void)state;
    json_t *root = load("numeric/half_bf16");
    check_halves(json_object_get(root, "f16"), MK_F16);
    check_halves(json_object_get(root, "bf16"), MK_BF16);

    size_t i;
    const json_t *pair, *rounded = json_object_get(root, "f32_to_bf16_rne");
    assert_true(json_array_size(rounded) > 0);
    json_array_foreach(rounded, i, pair)
    {
        uint32_t bits = hex_of(pair, 0);
        float value;
        memcpy(&value, &bits, sizeof(value));
        for (int t = 0; t < n_tables; t++) {
            uint16_t half;
            tables[t].store(&half, MK_BF16, &value, 1);
            assert_int_equal(half, hex_of(pair, 1));
            float same; /* nothing to unpack */
            tables[t].mat[MK_F32].row(&same, &bits, 1, 1, 0);
            assert_memory_equal(&same, &bits, sizeof(bits));
        }
    }
    json_decref(root);
}

/* ------------------------------------------------------------------ router */

static void check_route(const struct mk *mk, const json_t *c, const struct mk_route *r)
{
    size_t n, n_experts;
    float *logits = floats(json_object_get(c, "logits"), &n_experts);
    float *weight = calloc((size_t)r->n_used, sizeof(*weight));
    float *tmp = calloc(2 * n_experts, sizeof(*tmp));
    int32_t *expert = calloc((size_t)r->n_used, sizeof(*expert));
    float *expected = floats(json_object_get(c, "weights"), &n);
    assert_int_equal(n_experts, r->n_experts);
    assert_int_equal(n, r->n_used);

    mk->route(r, logits, expert, weight, tmp);
    for (int i = 0; i < r->n_used; i++) {
        const json_t *id = json_array_get(json_object_get(c, "experts"), (size_t)i);
        assert_int_equal(expert[i], json_integer_value(id));
        assert_near((double)weight[i], (double)expected[i], "weight");
    }
    free(logits);
    free(weight);
    free(tmp);
    free(expert);
    free(expected);
}

static void test_router(void **state)
{
    (void)state;
    json_t *root = load("numeric/router");
    size_t i, n_bias;
    int n_run = 0;
    const json_t *c;
    json_array_foreach(root, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        const char *scoring = json_string_value(json_object_get(c, "scoring"));
        bool sigmoid = !strcmp(scoring, "sigmoid");
        if (!sigmoid && strcmp(scoring, "softmax")) {
            print_message("router case %zu '%s' skipped: no gate %s\n", i, name, scoring);
            continue;
        }
        assert_string_equal(json_string_value(json_object_get(c, "group_score")),
                            sigmoid ? "top2sum" : "max");
        struct mk_route r = {
            .gate = sigmoid ? MK_GATE_SIGMOID : MK_GATE_SOFTMAX,
            .n_experts = (int)number(c, "n_expert"),
            .n_used = (int)number(c, "top_k"),
            .n_groups = (int)number(c, "n_group"),
            .n_groups_used = (int)number(c, "topk_group"),
            .norm = json_is_true(json_object_get(c, "norm")),
            .scale = (float)number(c, "scale"),
        };
        float *bias = floats(json_object_get(c, "bias"), &n_bias);
        r.bias = n_bias ? bias : NULL;
        for (int t = 0; t < n_tables; t++)
            check_route(&tables[t], c, &r);
        free(bias);
        n_run++;
    }
    assert_int_equal(n_run, 8);
    json_decref(root);
}

/* ------------------------------------------------------------------ rotation */

static struct mk_rope rope_of(const json_t *c)
{
    return (struct mk_rope){
        .n_dims = (int)number(c, "rope_dim"),
        .theta = number(c, "base"),
        .yarn = true,
        .factor = number(c, "factor"),
        .original_context = number(c, "orig_ctx"),
        .beta_fast = number(c, "beta_fast"),
        .beta_slow = number(c, "beta_slow"),
    };
}

static void test_yarn(void **state)
{
    (void)state;
    json_t *root = load("numeric/yarn");
    size_t i;
    const json_t *c;
    assert_true(json_array_size(root) > 0);
    json_array_foreach(root, i, c)
    {
        struct mk_rope rope = rope_of(c);
        const json_t *expected = json_object_get(c, "inv_freq");
        double frequency[512];
        assert_int_equal(json_array_size(expected), rope.n_dims / 2);
        mk_rope_frequencies(&rope, frequency);
        for (int p = 0; p < rope.n_dims / 2; p++) {
            double exact = json_number_value(json_array_get(expected, (size_t)p));
            if (!(fabs(frequency[p] - exact) <= 1e-12 * exact)) /* double here, double there */
                fail_msg("%s: frequency %d is %.17g, expected %.17g",
                         json_string_value(json_object_get(c, "name")), p, frequency[p], exact);
        }
    }
    json_decref(root);
}

static void test_rope(void **state)
{
    (void)state;
    json_t *yarn = load("numeric/yarn"), *root = load("numeric/rope");
    assert_string_equal(json_string_value(json_object_get(root, "freqs")), "yarn.json v3");
    size_t i, n, n_expected;
    const json_t *c;
    double frequency[512];
    int n_dims = 0;
    json_array_foreach(yarn, i, c)
    {
        struct mk_rope rope = rope_of(c);
        if (strcmp(json_string_value(json_object_get(c, "name")), "v3"))
            continue;
        n_dims = rope.n_dims;
        mk_rope_frequencies(&rope, frequency);
    }
    float *expected = floats(json_object_get(root, "interleaved"), &n_expected), cs[1024];
    mk_rope_table(frequency, n_dims, (int64_t)number(root, "pos"), cs);
    for (int t = 0; t < n_tables; t++) {
        float *x = floats(json_object_get(root, "x"), &n);
        assert_int_equal(n, n_dims);
        assert_int_equal(n_expected, n_dims);
        tables[t].rope(x, cs, n_dims);
        for (int p = 0; p < n_dims; p++)
            assert_near((double)x[p], (double)expected[p], "rotated element");
        free(x);
    }
    free(expected);
    json_decref(root);
    json_decref(yarn);
}

/* ------------------------------------------------------------------ attention */

enum { HEADS = 2, NOPE = 4, ROPE = 2, VALUE = 3, LATENT = 5, TOKENS = 4 };

struct mla {
    float q_nope[HEADS][NOPE], q_pe[HEADS][ROPE], c[TOKENS][LATENT], k_pe[TOKENS][ROPE];
    float kv_b[HEADS][NOPE + VALUE][LATENT]; /* a head's key rows, then its value rows */
    float out[HEADS][VALUE];
    float scale;
};

static void matrix(const json_t *root, const char *key, int rows, int columns, float *ret)
{
    const json_t *array = json_object_get(root, key);
    assert_int_equal(json_array_size(array), rows);
    for (int i = 0; i < rows; i++) {
        const json_t *row = json_array_get(array, (size_t)i);
        assert_int_equal(json_array_size(row), columns);
        for (int j = 0; j < columns; j++)
            ret[i * columns + j] = (float)json_number_value(json_array_get(row, (size_t)j));
    }
}

static void load_mla(struct mla *ret)
{
    json_t *root = load("numeric/mla_small");
    assert_int_equal((int)number(root, "n_head"), HEADS);
    assert_int_equal((int)number(root, "d_nope"), NOPE);
    assert_int_equal((int)number(root, "d_rope"), ROPE);
    assert_int_equal((int)number(root, "d_v"), VALUE);
    assert_int_equal((int)number(root, "kv_lora"), LATENT);
    matrix(root, "q_nope", HEADS, NOPE, &ret->q_nope[0][0]);
    matrix(root, "q_pe_rotated", HEADS, ROPE, &ret->q_pe[0][0]);
    matrix(root, "c_normed", TOKENS, LATENT, &ret->c[0][0]);
    matrix(root, "k_pe_rotated", TOKENS, ROPE, &ret->k_pe[0][0]);
    matrix(root, "kv_b_rows", HEADS * (NOPE + VALUE), LATENT, &ret->kv_b[0][0][0]);
    matrix(root, "out_per_head", HEADS, VALUE, &ret->out[0][0]);
    ret->scale = (float)number(root, "scale");
    json_decref(root);
}

/* y[n] = w[n][k] · x[k] */
static void times(const struct mk *mk, const float *w, const float *x, float *y, int n, int k)
{
    float *tmp = aligned_alloc(64, (mk_mm_tmp(k, 1) * sizeof(float) + 63) / 64 * 64);
    struct mk_mm mm = {
        .x = x, .w = w, .y = y, .tmp = tmp, .m = 1, .n = n, .k = k, .n1 = n, .ldx = k, .ldy = n};
    mk->mat[MK_F32].gemv(&mm);
    free(tmp);
}

static void test_mla_absorbed(void **state)
{
    (void)state;
    struct mla m;
    load_mla(&m);
    for (int t = 0; t < n_tables; t++) {
        float q[HEADS][LATENT + ROPE], cache[TOKENS][LATENT + ROPE], mixed[HEADS][LATENT];
        for (int i = 0; i < TOKENS; i++) {
            memcpy(cache[i], m.c[i], sizeof(m.c[i]));
            memcpy(cache[i] + LATENT, m.k_pe[i], sizeof(m.k_pe[i]));
        }
        for (int h = 0; h < HEADS; h++) {
            float keys[LATENT][NOPE]; /* the transpose takes the query into the latent space */
            for (int r = 0; r < NOPE; r++)
                for (int c = 0; c < LATENT; c++)
                    keys[c][r] = m.kv_b[h][r][c];
            times(&tables[t], &keys[0][0], m.q_nope[h], q[h], LATENT, NOPE);
            memcpy(q[h] + LATENT, m.q_pe[h], sizeof(m.q_pe[h]));
            for (int c = 0; c < LATENT + ROPE; c++)
                q[h][c] *= m.scale;
        }
        const void *page[] = {cache[0], cache[3]}; /* a broken last page as well */
        static _Alignas(64) float tmp[32768];
        struct mk_peak peak[HEADS];
        struct mk_attend a = {.q = &q[0][0],
                              .page = page,
                              .out = &mixed[0][0],
                              .peak = peak,
                              .tmp = tmp,
                              .type = MK_F32,
                              .n_heads = HEADS,
                              .ldq = LATENT + ROPE,
                              .ldo = LATENT,
                              .latent = LATENT,
                              .rope = ROPE,
                              .page_tokens = 3,
                              .to = TOKENS};
        assert_true(mk_attend_tmp(a.page_tokens, LATENT, ROPE) <= sizeof(tmp) / sizeof(tmp[0]));
        tables[t].attend(&a);
        for (int h = 0; h < HEADS; h++) {
            float out[VALUE];
            tables[t].merge(&(struct mk_merge){
                .part = mixed[h], .peak = &peak[h], .out = mixed[h], .n = 1, .latent = LATENT});
            times(&tables[t], m.kv_b[h][NOPE], mixed[h], out, VALUE, LATENT);
            for (int v = 0; v < VALUE; v++)
                assert_near((double)out[v], (double)m.out[h][v], "absorbed output");
        }
    }
}

static void test_mla_naive(void **state)
{
    (void)state;
    struct mla m;
    load_mla(&m);
    for (int h = 0; h < HEADS; h++) {
        float q[NOPE + ROPE], k[TOKENS][NOPE + ROPE], v[TOKENS][VALUE], out[VALUE], tmp[TOKENS];
        memcpy(q, m.q_nope[h], sizeof(m.q_nope[h]));
        memcpy(q + NOPE, m.q_pe[h], sizeof(m.q_pe[h]));
        for (int c = 0; c < NOPE + ROPE; c++)
            q[c] *= m.scale;
        for (int i = 0; i < TOKENS; i++) {
            times(&tables[0], m.kv_b[h][0], m.c[i], k[i], NOPE, LATENT);
            memcpy(k[i] + NOPE, m.k_pe[i], sizeof(m.k_pe[i]));
            times(&tables[0], m.kv_b[h][NOPE], m.c[i], v[i], VALUE, LATENT);
        }
        mk_ref_attend_naive(q, &k[0][0], &v[0][0], out, TOKENS, NOPE + ROPE, VALUE, tmp);
        for (int c = 0; c < VALUE; c++)
            assert_near((double)out[c], (double)m.out[h][c], "naive output");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: test_numeric FOLDER\n");
        return 2;
    }
    folder = argv[1];
    for (int i = 0; mk_isa_names[i]; i++)
        n_tables += !mk_init(&tables[n_tables], mk_isa_names[i]);

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequant),        cmocka_unit_test(test_codebooks),
        cmocka_unit_test(test_fp8_every_byte), cmocka_unit_test(test_fp8_blocks),
        cmocka_unit_test(test_halves),         cmocka_unit_test(test_router),
        cmocka_unit_test(test_yarn),           cmocka_unit_test(test_rope),
        cmocka_unit_test(test_mla_absorbed),   cmocka_unit_test(test_mla_naive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
