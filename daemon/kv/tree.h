/* SPDX-License-Identifier: MIT
 *
 * What is known already: the pages of talks, running or over, as a tree of tokens.
 *
 * A page enters when its last row is made, or its talk is over, and stays until its memory is
 * needed; one that is not whole goes as well when another has all its rows and more. A page is
 * found by its owner and all tokens from the first one on, compared in full; a tree belongs to one
 * model's engine and is used on its thread. Another uid's pages are never found, but for those
 * whose tokens are all listed by tree_share(): these belong to nobody, whoever made them, and stay.
 *
 * Rows of answers are made by other arithmetic than rows of prompts. Two pages are the same only
 * if they, and those before them, have the same tokens and the same rows as answers: then they
 * have the same bytes.
 *
 * A branch is a page. Branches that no view uses are idle; of those the one goes first that was
 * used least recently and has none behind it: among those of him who needs memory, else of him who
 * has the most. Nothing is allocated after tree_open().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/own.h"
#include "kv/view.h"

struct tree;

/* At most `quota` pages of one uid, or as few as its latest view says; 0: nothing is ever known.
 * -ENOMEM. */
int tree_open(struct page_pool *pool, int quota, struct tree **ret);
/* Drops all pages. Views must have gone. */
void tree_close(struct tree *tree);
OWN_DEFINE(tree, tree_close);

/* Before the first page: those of this beginning are everybody's, made as a prompt's, as far as
 * they are whole. -ENOMEM. */
int tree_share(struct tree *tree, const int32_t *token, int n);

/* Puts the longest known beginning of these tokens into an empty view: whole pages, shared, and a
 * copy of the page in whose middle they part. Says how many tokens that is: less than n. Of pages
 * of the same tokens it takes those used last. `answers` NULL, or a word a page as struct page has
 * it: rows made otherwise do not count. */
int tree_recall(struct tree *tree, struct view *view, const int32_t *token, int n,
                const uint32_t *answers);
/* How many tokens that would be for a view of that uid; nothing is taken. */
int tree_peek(struct tree *tree, uint32_t uid, const int32_t *token, int n,
              const uint32_t *answers);
/* Takes in those whole pages of the view that it does not have, as far as the quota lets it, now
 * that the rows of the first n tokens are made. The view may get other pages of the same bytes for
 * its own. */
void tree_keep(struct tree *tree, struct view *view, const int32_t *token, int n);
/* Takes in the last page too, which is not whole. The view may make more rows, of more tokens.
 * Returns the page that has its rows in the tree, which may be another; NULL: none. */
struct page *tree_keep_end(struct tree *tree, struct view *view, const int32_t *token, int n);
/* Puts a talk that was not saved yet, or of those that failed the one that was tried longest ago,
 * into an empty view, with one more reference to each page, and its tokens; says how many, 0: there
 * is none, or not one that the view has room for. */
int tree_unsaved(struct tree *tree, bool again, struct view *view, int32_t *token);
/* The same of talks that nobody goes on with: the one that goes first. Of `all`, or of those that
 * will go soon: when three quarters of the pages, or of an owner's quota, are used. */
int tree_unsaved_idle(struct tree *tree, bool again, bool all, struct view *view, int32_t *token);
enum tree_outcome {
    TREE_SAVED,
    TREE_FAILED,
    TREE_REFUSED, /* nobody ever takes it */
};
/* What came of a talk that was given, whose pages the view has still. */
void tree_settle(struct tree *tree, const struct view *view, enum tree_outcome outcome);
/* Drops those pages that a session used last, and nobody uses, from the ends of talks on. What is
 * not saved counts for nothing: another way of going on than the one that it keeps. How many. */
int tree_drop_talk(struct tree *tree, uint32_t uid, uint64_t talk);
/* Drops what nobody but this view and the tree has of its pages: there may be something wrong with
 * them. */
void tree_forget(struct tree *tree, struct view *view);
/* Drops idle pages until so many are free for the view, or none is idle. */
void tree_make_room(struct tree *tree, const struct view *view, int pages);
/* Drops all idle pages, or those that are saved; how many. */
int tree_drop_idle(struct tree *tree, bool saved_only);
/* Pages that were dropped before they were saved. */
uint64_t tree_n_lost(const struct tree *tree);
