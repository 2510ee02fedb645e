/* SPDX-License-Identifier: MIT */
#include "place/plan_nodes.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>

struct planner {
    const struct node_room *node;
    int n_nodes;
    const struct node_item *item;
    int n_items;
    int *cut;
    double share[TOPO_MAX_NODES];
    struct node_sum sum[TOPO_MAX_NODES];
};

void plan_node_shares(const struct node_room *node, int n_nodes, double *ret)
{
    bool known = true;
    for (int j = 0; j < n_nodes; j++)
        known &= node[j].workers == 0 || node[j].bandwidth > 0;
    double all = 0;
    for (int j = 0; j < n_nodes; j++) {
        ret[j] = node[j].workers == 0 ? 0 : known ? (double)node[j].bandwidth : node[j].workers;
        all += ret[j];
    }
    for (int j = 0; j < n_nodes; j++)
        ret[j] = all > 0 ? ret[j] / all : 1.0 / n_nodes;
}

int plan_node_rooms(const struct topo *topo, int threads, int wanted, struct node_room *ret)
{
    bool real = wanted == 0 || wanted == topo->n_nodes;
    int n = real ? topo->n_nodes : wanted;
    for (int j = 0; j < n; j++)
        ret[j] = (struct node_room){.os = real && n > 1 ? topo->node[j].os : -1,
                                    .workers = real ? 0 : 1,
                                    .bandwidth = real ? topo->node[j].bandwidth : 0};
    for (int i = 0; real && i < topo->n_cores && i < threads; i++)
        ret[topo->at[i]].workers++;
    return n;
}

static uint64_t room_of(const struct planner *p, int j)
{
    uint64_t used = p->sum[j].bytes, room = p->node[j].bytes;
    return used < room ? room - used : 0;
}

static void give(struct planner *p, int i, int j, int units, int all)
{
    const struct node_item *item = &p->item[i];
    p->sum[j].bytes += (uint64_t)((double)item->bytes * units / all);
    p->sum[j].read += (uint64_t)((double)item->read * units / all);
}

/* ------------------------------------------------------------------ what is cut */

/* Adds to `part` what each node takes of `bytes`, by shares, but no node more than its room. False
 * if something is left. */
static bool fill_by(const struct planner *p, const double *share, double *part, double *bytes)
{
    bool is_full[TOPO_MAX_NODES] = {false};
    for (int round = 0; *bytes > 0 && round < p->n_nodes; round++) {
        double all = 0, left = *bytes;
        bool any_full = false;
        for (int j = 0; j < p->n_nodes; j++)
            all += is_full[j] ? 0 : share[j];
        if (all <= 0)
            return false;
        for (int j = 0; j < p->n_nodes; j++) {
            if (is_full[j] || share[j] <= 0)
                continue;
            double want = left * share[j] / all, room = (double)room_of(p, j) - part[j];
            is_full[j] = want > room;
            any_full |= is_full[j];
            double more = is_full[j] ? (room > 0 ? room : 0) : want;
            part[j] += more;
            *bytes -= more;
        }
        if (!any_full)
            return true;
    }
    return *bytes <= 0;
}

/* What part of these items each node gets: those with workers first, then the others by room. */
static bool fill(const struct planner *p, double bytes, double *part)
{
    double rest[TOPO_MAX_NODES] = {0}, left = bytes;
    if (!fill_by(p, p->share, part, &left)) {
        for (int j = 0; j < p->n_nodes; j++)
            rest[j] = p->share[j] > 0 ? 0 : (double)room_of(p, j);
        if (!fill_by(p, rest, part, &left))
            return false;
    }
    for (int j = 0; j < p->n_nodes; j++)
        part[j] /= bytes;
    return true;
}

static void cut_item(struct planner *p, int i, const double *part)
{
    const struct node_item *item = &p->item[i];
    int *cut = p->cut + i * (p->n_nodes + 1);
    bool rows = item->split == NODE_ROWS;
    int end = rows ? item->n : item->count, unit = rows ? NODE_UNIT_ROWS : 1;
    /* Rounded up in some items and down in others, so that units, coarse for one matrix, are fine
     * for all of them. */
    double sum = 1e-9, up = fmod(i * 0.618034, 1);
    cut[0] = 0;
    for (int j = 0; j < p->n_nodes; j++) {
        sum += part[j];
        int at = (int)(sum * end / unit + up) * unit;
        cut[j + 1] = j == p->n_nodes - 1 || at > end ? end : at;
        if (j > 0 && part[j] <= 0 && j < p->n_nodes - 1)
            cut[j + 1] = cut[j];
    }
    /* The last ones may have no part: rounding must not give them one. */
    for (int j = p->n_nodes - 1; j > 0 && part[j] <= 0; j--)
        cut[j] = end;
    for (int j = 0; j < p->n_nodes; j++)
        give(p, i, j, cut[j + 1] - cut[j], end);
}

/* Whether a token reads only part of it. */
static bool is_chosen(const struct node_item *item)
{
    return item->read < item->bytes / 2;
}

static bool cut_all(struct planner *p, bool chosen)
{
    double part[TOPO_MAX_NODES] = {0}, bytes = 0;
    for (int i = 0; i < p->n_items; i++)
        if (p->item[i].split != NODE_WHOLE && is_chosen(&p->item[i]) == chosen)
            bytes += (double)p->item[i].bytes;
    if (bytes <= 0)
        return true;
    if (!fill(p, bytes, part))
        return false;
    for (int i = 0; i < p->n_items; i++)
        if (p->item[i].split != NODE_WHOLE && is_chosen(&p->item[i]) == chosen)
            cut_item(p, i, part);
    return true;
}

/* ------------------------------------------------------------------ what is whole */

/* Where a token's reading ends the soonest, of the nodes that have room. */
static int quickest(const struct planner *p, const struct node_item *item)
{
    int best = -1;
    double least = 0;
    for (int j = 0; j < p->n_nodes; j++) {
        double share = p->share[j] > 0 ? p->share[j] : 1e-9;
        double time = (double)(p->sum[j].read + item->read) / share;
        if (room_of(p, j) >= item->bytes && (best < 0 || time < least)) {
            best = j;
            least = time;
        }
    }
    return best;
}

static bool put_whole(struct planner *p, int i)
{
    int at = quickest(p, &p->item[i]), *cut = p->cut + i * (p->n_nodes + 1);
    if (at < 0)
        return false;
    for (int j = 0; j <= p->n_nodes; j++)
        cut[j] = j > at ? p->item[i].n : 0;
    give(p, i, at, 1, 1);
    return true;
}

int plan_nodes(const struct node_room *node, int n_nodes, const struct node_item *item, int n_items,
               int *cut, struct node_sum *sum, struct err *err)
{
    struct planner p = {
        .node = node, .n_nodes = n_nodes, .item = item, .n_items = n_items, .cut = cut};
    plan_node_shares(node, n_nodes, p.share);
    bool fits = cut_all(&p, false);
    for (int i = 0; fits && i < n_items; i++)
        if (item[i].split == NODE_WHOLE)
            fits = put_whole(&p, i);
    fits = fits && cut_all(&p, true);
    if (!fits)
        return err_set(err, -ENOSPC, "the memory of %d nodes has too little room for the weights",
                       n_nodes);
    for (int j = 0; sum && j < n_nodes; j++)
        sum[j] = p.sum[j];
    return 0;
}
