/* SPDX-License-Identifier: MIT
 *
 * Sessions as files:  FOLDER/sessions/UID/ID.session, 0700 and 0600.
 *
 * A file comes into being by tmp, sync, rename, sync of the folder: it is there as a whole or not
 * at all, and what is not exactly what it should be is as if it were not there, and left alone.
 * Opened on the loop thread before there are sessions; everything else is on the clerk's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"

struct cabinet;
struct record;

/* FOLDER may be missing, but not what it lies in. -EBUSY: another process has it; -EPERM: not ours,
 * or others may write it; else as the disk does. */
int cabinet_open(const char *folder, struct cabinet **ret, struct err *err);
void cabinet_close(struct cabinet *cabinet);
OWN_DEFINE(cabinet, cabinet_close);

/* Hands each session to `each`, which empties the record if it takes it, and removes what a crash
 * left half written. Returns how many files were passed over; -ENOMEM; as the disk does for the
 * folder itself. */
int cabinet_scan(struct cabinet *cabinet, uint64_t most_bytes,
                 int (*each)(void *arg, struct record *record), void *arg, struct err *err);
/* -ENOSPC, -EIO … as the disk does: what was there before is then still there; -ENOMEM. */
int cabinet_put(struct cabinet *cabinet, const struct record *record, struct err *err);
/* Gone for good, also if it was not there. */
int cabinet_remove(struct cabinet *cabinet, uint32_t uid, uint64_t id, struct err *err);
