/* SPDX-License-Identifier: MIT
 *
 * inih splits the lines; what they mean is decided by the table made of config.def.
 */
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/own.h"

const struct config_key config_keys[CONFIG_N_KEYS] = {
#define CONFIG(section_, key_, member_, kind_, least_, most_, standard_, option_, argument_,       \
               words_)                                                                             \
    {.section = #section_,                                                                         \
     .key = #key_,                                                                                 \
     .kind = CONFIG_##kind_,                                                                       \
     .offset = offsetof(struct config, member_),                                                   \
     .least = least_,                                                                              \
     .most = most_,                                                                                \
     .standard = standard_,                                                                        \
     .option = option_,                                                                            \
     .argument = argument_,                                                                        \
     .words = words_},
#include "config.def"
#undef CONFIG
};

static char *copy(const char *text)
{
    char *ret = strdup(text);
    if (!ret)
        abort(); /* sized by a line of the file: at most some hundred bytes */
    return ret;
}

/* ---- values */

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit size_units[] = {{"", 1},           {"K", 1ull << 10}, {"M", 1ull << 20},
                                         {"G", 1ull << 30}, {"T", 1ull << 40}, {0}};
static const struct unit time_units[] = {{"", 1000},     {"ms", 1},      {"s", 1000}, {"sec", 1000},
                                         {"min", 60000}, {"h", 3600000}, {0}};

/* Digits only: strtoull would take a sign and blanks. */
static const char *parse_digits(const char *text, uint64_t *ret)
{
    uint64_t value = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            return NULL;
    *ret = value;
    return c > text ? c : NULL;
}

/* A sum of numbers with units: "64M", "1min 30s". */
static bool parse_units(const char *text, const struct unit *units, uint64_t *ret)
{
    uint64_t sum = 0;
    const char *c = text;
    do {
        uint64_t value;
        c = parse_digits(c, &value);
        if (!c)
            return false;
        size_t length = strcspn(c, "0123456789 ");
        const struct unit *unit = units;
        while (unit->name && (strlen(unit->name) != length || strncmp(unit->name, c, length) != 0))
            unit++;
        if (!unit->name || __builtin_mul_overflow(value, unit->factor, &value) ||
            __builtin_add_overflow(sum, value, &sum))
            return false;
        c += length;
        c += strspn(c, " ");
    } while (*c);
    *ret = sum;
    return true;
}

static int refuse(const struct config_key *key, const char *value, const char *where,
                  const char *expected, struct err *err)
{
    return err_set(err, -EINVAL, "%s: %s=%s: expected %s from %llu to %llu", where, key->key, value,
                   expected, (unsigned long long)key->least, (unsigned long long)key->most);
}

static void list_clear(struct config_list *list)
{
    for (int i = 0; i < list->n; i++) {
        free(list->items[i]);
        free(list->wheres[i]);
    }
    free(list->items);
    free(list->wheres);
    list->items = list->wheres = NULL;
    list->n = 0;
}

/* An empty value empties the list, so that a later file can take back what an earlier one said. */
static int set_list(struct config_list *list, const struct config_key *key, const char *value,
                    enum config_origin origin, const char *where, struct err *err)
{
    size_t length = strlen(value);
    if (length > key->most)
        return refuse(key, value, where, "a text of a length", err);
    if (origin != list->origin || length == 0)
        list_clear(list);
    list->origin = origin;
    if (length == 0)
        return 0;
    size_t bytes = (size_t)(list->n + 1) * sizeof *list->items;
    char **items = realloc(list->items, bytes);
    list->items = items ? items : list->items;
    char **wheres = realloc(list->wheres, bytes);
    list->wheres = wheres ? wheres : list->wheres;
    if (!items || !wheres)
        return err_set(err, -ENOMEM, "%s: no memory for %s", where, key->key);
    list->items[list->n] = copy(value);
    list->wheres[list->n++] = copy(where);
    return 0;
}

static int set_value(struct config *config, const struct config_key *key, const char *value,
                     enum config_origin origin, const char *where, struct err *err)
{
    void *member = (char *)config + key->offset;
    uint64_t number;

    switch (key->kind) {
    case CONFIG_TEXT:
        if (strlen(value) < key->least || strlen(value) > key->most)
            return refuse(key, value, where, "a text of a length", err);
        free(*(char **)member);
        *(char **)member = copy(value);
        return 0;
    case CONFIG_LIST:
        return set_list(member, key, value, origin, where, err);
    case CONFIG_INT: {
        const char *end = parse_digits(value, &number);
        if (!end || *end || number < key->least || number > key->most)
            return refuse(key, value, where, "a number", err);
        *(int *)member = (int)number;
        return 0;
    }
    case CONFIG_SIZE:
        if (!parse_units(value, size_units, &number) || number < key->least || number > key->most)
            return refuse(key, value, where, "bytes (or K, M, G, T)", err);
        *(uint64_t *)member = number;
        return 0;
    case CONFIG_TIME:
        if (!parse_units(value, time_units, &number) || number < key->least || number > key->most)
            return refuse(key, value, where, "a time (ms, s, min, h), in milliseconds", err);
        *(uint64_t *)member = number;
        return 0;
    case CONFIG_LEVEL:
        if (log_level_parse(value, member) < 0)
            return err_set(err, -EINVAL, "%s: %s=%s: expected error, warning, info or debug", where,
                           key->key, value);
        return 0;
    }
    abort();
}

