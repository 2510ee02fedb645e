/* SPDX-License-Identifier: MIT
 *
 * The store on a bad disk. Every call that touches it is ours here, and can fail, be cut short, or
 * be the last one before a kill -9 or a loss of power; files are flipped and cut. Whatever happens,
 * rows that are found are the right ones, and what was called kept is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/store.h"
#include "talk.h"

/* ------------------------------------------------------------------ the disk */

enum fault { SOUND, FAIL_ONCE, FAIL_FROM, KILL, POWER_LOSS, SHORT, NO_MEMORY_ONCE, NO_MEMORY_FROM };

static enum fault fault;
static long calls, at; /* calls so far; the one that is struck, from 1 on */
static int fault_error;

enum { MOST_FDS = 256 };
static bool unsynced[MOST_FDS]; /* has data that a loss of power takes */
static struct {                 /* a rename that a loss of power takes back */
    int folder;
    bool replaced;
    char from[64], to[64], old[80];
} renamed;
static struct { /* a new folder, which it takes away */
    int folder;
    ino_t inode; /* of what it is in */
    char name[64];
} made;

ssize_t __real_pread64(int fd, void *dst, size_t bytes, off_t offset);
ssize_t __real_pwrite64(int fd, const void *src, size_t bytes, off_t offset);
int __real_openat64(int folder, const char *name, int flags, ...);
int __real_fstat64(int fd, struct stat *st);
int __real_mkdirat(int folder, const char *name, mode_t mode);
int __real_fsync(int fd);
int __real_renameat(int a, const char *from, int b, const char *to);
int __real_unlinkat(int folder, const char *name, int flags);
int __real_flock(int fd, int how);
DIR *__real_fdopendir(int fd);
struct dirent *__real_readdir64(DIR *dir);
int __real_futimens(int fd, const struct timespec times[2]);
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_reallocarray(void *old, size_t n, size_t bytes);

ssize_t __wrap_pread64(int fd, void *dst, size_t bytes, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *src, size_t bytes, off_t offset);
int __wrap_openat64(int folder, const char *name, int flags, ...);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_mkdirat(int folder, const char *name, mode_t mode);
int __wrap_fsync(int fd);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int __wrap_unlinkat(int folder, const char *name, int flags);
int __wrap_flock(int fd, int how);
DIR *__wrap_fdopendir(int fd);
struct dirent *__wrap_readdir64(DIR *dir);
int __wrap_futimens(int fd, const struct timespec times[2]);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_reallocarray(void *old, size_t n, size_t bytes);

/* What was not synced is gone, or in part. */
static void lose_power(void)
{
    for (int fd = 0; fd < MOST_FDS; fd++)
        if (unsynced[fd] && ftruncate(fd, at % 3 * 300) < 0)
            abort();
    if (*renamed.from) {
        __real_renameat(renamed.folder, renamed.to, renamed.folder, renamed.from);
        if (renamed.replaced)
            __real_renameat(renamed.folder, renamed.old, renamed.folder, renamed.to);
    }
    if (*made.name)
        __real_renameat(made.folder, made.name, made.folder, "lost");
}

static bool strikes(void)
{
    if (fault == SOUND || fault == NO_MEMORY_ONCE || fault == NO_MEMORY_FROM)
        return false;
    calls++;
    if ((fault == KILL || fault == POWER_LOSS) && calls == at) {
        if (fault == POWER_LOSS)
            lose_power();
        raise(SIGKILL);
    }
    if ((fault == FAIL_ONCE && calls == at) || (fault == FAIL_FROM && calls >= at)) {
        errno = fault_error;
        return true;
    }
    return false;
}

static bool is_short_of_memory(void)
{
    if (fault != NO_MEMORY_ONCE && fault != NO_MEMORY_FROM)
        return false;
    calls++;
    return fault == NO_MEMORY_ONCE ? calls == at : calls >= at;
}

static size_t shortened(size_t bytes)
{
    return fault == SHORT && bytes > 16 ? 7 + bytes / 3 : bytes;
}

static bool interrupts(void)
{
    if (fault != SHORT || calls % 2)
        return false;
    errno = EINTR;
    return true;
}

