/* SPDX-License-Identifier: MIT
 *
 * The weights of a model in the vault: under which names, how a new process comes to them, and when
 * they go.
 *
 * The loader's thread, but for deposit_sweep() and deposit_drop(), the loop's. Names are made of
 * the path of the model's file: "m." and a number is the manifest, "w.", the same number and that
 * of a node of memory a block. The manifest is left last, so what it speaks of is there; a load
 * that was cut short left nothing and starts over, from a file that the kernel mostly still has in
 * memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct model;
struct place;
struct vault;

/* Gives the model its weights if they are in the vault and of this very file and place. What is
 * there and of no use is dropped, and the log says why. */
bool deposit_adopt(struct vault *vault, struct model *model, struct place *place);
/* Leaves the weights of a model that was loaded so that they can be kept. Negative errno with
 * words: nothing of it is in the vault then. */
int deposit_leave(struct vault *vault, const struct model *model, struct err *err);
/* Whether the weights of a model file are offered, and nobody has taken them yet. */
bool deposit_is_offered(struct vault *vault, const char *path);
/* What is in the vault of a loaded model goes. */
void deposit_drop(struct vault *vault, const struct model *model);
/* What is offered and belongs to no model file that is wanted is dropped; what a loader takes at
 * the same time stays. Returns how many models' weights are offered still. */
int deposit_sweep(struct vault *vault, bool (*is_wanted)(void *arg, const char *path), void *arg);