static void forget(struct config_said *said)
{
    free(said->value);
    free(said->where);
    *said = (struct config_said){0};
}

int config_set(struct config *config, const struct config_key *key, const char *value,
               enum config_origin origin, const char *where, struct err *err)
{
    int r = set_value(config, key, value, origin, where, err);
    if (r < 0 || origin == CONFIG_STANDARD)
        return r;
    struct config_said *said = &config->said[key - config_keys];
    forget(said);
    *said = (struct config_said){copy(value), copy(where)};
    return 0;
}

void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        struct err err = {0};
        if (config_set(config, &config_keys[i], config_keys[i].standard, CONFIG_STANDARD, "default",
                       &err) < 0) {
            log_error("config", "%s", err.text); /* a default of config.def is out of its bounds */
            abort();
        }
    }
}

void config_fini(struct config *config)
{
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        void *member = (char *)config + config_keys[i].offset;
        if (config_keys[i].kind == CONFIG_TEXT)
            free(*(char **)member);
        if (config_keys[i].kind == CONFIG_LIST)
            list_clear(member);
        forget(&config->said[i]);
    }
    memset(config, 0, sizeof *config);
}

/* What was taken once is taken again. */
static void say_again(struct config *config, const struct config_key *key, const char *value,
                      enum config_origin origin, const char *where)
{
    if (config_set(config, key, value, origin, where, NULL) < 0)
        abort();
}

void config_copy(const struct config *from, struct config *ret)
{
    config_init(ret);
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        const struct config_said *said = &from->said[i];
        if (!said->value)
            continue;
        if (key->kind != CONFIG_LIST) {
            say_again(ret, key, said->value, CONFIG_FILE, said->where);
            continue;
        }
        const struct config_list *list = (const void *)((const char *)from + key->offset);
        say_again(ret, key, "", list->origin, said->where);
        for (int k = 0; k < list->n; k++)
            say_again(ret, key, list->items[k], list->origin, list->wheres[k]);
    }
    ret->n_unknown = from->n_unknown;
}

bool config_is_same(const struct config *a, const struct config *b, const struct config_key *key)
{
    const char *x = (const char *)a + key->offset, *y = (const char *)b + key->offset;
    switch (key->kind) {
    case CONFIG_TEXT:
        return strcmp(*(char *const *)x, *(char *const *)y) == 0;
    case CONFIG_LIST: {
        const struct config_list *p = (const void *)x, *q = (const void *)y;
        bool is_same = p->n == q->n;
        for (int i = 0; is_same && i < p->n; i++)
            is_same = strcmp(p->items[i], q->items[i]) == 0;
        return is_same;
    }
    case CONFIG_INT:
        return *(const int *)x == *(const int *)y;
    case CONFIG_SIZE:
    case CONFIG_TIME:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    case CONFIG_LEVEL:
        return *(const enum log_level *)x == *(const enum log_level *)y;
    }
    abort();
}

/* ---- files */

struct reader {
    struct config *config;
    const char *path;
    bool of_model; /* it is for one model */
    FILE *file;
    int line;
    struct err err; /* the first one; nothing after it counts */
};

static void fault(struct reader *reader, const char *what)
{
    err_set(&reader->err, -EINVAL, "%s:%d: %s", reader->path, reader->line, what);
}

/* Stands in for fgets: counts lines, which inih does not tell, and refuses what it would take for
 * something else: a long line goes on as the next one, an indented one as the value before. */
static char *read_line(char *dst, int size, void *arg)
{
    struct reader *reader = arg;
    if (reader->err.code)
        return NULL;
    reader->line++;

    int n = 0, c;
    while ((c = getc(reader->file)) != EOF) {
        if (c == '\0') {
            fault(reader, "found a zero byte, expected text");
            return NULL;
        }
        if (n == size - 2 && c != '\n') {
            char what[64];
            snprintf(what, sizeof what, "the line is longer than %d bytes", size - 2);
            fault(reader, what);
            return NULL;
        }
        dst[n++] = (char)c;
        if (c == '\n')
            break;
    }
    if (ferror(reader->file)) {
        err_set(&reader->err, -EIO, "cannot read '%s': %s", reader->path, strerror(errno));
        return NULL;
    }
    if (n == 0)
        return NULL;
    dst[n] = '\0';

    const char *start = dst + strspn(dst, " \t\r\n");
    if (start > dst && *start && !strchr(";#", *start)) {
        fault(reader, "the line starts with a blank, expected a key or a [Section]");
        return NULL;
    }
    return dst;
}

