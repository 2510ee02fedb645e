/* SPDX-License-Identifier: MIT
 *
 * The daemon's end of a bus, on a private one: what it tells, whom it obeys, and what it survives.
 * Everything is on one thread: `turn` gives the daemon's loop and the other programs a turn each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fixture/privatebus.h"
#include "bus/bus.h"

static struct privatebus dbus;

/* The daemon, played. */
struct world {
    uv_loop_t loop;
    struct bus *bus;
    struct bus_state state;
    const char *model_state;
    enum bus_verdict verdict;
    int n_orders, n_reloads, n_gids;
    uint32_t uid;
    enum service_order order;
    char model[64];
    int result;   /* of orders and reloads */
    bool is_held; /* orders are not done at once */
    void (*done)(void *to, const struct err *err);
    void *to;
    sd_bus *client;
    struct polkit polkit;
    struct logind logind;
    int n_sleeps, n_wakes;
    uint64_t within_ms;
};

static void on_state(void *arg, struct bus_state *ret)
{
    *ret = ((struct world *)arg)->state;
}

static void on_models(void *arg, void (*each)(void *to, const struct bus_model *model), void *to)
{
    const struct world *w = arg;
    each(to, &(struct bus_model){
                 .name = "little", .state = w->model_state, .file_bytes = 7, .is_active = true});
    each(to, &(struct bus_model){.name = "bad\xff\xc3name", .state = "unloaded"});
    each(to, &(struct bus_model){.name = "big",
                                 .state = "loading",
                                 .error = "no\x80",
                                 .bytes_done = 1,
                                 .bytes_all = 2,
                                 .is_active = true});
}

static void finish(struct world *w)
{
    struct err err = {0};
    void (*done)(void *, const struct err *) = w->done;
    if (w->result < 0)
        err_set(&err, w->result, "it is so");
    w->done = NULL;
    done(w->to, &err);
}

static void on_order(void *arg, enum service_order what, const char *model,
                     void (*done)(void *to, const struct err *err), void *to)
{
    struct world *w = arg;
    w->n_orders++;
    w->order = what;
    snprintf(w->model, sizeof w->model, "%s", model);
    w->done = done;
    w->to = to;
    if (!w->is_held)
        finish(w);
}

static int on_reload(void *arg, struct service_reloaded *ret, struct err *err)
{
    struct world *w = arg;
    w->n_reloads++;
    ret->now[ret->n_now++] = "LogLevel";
    ret->restart[ret->n_restart++] = "Socket";
    return w->result < 0 ? err_set(err, w->result, "a line is wrong") : 0;
}

static enum bus_verdict on_judge(void *arg, uint32_t uid, const uint32_t *gids, int n_gids)
{
    struct world *w = arg;
    w->uid = uid;
    w->n_gids = n_gids;
    for (int i = 0; i < n_gids; i++)
        w->n_gids += gids[i] > UINT32_MAX - 1; /* reads them all */
    return w->verdict;
}

static void on_sleep(void *arg, uint64_t within_ms)
{
    struct world *w = arg;
    w->n_sleeps++;
    w->within_ms = within_ms;
}

static void on_wake(void *arg)
{
    ((struct world *)arg)->n_wakes++;
}

/* ---- turns */

static void turn(struct world *w)
{
    uv_run(&w->loop, UV_RUN_NOWAIT);
    sd_bus *others[] = {w->client, w->polkit.bus, w->logind.bus};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        while (others[i] && sd_bus_process(others[i], NULL) > 0)
            ;
    usleep(500);
}

