/* SPDX-License-Identifier: MIT
 *
 * moed: the order of birth and death, and nothing else. Everything here runs on the loop thread.
 *
 * Birth: options and configuration; signals blocked, before any thread is; models opened and
 * checked; the socket served and the supervisor told so; weights loaded in the background.
 * Life: SIGHUP, or a call of Reload, reads the configuration again.
 * Death: SIGTERM or SIGINT drains, a second one ends at once.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <uv.h>

#include "base/dump.h"
#include "base/err.h"
#include "base/log.h"
#include "base/own.h"
#include "config.h"
#include "configure.h"
#include "deputy.h"
#include "engine/budget.h"
#include "engine/models.h"
#include "heritage.h"
#include "huge.h"
#include "keeper.h"
#include "model/model.h"
#include "options.h"
#include "place/place.h"
#include "reload.h"
#include "sd.h"
#include "service/access.h"
#include "service/service.h"
#include "summary.h"
#include "watchdog.h"

#define NODES          "/sys/devices/system/node"
#define EMBEDDED_MODEL "moed-tiny-Q4_K_M.gguf"
enum {
    STATUS_MS = 250,
    END_S = 10,
    OPEN_MS = 600000, /* a disk that sleeps or is far away may take so long for one file */
};

struct moed {
    struct task task;
    struct config config;
    struct config born; /* what it started with */
    struct access *access;
    struct config special; /* what counts for the model that was asked for last */
    uv_loop_t loop;
    uv_poll_t signals;
    uv_async_t woken;  /* a model or an engine has news */
    uv_timer_t status; /* runs only while there is news */
    uv_timer_t look;   /* runs only if a supervisor wants to hear that all is well */
    struct watchdog watchdog;
    char told[512]; /* the last status */
    int signal_fd;
    bool draining;
    struct heritage heritage;
    struct deputy deputy;
    char notice[512]; /* the last one */
    struct models *models;
    struct service *service;
};

