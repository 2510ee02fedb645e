/* SPDX-License-Identifier: MIT
 *
 * Reads tensors in pieces of a few megabytes, packs them on the place, binds them to their roles.
 */
#include "model/weights.h"

#include <errno.h>
#include <string.h>

#include "place/mem.h"

enum { PIECE_BYTES = 8 << 20 };

struct loader {
    const struct format *format;
    struct place *place;
    bool (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    uint64_t done, all;
    char *piece; /* bytes as they are in the file */
    size_t piece_bytes;
    float *floats; /* the same, unpacked, when a conversion asks for it */
    size_t n_floats;
    struct err *err;
};

static size_t align(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t item_bytes(const struct place *place, const struct mat *mat)
{
    return align(place->ops->pack_size(place, mat) * (size_t)mat->count);
}

size_t plan_bytes(const struct plan *plan, const struct place *place)
{
    size_t bytes = 0;
    for (int i = 0; i < plan->n; i++)
        bytes += item_bytes(place, &plan->item[i].mat);
    return bytes;
}

static int grow(void **mem, size_t *have, size_t want, size_t element)
{
    if (want <= *have)
        return 0;
    void *more = realloc(*mem, want * element);
    if (!more)
        return -ENOMEM;
    *mem = more;
    *have = want;
    return 0;
}

static int no_memory(struct loader *l, const struct tensor *tensor)
{
    return err_set(l->err, -ENOMEM, "%s: no memory to read tensor '%s'", format_path(l->format),
                   tensor->name);
}

/* Rows [first, first + n) of the tensor, seen as rows of k, into l->piece. */
static int read_rows(struct loader *l, const struct tensor *tensor, uint64_t first, size_t n,
                     size_t k)
{
    size_t row = mk_row_bytes(tensor->type, k);
    if (grow((void **)&l->piece, &l->piece_bytes, n * row, 1) < 0)
        return no_memory(l, tensor);
    int r = format_read(l->format, tensor, first * row, l->piece, n * row, l->err);
    if (r < 0)
        return r;
    l->done += n * row;
    if (l->progress && !l->progress(l->arg, l->done, l->all))
        return err_set(l->err, -ECANCELED, "%s: loading was given up", format_path(l->format));
    return 0;
}

static int unpack(struct loader *l, const struct tensor *tensor, size_t elements)
{
    if (grow((void **)&l->floats, &l->n_floats, elements, sizeof *l->floats) < 0)
        return no_memory(l, tensor);
    place_unpack(tensor->type, l->piece, l->floats, elements);
    return 0;
}

/* n consecutive rows of the tensor become matrix rows at dst, in pieces. */
static int load_rows(struct loader *l, const struct plan_item *item, uint64_t first, char *dst)
{
    const struct mat *mat = &item->mat;
    size_t file_row = mk_row_bytes(item->tensor->type, (size_t)mat->k);
    size_t step = PIECE_BYTES / file_row / PLACE_PACK_ROWS * PLACE_PACK_ROWS;
    if (step == 0)
        step = PLACE_PACK_ROWS;
    for (int done = 0; done < mat->n;) {
        int n = mat->n - done;
        if ((size_t)n > step)
            n = (int)step;
        int r = read_rows(l, item->tensor, first + (uint64_t)done, (size_t)n, (size_t)mat->k);
        if (r < 0)
            return r;
        const void *src = l->piece;
        if (mat->type != item->tensor->type) {
            r = unpack(l, item->tensor, (size_t)n * (size_t)mat->k);
            if (r < 0)
                return r;
            src = l->floats;
        }
        struct mat before = {.type = mat->type, .n = done, .k = mat->k, .count = 1};
        struct mat rows = {.type = mat->type, .n = n, .k = mat->k, .count = 1};
        l->place->ops->pack(l->place, &rows, src,
                            dst + l->place->ops->pack_size(l->place, &before));
        done += n;
    }
    return 0;
}

/* k rows of n numbers in the file, transposed to the n rows of k that a matrix is. */
static int load_turned(struct loader *l, const struct plan_item *item, uint64_t first, char *dst)
{
    size_t k = (size_t)item->mat.k, n = (size_t)item->mat.n;
    const struct tensor *tensor = item->tensor;
    int r = read_rows(l, tensor, first, k, n);
    if (r < 0)
        return r;
    size_t element = mk_row_bytes(item->mat.type, 1);
    const char *src = l->piece;
    if (item->mat.type != tensor->type) {
        r = unpack(l, tensor, k * n);
        if (r < 0)
            return r;
        src = (const char *)l->floats;
    }
    OWN_MEM char *turned = malloc(k * n * element);
    if (!turned)
        return no_memory(l, tensor);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            memcpy(turned + (i * k + j) * element, src + (j * n + i) * element, element);
    struct mat one = item->mat;
    one.count = 1;
    l->place->ops->pack(l->place, &one, turned, dst);
    return 0;
}

static int load_matrix(struct loader *l, const struct plan_item *item, int index, char *dst)
{
    uint64_t first = (uint64_t)item->row + (uint64_t)index * (uint64_t)item->step;
    return item->how == PLAN_TURNED ? load_turned(l, item, first, dst)
                                    : load_rows(l, item, first, dst);
}

static int load_item(struct loader *l, const struct plan_item *item, char *dst, struct weight *ret)
{
    size_t stride = l->place->ops->pack_size(l->place, &item->mat);
    for (int i = 0; i < item->mat.count; i++) {
        int r = load_matrix(l, item, i, dst + (size_t)i * stride);
        if (r < 0)
            return r;
    }
    l->place->ops->bind(l->place, &item->mat, dst, ret);
    return 0;
}

static int make_slots(struct loaded *loaded, int layers)
{
    for (int role = 0; role < ROLE_COUNT; role++) {
        loaded->weights.layer[role] = calloc((size_t)layers, sizeof(struct weight));
        if (!loaded->weights.layer[role])
            return -ENOMEM;
    }
    return 0;
}

static struct weight *slot_of(struct loaded *loaded, const struct plan_item *item)
{
    return item->layer < 0 ? &loaded->weights.file[item->role]
                           : &loaded->weights.layer[item->role][item->layer];
}

static void tie(const struct plan *plan, struct loaded *loaded)
{
    if (plan->tied)
        loaded->weights.file[ROLE_HEAD] = loaded->weights.file[ROLE_EMBEDDING];
}

static int load_all(struct loader *l, const struct plan *plan, struct loaded *loaded)
{
    char *dst = loaded->mem;
    for (int i = 0; i < plan->n; i++) {
        const struct plan_item *item = &plan->item[i];
        struct weight *slot = slot_of(loaded, item);
        int r = load_item(l, item, dst, slot);
        if (r < 0)
            return r;
        dst += item_bytes(l->place, &item->mat);
    }
    return 0;
}

static uint64_t file_bytes(const struct plan *plan)
{
    uint64_t bytes = 0;
    for (int i = 0; i < plan->n; i++) {
        const struct plan_item *item = &plan->item[i];
        bool turned = item->how == PLAN_TURNED;
        size_t rows = (size_t)(turned ? item->mat.k : item->mat.n) * (size_t)item->mat.count;
        size_t k = (size_t)(turned ? item->mat.n : item->mat.k);
        bytes += rows * mk_row_bytes(item->tensor->type, k);
    }
    return bytes;
}

int weights_pretend(const struct plan *plan, const struct hparams *hp, struct place *place,
                    struct loaded *ret)
{
    static const char nowhere[64];
    struct loaded loaded = {.place = place};
    if (make_slots(&loaded, hp->layers) < 0) {
        weights_unload(&loaded);
        return -ENOMEM;
    }
    for (int i = 0; i < plan->n; i++)
        place->ops->bind(place, &plan->item[i].mat, nowhere, slot_of(&loaded, &plan->item[i]));
    tie(plan, &loaded);
    *ret = loaded;
    return 0;
}

int weights_load(const struct plan *plan, const struct hparams *hp, const struct format *format,
                 struct place *place, bool (*progress)(void *arg, uint64_t done, uint64_t all),
                 void *arg, struct loaded *ret, struct err *err)
{
    struct loaded loaded = {.place = place, .bytes = plan_bytes(plan, place)};
    int r = mem_alloc(loaded.bytes, &loaded.mem);
    if (r == 0)
        r = make_slots(&loaded, hp->layers);
    if (r < 0) {
        weights_unload(&loaded);
        return err_set(err, -ENOMEM, "%s: no memory for %zu MiB of weights", format_path(format),
                       loaded.bytes >> 20);
    }
    struct loader l = {
        .format = format,
        .place = place,
        .progress = progress,
        .arg = arg,
        .all = file_bytes(plan),
        .err = err,
    };
    r = load_all(&l, plan, &loaded);
    free(l.piece);
    free(l.floats);
    if (r < 0) {
        weights_unload(&loaded);
        return r;
    }
    tie(plan, &loaded);
    *ret = loaded;
    return 0;
}

void weights_unload(struct loaded *loaded)
{
    mem_free(loaded->mem, loaded->bytes);
    for (int role = 0; role < ROLE_COUNT; role++)
        free(loaded->weights.layer[role]);
    *loaded = (struct loaded){0};
}
