/* SPDX-License-Identifier: MIT
 *
 * Requests: what setters take and refuse, and how prompts of any size become frames.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "lib/request.h"
#include "moed/v1/session.pb-c.h"
#include "moed_peer.h"

static Moed__V1__GenerateRequest *unpack(const void *data, size_t n)
{
    Moed__V1__GenerateRequest *part = moed__v1__generate_request__unpack(NULL, n, data);
    assert_non_null(part);
    return part;
}

static void test_setters_refuse(void **state)
{
    (void)state;
    struct moed_request *r = moed_request_new();
    assert_int_equal(moed_request_set_real(r, MOED_TOP_K, 1), -EINVAL);
    assert_int_equal(moed_request_set_integer(r, MOED_TOP_P, 1), -EINVAL);
    assert_int_equal(moed_request_set_real(r, (enum moed_field)0, 1), -EINVAL);
    assert_int_equal(moed_request_set_integer(r, (enum moed_field)999, 1), -EINVAL);
    assert_int_equal(moed_request_set_real(r, MOED_TEMPERATURE, NAN), -ERANGE);
    assert_int_equal(moed_request_set_real(r, MOED_TEMPERATURE, 1e300), -ERANGE);
    assert_int_equal(moed_request_set_integer(r, MOED_TOP_K, INT64_C(1) << 31), -ERANGE);
    assert_int_equal(moed_request_set_integer(r, MOED_LOGPROBS, 2), -ERANGE);
    assert_int_equal(moed_request_set_model(r, "\xff"), -EINVAL);
    assert_int_equal(moed_request_add_stop(r, "\xc3"), -EINVAL);
    assert_int_equal(moed_request_add_dry_breaker(r, "\xc3"), -EINVAL);
    assert_int_equal(moed_request_add_banned(r, "\xc3"), -EINVAL);
    assert_int_equal(moed_request_add_bias(r, 1, NAN), -ERANGE);
    assert_int_equal(moed_request_add_text(r, "a\0b", 3), -EINVAL);
    assert_int_equal(moed_request_add_text(r, "\xed\xa0\x80", 3), -EINVAL);
    assert_int_equal(moed_request_add_message(r, (enum moed_role)4, "x", 1), -EINVAL);
    assert_int_equal(moed_request_add_message(r, MOED_USER, "x", 1), 0);
    assert_int_equal(moed_request_add_text(r, "x", 1), -EINVAL);
    assert_int_equal(moed_request_add_ids(r, (int32_t[]){1}, 1), -EINVAL);
    assert_int_equal(moed_request_add_tool_call(r, "f", "{}"), -EINVAL);
    assert_int_equal(moed_request_continue_last(r), -EINVAL);
    moed_request_free(r);
}

/* Everything that fits goes in the one REQUEST frame. */
static void test_whole(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    struct moed_request *r = moed_request_new();
    assert_int_equal(moed_request_set_model(r, "tiny"), 0);
    assert_int_equal(moed_request_set_real(r, MOED_TEMPERATURE, 0), 0);
    assert_int_equal(moed_request_set_real(r, MOED_TOP_N_SIGMA, 1.5), 0);
    assert_int_equal(moed_request_set_real(r, MOED_DRY_MULTIPLIER, 0.5), 0);
    assert_int_equal(moed_request_set_real(r, MOED_DRY_BASE, 2), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_DRY_ALLOWED_LENGTH, 3), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_DRY_RANGE, 1000), 0);
    assert_int_equal(moed_request_add_dry_breaker(r, "\n"), 0);
    assert_int_equal(moed_request_add_dry_breaker(r, ""), 0);
    assert_int_equal(moed_request_add_banned(r, "the"), 0);
    assert_int_equal(moed_request_set_real(r, MOED_MIROSTAT_TAU, 5), 0);
    assert_int_equal(moed_request_set_real(r, MOED_MIROSTAT_ETA, 0.25), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_SEED, -1), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_MAX_TOKENS, 9), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_PROMPT_LOGPROBS, 1), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_THINKING, 1), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_EFFORT, MOED_EFFORT_LOW), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_THINKING_TOKENS, 40), 0);
    assert_int_equal(moed_request_set_integer(r, MOED_THINKING_SOFT_TOKENS, 30), 0);
    assert_int_equal(moed_request_add_stop(r, "\n"), 0);
    assert_int_equal(moed_request_add_bias(r, 4, -100), 0);
    assert_int_equal(moed_request_add_message(r, MOED_USER, "hi", 2), 0);
    assert_int_equal(moed_request_add_message(r, MOED_ASSISTANT, "", 0), 0);
    assert_int_equal(moed_request_add_tool_call(r, "f", "{\"x\":1}"), 0);
    assert_int_equal(moed_request_continue_last(r), 0);
    assert_int_equal(moed_request_set_tools(r, "[1]"), 0);
    assert_int_equal(moed_request_set_tools(r, "\xff"), -EINVAL);
    assert_int_equal(moed_request_set_tools(r, "[]"), 0);
    assert_int_equal(moed_generate(p.moed, r, &call, NULL), 0);
    moed_request_free(r); /* it was copied */

    peer_take(&p, SIZE_MAX);
    unsigned flags;
    Ttrpc__Request *request = peer_request(&p, "Generate", NULL, &flags);
    assert_int_equal(flags, TTRPC_REMOTE_CLOSED);
    Moed__V1__GenerateRequest *part = unpack(request->payload.data, request->payload.len);
    assert_string_equal(part->model, "tiny");
    assert_true(part->sampling->has_temperature && part->sampling->temperature == 0);
    assert_false(part->sampling->has_top_p);
    assert_true(part->sampling->seed == UINT64_MAX);
    assert_true(part->sampling->top_n_sigma == 1.5f && part->sampling->mirostat_tau == 5 &&
                part->sampling->mirostat_eta == 0.25f);
    assert_true(part->sampling->dry_multiplier == 0.5f && part->sampling->dry_base == 2);
    assert_int_equal(part->sampling->dry_allowed_length, 3);
    assert_int_equal(part->sampling->dry_range, 1000);
    assert_int_equal(part->sampling->n_banned, 1);
    assert_string_equal(part->sampling->banned[0], "the");
    assert_int_equal(part->sampling->n_dry_breakers, 2);
    assert_string_equal(part->sampling->dry_breakers[0], "\n");
    assert_int_equal(part->sampling->logit_bias[0]->id, 4);
    assert_int_equal(part->max_tokens, 9);
    assert_false(part->has_logprobs);
    assert_true(part->prompt_logprobs);
    assert_string_equal(part->stop[0], "\n");
    assert_true(part->chat->thinking);
    assert_int_equal(part->chat->effort, MOED__V1__EFFORT__EFFORT_LOW);
    assert_int_equal(part->thinking_tokens, 40);
    assert_int_equal(part->thinking_soft_tokens, 30);
    assert_int_equal(part->chat->n_messages, 2);
    assert_string_equal(part->chat->messages[0]->content, "hi");
    assert_true(part->chat->messages[1]->prefix);
    assert_string_equal(part->chat->tools, "[]");
    assert_string_equal(part->chat->messages[1]->calls[0]->arguments, "{\"x\":1}");
    moed__v1__generate_request__free_unpacked(part, NULL);
    ttrpc__request__free_unpacked(request, NULL);
    expect_silence(&p);
    moed_call_free(call);
    peer_close(&p);
}

