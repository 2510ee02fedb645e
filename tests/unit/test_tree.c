/* SPDX-License-Identifier: MIT
 *
 * The tree of known pages: by hand, and at random beside a model of it that is a plain list.
 */
#include "tree_bench.h"

#include <stdio.h>

/* How long the next talk is that nobody goes on with and that is to be saved; the oldest first. */
static int given_idle(struct tree *tree, struct page_pool *pool, bool all, int first)
{
    struct talk t = {0};
    assert_int_equal(view_init(&t.view, MAX_TOKENS, 0), 0);
    int n = tree_unsaved_idle(tree, false, all, &t.view, t.token);
    assert_true(n == 0 || t.token[0] == first);
    tree_settle(tree, &t.view, TREE_SAVED);
    view_fini(&t.view, pool);
    return n;
}

/* ------------------------------------------------------------------ by hand */

static void whole_pages_are_known_but_never_all(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 70, 0), 0);
    assert_int_equal(page_pool_used(pool), 2); /* the third was not whole */
    assert_int_equal(page_pool_idle(pool), 2);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 70, 0), 64);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 64, 0), 63); /* the last one is computed */
    assert_int_equal(whole_talk(tree, pool, 7, 100, 65, 0), 64);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 1, 0), 0);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 2, 0), 1);
    assert_int_equal(whole_talk(tree, pool, 7, 101, 70, 0), 0);
    tree_close(tree);
    assert_int_equal(page_pool_used(pool), 0);
    assert_int_equal(page_pool_idle(pool), 0);
    page_pool_close(pool);
}

static void another_user_knows_nothing(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    whole_talk(tree, pool, 7, 100, 70, 0);
    assert_int_equal(whole_talk(tree, pool, 8, 100, 70, 0), 0);
    assert_int_equal(whole_talk(tree, pool, 0, 100, 70, 0), 0);
    assert_int_equal(page_pool_idle(pool), 6); /* each has his own */
    assert_int_equal(whole_talk(tree, pool, 8, 100, 70, 0), 64);
    tree_close(tree);
    page_pool_close(pool);
}

static void where_talks_part_the_page_is_copied(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk a, b;
    write_tokens(&a, 100, 40, 24);
    begin(tree, &a, 7);
    make(tree, pool, &a, 64);
    write_tokens(&b, 100, 60, 4);
    b.token[50] = 1; /* in the middle of the answer */
    begin(tree, &b, 7);
    assert_int_equal(b.n_known, 50);
    assert_ptr_equal(b.view.page[0], a.view.page[0]);
    assert_ptr_not_equal(b.view.page[1], a.view.page[1]);
    assert_int_equal(view_run(&b.view, 0, 50), 40); /* prompt, then answer */
    assert_int_equal(view_run(&b.view, 40, 50), 10);
    make(tree, pool, &b, 64);
    check_rows(&a);
    assert_int_equal(page_pool_used(pool), 3);
    view_fini(&a.view, pool);
    view_fini(&b.view, pool);
    assert_int_equal(page_pool_idle(pool), 3);
    tree_close(tree);
    page_pool_close(pool);
}

/* The same words, once written as an answer and once read: two pages, and what follows the one
 * does not follow the other. */
static void how_a_row_was_made_is_part_of_it(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk read, written;
    write_tokens(&read, 100, 90, 0);
    write_tokens(&written, 100, 20, 70);
    begin(tree, &read, 7);
    begin(tree, &written, 7); /* at the same time: neither knows of the other */
    make(tree, pool, &read, 90);
    make(tree, pool, &written, 90);
    assert_int_equal(page_pool_used(pool), 6);
    view_fini(&read.view, pool);
    view_fini(&written.view, pool);
    assert_int_equal(page_pool_idle(pool), 4);
    struct talk next;
    write_tokens(&next, 100, 80, 0);
    begin(tree, &next, 7);
    assert_int_equal(next.n_known, 64);
    view_fini(&next.view, pool);
    tree_close(tree);
    page_pool_close(pool);
}

