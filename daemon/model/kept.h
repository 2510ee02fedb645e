/* SPDX-License-Identifier: MIT
 *
 * Weights that outlive the process: blocks of sealed memory, and a manifest that says what is in
 * them. A later process takes them over instead of reading the file, or not at all.
 *
 * On the loader's thread. Who holds the descriptors meanwhile is the engine room's business.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "place/topo.h"

struct model;
struct place;

/* Bytes that a manifest may have: those of the largest model known are below a megabyte. */
enum { KEPT_MOST_BYTES = 64 << 20 };

/* Like model_load(), into memory that can be kept; sealed when it is in, and summed. */
int model_load_kept(struct model *model, struct place *place,
                    bool (*progress)(void *arg, uint64_t done, uint64_t all), void *arg,
                    struct err *err);
/**
 * What to hand to whoever keeps it, of a model that was loaded so.
 *
 *   manifest  a descriptor of the caller's from now on
 *   block     [TOPO_MAX_NODES] the model's
 *   returns   how many blocks, or negative errno with words
 */
int model_keep(const struct model *model, int *manifest, int *block, struct err *err);

/* A manifest that somebody handed over: how many blocks belong to it. Negative errno with words if
 * it is none, or a broken one. */
int kept_blocks(int manifest, struct err *err);
/* The path of the model's file when it was loaded, to be freed; negative errno. */
int kept_path(int manifest, char **ret);

/**
 * Take weights over instead of loading them. A sample of their checksums is compared at once.
 *
 *   block   [n_blocks], all borrowed, as is the manifest
 *   fails   -ESTALE   they are of another file, another place or another way of packing
 *           -EBADMSG  a checksum is wrong
 *           and what sealed_map() says, with words. Nothing is kept then.
 */
int model_adopt(struct model *model, struct place *place, int manifest, const int *block,
                int n_blocks, struct err *err);
/* Whether its weights were taken over; false of one that is not loaded. */
bool model_is_adopted(const struct model *model);
/* Which matrix `i` of its checksums is: "matrix 17 of 'blk.3.ffn_up_exps.weight'". */
void model_matrix_words(const struct model *model, int i, char *dst, size_t size);
/**
 * Read a matrix whose checksum is wrong from the file again, to memory of this process that covers
 * what was sealed.
 *
 *   thread  any but one that mends too; the engine may compute with it meanwhile
 *   fails   -ESTALE  the file is not what it was; -ENOMEM; and what reading says; with words
 */
int model_mend(struct model *model, int i, struct err *err);
/* Bytes of sealed memory, and how many blocks; 0: its weights end with the process. */
uint64_t model_kept_bytes(const struct model *model);
int model_kept_blocks(const struct model *model);