/* Bytes of a request, and a request of bytes. */
static void test_bytes(void **state)
{
    (void)state;
    static const int32_t cached[] = {3, 4}, made[] = {3, 4, 5};
    uint8_t *bytes[2];
    size_t n[2];
    for (int kind = 0; kind < 4; kind++) {
        struct moed_request *r = moed_request_new(), *again;
        struct moed_receipt receipt = {.size = sizeof receipt, .isa = "avx2", .seed = UINT64_MAX};
        receipt.cached_rows = cached;
        receipt.n_cached_rows = 2;
        receipt.made_rows = made;
        receipt.n_made_rows = 3;
        assert_int_equal(moed_request_set_model(r, "tiny"), 0);
        assert_int_equal(moed_request_set_receipt(r, &receipt), 0);
        receipt.isa = "\xff";
        assert_int_equal(moed_request_set_receipt(r, &receipt), -EINVAL);
        if (kind != 0) {
            assert_int_equal(moed_request_set_real(r, MOED_TEMPERATURE, 0.7), 0);
            assert_int_equal(moed_request_set_integer(r, MOED_MAX_TOKENS, 9), 0);
            assert_int_equal(moed_request_add_stop(r, "end"), 0);
            assert_int_equal(moed_request_add_banned(r, "the"), 0);
            assert_int_equal(moed_request_add_bias(r, 4, -100), 0);
        }
        if (kind == 1) {
            assert_int_equal(moed_request_add_text(r, "before", 6), 0);
            assert_int_equal(moed_request_add_suffix(r, "behind", 6), 0);
        } else if (kind == 2) {
            assert_int_equal(moed_request_add_ids(r, (int32_t[]){1, 70000, 2}, 3), 0);
        } else if (kind == 3) {
            assert_int_equal(moed_request_set_integer(r, MOED_THINKING, 1), 0);
            assert_int_equal(moed_request_add_message(r, MOED_USER, "hi", 2), 0);
            assert_int_equal(moed_request_add_message(r, MOED_ASSISTANT, "", 0), 0);
            assert_int_equal(moed_request_add_tool_call(r, "f", "{}"), 0);
            assert_int_equal(moed_request_set_tools(r, "[]"), 0);
        }
        assert_int_equal(moed_request_pack(r, &bytes[0], &n[0]), 0);
        Moed__V1__GenerateRequest *part = unpack(bytes[0], n[0]);
        assert_string_equal(part->receipt->isa, "avx2");
        assert_true(part->receipt->seed == UINT64_MAX && part->receipt->n_made_rows == 3);
        assert_int_equal(part->receipt->cached_rows[1], 4);
        moed__v1__generate_request__free_unpacked(part, NULL);
        assert_int_equal(moed_request_unpack(bytes[0], n[0], &again), 0);
        assert_int_equal(moed_request_pack(again, &bytes[1], &n[1]), 0);
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        if (kind == 1) { /* it can be added to */
            assert_int_equal(moed_request_add_text(again, "hand", 4), 0);
            assert_int_equal(moed_request_add_stop(again, "stop"), 0);
        }
        if (kind == 3)
            assert_int_equal(moed_request_add_message(again, MOED_USER, "yes?", 4), 0);
        moed_request_free(again);
        for (size_t i = 0; i < n[0]; i++) /* cut anywhere it is none, or another */
            if (moed_request_unpack(bytes[0], i, &again) == 0)
                moed_request_free(again);
        moed_request_free(r);
        free(bytes[0]);
        free(bytes[1]);
    }
    Moed__V1__GenerateRequest strange = MOED__V1__GENERATE_REQUEST__INIT;
    Moed__V1__Chat chat = MOED__V1__CHAT__INIT;
    chat.response_format = (char *)"{}"; /* which a request has no place for */
    strange.chat = &chat;
    uint8_t packed[64];
    size_t n_packed = moed__v1__generate_request__pack(&strange, packed);
    struct moed_request *none = NULL;
    assert_int_equal(moed_request_unpack(packed, n_packed, &none), -EINVAL);
    static const uint8_t unknown[] = {0xf8, 0x7f, 1}; /* a field of another time */
    assert_int_equal(moed_request_unpack(unknown, sizeof unknown, &none), -EINVAL);
    assert_int_equal(moed_request_unpack((const uint8_t *)"\xff", 1, &none), -EINVAL);
    assert_null(none);
}