/* Who must have rows as they were made gets those, and as far as they go. */
static void rows_are_known_as_they_were_made(void **state)
{
    (void)state;
    static const struct {
        uint32_t answers[3];
        int known;
    } cases[] = {
        {{0, 0, 0}, 64},
        {{0xfff00000u, ~0u, ~0u}, 64},
        {{0xfff00000u, 0x7fffffffu, ~0u}, 63},
        {{0xfff00000u, 0, 0}, 32},
        {{0x80000000u, 0, 0}, 31},
        {{0xffe00000u, 0, 0}, 21},
        {{1, 0, 0}, 0},
    };
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk read, written, next;
    write_tokens(&read, 100, 90, 0);
    write_tokens(&written, 100, 20, 70);
    begin(tree, &read, 7);
    begin(tree, &written, 7);
    make(tree, pool, &read, 90);
    make(tree, pool, &written, 90);
    view_fini(&read.view, pool);
    view_fini(&written.view, pool);
    write_tokens(&next, 100, 80, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(view_init(&next.view, MAX_TOKENS, 7), 0);
        assert_int_equal(tree_recall(tree, &next.view, next.token, 80, cases[i].answers),
                         cases[i].known);
        next.n_made = cases[i].known;
        for (int row = 0; row < next.n_made; row++)
            next.is_answer[row] = cases[i].answers[row / PAGE_TOKENS] >> row % PAGE_TOKENS & 1;
        check_rows(&next);
        view_fini(&next.view, pool);
    }
    tree_close(tree);
    page_pool_close(pool);
}

static void the_same_page_made_twice_is_kept_once(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk a, b;
    write_tokens(&a, 100, 64, 6);
    write_tokens(&b, 100, 64, 6);
    begin(tree, &a, 7);
    begin(tree, &b, 7);
    make(tree, pool, &a, 64);
    make(tree, pool, &b, 70);
    assert_ptr_equal(b.view.page[0], a.view.page[0]);
    assert_ptr_equal(b.view.data[1], a.view.page[1]->data);
    assert_int_equal(page_pool_used(pool), 3);
    view_fini(&a.view, pool);
    assert_int_equal(page_pool_idle(pool), 0); /* b uses them */
    check_rows(&b);
    view_fini(&b.view, pool);
    assert_int_equal(page_pool_idle(pool), 2);
    tree_close(tree);
    page_pool_close(pool);
}

static void memory_comes_from_the_oldest_of_ones_own(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(6);
    struct tree *tree = open_tree(pool, 6);
    whole_talk(tree, pool, 8, 100, 64, 0); /* the oldest of all, but another's */
    whole_talk(tree, pool, 7, 200, 64, 0);
    whole_talk(tree, pool, 7, 300, 64, 0);
    assert_int_equal(whole_talk(tree, pool, 7, 200, 33, 0), 32); /* used again */
    assert_int_equal(page_pool_idle(pool), 5); /* it took the end of 300 for its second page */
    assert_int_equal(whole_talk(tree, pool, 7, 300, 33, 0), 32);
    assert_int_equal(whole_talk(tree, pool, 7, 400, 96, 0), 0);
    assert_int_equal(whole_talk(tree, pool, 8, 100, 64, 0), 63); /* untouched, but for a copy */
    /* Whoever has none takes it from him who has the most. */
    assert_int_equal(whole_talk(tree, pool, 9, 500, 64, 0), 0);
    assert_int_equal(whole_talk(tree, pool, 8, 100, 33, 0), 32);
    tree_close(tree);
    page_pool_close(pool);
}

static void a_quota_is_kept_to(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(12);
    struct tree *tree = open_tree(pool, 3);
    whole_talk(tree, pool, 7, 100, 64, 0);
    whole_talk(tree, pool, 7, 200, 64, 0);
    assert_int_equal(page_pool_idle(pool), 3);
    assert_int_equal(whole_talk(tree, pool, 7, 200, 65, 0), 64);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 65, 0), 32);
    whole_talk(tree, pool, 8, 100, 64, 0);
    assert_int_equal(page_pool_idle(pool), 5);
    /* Longer than it may be: its beginning stays. */
    assert_int_equal(whole_talk(tree, pool, 7, 300, 190, 0), 0);
    assert_int_equal(page_pool_idle(pool), 5);
    assert_int_equal(whole_talk(tree, pool, 7, 300, 190, 0), 96);
    tree_close(tree);
    tree = open_tree(pool, 0);
    whole_talk(tree, pool, 7, 100, 64, 0);
    assert_int_equal(page_pool_used(pool), 0);
    tree_close(tree);
    page_pool_close(pool);
}

/* Three tokens are known at once, a page that another outgrows goes, and one that says less than
 * another does not come. */
