/* SPDX-License-Identifier: MIT
 *
 * A view that uses a branch's page uses those of all branches before it too, so a branch is idle
 * only if all behind it are: dropping idle ones with none behind them reaches every idle page.
 */
#include "kv/tree.h"

#include <errno.h>
#include <string.h>

#include "kv/branch.h"
#include "place/mem.h"

enum { ANY_HOME = -1 };

int tree_open(struct page_pool *pool, int quota, struct tree **ret)
{
    OWN(tree) *tree = calloc(1, sizeof *tree);
    if (!tree)
        return -ENOMEM;
    size_t total = (size_t)page_pool_total(pool);
    tree->pool = pool;
    tree->quota = quota;
    TAILQ_INIT(&tree->shared.children);
    TAILQ_INIT(&tree->shared.leaves);
    tree->branch_bytes = total * sizeof *tree->branch;
    tree->owner_bytes = total * sizeof *tree->owner;
    void *branches = NULL, *owners = NULL;
    int r = mem_reserve(tree->branch_bytes, &branches);
    tree->branch = branches;
    if (r == 0)
        r = mem_reserve(tree->owner_bytes, &owners);
    tree->owner = owners;
    if (r == 0)
        *ret = TAKE(tree);
    return r;
}

int tree_share(struct tree *tree, const int32_t *token, int n)
{
    struct listed *more =
        reallocarray(tree->listed, (size_t)tree->n_listed + 1, sizeof *tree->listed);
    if (!more)
        return -ENOMEM;
    tree->listed = more;
    struct listed *listed = &more[tree->n_listed];
    listed->n = n / PAGE_TOKENS * PAGE_TOKENS;
    listed->token = malloc(((size_t)n + 1) * sizeof *token);
    if (!listed->token)
        return -ENOMEM;
    memcpy(listed->token, token, (size_t)n * sizeof *token);
    tree->n_listed++;
    return 0;
}

static struct owner *find_owner(const struct tree *tree, uint32_t uid)
{
    for (int i = 0; i < tree->n_owners; i++)
        if (tree->owner[i].n > 0 && tree->owner[i].uid == uid)
            return &tree->owner[i];
    return NULL;
}

static struct owner *add_owner(struct tree *tree, uint32_t uid)
{
    int i = 0;
    while (i < tree->n_owners && tree->owner[i].n > 0)
        i++;
    if (i == tree->n_owners)
        tree->n_owners++;
    struct owner *owner = &tree->owner[i];
    owner->uid = uid;
    TAILQ_INIT(&owner->children);
    TAILQ_INIT(&owner->leaves);
    return owner;
}

/* Where children of that parent are, perhaps among others. */
static struct branches *siblings(struct owner *owner, struct branch *parent)
{
    return parent && parent->owner == owner ? &parent->children : &owner->children;
}

static bool is_leaf(const struct branch *branch)
{
    return TAILQ_EMPTY(&branch->children) && branch->n_guests == 0;
}

static void touch(struct tree *tree, struct branch *branch, uint64_t talk)
{
    struct branches *list = siblings(branch->owner, branch->parent);
    branch->used = ++tree->clock;
    if (talk)
        branch->talk = talk;
    TAILQ_REMOVE(list, branch, beside);
    TAILQ_INSERT_HEAD(list, branch, beside);
    if (!is_leaf(branch))
        return;
    TAILQ_REMOVE(&branch->owner->leaves, branch, leaf);
    TAILQ_INSERT_HEAD(&branch->owner->leaves, branch, leaf);
}

/* ------------------------------------------------------------------ growing and felling */

static struct branch *grow(struct tree *tree, struct owner *owner, struct branch *parent,
                           struct page *page, const int32_t *token, int n)
{
    struct branch *branch = &tree->branch[page_index(tree->pool, page)];
    *branch = (struct branch){
        .page = page, .owner = owner, .parent = parent, .used = ++tree->clock, .n = n};
    memcpy(branch->token, token, (size_t)n * sizeof *token);
    TAILQ_INIT(&branch->children);
    if (parent && is_leaf(parent))
        TAILQ_REMOVE(&parent->owner->leaves, parent, leaf);
    if (parent && parent->owner != owner)
        parent->n_guests++;
    TAILQ_INSERT_HEAD(siblings(owner, parent), branch, beside);
    TAILQ_INSERT_HEAD(&owner->leaves, branch, leaf);
    owner->n++;
    if (owner == &tree->shared)
        page_pin(tree->pool, page);
    else
        page_keep(tree->pool, page);
    return branch;
}

