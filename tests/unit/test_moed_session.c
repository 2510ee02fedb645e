/* SPDX-License-Identifier: MIT
 *
 * The client's protocol without sockets: recorded frames, every split of them, what odd peers do,
 * gaps, cancelling, deadlines. The recorded bytes were taken from a Go server of ttrpc 1.2.
 */
#include <errno.h>
#include <stdio.h>

#include <math.h>

#include "moed_peer.h"

/* ---- what a callback has seen */
struct seen {
    char text[256];
    int n_messages, n_ends, result;
    bool frees, cancels;
};

static void on_progress(struct moed_call *call, int result, void *arg)
{
    struct seen *seen = arg;
    assert_int_equal(seen->n_ends, 0);
    if (result == 1) {
        seen->n_messages++;
        const struct moed_event *event = moed_call_event(call);
        if (event)
            strcat(seen->text, event->text);
    } else {
        seen->n_ends++;
        seen->result = result;
    }
    if (seen->cancels && result == 1)
        moed_call_cancel(call);
    if (seen->frees)
        moed_call_free(call);
}

static void expect_failure(struct moed_call *call, int code, int status, const char *words)
{
    struct moed_error error = MOED_ERROR_INIT;
    assert_true(moed_call_is_done(call));
    assert_int_equal(moed_call_result(call, &error), code);
    assert_int_equal(error.code, code);
    assert_int_equal(error.status, status);
    if (words)
        assert_non_null(strstr(error.message, words));
}

static void test_golden_unary(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    static const uint8_t ping[] = "\0\0\0\x16\0\0\0\1\1\0\x0a\x0emoed.v1.Engine\x12\x04Ping";
    peer_open(&p);
    assert_int_equal(moed_raw(p.moed, "Ping", 0, NULL, 0, &call, NULL), 0);
    peer_take(&p, SIZE_MAX);
    assert_int_equal(p.out.n, sizeof ping - 1);
    assert_memory_equal(p.out.data + p.out.start, ping, sizeof ping - 1);

    put_hex(&p, "00000007 00000001 0200 12050a03686921");
    assert_int_equal(peer_feed(&p), 0);
    size_t n;
    const char *bytes = moed_call_bytes(call, &n);
    assert_int_equal(n, 5);
    assert_memory_equal(bytes, "\n\x03hi!", 5);
    assert_int_equal(moed_wait(call, NULL), 0);
    moed_call_free(call);
    peer_close(&p);
}

static void test_golden_failure(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    assert_int_equal(moed_raw(p.moed, "Nope", 0, "", 0, &call, NULL), 0);
    put_hex(&p, "00000011 00000001 0200 0a0f080c120b6d6574686f64204e6f7065");
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(call, -EOPNOTSUPP, MOED_UNIMPLEMENTED, "method Nope");
    moed_call_free(call);
    peer_close(&p);
}

static void test_golden_stream(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    size_t n;
    peer_open(&p);
    assert_int_equal(moed_raw(p.moed, "Down", MOED_RAW_STREAM, "\n\1x", 3, &call, NULL), 0);
    peer_take(&p, SIZE_MAX);
    unsigned flags;
    Ttrpc__Request *request = peer_request(&p, "Down", NULL, &flags);
    assert_int_equal(flags, TTRPC_REMOTE_CLOSED);
    assert_int_equal(request->payload.len, 3);
    ttrpc__request__free_unpacked(request, NULL);
    put_hex(&p, "00000004 00000001 0300 0a027830 00000000 00000001 0305");
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_next(call, NULL), 1);
    assert_memory_equal(moed_call_bytes(call, &n), "\n\2x0", 4);
    assert_int_equal(n, 4);
    assert_int_equal(moed_next(call, NULL), 0);
    moed_call_free(call);
    peer_close(&p);
}

