/* SPDX-License-Identifier: MIT
 *
 * From the tensors of a file to weights on a place, in two steps: a plan that checks every name,
 * shape and type before any memory is asked for, and loading, which reads, packs and binds.
 *
 * The plan is made when a model is opened; loading runs on the loader thread.
 */
#pragma once

#include "base/err.h"
#include "base/own.h"
#include "base/tensor.h"
#include "format/format.h"
#include "model/arch.h"
#include "model/spread.h"
#include "model/sums.h"

/* How a tensor's rows become a weight. */
enum plan_how {
    PLAN_AS_IS,  /* same numbers, packed by the place */
    PLAN_AS_F32, /* unpacked to float32 */
    PLAN_TURNED, /* each matrix transposed */
};

struct plan_item {
    const struct tensor *tensor;
    enum role role;
    int layer; /* -1: of the file */
    enum plan_how how;
    int row, step; /* matrix i is made of the tensor's rows from row + i · step */
    struct mat mat;
};

struct plan {
    struct plan_item *item;
    int n;
    uint64_t parameters; /* in all tensors, the ones kept aside included */
    bool has_mtp;        /* tensors of a prediction block are there and kept aside */
    bool tied;           /* no output matrix: the embedding serves */
};

/* Fails with -EINVAL naming a tensor that is missing, unknown, or of another shape. */
int plan_make(const struct arch *arch, const struct hparams *hp, const struct format *format,
              struct plan *ret, struct err *err);
void plan_fini(struct plan *plan);

struct loaded { /* weights on a place */
    struct weights weights;
    struct place *place;
    struct spread spread; /* the memory */
    struct sums sums;     /* of what is kept, else of nothing */
    size_t bytes;
    bool is_adopted; /* taken over from another process */
};

/* Bytes that the weights take on a place. */
size_t plan_bytes(const struct plan *plan, const struct place *place);
/* `keep`: into memory that is sealed and summed when they are in. */
int weights_load(const struct plan *plan, const struct hparams *hp, const struct format *format,
                 struct place *place, bool keep,
                 bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                 struct loaded *ret, struct err *err);
/* Binds weights that are there already; takes spread and sums. -ENOMEM, and they are as before. */
int weights_take_over(const struct plan *plan, const struct hparams *hp, struct place *place,
                      struct spread *spread, struct sums *sums, struct loaded *ret);
/* Binds every weight to no memory at all, to see what a program over them asks for. */
int weights_pretend(const struct plan *plan, const struct hparams *hp, struct place *place,
                    struct loaded *ret);
/* One matrix from the file once more, packed as it lies in memory, to `dst`, which has at->bytes.
 */
int weights_read_again(const struct plan *plan, const struct format *format,
                       const struct loaded *loaded, const struct sums_at *at, void *dst,
                       struct err *err);
void weights_unload(struct loaded *loaded);
