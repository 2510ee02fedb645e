/* SPDX-License-Identifier: MIT
 *
 * Whether who sent a message may have done what it asks for. Loop thread; nothing waits: the bus is
 * asked who the sender is, then the configuration, then, if that leaves it open, polkit.
 *
 * What is not answered in time is a no. The sender's own words count for nothing but whether he
 * would mind being asked for a password.
 */
#pragma once

#include <stdint.h>

#include <systemd/sd-bus.h>

#include "base/err.h"
#include "bus/bus.h"

struct permit;

enum {
    PERMIT_MOST = 64,   /* questions at a time */
    PERMIT_MOST_UID = 4 /* of one uid, at polkit */
};

/* Of a connection: both pointers are borrowed. */
int permit_new(sd_bus *bus, const struct bus_hooks *hooks, struct permit **ret);
/* Questions are dropped, and nobody hears of them. NULL is taken. */
void permit_free(struct permit *permit);

/**
 * Ask whether the sender may.
 *
 *   action  of polkit: "org.moed.load"
 *   done    is called from the loop: with a code of 0; -EACCES, or -EUCLEAN where a password might
 *           do; -EBUSY: too many are asking. `uid` is NULL if it is not known. The message is held
 *   returns negative errno, without `done`, if the question cannot be asked at all
 */
int permit_ask(struct permit *permit, sd_bus_message *message, const char *action,
               void (*done)(void *arg, sd_bus_message *message, const uint32_t *uid,
                            const struct err *err),
               void *arg);