#define UNTIL(w, what)                                                                             \
    do {                                                                                           \
        for (int turns_ = 0; !(what); turns_++) {                                                  \
            if (turns_ > 40000)                                                                    \
                fail_msg("waited in vain: %s; trouble '%s'", #what, bus_trouble((w)->bus));        \
            turn(w);                                                                               \
        }                                                                                          \
    } while (0)

static bool is_named(struct world *w)
{
    return sd_bus_get_name_creds(w->client, BUS_NAME, 0, NULL) >= 0;
}

static void join(struct world *w)
{
    struct bus_hooks hooks = {.state = on_state,
                              .models = on_models,
                              .order = on_order,
                              .reload = on_reload,
                              .judge = on_judge,
                              .sleep = on_sleep,
                              .wake = on_wake,
                              .arg = w};
    struct err err = {0};
    assert_int_equal(bus_open(&w->loop, &hooks, &w->bus, &err), 0);
}

static void begin(struct world *w)
{
    *w = (struct world){.state = {.state = "ready", .pressure = "calm", .loading_percent = 100},
                        .model_state = "ready",
                        .verdict = BUS_ASK};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    if (dbus.pid == 0)
        privatebus_start(&dbus);
    w->client = privatebus_connect(&dbus);
}

static void end(struct world *w)
{
    bus_close(w->bus);
    sd_bus_flush_close_unref(w->client);
    polkit_close(&w->polkit);
    logind_close(&w->logind);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0); /* nothing is left */
    if (w->done)
        finish(w); /* for nobody */
}

static void begin_named(struct world *w)
{
    begin(w);
    join(w);
    UNTIL(w, is_named(w));
    assert_string_equal(bus_trouble(w->bus), "");
}

/* ---- calls */

struct answer {
    sd_bus_message *reply;
    const char *error; /* its name, or "" */
    sd_bus_slot *slot;
};

static int on_answer(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct answer *a = arg;
    (void)error;
    a->reply = sd_bus_message_ref(reply);
    a->error =
        sd_bus_message_is_method_error(reply, NULL) ? sd_bus_message_get_error(reply)->name : "";
    return 1;
}

static void answer_fini(struct answer *a)
{
    sd_bus_slot_unref(a->slot);
    sd_bus_message_unref(a->reply);
    *a = (struct answer){0};
}

static void send_call(struct world *w, struct answer *a, bool is_person, const char *member,
                      const char *types, const char *text)
{
    sd_bus_message *m;
    assert_true(sd_bus_message_new_method_call(w->client, &m, BUS_NAME, BUS_PATH, BUS_INTERFACE,
                                               member) >= 0);
    if (is_person)
        assert_true(sd_bus_message_set_allow_interactive_authorization(m, 1) >= 0);
    if (*types)
        assert_true(sd_bus_message_append(m, types, text) >= 0);
    assert_true(sd_bus_call_async(w->client, &a->slot, m, on_answer, a, 60000000) >= 0);
    sd_bus_message_unref(m);
}

/* One call; what becomes of it. */
static void expect_error(struct world *w, const char *member, const char *types, const char *text,
                         const char *error)
{
    struct answer a = {0};
    send_call(w, &a, false, member, types, text);
    UNTIL(w, a.reply);
    assert_string_equal(a.error, error);
    answer_fini(&a);
}

#define ACCESS_DENIED "org.freedesktop.DBus.Error.AccessDenied"

/* ---- what it tells */

static void test_properties(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    struct answer a = {0};
    const char *name, *how;
    sd_bus_message *m;
    assert_true(sd_bus_message_new_method_call(w.client, &m, BUS_NAME, BUS_PATH,
                                               "org.freedesktop.DBus.Properties", "Get") >= 0);
    assert_true(sd_bus_message_append(m, "ss", BUS_INTERFACE, "Models") >= 0);
    assert_true(sd_bus_call_async(w.client, &a.slot, m, on_answer, &a, 0) >= 0);
    sd_bus_message_unref(m);
    UNTIL(&w, a.reply);
    assert_string_equal(a.error, "");
    assert_true(sd_bus_message_enter_container(a.reply, 'v', "a(ss)") > 0);
    assert_true(sd_bus_message_enter_container(a.reply, 'a', "(ss)") > 0);
    assert_true(sd_bus_message_read(a.reply, "(ss)", &name, &how) > 0);
    assert_string_equal(name, "little");
    assert_string_equal(how, "ready");
    assert_true(sd_bus_message_read(a.reply, "(ss)", &name, &how) > 0);
    assert_string_equal(name, "big");
    assert_int_equal(sd_bus_message_read(a.reply, "(ss)", &name, &how), 0);
    answer_fini(&a);

    /* Nobody may set anything. */
    assert_true(sd_bus_message_new_method_call(w.client, &m, BUS_NAME, BUS_PATH,
                                               "org.freedesktop.DBus.Properties", "Set") >= 0);
    assert_true(sd_bus_message_append(m, "ssv", BUS_INTERFACE, "State", "s", "mine") >= 0);
    assert_true(sd_bus_call_async(w.client, &a.slot, m, on_answer, &a, 0) >= 0);
    sd_bus_message_unref(m);
    UNTIL(&w, a.reply);
    assert_string_equal(a.error, SD_BUS_ERROR_PROPERTY_READ_ONLY);
    answer_fini(&a);
    end(&w);
}

