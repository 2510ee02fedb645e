/* SPDX-License-Identifier: MIT
 *
 * A talk is as long as its last branch is deep; what it begins with is saved with it.
 */
#include <string.h>

#include "kv/branch.h"
#include "kv/tree.h"

/* Of those that failed the one that was tried longest ago. */
static struct branch *next_unsaved(const struct tree *tree, enum saving saving)
{
    struct branch *first = NULL, *leaf;
    for (int i = 0; i < tree->n_owners; i++)
        if (tree->owner[i].n > 0)
            TAILQ_FOREACH (leaf, &tree->owner[i].leaves, leaf)
                if (leaf->saving == saving && (!first || leaf->tried < first->tried))
                    first = leaf;
    return first;
}

/* Puts the talk that ends with this branch into the view; 0: the view has no room for it. */
static int give(struct tree *tree, struct branch *leaf, struct view *view, int32_t *token)
{
    int n_pages = 0;
    for (struct branch *branch = leaf; branch; branch = branch->parent)
        n_pages++;
    bool fits = n_pages <= view->room && leaf->owner->disk_bytes > 0;
    for (struct branch *branch = leaf; branch; branch = branch->parent)
        if (branch->saving != SAVED) /* what it begins with is in it */
            branch->saving = fits ? GIVEN : REFUSED;
    if (!fits)
        return 0;
    view->uid = leaf->owner->uid;
    view->disk_bytes = leaf->owner->disk_bytes;
    view->n = n_pages;
    int i = n_pages;
    for (struct branch *branch = leaf; branch; branch = branch->parent) {
        i--;
        page_ref(tree->pool, branch->page);
        view->page[i] = branch->page;
        view->data[i] = branch->page->data;
        memcpy(token + i * PAGE_TOKENS, branch->token, (size_t)branch->n * sizeof *token);
    }
    return (n_pages - 1) * PAGE_TOKENS + leaf->n;
}

int tree_unsaved(struct tree *tree, bool again, struct view *view, int32_t *token)
{
    struct branch *leaf;
    int n = 0;
    while (n == 0 && (leaf = next_unsaved(tree, again ? FAILED : UNSAVED)))
        n = give(tree, leaf, view, token);
    return n;
}

/* Whose owner keeps so much, or where all do, that somebody's turn is near. */
static bool is_near(const struct tree *tree, const struct owner *owner)
{
    int total = page_pool_total(tree->pool);
    return page_pool_used(tree->pool) >= total - total / 4 ||
           owner->n >= owner->quota - owner->quota / 4;
}

static struct branch *next_unsaved_idle(const struct tree *tree, enum saving saving, bool all)
{
    struct branch *turn = NULL;
    for (int i = 0; i < tree->n_owners; i++) {
        const struct owner *owner = &tree->owner[i];
        struct branch *leaf;
        if (owner->n == 0 || !(all || is_near(tree, owner)))
            continue;
        TAILQ_FOREACH_REVERSE (leaf, &owner->leaves, branches, leaf)
            if (leaf->saving == saving && leaf->page->refs == 1)
                break;
        if (leaf && (!turn || branch_goes_before(leaf, turn)))
            turn = leaf;
    }
    return turn;
}

int tree_unsaved_idle(struct tree *tree, bool again, bool all, struct view *view, int32_t *token)
{
    struct branch *leaf;
    int n = 0;
    while (n == 0 && (leaf = next_unsaved_idle(tree, again ? FAILED : UNSAVED, all)))
        n = give(tree, leaf, view, token);
    return n;
}

void tree_settle(struct tree *tree, const struct view *view, enum tree_outcome outcome)
{
    static const enum saving states[] = {
        [TREE_SAVED] = SAVED, [TREE_FAILED] = FAILED, [TREE_REFUSED] = REFUSED};
    for (int i = 0; i < view->n; i++) {
        struct branch *branch = &tree->branch[page_index(tree->pool, view->page[i])];
        if (!view->page[i]->is_kept || branch->saving != GIVEN)
            continue; /* it was dropped meanwhile, and kept again perhaps */
        branch->saving = states[outcome];
        branch->tried = tree->clock;
    }
    tree->clock++;
}
