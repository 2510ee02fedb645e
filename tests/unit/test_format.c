/* SPDX-License-Identifier: MIT
 *
 * Model files as files: what isn't a regular file is refused at once, what changes after it was
 * opened is noticed, and an allocation or a read that fails, whichever it is, fails in words and
 * leaks nothing (run under the address sanitizer as well).
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "image.h"

/* ------------------------------------------------------------------ allocations that fail */

static long countdown = -1; /* fails when it reaches 0; negative: never */
static bool forever;        /* and all that follow */

static bool fails_now(void)
{
    if (countdown < 0)
        return false;
    if (countdown > 0) {
        countdown--;
        return false;
    }
    if (!forever)
        countdown = -1;
    return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);

void *__wrap_malloc(size_t bytes)
{
    return fails_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fails_now() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails_now() ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text)
{
    return fails_now() ? NULL : __real_strdup(text);
}

/* ------------------------------------------------------------------ reads that fail */

static long reads_left = -1; /* until the one that fails with read_error; negative: none does */
static int read_error;
static size_t read_most = SIZE_MAX; /* bytes that one call gives */

ssize_t __real_pread64(int fd, void *dst, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *dst, size_t bytes, off_t offset);
ssize_t __wrap_pread64(int fd, void *dst, size_t bytes, off_t offset);

ssize_t __wrap_pread64(int fd, void *dst, size_t bytes, off_t offset)
{
    if (reads_left >= 0 && reads_left-- == 0) {
        errno = read_error;
        return -1;
    }
    return __real_pread64(fd, dst, bytes < read_most ? bytes : read_most, offset);
}

ssize_t __wrap_pread(int fd, void *dst, size_t bytes, off_t offset)
{
    return __wrap_pread64(fd, dst, bytes, offset);
}

/* ------------------------------------------------------------------ a good file */

static struct image good_image(void)
{
    struct image im = image_new(3, 2, 4);
    image_str_key(&im, "general.name", "good");
    image_array_key(&im, "tokens", V_STR, 300);
    for (int i = 0; i < 300; i++)
        image_text(&im, "token", 5);
    image_array_key(&im, "types", V_I32, 300);
    image_zeros(&im, 1200);
    image_u32_key(&im, "n", 1);
    image_tensor(&im, "v", 0, 1, (uint64_t[]){16}, 0);
    image_tensor(&im, "w", 1, 2, (uint64_t[]){4, 4}, 64);
    image_pad(&im, 32);
    for (int i = 0; i < 96; i++)
        image_u8(&im, (uint8_t)i);
    return im;
}

static struct format *open_good(int *fd)
{
    struct image im = good_image();
    struct err err;
    struct format *format = NULL;
    if (image_open(&im, &format, fd, &err) < 0)
        fail_msg("%s", err.text);
    return format;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct image im = good_image();
    int fd = memfd_create("good", MFD_CLOEXEC);
    assert_int_equal(write(fd, im.data, im.n), (ssize_t)im.n);
    free(im.data);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (int all = 0; all < 2; all++) {
        int n = 0;
        for (;; n++) {
            struct err err = {0};
            struct format *format = NULL;
            forever = all;
            countdown = n;
            int r = format_open(path, &format, &err);
            bool spent = countdown <= 0 && (all || countdown < 0);
            countdown = -1;
            if (r == 0) {
                format_close(format);
                if (!spent)
                    break; /* it never came to the n-th */
                continue;  /* a failure that does no harm: shrinking a buffer, sorting */
            }
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(err.code, -ENOMEM);
            assert_null(format);
        }
        assert_in_range(n, 12, 1000);
    }
    close(fd);
}

/* ------------------------------------------------------------------ special files */

