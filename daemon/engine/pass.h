/* SPDX-License-Identifier: MIT
 *
 * A step of one track as it passes through the model, op by op: who has rows in it, and the model's
 * buffers for them.
 *
 * Owned by the engine's thread; all room is asked for once.
 */
#pragma once

#include "base/err.h"
#include "engine/batch.h"
#include "engine/pace.h"

struct engine_config;
struct forward;
struct model;

struct pass {
    struct forward *forward;
    struct batch batch;
    bool is_on;        /* a step is under way */
    int n_over;        /* of its sequences: their ends were told meanwhile */
    uint64_t start_ns; /* when it began */
    uint64_t ns;       /* that its ops have taken so far */
};

/* How large steps of a track get, and how many logits are asked for. */
struct pass_size {
    int rows, wanted;
};
struct pass_size pass_size(const struct engine_config *config, enum track track);
/* Bytes of what lies beside the program of TRACK_LONG, whose steps are the largest. */
uint64_t pass_beside_bytes(const struct engine_config *config, const struct model *model);

int passes_open(struct pass pass[N_TRACKS], const struct engine_config *config,
                const struct model *model, struct err *err);
void passes_close(struct pass pass[N_TRACKS]);

/* The batch is whole. */
void pass_start(struct pass *pass, uint64_t now_ns);
/* Runs an op, from now_ns on, and says how long it took; true: the step is done. */
bool pass_go_on(struct pass *pass, uint64_t now_ns, uint64_t *ns);