/* How many whole pages of his own a user has after a talk that long, with such a quota. */
static int n_kept_of(struct tree *tree, struct page_pool *pool, uint32_t uid, int quota, int n)
{
    struct talk t;
    int before = page_pool_idle(pool);
    write_tokens(&t, 100 * (int)uid, n, 0);
    begin(tree, &t, uid);
    t.view.quota = quota;
    make(tree, pool, &t, n);
    view_fini(&t.view, pool);
    return page_pool_idle(pool) - before;
}

static void a_users_own_quota_is_kept_to(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(24);
    struct tree *tree = open_tree(pool, 5);
    assert_int_equal(n_kept_of(tree, pool, 7, 3, 160), 3);
    assert_int_equal(n_kept_of(tree, pool, 8, 4, 160), 4);
    assert_int_equal(n_kept_of(tree, pool, 9, 100, 192), 5); /* no more than all may */
    assert_int_equal(n_kept_of(tree, pool, 10, 0, 160), 0);
    assert_int_equal(n_kept_of(tree, pool, 8, 2, 10), 0); /* nothing new, and so nothing goes */
    struct talk t;
    write_tokens(&t, 2000, 33, 0);
    begin(tree, &t, 8);
    t.view.quota = 2;
    make(tree, pool, &t, 33);
    view_fini(&t.view, pool);
    assert_int_equal(page_pool_idle(pool), 3 + 2 + 5);         /* his own went, and nobody else's */
    assert_int_equal(given_idle(tree, pool, false, 900), 160); /* who has most of what he may */
    assert_int_equal(given_idle(tree, pool, false, 700), 96);
    tree_close(tree);
    page_pool_close(pool);
}

static void the_end_of_a_talk_is_known_too(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk t;
    static const struct {
        int n, known, idle;
    } cases[] = {{4, 0, 1},   {5, 4, 1},   {3, 2, 1},   {40, 5, 2}, {36, 35, 2},
                 {64, 40, 2}, {70, 64, 3}, {71, 70, 3}, {33, 32, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_tokens(&t, 100, cases[i].n, 0);
        begin(tree, &t, 7);
        assert_int_equal(t.n_known, cases[i].known);
        make(tree, pool, &t, t.n);
        tree_keep_end(tree, &t.view, t.token, t.n);
        view_fini(&t.view, pool);
        assert_int_equal(page_pool_idle(pool), cases[i].idle);
        assert_int_equal(page_pool_used(pool), cases[i].idle);
    }
    write_tokens(&t, 100, 80, 0); /* nothing is known behind the end */
    memset(t.token + 71, 0, 9 * sizeof *t.token);
    begin(tree, &t, 7);
    assert_int_equal(t.n_known, 71);
    view_fini(&t.view, pool);
    write_tokens(&t, 100, 66, 3); /* in other ways made: neither outgrows the other */
    begin(tree, &t, 7);
    make(tree, pool, &t, t.n);
    tree_keep_end(tree, &t.view, t.token, t.n);
    view_fini(&t.view, pool);
    assert_int_equal(page_pool_idle(pool), 4);
    tree_close(tree);
    page_pool_close(pool);
}

static void the_end_of_a_talk_that_goes_on_is_known(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk t, follower;
    write_tokens(&t, 100, 40, 60);
    begin(tree, &t, 7);
    make(tree, pool, &t, 40);
    tree_keep_end(tree, &t.view, t.token, 40);
    write_tokens(&follower, 100, 40, 60);
    begin(tree, &follower, 7);
    assert_int_equal(follower.n_known, 39);
    make(tree, pool, &t, 50);
    make(tree, pool, &follower, 45);
    check_rows(&t);
    view_fini(&follower.view, pool);
    write_tokens(&follower, 100, 48, 0); /* what is written behind it is not claimed */
    begin(tree, &follower, 7);
    assert_int_equal(follower.n_known, 40);
    view_fini(&follower.view, pool);
    assert_int_equal(page_pool_idle(pool), 0);
    make(tree, pool, &t, 70); /* then the page is whole, and in the tree once */
    tree_keep_end(tree, &t.view, t.token, 70);
    view_fini(&t.view, pool);
    assert_int_equal(page_pool_used(pool), 3);
    assert_int_equal(page_pool_idle(pool), 3);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 71, 0), 70);

    write_tokens(&t, 500, 40, 0); /* what went wrong is forgotten with its end */
    begin(tree, &t, 7);
    make(tree, pool, &t, 40);
    tree_keep_end(tree, &t.view, t.token, 40);
    tree_forget(tree, &t.view);
    check_rows(&t);
    view_fini(&t.view, pool);
    assert_int_equal(whole_talk(tree, pool, 7, 500, 40, 0), 0);
    tree_close(tree);
    page_pool_close(pool);
}

