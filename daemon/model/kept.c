/* SPDX-License-Identifier: MIT */
#include "model/kept.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/own.h"
#include "format/format.h"
#include "model/digest.h"
#include "model/manifest.h"
#include "model/model.h"
#include "model/parts.h"
#include "place/place.h"
#include "place/sealed.h"

enum {
    SAMPLE_BYTES = 32 << 20, /* read of what is taken over, before anybody is answered */
    PROBE_ROWS = 70,
};

/* ------------------------------------------------------------------ whose they are */

/* Of what has the same ident, the same bytes would come out if it was read and packed again. */
static int ident(const struct model *model, uint64_t ret[2], struct err *err)
{
    uint64_t digest[2];
    struct format_stamp stamp;
    int r = model_digest(model, digest, err);
    if (r < 0)
        return r;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return err_set(err, -ENOMEM, "no memory for a digest");
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, digest, sizeof digest);
    for (int i = 0; format_stamp(model_format(model), i, &stamp); i++)
        XXH3_128bits_update(state, &stamp, sizeof stamp);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    ret[0] = hash.low64;
    ret[1] = hash.high64;
    return 0;
}

static void add_item(XXH3_state_t *state, const struct plan_item *item)
{
    const struct mat *mat = &item->mat;
    const int64_t numbers[] = {item->role, item->layer, item->how, item->row, item->step,
                               mat->type,  mat->n,      mat->k,    mat->count};
    XXH3_128bits_update(state, item->tensor->name, strlen(item->tensor->name) + 1);
    XXH3_128bits_update(state, numbers, sizeof numbers);
}

/* What packing does is seen by packing: rows of made up bytes, of which not all fill a strip. No
 * number has to be raised by whoever changes it, or another instruction set that packs alike. */
static int add_probe(XXH3_state_t *state, struct place *place, const struct mat *mat)
{
    const struct mat probe = {.type = mat->type, .n = PROBE_ROWS, .k = mat->k, .count = 1};
    size_t bytes = PROBE_ROWS * mk_row_bytes(mat->type, (size_t)mat->k);
    size_t packed = place->ops->pack_size(place, &probe);
    OWN_MEM unsigned char *src = malloc(bytes);
    OWN_MEM unsigned char *dst = calloc(1, packed);
    uint32_t x = 1;
    if (!src || !dst)
        return -ENOMEM;
    for (size_t i = 0; i < bytes; i++)
        src[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> 24);
    place->ops->pack(place, &probe, src, dst);
    XXH3_128bits_update(state, dst, packed);
    return 0;
}

/* The first of the plan that is packed like this. */
static bool is_first(const struct plan *plan, int i)
{
    for (int j = 0; j < i; j++)
        if (plan->item[j].mat.type == plan->item[i].mat.type &&
            plan->item[j].mat.k == plan->item[i].mat.k)
            return false;
    return true;
}

static int packing(const struct model *model, struct place *place, uint64_t ret[2], struct err *err)
{
    const struct plan *plan = model_plan(model);
    XXH3_state_t *state = XXH3_createState();
    int r = state ? 0 : -ENOMEM;
    if (state)
        XXH3_128bits_reset(state);
    for (int i = 0; i < plan->n && r == 0; i++) {
        add_item(state, &plan->item[i]);
        if (is_first(plan, i))
            r = add_probe(state, place, &plan->item[i].mat);
    }
    if (r == 0) {
        XXH128_hash_t hash = XXH3_128bits_digest(state);
        ret[0] = hash.low64;
        ret[1] = hash.high64;
    }
    XXH3_freeState(state);
    return r < 0 ? err_set(err, r, "no memory for a digest") : 0;
}

/* ------------------------------------------------------------------ keeping */

static void fill(const struct model *model, struct manifest_head *head)
{
    const struct plan *plan = model_plan(model);
    const struct loaded *loaded = model_loaded(model);
    const struct spread *s = &loaded->spread;
    struct manifest m;
    manifest_lay(head, &m);
    head->touched = s->look.touched;
    head->huge = s->look.huge;
    head->is_set_aside = s->look.is_set_aside;
    head->too_little = s->too_little;
    for (int j = 0; j < s->n_nodes; j++)
        head->node[j] = (struct manifest_node){.bytes = s->block[j].bytes,
                                               .read = s->sum[j].read,
                                               .os = s->block[j].os,
                                               .bound = s->block[j].bound};
    int32_t *cut = (int32_t *)(uintptr_t)m.cut;
    for (int i = 0; i < plan->n; i++) {
        *cut++ = 0;
        for (int j = 0; j < s->n_nodes; j++)
            *cut++ = s->part[i * s->n_nodes + j].end;
    }
    memcpy((uint64_t *)(uintptr_t)m.sum, loaded->sums.sum,
           (size_t)loaded->sums.n * sizeof *loaded->sums.sum);
    memcpy((char *)(uintptr_t)m.path, model_info(model)->path, head->path_bytes);
}