/* Where the daemon knows when there may be room, the caller does too. */
static void test_retry_after(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    struct moed_error error = MOED_ERROR_INIT;
    peer_open(&p);
    Moed__V1__RetryAfter retry = MOED__V1__RETRY_AFTER__INIT;
    retry.has_retry_after_ms = true;
    for (uint32_t stream = 1; stream <= 5; stream += 2) {
        const ProtobufCMessage *detail = stream == 1 ? &retry.base : NULL;
        Moed__V1__CancelResponse other = MOED__V1__CANCEL_RESPONSE__INIT;
        if (stream == 5)
            detail = &other.base;
        retry.retry_after_ms = 2500;
        assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
        peer_take(&p, SIZE_MAX);
        assert_int_equal(ttrpc_put_failure(&p.in, stream, MOED_RESOURCE_EXHAUSTED, "full", detail),
                         0);
        assert_int_equal(peer_feed(&p), 0);
        assert_int_equal(moed_call_result(call, &error), -EBUSY);
        assert_string_equal(error.message, "full");
        assert_int_equal(error.retry_after_ms, stream == 1 ? 2500 : 0);
        moed_call_free(call);
    }
    peer_close(&p);
}

/* Three calls answered out of order, a generation among them. */
static void put_conversation(struct peer *p)
{
    Moed__V1__TokenizeResponse tokens = MOED__V1__TOKENIZE_RESPONSE__INIT;
    int32_t ids[] = {7, 300, 70000};
    tokens.ids = ids;
    tokens.n_ids = 3;
    put_event(p, 1, 0, "", 0, 0);
    assert_int_equal(ttrpc_put_response(&p->in, 5, 0, NULL, &tokens.base), 0);
    put_event(p, 1, 1, "a\xc3\xa9", 0, 0);
    put_event(p, 1, 2, " z", MOED_FINISH_STOP, 0);
    put_response(p, 3, MOED_NOT_FOUND, "no model 'x'");
    put_end(p, 1);
}

static void check_split(size_t first, size_t step)
{
    struct peer p;
    struct moed_call *missing, *tokens;
    peer_open(&p);
    struct moed_call *generation = start_generation(&p);
    struct seen seen = {0};
    moed_call_on(generation, on_progress, &seen);
    assert_int_equal(moed_show(p.moed, "x", &missing, NULL), 0);
    assert_int_equal(moed_tokenize(p.moed, "t", "hello", 5, 0, &tokens, NULL), 0);
    put_conversation(&p);

    const uint8_t *bytes = p.in.data + p.in.start;
    size_t at = 0;
    for (size_t n = first; at < p.in.n; n = step) {
        n = n < p.in.n - at ? n : p.in.n - at;
        uint8_t *piece = malloc(n); /* exactly as large, so that a sanitizer sees one byte more */
        memcpy(piece, bytes + at, n);
        assert_int_equal(session_feed(&p.moed->session, piece, n), 0);
        free(piece);
        at += n;
    }
    assert_string_equal(seen.text, "a\xc3\xa9 z");
    assert_int_equal(seen.n_messages, 3);
    assert_int_equal(seen.n_ends, 1);
    assert_int_equal(seen.result, 0);
    expect_failure(missing, -ENOENT, MOED_NOT_FOUND, "no model 'x'");
    size_t n;
    const int32_t *ids = moed_call_ids(tokens, &n);
    assert_int_equal(n, 3);
    assert_int_equal(ids[2], 70000);
    assert_int_equal(p.moed->session.n_strays, 0);
    moed_call_free(generation);
    moed_call_free(missing);
    moed_call_free(tokens);
    peer_close(&p);
}

static void test_every_split(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    put_conversation(&p);
    size_t all = p.in.n;
    for (size_t first = 1; first < all; first++)
        check_split(first, all);
    check_split(1, 1);
    check_split(3, 3);
    peer_close(&p);
}

/* T1: a stream ended by RESPONSE(OK) has ended; an answer without its last event is incomplete. */
static void test_stream_ended_by_response(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    struct moed_call *whole = start_generation(&p), *torn = start_generation(&p);
    put_event(&p, 1, 0, "x", MOED_FINISH_LENGTH, 0);
    put_response(&p, 1, 0, NULL);
    put_event(&p, 3, 0, "x", 0, 0);
    put_response(&p, 3, 0, NULL);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_next(whole, NULL), 1);
    assert_int_equal(moed_call_event(whole)->finish, MOED_FINISH_LENGTH);
    assert_int_equal(moed_next(whole, NULL), 0);
    assert_int_equal(moed_next(torn, NULL), 1);
    assert_int_equal(moed_next(torn, NULL), -EBADMSG);
    expect_failure(torn, -EBADMSG, MOED_DATA_LOSS, "without the last one");
    moed_call_free(whole);
    moed_call_free(torn);
    peer_close(&p);
}