ssize_t __wrap_pread64(int fd, void *dst, size_t bytes, off_t offset)
{
    if (strikes() || interrupts())
        return -1;
    return __real_pread64(fd, dst, shortened(bytes), offset);
}

ssize_t __wrap_pwrite64(int fd, const void *src, size_t bytes, off_t offset)
{
    if (fault == KILL && calls + 1 == at) /* in the middle of it */
        __real_pwrite64(fd, src, bytes / 2, offset);
    if (strikes() || interrupts())
        return -1;
    if (fd < MOST_FDS)
        unsynced[fd] = true;
    return __real_pwrite64(fd, src, shortened(bytes), offset);
}

int __wrap_openat64(int folder, const char *name, int flags, ...)
{
    if (strikes())
        return -1;
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    int fd = __real_openat64(folder, name, flags, mode);
    if (fd >= 0 && fd < MOST_FDS)
        unsynced[fd] = false;
    return fd;
}

int __wrap_fstat64(int fd, struct stat *st)
{
    return strikes() ? -1 : __real_fstat64(fd, st);
}

int __wrap_mkdirat(int folder, const char *name, mode_t mode)
{
    if (strikes())
        return -1;
    int r = __real_mkdirat(folder, name, mode);
    struct stat st;
    if (r == 0 && folder >= 0 && __real_fstat64(folder, &st) == 0) {
        snprintf(made.name, sizeof made.name, "%s", name);
        made.folder = folder;
        made.inode = st.st_ino;
    }
    return r;
}

/* No disk is waited for: power is lost by lose_power() alone. */
int __wrap_fsync(int fd)
{
    if (strikes())
        return -1;
    struct stat st;
    if (__real_fstat64(fd, &st) < 0)
        return -1;
    if (fd < MOST_FDS)
        unsynced[fd] = false;
    if (S_ISDIR(st.st_mode) && *renamed.from) {
        if (renamed.replaced)
            __real_unlinkat(fd, renamed.old, 0);
        *renamed.from = '\0';
    }
    if (st.st_ino == made.inode)
        *made.name = '\0';
    return 0;
}

int __wrap_renameat(int a, const char *from, int b, const char *to)
{
    if (strikes())
        return -1;
    snprintf(renamed.from, sizeof renamed.from, "%s", from);
    snprintf(renamed.to, sizeof renamed.to, "%s", to);
    snprintf(renamed.old, sizeof renamed.old, "%s.old", to);
    renamed.folder = a;
    renamed.replaced = linkat(a, to, a, renamed.old, 0) == 0;
    return __real_renameat(a, from, b, to);
}

int __wrap_unlinkat(int folder, const char *name, int flags)
{
    return strikes() ? -1 : __real_unlinkat(folder, name, flags);
}

int __wrap_flock(int fd, int how)
{
    return strikes() ? -1 : __real_flock(fd, how);
}

DIR *__wrap_fdopendir(int fd)
{
    return strikes() ? NULL : __real_fdopendir(fd);
}

struct dirent *__wrap_readdir64(DIR *dir)
{
    return strikes() ? NULL : __real_readdir64(dir);
}

int __wrap_futimens(int fd, const struct timespec times[2])
{
    return strikes() ? -1 : __real_futimens(fd, times);
}

