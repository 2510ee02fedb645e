/* SPDX-License-Identifier: MIT */
#include "model/digest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <xxhash.h>

#include "format/format.h"
#include "model/model.h"

enum { SAMPLE = 64 }; /* bytes, at the beginning, in the middle and at the end */

static void add_words(XXH3_state_t *state, const char *words)
{
    XXH3_128bits_update(state, words, strlen(words) + 1);
}

static void add_keys(XXH3_state_t *state, const struct meta *meta)
{
    char text[256];
    for (int i = 0; i < meta_n_keys(meta); i++) {
        meta_text(meta, i, text, sizeof text);
        add_words(state, meta_key(meta, i));
        add_words(state, text);
    }
}

static int add_tensor(XXH3_state_t *state, const struct format *format, const struct tensor *t,
                      struct err *err)
{
    add_words(state, t->name);
    XXH3_128bits_update(state, &t->type, sizeof t->type);
    XXH3_128bits_update(state, t->dims, sizeof t->dims);
    size_t bytes = t->bytes < SAMPLE ? (size_t)t->bytes : SAMPLE;
    const uint64_t at[] = {0, (t->bytes - bytes) / 2, t->bytes - bytes};
    for (int i = 0; i < 3; i++) {
        char sample[SAMPLE];
        int r = format_read(format, t, at[i], sample, bytes, err);
        if (r < 0)
            return r;
        XXH3_128bits_update(state, sample, bytes);
    }
    return 0;
}

/* Of all that the file holds, behind so many numbers. */
static int digest(const struct model *model, const uint64_t *numbers, size_t n, XXH128_hash_t *ret,
                  struct err *err)
{
    const struct format *format = model_format(model);
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return err_set(err, -ENOMEM, "no memory for a digest");
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, numbers, n * sizeof *numbers);
    add_keys(state, format_meta(format));
    int r = 0;
    for (int i = 0; i < format_n_tensors(format) && r == 0; i++)
        r = add_tensor(state, format, format_tensor(format, i), err);
    *ret = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return r;
}

int model_digest(const struct model *model, uint64_t ret[2], struct err *err)
{
    const struct format *format = model_format(model);
    const char *path = format_path(format);
    struct stat st;
    XXH128_hash_t hash;
    if (stat(path, &st) < 0)
        return err_set(err, -errno, "cannot look at '%s': %s", path, strerror(errno));
    const uint64_t file[] = {format_file_bytes(format), (uint64_t)st.st_mtim.tv_sec,
                             (uint64_t)st.st_mtim.tv_nsec};
    int r = digest(model, file, sizeof file / sizeof *file, &hash, err);
    if (r < 0)
        return r;
    ret[0] = hash.low64;
    ret[1] = hash.high64;
    return 0;
}

int model_ident(const struct model *model, char ret[MODEL_IDENT_CHARS], struct err *err)
{
    const uint64_t bytes = format_file_bytes(model_format(model));
    XXH128_hash_t hash;
    int r = digest(model, &bytes, 1, &hash, err);
    if (r == 0)
        snprintf(ret, MODEL_IDENT_CHARS, "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
    return r;
}