/* T2: the last message may come in the closing frame. T3: no bytes are an empty message. */
static void test_closing_data_and_empty_data(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *raw;
    size_t n;
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    put_event(&p, 1, 0, "end", MOED_FINISH_STOP, TTRPC_REMOTE_CLOSED);
    assert_int_equal(moed_raw(p.moed, "Any", MOED_RAW_STREAM, NULL, 0, &raw, NULL), 0);
    put_data(&p, 3, 0, NULL, 0);
    put_data(&p, 3, TTRPC_NO_DATA, NULL, 0);
    put_data(&p, 3, TTRPC_REMOTE_CLOSED, NULL, 0);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_next(call, NULL), 1);
    assert_string_equal(moed_call_event(call)->text, "end");
    assert_int_equal(moed_next(call, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(moed_next(raw, NULL), 1);
        moed_call_bytes(raw, &n);
        assert_int_equal(n, 0);
    }
    assert_int_equal(moed_next(raw, NULL), 0);
    moed_call_free(call);
    moed_call_free(raw);
    peer_close(&p);
}

/* T7: frames of finished or unknown streams, of unknown types, and requests: counted, ignored. */
static void test_strays(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call, *other;
    peer_open(&p);
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    assert_int_equal(moed_ping(p.moed, &other, NULL), 0);
    put_response(&p, 1, MOED_DEADLINE_EXCEEDED, "late");
    put_response(&p, 1, MOED_DEADLINE_EXCEEDED, "late");
    put_end(&p, 1);
    put_data(&p, 2, 0, "x", 1);
    put_response(&p, 77, 0, NULL);
    put_hex(&p, "00000001 00000003 0900 ff");
    put_hex(&p, "00000000 00000003 0100");
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(p.moed->session.n_strays, 6);
    expect_failure(call, -ETIMEDOUT, MOED_DEADLINE_EXCEEDED, "late");
    assert_false(moed_call_is_done(other));
    put_response(&p, 3, 0, NULL);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_wait(other, NULL), 0);
    moed_call_free(call);
    moed_call_free(other);
    peer_close(&p);
}

/* T6, a race: the last frame of a stream arrives when any number of bytes of a long prompt have
 * left. The frame that was begun is ended, and no other one of the stream follows. */
static void check_race(const struct moed_request *request, size_t sent)
{
    struct peer p;
    struct moed_call *call, *ping;
    peer_open(&p);
    assert_int_equal(moed_generate(p.moed, request, &call, NULL), 0);
    assert_int_equal(moed_ping(p.moed, &ping, NULL), 0);
    peer_take(&p, sent);
    put_response(&p, 1, MOED_PERMISSION_DENIED, "no");
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(call, -EACCES, MOED_PERMISSION_DENIED, "no");

    size_t rest = peer_take(&p, SIZE_MAX), at = 0;
    struct ttrpc_frame frame = {0};
    while (peer_frame(&p, &frame)) {
        assert_true(frame.stream == 3 || at < sent); /* begun before the end came */
        at += TTRPC_HEADER_BYTES + frame.n;
    }
    assert_int_equal(at, sent + rest);
    assert_int_equal(p.out.n, 0); /* whole frames only */
    assert_int_equal(p.moed->session.out_bytes, 0);
    moed_call_free(call);
    moed_call_free(ping);
    peer_close(&p);
}

static void test_end_races_prompt(void **state)
{
    (void)state;
    enum { BYTES = 3 << 20 };
    char *text = malloc(BYTES);
    memset(text, 'a', BYTES);
    struct moed_request *request = moed_request_new();
    assert_int_equal(moed_request_add_text(request, text, BYTES), 0);
    for (size_t sent = 1; sent < 60; sent++)
        check_race(request, sent);
    for (size_t sent = 60; sent < BYTES; sent += 99991)
        check_race(request, sent);
    moed_request_free(request);
    free(text);
}

