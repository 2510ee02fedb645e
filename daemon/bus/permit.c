/* SPDX-License-Identifier: MIT */
#include "bus/permit.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/own.h"
#include "bus/link.h"

#define DRIVER      "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"
#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT                                                                                     \
    POLKIT_NAME, "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority"

enum { POLKIT_MAY_ASK = 1, MOST_GIDS = 65536, SECOND_US = 1000000 };

struct question {
    TAILQ_ENTRY(question) beside;
    struct permit *permit;
    sd_bus_message *message;
    sd_bus_slot *slot; /* of the answer that is awaited */
    const char *action;
    bool is_known; /* whose it is */
    bool is_asked; /* polkit */
    uint32_t uid;
    uint64_t number;
    void (*done)(void *arg, sd_bus_message *message, const uint32_t *uid, const struct err *err);
    void *arg;
};

struct permit {
    sd_bus *bus;
    const struct bus_hooks *hooks;
    TAILQ_HEAD(, question) questions;
    int n;
    uint64_t last;
};

static void question_free(struct question *q)
{
    TAILQ_REMOVE(&q->permit->questions, q, beside);
    q->permit->n--;
    sd_bus_slot_unref(q->slot);
    sd_bus_message_unref(q->message);
    free(q);
}

/* May be the end of the permit, too, so nothing follows it. */
static void answer(struct question *q, const struct err *err)
{
    void (*done)(void *, sd_bus_message *, const uint32_t *, const struct err *) = q->done;
    void *arg = q->arg;
    bool is_known = q->is_known;
    uint32_t uid = q->uid;
    sd_bus_message *message = sd_bus_message_ref(q->message);
    question_free(q);
    done(arg, message, is_known ? &uid : NULL, err);
    sd_bus_message_unref(message);
}

__attribute__((format(printf, 3, 4))) static void refuse(struct question *q, int code,
                                                         const char *fmt, ...)
{
    struct err err = {0};
    char text[sizeof err.text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(&err, code, "%s", text);
    answer(q, &err);
}

/* ---- polkit */

/* Somebody may be looking at a dialog that nobody waits for any more. */
static void cancel(struct question *q)
{
    char id[32];
    snprintf(id, sizeof id, "moed-%llu", (unsigned long long)q->number);
    sd_bus_call_method_async(q->permit->bus, NULL, POLKIT, "CancelCheckAuthorization", NULL, NULL,
                             "s", id);
}

static int on_polkit(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct question *q = arg;
    int may = 0, challenge = 0;
    (void)error;
    if (sd_bus_message_is_method_error(reply, NULL)) {
        const sd_bus_error *why = sd_bus_message_get_error(reply);
        if (sd_bus_error_has_names(why, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT) ||
            sd_bus_message_get_errno(reply) == ETIMEDOUT)
            cancel(q);
        refuse(q, -EACCES,
               "polkit cannot be asked about %s (%.128s): only root and who is an "
               "Operator of the configuration may do this",
               q->action, why->name);
    } else if (sd_bus_message_read(reply, "(bba{ss})", &may, &challenge, 0) < 0) {
        refuse(q, -EACCES, "polkit's answer about %s is none", q->action);
    } else if (may) {
        answer(q, &(struct err){0});
    } else if (challenge) {
        refuse(q, -EUCLEAN, "%s takes a password, which nobody was asked for", q->action);
    } else {
        refuse(q, -EACCES, "polkit does not allow %s", q->action);
    }
    return 1;
}

static int ask_polkit(struct question *q)
{
    sd_bus_message *m = NULL;
    char id[32];
    bool is_person = sd_bus_message_get_allow_interactive_authorization(q->message) > 0;
    q->number = ++q->permit->last;
    snprintf(id, sizeof id, "moed-%llu", (unsigned long long)q->number);
    int r = sd_bus_message_new_method_call(q->permit->bus, &m, POLKIT, "CheckAuthorization");
    if (r >= 0)
        r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(q->message), q->action, 0,
                                  is_person ? POLKIT_MAY_ASK : 0, id);
    if (r >= 0)
        r = sd_bus_call_async(q->permit->bus, &q->slot, m, on_polkit, q,
                              (is_person ? LINK_PERSON_S : LINK_CALL_S) * (uint64_t)SECOND_US);
    sd_bus_message_unref(m);
    return r;
}

/* ---- who it is */

struct sender {
    bool has_uid, has_gids;
    uint32_t uid;
    const uint32_t *gids; /* the message's */
    int n_gids;
};

