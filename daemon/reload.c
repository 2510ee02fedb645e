/* SPDX-License-Identifier: MIT
 *
 * A key that is in neither table needs another start: whoever adds one need not think of this.
 */
#include "reload.h"

#include <stdbool.h>
#include <string.h>

#include "config.h"
#include "service/service.h"

_Static_assert(CONFIG_N_KEYS <= (int)SERVICE_MOST_NAMES, "a reload may name every key");

/* Read where they are used, or applied by main.c. */
static const char *const at_once[] = {"LogLevel",    "DrainSec", "Allow", "Deny",      "Operator",
                                      "MaxRequests", "Quota",    "Class", "CacheQuota"};
/* Read when a model is loaded. */
static const char *const at_load[] = {
    "Place",    "InstructionSet", "Threads",    "Cores",       "Nodes",       "MaxSequences",
    "MaxQueue", "StepRows",       "CacheBytes", "KeepPercent", "CacheFormat", "IdleUnloadSec",
};

static bool is_in(const char *const *names, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], key) == 0)
            return true;
    return false;
}

void reload_compare(const struct config *born, const struct config *old, const struct config *next,
                    struct service_reloaded *ret)
{
    *ret = (struct service_reloaded){0};
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        bool changed = !config_is_same(old, next, key);
        if (is_in(at_once, sizeof at_once / sizeof *at_once, key->key)) {
            if (changed)
                ret->now[ret->n_now++] = key->key;
        } else if (is_in(at_load, sizeof at_load / sizeof *at_load, key->key)) {
            if (changed)
                ret->later[ret->n_later++] = key->key;
        } else if (!config_is_same(born, next, key)) {
            ret->restart[ret->n_restart++] = key->key;
        }
    }
}