static int check(const char *path)
{
    struct err err = {0};
    OWN(model) *model = NULL;
    if (model_open(path, &model, &err) < 0) {
        fprintf(stderr, "moed: %s\n", err.text);
        return EXIT_FAILURE;
    }
    model_print(model, stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static struct models_config models_config(const struct config *config)
{
    return (struct models_config){
        .place = config->place,
        .isa = *config->isa ? config->isa : NULL,
        .threads = config->threads,
        .cores = config->cores,
        .cache = config->cache_format,
        .nodes = config->nodes,
        .engine = {.max_sequences = config->max_sequences,
                   .max_queue = config->max_queue,
                   .step_rows = config->step_rows,
                   .cache_bytes = config->cache_bytes,
                   .keep_percent = config->keep_percent},
        .idle_ms = config->idle_unload_ms,
        .keep_folder = *config->keep_folder ? config->keep_folder : NULL,
        .keep_bytes = config->keep_bytes,
        .scrub_ns = config->scrub_ms * 1000000,
    };
}

/* What is set for this model alone counts too. */
static int configure_special(void *arg, const char *model, struct models_config *ret,
                             struct err *err)
{
    struct moed *m = arg;
    config_fini(&m->special);
    int r = configure_model(&m->task, &m->config, model, &m->special, err);
    if (r == 0)
        *ret = models_config(&m->special);
    return r;
}

static int plan(const struct config *config, const struct task *task)
{
    struct err err = {0};
    struct models_config models = models_config(config);
    const struct place_spec spec = {.kind = models.place,
                                    .isa = models.isa,
                                    .threads = models.threads,
                                    .nodes = models.nodes,
                                    .cores = models.cores,
                                    .cache = models.cache};
    OWN(place) *place = NULL;
    OWN(model) *model = NULL;
    struct budget budget;
    int r = model_open(task->plan, &model, &err);
    if (r == 0)
        r = place_open(&spec, &place, &err);
    if (r == 0)
        r = budget_make(model, place, &models.engine, &budget, &err);
    if (r == 0) {
        (task->json ? budget_print_json : budget_print)(&budget, stdout);
        r = budget_check(&budget, &err);
        if (r < 0)
            err_prefix(&err, r, "%s", task->plan);
    }
    if (r < 0)
        fprintf(stderr, "moed: %s\n", err.text);
    return r == 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- the socket and the models */

/* Where we listen when nobody said; makes the last folder of it. */
static int default_socket(char *dst, size_t size, struct err *err)
{
    const char *runtime = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
    char folder[PATH_MAX];

    if (runtime && *runtime)
        snprintf(folder, sizeof folder, "%.*s", (int)strcspn(runtime, ":"), runtime);
    else if (geteuid() == 0)
        snprintf(folder, sizeof folder, "/run/moed");
    else if (user && *user)
        snprintf(folder, sizeof folder, "%s/moed", user);
    else
        return err_set(err, -ENOENT,
                       "XDG_RUNTIME_DIR is not set: say where to listen, with --socket PATH");
    if (mkdir(folder, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "cannot make '%s' for the socket: %s", folder, strerror(errno));
    snprintf(dst, size, "%s/moed.sock", folder);
    return 0;
}

static int listen_somewhere(struct moed *m, struct err *err)
{
    int r = 0;
    for (int i = 0; i < m->heritage.n_listeners; i++) {
        if (r >= 0)
            r = service_listen_fd(m->service, m->heritage.listener[i], err);
        else
            close(m->heritage.listener[i]);
    }
    if (m->heritage.n_listeners > 0)
        return r;

    char path[PATH_MAX + 16];
    if (*m->config.socket)
        snprintf(path, sizeof path, "%s", m->config.socket);
    else if ((r = default_socket(path, sizeof path, err)) < 0)
        return r;
    r = service_listen_path(m->service, path, err);
    if (r >= 0)
        log_info("main", "listening on %s", path);
    return r;
}

/* The model that needs no download: beside the program in a build tree, else where it was
 * installed. */
static void embedded_model(char *dst, size_t size)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 2; up++) { /* <build>/daemon/moed */
        char *slash = strrchr(program, '/');
        if (slash)
            *slash = '\0';
    }
    snprintf(dst, size, "%s/packaging/model/%s", program, EMBEDDED_MODEL);
    if (access(dst, F_OK) == 0)
        return;
    snprintf(dst, size, "%s/models/%s", MOED_DATADIR, EMBEDDED_MODEL);
}

/* Those that are named, and so loaded. The first of them is the one that nameless requests mean. */
static int add_models(struct moed *m, struct err *err)
{
    if (m->config.models.n == 0) {
        char path[PATH_MAX + 64];
        embedded_model(path, sizeof path);
        return models_add(m->models, path, err);
    }
    for (int i = 0; i < m->config.models.n; i++) {
        sd_tell_opening(i + 1, m->config.models.n, OPEN_MS);
        int r = models_add(m->models, m->config.models.items[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Where models lie that nobody has named a folder for: below the first that systemd made for our
 * state, if it did. */
static int add_standard_folder(struct moed *m, const char *standard, struct err *err)
{
    const char *state = getenv("STATE_DIRECTORY");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", standard);
    if (state && *state)
        snprintf(path, sizeof path, "%.*s/models", (int)strcspn(state, ":"), state);
    return access(path, F_OK) < 0 ? 0 : models_add_folder(m->models, path, err);
}

/* The standard folder is there where a package made it. Somebody's own that is missing gets a
 * warning when the folders are listed. */
static int add_folders(struct moed *m, struct err *err)
{
    const struct config_list *folders = &m->config.folders;
    if (folders->origin == CONFIG_STANDARD)
        return add_standard_folder(m, folders->items[0], err);
    for (int i = 0; i < folders->n; i++) {
        int r = models_add_folder(m->models, folders->items[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A model that can't be loaded leaves the daemon up: it says so in its list. */
static void load_models(struct moed *m)
{
    for (int i = 0; i < models_count(m->models); i++) {
        struct models_entry *entry = models_at(m->models, i);
        struct err err = {0};
        if (entry->state == MODELS_TEXT || entry->in_folder)
            continue;
        if (models_load(m->models, entry, &err) < 0)
            log_about(LOG_LEVEL_ERROR, "main",
                      LOG_ABOUT(.event = EVENT_MODEL_FAILED, .model = entry->name),
                      "cannot load '%s': %s", entry->name, err.text);
    }
}

/* ---- status */

static void tell_status(uv_timer_t *timer)
{
    struct moed *m = timer->data;
    char text[sizeof m->told] = "";
    if (m->heritage.is_safe)
        snprintf(text, sizeof text, "Safe mode after several failures");
    for (int i = 0; i < models_count(m->models); i++)
        if (models_at(m->models, i)->state == MODELS_LOADING)
            summary_add(models_at(m->models, i), text, sizeof text);
    for (int i = 0; i < models_count(m->models); i++)
        if (models_at(m->models, i)->state != MODELS_LOADING)
            summary_add(models_at(m->models, i), text, sizeof text);
    if (strcmp(text, m->told) == 0)
        return;
    memcpy(m->told, text, sizeof text);
    sd_tell_status(text);
}

static void look_at_engines(uv_timer_t *timer)
{
    struct moed *m = timer->data;
    if (watchdog_look(&m->watchdog, m->models))
        sd_tell_alive();
}

static void start_watchdog(struct moed *m)
{
    uint64_t ms = sd_watchdog_ms();
    if (ms >= WATCHDOG_LOOKS)
        uv_timer_start(&m->look, look_at_engines, 0, ms / WATCHDOG_LOOKS);
}

/* News come with every step of an engine: the status looks at them a few times a second. */
static void on_woken(uv_async_t *async)
{
    struct moed *m = async->data;
    if (!m->service)
        return;
    service_wake(m->service);
    deputy_touch(&m->deputy);
    if (!m->draining && !uv_is_active((uv_handle_t *)&m->status))
        uv_timer_start(&m->status, tell_status, STATUS_MS, 0);
}

/* Models, memory or the end. */
static void on_news(void *arg)
{
    struct moed *m = arg;
    deputy_touch(&m->deputy);
}

static const char *notice(void *arg)
{
    struct moed *m = arg;
    const char *first = m->heritage.notice, *then = deputy_trouble(&m->deputy);
    snprintf(m->notice, sizeof m->notice, "%s%s%s", first, *first && *then ? "; " : "", then);
    return m->notice;
}

/* On the loader's or an engine's thread. The service may be gone by then, the handle never is. */
static void on_changed(void *arg)
{
    struct moed *m = arg;
    uv_async_send(&m->woken);
}

/* ---- reloading */
/* All of the new configuration, or nothing. */
static int reload(void *arg, struct service_reloaded *ret, struct err *err)
{
    struct moed *m = arg;
    struct config next;
    struct access *access = NULL;
    int status;
    sd_tell_reloading();
    config_init(&next);
    int r = configure(&m->task, &next, &status, err);
    if (r == 0)
        r = configure_access(&next, &access, err);
    if (r < 0) {
        config_fini(&next);
        log_about(LOG_LEVEL_ERROR, "main", LOG_ABOUT(.event = EVENT_CONFIG_REFUSED),
                  "the configuration stays as it was: %s", err->text);
    } else {
        reload_compare(&m->born, &m->config, &next, ret);
        service_set_access(m->service, access);
        access_free(m->access);
        m->access = access;
        config_fini(&m->config);
        m->config = next;
        log_set_level(m->config.log_level);
        log_about(LOG_LEVEL_INFO, "main", LOG_ABOUT(.event = EVENT_CONFIG_RELOADED),
                  "the configuration is read again: %d changes count, %d for models that "
                  "are loaded from now on, %d need another start",
                  ret->n_now, ret->n_later, ret->n_restart);
        for (int i = 0; i < ret->n_restart; i++)
            log_warning("main", "%s needs another start", ret->restart[i]);
    }
    sd_tell_ready();
    return r;
}

/* ---- the end */

static void on_drained(void *arg)
{
    struct moed *m = arg;
    deputy_close(&m->deputy);
    service_close(m->service);
    m->service = NULL;
    uv_close((uv_handle_t *)&m->signals, NULL);
    uv_close((uv_handle_t *)&m->status, NULL);
    uv_close((uv_handle_t *)&m->look, NULL);
    uv_unref((uv_handle_t *)&m->woken); /* engines may still call: closed after they ended */
}

static void on_signal(uv_poll_t *poll, int status, int events)
{
    struct moed *m = poll->data;
    struct signalfd_siginfo info;
    (void)status;
    (void)events;
    while (read(m->signal_fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            struct service_reloaded done;
            struct err err = {0};
            if (!m->draining)
                reload(m, &done, &err); /* which says what came of it */
            continue;
        }
        uint64_t grace_ms = m->draining ? 0 : m->config.drain_ms;
        log_about(LOG_LEVEL_INFO, "main", LOG_ABOUT(.event = EVENT_STOPPING), "%s: ending %s",
                  info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM",
                  grace_ms ? "when the answers are written" : "at once");
        if (!m->draining)
            sd_tell_stopping(grace_ms + 1000 * END_S);
        m->draining = true;
        alarm((unsigned)(grace_ms / 1000 + END_S)); /* whatever hangs by then: the kernel ends it */
        service_drain(m->service, (int64_t)grace_ms, on_drained, m);
        if (!m->service)
            return; /* nothing ran: it is done already */
    }
}

/* ---- birth */

/* Signals are read from a descriptor: no handler interrupts a worker in the middle of a step. */
static int block_signals(struct err *err)
{
    sigset_t set;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd >= 0 ? fd : err_set(err, -errno, "cannot watch signals: %s", strerror(errno));
}

/* Each client is a descriptor; the soft limit is there for programs that use select(2). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int open_handles(struct moed *m, struct err *err)
{
    int r;
    m->signal_fd = block_signals(err);
    if (m->signal_fd < 0)
        return m->signal_fd;
    /* libuv has four helpers; ours render and tokenise, and two of them keep up with any engine */
    setenv("UV_THREADPOOL_SIZE", "2", 0);
    if ((r = uv_loop_init(&m->loop)) < 0 ||
        (r = uv_poll_init(&m->loop, &m->signals, m->signal_fd)) < 0 ||
        (r = uv_async_init(&m->loop, &m->woken, on_woken)) < 0 ||
        (r = uv_timer_init(&m->loop, &m->status)) < 0 ||
        (r = uv_timer_init(&m->loop, &m->look)) < 0)
        return err_set(err, r, "cannot start the loop: %s", uv_strerror(r));
    m->signals.data = m->woken.data = m->status.data = m->look.data = m;
    r = uv_poll_start(&m->signals, UV_READABLE, on_signal);
    return r < 0 ? err_set(err, r, "cannot watch signals: %s", uv_strerror(r)) : 0;
}

/* Models open their place when they load; a place that cannot be is told now, not by every model.
 */
static int check_place(const struct config *config, struct err *err)
{
    const struct place_spec spec = {.kind = config->place,
                                    .isa = *config->isa ? config->isa : NULL,
                                    .threads = 1,
                                    .cores = config->cores,
                                    .cache = config->cache_format};
    OWN(place) *place = NULL;
    return place_open(&spec, &place, err);
}

/* Returns an exit status in words, 0 while all is well. */
static int start(struct moed *m, struct err *err)
{
    struct service_config limits;
    service_config_init(&limits);
    if (configure_access(&m->config, &m->access, err) < 0)
        return EX_CONFIG;
    config_copy(&m->config, &m->born); /* to be borrowed from: a reload leaves it alone */
    if (heritage_take(&m->config, &m->heritage, err) < 0)
        return EXIT_FAILURE;
    limits.notice = notice;
    limits.changed = on_news;
    limits.keep_folder = *m->born.keep_folder && !m->heritage.is_safe ? m->born.keep_folder : NULL;
    limits.pressure_file = m->born.pressure_file;
    limits.access = m->access;
    limits.reload = reload;
    limits.arg = m;
    struct models_config models = models_config(&m->config);
    models.special = configure_special;
    models.special_arg = m;
    models.vault = m->heritage.vault;
    models.keep_folder = limits.keep_folder;
    models.shared = m->born.shared_prompts.items;
    models.n_shared = m->born.shared_prompts.n;
    raise_descriptor_limit();
    if (open_handles(m, err) < 0 || service_new(&m->loop, &limits, &m->service, err) < 0)
        return EXIT_FAILURE;
    if (check_place(&m->config, err) < 0)
        return EX_CONFIG;
    if (models_new(&models, on_changed, m, &m->models, err) < 0 || add_models(m, err) < 0 ||
        add_folders(m, err) < 0)
        return EXIT_FAILURE;
    models_sweep_vault(m->models);
    if (service_start(m->service, m->models, err) < 0 || listen_somewhere(m, err) < 0)
        return EXIT_FAILURE;
    if (!m->heritage.is_safe)
        load_models(m);
    m->deputy = (struct deputy){.models = m->models,
                                .service = m->service,
                                .access = (const struct access *const *)&m->access,
                                .draining = &m->draining,
                                .reload = reload,
                                .arg = m};
    if (deputy_open(&m->deputy, m->config.bus, &m->loop, err) < 0)
        return EX_CONFIG;
    models_scan(m->models); /* so that what is wrong with a folder is said now */
    sd_tell_ready();
    start_watchdog(m);
    uv_async_send(&m->woken);
    return EXIT_SUCCESS;
}

/* Does what is to be done instead of serving; the exit status, or OPTIONS_GO_ON. */
static int prepare(struct moed *m, int argc, char **argv)
{
    struct err err = {0};
    int failure, status = options_read(argc, argv, &m->task);
    config_init(&m->config);
    if (status == OPTIONS_GO_ON && m->task.vault_socket)
        status = keeper_serve(m->task.vault_socket);
    if (status == OPTIONS_GO_ON && m->task.check)
        status = check(m->task.check); /* what it says of itself does not hang on our settings */
    if (status == OPTIONS_GO_ON)
        status = configure_task(&m->task);
    if (status != OPTIONS_GO_ON)
        return status;
    if (configure(&m->task, &m->config, &failure, &err) < 0) {
        fprintf(stderr, "moed: %s\n", err.text);
        return failure;
    }
    if (m->task.reserve) {
        if (huge_reserve(NODES, m->config.huge_bytes, &err) == 0)
            return EXIT_SUCCESS;
        log_error("huge", "%s", err.text);
        return EXIT_FAILURE;
    }
    return m->task.plan ? plan(&m->config, &m->task) : OPTIONS_GO_ON;
}

int main(int argc, char **argv)
{
    static struct moed moed;
    struct err err = {0};

    /* Where hwloc sees nothing, place/topo.c counts processors; no words on stderr are needed. */
    setenv("HWLOC_HIDE_ERRORS", "2", 0);
    int status = prepare(&moed, argc, argv);
    if (status != OPTIONS_GO_ON) {
        config_fini(&moed.config);
        return status;
    }
    log_set_level(moed.config.log_level);
    dump_install();
    log_about(LOG_LEVEL_INFO, "main", LOG_ABOUT(.event = EVENT_STARTED), "moed %s", MOED_VERSION);
    status = start(&moed, &err);
    if (status != EXIT_SUCCESS) {
        log_about(LOG_LEVEL_ERROR, "main", LOG_ABOUT(.event = EVENT_START_FAILED), "%s", err.text);
        heritage_end(&moed.heritage); /* it says why, and would say it again */
        _exit(status); /* nobody was promised anything, and threads may already run */
    }
    uv_run(&moed.loop, UV_RUN_DEFAULT);

    models_free(moed.models);
    heritage_end(&moed.heritage);
    watchdog_fini(&moed.watchdog);
    uv_close((uv_handle_t *)&moed.woken, NULL);
    uv_run(&moed.loop, UV_RUN_DEFAULT);
    uv_loop_close(&moed.loop);
    close(moed.signal_fd);
    access_free(moed.access);
    config_fini(&moed.born);
    config_fini(&moed.special);
    config_fini(&moed.config);
    log_info("main", "ended");
    return EXIT_SUCCESS;
}
