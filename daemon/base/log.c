/* SPDX-License-Identifier: MIT
 *
 * A line is put together on the caller's stack and leaves by one system call: no lock, no
 * allocation.
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/journal.h"

enum {
    SENTENCE_BYTES = 1024, /* before escaping; a longer sentence ends in "…" */
    HEAD_BYTES = 128,
    LINE_BYTES = HEAD_BYTES + 4 * SENTENCE_BYTES + 8,
    PREFIX_BYTES = 3, /* "<6>" */
    NAME_BYTES = 256, /* of a model, before escaping */
};

static const struct {
    const char *name;
    int priority; /* of syslog(3), in the journal's "<n>" prefix */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARNING] = {"warning", 4},
    [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};
enum { N_LEVELS = sizeof levels / sizeof *levels };

static _Atomic enum log_level max_level = LOG_LEVEL_INFO;
static bool to_journal;
static int journal_fd = -1; /* never closed: any thread may log until the process is gone */
static const char *journal_path = "/run/systemd/journal/socket";
static _Atomic unsigned n_lost; /* lines that journald had no room for */
static pthread_once_t sink_once = PTHREAD_ONCE_INIT;

/* systemd names device and inode of the stream it reads, so a redirected stderr is told apart. */
static void find_sink(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    to_journal = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                 fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
    if (to_journal)
        journal_fd = journal_open();
}

/* "2026-01-31T12:00:00.123Z info    engine: " or "<6>engine: ". */
static size_t put_head(char *dst, enum log_level level, const char *room)
{
    int n;
    if (to_journal) {
        n = snprintf(dst, HEAD_BYTES, "<%d>%s: ", levels[level].priority, room);
    } else {
        struct timespec now;
        struct tm utc;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &utc);
        size_t used = strftime(dst, HEAD_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
        n = (int)used + snprintf(dst + used, HEAD_BYTES - used,
                                 ".%03ldZ %-7s %s: ", now.tv_nsec / 1000000, levels[level].name,
                                 room);
    }
    return n < HEAD_BYTES ? (size_t)n : HEAD_BYTES - 1;
}

/* Names in a sentence may come from files and clients: no byte of theirs may steer a terminal or
 * forge a line. The C1 controls (U+0080 … U+009F) do as much harm as those of ASCII. */
static size_t put_escaped(char *dst, const unsigned char *text)
{
    size_t n = 0;
    for (const unsigned char *c = text; *c; c++) {
        bool c1 = *c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f;
        if (*c < 0x20 || *c == 0x7f || c1)
            n += (size_t)sprintf(dst + n, "\\x%02x", c1 ? *++c : *c);
        else
            dst[n++] = (char)*c;
    }
    return n;
}

/* A sentence cut by its bound may end inside a character; start of the cut-off one. */
static size_t whole_characters(const char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    return start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0xc0 ? start - 1 : length;
}

/* One try: a journald with a backlog must hold nobody up. What it did not take is counted in its
 * next line. */
static int to_journald(enum log_level level, const char *room, const struct log_facts *about,
                       const char *message)
{
    char priority[16], seq[24], peer[16], lost[16], model[4 * NAME_BYTES + 1] = "";
    unsigned before = atomic_exchange(&n_lost, 0);
    snprintf(priority, sizeof priority, "%d", levels[level].priority);
    snprintf(seq, sizeof seq, "%llu", (unsigned long long)about->seq);
    snprintf(peer, sizeof peer, "%u", about->peer ? *about->peer : 0);
    snprintf(lost, sizeof lost, "%u", before);
    if (about->model) {
        char name[NAME_BYTES];
        int length = snprintf(name, sizeof name, "%s", about->model);
        if (length >= (int)sizeof name)
            name[whole_characters(name, sizeof name - 1)] = '\0';
        model[put_escaped(model, (const unsigned char *)name)] = '\0';
    }
    const struct journal_field field[] = {
        {"MESSAGE", message},
        {"MESSAGE_ID", log_event_id(about->event)},
        {"PRIORITY", priority},
        {"SYSLOG_IDENTIFIER", "moed"},
        {"ROOM", room},
        {"SEQ", about->seq ? seq : NULL},
        {"PEER", about->peer ? peer : NULL},
        {"MODEL", *model ? model : NULL},
        {"LOST", before ? lost : NULL},
    };
    int r = journal_send(journal_fd, journal_path, field, sizeof field / sizeof *field);
    if (r < 0)
        atomic_fetch_add(&n_lost, before + (r == -EAGAIN));
    return r;
}

static void write_line(enum log_level level, const char *room, const struct log_facts *about,
                       const char *fmt, va_list args)
{
    if (level > max_level)
        return;
    int saved = errno;
    pthread_once(&sink_once, find_sink);

    char sentence[SENTENCE_BYTES];
    int length = vsnprintf(sentence, sizeof sentence, fmt, args);
    bool cut = length >= (int)sizeof sentence;
    if (cut)
        sentence[whole_characters(sentence, sizeof sentence - 1)] = '\0';

    char line[LINE_BYTES];
    size_t head = put_head(line, level, room);
    size_t n = head + put_escaped(line + head, (const unsigned char *)sentence);
    n += (size_t)sprintf(line + n, "%s", cut ? "…" : "");
    int r = journal_fd >= 0 ? to_journald(level, room, about, line + PREFIX_BYTES) : -EBADF;
    if (r < 0 && r != -EAGAIN) {
        line[n++] = '\n';
        /* One try: a full or closed stderr must hold nobody up. */
        ssize_t written = write(STDERR_FILENO, line, n);
        (void)written;
    }
    errno = saved;
}

void log_write(enum log_level level, const char *room, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    write_line(level, room, LOG_ABOUT(.event = EVENT_NONE), fmt, args);
    va_end(args);
}

void log_about(enum log_level level, const char *room, const struct log_facts *about,
               const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    write_line(level, room, about, fmt, args);
    va_end(args);
}

const char *log_event_id(enum event event)
{
    static const char *const id[N_EVENTS] = {
#define EVENT(name, id) [EVENT_##name] = id,
#include "base/event.def"
#undef EVENT
    };
    return id[event];
}

void log_set_journal(const char *path)
{
    journal_path = path;
}

void log_set_level(enum log_level level)
{
    max_level = level;
}

int log_level_parse(const char *name, enum log_level *ret)
{
    for (int i = 0; i < N_LEVELS; i++)
        if (strcmp(name, levels[i].name) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    return -EINVAL;
}
