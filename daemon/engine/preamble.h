/* SPDX-License-Identifier: MIT
 *
 * How prompts of many users begin alike: system prompts that an administrator lets them share, as
 * the tokens that one model makes of them.
 *
 * Immutable once read; any thread. The files are read on the thread that loads the model.
 */
#pragma once

#include <stdint.h>

struct model;

enum { PREAMBLE_BYTES = 256 * 1024 }; /* of a file, at most */

struct preamble {
    const char *path; /* borrowed */
    int32_t *token;
    int n;
};
struct preambles { /* zeroed: none */
    struct preamble *at;
    int n;
};

/* Of each file what all conversations with that system prompt begin with, with and without
 * thinking, and what follows its text as plain text. A file that cannot be read or said gets a
 * warning, and is left out. */
void preambles_read(struct preambles *preambles, char *const *path, int n_paths,
                    const struct model *model);
void preambles_fini(struct preambles *preambles);
