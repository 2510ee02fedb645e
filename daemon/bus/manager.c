/* SPDX-License-Identifier: MIT
 *
 * Properties are those of the last look: what a client reads and what it was told never differ.
 */
#include "bus/manager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "base/own.h"
#include "bus/permit.h"
#include "service/ration.h"
#include "text/utf8.h"

#define ERROR(name) "org.moed.Error." name

enum { MOST_ERRANDS = 256, MOST_PROPERTIES = 16 };

/* An order of somebody who waits for an answer. */
struct errand {
    TAILQ_ENTRY(errand) beside;
    struct manager *manager; /* NULL: nobody waits any more */
    sd_bus_message *message;
    enum service_order what;
};

struct words { /* name and state of each model, each with its zero */
    char *at;
    size_t n;
    bool is_short; /* of memory */
};
struct look {
    struct bus_state state;
    struct words models;
};

struct manager {
    sd_bus *bus;
    const struct bus_hooks *hooks;
    struct permit *permit;
    sd_bus_slot *slot;
    struct look look;
    TAILQ_HEAD(, errand) errands;
    int n_errands;
    struct ration refused; /* lines in the log */
};

/* ---- strings: files have names that the bus does not take */

enum { TEXT_BYTES = 512 };

/* What is no UTF-8 becomes '?'. */
static const char *clean(const char *text, char dst[TEXT_BYTES])
{
    size_t n = strnlen(text, TEXT_BYTES - 1), at = 0;
    if (text[n] == '\0' && utf8_valid(text, n) == n)
        return text;
    memcpy(dst, text, n);
    dst[n] = '\0';
    while ((at += utf8_valid(dst + at, n - at)) < n)
        dst[at] = '?';
    return dst;
}

/* ---- looking */

static void add_word(struct words *words, const char *text)
{
    char buffer[TEXT_BYTES];
    const char *word = clean(text, buffer);
    size_t n = strlen(word) + 1;
    char *at = words->is_short ? NULL : realloc(words->at, words->n + n);
    if (!at) {
        words->is_short = true; /* a list without the last ones */
        return;
    }
    memcpy(at + words->n, word, n);
    words->at = at;
    words->n += n;
}

static void add_model(void *arg, const struct bus_model *model)
{
    if (!model->is_active)
        return;
    add_word(arg, model->name);
    add_word(arg, model->state);
}

static void look_fini(struct look *look)
{
    free(look->models.at);
    *look = (struct look){0};
}

static void take_look(const struct bus_hooks *hooks, struct look *ret)
{
    *ret = (struct look){0};
    hooks->state(hooks->arg, &ret->state);
    hooks->models(hooks->arg, add_model, &ret->models);
    if (ret->models.is_short)
        ret->models.n = 0; /* half a pair may be in it */
}

static bool is_same_list(const struct words *a, const struct words *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->at, b->at, a->n) == 0);
}

void manager_look(struct manager *m)
{
    struct look now;
    take_look(m->hooks, &now);
    const struct bus_state *a = &m->look.state, *b = &now.state;
    const struct {
        bool is_new;
        const char *name;
    } all[] = {
        {strcmp(a->state, b->state) != 0, "State"},
        {strcmp(a->pressure, b->pressure) != 0, "MemoryPressure"},
        {a->memory_bytes != b->memory_bytes, "MemoryBytes"},
        {a->running != b->running, "RunningRequests"},
        {a->waiting != b->waiting, "WaitingRequests"},
        {a->loading_percent != b->loading_percent, "LoadingPercent"},
        {!is_same_list(&m->look.models, &now.models), "Models"},
    };
    char *names[MOST_PROPERTIES];
    int n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].is_new)
            names[n++] = (char *)all[i].name;
    names[n] = NULL;
    look_fini(&m->look);
    m->look = now;
    if (n > 0) /* a bus that takes nothing any more is found out by the link */
        sd_bus_emit_properties_changed_strv(m->bus, BUS_PATH, BUS_INTERFACE, names);
}

/* ---- properties */

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    (void)bus, (void)path, (void)interface, (void)property, (void)arg, (void)error;
    return sd_bus_message_append(reply, "s", MOED_VERSION);
}

static int get_word(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    const struct manager *m = arg;
    (void)bus, (void)path, (void)interface, (void)error;
    return sd_bus_message_append(
        reply, "s", strcmp(property, "State") == 0 ? m->look.state.state : m->look.state.pressure);
}

