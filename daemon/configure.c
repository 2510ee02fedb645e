/* SPDX-License-Identifier: MIT
 *
 * Which folders hold the configuration is decided here and nowhere else.
 */
#include "configure.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "config.h"
#include "options.h"
#include "service/access.h"
#include "settings.h"
#include "sources.h"

#define CONF_NAME "moed.conf"
#define DROP_IN   "90-set.conf" /* what set-config writes */
#define MODELS    "/models.d"

/* Which hold moed.conf, the most important first. */
static const char *const folders[] = {MOED_CONF_FOLDERS};
enum { N_FOLDERS = sizeof folders / sizeof *folders };

struct places { /* the folders that are looked into, and the name of the main file */
    char folder[N_FOLDERS][PATH_MAX];
    const char *at[N_FOLDERS];
    int n;
    char name[NAME_MAX + 1];
};

/* Of a user's service the folder that his systemd made for what he sets, and no other; NULL: we are
 * none. */
static const char *users_folder(void)
{
    return getenv("XDG_RUNTIME_DIR") ? getenv("CONFIGURATION_DIRECTORY") : NULL;
}

/* `below` is a folder inside of each. */
static int find_places(const struct task *task, const char *below, struct places *ret,
                       struct err *err)
{
    const char *path = task->config, *slash = path ? strrchr(path, '/') : NULL;
    const char *own = path ? NULL : users_folder();
    *ret = (struct places){.n = path || own ? 1 : N_FOLDERS};
    snprintf(ret->name, sizeof ret->name, "%s", !path ? CONF_NAME : slash ? slash + 1 : path);
    for (int i = 0; i < ret->n; i++) {
        const char *folder = own ? own : !path ? folders[i] : slash ? path : ".";
        int n = path && slash ? (int)(slash - path) : (int)strlen(folder);
        size_t size = sizeof ret->folder[i];
        if ((size_t)snprintf(ret->folder[i], size, "%.*s%s", n, folder, below) >= size)
            return err_set(err, -ENAMETOOLONG, "'%s' is too long a name", folder);
        ret->at[i] = ret->folder[i];
    }
    return 0;
}

typedef int reader(struct config *config, const char *path, struct err *err);

static int read_all(const struct places *places, const char *name, reader *read,
                    struct config *config, struct err *err)
{
    struct sources sources = {0};
    int r = sources_find(places->at, places->n, name, &sources, err);
    for (int i = 0; r == 0 && i < sources.n; i++)
        r = read(config, sources.paths[i], err);
    sources_fini(&sources);
    return r;
}

int configure(const struct task *task, struct config *config, int *status, struct err *err)
{
    struct places places;
    *status = EX_CONFIG;
    if (task->config && access(task->config, R_OK) < 0)
        return err_set(err, -errno, "cannot open '%s': %s", task->config, strerror(errno));
    int r = find_places(task, "", &places, err);
    if (r == 0)
        r = read_all(&places, places.name, config_read, config, err);
    if (r < 0)
        return r;
    *status = OPTIONS_USAGE;
    return options_apply(task, config, err);
}

int configure_model(const struct task *task, const struct config *config, const char *model,
                    struct config *ret, struct err *err)
{
    struct places places;
    char name[NAME_MAX + 1];
    int r = find_places(task, MODELS, &places, err);
    if (r < 0)
        return r;
    config_copy(config, ret);
    /* What cannot be the name of a file has none. */
    if (!strchr(model, '/') && (size_t)snprintf(name, sizeof name, "%s.conf", model) < sizeof name)
        r = read_all(&places, name, config_read_model, ret, err);
    if (r < 0)
        config_fini(ret);
    return r;
}

int configure_access(const struct config *config, struct access **ret, struct err *err)
{
    const struct access_words words = {.allow = config->allow.items,
                                       .n_allow = config->allow.n,
                                       .deny = config->deny.items,
                                       .n_deny = config->deny.n,
                                       .operators = config->operators.items,
                                       .n_operators = config->operators.n,
                                       .quotas = config->quotas.items,
                                       .n_quotas = config->quotas.n,
                                       .classes = config->classes.items,
                                       .n_classes = config->classes.n,
                                       .cache_quotas = config->cache_quotas.items,
                                       .n_cache_quotas = config->cache_quotas.n,
                                       .max_requests = config->max_requests};
    return access_new(&words, ret, err);
}

