/* SPDX-License-Identifier: MIT
 *
 * The codec against recorded frames, against every split of its input, and against liars.
 *
 * The golden frames were recorded on the wire between ttrpc's Go 1.1.1 and 1.2.4 and Rust 0.5.2
 * programs, service moe.test.Echo with a string wrapper {1: value} as payload.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moed/v1/generate.pb-c.h"
#include "moed/v1/text.pb-c.h"
#include "ttrpc.h"
#include "ttrpc.pb-c.h"

static size_t from_hex(const char *hex, uint8_t *dst)
{
    size_t n = 0;
    for (; *hex; hex++) {
        unsigned byte;
        if (*hex == ' ')
            continue;
        sscanf(hex++, "%2x", &byte);
        dst[n++] = (uint8_t)byte;
    }
    return n;
}

static void assert_bytes(struct ttrpc_buf *buf, const char *hex)
{
    uint8_t want[256];
    size_t n = from_hex(hex, want);
    assert_int_equal(buf->n, n);
    assert_memory_equal(buf->data + buf->start, want, n);
    ttrpc_buf_fini(buf);
}

#define ECHO         "0a0d6d6f652e746573742e4563686f"
#define TEST_SERVICE "moe.test.Echo"

/* TokenizeRequest.text is field 2; CancelRequest.generation_id is bytes in field 1: a wrapper. */
static ProtobufCMessage *wrapper(const char *text)
{
    static Moed__V1__CancelRequest w;
    moed__v1__cancel_request__init(&w);
    w.has_generation_id = true;
    w.generation_id = (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
    return &w.base;
}

static void test_golden_out(void **state)
{
    (void)state;
    struct ttrpc_buf buf = {0};
    ttrpc_put_request(&buf, 1, 0, TEST_SERVICE, "Say", wrapper("hi"), 0);
    assert_bytes(&buf, "0000001a 00000001 01 00" ECHO "1203536179 1a040a026869");
    ttrpc_put_request(&buf, 1, 0, TEST_SERVICE, "Say", wrapper("hi"), 1000000000);
    assert_bytes(&buf, "00000020 00000001 01 00" ECHO "1203536179 1a040a026869 208094ebdc03");
    ttrpc_put_response(&buf, 1, TTRPC_OK, NULL, wrapper("hi!"));
    assert_bytes(&buf, "00000007 00000001 02 00 12050a03686921");
    ttrpc_put_response(&buf, 1, TTRPC_UNIMPLEMENTED, "method Nope", NULL);
    assert_bytes(&buf, "00000011 00000001 02 00 0a0f080c120b6d6574686f64204e6f7065");
    ttrpc_put_request(&buf, 3, TTRPC_REMOTE_CLOSED, TEST_SERVICE, "Down", wrapper("x"), 0);
    assert_bytes(&buf, "0000001a 00000003 01 01" ECHO "1204446f776e 1a030a0178");
    ttrpc_put_message(&buf, 3, TTRPC_DATA, 0, wrapper("x0"));
    assert_bytes(&buf, "00000004 00000003 03 00 0a027830");
    ttrpc_put(&buf, 3, TTRPC_DATA, TTRPC_REMOTE_CLOSED | TTRPC_NO_DATA, NULL, 0);
    assert_bytes(&buf, "00000000 00000003 03 05");
    ttrpc_put_request(&buf, 5, TTRPC_REMOTE_OPEN, TEST_SERVICE, "Up", NULL, 0);
    assert_bytes(&buf, "00000013 00000005 01 02" ECHO "12025570");
}

/* ---- any split gives the same frames */
struct seen {
    int n;
    struct {
        uint32_t stream, n;
        uint8_t type, flags;
        bool oversize;
        uint8_t first, last;
    } frame[16];
};

static int feed(struct ttrpc_decoder *decoder, const uint8_t *bytes, size_t n, struct seen *seen)
{
    struct ttrpc_frame f;
    int r;
    while ((r = ttrpc_decode(decoder, &bytes, &n, &f)) == 1) {
        assert_true(seen->n < 16);
        seen->frame[seen->n].stream = f.stream;
        seen->frame[seen->n].n = f.n;
        seen->frame[seen->n].type = f.type;
        seen->frame[seen->n].flags = f.flags;
        seen->frame[seen->n].oversize = f.oversize;
        seen->frame[seen->n].first = f.n && f.data ? f.data[0] : 0;
        seen->frame[seen->n].last = f.n && f.data ? f.data[f.n - 1] : 0;
        seen->n++;
    }
    if (r == 0)
        assert_int_equal(n, 0);
    return r;
}

static size_t sample_input(uint8_t *dst)
{
    return from_hex("0000001a 00000001 01 00" ECHO "1203536179 1a040a026869"
                    "00000000 00000003 03 05 00000000 00000005 09 ff"
                    "00000004 00000003 03 00 0a027830"
                    "00000013 00000005 01 02" ECHO "12025570",
                    dst);
}

static void test_every_split(void **state)
{
    (void)state;
    uint8_t input[256];
    size_t n = sample_input(input);
    struct seen whole = {0};
    struct ttrpc_decoder decoder = {0};
    assert_int_equal(feed(&decoder, input, n, &whole), 0);
    assert_int_equal(whole.n, 5);
    assert_int_equal(whole.frame[0].last, 'i');
    assert_int_equal(whole.frame[2].type, 9);
    assert_false(ttrpc_decoder_is_inside(&decoder));
    ttrpc_decoder_fini(&decoder);
    for (size_t a = 0; a <= n; a++)
        for (size_t b = a; b <= n; b++) {
            struct seen seen = {0};
            /* From copies of exactly their size: a read beyond one shows under a sanitizer. */
            size_t cut[] = {0, a, b, n};
            for (int i = 0; i < 3; i++) {
                uint8_t *part = malloc(cut[i + 1] - cut[i] + 1);
                memcpy(part, input + cut[i], cut[i + 1] - cut[i]);
                assert_int_equal(feed(&decoder, part, cut[i + 1] - cut[i], &seen), 0);
                free(part);
            }
            assert_memory_equal(&seen, &whole, sizeof seen);
            ttrpc_decoder_fini(&decoder);
        }
    struct seen seen = {0};
    for (size_t i = 0; i < n; i++) {
        feed(&decoder, input + i, 1, &seen);
        assert_int_equal(ttrpc_decoder_is_inside(&decoder),
                         seen.n == 0 || (decoder.n_header > 0 && !decoder.given));
    }
    assert_memory_equal(&seen, &whole, sizeof seen);
    ttrpc_decoder_fini(&decoder);
}

/* ---- liars */
static void test_promise_costs_nothing(void **state)
{
    (void)state;
    struct ttrpc_decoder decoder = {0};
    struct seen seen = {0};
    const uint8_t head[] = {0, 0x40, 0, 0, 0, 0, 0, 1, 1, 0, 'x'}; /* 4 MiB, one byte of it */
    assert_int_equal(feed(&decoder, head, sizeof head, &seen), 0);
    assert_true(decoder.body.room <= 1024);
    ttrpc_decoder_fini(&decoder);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        uint32_t n;
        int r;
        bool oversize;
    } cases[] = {{TTRPC_MAX_DATA, 0, false},
                 {TTRPC_MAX_DATA + 1, 0, true},
                 {TTRPC_MAX_DISCARD - 1, 0, true},
                 {TTRPC_MAX_DISCARD, -EPROTO, false},
                 {UINT32_MAX, -EPROTO, false}};
    uint8_t *zeros = calloc(1, 1 << 16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t n = cases[i].n;
        uint8_t head[] = {(uint8_t)(n >> 24),
                          (uint8_t)(n >> 16),
                          (uint8_t)(n >> 8),
                          (uint8_t)n,
                          0,
                          0,
                          0,
                          7,
                          1,
                          0};
        struct ttrpc_decoder decoder = {0};
        struct seen seen = {0};
        int r = feed(&decoder, head, sizeof head, &seen);
        for (uint32_t left = n; r == 0 && left > 0;) {
            uint32_t now = left < (1 << 16) ? left : 1 << 16;
            assert_int_equal(seen.n, 0);
            r = feed(&decoder, zeros, now, &seen);
            left -= now;
            if (cases[i].oversize)
                assert_int_equal(decoder.body.room, 0);
        }
        assert_int_equal(r, cases[i].r);
        if (r < 0) {
            assert_int_equal(feed(&decoder, head, sizeof head, &seen), -EPROTO); /* for good */
        } else {
            assert_int_equal(seen.n, 1);
            assert_int_equal(seen.frame[0].oversize, cases[i].oversize);
            assert_int_equal(seen.frame[0].n, n);
            assert_int_equal(feed(&decoder, (const uint8_t *)"\0\0\0\0\0\0\0\1\3\5", 10, &seen), 0);
            assert_int_equal(seen.n, 2); /* still in step */
        }
        ttrpc_decoder_fini(&decoder);
    }
    free(zeros);
    struct ttrpc_buf buf = {0};
    uint8_t *large = calloc(1, TTRPC_MAX_DATA + 1);
    assert_int_equal(ttrpc_put(&buf, 1, TTRPC_DATA, 0, large, TTRPC_MAX_DATA + 1), -EMSGSIZE);
    assert_int_equal(buf.n, 0);
    assert_int_equal(ttrpc_put(&buf, 1, TTRPC_DATA, 0, large, TTRPC_MAX_DATA), 0);
    assert_int_equal(buf.n, TTRPC_HEADER_BYTES + TTRPC_MAX_DATA);
    ttrpc_buf_fini(&buf);
    free(large);
}