/* ---- generations */
static void test_gaps(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    put_event(&p, 1, 0, "a", 0, 0);
    put_event(&p, 1, 2, "c", 0, 0);
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(call, -EBADMSG, MOED_DATA_LOSS, "seq is 2, expected 1");
    assert_int_equal(moed_next(call, NULL), 1); /* what was whole can still be read */
    assert_int_equal(moed_next(call, NULL), -EBADMSG);
    expect_cancel(&p, 1);
    moed_call_free(call);

    call = start_generation(&p);
    uint32_t stream = call->stream;
    Moed__V1__GenerateEvent event = MOED__V1__GENERATE_EVENT__INIT;
    Moed__V1__Token token = MOED__V1__TOKEN__INIT, *tokens[] = {&token};
    event.tokens = tokens;
    event.n_tokens = 1;
    event.has_first_index = true;
    event.first_index = 1;
    assert_int_equal(ttrpc_put_message(&p.in, stream, TTRPC_DATA, 0, &event.base), 0);
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(call, -EBADMSG, MOED_DATA_LOSS, "first_index is 1, expected 0");
    moed_call_free(call);
    peer_close(&p);
}

/* XXH3-64 of "hmmyes", by libxxhash in one call. */
static void check_hash(uint64_t hash, int expected)
{
    struct peer p;
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    Moed__V1__GenerateEvent event = MOED__V1__GENERATE_EVENT__INIT;
    event.thinking = (char *)"hmm";
    assert_int_equal(ttrpc_put_message(&p.in, 1, TTRPC_DATA, 0, &event.base), 0);
    moed__v1__generate_event__init(&event);
    event.has_seq = event.has_finish = event.has_text_hash = true;
    event.seq = 1;
    event.finish = MOED__V1__FINISH__FINISH_STOP;
    event.text = (char *)"yes";
    event.text_hash = hash;
    assert_int_equal(ttrpc_put_message(&p.in, 1, TTRPC_DATA, 0, &event.base), 0);
    put_end(&p, 1);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_call_result(call, NULL), expected);
    moed_call_free(call);
    peer_close(&p);
}

static void test_hash(void **state)
{
    (void)state;
    check_hash(UINT64_C(0xc078329d89f0f401), 0);
    check_hash(UINT64_C(0xc078329d89f0f401) ^ 1, -EBADMSG);
}

/* "hmm" is thought, "yes" is the end. */
static void put_part(struct peer *p, uint32_t stream, uint64_t seq, int index, bool is_end)
{
    Moed__V1__GenerateEvent event = MOED__V1__GENERATE_EVENT__INIT;
    Moed__V1__Token token = MOED__V1__TOKEN__INIT, *tokens[] = {&token};
    event.has_seq = event.has_index = event.has_first_index = true;
    event.seq = seq;
    event.index = index;
    event.tokens = tokens;
    event.n_tokens = 1;
    event.first_index = is_end;
    *(is_end ? &event.text : &event.thinking) = (char *)(is_end ? "yes" : "hmm");
    event.has_finish = event.has_text_hash = event.has_mean_logprob = is_end;
    event.finish = is_end ? MOED__V1__FINISH__FINISH_STOP : MOED__V1__FINISH__FINISH_NONE;
    event.text_hash = UINT64_C(0xc078329d89f0f401);
    event.mean_logprob = -2;
    assert_int_equal(ttrpc_put_message(&p->in, stream, TTRPC_DATA, 0, &event.base), 0);
}

