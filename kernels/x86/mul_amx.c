/* SPDX-License-Identifier: MIT
 *
 * Products of many rows with strips on AMX: int8 tiles.
 *
 * Two strips are unpacked group by group, as tiles that stay in the L1 cache, and each group meets
 * all rows of x. While tiles multiply, vectors unpack the next group and add what the block of
 * tiles before has summed: neither waits for the other. Integers are summed over a group of 256,
 * then floats over groups in order: mk_ref_mul() bit for bit. Pure; any thread.
 */
#include <immintrin.h>
#include <string.h>

#include "amx.h"
#include "mk.h"
#include "panel512.h"
#include "strip_avx512.h"

enum {
    BYTES = 64, /* numbers of the inner dimension in a tile */
    X_TILES = 3,
    STRIPS = 2,                /* tiles of x and of weights at once: six of sums */
    TILE_BYTES = ROWS * BYTES, /* of any tile */
    TILE_SUMS = ROWS * ROWS,
    GROUP_TILES = MK_DOT_GROUP / BYTES,
    GROUP_BYTES = STRIPS * MK_DOT_GROUP * STRIP_ROWS,
    SOME_ROWS = 8, /* whose sums are added between two products of tiles */
};

struct area { /* how mm->tmp is cut */
    int32_t
        *sums[2];  /* [X_TILES][STRIPS] tiles: of 16 rows of x and a strip; two blocks, in turn */
    uint8_t *w[2]; /* [STRIPS][tiles] of 16 times 4 columns; two groups, in turn */
    float *acc;    /* [rows][STRIPS][16] */
    float *x_step; /* [groups][rows] */
    uint8_t *x;    /* [rows / 16][k / 64] tiles of 16 rows */
    uint8_t *row;  /* one rounded row */
    int steps;     /* tiles along k */
    int groups, rows;
};

static void lay_out(const struct mk_mm *mm, struct area *ret)
{
    size_t padded = (size_t)MK_ROUNDED_K(mm->k), rows = ((size_t)mm->m + ROWS - 1) / ROWS * ROWS;
    ret->rows = (int)rows;
    ret->steps = (int)padded / BYTES;
    ret->groups = (mm->k + MK_DOT_GROUP - 1) / MK_DOT_GROUP;
    ret->sums[0] = (int32_t *)mm->tmp;
    ret->sums[1] = ret->sums[0] + X_TILES * STRIPS * TILE_SUMS;
    ret->w[0] = (uint8_t *)(ret->sums[1] + X_TILES * STRIPS * TILE_SUMS);
    ret->w[1] = ret->w[0] + GROUP_BYTES;
    ret->acc = (float *)(ret->w[1] + GROUP_BYTES);
    ret->x_step = ret->acc + rows * STRIPS * ROWS;
    ret->x = (uint8_t *)(ret->x_step + (size_t)ret->groups * rows);
    ret->row = ret->x + rows * padded;
}

static int columns(const struct mk_mm *mm, int group)
{
    int left = mm->k - group * MK_DOT_GROUP;
    return left < MK_DOT_GROUP ? left : MK_DOT_GROUP;
}

/* ------------------------------------------------------------------ rows of x */

static void pack_x(const struct mk_mm *mm, const struct area *area)
{
    size_t bytes = mk_rounded_bytes(mm->k);
    for (int i = 0; i < area->rows; i++) {
        uint8_t *dst = area->x + (size_t)(i / ROWS) * (size_t)area->steps * TILE_BYTES +
                       (size_t)(i % ROWS) * BYTES;
        if (i >= mm->m) { /* nobody looks at what comes of it */
            for (int s = 0; s < area->steps; s++, dst += TILE_BYTES)
                _mm512_store_si512(dst, _mm512_setzero_si512());
            for (int g = 0; g < area->groups; g++)
                area->x_step[(size_t)g * (size_t)area->rows + (size_t)i] = 0;
            continue;
        }
        size_t from = (size_t)(mm->xrow ? mm->xrow[i] : i);
        const void *rounded = area->row;
        if (mm->rounded)
            rounded = (const uint8_t *)mm->rounded + from * bytes;
        else
            mk_avx512_round(area->row, mm->x + from * (size_t)mm->ldx, mm->k);
        struct mk_rounded row = mk_rounded_row(rounded, mm->k);
        for (int s = 0; s < area->steps; s++, dst += TILE_BYTES)
            _mm512_store_si512(dst, _mm512_loadu_si512(row.q + s * BYTES));
        for (int g = 0; g < area->groups; g++)
            area->x_step[(size_t)g * (size_t)area->rows + (size_t)i] = row.step[g];
    }
}

