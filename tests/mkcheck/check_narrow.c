/* SPDX-License-Identifier: MIT
 *
 * Rows of the int8 cache: every set writes the reference's codes and reads the reference's numbers,
 * bit for bit, between guarded edges; and the reference keeps what its contract says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { GUARD_X, GUARD_ROW, GUARD_WIDE, BLOCK = 32, BLOCK_BYTES = 34 };

enum kind { EVEN, SMALL, ZERO, ONE_HUGE, TIES, ANY_BITS, NOT_FINITE, TOO_LARGE, KINDS };

static void fill(struct check *check, enum kind kind, float *x)
{
    float scale = ldexpf(1, random_below(check, 30) - 20);
    for (int i = 0; i < BLOCK; i++) {
        uint32_t bits = (uint32_t)random_bits(check);
        x[i] = kind == ZERO ? (i % 2 ? -0.0f : 0) : random_float(check) * scale;
        if (kind == SMALL)
            x[i] *= 0x1p-20f;
        if (kind == TIES) /* of a largest number of 127.5: halves of a step */
            x[i] = (float)(random_below(check, 511) - 255) / 2 * scale;
        if (kind == ANY_BITS && (bits & 0x7fffffff) < 0x47000000)
            memcpy(&x[i], &bits, sizeof(bits));
    }
    int odd = random_below(check, BLOCK);
    if (kind == ONE_HUGE)
        x[odd] = random_below(check, 2) ? 0x1.fffffep14f : -0x1.fffffep14f;
    if (kind == NOT_FINITE)
        x[odd] = random_below(check, 2) ? NAN : random_below(check, 2) ? INFINITY : -INFINITY;
    if (kind == TOO_LARGE)
        x[odd] = random_below(check, 2) ? 32768 : -0x1p100f;
}

/* What a block comes to, by the contract alone. */
static void check_numbers(struct check *check, const float *x, const uint8_t *block)
{
    float is[BLOCK], largest = 0;
    bool bad = false;
    mk_ref_unpack(MK_Q8_0, block, is, BLOCK);
    for (int i = 0; i < BLOCK; i++) {
        bad |= !(fabsf(x[i]) < 32768);
        largest = fmaxf(largest, fabsf(x[i]));
    }
    float step = fmaxf(largest > 0 ? ldexpf(1, ilogbf(largest) - 6) : 0, 0x1p-24f);
    for (int i = 0; i < BLOCK; i++) {
        double off = fabs((double)is[i] - (double)x[i]);
        bool clipped = is[i] == 127 * step && x[i] > is[i] && off < (double)step;
        if (bad ? !isnan(is[i]) : !(off <= (double)step / 2 || clipped))
            check_fail(check, "%a became %a; the largest of its block is %a, a step %a",
                       (double)x[i], (double)is[i], (double)largest, (double)step);
    }
}

static void check_rows(struct check *check, const struct mk *mk, const struct mk *ref, int latent,
                       int rope, int n)
{
    check_begin(check, "%s int8 rows: %d of %d + %d", mk->isa, n, latent, rope);
    size_t row_bytes = mk_cache_row_bytes(MK_Q8_0, latent, rope),
           codes = row_bytes - 2 * (size_t)rope;
    size_t wide_bytes = mk_cache_row_bytes(MK_BF16, latent, rope) * (size_t)n;
    uint8_t *rows = guard(GUARD_ROW, row_bytes * (size_t)n), *expected = malloc(row_bytes);
    for (int r = 0; r < n; r++) {
        uint8_t *row = rows + (size_t)r * row_bytes;
        float *x = guard(GUARD_X, (size_t)latent * sizeof(float));
        for (int c = 0; c < latent; c += BLOCK)
            fill(check, (enum kind)random_below(check, KINDS), x + c);
        mk->narrow(row, x, latent);
        ref->narrow(expected, x, latent);
        for (int c = 0; c < latent; c += BLOCK) {
            size_t at = (size_t)(c / BLOCK) * BLOCK_BYTES;
            check_numbers(check, x + c, expected + at);
            if (memcmp(row + at, expected + at, BLOCK_BYTES))
                check_fail(check, "numbers from %d on, %a …, have other codes than the reference's",
                           c, (double)x[c]);
        }
        for (size_t i = codes; i < row_bytes; i++)
            row[i] = (uint8_t)random_bits(check);
    }

    uint8_t *wide = guard(GUARD_WIDE, wide_bytes), *truth = malloc(wide_bytes);
    memset(wide, 0xa5, wide_bytes);
    mk->widen(wide, rows, random_below(check, 2) ? rows + row_bytes : NULL, latent, rope, n);
    ref->widen(truth, rows, NULL, latent, rope, n);
    if (memcmp(wide, truth, wide_bytes))
        check_fail(check, "rows are read as other numbers than the reference's");
    for (int r = 0; r < n; r++) { /* nothing is lost: the same numbers as those of the codes */
        float *is = malloc((size_t)latent * sizeof(float)),
              *was = malloc((size_t)latent * sizeof(float));
        const uint8_t *row = rows + (size_t)r * row_bytes;
        const uint8_t *to = wide + mk_cache_row_bytes(MK_BF16, latent, rope) * (size_t)r;
        mk_ref_unpack(MK_BF16, to, is, (size_t)latent);
        mk_ref_unpack(MK_Q8_0, row, was, (size_t)latent);
        for (int c = 0; c < latent; c++)
            if (!(is[c] == was[c] || (isnan(is[c]) && isnan(was[c]))))
                check_fail(check, "%a is read as %a", (double)was[c], (double)is[c]);
        if (memcmp(to + 2 * latent, row + codes, 2 * (size_t)rope))
            check_fail(check, "the rotated key of row %d is another one", r);
        free(is);
        free(was);
    }
    free(truth);
    free(expected);
}

void check_narrow(struct check *check, const struct mk *mk)
{
    static const int widths[][2] = {{32, 0}, {32, 1}, {64, 16}, {96, 7}, {256, 32}, {512, 64}};
    struct mk ref;
    mk_ref_init(&ref);
    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++)
        for (int round = 0; round < 20; round++)
            check_rows(check, mk, &ref, widths[w][0], widths[w][1], 1 + random_below(check, 5));
}
