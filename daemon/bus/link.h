/* SPDX-License-Identifier: MIT
 *
 * One connection to the system's bus, driven by the loop. Loop thread.
 */
#pragma once

#include <stdbool.h>

#include <systemd/sd-bus.h>
#include <uv.h>

#include "base/err.h"

struct link;

enum {
    LINK_TURN = 64,     /* messages of a loop turn */
    LINK_UNSENT = 256,  /* messages that wait to be written: a bus that takes none is lost */
    LINK_CALL_S = 5,    /* for an answer of a program */
    LINK_PERSON_S = 120 /* of a person */
};

/* Connects; what is sent before that is through waits. `lost` is called once, from the loop, and
 * the link is then to be closed; not before this returns. */
int link_open(uv_loop_t *loop, void (*lost)(void *arg, int error), void *arg, struct link **ret,
              struct err *err);
sd_bus *link_bus(struct link *link);
/* Whether the bus itself sent it: rules of matching do not keep away what is sent to us alone. */
bool link_is_driver(sd_bus_message *message);
/* Answers that are awaited do not come any more. NULL is taken. */
void link_close(struct link *link);
