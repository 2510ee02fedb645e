/* SPDX-License-Identifier: MIT
 *
 * The null place: takes every program and computes nothing; logits stay zero. It measures what the
 * floors above cost by themselves.
 */
#include "place/place.h"

#include <errno.h>

static size_t null_pack_size(const struct place *place, const struct mat *mat)
{
    (void)place, (void)mat;
    return 0;
}

static void null_pack(struct place *place, const struct mat *rows, const void *src, void *dst)
{
    (void)place, (void)rows, (void)src, (void)dst;
}

static void null_bind(struct place *place, const struct mat *mat, const void *packed,
                      struct weight *ret)
{
    (void)place;
    *ret = (struct weight){
        .type = mat->type, .n = mat->n, .k = mat->k, .count = mat->count, .data = packed};
}

static int null_prepare(struct place *place, const struct op *ops, int n_ops, int max_rows,
                        struct err *err)
{
    (void)place, (void)ops, (void)n_ops, (void)max_rows, (void)err;
    return 0;
}

static size_t null_scratch_bytes(const struct place *place)
{
    (void)place;
    return 0;
}

static void null_submit(struct place *place, const struct op *ops, int n_ops,
                        const struct rows *rows)
{
    (void)place, (void)ops, (void)n_ops, (void)rows;
}

static void null_rest(struct place *place)
{
    (void)place;
}

static void null_close(struct place *place)
{
    free(place);
}

extern const struct place_ops place_null;

static int null_open(const struct place_spec *spec, struct place **ret, struct err *err)
{
    (void)spec;
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        return err_set(err, -ENOMEM, "no memory for a place");
    *place = (struct place){
        .ops = &place_null, .cache_type = MK_F16, .threads = 1, .isa = "none", .attention = "none"};
    *ret = place;
    return 0;
}

const struct place_ops place_null = {
    .kind = "null",
    .what = "computes nothing, to measure everything else",
    .open = null_open,
    .close = null_close,
    .pack_size = null_pack_size,
    .pack = null_pack,
    .bind = null_bind,
    .prepare = null_prepare,
    .scratch_bytes = null_scratch_bytes,
    .submit = null_submit,
    .rest = null_rest,
};