struct changes {
    int n;
    char names[256];
};

static int on_changes(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct changes *c = arg;
    const char *interface, *name;
    (void)error;
    c->n++;
    assert_true(sd_bus_message_read(m, "s", &interface) > 0);
    assert_string_equal(interface, BUS_INTERFACE);
    assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        size_t used = strlen(c->names);
        assert_true(sd_bus_message_read(m, "s", &name) > 0);
        snprintf(c->names + used, sizeof c->names - used, "%s ", name);
        assert_true(sd_bus_message_skip(m, "v") >= 0);
        assert_true(sd_bus_message_exit_container(m) >= 0);
    }
    return 0;
}

static void test_changes(void **state)
{
    (void)state;
    struct world w;
    struct changes changes = {0};
    begin_named(&w);
    assert_true(sd_bus_match_signal(w.client, NULL, BUS_NAME, BUS_PATH,
                                    "org.freedesktop.DBus.Properties", "PropertiesChanged",
                                    on_changes, &changes) >= 0);
    bus_touch(w.bus); /* nothing has changed */
    for (int i = 0; i < 1200; i++)
        turn(&w);
    assert_int_equal(changes.n, 0);
    w.state.state = "draining";
    w.state.memory_bytes = 12;
    for (int i = 0; i < 100; i++)
        bus_touch(w.bus); /* told together */
    UNTIL(&w, changes.n > 0);
    assert_string_equal(changes.names, "State MemoryBytes ");
    w.model_state = "unloaded";
    *changes.names = '\0';
    bus_touch(w.bus);
    UNTIL(&w, *changes.names);
    assert_string_equal(changes.names, "Models ");
    assert_int_equal(changes.n, 2);

    /* Who hears that his order is done has heard what came of it. */
    struct answer a = {0};
    w.verdict = BUS_MAY;
    w.is_held = true;
    *changes.names = '\0';
    send_call(&w, &a, false, "LoadModel", "s", "little");
    UNTIL(&w, w.done);
    w.model_state = "loading";
    finish(&w);
    UNTIL(&w, a.reply);
    assert_string_equal(changes.names, "Models ");
    answer_fini(&a);
    end(&w);
}

static void test_list(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    struct answer a = {0};
    char *seen = NULL;
    size_t bytes = 0;
    send_call(&w, &a, false, "ListModels", "", NULL);
    UNTIL(&w, a.reply);
    assert_string_equal(a.error, "");
    assert_string_equal(sd_bus_message_get_signature(a.reply, 1), "aa{sv}");
    FILE *file = open_memstream(&seen, &bytes);
    assert_true(sd_bus_message_dump(a.reply, file, 0) >= 0);
    fclose(file);
    assert_non_null(strstr(seen, "\"bad??name\""));
    assert_non_null(strstr(seen, "\"no?\""));
    assert_non_null(strstr(seen, "\"BytesAll\""));
    free(seen);
    answer_fini(&a);
    assert_int_equal(w.order, SERVICE_LIST);
    end(&w);
}

/* ---- whom it obeys */

static void test_operator_needs_no_polkit(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    w.verdict = BUS_MAY;
    expect_error(&w, "LoadModel", "s", "little", "");
    assert_int_equal(w.order, SERVICE_LOAD);
    assert_string_equal(w.model, "little");
    assert_int_equal(w.uid, getuid());
    assert_true(w.n_gids > 0);
    w.result = -ENOENT;
    expect_error(&w, "UnloadModel", "s", "none", "org.moed.Error.NoSuchModel");
    assert_int_equal(w.order, SERVICE_UNLOAD);
    w.result = -EINVAL;
    expect_error(&w, "Reload", "", NULL, "org.moed.Error.Failed");
    w.result = 0;
    struct answer a = {0};
    const char *word;
    send_call(&w, &a, false, "Reload", "", NULL);
    UNTIL(&w, a.reply);
    assert_true(sd_bus_message_read(a.reply, "as", 1, &word) > 0);
    assert_string_equal(word, "LogLevel");
    assert_true(sd_bus_message_read(a.reply, "asas", 0, 1, &word) > 0);
    assert_string_equal(word, "Socket");
    answer_fini(&a);
    end(&w);
}

