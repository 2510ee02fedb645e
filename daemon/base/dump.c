/* SPDX-License-Identifier: MIT
 *
 * All of it runs in signal handlers: no lock, no allocation, no stdio. Who dies asks the others one
 * by one, so that their lines do not mix, and waits for none of them long.
 */
#include "base/dump.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    FRAMES = 48,
    PATIENCE_MS = 100, /* with a thread that does not answer */
    MOST_MS = 5000,    /* with all of them */
};

static atomic_int asked; /* the thread that is to tell, 0: none */
static atomic_bool is_dying;

/* ------------------------------------------------------------------ words */

struct line {
    char text[128];
    size_t n;
};

static void add(struct line *line, const char *words)
{
    while (*words && line->n < sizeof line->text - 1)
        line->text[line->n++] = *words++;
}

static void add_number(struct line *line, int n)
{
    char digits[16];
    int i = sizeof digits;
    digits[--i] = '\0';
    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0 && i > 0);
    add(line, digits + i);
}

static void put(struct line *line)
{
    line->text[line->n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line->text, line->n);
    (void)ignored;
}

/* The name that tools show: ours, from thread_start(). */
static void add_name(struct line *line, int tid)
{
    struct line path = {.n = 0};
    char name[17] = "";
    add(&path, "/proc/self/task/");
    add_number(&path, tid);
    add(&path, "/comm");
    path.text[path.n] = '\0';
    int fd = open(path.text, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
    if (fd >= 0)
        close(fd);
    name[n > 0 ? n - 1 : 0] = '\0'; /* without the newline */
    add(line, name);
}

static void tell_stack(int tid)
{
    void *frame[FRAMES];
    struct line line = {.n = 0};
    int n = backtrace(frame, FRAMES);
    add(&line, "stack of thread ");
    add_number(&line, tid);
    add(&line, " (");
    add_name(&line, tid);
    add(&line, "):");
    put(&line);
    backtrace_symbols_fd(frame, n, STDERR_FILENO);
}

/* ------------------------------------------------------------------ signals */

static void on_asked(int signal)
{
    (void)signal;
    int saved = errno, me = (int)syscall(SYS_gettid);
    if (atomic_load(&asked) == me) {
        tell_stack(me);
        atomic_store(&asked, 0);
    }
    errno = saved;
}

static void wait_ms(int ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* Returns how many milliseconds that took. */
static int ask(int tid)
{
    int ms = 0;
    atomic_store(&asked, tid);
    if (syscall(SYS_tgkill, getpid(), tid, DUMP_SIGNAL) < 0)
        return 0; /* it has ended */
    for (; ms < PATIENCE_MS && atomic_load(&asked) == tid; ms += 2)
        wait_ms(2);
    int expected = tid;
    if (!atomic_compare_exchange_strong(&asked, &expected, 0))
        return ms;
    struct line line = {.n = 0};
    add(&line, "thread ");
    add_number(&line, tid);
    add(&line, " (");
    add_name(&line, tid);
    add(&line, ") does not answer");
    put(&line);
    return ms;
}

struct entry { /* what getdents64 writes */
    uint64_t inode;
    int64_t offset;
    unsigned short bytes;
    unsigned char type;
    char name[];
};

static int number_of(const char *name)
{
    int n = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        n = n * 10 + (*name - '0');
    return n;
}

static void ask_others(int me)
{
    _Alignas(struct entry) char buffer[4096];
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ms = 0;
    long n;
    while (fd >= 0 && (n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n && ms < MOST_MS;) {
            const struct entry *entry = (const struct entry *)(buffer + at);
            int tid = number_of(entry->name);
            if (tid > 0 && tid != me)
                ms += ask(tid);
            at += entry->bytes;
        }
    if (fd >= 0)
        close(fd);
}

static void on_fatal(int number)
{
    int me = (int)syscall(SYS_gettid);
    struct line line = {.n = 0};
    if (atomic_exchange(&is_dying, true)) { /* of two that die the first tells */
        wait_ms(2 * MOST_MS);
    } else {
        add(&line, "ended by signal ");
        add_number(&line, number);
        put(&line);
        tell_stack(me);
        ask_others(me);
    }
    raise(number); /* SA_RESETHAND: as if there had been no handler */
}

void dump_install(void)
{
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    void *frame[1];
    struct sigaction act = {.sa_handler = on_asked, .sa_flags = SA_RESTART};
    backtrace(frame, 1); /* loads what it needs now, not when it is too late */
    sigfillset(&act.sa_mask);
    sigaction(DUMP_SIGNAL, &act, NULL);
    act.sa_handler = on_fatal;
    act.sa_flags = (int)(SA_RESETHAND | SA_NODEFER);
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
        struct sigaction old;
        if (sigaction(fatal[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
            sigaction(fatal[i], &act, NULL);
    }
}