void *__wrap_malloc(size_t bytes)
{
    return is_short_of_memory() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return is_short_of_memory() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_reallocarray(void *old, size_t n, size_t bytes)
{
    return is_short_of_memory() ? NULL : __real_reallocarray(old, n, bytes);
}

static void strike(enum fault how, long call, int error)
{
    fault = how;
    at = call;
    fault_error = error;
    calls = 0;
}

/* Runs something on a sound disk, whatever is wrong with it before and after. */
static enum fault pause_faults(void)
{
    enum fault was = fault;
    fault = SOUND;
    return was;
}

/* ------------------------------------------------------------------ the folder */

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/dev/shm/moed-store.XXXXXX"); /* no disk, if there is memory */
    if (mkdtemp(folder))
        return 0;
    snprintf(folder, sizeof folder, "/tmp/moed-store.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int erase_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    return ftw->level ? remove(path) : 0;
}

static void empty_folder(void)
{
    nftw(folder, erase_one, 8, FTW_DEPTH | FTW_PHYS);
}

static int erase_folder(void **state)
{
    (void)state;
    empty_folder();
    return rmdir(folder);
}

/* Until the next one. */
static struct talk *talk_of(uint32_t uid, uint64_t seed, int n_rows, const char *name)
{
    static struct talk talk;
    talk_make(&talk, uid, seed, n_rows);
    strcpy(talk.name, name);
    talk_fill(&talk);
    return &talk;
}

static uint64_t room(void)
{
    static struct talk talk;
    talk_make(&talk, 1, 1, TALK_MOST);
    return 2 * rowfile_most_bytes(&talk.key, &talk.text);
}

static struct store *open_store(void)
{
    struct store *store = NULL;
    struct err err = {0};
    if (store_open(folder, room(), &store, &err) < 0 || store_scan(store, &err) < 0)
        fail_msg("%s", err.text);
    return store;
}

/* How many of these rows are there; wrong ones end the test. Zeros must be left if they cannot be
 * read. */
static int found(struct store *store, const struct talk *talk)
{
    static struct talk got;
    const struct kept *kept;
    int n = store_find(store, &talk->key, talk->token, talk->text.n_tokens, talk->answer, &kept);
    if (n == 0)
        return 0;
    talk_make(&got, talk->key.uid, 0, 1);
    got.text.n_rows = kept->text->n_rows;
    memcpy(got.token, kept->text->token, (size_t)got.text.n_rows * sizeof *got.token);
    memcpy(got.answer, kept->text->answer, ((size_t)got.text.n_rows + 7) / 8);
    int n_pages = rowfile_pages(got.text.n_rows);
    memset(got.memory, 'x', sizeof got.memory);
    if (store_get(store, kept, 0, n_pages, got.page, NULL) == 0) {
        assert_true(talk_is_right(&got, n_pages, got.page));
        return n;
    }
    for (int i = 0; i < n_pages * TALK_PAGE; i++)
        assert_int_equal(got.memory[i / TALK_PAGE][i % TALK_PAGE], 0);
    return 0;
}

static int rows_named(const struct store *store, uint32_t uid, const char *name)
{
    const struct kept *kept = store_named(store, uid, name);
    return kept ? kept->text->n_rows : 0;
}

/* ------------------------------------------------------------------ a day of a store */

enum { OPENED, LONGER, NEW_NAME, NEW_USER, READ, EVICTING, REMOVED, STEPS };

/* What was there the evening before. */
static void prepare(void)
{
    pause_faults();
    empty_folder();
    struct store *store = open_store();
    struct talk *talk = talk_of(7, 1, 100, "");
    assert_int_equal(store_put(store, &talk->key, &talk->text, talk->page, NULL), 0);
    talk = talk_of(7, 2, 90, "talk");
    assert_int_equal(store_put(store, &talk->key, &talk->text, talk->page, NULL), 0);
    talk = talk_of(8, 3, TALK_MOST - 40, "");
    assert_int_equal(store_put(store, &talk->key, &talk->text, talk->page, NULL), 0);
    talk = talk_of(8, 4, 64, "gone");
    assert_int_equal(store_put(store, &talk->key, &talk->text, talk->page, NULL), 0);
    store_close(store);
    *renamed.from = *made.name = '\0';
}

static bool put(struct store *store, const struct talk *talk)
{
    struct err err = {0};
    int r = store_put(store, &talk->key, &talk->text, talk->page, &err);
    int n_pages = rowfile_pages(talk->text.n_rows);
    assert_true(talk_is_right(talk, n_pages, talk->page)); /* the caller's, whatever happened */
    assert_true(r == 0 || (r == err.code && *err.text));
    if (r < 0) { /* not believed before a sync; but then not a wrong one either */
        enum fault was = pause_faults();
        found(store, talk);
        fault = was;
    }
    return r == 0;
}

/* Sets a flag for each step that was called done. */
static void live(volatile bool done[STEPS])
{
    struct store *store = NULL;
    struct err err = {0};
    if (store_open(folder, room(), &store, &err) < 0 || store_scan(store, &err) < 0) {
        assert_true(err.code < 0 && *err.text);
        store_close(store);
        return;
    }
    done[OPENED] = true;
    done[LONGER] = put(store, talk_of(7, 1, 140, ""));
    done[NEW_NAME] = put(store, talk_of(7, 5, 120, "talk"));
    done[NEW_USER] = put(store, talk_of(9, 6, 33, ""));
    done[READ] = found(store, talk_of(8, 3, TALK_MOST, "")) == TALK_MOST - 40;
    done[EVICTING] = put(store, talk_of(8, 7, TALK_MOST, ""));
    const struct kept *kept = store_named(store, 8, "gone");
    done[REMOVED] = kept && store_remove(store, kept, NULL) == 0;
    store_close(store);
}

static int n_tmp;

static int count_tmp(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    n_tmp += type == FTW_F && strstr(path, ".tmp") != NULL;
    return 0;
}

/* The morning after, on a sound disk. */
static void check_what_is_left(const volatile bool done[STEPS])
{
    pause_faults();
    struct store *store = open_store();
    struct store_stat stat;
    store_stat(store, &stat);
    assert_int_equal(stat.n_broken, 0);
    int n = found(store, talk_of(7, 1, TALK_MOST, ""));
    assert_true(done[LONGER] ? n == 140 : n == 100 || n == 140);
    int before = found(store, talk_of(7, 2, TALK_MOST, ""));
    int after = found(store, talk_of(7, 5, TALK_MOST, ""));
    assert_true((before == 90) != (after == 120)); /* the one or the other, and whole */
    assert_true(!done[NEW_NAME] || after == 120);
    assert_int_equal(rows_named(store, 7, "talk"), after ? 120 : 90);
    n = found(store, talk_of(9, 6, TALK_MOST, ""));
    assert_true(done[NEW_USER] ? n == 33 : n == 33 || n == 0);
    n = found(store, talk_of(8, 7, TALK_MOST, ""));
    assert_true(done[EVICTING] ? n == TALK_MOST : n == TALK_MOST || n == 0);
    n = rows_named(store, 8, "gone");
    assert_true(done[REMOVED] ? n == 0 : n == 64 || n == 0);
    n_tmp = 0;
    nftw(folder, count_tmp, 8, FTW_PHYS);
    assert_int_equal(n_tmp, 0);
    store_close(store);
}

static bool all_done(const bool done[STEPS])
{
    int n = 0;
    for (int i = 0; i < STEPS; i++)
        n += done[i];
    return n == STEPS;
}

static void a_day_works(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) { /* in one piece, and in small ones with interruptions */
        bool done[STEPS] = {false};
        prepare();
        strike(i ? SHORT : SOUND, 0, 0);
        live(done);
        assert_true(all_done(done));
        check_what_is_left(done);
    }
}

