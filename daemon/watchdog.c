/* SPDX-License-Identifier: MIT */
#include "watchdog.h"

#include <stdlib.h>

#include "base/log.h"
#include "engine/models.h"

struct watchdog_seen {
    const struct engine *engine;
    struct engine_pulse pulse;
};

/* False: no memory. */
static bool make_room(struct watchdog *w, int n)
{
    if (n <= w->n)
        return true;
    struct watchdog_seen *more = reallocarray(w->seen, (size_t)n, sizeof *more);
    if (!more)
        return false;
    for (w->seen = more; w->n < n; w->n++)
        more[w->n] = (struct watchdog_seen){0};
    return true;
}

static bool is_stuck(struct watchdog_seen *seen, const struct models_entry *entry)
{
    struct watchdog_seen now = {.engine = entry->engine};
    if (now.engine)
        engine_pulse(now.engine, &now.pulse);
    bool stuck = now.engine && now.engine == seen->engine && now.pulse.works && seen->pulse.works &&
                 now.pulse.beat == seen->pulse.beat;
    *seen = now;
    return stuck;
}

bool watchdog_look(struct watchdog *w, struct models *models)
{
    int n = models_count(models), n_stuck = 0;
    if (!make_room(w, n))
        return true;
    for (int i = 0; i < n; i++) {
        const struct models_entry *entry = models_at(models, i);
        if (!is_stuck(&w->seen[i], entry))
            continue;
        n_stuck++;
        if (!w->is_told)
            log_about(LOG_LEVEL_ERROR, "main",
                      LOG_ABOUT(.event = EVENT_MODEL_HANGS, .model = entry->name),
                      "model '%s' has work and does not get on with it", entry->name);
    }
    w->is_told = n_stuck > 0;
    return n_stuck == 0;
}

void watchdog_fini(struct watchdog *w)
{
    free(w->seen);
    *w = (struct watchdog){0};
}