/* Each of several answers has its own order, its own hash and its own end. */
static void test_several(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    struct moed_request *request = moed_request_new();
    assert_int_equal(moed_request_add_text(request, "once", 4), 0);
    assert_int_equal(moed_request_set_integer(request, MOED_N, 2), 0);
    assert_int_equal(moed_generate(p.moed, request, &call, NULL), 0);
    static const int order[][2] = {{1, false}, {0, false}, {1, true}, {0, true}};
    for (uint64_t i = 0; i < 4; i++)
        put_part(&p, call->stream, i, order[i][0], order[i][1]);
    put_end(&p, call->stream);
    assert_int_equal(peer_feed(&p), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(moed_next(call, NULL), 1);
        const struct moed_event *event = moed_call_event(call);
        assert_int_equal(event->index, order[i][0]);
        assert_true(order[i][1] ? event->mean_logprob == -2 : isnan(event->mean_logprob));
    }
    assert_int_equal(moed_next(call, NULL), 0);
    moed_call_free(call);

    assert_int_equal(moed_generate(p.moed, request, &call, NULL), 0);
    put_part(&p, call->stream, 0, 1, false);
    put_part(&p, call->stream, 1, 1, true);
    put_end(&p, call->stream); /* and the other one? */
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(call, -EBADMSG, MOED_DATA_LOSS, "");
    moed_call_free(call);
    static const struct {
        int index;
        const char *words;
    } bad[] = {{2, "answer 2, of 2"}, {-1, "answer -1, of 2"}, {1, "after the last one"}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(moed_generate(p.moed, request, &call, NULL), 0);
        put_part(&p, call->stream, 0, 1, false);
        put_part(&p, call->stream, 1, 1, true);
        put_part(&p, call->stream, 2, bad[i].index, true);
        assert_int_equal(peer_feed(&p), 0);
        expect_failure(call, -EBADMSG, MOED_INTERNAL, bad[i].words);
        moed_call_free(call);
    }
    moed_request_free(request);
    peer_close(&p);
}

static void test_event_fields(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    Moed__V1__TopLogprob top = MOED__V1__TOP_LOGPROB__INIT, *tops[] = {&top};
    Moed__V1__Token token = MOED__V1__TOKEN__INIT, *tokens[] = {&token};
    Moed__V1__Usage usage = MOED__V1__USAGE__INIT;
    Moed__V1__GenerateEvent event = MOED__V1__GENERATE_EVENT__INIT;
    int32_t prompt[] = {0, 5};
    top.has_id = top.has_logprob = true;
    top.id = 9;
    top.logprob = -0.1f;
    token.has_id = token.has_text = token.has_logprob = true;
    token.id = 8;
    token.text = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"\xc3\0"};
    token.logprob = -2.5f;
    token.top = tops;
    token.n_top = 1;
    usage.has_prompt_tokens = usage.has_decode_seconds = true;
    usage.prompt_tokens = 2;
    usage.decode_seconds = 0.5;
    event.tokens = tokens;
    event.n_tokens = 1;
    event.prompt = prompt;
    event.n_prompt = 2;
    event.model = (char *)"tiny";
    event.has_finish = true;
    event.finish = MOED__V1__FINISH__FINISH_ERROR;
    event.error = (char *)"numbers ran away";
    event.usage = &usage;
    Moed__V1__Receipt receipt = MOED__V1__RECEIPT__INIT;
    receipt.place = (char *)"cpu";
    receipt.isa = (char *)"amx";
    receipt.attention = (char *)"absorbed";
    receipt.sampler = (char *)"draw";
    receipt.has_seed = true;
    receipt.seed = UINT64_MAX;
    int32_t rows[] = {40, 24};
    receipt.cached_rows = rows;
    receipt.n_cached_rows = 2;
    event.receipt = &receipt;
    Moed__V1__Token scored = MOED__V1__TOKEN__INIT, *prompt_tokens[] = {&scored};
    scored.id = 5;
    scored.has_logprob = true;
    scored.logprob = -1.5f;
    event.prompt_tokens = prompt_tokens;
    event.n_prompt_tokens = 1;
    Moed__V1__CallDelta begun = MOED__V1__CALL_DELTA__INIT, ended = MOED__V1__CALL_DELTA__INIT;
    Moed__V1__CallDelta *calls[] = {&begun, &ended};
    begun.id = (char *)"call_1";
    begun.name = (char *)"f";
    ended.has_index = ended.has_done = true;
    ended.index = 1;
    ended.arguments = (char *)"{}";
    ended.done = true;
    event.calls = calls;
    event.n_calls = 2;
    assert_int_equal(ttrpc_put_message(&p.in, 1, TTRPC_DATA, 0, &event.base), 0);
    put_end(&p, 1);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_next(call, NULL), 1);
    const struct moed_event *e = moed_call_event(call);
    assert_int_equal(e->size, sizeof *e);
    assert_int_equal(e->n_prompt, 2);
    assert_int_equal(e->prompt[1], 5);
    assert_string_equal(e->model, "tiny");
    assert_int_equal(e->tokens[0]->text_bytes, 2);
    assert_memory_equal(e->tokens[0]->text, "\xc3\0", 2);
    assert_true(e->tokens[0]->logprob == -2.5f);
    assert_int_equal(e->tokens[0]->top[0]->id, 9);
    assert_true(e->tokens[0]->top[0]->logprob == -0.1f);
    assert_null(e->tokens[0]->top[0]->text);
    assert_string_equal(e->error, "numbers ran away");
    assert_int_equal(e->usage->prompt_tokens, 2);
    assert_true(e->usage->decode_seconds == 0.5);
    assert_int_equal(e->receipt->size, sizeof *e->receipt);
    assert_string_equal(e->receipt->place, "cpu");
    assert_string_equal(e->receipt->isa, "amx");
    assert_string_equal(e->receipt->cache, "");
    assert_string_equal(e->receipt->attention, "absorbed");
    assert_string_equal(e->receipt->sampler, "draw");
    assert_true(e->receipt->seed == UINT64_MAX);
    assert_int_equal(e->receipt->n_cached_rows, 2);
    assert_int_equal(e->receipt->cached_rows[1], 24);
    assert_int_equal(e->n_prompt_tokens, 1);
    assert_true(e->prompt_tokens[0]->logprob == -1.5f);
    assert_string_equal(e->text, "");
    assert_int_equal(e->n_calls, 2);
    assert_string_equal(e->calls[0]->id, "call_1");
    assert_string_equal(e->calls[0]->name, "f");
    assert_string_equal(e->calls[0]->arguments, "");
    assert_false(e->calls[0]->done);
    assert_int_equal(e->calls[1]->index, 1);
    assert_null(e->calls[1]->id);
    assert_null(e->calls[1]->name);
    assert_string_equal(e->calls[1]->arguments, "{}");
    assert_true(e->calls[1]->done);
    moed_call_free(call);
    peer_close(&p);
}

