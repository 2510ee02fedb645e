/* SPDX-License-Identifier: MIT
 *
 * Bits that memory lost are found while nobody asks, and read from the file again.
 *
 *     test_scrub MODEL      the model that comes along, whose matrices are packed in several ways
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../fixture/edit.h"
#include "engine/engine.h"
#include "engine/scrub.h"
#include "model/kept.h"
#include "model/model.h"
#include "model/parts.h"
#include "place/place.h"

static const char *path;

struct home {
    struct model *model;
    struct place *place;
};

static struct home home(const char *file, int nodes)
{
    struct home h;
    struct err err;
    const struct place_spec spec = {.kind = "cpu", .threads = 2, .nodes = nodes};
    if (model_open(file, &h.model, &err) < 0 || place_open(&spec, &h.place, &err) < 0 ||
        model_load_kept(h.model, h.place, NULL, NULL, &err) < 0)
        fail_msg("%s", err.text);
    return h;
}

static void leave(struct home *h)
{
    model_close(h->model);
    place_close(h->place);
}

/* As if memory had lost a bit: what is seen there is another byte. */
static void lose_a_bit(struct home *h, int i)
{
    struct loaded *loaded = model_weights(h->model);
    const struct sums_at *at = &loaded->sums.at[i];
    struct sealed *block = &loaded->spread.block[at->node].sealed;
    size_t from = (size_t)(at->data - (const char *)block->mem) + at->bytes / 2;
    char byte = (char)(((const char *)block->mem)[from] ^ 0x20);
    assert_int_equal(sealed_cover(block, from, 1, &byte), 0);
}

/* Every matrix there is, of every way of packing, turning and cutting. */
static void any_matrix_is_mended(void **state)
{
    (void)state;
    for (int nodes = 1; nodes <= 3; nodes += 2) {
        struct home h = home(path, nodes);
        const struct sums *sums = &model_loaded(h.model)->sums;
        struct err err;
        for (int i = 0; i < sums->n; i++) {
            lose_a_bit(&h, i);
            assert_false(sums_hold(sums, i));
            if (model_mend(h.model, i, &err) < 0)
                fail_msg("%s", err.text);
            assert_true(sums_hold(sums, i));
        }
        for (int i = 0; i < sums->n; i++) /* neighbours too */
            assert_true(sums_hold(sums, i));
        print_message("%d matrices on %d nodes\n", sums->n, nodes);
        leave(&h);
    }
}

static void a_file_that_changed_mends_nothing(void **state)
{
    (void)state;
    struct edit e = edit_read(path);
    const char *copy = edit_write(&e);
    struct home h = home(copy, 1);
    struct err err = {0};
    lose_a_bit(&h, 5);
    assert_int_equal(truncate(copy, (off_t)e.bytes / 100), 0);
    assert_true(model_mend(h.model, 5, &err) < 0);
    assert_non_null(strstr(err.text, copy));
    assert_false(sums_hold(&model_loaded(h.model)->sums, 5));
    leave(&h);
    edit_fini(&e);
}

static void nothing(void *arg)
{
    (void)arg;
}

static void count(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

static struct scrub_stat await(const struct scrub *scrub, uint64_t rounds)
{
    struct scrub_stat stat;
    for (int ms = 0; ms < 30000; ms++) {
        scrub_stat(scrub, &stat);
        if (stat.rounds >= rounds)
            return stat;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("%d rounds in 30 s", (int)stat.rounds);
    return stat;
}

static void what_breaks_is_found(void **state)
{
    (void)state;
    struct home h = home(path, 1);
    struct err err;
    struct engine *engine;
    const struct engine_config config = {.max_sequences = 2, .max_queue = 2, .step_rows = 8};
    if (engine_open(h.model, h.place, &config, nothing, NULL, &engine, &err) < 0)
        fail_msg("%s", err.text);
    atomic_int told = 0;
    struct scrub_config way = {.model = h.model,
                               .engine = engine,
                               .every_ns = 1,
                               .pace_ms = 1,
                               .broken = count,
                               .arg = &told};
    struct scrub *scrub;
    assert_int_equal(scrub_start(&way, &scrub, &err), 0);
    struct scrub_stat stat = await(scrub, 2);
    assert_true(stat.bytes >= model_kept_bytes(h.model));
    assert_int_equal(stat.broken + (uint64_t)atomic_load(&told), 0);
    lose_a_bit(&h, 3);
    lose_a_bit(&h, model_loaded(h.model)->sums.n - 1);
    stat = await(scrub, stat.rounds + 3);
    assert_int_equal(stat.broken, 2);
    assert_int_equal(stat.mended, 2);
    assert_int_equal(atomic_load(&told), 1);
    scrub_stop(scrub);

    /* Rounds are as far apart as was asked for. */
    way.every_ns = 3600000000000u;
    assert_int_equal(scrub_start(&way, &scrub, &err), 0);
    stat = await(scrub, 1);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    struct scrub_stat later;
    scrub_stat(scrub, &later);
    assert_int_equal(later.bytes, stat.bytes);
    scrub_stop(scrub);
    scrub_stop(NULL);

    /* Who has just worked is left alone. */
    way.idle_ms = 3600000;
    assert_int_equal(scrub_start(&way, &scrub, &err), 0);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    scrub_stat(scrub, &later);
    assert_int_equal(later.bytes, 0);
    scrub_stop(scrub);
    engine_close(engine);
    leave(&h);
}

/* However far the next round is, and whoever has just worked. */
static void a_hurry_begins_at_once(void **state)
{
    (void)state;
    struct home h = home(path, 1);
    struct err err;
    struct engine *engine;
    const struct engine_config config = {.max_sequences = 2, .max_queue = 2, .step_rows = 8};
    if (engine_open(h.model, h.place, &config, nothing, NULL, &engine, &err) < 0)
        fail_msg("%s", err.text);
    atomic_int told = 0;
    struct scrub_config way = {.model = h.model,
                               .engine = engine,
                               .every_ns = 3600000000000u,
                               .pace_ms = 10,
                               .idle_ms = 3600000,
                               .broken = count,
                               .arg = &told};
    struct scrub *scrub;
    uint64_t all = model_kept_bytes(h.model);
    assert_int_equal(scrub_start(&way, &scrub, &err), 0);
    scrub_hurry(scrub);
    struct scrub_stat stat = await(scrub, 1);
    assert_int_equal(stat.broken, 0);
    assert_true(stat.bytes >= all / 2); /* padding is kept, and not looked at */
    lose_a_bit(&h, 3);
    scrub_hurry(scrub); /* while it waits for the next round */
    scrub_hurry(scrub);
    stat = await(scrub, 2);
    assert_int_equal(stat.mended, 1);
    scrub_stop(scrub);

    /* Nobody works: without the pauses, which would take minutes. */
    way.pace_ms = 60000;
    way.idle_ms = 0;
    assert_int_equal(scrub_start(&way, &scrub, &err), 0);
    scrub_hurry(scrub);
    await(scrub, 1);
    scrub_stop(scrub);
    engine_close(engine);
    leave(&h);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_matrix_is_mended),
        cmocka_unit_test(a_file_that_changed_mends_nothing),
        cmocka_unit_test(what_breaks_is_found),
        cmocka_unit_test(a_hurry_begins_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
