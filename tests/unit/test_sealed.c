/* SPDX-License-Identifier: MIT
 *
 * Memory that is filled, sealed, and found again by its descriptor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "place/mem.h"
#include "place/sealed.h"

enum { MIB = 1 << 20 };

static const size_t sizes[] = {0, 1, 5000, 16 * MIB - 1, 16 * MIB, 40 * MIB + 12345};

static char pattern(size_t at)
{
    return (char)(at * 2654435761u >> 20);
}

static void fill(struct sealed *s)
{
    sealed_expect(s, 0, s->bytes);
    for (size_t i = 0; i < s->bytes; i++)
        ((char *)s->mem)[i] = pattern(i);
}

static bool is_filled(const struct sealed *s)
{
    for (size_t i = 0; i < s->bytes; i++)
        if (((const char *)s->mem)[i] != pattern(i))
            return false;
    return true;
}

static struct sealed sealed(size_t bytes)
{
    struct sealed s;
    assert_int_equal(sealed_make(bytes, &s), 0);
    fill(&s);
    assert_int_equal(sealed_seal(&s), 0);
    return s;
}

static void what_is_sealed_stays_and_is_found_again(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct err err;
        struct sealed s = sealed(sizes[i]), again;
        assert_true(is_filled(&s));
        assert_true(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, s.fd, 0) == MAP_FAILED);
        assert_true(ftruncate(s.fd, 1) < 0);
        int fd = dup(s.fd);
        sealed_fini(&s);
        assert_int_equal(sealed_map(fd, sizes[i], &again, &err), 0);
        assert_true(is_filled(&again));
        assert_int_equal(close(fd), 0); /* it was borrowed */
        sealed_fini(&again);
        sealed_fini(&again);
    }
    struct sealed s;
    assert_int_equal(sealed_make((size_t)1 << 62, &s), -ENOMEM);
    assert_int_equal(sealed_make(SIZE_MAX, &s), -ENOMEM);
}

static void huge_pages_are_asked_for(void **state)
{
    (void)state;
    struct sealed s;
    struct mem_look look;
    assert_int_equal(sealed_make(64 * MIB, &s), 0);
    assert_int_equal((uintptr_t)s.mem % (2 * MIB), 0);
    fill(&s);
    mem_look(s.mem, s.bytes, &look);
    print_message("%zu MiB, %d of them in huge pages\n", s.bytes / MIB, (int)(look.huge / MIB));
    assert_true(look.is_shared);
    assert_in_range(look.touched, 64 * MIB, 66 * MIB);
    char words[256];
    mem_describe(&look, words, sizeof words);
    assert_non_null(strstr(words, "huge pages"));
    /* The kernel may have none; but if it gave one, the block was made for them. */
    if (look.huge == 0 && !s.is_set_aside)
        assert_true(atomic_load(&s.refused) > 0);
    sealed_fini(&s);
}

static int refused(int fd, size_t bytes)
{
    struct sealed s;
    struct err err = {0};
    char *copy;
    size_t n;
    int r = sealed_map(fd, bytes, &s, &err);
    assert_int_equal(r, err.code);
    assert_true(*err.text);
    if (r != -EMSGSIZE)
        assert_int_equal(sealed_copy(fd, MIB, &copy, &n, &err), r);
    return r;
}

static void what_is_not_ours_is_refused(void **state)
{
    (void)state;
    struct sealed s = sealed(5000);
    assert_int_equal(refused(s.fd, 9000), -EMSGSIZE);
    assert_int_equal(refused(s.fd, 40 * MIB), -EMSGSIZE);
    sealed_fini(&s);

    int fd = memfd_create("open", MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_int_equal(refused(fd, 5000), -EACCES);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    assert_int_equal(refused(fd, 5000), -EACCES);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    struct err err;
    assert_int_equal(sealed_map(fd, 5000, &s, &err), 0);
    sealed_fini(&s);
    if (geteuid() == 0) {
        assert_int_equal(fchown(fd, 65534, 65534), 0);
        assert_int_equal(refused(fd, 5000), -EPERM);
    }
    close(fd);

    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(refused(pipes[0], 5000), -EBADF);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(refused(-1, 5000), -EBADF);
    fd = open("/proc/self/exe", O_RDONLY);
    assert_int_equal(refused(fd, 5000), -EBADF);
    close(fd);
}

static void what_is_small_is_copied(void **state)
{
    (void)state;
    struct sealed s = sealed(5000);
    struct err err;
    char *copy;
    size_t n;
    assert_int_equal(sealed_copy(s.fd, MIB, &copy, &n, &err), 0);
    assert_int_equal(n, 8192);
    assert_memory_equal(copy, s.mem, 5000);
    free(copy);
    assert_int_equal(sealed_copy(s.fd, 8191, &copy, &n, &err), -EMSGSIZE);
    sealed_fini(&s);
}

struct reader {
    const struct sealed *s;
    atomic_bool stop, wrong;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    while (!atomic_load(&r->stop))
        if (!is_filled(r->s))
            atomic_store(&r->wrong, true);
    return NULL;
}

/* Mending is covering by the right bytes; who reads meanwhile sees nothing else. */
static void what_is_covered_is_covered_here_alone(void **state)
{
    (void)state;
    struct sealed s = sealed(17 * MIB), other;
    struct err err;
    char *right = malloc(s.bytes);
    memcpy(right, s.mem, s.bytes);
    struct reader reader = {.s = &s};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &reader), 0);
    static const size_t cuts[][2] = {{0, 1}, {100, 9000}, {4096, 4096}, {16 * MIB, MIB}, {3, MIB}};
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
            assert_int_equal(sealed_cover(&s, cuts[i][0], cuts[i][1], right + cuts[i][0]), 0);
    atomic_store(&reader.stop, true);
    pthread_join(thread, NULL);
    assert_false(atomic_load(&reader.wrong));
    free(right);

    assert_int_equal(sealed_cover(&s, 70000, 5, "other"), 0);
    assert_memory_equal((char *)s.mem + 70000, "other", 5);
    assert_int_equal(((char *)s.mem)[70005], pattern(70005));
    assert_int_equal(((char *)s.mem)[69999], pattern(69999));
    assert_int_equal(sealed_map(s.fd, s.bytes, &other, &err), 0);
    assert_true(is_filled(&other));
    sealed_fini(&other);
    sealed_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sealed_stays_and_is_found_again),
        cmocka_unit_test(huge_pages_are_asked_for),
        cmocka_unit_test(what_is_not_ours_is_refused),
        cmocka_unit_test(what_is_small_is_copied),
        cmocka_unit_test(what_is_covered_is_covered_here_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
