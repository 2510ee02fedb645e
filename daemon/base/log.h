/* SPDX-License-Identifier: MIT
 *
 * The log: a room, a sentence, no newline. Rooms below engine/ return errors and do not log.
 *
 * Any thread; one write(2) a line, so lines never mix. The sink is stderr: with systemd's "<n>"
 * prefixes when the journal reads it, else with time and level. Control bytes are escaped, length
 * is bounded, prompts and answers are never logged.
 *
 *     log_info("engine", "model '%s' ready in %.1f s", name, seconds);
 */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* error: something asked for did not happen. warning: we went on, and this is how. */
#define log_error(room, ...)   log_write(LOG_LEVEL_ERROR, room, __VA_ARGS__)
#define log_warning(room, ...) log_write(LOG_LEVEL_WARNING, room, __VA_ARGS__)
#define log_info(room, ...)    log_write(LOG_LEVEL_INFO, room, __VA_ARGS__)
#define log_debug(room, ...)   log_write(LOG_LEVEL_DEBUG, room, __VA_ARGS__)

void log_write(enum log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The most detailed level written; info at start. Any thread. */
void log_set_level(enum log_level level);
/* "error" … "debug"; -EINVAL for anything else. */
int log_level_parse(const char *name, enum log_level *ret);
