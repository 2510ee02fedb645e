/* SPDX-License-Identifier: MIT */
#include "kv/view.h"

#include <errno.h>
#include <limits.h>

int view_pages(int tokens)
{
    return (tokens + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

int view_init(struct view *view, int max_tokens, uint32_t uid)
{
    int room = view_pages(max_tokens);
    *view = (struct view){.uid = uid, .room = room, .quota = INT_MAX, .disk_bytes = UINT64_MAX};
    view->data = calloc((size_t)room, sizeof *view->data);
    view->page = calloc((size_t)room, sizeof *view->page);
    if (view->data && view->page)
        return 0;
    free(view->data);
    free(view->page);
    *view = (struct view){0};
    return -ENOMEM;
}

void view_fini(struct view *view, struct page_pool *pool)
{
    for (int i = 0; i < view->n; i++)
        page_unref(pool, view->page[i]);
    free(view->data);
    free(view->page);
    *view = (struct view){0};
}

int view_grow(struct view *view, struct page_pool *pool, int tokens)
{
    int want = view_pages(tokens);
    if (want > view->room || want - view->n > page_pool_total(pool) - page_pool_used(pool))
        return -ENOSPC;
    if (view->n == 0)
        view->home = page_pool_quiet_home(pool);
    while (view->n < want) {
        struct page *page = page_take(pool, view->uid, view->home);
        view->page[view->n] = page;
        view->data[view->n++] = page->data;
    }
    return 0;
}

void view_mark_answers(struct view *view, int from, int n)
{
    for (int i = from; i < from + n; i++)
        view->page[i / PAGE_TOKENS]->answers |= 1u << i % PAGE_TOKENS;
}

static bool is_answer(const struct view *view, int i)
{
    return view->page[i / PAGE_TOKENS]->answers >> i % PAGE_TOKENS & 1;
}

int view_run(const struct view *view, int from, int tokens)
{
    int end = from + 1;
    while (end < tokens && is_answer(view, end) == is_answer(view, from))
        end++;
    return end - from;
}