static void talks_are_given_to_be_saved_once(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(12);
    struct tree *tree = open_tree(pool, 12);
    assert_int_equal(given(tree, pool, 7, 100), 0);
    one_talk(tree, pool, 7, 100, 64, 0);
    one_talk(tree, pool, 7, 100, 66, 4); /* goes on from there */
    one_talk(tree, pool, 8, 500, 20, 20);
    assert_int_equal(given(tree, pool, 7, 100), 70);
    assert_int_equal(given(tree, pool, 8, 500), 40);
    assert_int_equal(given(tree, pool, 0, 0), 0);
    one_talk(tree, pool, 7, 100, 20, 0); /* is in the other */
    assert_int_equal(given(tree, pool, 0, 0), 0);
    one_talk(tree, pool, 7, 100, 150, 0);
    struct talk t = {0};
    assert_int_equal(view_init(&t.view, 4 * PAGE_TOKENS, 0), 0);
    one_talk(tree, pool, 8, 300, 10, 0);
    assert_int_equal(tree_unsaved(tree, false, &t.view, t.token),
                     10); /* the other has five pages */
    view_fini(&t.view, pool);
    assert_int_equal(given(tree, pool, 0, 0), 0);
    tree_close(tree);
    assert_int_equal(page_pool_used(pool), 0);
    page_pool_close(pool);
}

/* They are not lost for it, come again in turns, and go as unsaved if their memory is needed. */
static void what_is_not_saved_is_given_again(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(12);
    struct tree *tree = open_tree(pool, 12);
    one_talk(tree, pool, 7, 100, 40, 0);
    one_talk(tree, pool, 7, 300, 40, 0);
    one_talk(tree, pool, 8, 500, 40, 0);
    assert_int_equal(try_to_save(tree, pool, false, 7, 300, TREE_FAILED), 40);
    assert_int_equal(try_to_save(tree, pool, false, 7, 100, TREE_FAILED), 40);
    assert_int_equal(try_to_save(tree, pool, false, 8, 500, TREE_REFUSED), 40);
    assert_int_equal(given(tree, pool, 0, 0), 0);
    assert_int_equal(tree_drop_idle(tree, true), 0); /* none is saved */
    assert_int_equal(try_to_save(tree, pool, true, 7, 300, TREE_FAILED), 40);
    assert_int_equal(try_to_save(tree, pool, true, 7, 100, TREE_FAILED), 40);
    assert_int_equal(try_to_save(tree, pool, true, 7, 300, TREE_SAVED), 40);
    assert_int_equal(tree_drop_idle(tree, true), 2);
    assert_int_equal(tree_n_lost(tree), 0);
    one_talk(tree, pool, 7, 100, 60, 0); /* what goes on is another talk */
    assert_int_equal(given(tree, pool, 7, 100), 60);
    assert_int_equal(try_to_save(tree, pool, true, 0, 0, TREE_SAVED), 0);
    assert_int_equal(tree_drop_idle(tree, false), 4);
    assert_int_equal(tree_n_lost(tree), 2); /* which nobody took */
    tree_close(tree);
    page_pool_close(pool);
}

static void what_goes_soon_is_given_first(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(16);
    struct tree *tree = open_tree(pool, 8);
    struct talk running;
    one_talk(tree, pool, 7, 100, 64, 0);
    one_talk(tree, pool, 7, 300, 64, 0);
    one_talk(tree, pool, 8, 500, 20, 0);
    assert_int_equal(given_idle(tree, pool, false, 0), 0); /* there is room yet */
    one_talk(tree, pool, 7, 700, 64, 0);                   /* three quarters of the quota */
    assert_int_equal(given_idle(tree, pool, false, 100), 64);
    assert_int_equal(given_idle(tree, pool, false, 300), 64);
    assert_int_equal(given_idle(tree, pool, false, 700), 64);
    assert_int_equal(given_idle(tree, pool, false, 0), 0);
    write_tokens(&running, 900, 160, 0);
    begin(tree, &running, 9);
    make(tree, pool, &running, 160); /* with it three quarters of all pages are used */
    assert_int_equal(given_idle(tree, pool, false, 500), 20);
    assert_int_equal(given_idle(tree, pool, true, 0), 0); /* it goes on */
    view_fini(&running.view, pool);
    assert_int_equal(given_idle(tree, pool, true, 900), 160);
    tree_close(tree);
    page_pool_close(pool);
}

