/* SPDX-License-Identifier: MIT
 *
 * Ranks to tokens and merges. See hf_tiktoken.h.
 *
 * The merge that makes a token is the pair that is left when its bytes have been merged by all
 * lower ranks. Going up the ranks, those are the merges found so far: one pass, with a table of
 * pairs. A token of which more than two parts are left cannot come out of merging; it has none, and
 * stands only for a whole piece.
 */
#include "format/hf_tiktoken.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "format/hf.h"
#include "format/hf_vocab.h"

enum { MAX_RANKS = HF_MAX_TOKENS - HF_TIKTOKEN_RESERVED, MAX_BYTES = 1023, NAME_BYTES = 32 };

#define NONE UINT32_MAX

struct rank {       /* a token as bytes, decoded where its line was */
    uint32_t at;    /* in the file's text */
    uint32_t bytes; /* 0: not read yet */
    uint32_t line;
};

struct symbol {              /* of the token that is taken apart */
    uint32_t id, prev, next; /* id NONE: merged into the symbol before */
};

struct made { /* by a pair; id NONE: an empty slot */
    uint32_t left, right, id;
};

struct reading {
    const char *label;
    struct err *err;
    struct hf_vocab *vocab;
    char *text;        /* of the file */
    struct rank *rank; /* [n] by rank */
    uint32_t n, max_bytes;
    uint32_t byte[256]; /* the token of one byte */
    struct made *made;  /* mask + 1, at most two thirds of them taken */
    uint64_t mask, seed;
    struct symbol *symbol; /* [max_bytes] */
    uint64_t *heap;        /* [3 * max_bytes] rank << 32 | where: lowest first, then leftmost */
    size_t n_heap;
};

static void reading_fini(struct reading *reading)
{
    free(reading->rank);
    free(reading->made);
    free(reading->symbol);
    free(reading->heap);
}

static int no_memory(const struct reading *r)
{
    return err_set(r->err, -ENOMEM, "'%s': no memory for %" PRIu32 " tokens", r->label, r->n);
}

/* ------------------------------------------------------------------ lines */

static int digit_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* In place. The number of bytes, or -1: no base64, or not the one spelling of what it says. */
static long decode(char *text, size_t n)
{
    size_t pad = n > 0 && text[n - 1] == '=' ? (n > 1 && text[n - 2] == '=' ? 2 : 1) : 0;
    if (n % 4 != 0)
        return -1;
    unsigned char *dst = (unsigned char *)text;
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i < n - pad ? digit_of(text[i]) : 0;
        if (digit < 0)
            return -1;
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            *dst++ = (unsigned char)(bits >> 16);
            *dst++ = (unsigned char)(bits >> 8 & 0xFF);
            *dst++ = (unsigned char)(bits & 0xFF);
            bits = 0;
        }
    }
    for (size_t i = 0; i < pad; i++) /* bits of the last digit that stand for nothing */
        if (*--dst != 0)
            return -1;
    return dst - (unsigned char *)text;
}