static int write_manifest(const struct model *model, struct sealed *ret, struct err *err)
{
    const struct loaded *loaded = model_loaded(model);
    struct manifest_head head = {.n_items = (uint32_t)model_plan(model)->n,
                                 .n_nodes = (uint32_t)loaded->spread.n_nodes,
                                 .n_sums = (uint32_t)loaded->sums.n,
                                 .path_bytes = (uint32_t)strlen(model_info(model)->path)};
    int r = ident(model, head.ident, err);
    if (r == 0)
        r = packing(model, loaded->place, head.packing, err);
    if (r < 0)
        return r;
    struct sealed block;
    r = sealed_make(manifest_bytes(head.n_items, head.n_nodes, head.n_sums, head.path_bytes),
                    &block);
    if (r < 0)
        return err_set(err, r, "no memory for a manifest: %s", strerror(-r));
    memcpy(block.mem, &head, sizeof head);
    fill(model, block.mem);
    manifest_end(block.mem);
    r = sealed_seal(&block);
    if (r < 0) {
        sealed_fini(&block);
        return err_set(err, r, "cannot seal a manifest: %s", strerror(-r));
    }
    *ret = block;
    return 0;
}

int model_keep(const struct model *model, int *manifest, int *block, struct err *err)
{
    const struct loaded *loaded = model_loaded(model);
    struct sealed made;
    int r = write_manifest(model, &made, err);
    if (r < 0)
        return r;
    *manifest = TAKE_FD(made.fd);
    sealed_fini(&made);
    for (int j = 0; j < loaded->spread.n_nodes; j++)
        block[j] = loaded->spread.block[j].sealed.fd;
    return loaded->spread.n_nodes;
}

/* ------------------------------------------------------------------ taking over */

/* `bytes` is to be freed; what *ret points at is in it. */
static int read_manifest(int fd, char **bytes, struct manifest *ret, struct err *err)
{
    size_t n;
    OWN_MEM char *copy = NULL;
    int r = sealed_copy(fd, KEPT_MOST_BYTES, &copy, &n, err);
    if (r == 0)
        r = manifest_read(copy, n, ret, err);
    if (r == 0)
        *bytes = TAKE(copy);
    return r;
}

int kept_blocks(int fd, struct err *err)
{
    OWN_MEM char *bytes = NULL;
    struct manifest m;
    int r = read_manifest(fd, &bytes, &m, err);
    return r < 0 ? r : (int)m.head->n_nodes;
}

int kept_path(int fd, char **ret)
{
    OWN_MEM char *bytes = NULL;
    struct manifest m;
    struct err err;
    int r = read_manifest(fd, &bytes, &m, &err);
    if (r == 0) {
        *ret = strdup(m.path);
        r = *ret ? 0 : -ENOMEM;
    }
    return r;
}

/* Whether they are of this model, packed as this place would, on nodes that it has. */
static int compare(const struct model *model, struct place *place, const struct manifest *m,
                   int n_blocks, struct err *err)
{
    const struct manifest_head *h = m->head;
    uint64_t wanted[2];
    int r = ident(model, wanted, err);
    if (r < 0)
        return r;
    if (memcmp(h->ident, wanted, sizeof wanted) != 0)
        return err_set(err, -ESTALE, "the model's file is another one now");
    r = packing(model, place, wanted, err);
    if (r < 0)
        return r;
    if (memcmp(h->packing, wanted, sizeof wanted) != 0 ||
        h->n_items != (uint32_t)model_plan(model)->n)
        return err_set(err, -ESTALE, "they are packed for another place or instruction set");
    int n_nodes = place->n_nodes > 1 && !h->too_little ? place->n_nodes : 1;
    if (h->n_nodes != (uint32_t)n_nodes || n_blocks != n_nodes)
        return err_set(err, -ESTALE, "they lie on %u nodes of memory in %d blocks, expected %d",
                       h->n_nodes, n_blocks, n_nodes);
    for (int j = 0; j < n_nodes; j++)
        if (h->node[j].os != (n_nodes > 1 ? place->node[j].os : -1))
            return err_set(err, -ESTALE, "they lie on other nodes of memory");
    return 0;
}