/* Strikes each call in turn until a day has fewer. */
static long strike_each(enum fault how, int error)
{
    for (long call = 1;; call++) {
        bool done[STEPS] = {false};
        prepare();
        strike(how, call, error);
        live(done);
        bool struck = calls >= call;
        check_what_is_left(done);
        if (!struck) {
            assert_true(all_done(done));
            return call - 1;
        }
    }
}

static void every_call_may_fail(void **state)
{
    (void)state;
    const int errors[] = {EIO, ENOSPC, EMFILE};
    long n = 0;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        n = strike_each(FAIL_ONCE, errors[i]);
        strike_each(FAIL_FROM, errors[i]);
    }
    assert_true(n > 80);
    print_message("%ld calls\n", n);
}

static void memory_may_be_short(void **state)
{
    (void)state;
    assert_true(strike_each(NO_MEMORY_ONCE, 0) > 20);
    strike_each(NO_MEMORY_FROM, 0);
}

/* Also where the rows are there but for a sync: a loss of power after that takes nothing. */
static void what_failed_is_kept_the_second_time(void **state)
{
    (void)state;
    const struct talk *talk = talk_of(7, 1, 140, "");
    bool struck = true;
    for (long call = 1; struck; call++) {
        empty_folder();
        struct store *store = open_store();
        strike(FAIL_ONCE, call, EIO);
        int r = store_put(store, &talk->key, &talk->text, talk->page, NULL);
        struck = calls >= call;
        pause_faults();
        if (r < 0)
            assert_int_equal(store_put(store, &talk->key, &talk->text, talk->page, NULL), 0);
        memset(unsynced, 0, sizeof unsynced); /* of what failed, and is gone */
        lose_power();
        store_close(store);
        store = open_store();
        assert_int_equal(found(store, talk), 140);
        store_close(store);
    }
}

