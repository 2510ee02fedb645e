/* SPDX-License-Identifier: MIT
 *
 * The merges that are found from ranks, against those that the vocabulary was published with.
 *
 *     test_ranks RANKS/tokenizer_config.json VOCABULARY.gguf
 *
 * The first was made of the ordinary tokens of the second, in their order: every merge has to come
 * back, at its place.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/format.h"

#define MERGES "tokenizer.ggml.merges"

static const struct meta *open_meta(const char *path, struct format **ret, uint64_t *n)
{
    struct err err = {0};
    if (format_open(path, ret, &err) < 0 ||
        meta_str_array(format_meta(*ret), MERGES, n, &err) < 0) {
        printf("%s\n", err.text);
        return NULL;
    }
    return format_meta(*ret);
}

int main(int argc, char **argv)
{
    OWN(format) *found_in = NULL, *published_in = NULL;
    uint64_t n, n_found;
    const struct meta *found = argc == 3 ? open_meta(argv[1], &found_in, &n_found) : NULL;
    const struct meta *published = found ? open_meta(argv[2], &published_in, &n) : NULL;
    if (!published)
        return 2;
    if (n != n_found || n == 0) {
        printf("found %" PRIu64 " merges, expected %" PRIu64 "\n", n_found, n);
        return 1;
    }
    for (uint64_t i = 0; i < n; i++) {
        size_t bytes;
        const char *have = meta_str_at(found, MERGES, i, &bytes);
        const char *want = meta_str_at(published, MERGES, i, &bytes);
        if (strcmp(have, want) != 0) {
            printf("merge %" PRIu64 ": found '%s', expected '%s'\n", i, have, want);
            return 1;
        }
    }
    printf("%" PRIu64 " merges\n", n);
    return 0;
}