static void test_without_polkit(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    expect_error(&w, "UnloadModel", "s", "little", ACCESS_DENIED);
    expect_error(&w, "LoadModel", "s", "little", ACCESS_DENIED);
    expect_error(&w, "Reload", "", NULL, ACCESS_DENIED);
    w.verdict = BUS_DENIED;
    polkit_open(&w.polkit, &dbus);
    expect_error(&w, "UnloadModel", "s", "little", ACCESS_DENIED);
    assert_int_equal(w.polkit.n_asked, 0); /* whom the configuration denies polkit cannot allow */
    assert_int_equal(w.n_orders, 0);
    assert_int_equal(w.n_reloads, 0);
    end(&w);
}

static void test_polkit(void **state)
{
    (void)state;
    struct world w;
    const char *us;
    begin_named(&w);
    polkit_open(&w.polkit, &dbus);
    assert_true(sd_bus_get_unique_name(w.client, &us) >= 0);
    w.polkit.mood = POLKIT_NO;
    expect_error(&w, "LoadModel", "s", "little", ACCESS_DENIED);
    assert_string_equal(w.polkit.action, "org.moed.load");
    assert_string_equal(w.polkit.subject, us);
    assert_int_equal(w.polkit.flags, 0);
    w.polkit.mood = POLKIT_CHALLENGE;
    expect_error(&w, "UnloadModel", "s", "little", SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED);
    assert_string_equal(w.polkit.action, "org.moed.unload");
    w.polkit.mood = POLKIT_RUBBISH;
    expect_error(&w, "Reload", "", NULL, ACCESS_DENIED);
    assert_string_equal(w.polkit.action, "org.moed.manage");
    assert_int_equal(w.n_orders + w.n_reloads, 0);
    w.polkit.mood = POLKIT_YES;
    expect_error(&w, "UnloadModel", "s", "little", "");
    assert_int_equal(w.order, SERVICE_UNLOAD);
    expect_error(&w, "Reload", "", NULL, "");
    assert_int_equal(w.n_reloads, 1);
    struct answer a = {0};
    send_call(&w, &a, true, "LoadModel", "s", "little");
    UNTIL(&w, a.reply);
    assert_string_equal(a.error, "");
    assert_int_equal(w.polkit.flags, 1); /* the caller would not mind a dialog */
    answer_fini(&a);
    end(&w);
}

/* It holds up nobody else, and one user holds up no other by it. */
static void test_silent_polkit(void **state)
{
    (void)state;
    struct world w;
    struct answer a[5] = {{0}}, other = {0};
    begin_named(&w);
    polkit_open(&w.polkit, &dbus);
    w.polkit.mood = POLKIT_SILENT;
    for (int i = 0; i < 5; i++)
        send_call(&w, &a[i], false, "UnloadModel", "s", "little");
    UNTIL(&w, a[4].reply);
    assert_string_equal(a[4].error, SD_BUS_ERROR_LIMITS_EXCEEDED);
    assert_int_equal(w.polkit.n_asked, 4);
    send_call(&w, &other, false, "ListModels", "", NULL);
    UNTIL(&w, other.reply);
    assert_string_equal(other.error, "");
    assert_null(a[0].reply);
    for (int i = 0; i < 4; i++) { /* after five seconds */
        UNTIL(&w, a[i].reply);
        assert_string_equal(a[i].error, ACCESS_DENIED);
    }
    UNTIL(&w, w.polkit.n_cancelled == 4);
    /* Its late yes is none. */
    assert_true(sd_bus_reply_method_return(w.polkit.open, "(bba{ss})", 1, 0, 0) >= 0);
    for (int i = 0; i < 100; i++)
        turn(&w);
    assert_int_equal(w.order, SERVICE_LIST);
    for (int i = 0; i < 5; i++)
        answer_fini(&a[i]);
    answer_fini(&other);
    end(&w);
}

