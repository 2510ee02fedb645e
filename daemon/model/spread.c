/* SPDX-License-Identifier: MIT */
#include "model/spread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"
#include "model/hparams.h"
#include "model/weights.h"
#include "place/place.h"

static size_t align(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t spread_item_bytes(const struct place *place, const struct plan_item *item)
{
    return align(place->ops->pack_size(place, &item->mat) * (size_t)item->mat.count);
}

bool spread_by_matrix(const struct plan_item *item)
{
    return item->role == ROLE_K_B || item->role == ROLE_V_B;
}

/* ------------------------------------------------------------------ the plan */

/* How a role's matrices may be cut, and what a token reads of them. */
static void describe_item(const struct plan *plan, int i, const struct hparams *hp,
                          struct place *place, struct node_item *ret)
{
    const struct plan_item *item = &plan->item[i];
    uint64_t bytes = spread_item_bytes(place, item), count = (uint64_t)item->mat.count;
    *ret = (struct node_item){.split = NODE_ROWS,
                              .n = item->mat.n,
                              .count = item->mat.count,
                              .bytes = bytes,
                              .read = bytes};
    if (spread_by_matrix(item))
        ret->split = NODE_MATRICES;
    switch (item->role) {
    case ROLE_EXPERT_GATE:
    case ROLE_EXPERT_UP:
    case ROLE_EXPERT_DOWN:
        ret->read = bytes / count * (uint64_t)hp->route.n_used;
        break;
    case ROLE_EMBEDDING:
        if (!plan->tied)
            ret->read = bytes / (uint64_t)item->mat.n; /* a row */
        break;
    case ROLE_FINAL_NORM:
    case ROLE_ATTN_NORM:
    case ROLE_Q_A_NORM:
    case ROLE_KV_A_NORM:
    case ROLE_FFN_NORM:
    case ROLE_ROUTER:
    case ROLE_ROUTER_BIAS:
        ret->split = NODE_WHOLE;
        break;
    default:
        break;
    }
}

/* Rooms of the nodes, now; what others take meanwhile is why a little is kept back. */
static void find_rooms(const struct place *place, uint64_t wanted, struct node_room *ret)
{
    for (int j = 0; j < place->n_nodes; j++) {
        ret[j] = place->node[j];
        uint64_t room = ret[j].os < 0 ? UINT64_MAX / 2 : mem_node_room(ret[j].os, wanted);
        ret[j].bytes = room - room / 32;
    }
}

static int make_cuts(const struct plan *plan, const struct hparams *hp, struct place *place,
                     int *cut, struct node_sum *sum)
{
    struct node_room room[TOPO_MAX_NODES];
    OWN_MEM struct node_item *item = calloc((size_t)plan->n, sizeof *item);
    if (!item)
        return -ENOMEM;
    uint64_t bytes = 0;
    for (int i = 0; i < plan->n; i++) {
        describe_item(plan, i, hp, place, &item[i]);
        bytes += item[i].bytes;
    }
    find_rooms(place, bytes, room);
    return plan_nodes(room, place->n_nodes, item, plan->n, cut, sum, NULL);
}

/* ------------------------------------------------------------------ the blocks */

/* Lays the parts of the items one after the other; `data` holds offsets until memory is there. */
static void lay_out(struct spread *s, const struct plan *plan, struct place *place,
                    const int32_t *cut)
{
    for (int i = 0; i < plan->n; i++, cut += s->n_nodes + 1) {
        const struct plan_item *item = &plan->item[i];
        for (int j = 0; j < s->n_nodes; j++) {
            struct weight_part *part = &s->part[i * s->n_nodes + j];
            struct mat mat = item->mat;
            *part = (struct weight_part){.first = cut[j], .end = cut[j + 1]};
            int n = part->end - part->first;
            if (spread_by_matrix(item))
                mat.count = n;
            else
                mat.n = n;
            part->data = (const void *)s->block[j].bytes;
            part->stride = n ? place->ops->pack_size(place, &mat) : 0;
            s->block[j].bytes += align(part->stride * (size_t)mat.count);
        }
    }
    for (int j = 0; j < s->n_nodes; j++)
        s->bytes += s->block[j].bytes;
}

static int alloc_block(struct spread *s, int j)
{
    if (!s->is_kept)
        return mem_alloc_long(s->block[j].bytes, &s->block[j].mem);
    int r = sealed_make(s->block[j].bytes, &s->block[j].sealed);
    s->block[j].mem = s->block[j].sealed.mem;
    return r;
}

static int alloc_blocks(struct spread *s, const struct place *place)
{
    for (int j = 0; j < s->n_nodes; j++) {
        s->block[j].os = s->n_nodes > 1 ? place->node[j].os : -1;
        int r = alloc_block(s, j);
        if (r < 0)
            return r;
        if (s->block[j].os >= 0)
            s->block[j].bound =
                mem_bind(s->block[j].mem, s->block[j].bytes, 0, s->block[j].bytes, s->block[j].os);
    }
    return 0;
}

static int make(const struct plan *plan, const struct hparams *hp, struct place *place, int n_nodes,
                struct spread *s)
{
    s->n_nodes = n_nodes;
    s->part = calloc((size_t)plan->n * (size_t)n_nodes, sizeof *s->part);
    OWN_MEM int *cut = calloc((size_t)plan->n * (size_t)(n_nodes + 1), sizeof *cut);
    if (!s->part || !cut)
        return -ENOMEM;
    if (n_nodes > 1) {
        int r = make_cuts(plan, hp, place, cut, s->sum);
        if (r < 0)
            return r;
    } else {
        for (int i = 0; i < plan->n; i++)
            cut[2 * i + 1] =
                spread_by_matrix(&plan->item[i]) ? plan->item[i].mat.count : plan->item[i].mat.n;
    }
    lay_out(s, plan, place, cut);
    int r = alloc_blocks(s, place);
    if (r == 0)
        spread_settle(s, plan);
    return r;
}

void spread_settle(struct spread *s, const struct plan *plan)
{
    for (int i = 0; i < plan->n * s->n_nodes; i++)
        s->part[i].data = (char *)s->block[i % s->n_nodes].mem + (size_t)s->part[i].data;
}

int spread_make(const struct plan *plan, const struct hparams *hp, struct place *place, bool keep,
                struct spread *ret)
{
    struct spread s = {.is_kept = keep};
    int r = make(plan, hp, place, place->n_nodes > 1 ? place->n_nodes : 1, &s);
    if (r == -ENOSPC) {
        spread_fini(&s);
        s.is_kept = keep;
        r = make(plan, hp, place, 1, &s);
        s.too_little = true;
    }
    if (r < 0) {
        spread_fini(&s);
        return r;
    }
    *ret = s;
    return 0;
}

/* Cuts of an item ascend from nothing to all of it. */
static bool are_cuts(const struct plan_item *item, const int32_t *cut, int n_nodes)
{
    if (cut[0] != 0 || cut[n_nodes] != (spread_by_matrix(item) ? item->mat.count : item->mat.n))
        return false;
    for (int j = 0; j < n_nodes; j++)
        if (cut[j] > cut[j + 1])
            return false;
    return true;
}

int spread_remake(const struct plan *plan, struct place *place, int n_nodes, const int32_t *cut,
                  struct spread *ret)
{
    for (int i = 0; i < plan->n; i++)
        if (!are_cuts(&plan->item[i], cut + (size_t)i * (size_t)(n_nodes + 1), n_nodes))
            return -EINVAL;
    struct spread s = {.n_nodes = n_nodes, .is_kept = true};
    s.part = calloc((size_t)plan->n * (size_t)n_nodes, sizeof *s.part);
    if (!s.part)
        return -ENOMEM;
    lay_out(&s, plan, place, cut);
    *ret = s;
    return 0;
}

void spread_expect(struct spread *s, const void *at, size_t bytes)
{
    for (int j = 0; j < s->n_nodes && s->is_kept; j++) {
        uintptr_t from = (uintptr_t)at - (uintptr_t)s->block[j].mem;
        if (from < s->block[j].bytes)
            sealed_expect(&s->block[j].sealed, from, bytes);
    }
}

int spread_seal(struct spread *s)
{
    spread_look(s, &s->look);
    for (int j = 0; j < s->n_nodes; j++) {
        int r = sealed_seal(&s->block[j].sealed);
        if (r < 0)
            return r;
    }
    return 0;
}

int spread_matrices(const struct spread *s, const struct plan *plan, int item, int j)
{
    const struct weight_part *part = &s->part[item * s->n_nodes + j];
    int n = part->end - part->first;
    return spread_by_matrix(&plan->item[item]) || n == 0 ? n : plan->item[item].mat.count;
}

void spread_fini(struct spread *s)
{
    for (int j = 0; j < s->n_nodes; j++)
        if (s->is_kept)
            sealed_fini(&s->block[j].sealed);
        else
            mem_free(s->block[j].mem, s->block[j].bytes);
    free(s->part);
    *s = (struct spread){0};
}

const struct weight_part *spread_find(const struct spread *s, const struct plan *plan, int item,
                                      int matrix, int row)
{
    const struct weight_part *part = &s->part[item * s->n_nodes];
    int at = spread_by_matrix(&plan->item[item]) ? matrix : row;
    while (part->end <= at)
        part++;
    return part;
}

/* ------------------------------------------------------------------ words */

void spread_look(const struct spread *s, struct mem_look *ret)
{
    *ret = s->look;
    if (s->look.bytes) /* the pages of this process are only those that it has touched again */
        return;
    for (int j = 0; j < s->n_nodes; j++) {
        struct mem_look one;
        if (s->block[j].bytes == 0)
            continue;
        mem_look(s->block[j].mem, s->block[j].bytes, &one);
        one.is_set_aside &= ret->bytes == 0 || ret->is_set_aside; /* all of them or it isn't said */
        one.is_asked |= ret->is_asked;
        one.is_shared |= ret->is_shared;
        one.bytes += ret->bytes;
        one.touched += ret->touched;
        one.huge += ret->huge;
        *ret = one;
    }
}

void spread_describe(const struct spread *s, char *dst, size_t size)
{
    uint64_t read = 0;
    size_t used = 0;
    snprintf(dst, size, "%s",
             s->too_little ? "the nodes have too little room each: weights lie where there is some"
                           : "");
    if (s->n_nodes < 2)
        return;
    for (int j = 0; j < s->n_nodes; j++)
        read += s->sum[j].read;
    used += (size_t)snprintf(dst, size, "%d%s", s->n_nodes, s->block[0].os < 0 ? " made up" : "");
    for (int j = 0; j < s->n_nodes && used < size; j++) {
        int os = s->block[j].os;
        double share = read ? 100 * (double)s->sum[j].read / (double)read : 0;
        double bytes = (double)s->block[j].bytes;
        used += (size_t)snprintf(dst + used, size - used,
                                 "%s%d has %.1f %s, %.0f %% of what a token reads", j ? "; " : ": ",
                                 os < 0 ? j : os, bytes / (bytes < 1e9 ? 1e6 : 1e9),
                                 bytes < 1e9 ? "MB" : "GB", share);
        if (os < 0 || s->block[j].bytes == 0 || used >= size)
            continue;
        int there = mem_node_percent(s->block[j].mem, s->block[j].bytes, os);
        if (s->block[j].bound < 0)
            used += (size_t)snprintf(dst + used, size - used, " (not bound: %s)",
                                     strerror(-s->block[j].bound));
        else if (there >= 0 && used < size)
            used += (size_t)snprintf(dst + used, size - used, ", %d %% of it in place", there);
    }
}
