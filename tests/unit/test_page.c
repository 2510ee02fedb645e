/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kv/view.h"
#include "place/plan_nodes.h"

static const struct kv_schema schema = {.n_layers = 3, .latent = 16, .rope = 8};

static struct page_pool *open_pool(int pages)
{
    struct page_pool *pool;
    struct err err;
    uint64_t bytes = (uint64_t)pages * kv_page_bytes(&schema, MK_F16);
    assert_int_equal(page_pool_open(&schema, MK_F16, bytes, &pool, &err), 0);
    assert_int_equal(page_pool_total(pool), pages);
    return pool;
}

static void sizes_follow_the_schema(void **state)
{
    (void)state;
    struct page_pool *pool;
    struct err err;
    assert_int_equal(kv_row_bytes(&schema, MK_F16), 48);
    assert_int_equal(kv_row_bytes(&schema, MK_F32), 96);
    assert_true(kv_plane_bytes(&schema, MK_F16) >= 32 * 48);
    assert_int_equal(kv_plane_bytes(&schema, MK_F16) % 64, 0);
    assert_int_equal(kv_page_bytes(&schema, MK_F16), 3 * kv_plane_bytes(&schema, MK_F16));
    assert_int_equal(page_pool_open(&schema, MK_F16, 100, &pool, &err), -EINVAL);
}

static void pages_are_counted(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(2);
    struct page *a = page_take(pool, 1, 0), *b = page_take(pool, 1, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a->data, b->data);
    assert_null(page_take(pool, 1, 0));
    page_ref(pool, a);
    page_unref(pool, a);
    assert_int_equal(page_pool_used(pool), 2);
    page_unref(pool, a);
    assert_int_equal(page_pool_used(pool), 1);
    assert_ptr_equal(page_take(pool, 1, 0), a);
    page_pool_close(pool);
}

/* What was given back reads as zeros, edges too, and is a page like any other. */
static void free_pages_are_given_back(void **state)
{
    (void)state;
    const struct kv_schema wide = {.n_layers = 3, .latent = 100, .rope = 8};
    struct page_pool *pool;
    struct err err;
    size_t bytes = kv_page_bytes(&wide, MK_F16), given = 0;
    assert_true(bytes > 3 * 4096 && bytes % 4096 != 0);
    assert_int_equal(page_pool_open(&wide, MK_F16, 4 * bytes, &pool, &err), 0);
    struct page *page[3];
    for (int i = 0; i < 3; i++) {
        page[i] = page_take(pool, 1000, 0);
        memset(page[i]->data, 0x55, bytes);
    }
    assert_int_equal(page_pool_give_back(pool), 0); /* none is free */
    page_unref(pool, page[0]);
    page_unref(pool, page[2]);
    given = page_pool_give_back(pool);
    assert_in_range(given, 2 * (bytes - 2 * 4096), 2 * bytes);
    assert_int_equal(given % 4096, 0);
    assert_int_equal(page_pool_give_back(pool), 0); /* once */
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(((char *)page[0]->data)[i], 0);
        assert_int_equal(((char *)page[2]->data)[i], 0);
        assert_int_equal(((char *)page[1]->data)[i], 0x55);
    }
    assert_ptr_equal(page_take(pool, 1001, 0), page[2]);
    memset(page[2]->data, 0x66, bytes);
    page_unref(pool, page[2]);
    assert_true(page_pool_give_back(pool) > 0);
    page_unref(pool, page[1]);
    page_pool_close(pool);
}

static void another_user_finds_nothing(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(1);
    size_t bytes = kv_page_bytes(&schema, MK_F16);
    struct page *page = page_take(pool, 1000, 0);
    memset(page->data, 0x55, bytes);
    page_unref(pool, page);
    page = page_take(pool, 1001, 0);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(((char *)page->data)[i], 0);
    page_pool_close(pool);
}

static void a_view_grows_whole_or_not_at_all(void **state)
{
    (void)state;
    struct page_pool *pool = open_pool(3);
    struct view view, other;
    assert_int_equal(view_pages(0), 0);
    assert_int_equal(view_pages(32), 1);
    assert_int_equal(view_pages(33), 2);
    assert_int_equal(view_init(&view, 200, 7), 0);
    assert_int_equal(view_init(&other, 200, 8), 0);
    assert_int_equal(view_grow(&view, pool, 33), 0);
    assert_int_equal(view.n, 2);
    assert_int_equal(view_grow(&view, pool, 10), 0);
    assert_int_equal(view.n, 2);
    assert_ptr_equal(view.data[1], view.page[1]->data);
    assert_int_equal(view_grow(&other, pool, 64), -ENOSPC);
    assert_int_equal(page_pool_used(pool), 2);
    view_fini(&view, pool);
    assert_int_equal(view_grow(&other, pool, 96), 0);
    assert_int_equal(view_grow(&other, pool, 97), -ENOSPC);
    view_fini(&other, pool);
    assert_int_equal(page_pool_used(pool), 0);
    page_pool_close(pool);
}

static void views_stay_at_home(void **state)
{
    (void)state;
    static const struct node_room node[] = {
        {.os = -1, .workers = 2}, {.os = -1, .workers = 0}, {.os = -1, .workers = 1}};
    const struct place place = {.n_nodes = 3, .node = node};
    struct page_pool *pool = open_pool(7); /* 3 and 4: one node has no workers */
    page_pool_spread(pool, &place);
    assert_int_equal(page_pool_homes(pool), 2);
    struct view view[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(view_init(&view[i], 500, 7), 0);
    assert_int_equal(view_grow(&view[0], pool, 64), 0);
    assert_int_equal(view_grow(&view[1], pool, 32), 0);
    assert_int_equal(view_grow(&view[2], pool, 1), 0); /* where fewer are used */
    assert_int_equal(view[0].home, 0);
    assert_int_equal(view[1].home, 1);
    assert_int_equal(view[2].home, 1);
    assert_int_equal(view_grow(&view[0], pool, 160), 0); /* one at home, two away */
    for (int i = 0; i < 5; i++)
        assert_int_equal(view[0].page[i]->home, i >= 3);
    assert_int_equal(view_grow(&view[1], pool, 33), -ENOSPC);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            assert_ptr_not_equal(view[0].data[i], view[0].data[j]);
    view_fini(&view[0], pool); /* each page goes back to where it was */
    assert_int_equal(page_pool_quiet_home(pool), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(page_take(pool, 7, 0)->home, 0);
    assert_int_equal(page_take(pool, 7, 0)->home, 1);
    view_fini(&view[1], pool);
    view_fini(&view[2], pool);
    assert_int_equal(page_pool_used(pool), 4);
    page_pool_close(pool);
}

static long resident_bytes(void)
{
    long all, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &all, &resident), 2);
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

/* A pool may be as large as a file's context asks: it costs what is used. */
static void pages_not_taken_cost_nothing(void **state)
{
    (void)state;
    long before = resident_bytes();
    struct page_pool *pool = open_pool(3000000);
    for (int i = 0; i < 100; i++)
        memset(page_take(pool, 1, 0)->data, 1, kv_page_bytes(&schema, MK_F16));
    assert_true(resident_bytes() - before < 24 << 20);
    assert_int_equal(page_pool_used(pool), 100);
    page_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_follow_the_schema),
        cmocka_unit_test(pages_are_counted),
        cmocka_unit_test(free_pages_are_given_back),
        cmocka_unit_test(another_user_finds_nothing),
        cmocka_unit_test(a_view_grows_whole_or_not_at_all),
        cmocka_unit_test(views_stay_at_home),
        cmocka_unit_test(pages_not_taken_cost_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