/* Digits alone, without zeros in front; -1: something else, or more than any rank. */
static int64_t number(const char *text, size_t n)
{
    int64_t value = 0;
    if (n == 0 || n > 9 || (n > 1 && text[0] == '0'))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

static int read_line(struct reading *r, uint32_t line, char *text, size_t n)
{
    char *space = memchr(text, ' ', n);
    size_t coded = space ? (size_t)(space - text) : 0;
    int64_t rank = space ? number(space + 1, n - coded - 1) : -1;
    if (coded == 0 || rank < 0)
        return err_set(r->err, -EINVAL,
                       "'%s', line %" PRIu32 ": expected a token in base64, a space and its rank",
                       r->label, line);
    if (rank >= r->n)
        return err_set(r->err, -EINVAL,
                       "'%s', line %" PRIu32 ": found the rank %" PRId64 ", expected less than "
                       "%" PRIu32 ", the number of lines",
                       r->label, line, rank, r->n);
    struct rank *token = &r->rank[rank];
    if (token->bytes)
        return err_set(r->err, -EINVAL,
                       "'%s', line %" PRIu32 ": found the rank %" PRId64 " again, first in "
                       "line %" PRIu32,
                       r->label, line, rank, token->line);
    if (coded > MAX_BYTES / 3 * 4) /* which divides by three */
        return err_set(r->err, -EINVAL,
                       "'%s', line %" PRIu32 ": found a token of about %zu bytes, expected at "
                       "most %d",
                       r->label, line, coded / 4 * 3, MAX_BYTES);
    long bytes = decode(text, coded);
    if (bytes < 0)
        return err_set(r->err, -EINVAL, "'%s', line %" PRIu32 ": the token is not in base64",
                       r->label, line);
    *token =
        (struct rank){.at = (uint32_t)(text - r->text), .bytes = (uint32_t)bytes, .line = line};
    if (token->bytes > r->max_bytes)
        r->max_bytes = token->bytes;
    return 0;
}

static int read_lines(struct reading *r, struct hf_text *file)
{
    size_t lines = 0;
    for (size_t i = 0; i < file->bytes; i++)
        lines += file->at[i] == '\n' || i + 1 == file->bytes;
    if (lines == 0 || lines > MAX_RANKS)
        return err_set(r->err, -EINVAL, "'%s': found %zu lines, expected 1 to %d", r->label, lines,
                       MAX_RANKS);
    r->n = (uint32_t)lines;
    r->rank = calloc(lines, sizeof *r->rank);
    if (!r->rank)
        return no_memory(r);
    char *at = file->at, *end = file->at + file->bytes;
    for (uint32_t line = 1; at < end; line++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        int code = read_line(r, line, at, (size_t)((stop ? stop : end) - at));
        if (code < 0)
            return code;
        at = stop ? stop + 1 : end;
    }
    return 0; /* as many ranks as lines, each once and less than that: from 0 on without a gap */
}

static unsigned char byte_of(const struct reading *r, const struct rank *token, uint32_t i)
{
    return (unsigned char)r->text[token->at + i];
}

/* ------------------------------------------------------------------ spelling */

/* A byte in the alphabet of byte-level BPE: printable ones of Latin-1 are themselves, the others
 * follow each other from U+0100 on. */
static size_t spell(unsigned char byte, char *dst)
{
    unsigned point = byte;
    if (byte <= 0x20)
        point = 0x100U + byte;
    else if (byte >= 0x7F && byte <= 0xA0)
        point = 0x121U + (byte - 0x7FU);
    else if (byte == 0xAD)
        point = 0x143;
    if (point < 0x80) {
        *dst = (char)point;
        return 1;
    }
    dst[0] = (char)(0xC0 | point >> 6);
    dst[1] = (char)(0x80 | (point & 0x3F));
    return 2;
}

/* The text of each token, and room for the names of those behind. */
static int spell_tokens(struct reading *r)
{
    struct hf_vocab *vocab = r->vocab;
    size_t bytes = (size_t)HF_TIKTOKEN_RESERVED * NAME_BYTES;
    for (uint32_t i = 0; i < r->n; i++)
        bytes += (size_t)r->rank[i].bytes * 2;
    vocab->room = r->n + HF_TIKTOKEN_RESERVED;
    vocab->slot = calloc(vocab->room, sizeof *vocab->slot);
    vocab->own = malloc(bytes);
    if (!vocab->slot || !vocab->own)
        return no_memory(r);
    char *dst = vocab->own + (size_t)HF_TIKTOKEN_RESERVED * NAME_BYTES;
    for (uint32_t i = 0; i < r->n; i++) {
        char *from = dst;
        for (uint32_t k = 0; k < r->rank[i].bytes; k++)
            dst += spell(byte_of(r, &r->rank[i], k), dst);
        vocab->slot[i] =
            (struct hf_slot){.text = from, .bytes = (uint32_t)(dst - from), .kind = HF_NORMAL};
    }
    vocab->n = vocab->n_ranks = r->n;
    return 0;
}

/* ------------------------------------------------------------------ merges */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    (void)__builtin_mul_overflow(x, UINT64_C(0x9e3779b97f4a7c15), &x); /* wraps on purpose */
    return x ^ x >> 29;
}

