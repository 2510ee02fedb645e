/* SPDX-License-Identifier: MIT
 *
 * Lists of ids, looked through for each connection.
 */
#include "service/access.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"

enum { MOST_REQUESTS = 65536 };

struct rule {
    bool is_group;
    uint32_t id;
    int most; /* of a quota */
    enum sched_class best;
    uint64_t kept_bytes, disk_bytes;
};
struct rules {
    struct rule *at;
    int n;
};
struct access {
    struct rules allow, deny, operators, quotas, classes, cache_quotas;
    int max_requests;
};

OWN_DEFINE(access, access_free);

void access_free(struct access *access)
{
    if (!access)
        return;
    free(access->allow.at);
    free(access->deny.at);
    free(access->operators.at);
    free(access->quotas.at);
    free(access->classes.at);
    free(access->cache_quotas.at);
    free(access);
}

static bool read_number(const char *text, unsigned long most, unsigned long *ret)
{
    char *end;
    errno = 0;
    *ret = strtoul(text, &end, 10);
    return isdigit((unsigned char)*text) && *end == '\0' && errno == 0 && *ret <= most;
}

/* ---- rules */
static int find_id(const char *key, const char *who, struct rule *ret, struct err *err)
{
    unsigned long number;
    ret->is_group = who[0] == '@';
    const char *name = who + ret->is_group;
    if (read_number(name, UINT32_MAX - 1, &number)) {
        ret->id = (uint32_t)number;
        return 0;
    }
    if (ret->is_group) {
        const struct group *group = getgrnam(name);
        if (!group)
            return err_set(err, -EINVAL, "%s=%s: there is no group '%s'", key, who, name);
        ret->id = group->gr_gid;
        return 0;
    }
    const struct passwd *user = getpwnam(name);
    if (!user)
        return err_set(err, -EINVAL, "%s=%s: there is no user '%s'; a group begins with '@'", key,
                       who, name);
    ret->id = user->pw_uid;
    return 0;
}

static int read_quota(const char *key, const char *text, struct rule *ret, struct err *err)
{
    char who[256];
    unsigned long most;
    size_t n = strcspn(text, " ");
    const char *number = text + n + strspn(text + n, " ");
    if (n == 0 || n >= sizeof who || !read_number(number, MOST_REQUESTS, &most))
        return err_set(err, -EINVAL, "%s=%s: expected a user or @group, and a number up to %d", key,
                       text, MOST_REQUESTS);
    snprintf(who, sizeof who, "%.*s", (int)n, text);
    ret->most = (int)most;
    return find_id(key, who, ret, err);
}

static int read_class(const char *key, const char *text, struct rule *ret, struct err *err)
{
    static const char *const names[N_CLASSES] = {"interactive", "batch", "background"};
    char who[256];
    size_t n = strcspn(text, " ");
    const char *name = text + n + strspn(text + n, " ");
    int best = 0;
    while (best < N_CLASSES && strcmp(name, names[best]) != 0)
        best++;
    if (n == 0 || n >= sizeof who || best == N_CLASSES)
        return err_set(err, -EINVAL,
                       "%s=%s: expected a user or @group, and interactive, batch or background",
                       key, text);
    ret->best = (enum sched_class)best;
    snprintf(who, sizeof who, "%.*s", (int)n, text);
    return find_id(key, who, ret, err);
}

/* Digits, and K, M, G or T; up to a blank or the end. */
static bool read_size(const char **text, uint64_t *ret)
{
    static const char units[] = "KMGT";
    const char *c = *text;
    *ret = 0;
    if (!isdigit((unsigned char)*c))
        return false;
    for (; isdigit((unsigned char)*c); c++)
        if (__builtin_mul_overflow(*ret, 10, ret) ||
            __builtin_add_overflow(*ret, (uint64_t)(*c - '0'), ret))
            return false;
    const char *unit = *c ? strchr(units, *c) : NULL;
    if (unit && __builtin_mul_overflow(*ret, 1ull << 10 * (unit - units + 1), ret))
        return false;
    c += unit != NULL;
    *text = c + strspn(c, " ");
    return *c == ' ' || *c == '\0';
}

