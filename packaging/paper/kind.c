/* SPDX-License-Identifier: MIT
 *
 * Arguments by their words.
 */
#include "kind.h"

#include <string.h>

static const struct {
    const char *argument;
    enum kind_type type;
} known[] = {{"FILE", KIND_FILES}, {"PATH", KIND_FILES}, {"DIR", KIND_FOLDERS}};

/* Looks at the first of the words. */
void kind_find(const struct paper *paper, const char *argument, struct kind *ret)
{
    *ret = (struct kind){.type = KIND_ANY};
    const char *word = argument + strspn(argument, "[");
    size_t n = strcspn(word, "]. ");
    snprintf(ret->name, sizeof ret->name, "%.*s", (int)n, word);
    if (memchr(word, '|', n)) {
        ret->type = KIND_VALUES;
        snprintf(ret->text, sizeof ret->text, "%.*s", (int)n, word);
        for (char *bar = ret->text; (bar = strchr(bar, '|')); bar++)
            *bar = ' ';
        snprintf(ret->name, sizeof ret->name, "what");
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].argument, ret->name) == 0)
            ret->type = known[i].type;
    for (int i = 0; i < paper->n_kinds; i++) {
        const struct paper_kind *kind = &paper->kinds[i];
        if (strcmp(kind->argument, ret->name) != 0)
            continue;
        ret->type = kind->values ? KIND_VALUES : KIND_COMMAND;
        snprintf(ret->text, sizeof ret->text, "%s", kind->values ? kind->values : kind->command);
    }
}

bool kind_at(const struct paper *paper, const struct paper_verb *verb, int i, struct kind *ret)
{
    const char *word = verb->arguments;
    for (; i > 0; i--) {
        const char *blank = strchr(word, ' ');
        if (blank)
            word = blank + 1;
        else if (!strstr(word, "...")) /* the last of the list may come again */
            return false;
    }
    kind_find(paper, word, ret);
    return *word != '\0';
}
