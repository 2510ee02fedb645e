/* SPDX-License-Identifier: MIT
 *
 * Merges, lowest rank first, among equals the leftmost: a heap of pairs over linked symbols. */
#include "text/bpe.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>

#include <xxhash.h>

#include "format/format.h"
#include "text/alphabet.h"
#include "text/table.h"
#include "text/token.h"
#include "text/utf8.h"

#define MERGES "tokenizer.ggml.merges"

enum { MAX_MERGES = 1 << 24, MAX_MERGE_BYTES = 8192 };

struct merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: an empty slot */
    uint32_t rank;
    int32_t id; /* of what comes out */
};

struct lookup { /* tokens by their bytes */
    const struct token_table *table;
    uint64_t seed, mask;
    int32_t *slots; /* -1: empty */
};

struct bpe {
    int32_t base[256]; /* the token of one byte, -1: none */
    uint64_t seed;     /* of the hash, so that no file can be made to collide */
    uint64_t mask;
    struct merge *slots;  /* mask + 1, at most half of them taken */
    struct lookup lookup; /* needed while merges are read, and then for whole pieces, if at all */
};

struct bpe_symbol {
    int32_t id;          /* -1: merged into the symbol before */
    uint32_t prev, next; /* NONE at the ends */
};

struct bpe_pair {
    uint64_t order; /* rank << 32 | position of the left symbol: lowest first, then leftmost */
    int32_t left, right, id;
};

#define NONE UINT32_MAX

/* ---- tables */

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static uint64_t mix(uint64_t x) /* the finaliser of splitmix64 */
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* The slot of a pair, or the empty one where it belongs. */
static struct merge *merge_slot(const struct bpe *bpe, uint64_t pair)
{
    uint64_t i = mix(pair ^ bpe->seed) & bpe->mask;
    while (bpe->slots[i].pair != pair && bpe->slots[i].pair != UINT64_MAX)
        i = (i + 1) & bpe->mask;
    return &bpe->slots[i];
}

static void lookup_fini(struct lookup *lookup)
{
    free(lookup->slots);
    *lookup = (struct lookup){0};
}

static int32_t *lookup_slot(const struct lookup *lookup, const char *bytes, size_t n)
{
    uint64_t i = XXH3_64bits_withSeed(bytes, n, lookup->seed) & lookup->mask;
    for (;; i = (i + 1) & lookup->mask) {
        int32_t *slot = &lookup->slots[i];
        if (*slot < 0)
            return slot;
        size_t have;
        const char *other = token_table_bytes(lookup->table, *slot, &have);
        if (have == n && memcmp(other, bytes, n) == 0)
            return slot;
    }
}

static uint64_t slots_for(uint64_t entries)
{
    uint64_t slots = 64;
    while (slots < entries * 2)
        slots *= 2;
    return slots;
}

static int lookup_init(struct lookup *ret, const struct token_table *table, uint64_t seed,
                       const struct meta *meta, struct err *err)
{
    uint64_t slots = slots_for((uint64_t)table->n);
    *ret = (struct lookup){.table = table, .seed = seed, .mask = slots - 1};
    ret->slots = malloc(slots * sizeof(*ret->slots));
    if (!ret->slots)
        return err_set(err, -ENOMEM, "no memory to look up %" PRId32 " tokens", table->n);
    memset(ret->slots, 0xFF, slots * sizeof(*ret->slots));

    for (int32_t id = 0; id < table->n; id++) {
        if (table->flags[id] & TOKEN_ADDED)
            continue;
        size_t n;
        const char *bytes = token_table_bytes(table, id, &n);
        int32_t *slot = lookup_slot(ret, bytes, n);
        if (*slot >= 0)
            return err_set(err, -EINVAL,
                           "%s: tokens %" PRId32 " and %" PRId32 " are spelled the same",
                           meta_path(meta), *slot, id);
        *slot = id;
    }
    return 0;
}

static int read_base(struct bpe *bpe, const struct lookup *lookup, const struct meta *meta,
                     struct err *err)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        bpe->base[i] = *lookup_slot(lookup, &byte, 1);
        bool in_utf8 = i < 0xC0 || (i > 0xC1 && i < 0xF5);
        if (bpe->base[i] < 0 && in_utf8)
            return err_set(err, -EINVAL,
                           "%s: no token for the byte 0x%02X; byte-level BPE needs one for each",
                           meta_path(meta), (unsigned)i);
    }
    return 0;
}