static void test_strange_callers(void **state)
{
    (void)state;
    struct world w;
    char *longest = malloc(100001);
    begin_named(&w);
    w.verdict = BUS_MAY;
    memset(longest, 'x', 100000);
    longest[100000] = '\0';
    expect_error(&w, "LoadModel", "", NULL, SD_BUS_ERROR_INVALID_ARGS);
    expect_error(&w, "LoadModel", "o", "/a", SD_BUS_ERROR_INVALID_ARGS);
    expect_error(&w, "Reload", "s", "now", SD_BUS_ERROR_INVALID_ARGS);
    expect_error(&w, "Format", "", NULL, SD_BUS_ERROR_UNKNOWN_METHOD);
    assert_int_equal(w.n_orders + w.n_reloads, 0);
    w.result = -ENOENT;
    expect_error(&w, "LoadModel", "s", longest, "org.moed.Error.NoSuchModel");
    free(longest);
    /* Signals for us alone pass all rules of matching. */
    static const char *const lies[] = {"NameLost", "NameAcquired", "NameOwnerChanged"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        sd_bus_message *m;
        assert_true(sd_bus_message_new_signal(w.client, &m, "/org/freedesktop/DBus",
                                              "org.freedesktop.DBus", lies[i]) >= 0);
        assert_true(sd_bus_message_append(m, "s", BUS_NAME) >= 0);
        assert_true(sd_bus_send_to(w.client, m, BUS_NAME, NULL) >= 0);
        sd_bus_message_unref(m);
    }
    /* A caller that is gone before the answer. */
    sd_bus *brief = privatebus_connect(&dbus);
    w.is_held = true;
    assert_true(sd_bus_call_method_async(brief, NULL, BUS_NAME, BUS_PATH, BUS_INTERFACE,
                                         "LoadModel", NULL, NULL, "s", "little") >= 0);
    assert_true(sd_bus_flush(brief) >= 0);
    UNTIL(&w, w.done);
    sd_bus_close_unref(brief);
    finish(&w);
    for (int i = 0; i < 100; i++)
        turn(&w);
    assert_string_equal(bus_trouble(w.bus), "");
    end(&w);
}

/* ---- what it survives */

static void test_bus_comes_and_goes(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    struct answer a = {0};
    w.verdict = BUS_MAY;
    w.is_held = true;
    send_call(&w, &a, false, "LoadModel", "s", "little");
    UNTIL(&w, w.done);
    privatebus_kill(&dbus);
    UNTIL(&w, *bus_trouble(w.bus));
    assert_non_null(strstr(bus_trouble(w.bus), "lost"));
    finish(&w); /* its caller is gone, with his bus */
    answer_fini(&a);
    for (int i = 0; i < 1000; i++) /* some tries are in vain */
        turn(&w);
    assert_non_null(strstr(bus_trouble(w.bus), "cannot connect"));
    sd_bus_close_unref(w.client);
    privatebus_start(&dbus);
    w.client = privatebus_connect(&dbus);
    UNTIL(&w, is_named(&w));
    UNTIL(&w, !*bus_trouble(w.bus));
    w.is_held = false;
    expect_error(&w, "LoadModel", "s", "little", "");
    end(&w);
}

static void test_name_is_taken(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    assert_true(sd_bus_request_name(w.client, BUS_NAME, 0) >= 0);
    join(&w);
    UNTIL(&w, *bus_trouble(w.bus));
    assert_non_null(strstr(bus_trouble(w.bus), "somebody else"));
    assert_true(sd_bus_release_name(w.client, BUS_NAME) >= 0);
    UNTIL(&w, !*bus_trouble(w.bus));
    assert_true(is_named(&w));
    end(&w);
}

static void test_closed_in_the_middle(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    join(&w); /* not connected yet */
    end(&w);
    begin_named(&w);
    struct answer a = {0};
    polkit_open(&w.polkit, &dbus);
    w.polkit.mood = POLKIT_SILENT;
    send_call(&w, &a, false, "Reload", "", NULL);
    UNTIL(&w, w.polkit.n_asked == 1);
    answer_fini(&a);
    end(&w);
}

/* ---- sleeping */

static void turns(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        turn(w);
}