/* A broken message, text that is not UTF-8, an answer of the wrong shape. */
static void test_broken_messages(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    struct moed_call *a = start_generation(&p), *b = start_generation(&p);
    put_data(&p, 1, 0, "\xff\xff\xff", 3);
    put_data(&p, 3, 0, "\x42\x02\xc3\x28", 4); /* field 8, text */
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    put_data(&p, 5, 0, "", 0);
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(a, -EBADMSG, MOED_INTERNAL, "broken GenerateEvent");
    expect_failure(b, -EBADMSG, MOED_INTERNAL, "broken GenerateEvent");
    expect_failure(call, -EBADMSG, MOED_INTERNAL, "stream");
    moed_call_free(a);
    moed_call_free(b);
    moed_call_free(call);
    peer_close(&p);
}

/* ---- cancelling */
static void test_cancel_by_id(void **state)
{
    (void)state;
    struct peer p;
    struct seen seen = {0};
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    moed_call_on(call, on_progress, &seen);
    put_event(&p, 1, 0, "a", 0, 0);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(session_cancel(&p.moed->session, call), 1);
    put_event(&p, 1, 1, "b", 0, 0);
    put_event(&p, 1, 2, "", MOED_FINISH_CANCELLED, 0);
    put_end(&p, 1);
    assert_int_equal(peer_feed(&p), 0);
    assert_string_equal(seen.text, "a");
    assert_int_equal(seen.n_ends, 0);
    expect_failure(call, -ECANCELED, MOED_CANCELLED, "cancelled");
    moed_call_free(call);
    peer_close(&p);
}

/* Cancelled before the daemon has named it: the Cancel goes out with the first event. */
static void test_cancel_before_id(void **state)
{
    (void)state;
    struct peer p;
    struct seen seen = {0};
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    moed_call_on(call, on_progress, &seen);
    assert_int_equal(session_cancel(&p.moed->session, call), 0);
    expect_silence(&p);
    moed_call_free(call);
    put_event(&p, 1, 0, "a", 0, 0);
    assert_int_equal(peer_feed(&p), 0);
    expect_cancel(&p, 1);
    assert_int_equal(seen.n_messages + seen.n_ends, 0);
    put_response(&p, 3, 0, NULL); /* the Cancel's answer frees its ghost */
    assert_int_equal(peer_feed(&p), 0);
    assert_null(p.moed->session.calls);
    peer_close(&p);
}