static int read_merge(struct bpe *bpe, const struct lookup *lookup, const struct meta *meta,
                      uint32_t rank, struct err *err)
{
    size_t bytes;
    const char *text = meta_str_at(meta, MERGES, rank, &bytes);
    const char *space = memchr(text, ' ', bytes);
    size_t left_bytes = space ? (size_t)(space - text) : 0;
    size_t right_bytes = space ? bytes - left_bytes - 1 : 0;
    if (bytes > MAX_MERGE_BYTES || left_bytes == 0 || right_bytes == 0 ||
        memchr(space + 1, ' ', right_bytes))
        return err_set(err, -EINVAL,
                       "%s: " MERGES "[%" PRIu32 "] '%.*s': expected two spellings with a "
                       "space between",
                       meta_path(meta), rank, utf8_quote(text, bytes), text);

    char both[MAX_MERGE_BYTES];
    long left = alphabet_decode(text, left_bytes, both);
    long right = left < 0 ? left : alphabet_decode(space + 1, right_bytes, both + left);
    if (right < 0)
        return err_set(err, -EINVAL,
                       "%s: " MERGES "[%" PRIu32 "] '%.*s' has a character outside the "
                       "alphabet of byte-level BPE",
                       meta_path(meta), rank, utf8_quote(text, bytes), text);
    int32_t left_id = *lookup_slot(lookup, both, (size_t)left);
    int32_t right_id = *lookup_slot(lookup, both + left, (size_t)right);
    int32_t id = *lookup_slot(lookup, both, (size_t)(left + right));
    if (left_id < 0 || right_id < 0 || id < 0)
        return err_set(err, -EINVAL, "%s: " MERGES "[%" PRIu32 "] '%.*s': its %s is not a token",
                       meta_path(meta), rank, utf8_quote(text, bytes), text,
                       left_id < 0    ? "left part"
                       : right_id < 0 ? "right part"
                                      : "result");
    struct merge *slot = merge_slot(bpe, pair_of(left_id, right_id));
    if (slot->pair != UINT64_MAX)
        return err_set(err, -EINVAL, "%s: " MERGES "[%" PRIu32 "] '%.*s' repeats merge %" PRIu32,
                       meta_path(meta), rank, utf8_quote(text, bytes), text, slot->rank);
    *slot = (struct merge){.pair = pair_of(left_id, right_id), .rank = rank, .id = id};
    return 0;
}

int bpe_open(const struct meta *meta, const struct token_table *table, bool whole, struct bpe **ret,
             struct err *err)
{
    uint64_t n = 0;
    int r = meta_str_array(meta, MERGES, &n, err);
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "%s: no " MERGES, meta_path(meta));
    if (r < 0)
        return r;
    if (n > MAX_MERGES)
        return err_set(err, -EINVAL, "%s: " MERGES " has %" PRIu64 " entries, expected at most %d",
                       meta_path(meta), n, MAX_MERGES);

    OWN(bpe) *bpe = calloc(1, sizeof(*bpe));
    if (!bpe)
        return err_set(err, -ENOMEM, "no memory for a vocabulary");
    if (getrandom(&bpe->seed, sizeof(bpe->seed), 0) != sizeof(bpe->seed))
        return err_set(err, -errno, "no random numbers: %s", strerror(errno));
    uint64_t slots = slots_for(n);
    bpe->mask = slots - 1;
    bpe->slots = malloc(slots * sizeof(*bpe->slots));
    if (!bpe->slots)
        return err_set(err, -ENOMEM, "%s: no memory for %" PRIu64 " merges", meta_path(meta), n);
    memset(bpe->slots, 0xFF, slots * sizeof(*bpe->slots));

    r = lookup_init(&bpe->lookup, table, bpe->seed, meta, err);
    if (r == 0)
        r = read_base(bpe, &bpe->lookup, meta, err);
    for (uint64_t rank = 0; r == 0 && rank < n; rank++)
        r = read_merge(bpe, &bpe->lookup, meta, (uint32_t)rank, err);
    if (r < 0)
        return r;
    if (!whole)
        lookup_fini(&bpe->lookup);
    *ret = TAKE(bpe);
    return 0;
}

void bpe_close(struct bpe *bpe)
{
    if (!bpe)
        return;
    lookup_fini(&bpe->lookup);
    free(bpe->slots);
    free(bpe);
}

/* ---- encoding */

void bpe_work_fini(struct bpe_work *work)
{
    free(work->symbols);
    free(work->heap);
    *work = (struct bpe_work){0};
}