/* Among the leaves by when it was used: mostly it is the oldest, as its child was. */
static void become_leaf(struct branch *branch)
{
    struct branches *leaves = &branch->owner->leaves;
    struct branch *at;
    TAILQ_FOREACH_REVERSE (at, leaves, branches, leaf)
        if (at->used > branch->used)
            break;
    if (at)
        TAILQ_INSERT_AFTER(leaves, at, branch, leaf);
    else
        TAILQ_INSERT_HEAD(leaves, branch, leaf);
}

static void fell(struct tree *tree, struct branch *leaf)
{
    struct branch *parent = leaf->parent;
    TAILQ_REMOVE(siblings(leaf->owner, parent), leaf, beside);
    TAILQ_REMOVE(&leaf->owner->leaves, leaf, leaf);
    leaf->owner->n--;
    if (parent && parent->owner != leaf->owner)
        parent->n_guests--;
    if (parent && is_leaf(parent))
        become_leaf(parent);
    page_drop(tree->pool, leaf->page);
}

/* For its memory. */
static void drop(struct tree *tree, struct branch *leaf)
{
    tree->n_lost += leaf->saving != SAVED;
    fell(tree, leaf);
}

/* At that home if there is one. Who is not idle is passed over: a running view has but one leaf. */
static struct branch *oldest_idle(const struct owner *owner, int home)
{
    struct branch *leaf, *away = NULL;
    TAILQ_FOREACH_REVERSE (leaf, &owner->leaves, branches, leaf) {
        if (leaf->page->refs > 1)
            continue;
        if (home == ANY_HOME || leaf->page->home == home)
            return leaf;
        if (!away)
            away = leaf;
    }
    return away;
}

static struct branch *whose_turn(const struct tree *tree, uint32_t uid, int home)
{
    const struct owner *own = find_owner(tree, uid);
    struct branch *turn = own ? oldest_idle(own, home) : NULL;
    if (turn)
        return turn;
    for (int i = 0; i < tree->n_owners; i++) {
        const struct owner *owner = &tree->owner[i];
        struct branch *idle = owner->n > 0 ? oldest_idle(owner, home) : NULL;
        if (idle && (!turn || branch_goes_before(idle, turn)))
            turn = idle;
    }
    return turn;
}

static void make_room(struct tree *tree, uint32_t uid, int home, int pages)
{
    struct branch *turn;
    while (page_pool_total(tree->pool) - page_pool_used(tree->pool) < pages &&
           (turn = whose_turn(tree, uid, home)))
        drop(tree, turn);
}

void tree_make_room(struct tree *tree, const struct view *view, int pages)
{
    make_room(tree, view->uid, view->n > 0 ? view->home : ANY_HOME, pages);
}

/* What goes of the idle branches: what is saved, all, or a session's. */
struct choice {
    bool saved_only;
    uint64_t talk; /* 0: whosesoever */
};

static bool is_chosen(const struct branch *branch, const struct choice *choice)
{
    return branch->page->refs == 1 && (branch->saving == SAVED || !choice->saved_only) &&
           (!choice->talk || branch->talk == choice->talk);
}

static int drop_chosen(struct tree *tree, struct owner *owner, const struct choice *choice)
{
    int n = 0;
    struct branch *leaf = owner->n > 0 ? TAILQ_LAST(&owner->leaves, branches) : NULL;
    while (leaf) {
        struct branch *at = leaf;
        leaf = TAILQ_PREV(leaf, branches, leaf);
        while (at && at->owner == owner && is_leaf(at) && is_chosen(at, choice)) {
            struct branch *parent = at->parent;
            if (choice->talk)
                fell(tree, at);
            else
                drop(tree, at);
            n++;
            at = parent; /* else it would be passed over where it becomes a leaf */
        }
    }
    return n;
}

int tree_drop_idle(struct tree *tree, bool saved_only)
{
    int n = 0;
    for (int i = 0; i < tree->n_owners; i++)
        n += drop_chosen(tree, &tree->owner[i], &(struct choice){.saved_only = saved_only});
    return n;
}

int tree_drop_talk(struct tree *tree, uint32_t uid, uint64_t talk)
{
    struct owner *owner = find_owner(tree, uid);
    return owner ? drop_chosen(tree, owner, &(struct choice){.talk = talk}) : 0;
}

uint64_t tree_n_lost(const struct tree *tree)
{
    return tree->n_lost;
}

void tree_close(struct tree *tree)
{
    if (!tree)
        return;
    if (tree->branch && tree->owner)
        make_room(tree, 0, ANY_HOME, page_pool_total(tree->pool));
    while (!TAILQ_EMPTY(&tree->shared.leaves))
        fell(tree, TAILQ_FIRST(&tree->shared.leaves));
    for (int i = 0; i < tree->n_listed; i++)
        free(tree->listed[i].token);
    free(tree->listed);
    mem_free(tree->branch, tree->branch_bytes);
    mem_free(tree->owner, tree->owner_bytes);
    free(tree);
}