static int get_bytes(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    const struct manager *m = arg;
    (void)bus, (void)path, (void)interface, (void)property, (void)error;
    return sd_bus_message_append(reply, "t", m->look.state.memory_bytes);
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    const struct bus_state *state = &((const struct manager *)arg)->look.state;
    (void)bus, (void)path, (void)interface, (void)error;
    uint32_t value = strcmp(property, "RunningRequests") == 0   ? state->running
                     : strcmp(property, "WaitingRequests") == 0 ? state->waiting
                                                                : state->loading_percent;
    return sd_bus_message_append(reply, "u", value);
}

static int get_models(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    const struct words *words = &((const struct manager *)arg)->look.models;
    (void)bus, (void)path, (void)interface, (void)property, (void)error;
    int r = sd_bus_message_open_container(reply, 'a', "(ss)");
    for (size_t at = 0; at < words->n && r >= 0;) {
        const char *name = words->at + at, *state = name + strlen(name) + 1;
        r = sd_bus_message_append(reply, "(ss)", name, state);
        at = (size_t)(state - words->at) + strlen(state) + 1;
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- answers */

static int reply_error(sd_bus_message *message, const struct err *err)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {
        {-EACCES, SD_BUS_ERROR_ACCESS_DENIED},
        {-EUCLEAN, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED},
        {-ENOENT, ERROR("NoSuchModel")},
        {-EUNATCH, ERROR("NotNow")},
        {-EAGAIN, ERROR("NotNow")},
        {-ESHUTDOWN, ERROR("Draining")},
        {-EBUSY, SD_BUS_ERROR_LIMITS_EXCEEDED},
        {-ENOMEM, ERROR("NoMemory")},
    };
    char text[TEXT_BYTES];
    const char *name = ERROR("Failed");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == err->code)
            name = names[i].name;
    return sd_bus_reply_method_errorf(message, name, "%s", clean(err->text, text));
}

struct list { /* being written */
    sd_bus_message *reply;
    int r;
};

