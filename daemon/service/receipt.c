/* SPDX-License-Identifier: MIT */
#include "service/receipt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int receipt_init(struct receipt *ret, const struct models_entry *entry,
                 const struct engine_request *request)
{
    *ret = (struct receipt){0};
    models_receipt(entry, &ret->place);
    sample_chain(&request->sample, ret->sampler);
    ret->seed = request->sample.temperature > 0 ? request->sample.seed : 0;
    if (request->n_runs == 0)
        return 0;
    size_t bytes = (size_t)request->n_runs * sizeof *ret->made;
    ret->made = malloc(bytes);
    if (!ret->made)
        return -ENOMEM;
    memcpy(ret->made, request->run, bytes);
    ret->n_made = request->n_runs;
    return 0;
}

void receipt_fini(struct receipt *receipt)
{
    ttrpc_buf_fini(&receipt->known);
    free(receipt->made);
    *receipt = (struct receipt){0};
}

int receipt_know(struct receipt *receipt, const struct engine_event *known)
{
    return ttrpc_buf_put(&receipt->known, known->run, (size_t)known->n_runs * sizeof *known->run);
}

void receipt_tell(const struct receipt *receipt, Moed__V1__Receipt *ret)
{
    const struct models_receipt *place = &receipt->place;
    const struct ttrpc_buf *known = &receipt->known;
    moed__v1__receipt__init(ret);
    ret->place = (char *)place->place;
    ret->isa = (char *)place->isa;
    ret->cache = (char *)place->cache;
    ret->attention = (char *)place->attention;
    ret->model = (char *)place->model;
    ret->version = (char *)MOED_VERSION;
    ret->sampler = (char *)receipt->sampler;
    ret->has_seed = receipt->seed != 0;
    ret->seed = receipt->seed;
    ret->n_cached_rows = known->n / sizeof(int32_t);
    ret->cached_rows = ret->n_cached_rows ? (int32_t *)(known->data + known->start) : NULL;
    ret->n_made_rows = (size_t)receipt->n_made;
    ret->made_rows = receipt->made;
}

/* What the words of a refusal are put together from. */
struct words {
    char text[384];
    size_t n;
};

static void compare(struct words *words, const char *field, const char *wanted, const char *here)
{
    if (!wanted || !*wanted || strcmp(wanted, here) == 0)
        return;
    int n = snprintf(words->text + words->n, sizeof words->text - words->n,
                     "%s%s was '%s', is '%s'", words->n > 0 ? "; " : "", field, wanted, here);
    size_t end = words->n + (size_t)n;
    if (end >= sizeof words->text)
        end = sizeof words->text - 1;
    for (; words->n < end; words->n++) /* it may have been cut inside a character */
        if ((unsigned char)words->text[words->n] >= 0x80)
            words->text[words->n] = '?';
}

static const char *seed_words(char text[24], uint64_t seed)
{
    snprintf(text, 24, "%" PRIu64, seed);
    return text;
}

int receipt_meets(const struct receipt *receipt, const Moed__V1__Receipt *wanted, struct err *err)
{
    struct words words = {0};
    char was[24], is[24];
    compare(&words, "model", wanted->model, receipt->place.model);
    compare(&words, "version", wanted->version, MOED_VERSION);
    compare(&words, "place", wanted->place, receipt->place.place);
    compare(&words, "isa", wanted->isa, receipt->place.isa);
    compare(&words, "cache", wanted->cache, receipt->place.cache);
    compare(&words, "attention", wanted->attention, receipt->place.attention);
    compare(&words, "sampler", wanted->sampler, receipt->sampler);
    if (wanted->seed)
        compare(&words, "seed", seed_words(was, wanted->seed), seed_words(is, receipt->seed));
    if (words.n == 0)
        return 0;
    return err_set(err, -ENOTSUP, "the answer cannot be computed again here: %s", words.text);
}