/* ------------------------------------------------------------------ weights */

/* A group of some strips, unpacked part by part. */
struct unpacking {
    const uint8_t *w;     /* the group, of the strip at hand */
    const uint8_t *after; /* the group that is unpacked after it, fetched meanwhile */
    size_t strip_bytes, group_bytes;
    uint8_t *dst;
    __m512 *step;
    int n;      /* columns */
    int strips; /* left, with the one at hand */
    int part;   /* the next one of it */
    struct opened open;
};

#define PART_BYTES(type)                                                                           \
    (STRIP_ROWS * mk_row_bytes(type, MK_DOT_GROUP) * (size_t)counting(type).part / MK_DOT_GROUP)

INLINE void unpack_next(enum mk_type type, struct unpacking *u)
{
    const int part = counting(type).part, each = elements_of(type) / part;
    if (u->part == 0)
        *u->step++ = open_group(type, u->w, u->n, 0, &u->open);
    const uint8_t *fetched = u->after + (size_t)u->part * PART_BYTES(type);
    for (size_t line = 0; line < PART_BYTES(type); line += 64)
        _mm_prefetch((const char *)fetched + line, _MM_HINT_T1);
    int b = u->part / each, blocks = u->n / elements_of(type);
#define CASE(p)                                                                                    \
    case p:                                                                                        \
        if (p < each)                                                                              \
            unpack_part(type, u->w, blocks, b, p, &u->open, u->dst);                               \
        break;
    switch (u->part % each) { /* where in its block a part lies is a constant of its code */
        CASE(0)
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
        CASE(13)
        CASE(14)
        CASE(15)
    }
#undef CASE
    u->dst += part * STRIP_ROWS;
    if (++u->part * part < u->n)
        return;
    size_t missing = (size_t)(MK_ROUNDED_K(u->n) - u->n) * STRIP_ROWS;
    memset(u->dst, 0, missing);
    u->dst += missing;
    u->part = 0;
    u->w += u->strip_bytes;
    u->after += u->strip_bytes;
    u->strips--;
}

/* ------------------------------------------------------------------ sums */

/* What is multiplied at once: a group of `a` tiles of rows of x from row i on, and of `b` strips.
 */
struct block {
    int group, i, a, b;
    __m512 step[STRIPS]; /* of the strips' rows */
};

struct work {
    struct area area;
    struct block before;      /* what is added meanwhile */
    int added;                /* how many of its rows are */
    int due, parts, products; /* parts are unpacked evenly during so many products of tiles */
    struct unpacking next;    /* the group that follows */
    __m512 step[2][STRIPS];   /* of the rows of the groups in area.w */
    void (*unpack_next)(struct unpacking *u);
};

/* Integers of a block's rows [r, r + SOME_ROWS) to floats; the first group writes them. */
INLINE void add_rows(const struct work *w, int r, bool first, int b)
{
    const struct block *at = &w->before;
    const int32_t *sums = w->area.sums[1] + r / ROWS * STRIPS * TILE_SUMS + r % ROWS * ROWS;
    const float *x_step = w->area.x_step + (size_t)at->group * (size_t)w->area.rows + at->i + r;
    float *acc = w->area.acc + (size_t)(at->i + r) * STRIPS * ROWS;
    const __m512 step[STRIPS] = {at->step[0], at->step[1]};
    for (int i = 0; i < SOME_ROWS; i++, sums += ROWS, acc += STRIPS * ROWS)
        for (int s = 0; s < b; s++) {
            __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums + s * TILE_SUMS));
            sum = _mm512_mul_ps(sum, _mm512_set1_ps(x_step[i]));
            __m512 before = first ? _mm512_setzero_ps() : _mm512_load_ps(acc + s * ROWS);
            _mm512_store_ps(acc + s * ROWS, _mm512_fmadd_ps(sum, step[s], before));
        }
}