static int read_sender(sd_bus_message *reply, struct sender *ret)
{
    const char *key;
    *ret = (struct sender){0};
    int r = sd_bus_message_enter_container(reply, 'a', "{sv}");
    while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
        r = sd_bus_message_read(reply, "s", &key);
        if (r >= 0 && strcmp(key, "UnixUserID") == 0) {
            r = sd_bus_message_read(reply, "v", "u", &ret->uid);
            ret->has_uid = r > 0;
        } else if (r >= 0 && strcmp(key, "UnixGroupIDs") == 0) {
            const void *gids;
            size_t bytes;
            r = sd_bus_message_enter_container(reply, 'v', "au");
            if (r >= 0)
                r = sd_bus_message_read_array(reply, 'u', &gids, &bytes);
            if (r >= 0)
                r = sd_bus_message_exit_container(reply);
            if (r >= 0 && bytes / sizeof *ret->gids <= MOST_GIDS) {
                ret->gids = gids;
                ret->n_gids = (int)(bytes / sizeof *ret->gids);
                ret->has_gids = true;
            }
        } else if (r >= 0) {
            r = sd_bus_message_skip(reply, "v");
        }
        if (r >= 0)
            r = sd_bus_message_exit_container(reply);
    }
    return r < 0 ? r : ret->has_uid ? 0 : -ENODATA;
}

static int n_at_polkit(const struct permit *p, uint32_t uid)
{
    int n = 0;
    const struct question *q;
    TAILQ_FOREACH (q, &p->questions, beside)
        n += q->is_asked && q->uid == uid;
    return n;
}

static void judge(struct question *q, const struct sender *sender)
{
    const struct bus_hooks *hooks = q->permit->hooks;
    q->uid = sender->uid;
    q->is_known = true;
    enum bus_verdict verdict = hooks->judge(hooks->arg, sender->uid, sender->gids, sender->n_gids);
    if (verdict == BUS_MAY) {
        answer(q, &(struct err){0});
    } else if (verdict == BUS_DENIED) {
        refuse(q, -EACCES, "the rules of the configuration do not let uid %u in", sender->uid);
    } else if (!sender->has_gids) {
        /* A rule that denies one of its groups could not be heeded. */
        refuse(q, -EACCES, "the bus does not say which groups uid %u is in", sender->uid);
    } else if (n_at_polkit(q->permit, sender->uid) >= PERMIT_MOST_UID) {
        refuse(q, -EBUSY, "%d questions of uid %u are at polkit already", PERMIT_MOST_UID,
               sender->uid);
    } else {
        q->is_asked = true;
        int r = ask_polkit(q);
        if (r < 0)
            refuse(q, -EACCES, "polkit cannot be asked: %s", strerror(-r));
    }
}

static int on_sender(sd_bus_message *reply, void *arg, sd_bus_error *error)
{
    struct question *q = arg;
    struct sender sender;
    (void)error;
    q->slot = sd_bus_slot_unref(q->slot);
    if (sd_bus_message_is_method_error(reply, NULL) || !link_is_driver(reply) ||
        read_sender(reply, &sender) < 0)
        refuse(q, -EACCES, "the bus does not say who you are");
    else
        judge(q, &sender);
    return 1;
}

/* ---- from outside */

int permit_new(sd_bus *bus, const struct bus_hooks *hooks, struct permit **ret)
{
    struct permit *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->bus = bus;
    p->hooks = hooks;
    TAILQ_INIT(&p->questions);
    *ret = p;
    return 0;
}

void permit_free(struct permit *p)
{
    if (!p)
        return;
    while (!TAILQ_EMPTY(&p->questions))
        question_free(TAILQ_FIRST(&p->questions));
    free(p);
}

int permit_ask(struct permit *p, sd_bus_message *message, const char *action,
               void (*done)(void *arg, sd_bus_message *message, const uint32_t *uid,
                            const struct err *err),
               void *arg)
{
    const char *sender = sd_bus_message_get_sender(message);
    if (!sender || *sender != ':')
        return -EACCES; /* the bus itself wants nothing of us */
    if (p->n >= PERMIT_MOST)
        return -EBUSY;
    struct question *q = calloc(1, sizeof *q);
    if (!q)
        return -ENOMEM;
    q->permit = p;
    q->message = sd_bus_message_ref(message);
    q->action = action;
    q->done = done;
    q->arg = arg;
    TAILQ_INSERT_TAIL(&p->questions, q, beside);
    p->n++;
    sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(p->bus, &m, DRIVER, "GetConnectionCredentials");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", sender);
    if (r >= 0)
        r = sd_bus_call_async(p->bus, &q->slot, m, on_sender, q, LINK_CALL_S * (uint64_t)SECOND_US);
    sd_bus_message_unref(m);
    if (r < 0)
        question_free(q);
    return r < 0 ? r : 0;
}
