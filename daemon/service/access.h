/* SPDX-License-Identifier: MIT
 *
 * Who may ask, and how much: rules for users and groups, which a configuration says.
 *
 * A rule names a user, "alice" or "1000", or a group, "@students" or "@100". Root and the daemon's
 * own user may do everything. Immutable once made; loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/sched.h"

struct access;

struct access_words { /* borrowed; lists of n strings */
    char *const *allow, *const *deny, *const *operators;
    char *const *quotas;       /* "WHO NUMBER" */
    char *const *classes;      /* "WHO CLASS" */
    char *const *cache_quotas; /* "WHO SIZE [SIZE]" */
    int n_allow, n_deny, n_operators, n_quotas, n_classes, n_cache_quotas;
    int max_requests; /* of a user whom no quota names; 0: as many as there is room for */
};

struct access_peer { /* who has connected, as the kernel says */
    uint32_t uid;
    const uint32_t *gids; /* all of its groups */
    int n_gids;
};
struct access_verdict {
    bool is_allowed;  /* else every call is refused */
    bool is_operator; /* may load, unload, reload */
    int max_requests; /* answers that are written or wait, of all its connections; 0: any number */
    enum sched_class best; /* of its requests; those that ask for a better one have this */
    /* What its requests leave behind in a model's cache, and on the disk; UINT64_MAX: as all. */
    uint64_t kept_bytes, disk_bytes;
};

/**
 * Make rules of words; users and groups are looked up now.
 *
 *   fails   -EINVAL a rule that names nobody, or is none, with the words of it; -ENOMEM
 */
int access_new(const struct access_words *words, struct access **ret, struct err *err);
void access_free(struct access *access);

/* Denied is who is in Deny; then, if there is an Allow, who is not in it. Of quotas and classes the
 * first that names the user counts, else the first that names a group of it. NULL: nothing was
 * said. */
struct access_verdict access_judge(const struct access *access, const struct access_peer *peer);