static int append_model(sd_bus_message *reply, const struct bus_model *model)
{
    char name[TEXT_BYTES], error[TEXT_BYTES];
    int r = sd_bus_message_open_container(reply, 'a', "{sv}");
    if (r >= 0)
        r = sd_bus_message_append(reply, "{sv}{sv}{sv}", "Name", "s", clean(model->name, name),
                                  "State", "s", model->state, "FileBytes", "t", model->file_bytes);
    if (r >= 0 && model->bytes_all > 0)
        r = sd_bus_message_append(reply, "{sv}{sv}", "BytesDone", "t", model->bytes_done,
                                  "BytesAll", "t", model->bytes_all);
    if (r >= 0 && model->error)
        r = sd_bus_message_append(reply, "{sv}", "Error", "s", clean(model->error, error));
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void list_model(void *arg, const struct bus_model *model)
{
    struct list *list = arg;
    if (list->r >= 0)
        list->r = append_model(list->reply, model);
}

static int reply_list(struct manager *m, sd_bus_message *message)
{
    struct list list = {0};
    int r = sd_bus_message_new_method_return(message, &list.reply);
    if (r >= 0)
        r = sd_bus_message_open_container(list.reply, 'a', "a{sv}");
    if (r >= 0) {
        m->hooks->models(m->hooks->arg, list_model, &list);
        r = list.r;
    }
    if (r >= 0)
        r = sd_bus_message_close_container(list.reply);
    if (r >= 0)
        r = sd_bus_send(m->bus, list.reply, NULL);
    sd_bus_message_unref(list.reply);
    return r;
}

/* ---- orders */

static void errand_done(void *to, const struct err *err)
{
    struct errand *e = to;
    struct manager *m = e->manager;
    if (m) {
        TAILQ_REMOVE(&m->errands, e, beside);
        m->n_errands--;
        if (e->what != SERVICE_LIST)
            manager_look(m); /* who hears that it is done finds it done */
        if (err->code < 0)
            reply_error(e->message, err);
        else if (e->what == SERVICE_LIST)
            reply_list(m, e->message);
        else
            sd_bus_reply_method_return(e->message, NULL);
    }
    sd_bus_message_unref(e->message);
    free(e);
}

static void give_order(struct manager *m, sd_bus_message *message, enum service_order what,
                       const char *model)
{
    struct err err = {0};
    struct errand *e = m->n_errands < MOST_ERRANDS ? calloc(1, sizeof *e) : NULL;
    if (!e) {
        err_set(&err, -EBUSY, "%d orders are being carried out already", m->n_errands);
        reply_error(message, &err);
        return;
    }
    *e = (struct errand){.manager = m, .message = sd_bus_message_ref(message), .what = what};
    TAILQ_INSERT_TAIL(&m->errands, e, beside);
    m->n_errands++;
    m->hooks->order(m->hooks->arg, what, model, errand_done, e);
}

static int append_names(sd_bus_message *reply, const char *const *names, int n)
{
    int r = sd_bus_message_open_container(reply, 'a', "s");
    for (int i = 0; i < n && r >= 0; i++)
        r = sd_bus_message_append(reply, "s", names[i]);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static void reload(struct manager *m, sd_bus_message *message)
{
    struct service_reloaded done = {0};
    struct err err = {0};
    sd_bus_message *reply = NULL;
    if (m->hooks->reload(m->hooks->arg, &done, &err) < 0) {
        err_prefix(&err, err.code, "the configuration stays as it was");
        reply_error(message, &err);
        return;
    }
    int r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = append_names(reply, done.now, done.n_now);
    if (r >= 0)
        r = append_names(reply, done.later, done.n_later);
    if (r >= 0)
        r = append_names(reply, done.restart, done.n_restart);
    if (r >= 0)
        sd_bus_send(m->bus, reply, NULL);
    sd_bus_message_unref(reply);
}

static void on_permit(void *arg, sd_bus_message *message, const uint32_t *uid,
                      const struct err *err)
{
    struct manager *m = arg;
    const char *model = "", *member = sd_bus_message_get_member(message);
    uint32_t kept_back;
    if (err->code < 0) {
        if (ration_take(&m->refused, uv_hrtime() / 1000000, &kept_back))
            log_about(LOG_LEVEL_WARNING, "bus", LOG_ABOUT(.event = EVENT_BUS_REFUSED, .peer = uid),
                      "%s by the bus is refused: %s", member, err->text);
        reply_error(message, err);
        return;
    }
    bool is_reload = strcmp(member, "Reload") == 0;
    if (!is_reload && sd_bus_message_read(message, "s", &model) < 0)
        return; /* it was looked at before */
    log_about(LOG_LEVEL_INFO, "bus", LOG_ABOUT(.event = EVENT_BUS_ORDER, .peer = uid),
              "uid %u by the bus: %s%s%.128s", *uid, member, *model ? " " : "", model);
    if (is_reload)
        reload(m, message);
    else
        give_order(m, message, strcmp(member, "LoadModel") == 0 ? SERVICE_LOAD : SERVICE_UNLOAD,
                   model);
}

static int on_list(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    (void)error;
    give_order(arg, message, SERVICE_LIST, "");
    return 1;
}

static int ask(struct manager *m, sd_bus_message *message, const char *action)
{
    int r = permit_ask(m->permit, message, action, on_permit, m);
    return r < 0 ? r : 1;
}

static int on_load(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    (void)error;
    return ask(arg, message, BUS_ACTIONS "load");
}

static int on_unload(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    (void)error;
    return ask(arg, message, BUS_ACTIONS "unload");
}

static int on_reload(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    (void)error;
    return ask(arg, message, BUS_ACTIONS "manage");
}

/* Unprivileged: without that the library itself would ask the bus about the sender, and wait. */
static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("State", "s", get_word, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Models", "a(ss)", get_models, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("LoadingPercent", "u", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("MemoryBytes", "t", get_bytes, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("MemoryPressure", "s", get_word, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("RunningRequests", "u", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("WaitingRequests", "u", get_number, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_METHOD_WITH_ARGS("ListModels", SD_BUS_NO_ARGS, SD_BUS_RESULT("aa{sv}", models), on_list,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("LoadModel", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT, on_load,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("UnloadModel", SD_BUS_ARGS("s", name), SD_BUS_NO_RESULT, on_unload,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Reload", SD_BUS_NO_ARGS,
                            SD_BUS_RESULT("as", now, "as", later, "as", restart), on_reload,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

/* ---- birth and death */

OWN_DEFINE(manager, manager_free);

int manager_new(sd_bus *bus, const struct bus_hooks *hooks, struct manager **ret, struct err *err)
{
    OWN(manager) *m = calloc(1, sizeof *m);
    if (!m)
        return err_set(err, -ENOMEM, "no memory for an object on the bus");
    m->bus = bus;
    m->hooks = hooks;
    TAILQ_INIT(&m->errands);
    take_look(hooks, &m->look);
    int r = permit_new(bus, hooks, &m->permit);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, &m->slot, BUS_PATH, BUS_INTERFACE, vtable, m);
    if (r < 0)
        return err_set(err, r, "cannot make an object on the bus: %s", strerror(-r));
    *ret = TAKE(m);
    return 0;
}

void manager_free(struct manager *m)
{
    if (!m)
        return;
    struct errand *e;
    while ((e = TAILQ_FIRST(&m->errands))) {
        TAILQ_REMOVE(&m->errands, e, beside);
        e->manager = NULL;
    }
    permit_free(m->permit);
    sd_bus_slot_unref(m->slot);
    look_fini(&m->look);
    free(m);
}
