/* SPDX-License-Identifier: MIT
 *
 * What the files of this room see of an open model besides model.h.
 */
#pragma once

#include "model/arch.h"
#include "model/weights.h"

struct model;

const struct arch *model_arch(const struct model *model);
const struct plan *model_plan(const struct model *model);
const struct loaded *model_loaded(const struct model *model); /* place NULL: not loaded */

struct loaded *model_weights(struct model *model);

/* The model has its weights in memory that is there already; takes spread and sums on success.
 * -EEXIST it has some, -ENOMEM; with words. */
int model_bind(struct model *model, struct place *place, struct spread *spread, struct sums *sums,
               struct err *err);