/* ------------------------------------------------------------------ finding and keeping */

/* Whether what all share could go on behind this branch. */
static bool may_be_shared(const struct tree *tree, const struct branch *branch)
{
    return !branch || branch->owner == &tree->shared;
}

static int n_same(const int32_t *a, const int32_t *b, int n)
{
    int same = 0;
    while (same < n && a[same] == b[same])
        same++;
    return same;
}

/* How many of the first n rows two pages have made alike. */
static int n_alike(uint32_t answers, uint32_t others, int n)
{
    uint32_t odd = (answers ^ others) & page_rows(n);
    return odd ? __builtin_ctz(odd) : n;
}

/* Who shares more than *same tokens, the most of all but at most n, and if `answers` is given rows
 * that were made so. */
static struct branch *closest(struct owner *owner, struct branch *parent, const int32_t *token,
                              int n, const uint32_t *answers, int *same)
{
    struct branch *best = NULL, *branch;
    TAILQ_FOREACH (branch, siblings(owner, parent), beside) {
        if (branch->parent != parent)
            continue;
        int shared = n_same(branch->token, token, n < branch->n ? n : branch->n);
        if (answers)
            shared = n_alike(branch->page->answers, *answers, shared);
        if (shared <= *same)
            continue;
        *same = shared;
        best = branch;
        if (shared == n)
            break;
    }
    return best;
}

static void append(const struct page_pool *pool, struct view *view, struct page *page)
{
    if (view->n == 0) /* not that of what many share, or all of them would be there */
        view->home = page->is_pinned ? page_pool_quiet_home(pool) : page->home;
    view->page[view->n] = page;
    view->data[view->n++] = page->data;
}

/* Goes on in the middle of somebody's page; false: there is no memory for a copy. */
static bool append_copy(struct tree *tree, struct view *view, struct page *from, int tokens)
{
    page_ref(tree->pool, from); /* or it may be the one that goes */
    int home = view->n > 0 ? view->home : from->home;
    make_room(tree, view->uid, home, 1);
    struct page *page = page_take(tree->pool, view->uid, home);
    if (page) {
        page_copy(tree->pool, page, from, tokens);
        append(tree->pool, view, page);
    }
    page_unref(tree->pool, from);
    return page;
}

/* What goes on behind `known` tokens, which end with `behind`: something of the uid's, or what all
 * share. */
static struct branch *next_known(struct tree *tree, uint32_t uid, struct branch *behind,
                                 const int32_t *token, int known, int n, const uint32_t *answers,
                                 int *same)
{
    int most = n - 1 - known < PAGE_TOKENS ? n - 1 - known : PAGE_TOKENS;
    const uint32_t *word = answers ? &answers[known / PAGE_TOKENS] : NULL;
    struct owner *owner = find_owner(tree, uid);
    struct branch *branch = NULL, *shared = NULL;
    *same = 0;
    if (owner)
        branch = closest(owner, behind, token + known, most, word, same);
    if (may_be_shared(tree, behind))
        shared = closest(&tree->shared, behind, token + known, most, word, same);
    return shared ? shared : branch;
}

int tree_peek(struct tree *tree, uint32_t uid, const int32_t *token, int n, const uint32_t *answers)
{
    struct branch *behind = NULL;
    int known = 0, same = PAGE_TOKENS;
    for (; same == PAGE_TOKENS; known += same)
        behind = next_known(tree, uid, behind, token, known, n, answers, &same);
    return known;
}

int tree_recall(struct tree *tree, struct view *view, const int32_t *token, int n,
                const uint32_t *answers)
{
    for (int known = 0;; known += PAGE_TOKENS) {
        int same;
        struct branch *branch =
            next_known(tree, view->uid, view->branch, token, known, n, answers, &same);
        if (!branch)
            return known;
        touch(tree, branch, view->talk);
        if (same < PAGE_TOKENS)
            return append_copy(tree, view, branch->page, same) ? known + same : known;
        page_ref(tree->pool, branch->page);
        append(tree->pool, view, branch->page);
        view->branch = branch;
        view->n_kept++;
    }
}

/* Whether the first n of these rows are those of a page, tokens and bits. */
static bool begins_with(const int32_t *token, uint32_t answers, const int32_t *start,
                        const struct page *page, int n)
{
    return (answers & page_rows(n)) == (page->answers & page_rows(n)) &&
           n_same(token, start, n) == n;
}

