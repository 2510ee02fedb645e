/* SPDX-License-Identifier: MIT */
#include "engine/deposit.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/log.h"
#include "base/own.h"
#include "base/vault.h"
#include "model/kept.h"
#include "model/model.h"

static unsigned long long number_of(const char *path)
{
    return XXH3_64bits(path, strlen(path));
}

static void name_manifest(char dst[VAULT_NAME_BYTES], unsigned long long number)
{
    snprintf(dst, VAULT_NAME_BYTES, "m.%016llx", number);
}

static void name_block(char dst[VAULT_NAME_BYTES], unsigned long long number, int j)
{
    snprintf(dst, VAULT_NAME_BYTES, "w.%016llx.%d", number, j);
}

/* The manifest goes first: without it the others mean nothing. */
static void drop(struct vault *vault, unsigned long long number, int n_blocks)
{
    char name[VAULT_NAME_BYTES], begin[VAULT_NAME_BYTES];
    name_manifest(name, number);
    vault_drop(vault, name);
    for (int j = 0; j < n_blocks; j++) {
        name_block(name, number, j);
        vault_drop(vault, name);
    }
    snprintf(begin, sizeof begin, "w.%016llx.", number);
    while (vault_name(vault, begin, 0, name))
        vault_drop(vault, name);
}

/* ------------------------------------------------------------------ at the start */

/* Whether a manifest can be used at all. */
static bool stays(struct vault *vault, const char *name,
                  bool (*is_wanted)(void *arg, const char *path), void *arg)
{
    char own[VAULT_NAME_BYTES];
    OWN_MEM char *path = NULL;
    OWN_FD fd = vault_look(vault, name);
    if (fd < 0 || kept_path(fd, &path) < 0)
        return false;
    name_manifest(own, number_of(path));
    return strcmp(own, name) == 0 && is_wanted(arg, path);
}

static bool has_manifest(struct vault *vault, const char *block)
{
    char name[VAULT_NAME_BYTES];
    for (int i = 0; vault_name(vault, "m.", i, name); i++)
        if (!strncmp(name + 2, block + 2, 16))
            return true;
    return false;
}

int deposit_sweep(struct vault *vault, bool (*is_wanted)(void *arg, const char *path), void *arg)
{
    char name[VAULT_NAME_BYTES];
    int n_good = 0, n_dropped = 0;
    while (vault_name(vault, "m.", n_good, name)) {
        if (stays(vault, name, is_wanted, arg)) {
            n_good++;
            continue;
        }
        n_dropped += vault_discard(vault, name);
    }
    for (int i = 0; vault_name(vault, "", i, name);) {
        bool is_manifest = !strncmp(name, "m.", 2);
        if (is_manifest || (!strncmp(name, "w.", 2) && has_manifest(vault, name))) {
            i++;
            continue;
        }
        n_dropped += vault_discard(vault, name);
    }
    if (n_dropped)
        log_info("models", "%d things that %s kept are of no use any more: dropped", n_dropped,
                 vault_words(vault));
    return n_good;
}

/* ------------------------------------------------------------------ a model */

struct blocks {
    int fd[TOPO_MAX_NODES];
    int n;
};

static void close_blocks(struct blocks *b)
{
    for (int j = 0; j < b->n; j++)
        close(b->fd[j]);
}

static int take_blocks(struct vault *vault, unsigned long long number, int n, struct blocks *ret,
                       struct err *err)
{
    char name[VAULT_NAME_BYTES];
    while (ret->n < n) {
        name_block(name, number, ret->n);
        int fd = vault_take(vault, name);
        if (fd < 0)
            return err_set(err, fd, "block %d of %d is missing", ret->n, n);
        ret->fd[ret->n++] = fd;
    }
    return 0;
}

bool deposit_adopt(struct vault *vault, struct model *model, struct place *place)
{
    const struct model_info *info = model_info(model);
    unsigned long long number = number_of(info->path);
    struct blocks blocks = {.n = 0};
    struct err err = {0};
    char name[VAULT_NAME_BYTES];
    name_manifest(name, number);
    OWN_FD manifest = vault_look(vault, name);
    if (manifest < 0)
        return false;
    int r = kept_blocks(manifest, &err);
    if (r >= 0)
        r = take_blocks(vault, number, r, &blocks, &err);
    OWN_FD offered = vault_take(vault, name); /* last: blocks without one are swept away */
    (void)offered;
    if (r >= 0)
        r = model_adopt(model, place, manifest, blocks.fd, blocks.n, &err);
    close_blocks(&blocks);
    if (r >= 0)
        return true;
    log_about(LOG_LEVEL_WARNING, "models",
              LOG_ABOUT(.event = EVENT_WEIGHTS_REFUSED, .model = info->name),
              "model '%s': the weights that %s kept are not used: %s", info->name,
              vault_words(vault), err.text);
    drop(vault, number, blocks.n);
    vault_settle(vault); /* their memory is about to be needed */
    return false;
}

int deposit_leave(struct vault *vault, const struct model *model, struct err *err)
{
    unsigned long long number = number_of(model_info(model)->path);
    int block[TOPO_MAX_NODES];
    char name[VAULT_NAME_BYTES];
    OWN_FD manifest = -1;
    int n = model_keep(model, &manifest, block, err), r = n;
    for (int j = 0; j < n && r >= 0; j++) {
        name_block(name, number, j);
        r = vault_keep(vault, name, block[j], err);
    }
    if (r >= 0) {
        name_manifest(name, number);
        r = vault_keep(vault, name, manifest, err);
    }
    if (r < 0)
        drop(vault, number, n);
    vault_settle(vault); /* who dies before is not known to have said anything */
    return r < 0 ? r : 0;
}

bool deposit_is_offered(struct vault *vault, const char *path)
{
    char name[VAULT_NAME_BYTES];
    name_manifest(name, number_of(path));
    OWN_FD fd = vault_look(vault, name);
    return fd >= 0;
}

void deposit_drop(struct vault *vault, const struct model *model)
{
    drop(vault, number_of(model_info(model)->path), model_kept_blocks(model));
}