static void add_some(struct work *w)
{
    bool first = w->before.group == 0;
    if (w->before.b == STRIPS && !first)
        add_rows(w, w->added, false, STRIPS);
    else if (w->before.b == STRIPS)
        add_rows(w, w->added, true, STRIPS);
    else
        add_rows(w, w->added, first, 1);
    w->added += SOME_ROWS;
}

INLINE void unpack_some(struct work *w)
{
    for (w->due += w->parts; w->due >= w->products; w->due -= w->products)
        w->unpack_next(&w->next);
}

/* What vectors do while a product of tiles is made. */
INLINE void meanwhile(struct work *w, bool adds)
{
    if (adds && w->added < w->before.a * ROWS)
        add_some(w);
    unpack_some(w);
}

/* Tiles 0 … 5 are the sums, [X_TILES][STRIPS]. `w`: the group's weights. */
INLINE void multiply_tiles(struct work *work, const struct block *at, const uint8_t *w, int a,
                           int b)
{
    const struct area *area = &work->area;
    int first = at->group * GROUP_TILES, n = area->steps - first;
    n = n < GROUP_TILES ? n : GROUP_TILES;
    size_t next_w = (size_t)n * TILE_BYTES, next = (size_t)area->steps * TILE_BYTES;
    const uint8_t *x = area->x + (size_t)(at->i / ROWS) * next + (size_t)first * TILE_BYTES;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int s = 0; s < n; s++, x += TILE_BYTES, w += TILE_BYTES) {
        load_tile(7, w);
        load_tile(6, x);
        multiply_int8(0, 6, 7);
        meanwhile(work, false);
        if (a > 1) {
            load_tile(6, x + next);
            multiply_int8(2, 6, 7);
            meanwhile(work, true);
        }
        if (a > 2) {
            load_tile(6, x + 2 * next);
            multiply_int8(4, 6, 7);
            meanwhile(work, false);
        }
        if (b > 1) { /* the last tile of x is still there */
            load_tile(7, w + next_w);
            if (a > 2) {
                multiply_int8(5, 6, 7);
                meanwhile(work, false);
                load_tile(6, x + next);
            }
            if (a > 1) {
                multiply_int8(3, 6, 7);
                meanwhile(work, true);
                load_tile(6, x);
            }
            multiply_int8(1, 6, 7);
            meanwhile(work, false);
        }
    }
}

static void store_sums(int32_t *sums)
{
    _tile_stored(0, sums, LINE);
    _tile_stored(1, sums + TILE_SUMS, LINE);
    _tile_stored(2, sums + 2 * TILE_SUMS, LINE);
    _tile_stored(3, sums + 3 * TILE_SUMS, LINE);
    _tile_stored(4, sums + 4 * TILE_SUMS, LINE);
    _tile_stored(5, sums + 5 * TILE_SUMS, LINE);
}

/* The rest of what the block before has summed. */
static void add_rest(struct work *w)
{
    while (w->added < w->before.a * ROWS)
        add_some(w);
}

static void multiply_block(struct work *work, const struct block *at, const uint8_t *w)
{
    switch (at->a * STRIPS + at->b) {
    case 3 * STRIPS + 2:
        multiply_tiles(work, at, w, 3, 2);
        break;
    case 3 * STRIPS + 1:
        multiply_tiles(work, at, w, 3, 1);
        break;
    case 2 * STRIPS + 2:
        multiply_tiles(work, at, w, 2, 2);
        break;
    case 2 * STRIPS + 1:
        multiply_tiles(work, at, w, 2, 1);
        break;
    case 1 * STRIPS + 2:
        multiply_tiles(work, at, w, 1, 2);
        break;
    default:
        multiply_tiles(work, at, w, 1, 1);
    }
    add_rest(work);
    int32_t *free = work->area.sums[0];
    store_sums(free);
    work->area.sums[0] = work->area.sums[1];
    work->area.sums[1] = free;
    work->before = *at;
    work->added = 0;
}

