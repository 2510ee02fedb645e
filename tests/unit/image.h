/* SPDX-License-Identifier: MIT
 *
 * GGUF files put together byte by byte in memory, right or wrong, and opened from there.
 *
 *     struct image im = image_new(3, 1, 1);
 *     image_u32_key(&im, "general.alignment", 32);
 *     image_tensor(&im, "w", MK_F32, 2, (uint64_t[]){4, 2}, 0);
 *     image_pad(&im, 32);
 *     image_zeros(&im, 32);
 */
#pragma once

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/format.h"

enum { V_U8, V_I8, V_U16, V_I16, V_U32, V_I32, V_F32, V_BOOL, V_STR, V_ARRAY, V_U64, V_I64, V_F64 };

struct image {
    unsigned char *data;
    size_t n, room;
};

static inline void image_bytes(struct image *im, const void *src, size_t bytes)
{
    if (im->room - im->n < bytes) {
        im->room = (im->n + bytes) * 2;
        im->data = realloc(im->data, im->room);
        assert(im->data);
    }
    if (bytes)
        memcpy(im->data + im->n, src, bytes);
    im->n += bytes;
}

static inline void image_u8(struct image *im, uint8_t v)
{
    image_bytes(im, &v, 1);
}

static inline void image_u16(struct image *im, uint16_t v)
{
    v = htole16(v);
    image_bytes(im, &v, sizeof v);
}

static inline void image_u32(struct image *im, uint32_t v)
{
    v = htole32(v);
    image_bytes(im, &v, sizeof v);
}

static inline void image_u64(struct image *im, uint64_t v)
{
    v = htole64(v);
    image_bytes(im, &v, sizeof v);
}

static inline void image_text(struct image *im, const char *text, size_t bytes)
{
    image_u64(im, bytes);
    image_bytes(im, text, bytes);
}

static inline void image_zeros(struct image *im, size_t n)
{
    for (; n > 0; n--)
        image_u8(im, 0);
}

static inline void image_pad(struct image *im, size_t alignment)
{
    while (im->n % alignment)
        image_u8(im, 0);
}

static inline struct image image_new(uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    struct image im = {0};
    image_bytes(&im, "GGUF", 4);
    image_u32(&im, version);
    image_u64(&im, n_tensors);
    image_u64(&im, n_keys);
    return im;
}

/* A key up to its type; the value is the caller's. */
static inline void image_key(struct image *im, const char *key, uint32_t type)
{
    image_text(im, key, strlen(key));
    image_u32(im, type);
}

static inline void image_u32_key(struct image *im, const char *key, uint32_t v)
{
    image_key(im, key, V_U32);
    image_u32(im, v);
}

static inline void image_str_key(struct image *im, const char *key, const char *v)
{
    image_key(im, key, V_STR);
    image_text(im, v, strlen(v));
}

static inline void image_array_key(struct image *im, const char *key, uint32_t element, uint64_t n)
{
    image_key(im, key, V_ARRAY);
    image_u32(im, element);
    image_u64(im, n);
}

/* `type` is the id in the file. */
static inline void image_tensor(struct image *im, const char *name, uint32_t type, uint32_t n_dims,
                                const uint64_t *dims, uint64_t offset)
{
    image_text(im, name, strlen(name));
    image_u32(im, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        image_u64(im, dims[i]);
    image_u32(im, type);
    image_u64(im, offset);
}

/* Opens and forgets the image. *fd, if asked for, stays open on the file. */
static inline int image_open(struct image *im, struct format **ret, int *fd, struct err *err)
{
    int file = memfd_create("image", MFD_CLOEXEC);
    assert(file >= 0);
    ssize_t wrote = write(file, im->data, im->n);
    assert(wrote == (ssize_t)im->n);
    free(im->data);
    memset(im, 0, sizeof *im);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    memset(err, 0, sizeof *err);
    int r = format_open(path, ret, err);
    if (fd)
        *fd = file;
    else
        close(file);
    return r;
}