static int map_blocks(struct spread *s, const struct manifest *m, const int *block, struct err *err)
{
    for (int j = 0; j < s->n_nodes; j++) {
        const struct manifest_node *node = &m->head->node[j];
        if (node->bytes != s->block[j].bytes)
            return err_set(err, -ESTALE, "block %d has %llu bytes, expected %zu", j,
                           (unsigned long long)node->bytes, s->block[j].bytes);
        int r = sealed_map(block[j], s->block[j].bytes, &s->block[j].sealed, err);
        if (r < 0)
            return err_prefix(err, r, "block %d", j);
        s->block[j].mem = s->block[j].sealed.mem;
        s->block[j].os = node->os;
        s->block[j].bound = node->bound;
        s->sum[j] = (struct node_sum){.bytes = node->bytes, .read = node->read};
    }
    s->too_little = m->head->too_little;
    s->look = (struct mem_look){.bytes = s->bytes,
                                .touched = m->head->touched,
                                .huge = m->head->huge,
                                .is_set_aside = m->head->is_set_aside,
                                .is_shared = true};
    return 0;
}

/* A sample is matrices from all over the model, as many as are read in no time. */
static int check_sums(const struct sums *sums, const struct plan *plan, size_t bytes,
                      struct err *err)
{
    int step = (int)(bytes / SAMPLE_BYTES) + 1;
    for (int i = 0; i < sums->n; i += step)
        if (sums->at[i].bytes <= SAMPLE_BYTES / 8 && !sums_hold(sums, i))
            return err_set(err, -EBADMSG, "the checksum of matrix %d of '%s' is wrong",
                           sums->at[i].matrix, plan->item[sums->at[i].item].tensor->name);
    return 0;
}

static int take_over(const struct plan *plan, struct place *place, const struct manifest *m,
                     const int *block, struct spread *spread, struct sums *sums, struct err *err)
{
    int r = spread_remake(plan, place, (int)m->head->n_nodes, m->cut, spread);
    if (r < 0)
        return err_set(err, r, "the manifest's cuts are not of this model: %s", strerror(-r));
    r = map_blocks(spread, m, block, err);
    if (r < 0)
        return r;
    spread_settle(spread, plan);
    r = sums_list(plan, spread, sums);
    if (r < 0)
        return err_set(err, r, "no memory for checksums");
    if ((uint32_t)sums->n != m->head->n_sums)
        return err_set(err, -ESTALE, "found %u checksums, expected %d", m->head->n_sums, sums->n);
    memcpy(sums->sum, m->sum, (size_t)sums->n * sizeof *sums->sum);
    return check_sums(sums, plan, spread->bytes, err);
}

int model_adopt(struct model *model, struct place *place, int manifest, const int *block,
                int n_blocks, struct err *err)
{
    OWN_MEM char *bytes = NULL;
    struct manifest m;
    struct spread spread = {0};
    struct sums sums = {0};
    int r = read_manifest(manifest, &bytes, &m, err);
    if (r == 0)
        r = compare(model, place, &m, n_blocks, err);
    if (r == 0)
        r = take_over(model_plan(model), place, &m, block, &spread, &sums, err);
    if (r == 0)
        r = model_bind(model, place, &spread, &sums, err);
    if (r < 0) {
        spread_fini(&spread);
        sums_fini(&sums);
    }
    return r;
}

/* ------------------------------------------------------------------ mending */

void model_matrix_words(const struct model *model, int i, char *dst, size_t size)
{
    const struct sums_at *at = &model_loaded(model)->sums.at[i];
    snprintf(dst, size, "matrix %d of '%s'", at->matrix,
             model_plan(model)->item[at->item].tensor->name);
}

int model_mend(struct model *model, int i, struct err *err)
{
    struct loaded *loaded = model_weights(model);
    const struct sums_at *at = &loaded->sums.at[i];
    struct sealed *block = &loaded->spread.block[at->node].sealed;
    OWN_MEM char *made = malloc(at->bytes);
    if (!made)
        return err_set(err, -ENOMEM, "no memory for %zu bytes", at->bytes);
    int r = weights_read_again(model_plan(model), model_format(model), loaded, at, made, err);
    if (r < 0)
        return r;
    if (XXH3_64bits(made, at->bytes) != loaded->sums.sum[i])
        return err_set(err, -ESTALE, "%s is not what it was when it was loaded",
                       model_info(model)->path);
    r = sealed_cover(block, (size_t)(at->data - (const char *)block->mem), at->bytes, made);
    return r < 0 ? err_set(err, r, "no memory for %zu bytes", at->bytes) : 0;
}

bool model_is_adopted(const struct model *model)
{
    return model_loaded(model)->is_adopted;
}

uint64_t model_kept_bytes(const struct model *model)
{
    const struct loaded *loaded = model_loaded(model);
    return loaded->spread.is_kept ? loaded->bytes : 0;
}

int model_kept_blocks(const struct model *model)
{
    const struct loaded *loaded = model_loaded(model);
    return loaded->spread.is_kept ? loaded->spread.n_nodes : 0;
}
