/* SPDX-License-Identifier: MIT
 *
 * The log: a room, a sentence, no newline. Rooms below engine/ return errors and do not log.
 *
 * Any thread; one system call a line, so lines never mix. The sink is stderr, each line with time
 * and level. Where the journal reads that, a line goes to journald with its fields: MESSAGE_ID=,
 * SEQ=, PEER=, MODEL=, ROOM=, and LOST=, how many lines found no room there before it; to stderr
 * with "<n>" in front where nobody takes it. Control bytes are escaped, length is bounded, prompts
 * and answers are never logged.
 *
 *     log_info("engine", "%d pages are free", n);
 *     log_about(LOG_LEVEL_INFO, "models", LOG_ABOUT(.event = EVENT_MODEL_READY, .model = name),
 *               "model '%s' ready in %.1f s", name, seconds);
 */
#pragma once

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* error: something asked for did not happen. warning: we went on, and this is how. */
#define log_error(room, ...)   log_write(LOG_LEVEL_ERROR, room, __VA_ARGS__)
#define log_warning(room, ...) log_write(LOG_LEVEL_WARNING, room, __VA_ARGS__)
#define log_info(room, ...)    log_write(LOG_LEVEL_INFO, room, __VA_ARGS__)
#define log_debug(room, ...)   log_write(LOG_LEVEL_DEBUG, room, __VA_ARGS__)

void log_write(enum log_level level, const char *room, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

enum event {
    EVENT_NONE,
#define EVENT(name, id) EVENT_##name,
#include "base/event.def"
#undef EVENT
    N_EVENTS
};

/* What a line is about, for who searches the journal; what is 0 is left out. */
struct log_facts {
    enum event event;
    uint64_t seq;         /* the engine's number of a request */
    const uint32_t *peer; /* whose it is: a uid */
    const char *model;
};
#define LOG_ABOUT(...) (&(const struct log_facts){__VA_ARGS__})

void log_about(enum log_level level, const char *room, const struct log_facts *about,
               const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The MESSAGE_ID of an event in the journal; NULL for none. */
const char *log_event_id(enum event event);

/* Where journald listens, for a test's own; before the first line. */
void log_set_journal(const char *path);
/* The most detailed level written; info at start. Any thread. */
void log_set_level(enum log_level level);
/* "error" … "debug"; -EINVAL for anything else. */
int log_level_parse(const char *name, enum log_level *ret);
