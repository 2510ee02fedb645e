/* SPDX-License-Identifier: MIT */
#include "engine/pass.h"

#include <time.h>

#include "engine/engine.h"
#include "engine/sched.h"
#include "model/forward.h"

static int most(int a, int b)
{
    return a > b ? a : b;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

struct pass_size pass_size(const struct engine_config *config, enum track track)
{
    int answers = config->max_sequences;
    if (track == TRACK_ANSWERS)
        return (struct pass_size){.rows = answers, .wanted = answers};
    int rows = track == TRACK_SHORT ? least(config->step_rows, SCHED_SHORT_ROWS)
                                    : most(config->step_rows, answers);
    return (struct pass_size){.rows = rows, .wanted = SCHED_READERS + ENGINE_PROMPT_ROWS};
}

uint64_t pass_beside_bytes(const struct engine_config *config, const struct model *model)
{
    uint64_t bytes = 0;
    for (enum track track = 0; track < N_TRACKS; track++) {
        struct pass_size size = pass_size(config, track);
        if (track != TRACK_LONG)
            bytes += forward_beside_bytes(model, size.rows, size.wanted);
    }
    return bytes;
}

static int open_one(struct pass pass[N_TRACKS], enum track track,
                    const struct engine_config *config, const struct model *model, struct err *err)
{
    struct pass_size size = pass_size(config, track);
    struct pass *p = &pass[track];
    if (batch_init(&p->batch, size.rows) < 0)
        return err_set(err, -ENOMEM, "no memory for a batch of %d rows", size.rows);
    if (track == TRACK_LONG)
        return forward_new(model, size.rows, size.wanted, &p->forward, err);
    return forward_beside(pass[TRACK_LONG].forward, model, size.rows, size.wanted, &p->forward,
                          err);
}

int passes_open(struct pass pass[N_TRACKS], const struct engine_config *config,
                const struct model *model, struct err *err)
{
    int r = open_one(pass, TRACK_LONG, config, model, err);
    for (enum track track = 0; r == 0 && track < N_TRACKS; track++)
        if (track != TRACK_LONG)
            r = open_one(pass, track, config, model, err);
    return r;
}

void passes_close(struct pass pass[N_TRACKS])
{
    for (enum track track = 0; track < N_TRACKS; track++) {
        forward_free(pass[track].forward);
        batch_fini(&pass[track].batch);
    }
}

void pass_start(struct pass *p, uint64_t now_ns)
{
    p->is_on = true;
    p->n_over = 0;
    p->start_ns = now_ns;
    p->ns = 0;
    forward_begin(p->forward, &p->batch.rows);
}

bool pass_go_on(struct pass *p, uint64_t now_ns, uint64_t *ns)
{
    struct timespec t;
    bool is_done = forward_go_on(p->forward);
    clock_gettime(CLOCK_MONOTONIC, &t);
    *ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - now_ns;
    p->ns += *ns;
    return is_done;
}
