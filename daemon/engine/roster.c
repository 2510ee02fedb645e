/* SPDX-License-Identifier: MIT */
#include "engine/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/own.h"

void known_free(struct known *known)
{
    if (!known)
        return;
    residence_fini(&known->residence);
    model_close(known->model);
    found_fini(&known->found);
    found_fini(&known->next);
    free(known);
}

void known_set_state(struct known *known, enum models_state state)
{
    known->entry.state = state;
    known->entry.generation++;
}

bool known_is_in_memory(const struct known *known)
{
    return models_is_in_memory(known->entry.state);
}

void known_warn(const struct known *known)
{
    const struct hparams *hp = model_hparams(known->model);
    if (hp && hp->warn_no_mscale)
        log_warning(
            "models",
            "model '%s': YaRN without key yarn_log_multiplier, so attention is not rescaled",
            known->entry.name);
}

void roster_fini(struct roster *roster)
{
    for (int i = 0; i < roster->n; i++)
        known_free(roster->at[i]);
    free(roster->at);
    *roster = (struct roster){0};
}

int roster_enter(struct roster *roster, struct known **known)
{
    struct known **more = reallocarray(roster->at, (size_t)roster->n + 1, sizeof *more);
    if (!more)
        return -ENOMEM;
    roster->at = more;
    roster->at[roster->n++] = TAKE(*known);
    return 0;
}

struct known *roster_find(const struct roster *roster, const char *name)
{
    for (int i = 0; i < roster->n; i++)
        if (!strcmp(roster->at[i]->entry.name, name))
            return roster->at[i];
    return NULL;
}