static int heap_push(struct bpe_work *work, struct bpe_pair pair)
{
    if (work->n_heap == work->heap_room) {
        size_t room = work->heap_room ? work->heap_room * 2 : 256;
        struct bpe_pair *heap = reallocarray(work->heap, room, sizeof(*heap));
        if (!heap)
            return -ENOMEM;
        work->heap = heap;
        work->heap_room = room;
    }
    size_t at = work->n_heap++;
    while (at > 0 && work->heap[(at - 1) / 2].order > pair.order) {
        work->heap[at] = work->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    work->heap[at] = pair;
    return 0;
}

static struct bpe_pair heap_pop(struct bpe_work *work)
{
    struct bpe_pair top = work->heap[0], last = work->heap[--work->n_heap];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= work->n_heap)
            break;
        if (child + 1 < work->n_heap && work->heap[child + 1].order < work->heap[child].order)
            child++;
        if (work->heap[child].order >= last.order)
            break;
        work->heap[at] = work->heap[child];
        at = child;
    }
    work->heap[at] = last;
    return top;
}

/* Offers the pair that begins at a symbol, if there is one and it can merge. */
static int offer(const struct bpe *bpe, struct bpe_work *work, uint32_t left)
{
    if (left == NONE || work->symbols[left].next == NONE)
        return 0;
    int32_t left_id = work->symbols[left].id;
    int32_t right_id = work->symbols[work->symbols[left].next].id;
    const struct merge *merge = merge_slot(bpe, pair_of(left_id, right_id));
    if (merge->pair == UINT64_MAX)
        return 0;
    struct bpe_pair pair = {.order = (uint64_t)merge->rank << 32 | left,
                            .left = left_id,
                            .right = right_id,
                            .id = merge->id};
    return heap_push(work, pair);
}

static int load(const struct bpe *bpe, struct bpe_work *work, const char *piece, size_t bytes,
                struct err *err)
{
    if (bytes >= NONE)
        return err_set(err, -EINVAL, "a piece of %zu bytes is too long to encode", bytes);
    if (bytes > work->symbol_room) {
        size_t room = bytes < 256 ? 256 : bytes + bytes / 2;
        struct bpe_symbol *symbols = reallocarray(work->symbols, room, sizeof(*symbols));
        if (!symbols)
            return err_set(err, -ENOMEM, "no memory to encode a piece of %zu bytes", bytes);
        work->symbols = symbols;
        work->symbol_room = room;
    }
    work->n_symbols = bytes;
    work->n_heap = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)piece[i];
        if (bpe->base[byte] < 0)
            return err_set(err, -EINVAL,
                           "the byte 0x%02X is not UTF-8, and the vocabulary has no token for it",
                           byte);
        work->symbols[i] = (struct bpe_symbol){.id = bpe->base[byte],
                                               .prev = i ? (uint32_t)i - 1 : NONE,
                                               .next = i + 1 < bytes ? (uint32_t)i + 1 : NONE};
    }
    return 0;
}

static int merge_all(const struct bpe *bpe, struct bpe_work *work)
{
    for (size_t i = 0; i + 1 < work->n_symbols; i++)
        if (offer(bpe, work, (uint32_t)i) < 0)
            return -ENOMEM;

    while (work->n_heap > 0) {
        struct bpe_pair pair = heap_pop(work);
        uint32_t left = (uint32_t)pair.order;
        struct bpe_symbol *symbol = &work->symbols[left];
        if (symbol->id != pair.left || symbol->next == NONE ||
            work->symbols[symbol->next].id != pair.right)
            continue; /* an earlier merge took one of the two */

        struct bpe_symbol *gone = &work->symbols[symbol->next];
        symbol->id = pair.id;
        symbol->next = gone->next;
        gone->id = -1;
        if (symbol->next != NONE)
            work->symbols[symbol->next].prev = left;
        if (offer(bpe, work, symbol->prev) < 0 || offer(bpe, work, left) < 0)
            return -ENOMEM;
    }
    return 0;
}

int bpe_encode(const struct bpe *bpe, struct bpe_work *work, const char *piece, size_t bytes,
               struct ids *ret, struct err *err)
{
    const struct token_table *table = bpe->lookup.table; /* NULL: pieces are always merged */
    int32_t id = table && bytes > 0 && bytes <= table->max_bytes
                     ? *lookup_slot(&bpe->lookup, piece, bytes)
                     : -1;
    int r = id < 0 ? load(bpe, work, piece, bytes, err) : ids_push(ret, id);
    if (r == -EINVAL)
        return r;
    if (r == 0 && id < 0)
        r = merge_all(bpe, work);
    for (uint32_t at = 0; r == 0 && id < 0 && bytes > 0 && at != NONE; at = work->symbols[at].next)
        r = ids_push(ret, work->symbols[at].id);
    if (r < 0)
        return err_set(err, r, "no memory to encode a piece of %zu bytes", bytes);
    return 0;
}