static void test_sleep(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    logind_open(&w.logind, &dbus, 2000000);
    join(&w);
    UNTIL(&w, logind_is_held(&w.logind));
    turns(&w, 50);
    assert_int_equal(w.logind.n_locks, 1);
    for (int round = 1; round <= 2; round++) {
        logind_prepare(&w.logind, true);
        UNTIL(&w, w.n_sleeps == round);
        assert_int_equal(w.within_ms, 1500);
        logind_prepare(&w.logind, true); /* said twice */
        turns(&w, 50);
        assert_int_equal(w.n_sleeps, round);
        assert_true(logind_is_held(&w.logind)); /* until we are ready */
        bus_ready(w.bus);
        assert_false(logind_is_held(&w.logind));
        assert_int_equal(w.n_wakes, round - 1);
        logind_prepare(&w.logind, false);
        UNTIL(&w, w.n_wakes == round);
        UNTIL(&w, logind_is_held(&w.logind));
        assert_int_equal(w.logind.n_locks, round + 1);
        bus_ready(w.bus); /* too late: this lock is for the next time */
        assert_true(logind_is_held(&w.logind));
    }
    end(&w);
}

static void test_logind_comes_and_goes(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    turns(&w, 50); /* nobody is asked, and nobody complains */
    logind_open(&w.logind, &dbus, 5000000);
    UNTIL(&w, logind_is_held(&w.logind));
    logind_close(&w.logind);
    turns(&w, 50);
    logind_open(&w.logind, &dbus, 5000000);
    UNTIL(&w, logind_is_held(&w.logind));
    logind_prepare(&w.logind, true);
    UNTIL(&w, w.n_sleeps == 1);
    privatebus_kill(&dbus); /* nobody would hear of the end */
    UNTIL(&w, !logind_is_held(&w.logind));
    privatebus_start(&dbus);
    end(&w);
}

/* The same words from others, to all and to us. */
static void test_false_alarms(void **state)
{
    (void)state;
    struct world w;
    begin_named(&w);
    logind_open(&w.logind, &dbus, 5000000);
    UNTIL(&w, logind_is_held(&w.logind));
    for (int i = 0; i < 2; i++) {
        sd_bus_message *m;
        assert_true(sd_bus_message_new_signal(w.client, &m, "/org/freedesktop/login1",
                                              "org.freedesktop.login1.Manager",
                                              "PrepareForSleep") >= 0);
        assert_true(sd_bus_message_append(m, "b", 1) >= 0);
        assert_true(sd_bus_send_to(w.client, m, i ? BUS_NAME : NULL, NULL) >= 0);
        sd_bus_message_unref(m);
    }
    const char *us;
    sd_bus_message *m;
    assert_true(sd_bus_get_unique_name(w.client, &us) >= 0);
    assert_true(sd_bus_message_new_signal(w.client, &m, "/org/freedesktop/DBus",
                                          "org.freedesktop.DBus", "NameOwnerChanged") >= 0);
    assert_true(sd_bus_message_append(m, "sss", "org.freedesktop.login1", "", us) >= 0);
    assert_true(sd_bus_send_to(w.client, m, BUS_NAME, NULL) >= 0);
    sd_bus_message_unref(m);
    turns(&w, 100);
    assert_int_equal(w.n_sleeps, 0);
    assert_int_equal(w.logind.n_locks, 1);
    logind_prepare(&w.logind, true); /* he is believed as before */
    UNTIL(&w, w.n_sleeps == 1);
    end(&w);
}

static int start(void **state)
{
    (void)state;
    privatebus_start(&dbus);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    privatebus_fini(&dbus);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_properties),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_operator_needs_no_polkit),
        cmocka_unit_test(test_without_polkit),
        cmocka_unit_test(test_polkit),
        cmocka_unit_test(test_silent_polkit),
        cmocka_unit_test(test_strange_callers),
        cmocka_unit_test(test_bus_comes_and_goes),
        cmocka_unit_test(test_name_is_taken),
        cmocka_unit_test(test_closed_in_the_middle),
        cmocka_unit_test(test_sleep),
        cmocka_unit_test(test_logind_comes_and_goes),
        cmocka_unit_test(test_false_alarms),
    };
    if (!privatebus_init(&dbus)) {
        puts("skipped: no dbus-daemon here");
        return 77;
    }
    return cmocka_run_group_tests(tests, start, stop);
}