/* Who has the first n rows of the page, and perhaps more. */
static struct branch *find_holder(struct owner *owner, struct branch *parent,
                                  const struct page *page, const int32_t *token, int n)
{
    struct branch *branch;
    TAILQ_FOREACH (branch, siblings(owner, parent), beside)
        if (branch->parent == parent && branch->n >= n &&
            begins_with(branch->token, branch->page->answers, token, page, n))
            return branch;
    return NULL;
}

/* Whose rows are all among the first n of the page: nobody will miss it. */
static struct branch *find_outgrown(struct owner *owner, struct branch *parent,
                                    const struct page *page, const int32_t *token, int n)
{
    struct branch *branch;
    TAILQ_FOREACH (branch, siblings(owner, parent), beside)
        if (branch->parent == parent && branch->n < n &&
            begins_with(token, page->answers, branch->token, branch->page, branch->n))
            return branch;
    return NULL;
}

/* Whether the view's next page, whole, and all before it are of a beginning that all share. */
static bool is_listed(const struct tree *tree, const struct view *view, const int32_t *token)
{
    int from = view->n_kept * PAGE_TOKENS, end = from + PAGE_TOKENS;
    if (!may_be_shared(tree, view->branch) || view->page[view->n_kept]->answers)
        return false;
    for (int i = 0; i < tree->n_listed; i++) {
        const struct listed *listed = &tree->listed[i];
        if (listed->n >= end &&
            n_same(listed->token + from, token + from, PAGE_TOKENS) == PAGE_TOKENS &&
            n_same(listed->token, token, from) == from)
            return true;
    }
    return false;
}

/* The branch of the view's next page, which nobody pays for. */
static struct branch *shared_branch(struct tree *tree, struct view *view, const int32_t *token)
{
    struct page *page = view->page[view->n_kept];
    struct branch *branch = find_holder(&tree->shared, view->branch, page, token, PAGE_TOKENS);
    if (branch)
        touch(tree, branch, 0);
    return branch ? branch : grow(tree, &tree->shared, view->branch, page, token, PAGE_TOKENS);
}

/* The branch of the view's next page, n rows of it; NULL if its owner has no room for one. */
static struct branch *branch_of(struct tree *tree, struct view *view, const int32_t *token, int n)
{
    struct page *page = view->page[view->n_kept];
    struct owner *owner = find_owner(tree, view->uid);
    struct branch *branch = owner ? find_holder(owner, view->branch, page, token, n) : NULL;
    if (branch) {
        touch(tree, branch, view->talk);
        return branch;
    }
    int quota = view->quota < tree->quota ? view->quota : tree->quota;
    while (owner) {
        if ((branch = find_outgrown(owner, view->branch, page, token, n)))
            fell(tree, branch);
        else if (owner->n >= quota && (branch = oldest_idle(owner, ANY_HOME)))
            drop(tree, branch);
        else
            break;
        owner = find_owner(tree, view->uid);
    }
    if ((owner ? owner->n : 0) >= quota)
        return NULL;
    if (!owner)
        owner = add_owner(tree, view->uid);
    owner->quota = quota;
    owner->disk_bytes = view->disk_bytes;
    branch = grow(tree, owner, view->branch, page, token, n);
    branch->talk = view->talk;
    return branch;
}

void tree_keep(struct tree *tree, struct view *view, const int32_t *token, int n)
{
    while (n / PAGE_TOKENS > view->n_kept) {
        int i = view->n_kept;
        const int32_t *next = token + i * PAGE_TOKENS;
        struct branch *branch = is_listed(tree, view, token)
                                    ? shared_branch(tree, view, next)
                                    : branch_of(tree, view, next, PAGE_TOKENS);
        if (!branch)
            return;
        if (branch->page != view->page[i]) {
            page_ref(tree->pool, branch->page);
            page_unref(tree->pool, view->page[i]);
            view->page[i] = branch->page;
            view->data[i] = branch->page->data;
        }
        view->branch = branch;
        view->n_kept++;
    }
}

struct page *tree_keep_end(struct tree *tree, struct view *view, const int32_t *token, int n)
{
    int whole = view->n_kept * PAGE_TOKENS;
    if (n <= whole || n >= whole + PAGE_TOKENS)
        return NULL;
    const struct branch *branch = branch_of(tree, view, token + whole, n - whole);
    return branch ? branch->page : NULL;
}

void tree_forget(struct tree *tree, struct view *view)
{
    struct page *end = view->n > view->n_kept ? view->page[view->n_kept] : NULL;
    if (end && end->is_kept && end->refs == 2)
        fell(tree, &tree->branch[page_index(tree->pool, end)]);
    struct branch *last;
    while ((last = view->branch) && is_leaf(last) && last->page->refs == 2) {
        view->branch = last->parent;
        view->n_kept--;
        fell(tree, last);
    }
}