/* Where a pair is or belongs. */
static struct made *find(const struct reading *r, uint32_t left, uint32_t right)
{
    uint64_t i = mix(((uint64_t)left << 32 | right) ^ r->seed) & r->mask;
    while (r->made[i].id != NONE && (r->made[i].left != left || r->made[i].right != right))
        i = (i + 1) & r->mask;
    return &r->made[i];
}

static void push(struct reading *r, uint64_t order)
{
    size_t at = r->n_heap++;
    while (at > 0 && r->heap[(at - 1) / 2] > order) {
        r->heap[at] = r->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    r->heap[at] = order;
}

static uint64_t pop(struct reading *r)
{
    uint64_t top = r->heap[0], last = r->heap[--r->n_heap];
    size_t at = 0;
    for (size_t child; (child = at * 2 + 1) < r->n_heap; at = child) {
        if (child + 1 < r->n_heap && r->heap[child + 1] < r->heap[child])
            child++;
        if (r->heap[child] >= last)
            break;
        r->heap[at] = r->heap[child];
    }
    r->heap[at] = last;
    return top;
}

/* What the symbol and its neighbour make, NONE: nothing. */
static uint32_t made_at(const struct reading *r, uint32_t at)
{
    uint32_t next = r->symbol[at].next;
    return next == NONE ? NONE : find(r, r->symbol[at].id, r->symbol[next].id)->id;
}

static void offer(struct reading *r, uint32_t at)
{
    uint32_t id = at == NONE ? NONE : made_at(r, at);
    if (id != NONE) /* at most once a symbol and twice a merge: three times the bytes */
        push(r, (uint64_t)id << 32 | at);
}

/* Merges the bytes of a token by the merges found so far. */
static void merge(struct reading *r, const struct rank *token)
{
    r->n_heap = 0;
    for (uint32_t i = 0; i < token->bytes; i++)
        r->symbol[i] = (struct symbol){.id = r->byte[byte_of(r, token, i)],
                                       .prev = i ? i - 1 : NONE,
                                       .next = i + 1 < token->bytes ? i + 1 : NONE};
    for (uint32_t i = 0; i < token->bytes; i++)
        offer(r, i);
    while (r->n_heap) {
        uint64_t order = pop(r);
        uint32_t at = (uint32_t)(order & UINT32_MAX), id = (uint32_t)(order >> 32);
        struct symbol *left = &r->symbol[at];
        if (left->id == NONE || made_at(r, at) != id)
            continue; /* an earlier merge took one of the two */
        struct symbol *right = &r->symbol[left->next];
        left->id = id;
        left->next = right->next;
        right->id = NONE;
        if (left->next != NONE)
            r->symbol[left->next].prev = at;
        offer(r, left->prev);
        offer(r, at);
    }
}

static int read_bytes(struct reading *r)
{
    memset(r->byte, 0xFF, sizeof r->byte);
    for (uint32_t i = 0; i < r->n; i++) {
        if (r->rank[i].bytes != 1)
            continue;
        uint32_t *byte = &r->byte[byte_of(r, &r->rank[i], 0)];
        if (*byte != NONE)
            return err_set(r->err, -EINVAL,
                           "'%s', line %" PRIu32 ": found a token again, first in line %" PRIu32,
                           r->label, r->rank[i].line, r->rank[*byte].line);
        *byte = i;
    }
    for (unsigned i = 0; i < 256; i++)
        if (r->byte[i] == NONE)
            return err_set(r->err, -EINVAL,
                           "'%s': found no token for the byte 0x%02X, expected one for each byte",
                           r->label, i);
    return 0;
}

static void put_merge(struct hf_vocab *vocab, uint32_t left, uint32_t right)
{
    char *dst = vocab->merges + vocab->merge_bytes;
    const struct hf_slot *a = &vocab->slot[left], *b = &vocab->slot[right];
    memcpy(dst, a->text, a->bytes);
    dst[a->bytes] = ' ';
    memcpy(dst + a->bytes + 1, b->text, b->bytes);
    dst[a->bytes + 1 + b->bytes] = '\0';
    vocab->merge_bytes += a->bytes + b->bytes + 2U;
    vocab->start[++vocab->n_merges] = (uint32_t)vocab->merge_bytes;
}

static int expect_merges(struct reading *r)
{
    struct hf_vocab *vocab = r->vocab;
    uint64_t slots = 64;
    while (slots < (uint64_t)r->n * 3 / 2)
        slots *= 2;
    r->mask = slots - 1;
    for (uint32_t i = 0; i < r->n; i++)
        vocab->merge_room += vocab->slot[i].bytes + 2U;
    r->made = malloc(slots * sizeof *r->made);
    r->symbol = malloc(r->max_bytes * sizeof *r->symbol);
    r->heap = malloc((size_t)r->max_bytes * 3 * sizeof *r->heap);
    vocab->merges = malloc(vocab->merge_room);
    vocab->start = malloc(((size_t)r->n + 1) * sizeof *vocab->start);
    if (!r->made || !r->symbol || !r->heap || !vocab->merges || !vocab->start)
        return no_memory(r);
    memset(r->made, 0xFF, slots * sizeof *r->made);
    vocab->start[0] = 0;
    vocab->start_room = r->n + 1;
    if (getrandom(&r->seed, sizeof r->seed, 0) != (ssize_t)sizeof r->seed)
        return err_set(r->err, -errno, "no random numbers: %s", strerror(errno));
    return 0;
}

static int find_merges(struct reading *r)
{
    int code = read_bytes(r);
    if (code == 0)
        code = expect_merges(r);
    for (uint32_t i = 0; i < r->n && code == 0; i++) {
        const struct rank *token = &r->rank[i];
        if (token->bytes == 1)
            continue;
        merge(r, token);
        uint32_t right = r->symbol[0].next;
        if (right == NONE)
            return err_set(r->err, -EINVAL,
                           "'%s', line %" PRIu32 ": found a token again, first in line %" PRIu32,
                           r->label, token->line, r->rank[r->symbol[0].id].line);
        if (r->symbol[right].next != NONE)
            continue;
        uint32_t left_id = r->symbol[0].id, right_id = r->symbol[right].id;
        *find(r, left_id, right_id) = (struct made){.left = left_id, .right = right_id, .id = i};
        put_merge(r->vocab, left_id, right_id);
    }
    return code;
}

int hf_tiktoken_read(struct hf_text *file, struct hf_vocab *vocab, struct err *err)
{
    struct reading r = {.label = file->label, .err = err, .vocab = vocab, .text = file->at};
    int code = read_lines(&r, file);
    if (code == 0)
        code = spell_tokens(&r);
    if (code == 0)
        code = find_merges(&r);
    vocab->pre = "kimi-k2"; /* the file does not say; the code beside it has this one rule */
    vocab->whole = true;
    reading_fini(&r);
    hf_text_fini(file);
    return code;
}

void hf_tiktoken_reserve(struct hf_vocab *vocab, uint32_t end)
{
    for (uint32_t i = 0; i < HF_TIKTOKEN_RESERVED; i++) {
        uint32_t id = vocab->n_ranks + i;
        if (id >= end || vocab->slot[id].kind)
            continue;
        char *name = vocab->own + (size_t)i * NAME_BYTES;
        int n = snprintf(name, NAME_BYTES, "<|reserved_token_%" PRIu32 "|>", id);
        vocab->slot[id] = (struct hf_slot){.text = name, .bytes = (uint32_t)n, .kind = HF_UNUSED};
        if (id >= vocab->n)
            vocab->n = id + 1;
    }
}