/* Cancelled before anything has left: the daemon never hears of it. */
static void test_cancel_unsent(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    struct moed_request *request = moed_request_new();
    moed_request_add_text(request, "x", 1);
    assert_int_equal(moed_generate(p.moed, request, &call, NULL), 0);
    assert_int_equal(session_cancel(&p.moed->session, call), 0);
    expect_silence(&p);
    moed_call_free(call);
    moed_request_free(request);
    peer_close(&p);
}

static void test_cancel_and_free_in_callback(void **state)
{
    (void)state;
    struct peer p;
    peer_open(&p);
    struct moed_call *a = start_generation(&p), *b = start_generation(&p);
    struct seen cancels = {.cancels = true}, frees = {.frees = true};
    moed_call_on(a, on_progress, &cancels);
    moed_call_on(b, on_progress, &frees);
    for (uint32_t stream = 1; stream <= 3; stream += 2) {
        put_event(&p, stream, 0, "a", 0, 0);
        put_event(&p, stream, 1, "b", MOED_FINISH_STOP, TTRPC_REMOTE_CLOSED);
    }
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(cancels.n_messages, 1);
    assert_int_equal(cancels.n_ends, 0);
    assert_int_equal(frees.n_messages, 1);
    assert_int_equal(frees.n_ends, 0);
    expect_cancel(&p, 1);
    expect_cancel(&p, 3);
    moed_call_free(a);

    /* the message and the end in one frame */
    a = start_generation(&p);
    b = start_generation(&p);
    cancels = (struct seen){.cancels = true};
    frees = (struct seen){.frees = true};
    moed_call_on(a, on_progress, &cancels);
    moed_call_on(b, on_progress, &frees);
    put_event(&p, a->stream, 0, "a", MOED_FINISH_STOP, TTRPC_REMOTE_CLOSED);
    put_event(&p, b->stream, 0, "a", MOED_FINISH_STOP, TTRPC_REMOTE_CLOSED);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(cancels.n_messages + frees.n_messages, 2);
    assert_int_equal(cancels.n_ends + frees.n_ends, 0);
    expect_silence(&p);
    moed_call_free(a);
    peer_close(&p);
}

/* ---- ends */
static void test_eof(void **state)
{
    (void)state;
    struct peer p;
    struct seen seen = {0};
    struct moed_call *ping, *late;
    struct moed_error error = MOED_ERROR_INIT;
    peer_open(&p);
    struct moed_call *pulled = start_generation(&p), *pushed = start_generation(&p);
    moed_call_on(pushed, on_progress, &seen);
    assert_int_equal(moed_ping(p.moed, &ping, NULL), 0);
    put_event(&p, 1, 0, "a", 0, 0);
    put_hex(&p, "000000");
    assert_int_equal(peer_feed(&p), 0);
    close(p.fd);
    assert_int_equal(moed_dispatch(p.moed), -ECONNRESET);
    assert_false(moed_is_open(p.moed));
    assert_int_equal(moed_next(pulled, NULL), 1);
    assert_int_equal(moed_next(pulled, NULL), -ECONNRESET);
    expect_failure(pulled, -ECONNRESET, MOED_UNAVAILABLE, "in the middle of a frame");
    expect_failure(ping, -ECONNRESET, MOED_UNAVAILABLE, NULL);
    assert_int_equal(seen.n_ends, 1);
    assert_int_equal(seen.result, -ECONNRESET);
    assert_int_equal(moed_ping(p.moed, &late, &error), -ENOTCONN);
    assert_int_equal(error.status, MOED_UNAVAILABLE);
    moed_call_free(pulled);
    moed_call_free(pushed);
    moed_call_free(ping);
    p.fd = -1;
    peer_close(&p);
}

static void test_not_ttrpc(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    put_hex(&p, "01000000 00000001 0200");
    assert_int_equal(peer_feed(&p), -EPROTO);
    expect_failure(call, -EPROTO, MOED_UNAVAILABLE, "does not speak ttrpc");
    moed_call_free(call);
    peer_close(&p);
}

