/* SPDX-License-Identifier: MIT
 *
 * What the vault offers, and what it tells the keeper.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/vault.h"

static char said[512];
static int answer;

static int on_keep(void *arg, const char *name, int fd)
{
    (void)fd;
    sprintf(said + strlen(said), "%s+%s ", (const char *)arg, name);
    return answer;
}

static void on_drop(void *arg, const char *name)
{
    sprintf(said + strlen(said), "%s-%.20s ", (const char *)arg, name);
}

static void on_settle(void *arg)
{
    sprintf(said + strlen(said), "%s! ", (const char *)arg);
}

static struct vault *vault(void)
{
    static const struct vault_keeper keeper = {.words = "nobody",
                                               .arg = (char *)"k",
                                               .keep = on_keep,
                                               .drop = on_drop,
                                               .settle = on_settle};
    *said = '\0';
    answer = 0;
    return vault_new(&keeper);
}

static int some_fd(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void what_is_offered_is_taken_once(void **state)
{
    (void)state;
    OWN(vault) *v = vault();
    char name[VAULT_NAME_BYTES];
    int a = some_fd(), b = some_fd(), c = some_fd();
    vault_offer(v, "m.1", a);
    vault_offer(v, "w.1", b);
    vault_offer(v, "w.2", c);
    assert_true(vault_name(v, "w.", 1, name));
    assert_string_equal(name, "w.2");
    assert_false(vault_name(v, "w.", 2, name));
    int copy = vault_look(v, "w.1");
    assert_true(copy >= 0 && copy != b);
    close(copy);
    assert_int_equal(vault_take(v, "w.1"), b);
    assert_int_equal(vault_take(v, "w.1"), -ENOENT);
    assert_int_equal(vault_look(v, "w.1"), -ENOENT);
    assert_int_equal(vault_take(v, "x"), -ENOENT);
    assert_true(vault_name(v, "w.", 0, name));
    assert_string_equal(name, "w.2");
    assert_string_equal(said, ""); /* the keeper has them all the same */
    close(b);
}

static void what_is_dropped_is_closed(void **state)
{
    (void)state;
    struct vault *v = vault();
    int a = some_fd(), b = some_fd();
    vault_offer(v, "a", a);
    vault_offer(v, "b", b);
    vault_drop(v, "a");
    assert_false(is_open(a));
    vault_drop(v, "never there");
    vault_settle(v);
    assert_string_equal(said, "k-a k-never there k! ");
    vault_free(v);
    assert_false(is_open(b));
    vault_free(NULL);
}

static void what_is_taken_is_not_discarded(void **state)
{
    (void)state;
    OWN(vault) *v = vault();
    int a = some_fd(), b = some_fd();
    vault_offer(v, "a", a);
    vault_offer(v, "b", b);
    assert_int_equal(vault_take(v, "a"), a);
    assert_false(vault_discard(v, "a"));
    assert_true(vault_discard(v, "b"));
    assert_false(vault_discard(v, "b") || vault_discard(v, "never there"));
    assert_true(is_open(a) && !is_open(b));
    assert_string_equal(said, "k-b ");
    close(a);
}

static void what_is_kept_is_told(void **state)
{
    (void)state;
    OWN(vault) *v = vault();
    struct err err = {0};
    assert_string_equal(vault_words(v), "nobody");
    assert_int_equal(vault_keep(v, "a", 0, &err), 0);
    answer = -EPIPE;
    assert_int_equal(vault_keep(v, "b", 0, &err), -EPIPE);
    assert_non_null(strstr(err.text, "nobody does not keep 'b'"));
    assert_string_equal(said, "k+a k+b ");
}

/* A name is one thing; who finds two of them knows that something went wrong. */
static void what_is_odd_is_dropped(void **state)
{
    (void)state;
    OWN(vault) *v = vault();
    char name[VAULT_NAME_BYTES], longer[VAULT_NAME_BYTES + 1];
    int a = some_fd(), b = some_fd(), c = some_fd();
    vault_offer(v, "twice", a);
    vault_offer(v, "twice", b);
    assert_false(is_open(a) || is_open(b));
    memset(longer, 'x', VAULT_NAME_BYTES);
    longer[VAULT_NAME_BYTES] = '\0';
    vault_offer(v, longer, c);
    assert_false(is_open(c));
    assert_false(vault_name(v, "", 0, name));
    assert_string_equal(said, "k-twice k-xxxxxxxxxxxxxxxxxxxx ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_offered_is_taken_once),
        cmocka_unit_test(what_is_dropped_is_closed),
        cmocka_unit_test(what_is_taken_is_not_discarded),
        cmocka_unit_test(what_is_kept_is_told),
        cmocka_unit_test(what_is_odd_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