/* How many letters to insert, delete or exchange to make one of the other; case is free. */
static int distance(const char *a, const char *b)
{
    enum { MOST = 64 };
    int row[MOST + 1];
    int n_a = (int)strnlen(a, MOST), n_b = (int)strnlen(b, MOST);
    for (int j = 0; j <= n_b; j++)
        row[j] = j;
    for (int i = 1; i <= n_a; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n_b; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            int change = diagonal + (same ? 0 : 1);
            diagonal = row[j];
            int insert = row[j - 1] + 1, delete = row[j] + 1;
            row[j] = change < insert ? change : insert;
            if (delete < row[j])
                row[j] = delete;
        }
    }
    return row[n_b];
}

static const struct config_key *nearest_key(const char *section, const char *name)
{
    const struct config_key *nearest = config_keys;
    int least = INT_MAX;
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        /* the section decides only between keys that are equally near */
        int d =
            2 * distance(name, config_keys[i].key) + (strcmp(section, config_keys[i].section) != 0);
        if (d < least) {
            least = d;
            nearest = &config_keys[i];
        }
    }
    return nearest;
}

int config_find(const char *name, const struct config_key **ret, struct err *err)
{
    char section[32] = "";
    const char *dot = strchr(name, '.'), *bare = dot ? dot + 1 : name;
    if (dot)
        snprintf(section, sizeof section, "%.*s", (int)(dot - name), name);
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        if (strcmp(config_keys[i].key, bare) != 0 ||
            (dot && strcmp(config_keys[i].section, section) != 0))
            continue;
        *ret = &config_keys[i];
        return 0;
    }
    const struct config_key *nearest = nearest_key(section, bare);
    return err_set(err, -ENOENT, "there is no key '%s'; the nearest is %s.%s", name,
                   nearest->section, nearest->key);
}

/* What a folder of kept talks is, and what all share, is decided once for all models. */
static bool is_of_model(const struct config_key *key)
{
    return strcmp(key->section, "Engine") == 0 && strcmp(key->key, "KeepFolder") != 0 &&
           strcmp(key->key, "KeepBytes") != 0 && strcmp(key->key, "SharedPrompt") != 0;
}

static int take_value(void *arg, const char *section, const char *name, const char *value)
{
    struct reader *reader = arg;
    if (reader->err.code)
        return 0;
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(key->section, section) != 0 || strcmp(key->key, name) != 0)
            continue;
        if (reader->of_model && !is_of_model(key)) {
            log_about(LOG_LEVEL_WARNING, "config", LOG_ABOUT(.event = EVENT_CONFIG_IGNORED),
                      "%s:%d: key [%s] %s is not for one model and ignored", reader->path,
                      reader->line, section, name);
            reader->config->n_unknown++;
            return 1;
        }
        char where[PATH_MAX + 16];
        snprintf(where, sizeof where, "%s:%d", reader->path, reader->line);
        return config_set(reader->config, key, value, CONFIG_FILE, where, &reader->err) == 0;
    }
    const struct config_key *nearest = nearest_key(section, name);
    log_about(LOG_LEVEL_WARNING, "config", LOG_ABOUT(.event = EVENT_CONFIG_IGNORED),
              "%s:%d: unknown key [%s] %s is ignored; the nearest is [%s] %s", reader->path,
              reader->line, section, name, nearest->section, nearest->key);
    reader->config->n_unknown++;
    return 1;
}

static int read_file(struct config *config, const char *path, bool of_model, struct err *err)
{
    struct reader reader = {
        .config = config, .path = path, .of_model = of_model, .file = fopen(path, "re")};
    if (!reader.file)
        return err_set(err, -errno, "cannot open '%s': %s", path, strerror(errno));
    int r = ini_parse_stream(read_line, &reader, take_value, &reader);
    fclose(reader.file);
    /* inih gives the number of the first line that failed and goes on: the earlier fault counts */
    if (r > 0 && (!reader.err.code || r < reader.line))
        return err_set(err, -EINVAL, "%s:%d: expected Key=value or [Section]", path, r);
    if (reader.err.code)
        return err_set(err, reader.err.code, "%s", reader.err.text);
    if (r < 0)
        return err_set(err, -ENOMEM, "%s: no memory to read it", path);
    return 0;
}

int config_read(struct config *config, const char *path, struct err *err)
{
    return read_file(config, path, false, err);
}

int config_read_model(struct config *config, const char *path, struct err *err)
{
    return read_file(config, path, true, err);
}