/* An oversize frame costs its stream alone. */
static void test_oversize(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call, *other;
    peer_open(&p);
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    assert_int_equal(moed_ping(p.moed, &other, NULL), 0);
    put_hex(&p, "00400001 00000001 0200");
    memset(ttrpc_buf_add(&p.in, TTRPC_MAX_DATA + 1), 'x', TTRPC_MAX_DATA + 1);
    put_response(&p, 3, 0, NULL);
    assert_int_equal(peer_feed(&p), 0);
    expect_failure(call, -EMSGSIZE, MOED_RESOURCE_EXHAUSTED, "4194305 bytes");
    assert_int_equal(moed_wait(other, NULL), 0);
    moed_call_free(call);
    moed_call_free(other);
    peer_close(&p);
}

static void test_deadline(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    peer_open(&p);
    assert_true(moed_timeout(p.moed) == UINT64_MAX);
    moed_set_timeout(p.moed, 250);
    assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
    peer_take(&p, SIZE_MAX);
    Ttrpc__Request *request = peer_request(&p, "Ping", NULL, NULL);
    assert_true(request->timeout_nano == 250000000);
    ttrpc__request__free_unpacked(request, NULL);
    uint64_t at = moed_timeout(p.moed);
    session_expire(&p.moed->session, at - 1);
    assert_false(moed_call_is_done(call));
    session_expire(&p.moed->session, at);
    expect_failure(call, -ETIMEDOUT, MOED_DEADLINE_EXCEEDED, NULL);
    moed_call_free(call);
    peer_close(&p);
}

/* A reader that does not read: alone, the socket is left unread; beside others, it is given up. */
static void test_slow_reader(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20 };
    struct peer p;
    struct moed_call *ping;
    peer_open(&p);
    struct moed_call *call = start_generation(&p);
    char *text = malloc(BYTES + 1);
    memset(text, 'x', BYTES);
    text[BYTES] = '\0';
    uint64_t seq = 0;
    for (; seq < 2; seq++)
        put_event(&p, 1, seq, text, 0, 0);
    assert_int_equal(peer_feed(&p), 0);
    assert_int_equal(moed_events(p.moed), 0);
    assert_int_equal(moed_next(call, NULL), 1);
    assert_int_equal(moed_next(call, NULL), 1);
    assert_true(moed_events(p.moed) != 0);

    assert_int_equal(moed_ping(p.moed, &ping, NULL), 0);
    peer_swallow(&p);
    for (int i = 0; i < 16 && !moed_call_is_done(call); i++) {
        put_event(&p, 1, seq++, text, 0, 0);
        assert_int_equal(peer_feed(&p), 0);
        assert_true(moed_events(p.moed) != 0);
    }
    expect_failure(call, -EBUSY, MOED_RESOURCE_EXHAUSTED, "not read");
    expect_cancel(&p, 1);
    assert_false(moed_call_is_done(ping));
    free(text);
    moed_call_free(call);
    moed_call_free(ping);
    peer_close(&p);
}

static void test_stream_ids(void **state)
{
    (void)state;
    struct peer p;
    struct moed_call *call;
    struct moed_error error = MOED_ERROR_INIT;
    peer_open(&p);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(moed_ping(p.moed, &call, NULL), 0);
        assert_int_equal(call->stream, 1 + 2 * i);
        moed_call_free(call);
    }
    p.moed->session.last_stream = UINT32_MAX;
    assert_int_equal(moed_ping(p.moed, &call, &error), -EOVERFLOW);
    assert_int_equal(error.code, -EOVERFLOW);
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_unary),
        cmocka_unit_test(test_golden_failure),
        cmocka_unit_test(test_golden_stream),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_stream_ended_by_response),
        cmocka_unit_test(test_closing_data_and_empty_data),
        cmocka_unit_test(test_strays),
        cmocka_unit_test(test_end_races_prompt),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_event_fields),
        cmocka_unit_test(test_broken_messages),
        cmocka_unit_test(test_cancel_by_id),
        cmocka_unit_test(test_cancel_before_id),
        cmocka_unit_test(test_cancel_unsent),
        cmocka_unit_test(test_cancel_and_free_in_callback),
        cmocka_unit_test(test_eof),
        cmocka_unit_test(test_not_ttrpc),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_stream_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