static void idle_pages_are_dropped(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(16);
    struct tree *tree = open_tree(pool, 16);
    struct talk running;
    one_talk(tree, pool, 7, 100, 96, 0);
    one_talk(tree, pool, 8, 500, 20, 0);
    assert_int_equal(tree_drop_idle(tree, true), 0);
    assert_int_equal(given_idle(tree, pool, true, 100), 96);
    one_talk(tree, pool, 7, 300, 40, 0);
    write_tokens(&running, 100, 50, 0);
    begin(tree, &running, 7); /* uses a page of the first */
    assert_int_equal(running.n_known, 49);
    assert_int_equal(tree_drop_idle(tree, true), 2); /* the others of it */
    assert_int_equal(tree_n_lost(tree), 0);
    check_rows(&running);
    assert_int_equal(tree_drop_idle(tree, false), 3);
    assert_int_equal(tree_n_lost(tree), 3);
    check_rows(&running);
    view_fini(&running.view, pool);
    assert_int_equal(tree_drop_idle(tree, false), 1);
    assert_int_equal(page_pool_used(pool), 0);
    tree_close(tree);
    page_pool_close(pool);
}

static void what_went_wrong_is_forgotten(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(8);
    struct tree *tree = open_tree(pool, 8);
    struct talk t, other;
    whole_talk(tree, pool, 7, 100, 64, 0);
    write_tokens(&t, 100, 100, 20);
    write_tokens(&other, 100, 40, 0);
    begin(tree, &t, 7);
    make(tree, pool, &t, t.n);
    begin(tree, &other, 7); /* uses the first page */
    assert_int_equal(other.n_known, 39);
    tree_forget(tree, &t.view);
    check_rows(&t); /* it has its pages still */
    view_fini(&t.view, pool);
    check_rows(&other);
    view_fini(&other.view, pool);
    assert_int_equal(page_pool_used(pool), 1);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 64, 0), 32);
    tree_close(tree);
    page_pool_close(pool);
}

/* ------------------------------------------------------------------ at random */

enum { PAGES = 26, QUOTA = 11, TALKS = 4, USERS = 3, ENTRIES = PAGES };

struct entry { /* a page with all that stands before it */
    bool is_there;
    uint32_t uid;
    int n, pages; /* tokens in all */
    int32_t token[MAX_TOKENS];
    bool is_answer[MAX_TOKENS];
    uint64_t used;
};

struct list {
    struct entry entry[ENTRIES];
    const struct entry *pinned; /* is being copied */
    uint64_t clock;
};

static uint64_t seed;
static int below(int n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)((seed >> 20) % (uint64_t)n);
}

/* The first n tokens. */
static bool is_same(const struct entry *e, uint32_t uid, int n, const int32_t *token,
                    const bool *is_answer)
{
    return e->is_there && e->uid == uid && e->n >= n &&
           memcmp(e->token, token, (size_t)n * sizeof *token) == 0 &&
           memcmp(e->is_answer, is_answer, (size_t)n * sizeof *is_answer) == 0;
}

static int list_recall(struct list *l, uint32_t uid, const int32_t *token, int n, bool *is_answer)
{
    for (int known = 0;; known += PAGE_TOKENS) {
        struct entry *best = NULL;
        int most = 0;
        for (int i = 0; i < ENTRIES; i++) {
            struct entry *e = &l->entry[i];
            if (e->pages != known / PAGE_TOKENS + 1 || !is_same(e, uid, known, token, is_answer))
                continue;
            int same = 0;
            while (same < PAGE_TOKENS && known + same < n - 1 && known + same < e->n &&
                   e->token[known + same] == token[known + same])
                same++;
            if (same > most || (same > 0 && same == most && e->used > best->used)) {
                most = same;
                best = e;
            }
        }
        if (!best)
            return known;
        best->used = ++l->clock;
        memcpy(is_answer + known, best->is_answer + known, (size_t)most * sizeof *is_answer);
        if (most < PAGE_TOKENS) {
            l->pinned = best;
            return known + most;
        }
    }
}

