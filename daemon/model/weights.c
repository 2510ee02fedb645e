/* SPDX-License-Identifier: MIT
 *
 * Reads tensors in pieces, packs them on the place, binds them to their roles.
 *
 * Several hands work at it: one thread, even with all of the file in memory, copies at half of what
 * a machine can. Each takes the next piece in the file's order, so reading stays sequential.
 */
#include "model/weights.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/thread.h"
#include "place/place.h"

enum {
    PIECE_BYTES = 1 << 20, /* stays in a core's cache between reading and packing */
    RUN_PIECES = 16,       /* of one thread: two that touch the same huge page both clear one */
    RUNS = 64,             /* of a load, at least, that all threads have their part */
    MOST_HANDS = 8,
};

/* What is loaded next: rows of a matrix of an item. */
struct cursor {
    int item, matrix, row;
};

struct loader {
    const struct plan *plan;
    struct spread *spread;
    const struct format *format;
    struct place *place;
    bool (*progress)(void *arg, uint64_t done, uint64_t all);
    void *arg;
    uint64_t all;
    int run_pieces;
    atomic_uint_fast64_t done;
    atomic_bool stop;

    pthread_mutex_t lock; /* of what follows: taken once a run */
    struct cursor next;
    int failed; /* the first failure, and its words */
    struct err *err;
};

/* One thread at work, and its own memory. */
struct hand {
    struct loader *loader;
    pthread_t thread;
    bool is_caller; /* the thread that progress is told on */
    char *piece;    /* bytes as they are in the file */
    size_t piece_bytes;
    float *floats; /* the same, unpacked, when a conversion asks for it */
    size_t n_floats;
    struct err err;
};

