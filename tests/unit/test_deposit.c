/* SPDX-License-Identifier: MIT
 *
 * Weights in the vault: one thread takes them over while another drops what is of no use.
 *
 *     test_deposit MODEL      the model that comes along
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/vault.h"
#include "engine/deposit.h"
#include "model/kept.h"
#include "model/model.h"
#include "place/place.h"

enum { MOST = 8 };

static const char *path;

/* ---- a keeper, as systemd is one */

struct kept {
    char name[VAULT_NAME_BYTES];
    int fd;
};

static struct kept kept[MOST];
static int n_kept;

static int on_keep(void *arg, const char *name, int fd)
{
    (void)arg;
    assert_true(n_kept < MOST);
    snprintf(kept[n_kept].name, sizeof kept->name, "%s", name);
    kept[n_kept++].fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 0;
}

static void on_drop(void *arg, const char *name)
{
    (void)arg;
    for (int i = 0; i < n_kept; i++) {
        if (strcmp(kept[i].name, name) != 0)
            continue;
        close(kept[i].fd);
        kept[i--] = kept[--n_kept];
    }
}

static void on_settle(void *arg)
{
    (void)arg;
}

/* Of a new process: it is offered all that there is. */
static struct vault *vault(void)
{
    static const struct vault_keeper keeper = {
        .words = "nobody", .keep = on_keep, .drop = on_drop, .settle = on_settle};
    struct vault *v = vault_new(&keeper);
    for (int i = 0; i < n_kept; i++)
        vault_offer(v, kept[i].name, fcntl(kept[i].fd, F_DUPFD_CLOEXEC, 3));
    return v;
}

/* ---- what comes between the manifest and its blocks */

static struct vault *to_sweep; /* NULL: nothing */

static bool all_are_wanted(void *arg, const char *file)
{
    (void)arg;
    assert_string_equal(file, path);
    return true;
}

int __real_kept_blocks(int manifest, struct err *err);
int __wrap_kept_blocks(int manifest, struct err *err);
int __wrap_kept_blocks(int manifest, struct err *err)
{
    if (to_sweep)
        deposit_sweep(to_sweep, all_are_wanted, NULL);
    return __real_kept_blocks(manifest, err);
}

/* ---- */

struct home {
    struct model *model;
    struct place *place;
};

static struct home home(void)
{
    struct home h;
    struct err err;
    const struct place_spec spec = {.kind = "cpu", .threads = 2, .nodes = 2};
    if (model_open(path, &h.model, &err) < 0 || place_open(&spec, &h.place, &err) < 0)
        fail_msg("%s", err.text);
    return h;
}

static void leave(struct home *h)
{
    model_close(h->model);
    place_close(h->place);
}

static void first_process(void)
{
    struct home h = home();
    struct err err;
    OWN(vault) *v = vault();
    assert_false(deposit_adopt(v, h.model, h.place));
    if (model_load_kept(h.model, h.place, NULL, NULL, &err) < 0 ||
        deposit_leave(v, h.model, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(n_kept, 3); /* of two nodes, and what tells of them */
    leave(&h);
}

static void sweeping_takes_nothing_from_who_adopts(void **state)
{
    (void)state;
    first_process();
    for (int i = 0; i < 2; i++) {
        struct home h = home();
        OWN(vault) *v = vault();
        to_sweep = v;
        assert_true(deposit_is_offered(v, path));
        assert_true(deposit_adopt(v, h.model, h.place));
        assert_false(deposit_is_offered(v, path));
        assert_int_equal(deposit_sweep(v, all_are_wanted, NULL), 0);
        assert_int_equal(n_kept, 3);
        to_sweep = NULL;
        leave(&h);
    }
    OWN(vault) *v = vault();
    struct home h = home();
    assert_true(deposit_adopt(v, h.model, h.place));
    deposit_drop(v, h.model);
    assert_int_equal(n_kept, 0);
    leave(&h);
}

/* Of a process that was killed while it left them. */
static void blocks_without_a_manifest_are_swept(void **state)
{
    (void)state;
    first_process();
    for (int i = 0; i < n_kept; i++)
        if (kept[i].name[0] == 'm')
            on_drop(NULL, kept[i].name);
    OWN(vault) *v = vault();
    assert_int_equal(deposit_sweep(v, all_are_wanted, NULL), 0);
    assert_int_equal(n_kept, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweeping_takes_nothing_from_who_adopts),
        cmocka_unit_test(blocks_without_a_manifest_are_swept),
    };
    if (argc != 2)
        return 2;
    path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
