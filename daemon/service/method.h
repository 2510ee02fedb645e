/* SPDX-License-Identifier: MIT
 *
 * The methods of moed.v1.Engine: one line each in method.def, one handler each in method_*.c.
 *
 * Loop thread. A handler gets the whole request (a PARTS method: the opening, which may be empty)
 * and ends the call or sets its hooks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "moed/v1/models.pb-c.h"

struct call;
struct conn;
struct models_entry;
struct payload;

#define METHOD_SERVICE "moed.v1.Engine"

enum method_shape {
    METHOD_UNARY,
    METHOD_TASK,   /* one message in, one out, computed by an engine */
    METHOD_STREAM, /* one message in, events out */
    METHOD_PARTS,  /* messages in, events out */
};
enum method_who {
    METHOD_ANYONE,
    METHOD_OPERATOR, /* root, the daemon's own uid, and whom the configuration names */
};

struct method {
    const char *name;
    enum method_shape shape;
    enum method_who who;
    bool while_draining;
    size_t most_bytes; /* of one message */
    void (*handle)(struct call *call, struct payload *payload);
};

/* NULL: there is none of this name. */
const struct method *method_find(const char *name);
/* Whether an engine works for it: a user has a quota of such calls. */
bool method_is_work(const struct method *method);
bool method_may(const struct method *method, const struct conn *conn);

#define METHOD(Name, name, shape, who, draining, most_bytes)                                       \
    void method_##name(struct call *call, struct payload *payload);
#include "service/method.def"
#undef METHOD

/* Fills a description that borrows the entry's strings. */
void method_describe(const struct models_entry *entry, Moed__V1__Model *ret);
/* The same without what its file says. */
void method_describe_briefly(const struct models_entry *entry, Moed__V1__Model *ret);
enum { METHOD_BRIEF_FIELDS = 8, METHOD_MORE_FIELDS = 9 }; /* at most, with the list's own */