size_t plan_bytes(const struct plan *plan, const struct place *place)
{
    size_t bytes = 0;
    for (int i = 0; i < plan->n; i++)
        bytes += spread_item_bytes(place, &plan->item[i]);
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

static int no_memory(struct hand *h, const struct tensor *tensor)
{
    return err_set(&h->err, -ENOMEM, "%s: no memory to read tensor '%s'",
                   format_path(h->loader->format), tensor->name);
}

/* Rows [first, first + n) of the tensor, seen as rows of k, to dst; NULL: into h->piece. */
static int read_rows(struct hand *h, const struct tensor *tensor, uint64_t first, size_t n,
                     size_t k, char *dst)
{
    struct loader *l = h->loader;
    size_t row = mk_row_bytes(tensor->type, k);
    if (!dst && grow((void **)&h->piece, &h->piece_bytes, n * row, 1) < 0)
        return no_memory(h, tensor);
    int r = format_read(l->format, tensor, first * row, dst ? dst : h->piece, n * row, &h->err);
    if (r < 0)
        return r;
    uint64_t done = atomic_fetch_add(&l->done, n * row) + n * row;
    if (h->is_caller && l->progress && !l->progress(l->arg, done, l->all))
        return err_set(&h->err, -ECANCELED, "%s: loading was given up", format_path(l->format));
    return 0;
}

static int unpack(struct hand *h, const struct tensor *tensor, size_t elements)
{
    if (grow((void **)&h->floats, &h->n_floats, elements, sizeof *h->floats) < 0)
        return no_memory(h, tensor);
    place_unpack(tensor->type, h->piece, h->floats, elements);
    return 0;
}

/* ------------------------------------------------------------------ pieces */

static uint64_t first_row(const struct plan_item *item, int matrix)
{
    return (uint64_t)item->row + (uint64_t)matrix * (uint64_t)item->step;
}

/* n consecutive rows of the tensor become rows of a matrix at dst. */
static int load_rows(struct hand *h, const struct plan_item *item, uint64_t first, int n, char *dst)
{
    struct place *place = h->loader->place;
    const struct mat *mat = &item->mat;
    bool stays = mat->type == item->tensor->type && place->ops->is_plain &&
                 place->ops->is_plain(place, mat->type);
    int r = read_rows(h, item->tensor, first, (size_t)n, (size_t)mat->k, stays ? dst : NULL);
    if (r < 0 || stays)
        return r;
    const void *src = h->piece;
    if (mat->type != item->tensor->type) {
        r = unpack(h, item->tensor, (size_t)n * (size_t)mat->k);
        if (r < 0)
            return r;
        src = h->floats;
    }
    struct mat rows = {.type = mat->type, .n = n, .k = mat->k, .count = 1};
    place->ops->pack(place, &rows, src, dst);
    return 0;
}

/* k rows of n numbers in the file, transposed to the n rows of k that a matrix is. */
static int load_turned(struct hand *h, const struct plan_item *item, uint64_t first, char *dst)
{
    size_t k = (size_t)item->mat.k, n = (size_t)item->mat.n;
    const struct tensor *tensor = item->tensor;
    int r = read_rows(h, tensor, first, k, n, NULL);
    if (r < 0)
        return r;
    size_t element = mk_row_bytes(item->mat.type, 1);
    const char *src = h->piece;
    if (item->mat.type != tensor->type) {
        r = unpack(h, tensor, k * n);
        if (r < 0)
            return r;
        src = (const char *)h->floats;
    }
    OWN_MEM char *turned = malloc(k * n * element);
    if (!turned)
        return no_memory(h, tensor);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            memcpy(turned + (i * k + j) * element, src + (j * n + i) * element, element);
    struct mat one = item->mat;
    one.count = 1;
    h->loader->place->ops->pack(h->loader->place, &one, turned, dst);
    return 0;
}

/* The rows of the part that a piece is in. */
static void part_rows(const struct loader *l, const struct cursor *at, int *first, int *end)
{
    const struct weight_part *part = spread_find(l->spread, l->plan, at->item, at->matrix, at->row);
    bool whole = spread_by_matrix(&l->plan->item[at->item]);
    *first = whole ? 0 : part->first;
    *end = whole ? l->plan->item[at->item].mat.n : part->end;
}

/* Rows of a piece: what PIECE_BYTES hold, but whole units of packing, and of one part; of a turned
 * matrix, all. */
static int piece_rows(const struct loader *l, const struct cursor *at)
{
    const struct plan_item *item = &l->plan->item[at->item];
    if (item->how == PLAN_TURNED)
        return item->mat.n;
    int first, end;
    part_rows(l, at, &first, &end);
    size_t row = mk_row_bytes(item->tensor->type, (size_t)item->mat.k);
    size_t rows = PIECE_BYTES / row / PLACE_PACK_ROWS * PLACE_PACK_ROWS;
    if (rows == 0)
        rows = PLACE_PACK_ROWS;
    return rows < (size_t)(end - at->row) ? (int)rows : end - at->row;
}

static char *piece_memory(const struct loader *l, const struct cursor *at)
{
    const struct plan_item *item = &l->plan->item[at->item];
    const struct weight_part *part = spread_find(l->spread, l->plan, at->item, at->matrix, at->row);
    int first, end;
    part_rows(l, at, &first, &end);
    struct mat before = {
        .type = item->mat.type, .n = at->row - first, .k = item->mat.k, .count = 1};
    int matrix = at->matrix - (spread_by_matrix(item) ? part->first : 0);
    return (char *)part->data + (size_t)matrix * part->stride +
           (before.n ? l->place->ops->pack_size(l->place, &before) : 0);
}

static void advance(const struct loader *l, struct cursor *at)
{
    const struct plan_item *item = &l->plan->item[at->item];
    at->row += piece_rows(l, at);
    if (at->row >= item->mat.n) {
        at->row = 0;
        at->matrix++;
    }
    if (at->matrix == item->mat.count)
        *at = (struct cursor){.item = at->item + 1};
}

/* The next run of pieces, false if all are taken or somebody failed. */
static bool take(struct loader *l, struct cursor *ret)
{
    pthread_mutex_lock(&l->lock);
    *ret = l->next;
    bool taken = l->next.item < l->plan->n && !atomic_load(&l->stop);
    for (int i = 0; taken && i < l->run_pieces && l->next.item < l->plan->n; i++)
        advance(l, &l->next);
    pthread_mutex_unlock(&l->lock);
    return taken;
}

static int load_piece(struct hand *h, const struct cursor *at)
{
    const struct plan_item *item = &h->loader->plan->item[at->item];
    char *dst = piece_memory(h->loader, at);
    uint64_t first = first_row(item, at->matrix);
    struct mat rows = item->mat;
    rows.n = piece_rows(h->loader, at);
    rows.count = 1;
    spread_expect(h->loader->spread, dst,
                  h->loader->place->ops->pack_size(h->loader->place, &rows));
    if (item->how == PLAN_TURNED)
        return load_turned(h, item, first, dst);
    return load_rows(h, item, first + (uint64_t)at->row, rows.n, dst);
}

static int load_run(struct hand *h, struct cursor at)
{
    const struct loader *l = h->loader;
    int r = 0;
    for (int i = 0; r >= 0 && i < l->run_pieces && at.item < l->plan->n; i++, advance(l, &at))
        r = load_piece(h, &at);
    return r;
}

static void *load_pieces(void *arg)
{
    struct hand *h = arg;
    struct loader *l = h->loader;
    struct cursor at;
    while (take(l, &at)) {
        int r = load_run(h, at);
        if (r >= 0)
            continue;
        pthread_mutex_lock(&l->lock);
        if (l->failed == 0) {
            l->failed = r;
            err_set(l->err, r, "%s", h->err.text);
        }
        pthread_mutex_unlock(&l->lock);
        atomic_store(&l->stop, true);
    }
    free(h->piece);
    free(h->floats);
    return NULL;
}

static int pieces_of_run(uint64_t bytes)
{
    uint64_t pieces = bytes / PIECE_BYTES / RUNS;
    return pieces < 1 ? 1 : pieces > RUN_PIECES ? RUN_PIECES : (int)pieces;
}

/* All pieces, with the caller and as many threads beside it as the place has more than one. */
static int load_all(struct loader *l)
{
    struct hand hand[MOST_HANDS];
    int n = l->place->threads < MOST_HANDS ? l->place->threads : MOST_HANDS, started = 1;
    for (int i = 0; i < n; i++)
        hand[i] = (struct hand){.loader = l, .is_caller = i == 0};
    while (started < n &&
           thread_start(&hand[started].thread, "moed-loader", load_pieces, &hand[started]) == 0)
        started++; /* fewer do as well */
    load_pieces(&hand[0]);
    for (int i = 1; i < started; i++)
        pthread_join(hand[i].thread, NULL);
    if (l->failed == 0 && l->progress)
        l->progress(l->arg, l->all, l->all);
    return l->failed;
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

static void bind_all(const struct plan *plan, struct place *place, struct loaded *loaded)
{
    for (int i = 0; i < plan->n; i++) {
        const struct plan_item *item = &plan->item[i];
        struct weight *slot = slot_of(loaded, item);
        const struct weight_part *part = spread_find(&loaded->spread, plan, i, 0, 0);
        place->ops->bind(place, &item->mat, part->data, slot);
        if (part->end == (spread_by_matrix(item) ? item->mat.count : item->mat.n))
            continue; /* all of it */
        slot->stride = part->stride;
        slot->part = part;
        slot->by_matrix = spread_by_matrix(item);
    }
    tie(plan, loaded);
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

/* What is kept gets its checksums while they are surely right, and then its seals. */
static int finish(const struct plan *plan, struct place *place, struct loaded *loaded,
                  const char *path, struct err *err)
{
    if (loaded->spread.is_kept) {
        int r = sums_list(plan, &loaded->spread, &loaded->sums);
        if (r < 0)
            return err_set(err, r, "%s: no memory for checksums", path);
        sums_make(&loaded->sums, place->threads);
        r = spread_seal(&loaded->spread);
        if (r < 0)
            return err_set(err, r, "%s: cannot seal the weights: %s", path, strerror(-r));
    }
    bind_all(plan, place, loaded);
    return 0;
}

int weights_load(const struct plan *plan, const struct hparams *hp, const struct format *format,
                 struct place *place, bool keep,
                 bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                 struct loaded *ret, struct err *err)
{
    struct loaded loaded = {.place = place};
    int r = spread_make(plan, hp, place, keep, &loaded.spread);
    if (r == 0)
        r = make_slots(&loaded, hp->layers);
    if (r < 0) {
        weights_unload(&loaded);
        return err_set(err, r, "%s: no memory for %zu MiB of weights: %s", format_path(format),
                       plan_bytes(plan, place) >> 20, strerror(-r));
    }
    loaded.bytes = loaded.spread.bytes;
    struct loader l = {
        .plan = plan,
        .spread = &loaded.spread,
        .format = format,
        .place = place,
        .progress = progress,
        .arg = arg,
        .all = file_bytes(plan),
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .err = err,
    };
    l.run_pieces = pieces_of_run(l.all);
    r = load_all(&l);
    if (r == 0)
        r = finish(plan, place, &loaded, format_path(format), err);
    if (r < 0) {
        weights_unload(&loaded);
        return r;
    }
    *ret = loaded;
    return 0;
}

int weights_take_over(const struct plan *plan, const struct hparams *hp, struct place *place,
                      struct spread *spread, struct sums *sums, struct loaded *ret)
{
    struct loaded loaded = {.place = place};
    if (make_slots(&loaded, hp->layers) < 0) {
        weights_unload(&loaded);
        return -ENOMEM;
    }
    loaded.spread = *spread;
    loaded.sums = *sums;
    loaded.bytes = spread->bytes;
    loaded.is_adopted = true;
    *spread = (struct spread){0};
    *sums = (struct sums){0};
    bind_all(plan, place, &loaded);
    *ret = loaded;
    return 0;
}

/* As if the matrix lay at dst: the part that it belongs to begins where that makes it so. */
int weights_read_again(const struct plan *plan, const struct format *format,
                       const struct loaded *loaded, const struct sums_at *at, void *dst,
                       struct err *err)
{
    const struct plan_item *item = &plan->item[at->item];
    size_t n_parts = (size_t)plan->n * (size_t)loaded->spread.n_nodes;
    struct spread spread = loaded->spread;
    OWN_MEM struct weight_part *part = malloc(n_parts * sizeof *part);
    if (!part)
        return err_set(err, -ENOMEM, "no memory to read '%s' again", item->tensor->name);
    memcpy(part, spread.part, n_parts * sizeof *part);
    struct weight_part *own = &part[at->item * spread.n_nodes + at->node];
    size_t before = (size_t)(at->data - (const char *)own->data);
    own->data = (const void *)((uintptr_t)dst - before);
    spread.part = part;
    spread.is_kept = false; /* dst is ordinary memory */
    struct loader l = {.plan = plan, .spread = &spread, .format = format, .place = loaded->place};
    struct hand hand = {.loader = &l};
    struct cursor next = {.item = at->item, .matrix = at->matrix, .row = at->first};
    int r = 0;
    while (r == 0 && next.row < at->end) {
        int rows = piece_rows(&l, &next);
        r = load_piece(&hand, &next);
        next.row += rows;
    }
    free(hand.piece);
    free(hand.floats);
    return r < 0 ? err_set(err, r, "%s", hand.err.text) : 0;
}

void weights_unload(struct loaded *loaded)
{
    spread_fini(&loaded->spread);
    sums_fini(&loaded->sums);
    for (int role = 0; role < ROLE_COUNT; role++)
        free(loaded->weights.layer[role]);
    *loaded = (struct loaded){0};
}
