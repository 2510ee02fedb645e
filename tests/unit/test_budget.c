/* SPDX-License-Identifier: MIT
 *
 *     test_budget MODEL.gguf
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/budget.h"
#include "model/forward.h"
#include "model/model.h"
#include "model/parts.h"
#include "place/mem.h"

static const char *path;
static const struct engine_config config = {.max_sequences = 4, .max_queue = 4, .step_rows = 32};

static void make_on(const struct place_spec *spec, const struct engine_config *with,
                    struct budget *ret)
{
    OWN(model) *model = NULL;
    OWN(place) *place = NULL;
    struct err err;
    assert_int_equal(model_open(path, &model, &err), 0);
    assert_int_equal(place_open(spec, &place, &err), 0);
    assert_int_equal(budget_make(model, place, with, ret, &err), 0);
}

static void make(const char *kind, const struct engine_config *with, struct budget *ret)
{
    make_on(&(struct place_spec){.kind = kind, .threads = 2}, with, ret);
}

static void it_is_what_loading_takes(void **state)
{
    (void)state;
    struct budget b;
    make("cpu", &config, &b);
    OWN(place) *place = NULL;
    OWN(model) *model = NULL;
    struct err err;
    assert_int_equal(place_open(&(struct place_spec){.kind = "cpu", .threads = 2}, &place, &err),
                     0);
    assert_int_equal(model_open(path, &model, &err), 0);
    assert_int_equal(model_load(model, place, NULL, NULL, &err), 0);
    assert_int_equal(model_loaded(model)->bytes, b.weights);
    struct forward *forward;
    assert_int_equal(forward_new(model, 32, 4, &forward, &err), 0);
    assert_true(b.scratch > place->ops->scratch_bytes(place));
    struct kv_schema schema;
    forward_schema(forward, &schema);
    size_t page = kv_page_bytes(&schema, forward_cache_type(forward));
    assert_int_equal(b.cache_1k, page * 1000 / PAGE_TOKENS);
    assert_int_equal(b.cache, (model_info(model)->context + 31) / 32 * page);
    assert_int_equal(b.required, b.weights + b.scratch + b.cache);
    forward_free(forward);
}

static void a_cache_of_bytes_is_smaller(void **state)
{
    (void)state;
    struct budget b, c;
    OWN(model) *model = NULL;
    struct err err;
    make("cpu", &config, &b);
    make_on(&(struct place_spec){.kind = "cpu", .threads = 2, .cache = "int8"}, &config, &c);
    assert_int_equal(model_open(path, &model, &err), 0);
    const struct hparams *hp = model_hparams(model);
    uint64_t row = (uint64_t)(hp->latent / 32 * 34 + hp->rope_dims * 2);
    assert_int_equal(row * 32 % 64, 0);
    assert_int_equal(c.cache_1k, row * 1000 * (uint64_t)hp->layers);
    assert_int_equal(b.cache_1k, 2u * 1000 * (uint64_t)((hp->latent + hp->rope_dims) * hp->layers));
    assert_string_equal(c.cache_format, "Q8_0");
    assert_string_not_equal(b.cache_format, "Q8_0");
    assert_int_equal(c.required, c.weights + c.scratch + c.cache);
}

static void odd_latents_do_not_become_bytes(void **state)
{
    (void)state;
    OWN(place) *place = NULL;
    struct err err;
    struct place_spec spec = {.kind = "cpu", .threads = 2, .cache = "int8"};
    struct op op = {.kind = OP_MLA, .mla = {.latent = 40, .page_tokens = PAGE_TOKENS, .out.k = 64}};
    assert_int_equal(place_open(&spec, &place, &err), 0);
    assert_int_equal(place->ops->prepare(place, &op, 1, 1, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "CacheFormat="));
    op.mla.latent = 64;
    assert_int_equal(place->ops->prepare(place, &op, 1, 1, &err), 0);
}

static void what_does_not_fit_is_refused_with_the_sum(void **state)
{
    (void)state;
    struct budget b;
    struct err err;
    struct engine_config greedy = config;
    make("cpu", &config, &b);
    assert_int_equal(budget_check(&b, &err), 0);
    assert_true(b.tokens > 0);
    greedy.cache_bytes = UINT64_C(1) << 50;
    make("ref", &greedy, &b);
    assert_int_equal(budget_check(&b, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "CacheBytes="));
    assert_non_null(strstr(err.text, b.limit));
}

static void json_is_json(void **state)
{
    (void)state;
    struct budget b;
    make("cpu", &config, &b);
    strcpy(b.limit, "cgroup /a\"b\\c");
    char text[1024] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    budget_print_json(&b, out);
    fclose(out);
    assert_non_null(strstr(text, "\"limit\":\"cgroup /a\\u0022b\\u005cc\""));
    assert_non_null(strstr(text, "\"fits\":true"));
}

static void the_machine_has_memory(void **state)
{
    (void)state;
    char limit[256] = "";
    uint64_t bytes = mem_available(limit, sizeof limit);
    assert_true(bytes > 1 << 20);
    assert_true(!strcmp(limit, "MemAvailable") || !strncmp(limit, "cgroup ", 7));
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_what_loading_takes),
        cmocka_unit_test(a_cache_of_bytes_is_smaller),
        cmocka_unit_test(odd_latents_do_not_become_bytes),
        cmocka_unit_test(what_does_not_fit_is_refused_with_the_sum),
        cmocka_unit_test(json_is_json),
        cmocka_unit_test(the_machine_has_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
