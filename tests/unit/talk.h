/* SPDX-License-Identifier: MIT
 *
 * Made-up talks for tests of what keeps their rows: tokens, answer bits and pages that follow from
 * a seed, so that right bytes can be told from wrong ones at any time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/page.h"
#include "kv/rowfile.h"

enum { TALK_MOST = 16 * PAGE_TOKENS, TALK_PAGE = 640 };

struct talk {
    struct rowfile_key key;
    struct rowfile_text text;
    int32_t token[TALK_MOST];
    uint8_t answer[TALK_MOST / 8];
    char name[ROWFILE_MOST_NAME + 1];
    void *page[TALK_MOST / PAGE_TOKENS];
    char memory[TALK_MOST / PAGE_TOKENS][TALK_PAGE];
};

static inline uint64_t talk_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline bool talk_bit(const uint8_t *bits, int i)
{
    return bits[i / 8] >> i % 8 & 1;
}

/* A page follows from the key and all tokens and bits up to its end, as latents do. */
static inline void talk_page(const struct talk *talk, int page, char *dst)
{
    uint64_t state = talk->key.uid * 31u + talk->key.model[0] * 7u + talk->key.kind[1];
    int end = (page + 1) * PAGE_TOKENS;
    for (int i = 0; i < end && i < talk->text.n_rows; i++) {
        state ^= (uint64_t)talk->token[i] * 2u + talk_bit(talk->answer, i);
        talk_random(&state);
    }
    bool packs = page % 3 != 1; /* zstd takes some, and some not */
    for (int i = 0; i < TALK_PAGE; i++)
        dst[i] = (char)(packs && i % 5 ? 0 : talk_random(&state) >> 7);
}

/* Two of one seed begin alike. */
static inline void talk_make(struct talk *talk, uint32_t uid, uint64_t seed, int n_rows)
{
    memset(talk, 0, sizeof *talk);
    talk->key = (struct rowfile_key){{1, 2}, {3, 4}, uid, TALK_PAGE};
    for (int i = 0; i < n_rows; i++) {
        talk->token[i] = (int32_t)(talk_random(&seed) % 50000);
        talk->answer[i / 8] |= (uint8_t)((i / 7 % 2) << i % 8);
    }
    talk->text = (struct rowfile_text){
        .token = talk->token,
        .n_tokens = n_rows,
        .n_rows = n_rows,
        .answer = talk->answer,
        .name = talk->name,
    };
    for (int i = 0; i < TALK_MOST / PAGE_TOKENS; i++)
        talk->page[i] = talk->memory[i];
}

static inline void talk_fill(struct talk *talk)
{
    for (int i = 0; i < rowfile_pages(talk->text.n_rows); i++)
        talk_page(talk, i, talk->memory[i]);
}

/* Whether the first pages are what they should be. */
static inline bool talk_is_right(const struct talk *talk, int n_pages, void *const *page)
{
    char expected[TALK_PAGE];
    for (int i = 0; i < n_pages; i++) {
        talk_page(talk, i, expected);
        if (memcmp(page[i], expected, TALK_PAGE) != 0)
            return false;
    }
    return true;
}
