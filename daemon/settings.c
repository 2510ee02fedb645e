/* SPDX-License-Identifier: MIT
 *
 * A drop-in is read as any file, and written anew from what it said.
 */
#include "settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/own.h"
#include "config.h"

static const struct config_list *list_of(const struct config *config, const struct config_key *key)
{
    return (const void *)((const char *)config + key->offset);
}

static const char *value_of(const struct config *config, const struct config_key *key)
{
    const char *said = config->said[key - config_keys].value;
    return said ? said : key->standard;
}

static const char *where_of(const struct config *config, const struct config_key *key)
{
    const char *said = config->said[key - config_keys].where;
    return said ? said : "default";
}

/* ---- showing */
static void print_word(FILE *file, const char *name, const char *text)
{
    fprintf(file, "\"%s\":\"", name);
    for (const char *c = text; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 0x20)
            fprintf(file, "\\u%04x", (unsigned char)*c);
        else
            putc(*c, file);
    putc('"', file);
}

static void print_json(const struct config *config, const struct config_key *key, FILE *file)
{
    putc('{', file);
    print_word(file, "section", key->section);
    putc(',', file);
    print_word(file, "key", key->key);
    putc(',', file);
    if (key->kind == CONFIG_LIST) {
        const struct config_list *list = list_of(config, key);
        fputs("\"values\":[", file);
        for (int i = 0; i < list->n; i++) {
            fputs(i > 0 ? ",{" : "{", file);
            print_word(file, "value", list->items[i]);
            putc(',', file);
            print_word(file, "where", list->wheres[i]);
            putc('}', file);
        }
        fputs("],", file);
    } else {
        print_word(file, "value", value_of(config, key));
        putc(',', file);
    }
    print_word(file, "where", where_of(config, key));
    fputs("}\n", file);
}

static void print_lines(const struct config *config, const struct config_key *key, FILE *file)
{
    const struct config_list *list = list_of(config, key);
    if (key->kind != CONFIG_LIST || list->n == 0) {
        const char *value = key->kind == CONFIG_LIST ? "" : value_of(config, key);
        fprintf(file, "# %s\n%s=%s\n", where_of(config, key), key->key, value);
        return;
    }
    for (int i = 0; i < list->n; i++)
        fprintf(file, "# %s\n%s=%s\n", list->wheres[i], key->key, list->items[i]);
}

void settings_print(const struct config *config, bool json, FILE *file)
{
    const char *section = "";
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (json) {
            print_json(config, key, file);
            continue;
        }
        if (strcmp(section, key->section) != 0)
            fprintf(file, "%s[%s]\n", *section ? "\n" : "", key->section);
        section = key->section;
        print_lines(config, key, file);
    }
}

void settings_print_key(const struct config *config, const struct config_key *key, bool json,
                        FILE *file, FILE *where)
{
    const struct config_list *list = list_of(config, key);
    if (json) {
        print_json(config, key, file);
        return;
    }
    if (key->kind != CONFIG_LIST) {
        fprintf(file, "%s\n", value_of(config, key));
        fprintf(where, "from %s\n", where_of(config, key));
        return;
    }
    for (int i = 0; i < list->n; i++) {
        fprintf(file, "%s\n", list->items[i]);
        fprintf(where, "from %s\n", list->wheres[i]);
    }
}

/* ---- changing */
static void print_drop_in(const struct config *config, FILE *file)
{
    const char *section = "";
    fputs("# Written by moectl config set; it may be changed and deleted like any other.\n", file);
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (!config->said[i].value)
            continue;
        if (strcmp(section, key->section) != 0)
            fprintf(file, "\n[%s]\n", key->section);
        section = key->section;
        if (key->kind != CONFIG_LIST) {
            fprintf(file, "%s=%s\n", key->key, config->said[i].value);
            continue;
        }
        const struct config_list *list = list_of(config, key);
        fprintf(file, "%s=\n", key->key); /* in the place of what other files said */
        for (int k = 0; k < list->n; k++)
            fprintf(file, "%s=%s\n", key->key, list->items[k]);
    }
}

/* What is read back must be what was meant: a file has no way to say some things. */
static int check_written(const char *path, const struct config *meant, struct err *err)
{
    struct config found;
    config_init(&found);
    int r = config_read(&found, path, err);
    for (int i = 0; r == 0 && i < CONFIG_N_KEYS; i++)
        if (!config_is_same(&found, meant, &config_keys[i]))
            r = err_set(err, -EINVAL,
                        "%s: a file cannot hold this value: no newline, no blanks around it, and "
                        "no ' ;' in it",
                        config_keys[i].key);
    config_fini(&found);
    return r;
}

static int write_file(const char *path, const struct config *config, struct err *err)
{
    OWN_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!file)
        return err_set(err, -errno, "cannot make '%s': %s", path, strerror(errno));
    fd = -1; /* the stream's */
    print_drop_in(config, file);
    /* Whatever the umask of who asked: the daemon's user must be able to read it. */
    bool is_written =
        fflush(file) == 0 && fchmod(fileno(file), 0644) == 0 && fsync(fileno(file)) == 0;
    int error = errno;
    fclose(file);
    return is_written ? 0 : err_set(err, -error, "cannot write '%s': %s", path, strerror(error));
}

static int make_folder(const char *path, struct err *err)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    for (char *end = folder; end;) {
        end = strchr(end + 1, '/');
        if (end)
            *end = '\0';
        int r = mkdir(folder, 0755);
        if (r == 0)
            chmod(folder, 0755); /* whatever the umask */
        else if (!end && errno != EEXIST)
            return err_set(err, -errno, "cannot make '%s': %s", folder, strerror(errno));
        if (end)
            *end = '/';
    }
    return 0;
}

static int replace(const char *path, const struct config *config, struct err *err)
{
    char draft[PATH_MAX];
    if ((size_t)snprintf(draft, sizeof draft, "%s.new", path) >= sizeof draft)
        return err_set(err, -ENAMETOOLONG, "'%s' is too long a name", path);
    int r = make_folder(path, err);
    if (r < 0)
        return r;
    unlink(draft); /* of one that was interrupted */
    r = write_file(draft, config, err);
    if (r == 0)
        r = check_written(draft, config, err);
    if (r == 0 && rename(draft, path) < 0)
        r = err_set(err, -errno, "cannot rename '%s': %s", draft, strerror(errno));
    if (r < 0)
        unlink(draft);
    return r;
}

int settings_write(const char *path, const struct config_key *key, const char *value,
                   struct err *err)
{
    struct config config;
    config_init(&config);
    int r = access(path, F_OK) == 0 ? config_read(&config, path, err) : 0;
    if (r == 0 && key->kind == CONFIG_LIST)
        r = config_set(&config, key, "", CONFIG_FILE, path, err);
    if (r == 0)
        r = config_set(&config, key, value, CONFIG_FILE, "the new value", err);
    if (r == 0)
        r = replace(path, &config, err);
    config_fini(&config);
    return r;
}
