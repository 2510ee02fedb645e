/* SPDX-License-Identifier: MIT
 *
 * FP8 in a checkpoint, code by code: what each byte means, that two of the 256 are no numbers, and
 * that a scale which is none is refused.
 *
 *     test_fp8 FOLDER          what tests/fixture/scales.py wrote
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "mk.h"

#define NAME "blk.0.attn_output.weight"

enum { COLUMNS = 128, ROWS = 129, ROW_BYTES = 132 };

static int n_wrong;

/* By the definition, and not as any kernel does it. */
static double meaning(unsigned code)
{
    int exponent = code >> 3 & 15, mantissa = code & 7;
    double value = exponent ? ldexp(1 + mantissa / 8.0, exponent - 7) : ldexp(mantissa, -9);
    return (code & 0x7f) == 0x7f ? NAN : code & 0x80 ? -value : value;
}

/* The codes count up from 0 through the matrix, and every scale is 1. */
static void check_values(const struct format *format, const struct tensor *tensor, const char *path)
{
    char *raw = malloc(ROWS * ROW_BYTES);
    struct err err = {0};
    if (format_read(format, tensor, 0, raw, ROWS * ROW_BYTES, &err) < 0) {
        printf("%s\n", err.text);
        n_wrong++;
    }
    for (int row = 0; row < ROWS && !err.code; row++) {
        float is[COLUMNS];
        mk_ref_unpack(MK_FP8_E4M3, raw + row * ROW_BYTES, is, COLUMNS);
        for (int i = 0; i < COLUMNS; i++) {
            double expected = meaning((unsigned)(row * COLUMNS + i) % 256);
            if (isnan(expected) ? !isnan(is[i]) : is[i] != expected) {
                printf("%s: row %d, column %d: found %g, expected %g\n", path, row, i,
                       (double)is[i], expected);
                n_wrong++;
            }
        }
    }
    free(raw);
}

/* The last scale belongs to the last row alone. */
static void check_refused(const struct format *format, const struct tensor *tensor,
                          const char *path)
{
    char raw[ROW_BYTES];
    struct err err = {0};
    if (format_read(format, tensor, 0, raw, ROW_BYTES, &err) < 0) {
        printf("%s\n", err.text);
        n_wrong++;
    }
    int r = format_read(format, tensor, (ROWS - 1) * ROW_BYTES, raw, ROW_BYTES, &err);
    if (r != -EINVAL || !strstr(err.text, NAME) || !strstr(err.text, "scale 1 ")) {
        printf("%s: found %d '%s', expected a refusal of scale 1\n", path, r, err.text);
        n_wrong++;
    }
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"F32", "F8_E8M0", "F32-nan", "F8_E8M0-nan"};
    if (argc != 2)
        return 2;
    for (int i = 0; i < 4; i++) {
        char path[512];
        OWN(format) *format = NULL;
        struct err err = {0};
        snprintf(path, sizeof path, "%s/%s", argv[1], names[i]);
        const struct tensor *tensor =
            format_open(path, &format, &err) < 0 ? NULL : format_find(format, NAME);
        if (!tensor || tensor->type != MK_FP8_E4M3 || tensor->bytes != ROWS * ROW_BYTES) {
            printf("%s: %s\n", path, err.code ? err.text : "no such tensor of FP8");
            return 1;
        }
        if (strstr(names[i], "nan"))
            check_refused(format, tensor, path);
        else
            check_values(format, tensor, path);
    }
    printf("%d wrong\n", n_wrong);
    return n_wrong > 0;
}
