/* SPDX-License-Identifier: MIT
 *
 * Checkpoints: any bytes as the files of a folder, which is then opened.
 *
 *     "NAME\n", a number of bytes and "\n", that many bytes; and so on for other files
 *
 * Names that are none of a checkpoint's stand for one file of tensors. What opens is asked for its
 * first and last bytes.
 */
#include <errno.h>
#include <string.h>

#include "folder.h"
#include "format/format.h"
#include "target.h"

static const char *const names[] = {"model.safetensors",     "model.safetensors.index.json",
                                    "model-1.safetensors",   "config.json",
                                    "tokenizer.json",        "tokenizer_config.json",
                                    "chat_template.jinja",   "tiktoken.model",
                                    "generation_config.json"};
enum { N_NAMES = sizeof names / sizeof *names };

/* One line without its end, or NULL. */
static const uint8_t *line(const uint8_t **data, size_t *bytes, size_t *n)
{
    const uint8_t *from = *data, *end = memchr(from, '\n', *bytes);
    if (!end)
        return NULL;
    *n = (size_t)(end - from);
    *bytes -= *n + 1;
    *data = end + 1;
    return from;
}

static void write_files(const uint8_t *data, size_t bytes)
{
    size_t n, digits;
    const uint8_t *name;
    while (bytes > 0 && (name = line(&data, &bytes, &n))) {
        const uint8_t *number = line(&data, &bytes, &digits);
        size_t size = 0;
        for (size_t i = 0; number && i < digits && i < 7 && number[i] >= '0' && number[i] <= '9';
             i++)
            size = size * 10 + (number[i] - '0');
        size = size < bytes ? size : bytes;
        int which = 0;
        for (int i = 0; i < N_NAMES; i++)
            if (strlen(names[i]) == n && !memcmp(names[i], name, n))
                which = i;
        folder_write(names[which], data, size);
        data += size;
        bytes -= size;
    }
}

static void ask(const struct format *format)
{
    const struct meta *meta = format_meta(format);
    for (int i = 0; i < meta_n_keys(meta); i++) {
        char text[128];
        PROMISE(meta_has(meta, meta_key(meta, i)) && meta_text(meta, i, text, sizeof text) < 128);
    }
    for (int i = 0; i < format_n_tensors(format); i++) {
        const struct tensor *t = format_tensor(format, i);
        PROMISE(format_find(format, t->name) == t && t->bytes > 0);
        unsigned char b[300];
        size_t n = t->bytes < sizeof b ? (size_t)t->bytes : sizeof b;
        int r = format_read(format, t, 0, b, n, NULL);
        PROMISE(r == 0 || r == -EINVAL); /* scales may be no numbers */
        r = format_read(format, t, t->bytes - n, b, n, NULL);
        PROMISE(r == 0 || r == -EINVAL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *path = folder_path();
    write_files(data, bytes);
    folder_settle();
    struct err err = {0};
    struct format *format = NULL;
    int r = format_open(path, &format, &err);
    PROMISE(r == err.code && (r == 0) == (format != NULL));
    PROMISE(r == 0 || (r < 0 && strstr(err.text, path)));
    if (r == 0)
        ask(format);
    format_close(format);
    return 0;
}
