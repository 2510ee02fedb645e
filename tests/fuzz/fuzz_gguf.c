/* SPDX-License-Identifier: MIT
 *
 * GGUF: any bytes as a model file. What opens is asked everything, and its promises are checked.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/format.h"
#include "target.h"

static void ask_key(const struct meta *meta, int i)
{
    const char *key = meta_key(meta, i);
    PROMISE(key && *key && meta_has(meta, key));
    char text[128];
    size_t n = meta_text(meta, i, text, sizeof text);
    PROMISE(n < sizeof text && strlen(text) == n);

    struct err err = {0};
    uint32_t u;
    float f;
    bool b;
    const char *s;
    size_t bytes;
    uint64_t count;
    const int32_t *ints;
    int taken = 0;
    taken += meta_u32(meta, key, &u, &err) == 0;
    taken += meta_f32(meta, key, &f, &err) == 0;
    taken += meta_bool(meta, key, &b, &err) == 0;
    if (meta_str(meta, key, &s, &bytes, &err) == 0) {
        taken++;
        PROMISE(strlen(s) == bytes);
    }
    if (meta_str_array(meta, key, &count, &err) == 0) {
        taken++;
        for (uint64_t k = 0; k < count; k++) {
            s = meta_str_at(meta, key, k, &bytes);
            PROMISE(s && s[bytes] == '\0');
        }
        PROMISE(!meta_str_at(meta, key, count, &bytes));
    }
    if (meta_i32_array(meta, key, &ints, &count, &err) == 0) {
        taken++;
        int64_t sum = 0;
        for (uint64_t k = 0; k < count; k++)
            sum += ints[k];
        PROMISE(sum <= INT64_MAX / 2);
    }
    PROMISE(taken <= 1);
}

static void ask_tensor(const struct format *format, int i)
{
    const struct tensor *t = format_tensor(format, i);
    PROMISE(t && format_find(format, t->name) == t);
    PROMISE(t->n_dims >= 1 && t->n_dims <= TENSOR_MAX_DIMS);
    uint64_t rows = 1;
    for (int d = 1; d < TENSOR_MAX_DIMS; d++)
        rows *= t->dims[d];
    PROMISE(t->bytes > 0 && t->bytes == mk_row_bytes(t->type, t->dims[0]) * rows);
    PROMISE(t->bytes <= format_file_bytes(format));
    PROMISE(t->offset <= format_file_bytes(format) - t->bytes);
    unsigned char last[256];
    size_t n = t->bytes < sizeof last ? (size_t)t->bytes : sizeof last;
    PROMISE(format_read(format, t, t->bytes - n, last, n, NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("gguf", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, bytes, 0) != (ssize_t)bytes)
        abort();

    struct err err = {0};
    struct format *format = NULL;
    int r = format_open(path, &format, &err);
    PROMISE(r == err.code && (r == 0) == (format != NULL));
    PROMISE(r == 0 || (r < 0 && strstr(err.text, "/proc/self/fd/")));
    if (r == 0) {
        const struct meta *meta = format_meta(format);
        for (int i = 0; i < meta_n_keys(meta); i++)
            ask_key(meta, i);
        for (int i = 0; i < format_n_tensors(format); i++)
            ask_tensor(format, i);
    }
    format_close(format);
    return 0;
}
