/* SPDX-License-Identifier: MIT
 *
 * Prints moed.conf(5): the words are those of the file that is installed, defaults and ranges come
 * from the table that the parser works by. Run while building; a key that one of them lacks ends
 * the build.
 *
 * usage: conf_page MOED.CONF
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "roff.h"

enum { SECTION_BYTES = 32 };
static char words[8192]; /* of the comment that is being read */
static int n_keys;

static const char *const folders[] = {MOED_CONF_FOLDERS};
static const char description[] =
    "The first of these folders that has a moed.conf gives the main file. The files in "
    "moed.conf.d\n"
    "of all of them are read after it, sorted by their names, and overrule it and each other; of\n"
    "two with one name that in the earlier folder counts, so that an empty one there, or a link "
    "to\n"
    "/dev/null, hides the other. A file for the model NAME, which may have drop-ins of its own in\n"
    "NAME.conf.d, may set keys of [Engine] for this model alone, but for KeepFolder and "
    "KeepBytes.\n"
    "The service of a user's own systemd reads ~/.config/moed alone in the same way.\n"
    "A key that nobody knows is ignored, with a warning that names the nearest one.\n\n"
    "After a change, moectl reload or SIGHUP makes LogLevel, DrainSec and what stands in [Access]\n"
    "count at once and most keys of [Engine] for models that are loaded from then on, and names\n"
    "what needs another start. A configuration with a fault is refused whole.\n\n";

static void die(const char *what, const char *line)
{
    fprintf(stderr, "conf_page: %s: %s\n", what, line);
    exit(EXIT_FAILURE);
}

static void print_facts(const struct config_key *key)
{
    char facts[256] = "Default: nothing.";
    if (*key->standard)
        snprintf(facts, sizeof facts, "Default: %s.", key->standard);
    if (key->kind == CONFIG_INT)
        snprintf(facts + strlen(facts), sizeof facts - strlen(facts), " From %llu to %llu.",
                 (unsigned long long)key->least, (unsigned long long)key->most);
    if (key->option)
        snprintf(facts + strlen(facts), sizeof facts - strlen(facts), " On the command line: --%s.",
                 key->option);
    printf(".IP\n");
    roff_text(stdout, facts);
}

/* "#Key=default" ends the comment that tells of it. */
static void print_key(const char *section, const char *line)
{
    size_t n = strcspn(line, "=");
    for (int i = 0; i < CONFIG_N_KEYS; i++) {
        const struct config_key *key = &config_keys[i];
        if (strcmp(key->section, section) != 0 || strlen(key->key) != n ||
            strncmp(key->key, line, n) != 0)
            continue;
        if (i != n_keys++)
            die("the table has another key here", line);
        printf(".TP\n");
        roff_bold(stdout, key->key);
        printf("=\n");
        roff_text(stdout, words);
        print_facts(key);
        *words = '\0';
        return;
    }
    die("the table has no such key", line);
}

static void take_line(char *line, char *section)
{
    line[strcspn(line, "\n")] = '\0';
    size_t n = strlen(words);
    if (line[0] == '[') {
        line[strcspn(line, "]")] = '\0';
        snprintf(section, SECTION_BYTES, "%.*s", SECTION_BYTES - 1, line + 1);
        char title[64];
        snprintf(title, sizeof title, "[%s] keys", section);
        roff_heading(stdout, title);
    } else if (line[0] == '#' && line[1] && line[1] != ' ') {
        print_key(section, line + 1);
    } else if (line[0] == '#') {
        snprintf(words + n, sizeof words - n, "%s\n", line[1] ? line + 2 : "");
    } else if (*section == '\0' && *words) { /* what the file says of itself */
        puts(".PP");
        roff_text(stdout, words);
        *words = '\0';
    } else {
        *words = '\0';
    }
}

int main(int argc, char **argv)
{
    char line[512], section[SECTION_BYTES] = "";
    FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
    if (!file)
        die("usage", "conf_page MOED.CONF");
    roff_title(stdout, "moed.conf", "5", "File formats");
    roff_heading(stdout, "Name");
    puts("moed.conf \\- settings of the daemon moed");
    roff_heading(stdout, "Synopsis");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        printf(i > 0 ? ".br\n%s/moed.conf\n" : "%s/moed.conf\n", folders[i]);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        printf(".br\n%s/moed.conf.d/*.conf\n", folders[i]);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        printf(".br\n%s/models.d/\\fINAME\\fR.conf\n", folders[i]);
    roff_heading(stdout, "Description");
    roff_text(stdout, description);
    while (fgets(line, sizeof line, file))
        take_line(line, section);
    fclose(file);
    if (n_keys != CONFIG_N_KEYS)
        die("the file lacks a key", config_keys[n_keys].key);
    roff_heading(stdout, "See also");
    roff_text(stdout, "moed(8), moectl(1)");
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
