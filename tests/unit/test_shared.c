/* SPDX-License-Identifier: MIT
 *
 * Beginnings that an administrator lists: whole pages of them are everybody's, and stay.
 */
#include "tree_bench.h"

/* Tokens 100, 101 … of which two pages are listed, and a few tokens more. */
static struct tree *open_shared_tree(struct page_pool *pool, int quota)
{
    struct tree *tree = open_tree(pool, quota);
    int32_t token[70];
    for (int i = 0; i < 70; i++)
        token[i] = 100 + i;
    assert_int_equal(tree_share(tree, token, 70), 0);
    n_shared = 64;
    return tree;
}

static void close_shared_tree(struct tree *tree, struct page_pool *pool)
{
    tree_close(tree);
    assert_int_equal(page_pool_used(pool), 0);
    assert_int_equal(page_pool_pinned(pool), 0);
    page_pool_close(pool);
    n_shared = 0;
}

static void listed_pages_are_everybodys(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(20);
    struct tree *tree = open_shared_tree(pool, 4);
    struct talk t;
    assert_int_equal(whole_talk(tree, pool, 7, 100, 150, 0), 0);
    assert_int_equal(page_pool_pinned(pool), 2);
    assert_int_equal(page_pool_idle(pool), 2); /* his own */
    assert_int_equal(whole_talk(tree, pool, 8, 100, 150, 0), 64);
    assert_int_equal(whole_talk(tree, pool, 8, 100, 150, 0), 128);
    assert_int_equal(whole_talk(tree, pool, 9, 100, 41, 0), 40);
    assert_int_equal(whole_talk(tree, pool, 9, 101, 150, 0), 0); /* from the first token on */
    write_tokens(&t, 100, 150, 0);
    for (int i = 40; i < 150; i++)
        t.token[i] = 900 + i;
    begin(tree, &t, 10);
    assert_int_equal(t.n_known, 40);
    make(tree, pool, &t, 150);
    view_fini(&t.view, pool);
    for (int i = 40; i < 150; i++)
        t.token[i] = 900 + i;
    begin(tree, &t, 11); /* what followed is not everybody's */
    assert_int_equal(t.n_known, 40);
    view_fini(&t.view, pool);
    assert_int_equal(page_pool_pinned(pool), 2);
    close_shared_tree(tree, pool);
}

static void listed_pages_stay_and_cost_nobody(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(10);
    struct tree *tree = open_shared_tree(pool, 2);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 128, 0), 0);
    assert_int_equal(whole_talk(tree, pool, 7, 100, 129, 0), 128); /* a quota of two beside them */
    struct talk big;
    write_tokens(&big, 500, 160, 0);
    begin(tree, &big, 8);
    make(tree, pool, &big, 160);
    struct talk more;
    write_tokens(&more, 900, 96, 0);
    begin(tree, &more, 9);
    make(tree, pool, &more, 96);
    assert_int_equal(page_pool_used(pool), 10);
    assert_int_equal(page_pool_idle(pool), 0);
    assert_int_equal(page_pool_pinned(pool), 2);
    tree_make_room(tree, &more.view, 1);
    view_fini(&big.view, pool);
    view_fini(&more.view, pool);
    assert_int_equal(tree_drop_idle(tree, false), 4); /* of a quota of two each */
    assert_int_equal(page_pool_used(pool), 2);
    assert_int_equal(whole_talk(tree, pool, 10, 100, 128, 0), 64);
    close_shared_tree(tree, pool);
}

/* As the rows of a prompt are; those of an answer are others. */
static void listed_pages_are_prompts(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(20);
    struct tree *tree = open_shared_tree(pool, 20);
    n_shared = 32;
    assert_int_equal(whole_talk(tree, pool, 7, 100, 40, 60), 0);
    assert_int_equal(page_pool_pinned(pool), 1);
    assert_int_equal(whole_talk(tree, pool, 8, 100, 100, 0), 32);
    n_shared = 64;
    assert_int_equal(page_pool_pinned(pool), 2);
    const uint32_t answers[4] = {0, ~255u, 0, 0}; /* as he has them, who wrote them */
    struct talk t;
    write_tokens(&t, 100, 100, 0);
    n_shared = 32;
    assert_int_equal(view_init(&t.view, MAX_TOKENS, 7), 0);
    assert_int_equal(tree_recall(tree, &t.view, t.token, 100, answers), 64);
    view_fini(&t.view, pool);
    close_shared_tree(tree, pool);
}

/* A page that is listed behind another beginning, and one's own that looks like a beginning. */
static void listed_pages_are_found_from_the_first_token_on(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(20);
    struct tree *tree = open_shared_tree(pool, 20);
    struct talk t;
    write_tokens(&t, 500, 64, 0);
    for (int i = 32; i < 64; i++)
        t.token[i] = 300 + i;
    assert_int_equal(tree_share(tree, t.token, 64), 0);
    write_tokens(&t, 100, 64, 0);
    for (int i = 32; i < 64; i++)
        t.token[i] = 300 + i;
    n_shared = 32;
    begin(tree, &t, 7);
    make(tree, pool, &t, 64);
    view_fini(&t.view, pool);
    assert_int_equal(page_pool_pinned(pool), 1);
    n_shared = 64;
    assert_int_equal(whole_talk(tree, pool, 7, 100, 128, 0), 32);
    n_shared = 0;
    assert_int_equal(whole_talk(tree, pool, 7, 164, 33, 0), 0);
    assert_int_equal(whole_talk(tree, pool, 7, 164, 64, 0), 32);
    close_shared_tree(tree, pool);
}

static void talks_behind_listed_pages_are_saved_whole(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(20);
    struct tree *tree = open_shared_tree(pool, 20);
    one_talk(tree, pool, 7, 100, 80, 0);
    one_talk(tree, pool, 8, 100, 90, 0);
    assert_int_equal(try_to_save(tree, pool, false, 7, 100, TREE_FAILED), 80);
    assert_int_equal(given(tree, pool, 8, 100), 90);
    assert_int_equal(try_to_save(tree, pool, true, 7, 100, TREE_SAVED), 80);
    assert_int_equal(given(tree, pool, 0, 0), 0); /* alone they are not */
    assert_int_equal(tree_drop_idle(tree, true), 2);
    struct talk t;
    write_tokens(&t, 100, 64, 0);
    begin(tree, &t, 7);
    assert_int_equal(t.n_known, 63);
    view_fini(&t.view, pool);
    write_tokens(&t, 100, 80, 0);
    begin(tree, &t, 7);
    tree_forget(tree, &t.view); /* it went wrong, and nobody else is there */
    assert_int_equal(page_pool_pinned(pool), 0);
    view_fini(&t.view, pool);
    assert_int_equal(whole_talk(tree, pool, 8, 100, 80, 0), 0);
    close_shared_tree(tree, pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listed_pages_are_everybodys),
        cmocka_unit_test(listed_pages_stay_and_cost_nobody),
        cmocka_unit_test(listed_pages_are_prompts),
        cmocka_unit_test(listed_pages_are_found_from_the_first_token_on),
        cmocka_unit_test(talks_behind_listed_pages_are_saved_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