static Ttrpc__Request *sent(struct peer *p, const char *method)
{
    unsigned flags;
    peer_take(p, SIZE_MAX);
    return peer_request(p, method, NULL, &flags);
}

static void test_in_a_session(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    struct moed_request *r = moed_request_new();
    assert_int_equal(moed_request_set_session(r, "\xff", 0, false), -EINVAL);
    assert_int_equal(moed_request_set_session(r, "fox", 3, true), 0);
    assert_int_equal(moed_generate(p.moed, r, &call, NULL), 0); /* what was cut goes on */
    Ttrpc__Request *request = sent(&p, "Generate");
    Moed__V1__GenerateRequest *part = unpack(request->payload.data, request->payload.len);
    assert_string_equal(part->in_session->session, "fox");
    assert_true(part->in_session->revision == 3 && part->in_session->create);
    assert_null(part->chat);
    moed__v1__generate_request__free_unpacked(part, NULL);
    ttrpc__request__free_unpacked(request, NULL);
    moed_call_free(call);
    peer_close(&p);

    peer_open(&p);
    assert_int_equal(moed_request_set_integer(r, MOED_MAX_TOKENS, 9), 0);
    assert_int_equal(moed_request_add_message(r, MOED_USER, "hi", 2), 0);
    assert_int_equal(moed_session_append(p.moed, "fox", 7, r, &call, NULL), 0);
    request = sent(&p, "SessionAppend");
    Moed__V1__SessionAppendRequest *append =
        moed__v1__session_append_request__unpack(NULL, request->payload.len, request->payload.data);
    assert_string_equal(append->session, "fox");
    assert_int_equal(append->revision, 7);
    assert_null(append->more->in_session);
    assert_int_equal(append->more->max_tokens, 9);
    assert_string_equal(append->more->chat->messages[0]->content, "hi");
    moed__v1__session_append_request__free_unpacked(append, NULL);
    ttrpc__request__free_unpacked(request, NULL);
    moed_call_free(call);
    peer_close(&p);

    peer_open(&p);
    assert_int_equal(moed_session_fork(p.moed, "fox", 0, MOED_ALL_MESSAGES, 5, "owl", &call, NULL),
                     0);
    request = sent(&p, "SessionFork");
    Moed__V1__SessionForkRequest *fork =
        moed__v1__session_fork_request__unpack(NULL, request->payload.len, request->payload.data);
    assert_null(fork->at);
    assert_string_equal(fork->name, "owl");
    moed__v1__session_fork_request__free_unpacked(fork, NULL);
    ttrpc__request__free_unpacked(request, NULL);
    assert_int_equal(moed_session_fork(p.moed, "fox", 0, 0, 0, "\xff", &call, NULL), -EINVAL);
    moed_call_free(call);
    moed_request_free(r);
    peer_close(&p);
}

