/* SPDX-License-Identifier: MIT
 *
 * Sessions for tests.
 */
#pragma once

#include <string.h>

#include "service/record.h"

/* One of its number, at a revision: it has as many lines, one of each kind in turn. */
static inline void fixture_record(struct record *ret, uint64_t id, uint64_t revision)
{
    int32_t ids[] = {1, 2, 300000, 4};
    *ret = (struct record){.id = id,
                           .uid = 1000,
                           .revision = revision,
                           .vocabulary = 5,
                           .created_s = 1700000000,
                           .used_s = 1700000001,
                           .is_pinned = id % 2,
                           .is_parked = !(id % 2),
                           .parked_bytes = id % 2 ? 0 : 12345,
                           .name = "the fox",
                           .model = "fake"};
    Moed__V1__GenerateRequest request = MOED__V1__GENERATE_REQUEST__INIT;
    uint8_t packed[64];
    request.has_max_tokens = true;
    request.max_tokens = 100;
    size_t n = moed__v1__generate_request__pack(&request, packed);
    transcript_set(&ret->transcript, line_new(LINE_MESSAGE, 0, packed, n));
    for (uint64_t i = 0; i < revision; i++) {
        Moed__V1__Message message = MOED__V1__MESSAGE__INIT;
        message.content = (char *)"Once upon a time";
        if (i % 4 > 0) {
            message.tokens = ids;
            message.n_tokens = 4;
        }
        message.has_prefix = message.prefix = i % 4 == 2;
        transcript_add(&ret->transcript,
                       i % 4 == 3 ? line_of_tokens(ids, 4) : line_of_message(&message));
    }
}

static inline void fixture_assert_same(const struct record *a, const struct record *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->uid, b->uid);
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->vocabulary, b->vocabulary);
    assert_int_equal(a->created_s, b->created_s);
    assert_int_equal(a->used_s, b->used_s);
    assert_int_equal(a->is_pinned, b->is_pinned);
    assert_int_equal(a->is_parked, b->is_parked);
    assert_int_equal(a->parked_bytes, b->parked_bytes);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->model, b->model);
    assert_int_equal(a->transcript.n, b->transcript.n);
    for (int i = -1; i < a->transcript.n; i++) {
        const struct line *x = i < 0 ? a->transcript.settings : a->transcript.line[i];
        const struct line *y = i < 0 ? b->transcript.settings : b->transcript.line[i];
        assert_int_equal(x->kind, y->kind);
        assert_int_equal(x->n_tokens, y->n_tokens);
        assert_int_equal(x->n, y->n);
        assert_memory_equal(x->data, y->data, x->n);
    }
}