static bool is_idle(const struct list *l, const struct entry *e, const struct talk *talks)
{
    for (int i = 0; i < TALKS; i++)
        if (talks[i].n && talks[i].view.n_kept * PAGE_TOKENS >= e->n && e->n % PAGE_TOKENS == 0 &&
            is_same(e, talks[i].view.uid, e->n, talks[i].token, talks[i].is_answer))
            return false;
    return e->is_there && e != l->pinned;
}

static int n_of(const struct list *l, uint32_t uid)
{
    int n = 0;
    for (int i = 0; i < ENTRIES; i++)
        n += l->entry[i].is_there && l->entry[i].uid == uid;
    return n;
}

static struct entry *oldest(struct list *l, uint32_t uid, const struct talk *talks)
{
    struct entry *best = NULL;
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *e = &l->entry[i];
        bool is_last = true;
        if (!is_idle(l, e, talks) || e->uid != uid)
            continue;
        for (int j = 0; j < ENTRIES; j++)
            is_last &= !(l->entry[j].pages == e->pages + 1 &&
                         is_same(&l->entry[j], uid, e->n, e->token, e->is_answer));
        if (is_last && (!best || e->used < best->used))
            best = e;
    }
    return best;
}

static int n_used(const struct list *l, const struct talk *talks)
{
    int n = 0;
    for (int i = 0; i < ENTRIES; i++)
        n += l->entry[i].is_there;
    for (int i = 0; i < TALKS; i++)
        if (talks[i].n)
            n += talks[i].view.n - talks[i].view.n_kept;
    return n;
}

static void list_make_room(struct list *l, uint32_t uid, int pages, const struct talk *talks)
{
    while (PAGES - n_used(l, talks) < pages) {
        struct entry *turn = oldest(l, uid, talks);
        for (uint32_t other = 0; other < USERS && (!turn || turn->uid != uid); other++) {
            struct entry *e = oldest(l, other, talks);
            int more = e && turn ? n_of(l, other) - n_of(l, turn->uid) : 1;
            if (e && (more > 0 || (more == 0 && e->used < turn->used)))
                turn = e;
        }
        if (!turn)
            return;
        turn->is_there = false;
    }
}

/* The talk's first n tokens, and so the page they end in. */
static void list_keep(struct list *l, const struct talk *t, int n, const struct talk *talks)
{
    uint32_t uid = t->view.uid;
    int pages = view_pages(n);
    struct entry *last = NULL;
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *e = &l->entry[i];
        if (e->pages == pages && is_same(e, uid, n, t->token, t->is_answer) &&
            (!last || e->used > last->used))
            last = e;
    }
    if (last) {
        last->used = ++l->clock;
        return;
    }
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *e = &l->entry[i];
        if (e->pages == pages && e->n < n && is_same(e, uid, e->n, t->token, t->is_answer))
            e->is_there = false;
    }
    if (n_of(l, uid) >= QUOTA) {
        struct entry *turn = oldest(l, uid, talks);
        if (!turn)
            return;
        turn->is_there = false;
    }
    struct entry *e = l->entry;
    while (e->is_there)
        e++;
    *e = (struct entry){.is_there = true, .uid = uid, .n = n, .pages = pages, .used = ++l->clock};
    memcpy(e->token, t->token, sizeof e->token);
    memcpy(e->is_answer, t->is_answer, sizeof e->is_answer);
}

/* Few choices, so that talks share beginnings of every length. */
static void random_tokens(struct talk *t)
{
    *t = (struct talk){.n = 2 + below(MAX_TOKENS - 1)};
    t->n_prompt = 1 + below(t->n);
    int32_t way = below(2);
    for (int i = 0; i < t->n; i++) {
        if (below(60) == 0)
            way = below(3);
        t->token[i] = way * 1000 + i;
    }
}

static int n_owed(const struct talk *talks)
{
    int n = 0;
    for (int i = 0; i < TALKS; i++)
        if (talks[i].n)
            n += view_pages(talks[i].n) - talks[i].view.n;
    return n;
}

