/* SPDX-License-Identifier: MIT */
#include "model/manifest.h"

#include <errno.h>
#include <string.h>

#include <xxhash.h>

static const char magic[8] = "moedkept";

static size_t align(size_t n)
{
    return (n + 7) / 8 * 8;
}

size_t manifest_bytes(uint32_t n_items, uint32_t n_nodes, uint32_t n_sums, uint32_t path_bytes)
{
    return sizeof(struct manifest_head) + align((size_t)n_items * (n_nodes + 1) * sizeof(int32_t)) +
           (size_t)n_sums * sizeof(uint64_t) + align((size_t)path_bytes + 1);
}

void manifest_lay(struct manifest_head *head, struct manifest *ret)
{
    const char *at = (const char *)(head + 1);
    ret->head = head;
    ret->cut = (const int32_t *)at;
    at += align((size_t)head->n_items * (head->n_nodes + 1) * sizeof(int32_t));
    ret->sum = (const uint64_t *)at;
    at += (size_t)head->n_sums * sizeof(uint64_t);
    ret->path = at;
}

static uint64_t hash(const struct manifest_head *head)
{
    const char *from = (const char *)&head->ident;
    return XXH3_64bits(from, (size_t)head->bytes - (size_t)(from - (const char *)head));
}

void manifest_end(struct manifest_head *head)
{
    memcpy(head->magic, magic, sizeof magic);
    head->version = MANIFEST_VERSION;
    head->head_bytes = sizeof *head;
    head->bytes = manifest_bytes(head->n_items, head->n_nodes, head->n_sums, head->path_bytes);
    head->hash = hash(head);
}

int manifest_read(const void *bytes, size_t n, struct manifest *ret, struct err *err)
{
    const struct manifest_head *head = bytes;
    if (n < sizeof *head || memcmp(head->magic, magic, sizeof magic) != 0)
        return err_set(err, -EBADMSG, "it is no manifest of weights");
    if (head->version != MANIFEST_VERSION || head->head_bytes != sizeof *head)
        return err_set(err, -EBADMSG, "the manifest has version %u, expected %d", head->version,
                       MANIFEST_VERSION);
    /* The hash is looked at before the counts: they are ours then, and far from wrapping. */
    if (head->bytes > n || head->bytes < sizeof *head || head->hash != hash(head))
        return err_set(err, -EBADMSG, "the manifest is broken: its checksum is wrong");
    if (head->n_nodes < 1 || head->n_nodes > TOPO_MAX_NODES ||
        head->bytes != manifest_bytes(head->n_items, head->n_nodes, head->n_sums, head->path_bytes))
        return err_set(err, -EBADMSG, "the manifest is broken: its counts are wrong");
    /* Laying only computes addresses. */
    manifest_lay((struct manifest_head *)(uintptr_t)head, ret);
    if (ret->path[head->path_bytes] != '\0')
        return err_set(err, -EBADMSG, "the manifest is broken: its path has no end");
    return 0;
}
