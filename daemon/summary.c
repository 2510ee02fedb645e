/* SPDX-License-Identifier: MIT */
#include "summary.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "engine/models.h"

static const struct unit {
    double bytes;
    const char *name;
} units[] = {{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}};

static const struct unit *unit_of(double bytes)
{
    const struct unit *unit = units;
    while (bytes < unit->bytes && unit->bytes > 1e3)
        unit++;
    return unit;
}

/* The rate is that of the whole load: after a moment it is steady enough to look ahead by. */
static void add_progress(const struct models_entry *entry, char *text, size_t size)
{
    double done = (double)entry->bytes_done, all = (double)entry->bytes_all;
    const struct unit *unit = unit_of(all);
    int n = snprintf(text, size, ": %.1f of %.1f %s", done / unit->bytes, all / unit->bytes,
                     unit->name);
    if (done <= 0 || entry->load_seconds <= 0)
        return;
    double rate = done / entry->load_seconds, left = all > done ? (all - done) / rate : 0;
    unit = unit_of(rate);
    n += snprintf(text + n, size - (size_t)n, ", %.1f %s/s", rate / unit->bytes, unit->name);
    if (left < 100)
        snprintf(text + n, size - (size_t)n, ", %.0f s left", left);
    else
        snprintf(text + n, size - (size_t)n, ", %.0f min left", left / 60);
}

void summary_add(const struct models_entry *entry, char *line, size_t size)
{
    char progress[128] = "";
    bool loads = entry->state == MODELS_LOADING;
    bool rests = entry->resting && entry->state == MODELS_UNLOADED;
    size_t used = strlen(line);
    if (entry->in_folder && !entry->resting && !models_is_in_memory(entry->state))
        return;
    if (loads && entry->bytes_all > 0)
        add_progress(entry, progress, sizeof progress);
    int n = snprintf(line + used, size - used, "%s%s%s%s%s%s", used ? "; " : "",
                     loads ? "Loading " : "", entry->name, loads ? progress : " ",
                     loads ? "" : models_state_name(entry->state), rests ? " for idleness" : "");
    if (n < 0 || (size_t)n >= size - used)
        line[used] = '\0'; /* rather nothing than a piece of it */
}
