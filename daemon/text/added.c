/* SPDX-License-Identifier: MIT
 *
 * The tree of added tokens. See added.h. */
#include "text/added.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "text/table.h"
#include "text/utf8.h"

struct added_node {
    uint32_t child, sibling; /* 0: none */
    int32_t id;              /* of the token that ends here, -1: none */
    unsigned char byte;
};

static uint32_t step(const struct added *added, uint32_t node, unsigned char byte)
{
    if (node == 0)
        return added->first[byte];
    uint32_t child = added->nodes[node].child;
    while (child && added->nodes[child].byte != byte)
        child = added->nodes[child].sibling;
    return child;
}

static int grow(struct added *added)
{
    if (added->n < added->room)
        return 0;
    uint32_t room = added->room ? added->room * 2 : 256;
    struct added_node *nodes =
        room > added->room ? realloc(added->nodes, room * sizeof(*nodes)) : NULL;
    if (!nodes)
        return -ENOMEM;
    added->nodes = nodes;
    added->room = room;
    return 0;
}

static int insert(struct added *added, const char *text, size_t bytes, int32_t id, int32_t *other)
{
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t next = step(added, node, byte);
        if (!next) {
            if (grow(added) < 0)
                return -ENOMEM;
            next = added->n++;
            struct added_node *fresh = &added->nodes[next];
            *fresh = (struct added_node){.id = -1, .byte = byte};
            if (node == 0) {
                added->first[byte] = next;
            } else {
                fresh->sibling = added->nodes[node].child;
                added->nodes[node].child = next;
            }
        }
        node = next;
    }
    *other = added->nodes[node].id;
    if (*other >= 0)
        return -EEXIST;
    added->nodes[node].id = id;
    return 0;
}

int added_init(struct added *ret, const struct token_table *table, struct err *err)
{
    if (grow(ret) < 0)
        return err_set(err, -ENOMEM, "no memory for added tokens");
    ret->nodes[ret->n++] = (struct added_node){.id = -1};
    for (int32_t id = 0; id < table->n; id++) {
        if (!(table->flags[id] & TOKEN_ADDED) || (table->flags[id] & TOKEN_UNUSED))
            continue;
        size_t bytes;
        const char *text = token_table_bytes(table, id, &bytes);
        int32_t other = -1;
        int r = insert(ret, text, bytes, id, &other);
        if (r == -EEXIST)
            return err_set(err, -EINVAL, "tokens %" PRId32 " and %" PRId32 " are both '%.*s'",
                           other, id, utf8_quote(text, bytes), text);
        if (r < 0)
            return err_set(err, r, "no memory for added tokens");
    }
    return 0;
}

void added_fini(struct added *added)
{
    free(added->nodes);
    *added = (struct added){0};
}

int32_t added_search(const struct added *added, const struct token_table *table, const char *text,
                     size_t bytes, bool special, size_t *start, size_t *end)
{
    for (size_t from = 0; from < bytes; from++) {
        uint32_t node = added->first[(unsigned char)text[from]];
        int32_t best = -1;
        for (size_t at = from + 1; node; at++) {
            int32_t id = added->nodes[node].id;
            if (id >= 0 && (special || !(table->flags[id] & TOKEN_SPECIAL))) {
                best = id;
                *start = from;
                *end = at;
            }
            node = at < bytes ? step(added, node, (unsigned char)text[at]) : 0;
        }
        if (best >= 0)
            return best;
    }
    return -1;
}

int32_t added_find(const struct added *added, const char *text, size_t bytes)
{
    uint32_t node = 0;
    for (size_t i = 0; i < bytes; i++) {
        node = step(added, node, (unsigned char)text[i]);
        if (!node)
            return -1;
    }
    return node ? added->nodes[node].id : -1;
}