static void expect_refused(const char *path, int code, const char *words)
{
    struct timespec from, to;
    struct err err = {0};
    struct format *format = NULL;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(format_open(path, &format, &err), code);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_null(format);
    if (!strstr(err.text, words) || !strstr(err.text, path))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", err.text, words, path);
    assert_true((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 < 100);
}

static void test_special_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_format.XXXXXX";
    assert_non_null(mkdtemp(dir));
    char path[64];
    expect_refused(dir, -EINVAL, "directory");
    expect_refused("/dev/zero", -EINVAL, "special file");
    expect_refused("/dev/null", -EINVAL, "special file");
    expect_refused("/proc/self/status", -EINVAL, "0 bytes");

    snprintf(path, sizeof path, "%s/fifo", dir);
    expect_refused(path, -ENOENT, "No such file");
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(path, -EINVAL, "FIFO");
    unlink(path);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", dir);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    expect_refused(address.sun_path, -EINVAL, "special file");
    close(s);
    unlink(address.sun_path);

    snprintf(path, sizeof path, "%s/short", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    expect_refused(path, -EINVAL, "0 bytes");
    assert_int_equal(write(fd, "GGU", 3), 3);
    expect_refused(path, -EINVAL, "3 bytes");
    assert_int_equal(write(fd, "X1234567890", 11), 11);
    expect_refused(path, -EINVAL, "47 47 55 58");
    close(fd);
    unlink(path);
    rmdir(dir);
}

static void test_the_file_is_left_blocking_and_not_inherited(void **state)
{
    (void)state;
    int fd = -1;
    struct format *format = open_good(&fd);
    int own = fd + 1; /* the lowest free one, and nothing else opens here */
    assert_int_equal(fcntl(own, F_GETFL) & O_NONBLOCK, 0);
    assert_true(fcntl(own, F_GETFD) & FD_CLOEXEC);
    format_close(format);
    assert_int_equal(fcntl(own, F_GETFD), -1);
    close(fd);
}

static void test_long_and_strange_paths(void **state)
{
    (void)state;
    char path[1000];
    memset(path, 'd', sizeof path);
    strcpy(path + 900, "/the-end.gguf");
    struct err err = {0};
    struct format *format = NULL;
    assert_int_equal(format_open(path, &format, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "/the-end.gguf"));
    assert_non_null(strstr(err.text, "File name too long"));
    assert_int_equal(format_open("/tmp/\xff\nnone", &format, &err), -ENOENT);
    assert_non_null(strstr(err.text, "'/tmp/??none'"));
    assert_int_equal(format_open("/tmp/\xff\nnone", &format, NULL), -ENOENT);
}

/* ------------------------------------------------------------------ reading */

static void test_read(void **state)
{
    (void)state;
    struct format *format = open_good(NULL);
    const struct tensor *w = format_find(format, "w");
    unsigned char b[64];
    struct err err;
    assert_int_equal(w->bytes, 32);
    assert_int_equal(format_read(format, w, 0, b, 32, &err), 0);
    assert_int_equal(b[0], 64);
    assert_int_equal(b[31], 95);
    assert_int_equal(format_read(format, w, 31, b, 1, &err), 0);
    assert_int_equal(b[0], 95);
    assert_int_equal(format_read(format, w, 32, b, 0, &err), 0);
    assert_int_equal(format_read(format, w, 32, b, 1, &err), -EINVAL);
    assert_int_equal(format_read(format, w, 0, b, 33, &err), -EINVAL);
    assert_int_equal(format_read(format, w, UINT64_MAX, b, 2, &err), -EINVAL);
    assert_non_null(strstr(err.text, "tensor 'w'"));
    format_close(format);
}

static void test_every_read_may_fail_or_be_short(void **state)
{
    (void)state;
    int n = 0;
    for (;; n++) {
        struct image im = good_image();
        struct err err;
        struct format *format = NULL;
        read_error = EIO;
        reads_left = n;
        int r = image_open(&im, &format, NULL, &err);
        bool hit = reads_left < 0;
        reads_left = -1;
        if (!hit) {
            format_close(format);
            break;
        }
        assert_int_equal(r, -EIO);
        assert_non_null(strstr(err.text, "cannot read: Input/output error"));
        assert_null(format);
    }
    assert_in_range(n, 2, 100);
    for (int i = 0; i < n; i++) { /* a signal harms nothing, nor do bytes that come one by one */
        read_error = EINTR;
        reads_left = i;
        read_most = 1;
        struct format *format = open_good(NULL);
        read_error = EINTR;
        reads_left = i;
        unsigned char b[32];
        assert_int_equal(format_read(format, format_find(format, "w"), 0, b, 32, NULL), 0);
        for (int k = 0; k < 32; k++)
            assert_int_equal(b[k], 64 + k);
        reads_left = 0;
        read_error = EIO;
        struct err err = {0};
        assert_int_equal(format_read(format, format_find(format, "w"), 0, b, 32, &err), -EIO);
        assert_non_null(strstr(err.text, "cannot read"));
        reads_left = -1;
        read_most = SIZE_MAX;
        format_close(format);
    }
}

static void test_a_file_that_shrinks(void **state)
{
    (void)state;
    int fd;
    struct format *format = open_good(&fd);
    const struct tensor *w = format_find(format, "w");
    assert_int_equal(ftruncate(fd, (off_t)w->offset + 31), 0);
    unsigned char b[32];
    struct err err = {0};
    assert_int_equal(format_read(format, w, 0, b, 32, &err), -EIO);
    assert_non_null(strstr(err.text, "became shorter"));
    assert_int_equal(format_read(format, w, 0, b, 8, &err), -EIO); /* bytes are there; still */
    assert_non_null(strstr(err.text, "changed after it was opened"));
    close(fd);
    format_close(format);
}

static void test_a_file_that_is_written_to(void **state)
{
    (void)state;
    int fd;
    struct format *format = open_good(&fd);
    const struct tensor *w = format_find(format, "w");
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    assert_int_equal(pwrite(fd, "x", 1, (off_t)w->offset), 1);
    assert_int_equal(futimens(fd, times), 0); /* the clock of files may be coarser than this test */
    unsigned char b[32];
    struct err err = {0};
    assert_int_equal(format_read(format, w, 0, b, 32, &err), -EIO);
    assert_non_null(strstr(err.text, "changed after it was opened"));
    close(fd);
    format_close(format);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_special_files),
        cmocka_unit_test(test_the_file_is_left_blocking_and_not_inherited),
        cmocka_unit_test(test_long_and_strange_paths),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_every_read_may_fail_or_be_short),
        cmocka_unit_test(test_a_file_that_shrinks),
        cmocka_unit_test(test_a_file_that_is_written_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