static int read_cache_quota(const char *key, const char *text, struct rule *ret, struct err *err)
{
    char who[256];
    size_t n = strcspn(text, " ");
    const char *sizes = text + n + strspn(text + n, " ");
    ret->disk_bytes = UINT64_MAX;
    if (n == 0 || n >= sizeof who || !read_size(&sizes, &ret->kept_bytes) ||
        (*sizes && !read_size(&sizes, &ret->disk_bytes)) || *sizes)
        return err_set(
            err, -EINVAL,
            "%s=%s: expected a user or @group, a size such as 512M, and perhaps one more", key,
            text);
    snprintf(who, sizeof who, "%.*s", (int)n, text);
    return find_id(key, who, ret, err);
}

static int read_rules(const char *key, char *const *words, int n, struct rules *ret,
                      int (*read)(const char *, const char *, struct rule *, struct err *),
                      struct err *err)
{
    ret->at = calloc((size_t)n + 1, sizeof *ret->at);
    if (!ret->at)
        return err_set(err, -ENOMEM, "no memory for %s", key);
    for (; ret->n < n; ret->n++) {
        int r = read(key, words[ret->n], &ret->at[ret->n], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int access_new(const struct access_words *words, struct access **ret, struct err *err)
{
    OWN(access) *a = calloc(1, sizeof *a);
    if (!a)
        return err_set(err, -ENOMEM, "no memory for the rules of access");
    a->max_requests = words->max_requests;
    int r = read_rules("Allow", words->allow, words->n_allow, &a->allow, find_id, err);
    if (r == 0)
        r = read_rules("Deny", words->deny, words->n_deny, &a->deny, find_id, err);
    if (r == 0)
        r = read_rules("Operator", words->operators, words->n_operators, &a->operators, find_id,
                       err);
    if (r == 0)
        r = read_rules("Quota", words->quotas, words->n_quotas, &a->quotas, read_quota, err);
    if (r == 0)
        r = read_rules("Class", words->classes, words->n_classes, &a->classes, read_class, err);
    if (r == 0)
        r = read_rules("CacheQuota", words->cache_quotas, words->n_cache_quotas, &a->cache_quotas,
                       read_cache_quota, err);
    if (r < 0)
        return r;
    *ret = TAKE(a);
    return 0;
}

/* ---- judging */
static bool is_in(const struct access_peer *peer, uint32_t gid)
{
    for (int i = 0; i < peer->n_gids; i++)
        if (peer->gids[i] == gid)
            return true;
    return false;
}

static const struct rule *find(const struct rules *rules, const struct access_peer *peer,
                               bool is_group)
{
    for (int i = 0; i < rules->n; i++) {
        const struct rule *rule = &rules->at[i];
        if (rule->is_group == is_group &&
            (is_group ? is_in(peer, rule->id) : rule->id == peer->uid))
            return rule;
    }
    return NULL;
}

static const struct rule *find_either(const struct rules *rules, const struct access_peer *peer)
{
    const struct rule *rule = find(rules, peer, false);
    return rule ? rule : find(rules, peer, true);
}

static bool names(const struct rules *rules, const struct access_peer *peer)
{
    return find_either(rules, peer);
}

struct access_verdict access_judge(const struct access *access, const struct access_peer *peer)
{
    bool is_ours = peer->uid == 0 || peer->uid == getuid();
    struct access_verdict v = {.is_allowed = true,
                               .is_operator = is_ours,
                               .kept_bytes = UINT64_MAX,
                               .disk_bytes = UINT64_MAX};
    if (!access || is_ours)
        return v;
    v.is_allowed =
        !names(&access->deny, peer) && (access->allow.n == 0 || names(&access->allow, peer));
    v.is_operator = names(&access->operators, peer);
    const struct rule *quota = find_either(&access->quotas, peer);
    v.max_requests = quota ? quota->most : access->max_requests;
    const struct rule *class = find_either(&access->classes, peer);
    v.best = class ? class->best : CLASS_INTERACTIVE;
    quota = find_either(&access->cache_quotas, peer);
    if (quota) {
        v.kept_bytes = quota->kept_bytes;
        v.disk_bytes = quota->disk_bytes;
    }
    return v;
}