/* A child dies at each call in turn. */
static void die_at_each(enum fault how)
{
    volatile bool *done =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    for (long call = 1;; call++) {
        prepare();
        memset((void *)(uintptr_t)done, 0, STEPS);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            strike(how, call, 0);
            live(done);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        check_what_is_left(done);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            break;
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    munmap((void *)(uintptr_t)done, 4096);
}

static void a_kill_loses_nothing(void **state)
{
    (void)state;
    die_at_each(KILL);
}

static void a_loss_of_power_loses_nothing(void **state)
{
    (void)state;
    die_at_each(POWER_LOSS);
}

/* ------------------------------------------------------------------ files */

static char path[512];
static char image[16384];
static size_t image_bytes;

static int note_file(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_F)
        snprintf(path, sizeof path, "%s", name);
    return 0;
}

static const struct talk *make_image(void)
{
    const struct talk *talk = talk_of(7, 1, 150, "");
    struct store *store = open_store();
    assert_int_equal(store_put(store, &talk->key, &talk->text, talk->page, NULL), 0);
    store_close(store);
    nftw(folder, note_file, 8, FTW_PHYS);
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, image, sizeof image);
    assert_true(n > 0 && (size_t)n < sizeof image);
    image_bytes = (size_t)n;
    close(fd);
    store = open_store();
    assert_int_equal(found(store, talk), 150);
    store_close(store);
    return talk;
}

static void write_image(const char *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

/* A changed file, before or after its head was read: it is not found, or found to be broken and
 * removed; or what was changed does not matter any more. */
static void try_image(const struct talk *talk, const char *bytes, size_t n, bool after)
{
    struct store *store = NULL;
    if (after) {
        write_image(image, image_bytes);
        store = open_store();
        write_image(bytes, n);
    } else {
        write_image(bytes, n);
        store = open_store();
    }
    int rows = found(store, talk);
    assert_true(rows == 0 || (after && rows == talk->text.n_rows));
    if (rows == 0)
        assert_int_equal(found(store, talk), 0);
    struct store_stat stat;
    store_stat(store, &stat);
    assert_int_equal(stat.n_broken, access(path, F_OK) < 0);
    store_close(store);
}

static void flipped_bytes_are_noticed(void **state)
{
    (void)state;
    enum { FLIPS = 10000 };
    const struct talk *talk = make_image();
    static char bytes[sizeof image];
    uint64_t random = 99;
    assert_true(image_bytes < FLIPS / 2);
    for (size_t i = 0; i < FLIPS; i++) {
        size_t where = i / 2 < image_bytes ? i / 2 : talk_random(&random) % image_bytes;
        memcpy(bytes, image, image_bytes);
        bytes[where] ^= (char)(1 + talk_random(&random) % 255);
        try_image(talk, bytes, image_bytes, i % 2);
    }
}

static void cut_files_are_noticed(void **state)
{
    (void)state;
    const struct talk *talk = make_image();
    for (size_t n = 0; n < image_bytes + 20; n++) {
        if (n == image_bytes)
            continue;
        try_image(talk, image, n, false);
        try_image(talk, image, n, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, erase_folder)
        TEST(a_day_works),
        TEST(every_call_may_fail),
        TEST(memory_may_be_short),
        TEST(what_failed_is_kept_the_second_time),
        TEST(a_kill_loses_nothing),
        TEST(a_loss_of_power_loses_nothing),
        TEST(flipped_bytes_are_noticed),
        TEST(cut_files_are_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
