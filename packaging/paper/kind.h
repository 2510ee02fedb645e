/* SPDX-License-Identifier: MIT
 *
 * What can stand where an option or a verb takes an argument. One thread.
 */
#pragma once

#include <stdbool.h>

#include "paper.h"

enum kind_type { KIND_ANY, KIND_FILES, KIND_FOLDERS, KIND_VALUES, KIND_COMMAND };
struct kind {
    enum kind_type type;
    char name[32];   /* the bare word: "NAME" of "[NAME]..." */
    char text[1024]; /* the values, with blanks between; or the command */
};

/* Of an argument's word, "NAME", "[NAME]..." or "cat|check". */
void kind_find(const struct paper *paper, const char *argument, struct kind *ret);
/* Of argument `i` of a verb, from 0; false: it takes no such one. */
bool kind_at(const struct paper *paper, const struct paper_verb *verb, int i, struct kind *ret);
enum { KIND_MOST_ARGUMENTS = 4 };

/* Whether the next word of the command line is the option's argument. */
static inline bool takes_word(const struct paper_option *option)
{
    return option->argument && option->argument[0] != '[';
}
