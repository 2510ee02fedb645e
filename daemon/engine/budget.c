/* SPDX-License-Identifier: MIT */
#include "engine/budget.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/pass.h"
#include "model/forward.h"
#include "model/model.h"
#include "place/mem.h"

static uint64_t pages_of(uint64_t tokens)
{
    return (tokens + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

int budget_make(const struct model *model, struct place *place, const struct engine_config *config,
                struct budget *ret, struct err *err)
{
    const struct model_info *info = model_info(model);
    if (info->text_only)
        return err_set(err, -ENOTSUP, "%s holds a vocabulary and no weights", info->path);
    struct forward_size size;
    struct pass_size steps = pass_size(config, TRACK_LONG);
    int r = forward_measure(model, place, steps.rows, steps.wanted, &size, err);
    if (r < 0)
        return r;

    uint64_t talk = info->context < BUDGET_TOKENS ? info->context : BUDGET_TOKENS;
    struct budget b = {
        .weights = size.weights,
        .scratch = size.scratch + pass_beside_bytes(config, model),
        .cache = config->cache_bytes ? config->cache_bytes : pages_of(talk) * size.page,
        .cache_1k = size.page * 1000 / PAGE_TOKENS,
        .place = place->ops->kind,
        .cache_format = mk_type_info[place->cache_type].name,
        .step_rows = steps.rows,
    };
    b.required = b.weights + b.scratch + b.cache;
    b.available = mem_available(b.limit, sizeof b.limit);
    b.set_aside = mem_set_aside();
    if (b.set_aside >= b.weights) /* they go there, as mem_alloc_long() does */
        b.available += b.weights;
    else
        b.set_aside = 0;
    uint64_t fixed = b.weights + b.scratch;
    if (b.available > fixed)
        b.tokens = (b.available - fixed) / size.page * PAGE_TOKENS;
    *ret = b;
    return 0;
}

int budget_check(const struct budget *b, struct err *err)
{
    if (b->required <= b->available)
        return 0;
    return err_set(err, -ENOMEM,
                   "needs %.2f GB (weights %.2f, scratch %.2f, latent cache %.2f), %.2f GB are "
                   "available by %s; free or add memory, take a file with fewer bits a weight, or "
                   "lower CacheBytes= and StepRows=",
                   (double)b->required / 1e9, (double)b->weights / 1e9, (double)b->scratch / 1e9,
                   (double)b->cache / 1e9, (double)b->available / 1e9, b->limit);
}

void budget_print(const struct budget *b, FILE *out)
{
    fprintf(out, "weights     %12" PRIu64 " bytes on place %s\n", b->weights, b->place);
    fprintf(out, "scratch     %12" PRIu64 " bytes for steps of %d rows\n", b->scratch,
            b->step_rows);
    fprintf(out,
            "cache       %12" PRIu64 " bytes at least, %" PRIu64 " for each 1,000 tokens, as %s\n",
            b->cache, b->cache_1k, b->cache_format);
    fprintf(out, "required    %12" PRIu64 " bytes\n", b->required);
    fprintf(out, "available   %12" PRIu64 " bytes by %s%s\n", b->available, b->limit,
            b->set_aside ? " and huge pages that were set aside" : "");
    if (b->required <= b->available)
        fprintf(out, "fits        yes, with a latent cache of up to %" PRIu64 " tokens\n",
                b->tokens);
    else
        fprintf(out, "fits        no\n");
}

void budget_print_json(const struct budget *b, FILE *out)
{
    fprintf(out,
            "{\"place\":\"%s\",\"weights_bytes\":%" PRIu64 ",\"scratch_bytes\":%" PRIu64
            ",\"cache_bytes\":%" PRIu64 ",\"cache_bytes_per_1000_tokens\":%" PRIu64
            ",\"cache_format\":\"%s\""
            ",\"required_bytes\":%" PRIu64 ",\"available_bytes\":%" PRIu64 ",\"limit\":\"",
            b->place, b->weights, b->scratch, b->cache, b->cache_1k, b->cache_format, b->required,
            b->available);
    for (const char *c = b->limit; *c; c++) /* cgroup names hold what users choose */
        if (*c == '"' || *c == '\\' || (unsigned char)*c < 0x20)
            fprintf(out, "\\u%04x", (unsigned char)*c);
        else
            fputc(*c, out);
    fprintf(out, "\",\"fits\":%s,\"tokens\":%" PRIu64 "}\n",
            b->required <= b->available ? "true" : "false", b->tokens);
}
