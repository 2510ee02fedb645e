/* SPDX-License-Identifier: MIT
 *
 * Who may ask, and how much: every kind of rule, alone and against each other.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service/access.h"

static struct access_verdict judge(const struct access_words *words, uint32_t uid, uint32_t gid)
{
    struct access *access = NULL;
    struct err err = {0};
    if (access_new(words, &access, &err) < 0)
        fail_msg("%s", err.text);
    const uint32_t gids[] = {1, gid};
    const struct access_peer peer = {.uid = uid, .gids = gids, .n_gids = 2};
    struct access_verdict verdict = access_judge(access, &peer);
    access_free(access);
    return verdict;
}

#define LIST(name, ...)                                                                            \
    .name = (char *const *)(const char *[]){__VA_ARGS__},                                          \
    .n_##name = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void test_nothing_said(void **state)
{
    (void)state;
    const struct access_peer peer = {.uid = 1234};
    assert_true(access_judge(NULL, &peer).is_allowed);
    assert_false(access_judge(NULL, &peer).is_operator);
    assert_int_equal(access_judge(NULL, &peer).max_requests, 0);
    const struct access_peer root = {.uid = 0};
    assert_true(access_judge(NULL, &root).is_operator);
}

static void test_allow_and_deny(void **state)
{
    (void)state;
    const struct access_words allow = {LIST(allow, "1000", "@77")};
    assert_true(judge(&allow, 1000, 5).is_allowed);
    assert_true(judge(&allow, 1001, 77).is_allowed);
    assert_false(judge(&allow, 1001, 5).is_allowed);
    assert_false(judge(&allow, 77, 1000).is_allowed); /* a user is no group */
    const struct access_words deny = {LIST(deny, "1000", "@77")};
    assert_false(judge(&deny, 1000, 5).is_allowed);
    assert_false(judge(&deny, 1001, 77).is_allowed);
    assert_true(judge(&deny, 1001, 5).is_allowed);
    const struct access_words both = {LIST(allow, "@77"), LIST(deny, "1000")};
    assert_false(judge(&both, 1000, 77).is_allowed);
    assert_true(judge(&both, 1001, 77).is_allowed);
}

static void test_ours(void **state)
{
    (void)state;
    const struct access_words words = {LIST(deny, "0", "@0", "@77"), LIST(quotas, "0 1", "@77 1"),
                                       .max_requests = 1};
    assert_true(judge(&words, 0, 77).is_allowed);
    assert_int_equal(judge(&words, 0, 77).max_requests, 0);
    assert_true(judge(&words, getuid(), 77).is_allowed);
    assert_true(judge(&words, getuid(), 77).is_operator);
}

static void test_operators(void **state)
{
    (void)state;
    const struct access_words words = {LIST(operators, "1000", "@77")};
    assert_true(judge(&words, 1000, 5).is_operator);
    assert_true(judge(&words, 1001, 77).is_operator);
    assert_false(judge(&words, 1001, 5).is_operator);
}

static void test_quotas(void **state)
{
    (void)state;
    const struct access_words words = {
        .max_requests = 4, LIST(quotas, "@77 2", "1000 9", "1000  8", "@1 3", "1003 0")};
    assert_int_equal(judge(&words, 1000, 77).max_requests, 9); /* the user before his groups */
    assert_int_equal(judge(&words, 1001, 77).max_requests, 2); /* of groups the first line */
    assert_int_equal(judge(&words, 1001, 5).max_requests, 3);
    assert_int_equal(judge(&words, 1003, 77).max_requests, 0);
    const struct access_words plain = {.max_requests = 4};
    assert_int_equal(judge(&plain, 1001, 5).max_requests, 4);
}

static void test_classes(void **state)
{
    (void)state;
    const struct access_words words = {
        LIST(classes, "@77 batch", "1000  background", "1000 batch", "@78 interactive")};
    assert_int_equal(judge(&words, 1000, 77).best, CLASS_BACKGROUND); /* a user before a group */
    assert_int_equal(judge(&words, 1001, 77).best, CLASS_BATCH);
    assert_int_equal(judge(&words, 1001, 78).best, CLASS_INTERACTIVE);
    assert_int_equal(judge(&words, 1001, 5).best, CLASS_INTERACTIVE);
    assert_int_equal(judge(&words, 0, 77).best, CLASS_INTERACTIVE);
}

