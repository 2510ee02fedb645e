/* SPDX-License-Identifier: MIT
 *
 * Weights in memory that outlives them: left, found again, refused where anything is another.
 *
 *     test_kept MODEL      the model that comes along, whose matrices are packed in several ways
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../fixture/edit.h"
#include "model/kept.h"
#include "model/manifest.h"
#include "model/model.h"
#include "model/parts.h"
#include "place/place.h"

static const char *path;

struct home {
    struct model *model;
    struct place *place;
};

static struct home home(const char *file, const char *kind, int nodes)
{
    struct home h;
    struct err err;
    const struct place_spec spec = {.kind = kind, .threads = 2, .nodes = nodes};
    if (model_open(file, &h.model, &err) < 0 || place_open(&spec, &h.place, &err) < 0)
        fail_msg("%s", err.text);
    return h;
}

static void leave(struct home *h)
{
    model_close(h->model);
    place_close(h->place);
}

struct left { /* what a process would have handed over */
    int manifest, block[TOPO_MAX_NODES], n;
};

static struct left load_and_keep(struct home *h)
{
    struct left left;
    struct err err;
    if (model_load_kept(h->model, h->place, NULL, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_false(model_is_adopted(h->model));
    assert_int_equal(model_kept_bytes(h->model), model_loaded(h->model)->bytes);
    left.n = model_keep(h->model, &left.manifest, left.block, &err);
    assert_int_equal(left.n, model_kept_blocks(h->model));
    assert_int_equal(kept_blocks(left.manifest, &err), left.n);
    return left;
}

static int adopt(struct home *h, const struct left *left, struct err *err)
{
    return model_adopt(h->model, h->place, left->manifest, left->block, left->n, err);
}

static void assert_same_weights(const struct home *a, const struct home *b)
{
    const struct loaded *x = model_loaded(a->model), *y = model_loaded(b->model);
    assert_int_equal(x->sums.n, y->sums.n);
    for (int i = 0; i < x->sums.n; i++) {
        assert_int_equal(x->sums.at[i].bytes, y->sums.at[i].bytes);
        assert_memory_equal(x->sums.at[i].data, y->sums.at[i].data, x->sums.at[i].bytes);
        assert_true(sums_hold(&x->sums, i) && sums_hold(&y->sums, i));
    }
}

static void what_was_left_is_found(void **state)
{
    (void)state;
    for (int nodes = 1; nodes <= 3; nodes += 2) {
        struct home a = home(path, "cpu", nodes), b = home(path, "cpu", nodes),
                    c = home(path, "cpu", nodes);
        struct err err = {0};
        struct left left = load_and_keep(&a);
        assert_int_equal(left.n, nodes);
        if (adopt(&b, &left, &err) < 0)
            fail_msg("%s", err.text);
        assert_true(model_is_adopted(b.model));
        assert_int_equal(adopt(&b, &left, &err), -EEXIST);
        assert_same_weights(&a, &b);
        /* the same as without any of this */
        assert_int_equal(model_load(c.model, c.place, NULL, NULL, &err), 0);
        assert_int_equal(model_kept_bytes(c.model), 0);
        const struct loaded *kept = model_loaded(b.model), *plain = model_loaded(c.model);
        for (int j = 0; j < nodes; j++)
            assert_memory_equal(kept->spread.block[j].mem, plain->spread.block[j].mem,
                                plain->spread.block[j].bytes);
        /* and from what was found it can be left again */
        struct left again;
        again.n = model_keep(b.model, &again.manifest, again.block, &err);
        leave(&a);
        struct home d = home(path, "cpu", nodes);
        if (adopt(&d, &again, &err) < 0)
            fail_msg("%s", err.text);
        assert_same_weights(&b, &d);
        char *from;
        assert_int_equal(kept_path(again.manifest, &from), 0);
        assert_string_equal(from, path);
        free(from);
        close(left.manifest);
        close(again.manifest);
        leave(&b);
        leave(&c);
        leave(&d);
    }
}

static void refused(const struct left *left, struct home h, int code, const char *words)
{
    struct err err = {0};
    assert_int_equal(adopt(&h, left, &err), code);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not say '%s'", err.text, words);
    assert_false(model_is_loaded(h.model));
    assert_int_equal(model_load(h.model, h.place, NULL, NULL, &err), 0); /* nothing stays behind */
    leave(&h);
}

static void what_is_of_another_is_refused(void **state)
{
    (void)state;
    struct edit e = edit_read(path);
    const char *copy = edit_write(&e);
    struct home a = home(path, "cpu", 1);
    struct left left = load_and_keep(&a);
    refused(&left, home(copy, "cpu", 1), -ESTALE, "another one now");
    if (a.place->ops->is_plain(a.place, MK_Q4_K)) /* plain C packs as the reference does */
        print_message("[   INFO ] no instruction set here packs in another way\n");
    else
        refused(&left, home(path, "ref", 1), -ESTALE, "another place or instruction set");
    refused(&left, home(path, "cpu", 3), -ESTALE, "nodes");
    struct left other = left;
    other.n = 0;
    refused(&other, home(path, "cpu", 1), -ESTALE, "blocks");
    other = left;
    other.block[0] = left.manifest;
    refused(&other, home(path, "cpu", 1), -EMSGSIZE, "block 0: it has");
    other = left;
    other.manifest = left.block[0];
    refused(&other, home(path, "cpu", 1), -EBADMSG, "no manifest");
    leave(&a);
    close(left.manifest);
    edit_fini(&e);
}

static void a_manifest_is_read_or_refused(void **state)
{
    (void)state;
    struct manifest_head head = {.n_items = 3, .n_nodes = 2, .n_sums = 5, .path_bytes = 4};
    size_t bytes = manifest_bytes(3, 2, 5, 4);
    char *mem = calloc(1, bytes + 8);
    struct manifest m;
    struct err err;
    memcpy(mem, &head, sizeof head);
    manifest_lay((struct manifest_head *)mem, &m);
    memcpy((char *)(uintptr_t)m.path, "/a/b", 4);
    manifest_end((struct manifest_head *)mem);
    assert_int_equal(manifest_read(mem, bytes, &m, &err), 0);
    assert_int_equal(manifest_read(mem, bytes + 8, &m, &err), 0); /* it lies in whole pages */
    assert_string_equal(m.path, "/a/b");
    for (size_t n = 0; n < bytes; n++)
        assert_int_equal(manifest_read(mem, n, &m, &err), -EBADMSG);
    for (size_t at = 0; at < bytes; at++) {
        mem[at] ^= 4;
        assert_int_equal(manifest_read(mem, bytes, &m, &err), -EBADMSG);
        mem[at] ^= 4;
    }
    free(mem);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_left_is_found),
        cmocka_unit_test(what_is_of_another_is_refused),
        cmocka_unit_test(a_manifest_is_read_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
