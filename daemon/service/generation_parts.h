/* SPDX-License-Identifier: MIT
 *
 * What a generation is made of, for generation.c and telling.c alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/sched.h"
#include "moed/v1/generate.pb-c.h"
#include "service/generation.h"
#include "service/voice.h"

struct call;
struct engine;
struct hub;
struct turn;

struct generation {
    struct generation *next; /* hub->generations; until all answers are over */
    struct hub *hub;
    struct call *call; /* NULL: nobody reads any more */
    struct engine *engine;
    int entry;
    uint32_t uid;
    uint64_t started_ms;
    uint8_t id[GENERATION_ID_BYTES];
    char *model;
    char **stops;
    int n_stops;
    struct turn *turn; /* NULL: in no session; else there is one answer */

    int32_t *prompt; /* of the first event, if asked for */
    int n_prompt;
    uint64_t seq;
    bool is_started; /* the first event is out */
    enum sched_class class;
    bool is_reading; /* there is news of how far the prompt is: */
    int n_read;
    uint64_t left_ns;
    bool is_paused;
    int stop_code; /* why we stopped it; 0: we did not */
    Moed__V1__Finish stop_finish;
    const char *stop_words;

    /* The engine has them in order: the first reads the prompt, then the others know it. */
    int n_answers, n_submitted, n_over;
    int n_asked, n_told; /* the best of them */
    int n_tokens;
    struct voice voice[];
};