/* Tiles of x that are taken next of `left`: no lone one at the end, if that can be. */
static int next_tiles(int left)
{
    return left == X_TILES + 1 ? 2 : left < X_TILES ? left : X_TILES;
}

/* Group `group` of some strips, which lies in area.w[at], times all rows of x. */
static void multiply_group(struct work *w, int group, int strips, int at)
{
    struct block block = {
        .group = group, .b = strips, .step = {w->step[at][0], w->step[at][STRIPS - 1]}};
    for (; block.i < w->area.rows; block.i += block.a * ROWS) {
        block.a = next_tiles((w->area.rows - block.i) / ROWS);
        multiply_block(w, &block, w->area.w[at]);
    }
    while (w->next.strips) /* nothing is left where no rounding was */
        w->unpack_next(&w->next);
}

/* A group of the strips at row j. */
struct place {
    int j, group;
};

static struct place after(const struct area *area, struct place at)
{
    if (at.group + 1 < area->groups)
        return (struct place){at.j, at.group + 1};
    return (struct place){at.j + STRIPS * STRIP_ROWS, 0};
}

static const uint8_t *find(const struct work *w, const struct mk_mm *mm, struct place at)
{
    return (const uint8_t *)mm->w + (size_t)(at.j / STRIP_ROWS) * w->next.strip_bytes +
           (size_t)at.group * w->next.group_bytes;
}

/* Says what is unpacked next, if there is such a group, to area.w[to]. */
static void begin_unpacking(struct work *w, const struct mk_mm *mm, struct place at, int to)
{
    w->next.w = find(w, mm, at);
    w->next.after = find(w, mm, after(&w->area, at));
    w->next.dst = w->area.w[to];
    w->next.step = w->step[to];
    w->next.n = columns(mm, at.group);
    w->next.strips = mm->n1 - at.j > STRIP_ROWS ? STRIPS : mm->n1 > at.j;
}

INLINE void multiply(const struct mk_mm *mm, enum mk_type type, void (*unpack)(struct unpacking *))
{
    struct work w = {.unpack_next = unpack};
    lay_out(mm, &w.area);
    pack_x(mm, &w.area);
    w.next.strip_bytes = STRIP_ROWS * mk_row_bytes(type, (size_t)mm->k);
    w.next.group_bytes = STRIP_ROWS * mk_row_bytes(type, MK_DOT_GROUP);
    open_tiles();
    int j = mm->n0 / STRIP_ROWS * STRIP_ROWS, lies = 0;
    begin_unpacking(&w, mm, (struct place){j, 0}, lies);
    while (w.next.strips)
        unpack(&w.next);
    for (; j < mm->n1; j += STRIPS * STRIP_ROWS) {
        int strips = mm->n1 - j > STRIP_ROWS ? STRIPS : 1;
        for (int g = 0; g < w.area.groups; g++, lies = !lies) {
            begin_unpacking(&w, mm, after(&w.area, (struct place){j, g}), !lies);
            w.parts = w.next.strips * w.next.n / counting(type).part;
            w.products = w.area.rows / ROWS * strips * (MK_ROUNDED_K(columns(mm, g)) / BYTES);
            multiply_group(&w, g, strips, lies);
        }
        add_rest(&w);
        for (int i = 0; i < mm->m; i++)
            for (int s = 0; s < strips; s++)
                put(mm, i, j + s * STRIP_ROWS,
                    _mm512_load_ps(w.area.acc + (size_t)(i * STRIPS + s) * ROWS));
    }
    _tile_release();
}

/* ------------------------------------------------------------------ the table */

#define FUNCTION(id)                                                                               \
    static void unpack_##id(struct unpacking *u)                                                   \
    {                                                                                              \
        unpack_next(MK_##id, u);                                                                   \
    }                                                                                              \
    static void multiply_##id(const struct mk_mm *mm)                                              \
    {                                                                                              \
        multiply(mm, MK_##id, unpack_##id);                                                        \
    }
STRIP_COARSE_TYPES(FUNCTION)
#undef FUNCTION

#define ROW(id) [MK_##id] = multiply_##id,
void (*const mk_amx_mul[MK_TYPE_COUNT])(const struct mk_mm *mm) = {STRIP_COARSE_TYPES(ROW)};
#undef ROW
