/* SPDX-License-Identifier: MIT
 *
 * A model file as metadata and tensors, whatever its container.
 *
 * Opening checks the whole file's structure; what comes out is an immutable table that later code
 * may trust: sizes lie in the file, names are unique, types are known. Nothing is mapped: tensor
 * bytes are copied by format_read(). Any thread may read; one owner closes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "base/own.h"
#include "base/tensor.h"

struct format;

/**
 * Open a model file, choosing the reader by its first bytes.
 *
 *   fails   -ENOENT, -EACCES …  cannot open;  -EINVAL  not a regular file, or a broken one;
 *           -ENOTSUP  well formed, but of a version or with a type that isn't supported;
 *           the words name the file, the field, what was found and what was expected
 */
int format_open(const char *path, struct format **ret, struct err *err);
/**
 * The same for what lies in a folder that is open: the last name of `path` is looked up there,
 * and the rest of the path only names it. A file, or the folder of a checkpoint.
 *
 *   folder  O_PATH will do; borrowed for the call
 *   fails   -EINVAL also for a symbolic link: nothing outside the folder is ever reached
 */
int format_open_at(int folder, const char *path, struct format **ret, struct err *err);
void format_close(struct format *format);
OWN_DEFINE(format, format_close);

const char *format_path(const struct format *format);
const char *format_kind(const struct format *format); /* "GGUF v3" */
uint64_t format_file_bytes(const struct format *format);
/* What is another when one of its files is another one or was changed. False: it has no file i. */
struct format_stamp {
    uint64_t inode, bytes;
    struct timespec modified, changed;
};
bool format_stamp(const struct format *format, int i, struct format_stamp *ret);

/* ---- tensors, in file order */
int format_n_tensors(const struct format *format);
const struct tensor *format_tensor(const struct format *format, int i);
const struct tensor *format_find(const struct format *format, const char *name); /* or NULL */
/* Copies [offset, offset + bytes) of the tensor's data. -EIO with words on a short read. */
int format_read(const struct format *format, const struct tensor *tensor, uint64_t offset,
                void *dst, size_t bytes, struct err *err);

/* ---- metadata
 *
 * Each getter: 0 found; -ENOENT the key is absent (no words are written, *ret is untouched);
 * -EINVAL it has another type or does not fit, with words naming file, key, found and expected.
 * An integer key may be stored in any integer width, a float key as f32 or f64. Strings are
 * UTF-8-checked, NUL-terminated and borrowed; their length excludes the NUL. */
struct meta; /* the keys of one file; lives as long as the format */
const struct meta *format_meta(const struct format *format);
int meta_u32(const struct meta *meta, const char *key, uint32_t *ret, struct err *err);
int meta_f32(const struct meta *meta, const char *key, float *ret, struct err *err);
int meta_bool(const struct meta *meta, const char *key, bool *ret, struct err *err);
int meta_str(const struct meta *meta, const char *key, const char **ret, size_t *bytes,
             struct err *err);
bool meta_has(const struct meta *meta, const char *key);
const char *meta_path(const struct meta *meta); /* for error messages */

/* Arrays: meta_array gives the length if the elements are strings / integers. */
int meta_str_array(const struct meta *meta, const char *key, uint64_t *n, struct err *err);
const char *meta_str_at(const struct meta *meta, const char *key, uint64_t i, size_t *bytes);
int meta_i32_array(const struct meta *meta, const char *key, const int32_t **ret, uint64_t *n,
                   struct err *err);

/* Walks all keys in file order for `show`: a short text of the value (arrays as "[n] …"). */
int meta_n_keys(const struct meta *meta);
const char *meta_key(const struct meta *meta, int i);
size_t meta_text(const struct meta *meta, int i, char *dst, size_t size);

/* ---- readers: a new container is one file and one line in format_table[] */
struct format_reader {
    const char *name;
    bool (*sniff)(const void *head, size_t bytes); /* the first 16 bytes, or fewer */
    int (*open)(const char *path, struct format *format, struct err *err);
};