static void test_buffer(void **state)
{
    (void)state;
    struct ttrpc_buf buf = {0};
    uint8_t next_in = 0, next_out = 0;
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245 + 12345;
        size_t n = seed >> 16 & 63;
        if (seed >> 30 & 1 && buf.n < 100000) {
            uint8_t *at = ttrpc_buf_add(&buf, n);
            for (size_t j = 0; j < n; j++)
                at[j] = next_in++;
        } else if (buf.n >= n) {
            for (size_t j = 0; j < n; j++)
                assert_int_equal(buf.data[buf.start + j], next_out++);
            ttrpc_buf_drop(&buf, n);
        }
        assert_true(buf.room <= 1 << 19); /* a few times the most there ever was */
    }
    ttrpc_buf_fini(&buf);
}

/* ---- messages */
static int check(const char *hex, char *words)
{
    uint8_t bytes[4096] = {0}; /* gcc takes the empty message for an unset one */
    size_t n = from_hex(hex, bytes);
    return ttrpc_check(&moed__v1__generate_request__descriptor, bytes, n, words);
}

static void test_check(void **state)
{
    (void)state;
    char words[TTRPC_WORDS] = "";
    assert_int_equal(check("", words), 0);
    assert_int_equal(check("1a0161 2801", words), 0);
    assert_int_equal(check("f80701 fa070161", words), 0); /* unknown fields are no fault */
    static const struct {
        const char *hex, *says;
    } bad[] = {
        {"1a02c3", "left"},
        {"1a02c328", "GenerateRequest.text"},
        {"1a03610062", "NUL"},
        {"3a01ff", "GenerateRequest.stop"},
        {"12060a04120280c0", "Message.content"},
        {"28", "cut"},
        {"28ffffffffffffffffffff01", "too long"},
        {"ff", "key"},
        {"00", "number 0"},
        {"0b0c", "wire type 3"},
        {"2e", "wire type 6"},
        {"2d000000", "left"},
        {"1affffffff0f", "left"},
        {"1affffffffffffffffff01", "left"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(check(bad[i].hex, words), -EBADMSG);
        if (!strstr(words, bad[i].says))
            fail_msg("%s: '%s' does not say '%s'", bad[i].hex, words, bad[i].says);
    }
    uint8_t many[2 * (TTRPC_MAX_FIELDS + 1)];
    for (size_t i = 0; i < sizeof many; i += 2)
        memcpy(many + i, "\x28\x01", 2);
    assert_int_equal(
        ttrpc_check(&moed__v1__generate_request__descriptor, many, 2 * TTRPC_MAX_FIELDS, words), 0);
    assert_int_equal(ttrpc_check(&moed__v1__generate_request__descriptor, many, sizeof many, words),
                     -EBADMSG);
    /* Fields of inner messages count too: Chat.messages, each with a role. */
    uint8_t *chat = malloc(3 + 4 * 3000);
    size_t n = 4 * 3000;
    memcpy(chat, "\x12\xe0\x5d", 3);
    for (size_t i = 0; i < n; i += 4)
        memcpy(chat + 3 + i, "\x0a\x02\x08\x01", 4);
    assert_int_equal(ttrpc_check(&moed__v1__generate_request__descriptor, chat, 3 + n, words),
                     -EBADMSG);
    assert_non_null(strstr(words, "4096"));
    free(chat);
}

static void test_unpack(void **state)
{
    (void)state;
    char words[TTRPC_WORDS] = "";
    Moed__V1__TokenizeRequest *m = (Moed__V1__TokenizeRequest *)ttrpc_unpack(
        &moed__v1__tokenize_request__descriptor, "\x12\x02hi\x18\x01", 6, words);
    assert_non_null(m);
    assert_string_equal(m->text, "hi");
    assert_true(m->add_bos);
    protobuf_c_message_free_unpacked(&m->base, NULL);
    assert_null(ttrpc_unpack(&moed__v1__tokenize_request__descriptor, "\x10\x01", 2, words));
    assert_non_null(strstr(words, "wire type"));
    ProtobufCMessage *empty = ttrpc_unpack(&moed__v1__tokenize_request__descriptor, NULL, 0, words);
    assert_non_null(empty);
    protobuf_c_message_free_unpacked(empty, NULL);
}

static void test_metadata(void **state)
{
    (void)state;
    char words[TTRPC_WORDS];
    Ttrpc__KeyValue pair = TTRPC__KEY_VALUE__INIT, *pairs[TTRPC_MAX_METADATA + 1];
    Ttrpc__Request request = TTRPC__REQUEST__INIT;
    char value[256];
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        pairs[i] = &pair;
    request.metadata = pairs;
    request.n_metadata = TTRPC_MAX_METADATA;
    assert_int_equal(ttrpc_check_metadata(&request, words), 0);
    request.n_metadata++;
    assert_int_equal(ttrpc_check_metadata(&request, words), -EBADMSG);
    pair.key = (char *)"k";
    pair.value = value; /* 256 bytes with the key: 64 of them are 16 KiB */
    request.n_metadata--;
    assert_int_equal(ttrpc_check_metadata(&request, words), 0);
    pair.key = (char *)"kk";
    assert_int_equal(ttrpc_check_metadata(&request, words), -EBADMSG);
}

static void test_peek(void **state)
{
    (void)state;
    const char *text;
    size_t n;
    assert_true(ttrpc_peek("\x1a\x02hi\x0a\x01m\x28\x05\x0a\x02mm", 13, 1, &text, &n));
    assert_int_equal(n, 2);
    assert_memory_equal(text, "mm", 2);
    assert_true(ttrpc_peek("\x1a\x02hi", 4, 1, &text, &n));
    assert_null(text);
    assert_true(ttrpc_peek(NULL, 0, 1, &text, &n));
    assert_false(ttrpc_peek("\x0a\x05m", 3, 1, &text, &n));
}

/* Against the rule itself: decode, and encode again. */
static bool is_utf8_slowly(const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = s[i];
        size_t more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : 9;
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (more > 3 || i + more >= n + (more == 0))
            return false;
        c = more ? c & (0x3fu >> more) : c;
        for (size_t j = 1; j <= more; j++) {
            if (s[i + j] >> 6 != 2)
                return false;
            c = c << 6 | (s[i + j] & 0x3f);
        }
        if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return false;
        i += more + 1;
    }
    return true;
}

static void test_utf8(void **state)
{
    (void)state;
    static const uint8_t edge[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                   0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                   0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
    enum { N = sizeof edge };
    for (uint32_t i = 0; i < N * N * N * N * N; i++) {
        uint8_t s[5] = {edge[i % N], edge[i / N % N], edge[i / N / N % N], edge[i / N / N / N % N],
                        edge[i / N / N / N / N]};
        for (size_t n = 1; n <= 5; n++)
            if (ttrpc_is_utf8(s, n) != is_utf8_slowly(s, n))
                fail_msg("%02x %02x %02x %02x %02x, %zu bytes", s[0], s[1], s[2], s[3], s[4], n);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(ttrpc_code_name(3), "INVALID_ARGUMENT");
    assert_string_equal(ttrpc_code_name(16), "UNAUTHENTICATED");
    assert_string_equal(ttrpc_code_name(17), "CODE_?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_out),
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_promise_costs_nothing),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_unpack),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_peek),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