static void test_cache_quotas(void **state)
{
    (void)state;
    const struct access_words words = {
        LIST(cache_quotas, "@77 64M", "1000 2G  300K", "1000 7", "@78 0 1T", "1002 12 0")};
    assert_int_equal(judge(&words, 1000, 77).kept_bytes, 2ull << 30); /* a user before a group */
    assert_int_equal(judge(&words, 1000, 77).disk_bytes, 300 << 10);
    assert_int_equal(judge(&words, 1001, 77).kept_bytes, 64 << 20);
    assert_int_equal(judge(&words, 1001, 77).disk_bytes, UINT64_MAX);
    assert_int_equal(judge(&words, 1001, 78).kept_bytes, 0);
    assert_int_equal(judge(&words, 1001, 78).disk_bytes, 1ull << 40);
    assert_int_equal(judge(&words, 1002, 5).kept_bytes, 12);
    assert_int_equal(judge(&words, 1002, 5).disk_bytes, 0);
    assert_int_equal(judge(&words, 1001, 5).kept_bytes, UINT64_MAX);
    assert_int_equal(judge(&words, 0, 77).kept_bytes, UINT64_MAX);
    assert_int_equal(access_judge(NULL, &(struct access_peer){.uid = 5}).disk_bytes, UINT64_MAX);
}

static void test_names(void **state)
{
    (void)state;
    const struct access_words words = {LIST(operators, "daemon", "@daemon")};
    struct access *access = NULL;
    assert_int_equal(access_new(&words, &access, NULL), 0);
    access_free(access);
}

static void expect_fault(const struct access_words *words, const char *expected)
{
    struct access *access = NULL;
    struct err err = {0};
    assert_int_equal(access_new(words, &access, &err), -EINVAL);
    assert_null(access);
    if (!strstr(err.text, expected))
        fail_msg("found '%s', expected '%s' in it", err.text, expected);
}

static void test_faults(void **state)
{
    (void)state;
    expect_fault(&(struct access_words){LIST(allow, "no such body")},
                 "Allow=no such body: there is no user");
    expect_fault(&(struct access_words){LIST(deny, "0", "@no-such-group")},
                 "Deny=@no-such-group: there is no group");
    expect_fault(&(struct access_words){LIST(operators, "")}, "Operator=");
    expect_fault(&(struct access_words){LIST(allow, "-1")}, "Allow=-1");
    expect_fault(&(struct access_words){LIST(allow, "4294967295")}, "Allow=4294967295"); /* none */
    expect_fault(&(struct access_words){LIST(allow, "99999999999999999999")}, "Allow=9999");
    expect_fault(&(struct access_words){LIST(quotas, "1000")}, "Quota=1000: expected");
    expect_fault(&(struct access_words){LIST(quotas, "1000 many")}, "Quota=1000 many: expected");
    expect_fault(&(struct access_words){LIST(quotas, "1000 -1")}, "Quota=1000 -1: expected");
    expect_fault(&(struct access_words){LIST(quotas, "1000 65537")}, "up to 65536");
    expect_fault(&(struct access_words){LIST(quotas, " 1000 5")}, "Quota= 1000 5: expected");
    const char *const faults[] = {"1000", "1000 ", " batch", "1000 Batch", "1000 batch 2"};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        expect_fault(&(struct access_words){LIST(classes, faults[i])}, "expected a user or");
    const char *const sizes[] = {"1000",       "1000 M",   "1000 5X",
                                 "1000 5MM",   "1000 -1",  "1000 5 6 7",
                                 "1000 5,6",   " 1000 5",  "1000 99999999999999999999",
                                 "1000 5 six", "1000 5M6", "1000 16777216T"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        expect_fault(&(struct access_words){LIST(cache_quotas, sizes[i])}, "expected a user or");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_said), cmocka_unit_test(test_allow_and_deny),
        cmocka_unit_test(test_ours),         cmocka_unit_test(test_operators),
        cmocka_unit_test(test_classes),      cmocka_unit_test(test_quotas),
        cmocka_unit_test(test_cache_quotas), cmocka_unit_test(test_names),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