/* The parts of a request, merged as the daemon merges them. */
struct merged {
    char *text, *suffix;
    size_t n_text, n_suffix;
    int32_t *ids;
    size_t n_ids, n_messages;
    int n_parts, n_tools;
};

static void merge_text(char **text, size_t *n_text, const char *more)
{
    size_t n = strlen(more);
    assert_true(ttrpc_is_utf8(more, n));
    *text = realloc(*text, *n_text + n + 1);
    memcpy(*text + *n_text, more, n + 1);
    *n_text += n;
}

static void merge(struct merged *m, const Moed__V1__GenerateRequest *part)
{
    if (part->text)
        merge_text(&m->text, &m->n_text, part->text);
    if (part->suffix)
        merge_text(&m->suffix, &m->n_suffix, part->suffix);
    if (part->tokens) {
        m->ids = realloc(m->ids, (m->n_ids + part->tokens->n_ids) * sizeof *m->ids);
        memcpy(m->ids + m->n_ids, part->tokens->ids, part->tokens->n_ids * sizeof *m->ids);
        m->n_ids += part->tokens->n_ids;
    }
    for (size_t i = 0; part->chat && i < part->chat->n_messages; i++) {
        char expected[32];
        snprintf(expected, sizeof expected, "message %zu", m->n_messages++);
        assert_string_equal(part->chat->messages[i]->content, expected);
    }
    m->n_tools += part->chat && part->chat->tools;
    assert_int_equal(part->has_max_tokens, m->n_parts == 0);
    m->n_parts++;
}

