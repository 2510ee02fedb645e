/* SPDX-License-Identifier: MIT
 *
 * Talks whose pages are in a tree: what tests of trees share.
 *
 * Each row made holds a hash of its owner, its token, how it was made, and the row before it. So a
 * page that a view should not have got shows, whichever way it came by it.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "kv/tree.h"

enum { MAX_PAGES = 6, MAX_TOKENS = MAX_PAGES * PAGE_TOKENS };

static const struct kv_schema schema = {.n_layers = 1, .latent = 2, .rope = 2};

static inline struct page_pool *open_pool(int pages)
{
    struct page_pool *pool;
    struct err err;
    uint64_t bytes = (uint64_t)pages * kv_page_bytes(&schema, MK_F32);
    assert_int_equal(page_pool_open(&schema, MK_F32, bytes, &pool, &err), 0);
    return pool;
}

static inline struct tree *open_tree(struct page_pool *pool, int quota)
{
    struct tree *tree;
    assert_int_equal(tree_open(pool, quota, &tree), 0);
    return tree;
}

/* ------------------------------------------------------------------ talks */

struct talk {
    struct view view;
    int32_t token[MAX_TOKENS];
    bool is_answer[MAX_TOKENS]; /* of rows that are made */
    int n, n_prompt, n_made;
    int n_known; /* of them, at the start */
};

static int n_shared; /* tokens, whose rows are the same for all */

static inline uint64_t *row(const struct talk *t, int i)
{
    return (uint64_t *)((char *)t->view.data[i / PAGE_TOKENS] +
                        (size_t)(i % PAGE_TOKENS) * kv_row_bytes(&schema, MK_F32));
}

static inline uint64_t hash_of(const struct talk *t, int i)
{
    uint64_t h = i < n_shared ? 0 : t->view.uid;
    for (int j = 0; j <= i; j++)
        h = (h ^ ((uint64_t)t->token[j] << 1 | t->is_answer[j])) * 0x9e3779b97f4a7c15u + 1;
    return h;
}

static inline void check_rows(const struct talk *t)
{
    for (int i = 0; i < t->n_made; i++) {
        assert_int_equal(t->view.page[i / PAGE_TOKENS]->answers >> i % PAGE_TOKENS & 1,
                         t->is_answer[i]);
        assert_int_equal(*row(t, i), hash_of(t, i));
    }
}

static inline void begin(struct tree *tree, struct talk *t, uint32_t uid)
{
    assert_int_equal(view_init(&t->view, MAX_TOKENS, uid), 0);
    t->n_known = t->n_made = tree_recall(tree, &t->view, t->token, t->n_prompt, NULL);
    assert_true(t->n_known < t->n_prompt);
    assert_int_equal(t->view.n, view_pages(t->n_known));
    assert_int_equal(t->view.n_kept, t->n_known / PAGE_TOKENS);
    for (int i = 0; i < t->n_known; i++)
        t->is_answer[i] = t->view.page[i / PAGE_TOKENS]->answers >> i % PAGE_TOKENS & 1;
    check_rows(t);
}

/* Rows up to there. */
static inline void make(struct tree *tree, struct page_pool *pool, struct talk *t, int end)
{
    tree_make_room(tree, &t->view, view_pages(end) - t->view.n);
    assert_int_equal(view_grow(&t->view, pool, end), 0);
    for (int i = t->n_made; i < end; i++) {
        const struct page *page = t->view.page[i / PAGE_TOKENS];
        assert_int_equal(page->refs, 1 + page->is_kept); /* nobody else's view has what we write */
        t->is_answer[i] = i >= t->n_prompt;
        *row(t, i) = hash_of(t, i);
    }
    int from = t->n_made > t->n_prompt ? t->n_made : t->n_prompt;
    if (end > from)
        view_mark_answers(&t->view, from, end - from);
    t->n_made = end;
    tree_keep(tree, &t->view, t->token, end);
    check_rows(t);
}

/* Tokens first, first + 1, first + 2 …: the prompt, then the answer. */
static inline void write_tokens(struct talk *t, int first, int n_prompt, int n_answer)
{
    *t = (struct talk){.n = n_prompt + n_answer, .n_prompt = n_prompt};
    for (int i = 0; i < t->n; i++)
        t->token[i] = first + i;
}

/* A talk from its beginning to its end; how much of it was known. */
static inline int whole_talk(struct tree *tree, struct page_pool *pool, uint32_t uid, int first,
                             int n_prompt, int n_answer)
{
    struct talk t;
    write_tokens(&t, first, n_prompt, n_answer);
    begin(tree, &t, uid);
    make(tree, pool, &t, t.n);
    view_fini(&t.view, pool);
    return t.n_known;
}

static inline void one_talk(struct tree *tree, struct page_pool *pool, uint32_t uid, int first,
                            int n_prompt, int n_answer)
{
    struct talk t;
    write_tokens(&t, first, n_prompt, n_answer);
    begin(tree, &t, uid);
    make(tree, pool, &t, t.n);
    tree_keep_end(tree, &t.view, t.token, t.n);
    view_fini(&t.view, pool);
}

/* How long the next talk is that the tree gives away to be saved, perhaps not for the first time;
 * it must be that user's. */
static inline int try_to_save(struct tree *tree, struct page_pool *pool, bool again, uint32_t uid,
                              int first, enum tree_outcome outcome)
{
    struct talk t = {0};
    assert_int_equal(view_init(&t.view, MAX_TOKENS, 0), 0);
    int idle = page_pool_idle(pool);
    t.n_made = tree_unsaved(tree, again, &t.view, t.token);
    assert_int_equal(t.view.n, view_pages(t.n_made));
    int n = t.view.n;
    for (int i = 0; i < t.view.n; i++)
        n -= t.view.page[i]->is_pinned;
    assert_int_equal(page_pool_idle(pool), idle - n); /* nobody else takes them meanwhile */
    assert_true(t.n_made == 0 || t.view.uid == uid);
    for (int i = 0; i < t.n_made; i++) {
        assert_int_equal(t.token[i], first + i);
        t.is_answer[i] = t.view.page[i / PAGE_TOKENS]->answers >> i % PAGE_TOKENS & 1;
    }
    check_rows(&t);
    tree_settle(tree, &t.view, outcome);
    view_fini(&t.view, pool);
    assert_int_equal(page_pool_idle(pool), idle);
    return t.n_made;
}

static inline int given(struct tree *tree, struct page_pool *pool, uint32_t uid, int first)
{
    return try_to_save(tree, pool, false, uid, first, TREE_SAVED);
}
