/* SPDX-License-Identifier: MIT */
#include "place/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "place/mem.h"

extern const struct place_ops place_cpu, place_ref, place_ref_naive, place_null;

const struct place_ops *const place_table[] = {
    &place_cpu, &place_ref, &place_ref_naive, &place_null, NULL,
};

int place_open(const struct place_spec *spec, struct place **ret, struct err *err)
{
    char known[128] = "";
    for (int i = 0; place_table[i]; i++) {
        if (!strcmp(place_table[i]->kind, spec->kind))
            return place_table[i]->open(spec, ret, err);
        strncat(known, i ? ", " : "", sizeof known - strlen(known) - 1);
        strncat(known, place_table[i]->kind, sizeof known - strlen(known) - 1);
    }
    return err_set(err, -EINVAL, "no kind of place is called '%s'; there are %s", spec->kind,
                   known);
}

void place_close(struct place *place)
{
    if (place)
        place->ops->close(place);
}

void place_drive(struct place *place)
{
    if (place->ops->drive)
        place->ops->drive(place);
}

void place_describe(const struct place *place, struct place_words *ret)
{
    *ret = (struct place_words){0};
    if (place->ops->describe)
        place->ops->describe(place, ret);
}

void place_unpack(enum mk_type type, const void *src, float *dst, size_t n)
{
    mk_ref_unpack(type, src, dst, n);
}

void place_frequencies(const struct mk_rope *rope, double *ret)
{
    mk_rope_frequencies(rope, ret);
}

int buf_new(struct place *place, size_t bytes, struct buf **ret)
{
    (void)place; /* host memory serves every kind so far */
    struct buf *buf = calloc(1, sizeof *buf);
    if (!buf)
        return -ENOMEM;
    buf->bytes = bytes;
    void *data;
    int r = mem_alloc(bytes, &data);
    if (r < 0) {
        free(buf);
        return r;
    }
    buf->data = data;
    *ret = buf;
    return 0;
}

void buf_free(struct buf *buf)
{
    if (!buf)
        return;
    mem_free(buf->data, buf->bytes);
    free(buf);
}

size_t buf_shed(struct buf *buf)
{
    return mem_give_back(buf->data, buf->bytes);
}

void buf_fetch(struct place *place, const struct buf *src, size_t offset, void *dst, size_t bytes)
{
    (void)place;
    memcpy(dst, (const char *)src->data + offset, bytes);
}