static void generate_in_parts(const struct moed_request *r, struct merged *ret)
{
    struct peer p;
    struct moed_call *call;
    struct ttrpc_frame frame;
    peer_open(&p);
    assert_int_equal(moed_generate(p.moed, r, &call, NULL), 0);
    peer_take(&p, SIZE_MAX);
    unsigned flags;
    Ttrpc__Request *request = peer_request(&p, "Generate", NULL, &flags);
    assert_int_equal(flags, TTRPC_REMOTE_OPEN);
    assert_int_equal(request->payload.len, 0);
    ttrpc__request__free_unpacked(request, NULL);
    while (peer_frame(&p, &frame) && !(frame.flags & TTRPC_REMOTE_CLOSED)) {
        assert_int_equal(frame.type, TTRPC_DATA);
        assert_int_equal(frame.flags, 0);
        assert_true(frame.n <= (1 << 20) + 4096);
        assert_int_equal(
            ttrpc_check(&moed__v1__generate_request__descriptor, frame.data, frame.n, NULL), 0);
        Moed__V1__GenerateRequest *part = unpack(frame.data, frame.n);
        merge(ret, part);
        moed__v1__generate_request__free_unpacked(part, NULL);
    }
    assert_int_equal(frame.flags, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA);
    assert_int_equal(frame.n, 0);
    assert_int_equal(p.out.n, 0);
    moed_call_free(call);
    peer_close(&p);
}

/* Five megabytes of three-byte characters: no part ends inside one. */
static void test_long_text(void **state)
{
    (void)state;
    enum { BYTES = 5000001 };
    char *text = malloc(BYTES + 1);
    for (int i = 0; i < BYTES; i += 3)
        memcpy(text + i, i % 2 ? "\xe4\xb8\x96" : "\xe0\xa4\xb9", 3);
    struct moed_request *r = moed_request_new();
    moed_request_set_integer(r, MOED_MAX_TOKENS, 1);
    assert_int_equal(moed_request_add_text(r, text, 3000), 0);
    assert_int_equal(moed_request_add_text(r, text + 3000, BYTES - 3000), 0);
    struct merged m = {0};
    generate_in_parts(r, &m);
    assert_int_equal(m.n_text, BYTES);
    assert_memory_equal(m.text, text, BYTES);
    assert_int_equal(m.n_parts, 5);
    free(m.text);
    free(text);
    moed_request_free(r);
}

static void test_hole(void **state)
{
    (void)state;
    enum { BYTES = 3000000 };
    char *text = malloc(BYTES + 1);
    for (int i = 0; i < BYTES; i += 3)
        memcpy(text + i, i % 2 ? "\xe4\xb8\x96" : "\xe0\xa4\xb9", 3);
    for (int n = 0; n < 2; n++) { /* nothing before the hole, and something */
        struct moed_request *r = moed_request_new();
        moed_request_set_integer(r, MOED_MAX_TOKENS, 1);
        if (n > 0)
            assert_int_equal(moed_request_add_text(r, "int", 3), 0);
        assert_int_equal(moed_request_add_suffix(r, text, 3), 0);
        assert_int_equal(moed_request_add_suffix(r, text + 3, BYTES - 3), 0);
        assert_int_equal(moed_request_add_suffix(r, "\xff", 1), -EINVAL);
        assert_int_equal(moed_request_add_ids(r, NULL, 0), -EINVAL);
        struct merged m = {0};
        generate_in_parts(r, &m);
        assert_int_equal(m.n_text, 3 * n);
        assert_int_equal(m.n_suffix, BYTES);
        assert_memory_equal(m.suffix, text, BYTES);
        assert_int_equal(m.n_parts, 3 + n);
        free(m.text);
        free(m.suffix);
        moed_request_free(r);
    }
    free(text);
}