/* ---- tasks */
static int complain(const struct err *err, int status)
{
    fprintf(stderr, "moed: %s\n", err->text);
    return status;
}

static int check_model_files(const struct task *task, const struct config *config, int *n_unknown,
                             struct err *err)
{
    struct places places;
    struct sources files = {0};
    int r = find_places(task, "", &places, err);
    if (r == 0) /* "models.d" is as "models" with drop-ins: files *.conf, each name once */
        r = sources_find(places.at, places.n, "models", &files, err);
    for (int i = 0; r == 0 && i < files.n; i++) {
        struct config one;
        char name[NAME_MAX + 1];
        snprintf(name, sizeof name, "%s", strrchr(files.paths[i], '/') + 1);
        *strrchr(name, '.') = '\0';
        r = configure_model(task, config, name, &one, err);
        if (r < 0)
            break;
        *n_unknown += one.n_unknown - config->n_unknown;
        config_fini(&one);
    }
    sources_fini(&files);
    return r;
}

static int check(const struct task *task)
{
    struct err err = {0};
    struct config config;
    int status = EX_CONFIG, n_unknown = 0;
    config_init(&config);
    int r = task->checked ? config_read(&config, task->checked, &err)
                          : configure(task, &config, &status, &err);
    struct access *access = NULL;
    if (r == 0) {
        status = EX_CONFIG;
        r = configure_access(&config, &access, &err);
    }
    access_free(access);
    if (r == 0 && !task->checked)
        r = check_model_files(task, &config, &n_unknown, &err);
    n_unknown += config.n_unknown;
    config_fini(&config);
    if (r < 0)
        return complain(&err, status);
    if (n_unknown > 0)
        printf("%d unknown keys are ignored, the rest is well\n", n_unknown);
    else
        puts("all is well");
    return EXIT_SUCCESS;
}

static int show(const struct task *task)
{
    struct err err = {0};
    struct config config;
    const struct config_key *key;
    int status = OPTIONS_USAGE;
    if (task->get && config_find(task->get, &key, &err) < 0)
        return complain(&err, status);
    config_init(&config);
    int r = configure(task, &config, &status, &err);
    if (r == 0 && task->get)
        settings_print_key(&config, key, task->json, stdout, stderr);
    else if (r == 0)
        settings_print(&config, task->json, stdout);
    config_fini(&config);
    return r < 0 ? complain(&err, status) : EXIT_SUCCESS;
}

/* What another file or an option says after ours counts. */
static int tell_overruled(const struct task *task, const struct config_key *key, const char *path)
{
    struct err err = {0};
    struct config config;
    int status;
    config_init(&config);
    int r = configure(task, &config, &status, &err);
    const char *where = r == 0 ? config.said[key - config_keys].where : NULL;
    if (where && strncmp(where, path, strlen(path)) != 0)
        fprintf(stderr, "moed: %s is written, and overruled by %s\n", path, where);
    else
        fprintf(stderr, "moed: %s says so now; a running moed hears of it by 'moectl reload'\n",
                path);
    config_fini(&config);
    return r < 0 ? complain(&err, status) : EXIT_SUCCESS;
}

static int set(const struct task *task)
{
    struct err err = {0};
    struct places places;
    const struct config_key *key;
    char name[64], path[PATH_MAX + NAME_MAX + 32];
    const char *equals = strchr(task->set, '=');
    if (!equals) {
        err_set(&err, -EINVAL, "--set-config: found '%s', expected KEY=VALUE", task->set);
        return complain(&err, OPTIONS_USAGE);
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - task->set), task->set);
    if (config_find(name, &key, &err) < 0 || find_places(task, "", &places, &err) < 0)
        return complain(&err, OPTIONS_USAGE);
    snprintf(path, sizeof path, "%s/%s.d/" DROP_IN, places.folder[0], places.name);
    int r = settings_write(path, key, equals + 1, &err);
    if (r < 0)
        return complain(&err, r == -EINVAL ? OPTIONS_USAGE : EXIT_FAILURE);
    return tell_overruled(task, key, path);
}

int configure_task(const struct task *task)
{
    int status = OPTIONS_GO_ON;
    if (task->check_config)
        status = check(task);
    else if (task->show_config || task->get)
        status = show(task);
    else if (task->set)
        status = set(task);
    if (status == EXIT_SUCCESS && fflush(stdout) != 0)
        status = EXIT_FAILURE;
    return status;
}
