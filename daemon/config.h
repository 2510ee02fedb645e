/* SPDX-License-Identifier: MIT
 *
 * The configuration: defaults, then files (sources.h), then options of the command line.
 *
 * Main thread, before anything else starts. The keys are the rows of config.def; a value out of
 * its bounds is an error, a key nobody knows a warning that names the nearest one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

enum config_kind { CONFIG_TEXT, CONFIG_LIST, CONFIG_INT, CONFIG_SIZE, CONFIG_TIME, CONFIG_LEVEL };
/* A later origin overrules an earlier one; for a list this means: replaces all of it. */
enum config_origin { CONFIG_STANDARD, CONFIG_FILE, CONFIG_OPTION };

struct config_list {
    char **items, **wheres; /* an item, and where it was said */
    int n;
    enum config_origin origin;
};

#define CONFIG_C_TEXT  char * /* never NULL; "" if none was given */
#define CONFIG_C_LIST  struct config_list
#define CONFIG_C_INT   int
#define CONFIG_C_SIZE  uint64_t
#define CONFIG_C_TIME  uint64_t
#define CONFIG_C_LEVEL enum log_level

enum {
    CONFIG_N_KEYS = 0
#define CONFIG(...) +1
#include "config.def"
#undef CONFIG
};

struct config_said {     /* as it was written, and where: "/etc/moed/moed.conf:7", "--threads" */
    char *value, *where; /* NULL: nowhere */
};
struct config {
#define CONFIG(section, key, member, kind, ...) CONFIG_C_##kind member;
#include "config.def"
#undef CONFIG
    struct config_said said[CONFIG_N_KEYS]; /* last, of each row */
    int n_unknown;                          /* keys that nobody knows */
};

struct config_key {
    const char *section, *key;
    enum config_kind kind;
    size_t offset; /* of the member in struct config */
    uint64_t least, most;
    const char *standard;
    const char *option, *argument; /* NULL: in the file only */
    const char *words;
};
extern const struct config_key config_keys[CONFIG_N_KEYS];

void config_init(struct config *config); /* all defaults */
void config_fini(struct config *config);

/**
 * Read a file over what is there.
 *
 *   fails   -ENOENT and its like, if it can't be read; -EINVAL for a line that isn't
 *           understood or a value out of bounds, with words naming file, line and key
 */
int config_read(struct config *config, const char *path, struct err *err);
/* The same of a file that is for one model: other keys than those of [Engine] that may differ from
 * model to model get a warning and are ignored. */
int config_read_model(struct config *config, const char *path, struct err *err);
/* Sets one key; `where` stands in front of the words of an error: "file:7", "--threads". */
int config_set(struct config *config, const struct config_key *key, const char *value,
               enum config_origin origin, const char *where, struct err *err);
/* What was said of one, again. */
void config_copy(const struct config *from, struct config *ret);

/* By "Key" or "Section.Key"; -ENOENT with words that name the nearest. */
int config_find(const char *name, const struct config_key **ret, struct err *err);
/* Whether a key has the same value in both. */
bool config_is_same(const struct config *a, const struct config *b, const struct config_key *key);
