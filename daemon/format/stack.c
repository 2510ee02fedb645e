/* SPDX-License-Identifier: MIT
 *
 * See stack.h.
 */
#include "format/stack.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "format/table.h"

enum {
    BLOCK = 128,           /* weights that share a scale, in rows and in columns */
    ROW_BLOCK = 4 + BLOCK, /* one block of a row as MK_FP8_E4M3 has it */
    CHUNK = 256,           /* blocks read at once */
    WINDOW = 512,          /* scales read at once */
};

static int read_part(const struct format *format, uint16_t index, uint64_t offset, void *dst,
                     size_t bytes, struct err *err)
{
    const struct part *part = &format->part[index];
    int r = part_read(part, offset, dst, bytes, err);
    return r < 0 ? r : part_check_unchanged(part, err);
}

/* ------------------------------------------------------------------ FP8 */

struct scales { /* a window over those of one matrix */
    const struct format *format;
    const struct source *source;
    const struct tensor *tensor;
    enum stack_scale how;
    uint64_t columns; /* blocks in a row */
    uint64_t first, n;
    float value[WINDOW];
};

/* Scale i of the row of scales that ends before `end`, and those behind it. */
static int load_scales(struct scales *s, uint64_t i, uint64_t end, struct err *err)
{
    size_t size = s->how == STACK_SCALE_F32 ? sizeof(float) : 1;
    unsigned char raw[WINDOW * sizeof(float)];
    uint64_t n = end - i < WINDOW ? end - i : WINDOW;
    int r = read_part(s->format, s->source->scale_part, s->source->scale_offset + i * size, raw,
                      (size_t)n * size, err);
    if (r < 0)
        return r;
    for (uint64_t k = 0; k < n; k++) {
        uint32_t bits;
        if (s->how == STACK_SCALE_F32) {
            memcpy(&bits, raw + k * sizeof bits, sizeof bits);
            bits = le32toh(bits);
            memcpy(&s->value[k], &bits, sizeof bits);
        } else {
            s->value[k] = raw[k] == 255 ? NAN : ldexpf(1, raw[k] - 127);
        }
        if (!isfinite(s->value[k]))
            return err_set(err, -EINVAL,
                           "'%s', tensor '%s': scale %" PRIu64
                           " of a matrix is not a finite number",
                           s->format->part[s->source->scale_part].label, s->tensor->name, i + k);
    }
    s->first = i;
    s->n = n;
    return 0;
}

/* Block b of the matrix, whose codes are there, as it stands in a row. */
static int make_block(struct scales *s, uint64_t b, const unsigned char *code, char *dst,
                      struct err *err)
{
    uint64_t band = b / s->columns / BLOCK;
    uint64_t i = band * s->columns + b % s->columns;
    if (i < s->first || i - s->first >= s->n) {
        int r = load_scales(s, i, (band + 1) * s->columns, err);
        if (r < 0)
            return r;
    }
    uint32_t bits;
    memcpy(&bits, &s->value[i - s->first], sizeof bits);
    bits = htole32(bits);
    memcpy(dst, &bits, sizeof bits);
    memcpy(dst + sizeof bits, code, BLOCK);
    return 0;
}

static int read_scaled(struct scales *s, uint64_t offset, char *dst, size_t bytes, struct err *err)
{
    unsigned char code[CHUNK * BLOCK];
    while (bytes > 0) {
        uint64_t b = offset / ROW_BLOCK;
        size_t within = (size_t)(offset % ROW_BLOCK);
        size_t n = (within + bytes - 1) / ROW_BLOCK + 1;
        if (n > CHUNK)
            n = CHUNK;
        int r = read_part(s->format, s->source->part, s->source->offset + b * BLOCK, code,
                          n * BLOCK, err);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++) {
            char block[ROW_BLOCK];
            r = make_block(s, b + i, code + i * BLOCK, block, err);
            if (r < 0)
                return r;
            size_t take = bytes < sizeof block - within ? bytes : sizeof block - within;
            memcpy(dst, block + within, take);
            dst += take;
            offset += take;
            bytes -= take;
            within = 0;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ stacks */

int stack_read(const struct format *format, const struct tensor *tensor, uint64_t offset, void *dst,
               size_t bytes, struct err *err)
{
    const struct stack *stack = &format->stack[tensor - format->tensor];
    uint64_t each = tensor->bytes / stack->n;
    char *to = dst;
    while (bytes > 0) {
        const struct source *source = &format->source[stack->first + offset / each];
        uint64_t within = offset % each;
        size_t part = bytes < each - within ? bytes : (size_t)(each - within);
        int r;
        if (stack->scale == STACK_PLAIN) {
            r = read_part(format, source->part, source->offset + within, to, part, err);
        } else {
            struct scales scales = {.format = format,
                                    .source = source,
                                    .tensor = tensor,
                                    .how = (enum stack_scale)stack->scale,
                                    .columns = tensor->dims[0] / BLOCK};
            r = read_scaled(&scales, within, to, part, err);
        }
        if (r < 0)
            return r;
        to += part;
        offset += part;
        bytes -= part;
    }
    return 0;
}