static void test_many_ids(void **state)
{
    (void)state;
    enum { N = 250000 };
    int32_t *ids = malloc(N * sizeof *ids);
    for (int i = 0; i < N; i++)
        ids[i] = i * 7;
    struct moed_request *r = moed_request_new();
    moed_request_set_integer(r, MOED_MAX_TOKENS, 1);
    assert_int_equal(moed_request_add_ids(r, ids, N), 0);
    struct merged m = {0};
    generate_in_parts(r, &m);
    assert_int_equal(m.n_ids, N);
    assert_memory_equal(m.ids, ids, N * sizeof *ids);
    free(m.ids);
    free(ids);
    moed_request_free(r);
}

/* Many small messages: the daemon bounds the fields of a part. */
static void test_many_messages(void **state)
{
    (void)state;
    char text[32];
    struct moed_request *r = moed_request_new();
    moed_request_set_integer(r, MOED_MAX_TOKENS, 1);
    for (int i = 0; i < 3000; i++) {
        int n = snprintf(text, sizeof text, "message %d", i);
        assert_int_equal(moed_request_add_message(r, MOED_USER, text, (size_t)n), 0);
    }
    assert_int_equal(moed_request_set_tools(r, "[]"), 0);
    struct merged m = {0};
    generate_in_parts(r, &m);
    assert_int_equal(m.n_messages, 3000);
    assert_int_equal(m.n_tools, 1);
    moed_request_free(r);
}

/* What exceeds a frame and cannot be cut fails here, and nothing of it is sent. */
static void test_too_large(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    peer_open(&p);
    char *text = malloc(TTRPC_MAX_DATA + 1);
    memset(text, 'x', TTRPC_MAX_DATA + 1);
    assert_int_equal(moed_tokenize(p.moed, NULL, text, TTRPC_MAX_DATA, 0, &call, &error),
                     -EMSGSIZE);
    assert_int_equal(error.status, MOED_RESOURCE_EXHAUSTED);
    struct moed_request *r = moed_request_new();
    assert_int_equal(moed_request_add_message(r, MOED_USER, text, TTRPC_MAX_DATA + 1), -EMSGSIZE);
    text[TTRPC_MAX_DATA] = '\0';
    assert_int_equal(moed_request_set_tools(r, text), -EMSGSIZE);
    text[TTRPC_MAX_DATA] = 'x';
    assert_int_equal(moed_request_add_message(r, MOED_USER, "small", 5), 0);
    assert_int_equal(moed_request_add_message(r, MOED_USER, text, TTRPC_MAX_DATA), 0);
    assert_int_equal(moed_generate(p.moed, r, &call, &error), -EMSGSIZE);
    assert_int_equal(moed_render(p.moed, r, &call, &error), -EMSGSIZE);
    assert_null(call);
    expect_silence(&p);
    moed_request_free(r);
    free(text);
    peer_close(&p);
}

static void test_text_of_methods(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    peer_open(&p);
    assert_int_equal(moed_tokenize(p.moed, NULL, "ab\0c", 4, 0, &call, &error), -EINVAL);
    assert_string_equal(error.message, "text: holds a zero byte at 2");
    assert_int_equal(error.status, MOED_INVALID_ARGUMENT);
    assert_int_equal(moed_embed(p.moed, NULL, "a", 1, "\xff", 0, &call, &error), -EINVAL);
    assert_string_equal(error.message, "pooling: is not UTF-8");
    assert_int_equal(moed_embed(p.moed, NULL, "\xff", 1, "mean", 0, &call, &error), -EINVAL);
    assert_int_equal(moed_show(p.moed, "\x80", &call, &error), -EINVAL);
    assert_string_equal(error.message, "model: is not UTF-8");
    assert_null(call);
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setters_refuse), cmocka_unit_test(test_whole),
        cmocka_unit_test(test_long_text),      cmocka_unit_test(test_hole),
        cmocka_unit_test(test_many_ids),       cmocka_unit_test(test_many_messages),
        cmocka_unit_test(test_in_a_session),   cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_too_large),      cmocka_unit_test(test_text_of_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