static void start_one(struct tree *tree, struct page_pool *pool, struct list *l, struct talk *talks,
                      struct talk *t)
{
    struct talk next;
    random_tokens(&next);
    int available = PAGES - page_pool_used(pool) + page_pool_idle(pool);
    if (n_owed(talks) + view_pages(next.n) > available)
        return;
    uint32_t uid = (uint32_t)below(USERS);
    bool is_answer[MAX_TOKENS] = {false};
    int known = list_recall(l, uid, next.token, next.n_prompt, is_answer);
    *t = next;
    begin(tree, t, uid);
    assert_int_equal(t->n_known, known);
    assert_memory_equal(t->is_answer, is_answer, (size_t)known * sizeof *is_answer);
    if (known % PAGE_TOKENS) { /* the copy needed a page */
        t->view.n--;
        list_make_room(l, uid, 1, talks);
        t->view.n++;
    }
    l->pinned = NULL;
}

static void go_on(struct tree *tree, struct page_pool *pool, struct list *l, struct talk *talks,
                  struct talk *t)
{
    if (t->n_made == t->n || below(12) == 0) {
        tree_keep_end(tree, &t->view, t->token, t->n_made);
        if (t->n_made % PAGE_TOKENS && t->n_made / PAGE_TOKENS == t->view.n_kept)
            list_keep(l, t, t->n_made, talks);
        view_fini(&t->view, pool);
        t->n = 0;
        return;
    }
    int end = t->n_made + 1 + below(t->n - t->n_made);
    int n_kept = t->view.n_kept;
    list_make_room(l, t->view.uid, view_pages(end) - t->view.n, talks);
    make(tree, pool, t, end);
    for (int i = n_kept; i < t->view.n_kept; i++) {
        int after = t->view.n_kept;
        t->view.n_kept = i; /* as it was when that page's turn came */
        list_keep(l, t, (i + 1) * PAGE_TOKENS, talks);
        t->view.n_kept = after;
    }
}

static void random_talks(uint64_t from)
{
    static struct talk talks[TALKS];
    static struct list list;
    struct page_pool *pool = open_pool(PAGES);
    struct tree *tree = open_tree(pool, QUOTA);
    memset(talks, 0, sizeof talks);
    memset(&list, 0, sizeof list);
    seed = from;
    for (int step = 0; step < 3000; step++) {
        struct talk *t = &talks[below(TALKS)];
        if (t->n)
            go_on(tree, pool, &list, talks, t);
        else
            start_one(tree, pool, &list, talks, t);
        int idle = 0;
        for (int i = 0; i < ENTRIES; i++)
            idle += is_idle(&list, &list.entry[i], talks);
        assert_int_equal(page_pool_idle(pool), idle);
        assert_int_equal(page_pool_used(pool), n_used(&list, talks));
        for (uint32_t uid = 0; uid < USERS; uid++)
            assert_true(n_of(&list, uid) <= QUOTA);
    }
    for (int i = 0; i < TALKS; i++)
        if (talks[i].n)
            view_fini(&talks[i].view, pool);
    tree_close(tree);
    assert_int_equal(page_pool_used(pool), 0);
    page_pool_close(pool);
}

static void it_does_what_a_list_would_do(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= 20; s++) {
        print_message("seed %llu\n", (unsigned long long)s);
        random_talks(s * 0x9e3779b97f4a7c15u);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_pages_are_known_but_never_all),
        cmocka_unit_test(another_user_knows_nothing),
        cmocka_unit_test(where_talks_part_the_page_is_copied),
        cmocka_unit_test(how_a_row_was_made_is_part_of_it),
        cmocka_unit_test(rows_are_known_as_they_were_made),
        cmocka_unit_test(the_same_page_made_twice_is_kept_once),
        cmocka_unit_test(memory_comes_from_the_oldest_of_ones_own),
        cmocka_unit_test(a_quota_is_kept_to),
        cmocka_unit_test(a_users_own_quota_is_kept_to),
        cmocka_unit_test(the_end_of_a_talk_is_known_too),
        cmocka_unit_test(the_end_of_a_talk_that_goes_on_is_known),
        cmocka_unit_test(what_went_wrong_is_forgotten),
        cmocka_unit_test(talks_are_given_to_be_saved_once),
        cmocka_unit_test(what_is_not_saved_is_given_again),
        cmocka_unit_test(what_goes_soon_is_given_first),
        cmocka_unit_test(idle_pages_are_dropped),
        cmocka_unit_test(it_does_what_a_list_would_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
