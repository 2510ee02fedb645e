/* SPDX-License-Identifier: MIT
 *
 * Frames: the ten-byte header, the incremental decoder, the encoder. What messages may look like
 * is in check.c.
 */
#include "ttrpc.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ttrpc.pb-c.h"

const char *ttrpc_code_name(int code)
{
    switch (code) {
#define X(name, number)                                                                            \
    case number:                                                                                   \
        return #name;
        TTRPC_CODE_MAP(X)
#undef X
    }
    return "CODE_?";
}

/* ---- buffer */
uint8_t *ttrpc_buf_add(struct ttrpc_buf *buf, size_t n)
{
    if (n > SIZE_MAX / 4 || buf->n > SIZE_MAX / 4)
        return NULL;
    if (!buf->data || buf->start + buf->n + n > buf->room) {
        /* Moving pays only when what was dropped outweighs what is moved. */
        if (buf->start > 0 && buf->start >= buf->n) {
            memmove(buf->data, buf->data + buf->start, buf->n);
            buf->start = 0;
        }
        size_t room = buf->room ? buf->room : 256;
        while (room < buf->start + buf->n + n)
            room *= 2;
        if (room > buf->room) {
            uint8_t *data = realloc(buf->data, room);
            if (!data)
                return NULL;
            buf->data = data;
            buf->room = room;
        }
    }
    uint8_t *at = buf->data + buf->start + buf->n;
    buf->n += n;
    return at;
}

int ttrpc_buf_put(struct ttrpc_buf *buf, const void *bytes, size_t n)
{
    if (n == 0)
        return 0;
    uint8_t *at = ttrpc_buf_add(buf, n);
    if (!at)
        return -ENOMEM;
    memcpy(at, bytes, n);
    return 0;
}

void ttrpc_buf_drop(struct ttrpc_buf *buf, size_t n)
{
    assert(n <= buf->n);
    buf->start += n;
    buf->n -= n;
    if (buf->n == 0)
        ttrpc_buf_fini(buf);
}

void ttrpc_buf_fini(struct ttrpc_buf *buf)
{
    free(buf->data);
    *buf = (struct ttrpc_buf){0};
}

/* ---- decoder */
static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

void ttrpc_decoder_fini(struct ttrpc_decoder *decoder)
{
    ttrpc_buf_fini(&decoder->body);
    *decoder = (struct ttrpc_decoder){0};
}

bool ttrpc_decoder_is_inside(const struct ttrpc_decoder *decoder)
{
    return decoder->n_header > 0 && !decoder->given;
}

static void begin_next(struct ttrpc_decoder *decoder)
{
    ttrpc_buf_fini(&decoder->body);
    decoder->n_header = 0;
    decoder->n_discarded = 0;
    decoder->given = false;
}

static void take(const uint8_t **bytes, size_t *n, size_t taken)
{
    if (taken > 0) /* nothing may be at NULL */
        *bytes += taken;
    *n -= taken;
}

/* A byte that makes the length 16 MiB or more is refused as soon as it is seen, not after ten. */
static int take_header(struct ttrpc_decoder *decoder, const uint8_t **bytes, size_t *n)
{
    if (decoder->n_header == 0 && *n > 0 && (*bytes)[0] != 0) {
        decoder->failed = true;
        return -EPROTO;
    }
    size_t want = TTRPC_HEADER_BYTES - decoder->n_header;
    size_t now = *n < want ? *n : want;
    if (now > 0)
        memcpy(decoder->header + decoder->n_header, *bytes, now);
    decoder->n_header = (uint8_t)(decoder->n_header + now);
    take(bytes, n, now);
    return 0;
}

/* True once the body is whole; a body that is all there is not copied. */
static int take_body(struct ttrpc_decoder *decoder, const uint8_t **bytes, size_t *n,
                     struct ttrpc_frame *ret)
{
    if (ret->oversize) {
        size_t want = ret->n - decoder->n_discarded;
        size_t now = *n < want ? *n : want;
        decoder->n_discarded += (uint32_t)now;
        take(bytes, n, now);
        return decoder->n_discarded == ret->n;
    }
    size_t want = ret->n - decoder->body.n;
    if (decoder->body.n == 0 && *n >= want) {
        ret->data = *bytes;
        take(bytes, n, want);
        return 1;
    }
    size_t now = *n < want ? *n : want;
    if (ttrpc_buf_put(&decoder->body, *bytes, now) < 0)
        return -ENOMEM;
    take(bytes, n, now);
    ret->data = decoder->body.data; /* which starts at 0: nothing is dropped from it */
    return decoder->body.n == ret->n;
}

int ttrpc_decode(struct ttrpc_decoder *decoder, const uint8_t **bytes, size_t *n,
                 struct ttrpc_frame *ret)
{
    *ret = (struct ttrpc_frame){0};
    if (decoder->failed)
        return -EPROTO;
    if (decoder->given)
        begin_next(decoder);
    int r = take_header(decoder, bytes, n);
    if (r < 0)
        return r;
    if (decoder->n_header < TTRPC_HEADER_BYTES)
        return 0;

    struct ttrpc_frame frame = {
        .n = get_u32(decoder->header),
        .stream = get_u32(decoder->header + 4),
        .type = decoder->header[8],
        .flags = decoder->header[9],
    };
    frame.oversize = frame.n > TTRPC_MAX_DATA;
    r = take_body(decoder, bytes, n, &frame);
    if (r <= 0)
        return r;
    decoder->given = true;
    *ret = frame;
    return 1;
}

/* ---- encoder */
static uint8_t *put_header(struct ttrpc_buf *buf, uint32_t stream, enum ttrpc_type type,
                           unsigned flags, size_t n)
{
    uint8_t *at = ttrpc_buf_add(buf, TTRPC_HEADER_BYTES + n);
    if (!at)
        return NULL;
    put_u32(at, (uint32_t)n);
    put_u32(at + 4, stream);
    at[8] = (uint8_t)type;
    at[9] = (uint8_t)flags;
    return at + TTRPC_HEADER_BYTES;
}

int ttrpc_put(struct ttrpc_buf *buf, uint32_t stream, enum ttrpc_type type, unsigned flags,
              const void *data, size_t n)
{
    if (n > TTRPC_MAX_DATA)
        return -EMSGSIZE;
    uint8_t *body = put_header(buf, stream, type, flags, n);
    if (!body)
        return -ENOMEM;
    if (n > 0)
        memcpy(body, data, n);
    return 0;
}

int ttrpc_put_message(struct ttrpc_buf *buf, uint32_t stream, enum ttrpc_type type, unsigned flags,
                      const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    if (n > TTRPC_MAX_DATA)
        return -EMSGSIZE;
    uint8_t *body = put_header(buf, stream, type, flags, n);
    if (!body)
        return -ENOMEM;
    protobuf_c_message_pack(message, body);
    return 0;
}

/* The bytes of a payload on the heap; a message without fields is no bytes. */
static int pack(const ProtobufCMessage *message, ProtobufCBinaryData *ret)
{
    ret->len = message ? protobuf_c_message_get_packed_size(message) : 0;
    ret->data = NULL;
    if (ret->len == 0)
        return 0;
    if (ret->len > TTRPC_MAX_DATA)
        return -EMSGSIZE;
    ret->data = malloc(ret->len);
    if (!ret->data)
        return -ENOMEM;
    protobuf_c_message_pack(message, ret->data);
    return 0;
}

int ttrpc_put_request(struct ttrpc_buf *buf, uint32_t stream, unsigned flags, const char *service,
                      const char *method, const ProtobufCMessage *payload, int64_t timeout_nano)
{
    Ttrpc__Request request = TTRPC__REQUEST__INIT;
    request.service = (char *)service;
    request.method = (char *)method;
    request.timeout_nano = timeout_nano;
    request.has_timeout_nano = timeout_nano != 0;
    int r = pack(payload, &request.payload);
    if (r < 0)
        return r;
    request.has_payload = request.payload.len > 0;
    r = ttrpc_put_message(buf, stream, TTRPC_REQUEST, flags, &request.base);
    free(request.payload.data);
    return r;
}

int ttrpc_put_response(struct ttrpc_buf *buf, uint32_t stream, int code, const char *message,
                       const ProtobufCMessage *payload)
{
    Ttrpc__Status status = TTRPC__STATUS__INIT;
    Ttrpc__Response response = TTRPC__RESPONSE__INIT;
    if (code != TTRPC_OK) {
        status.has_code = true;
        status.code = code;
        status.message = (char *)message;
        response.status = &status;
    }
    int r = pack(payload, &response.payload);
    if (r < 0)
        return r;
    response.has_payload = response.payload.len > 0;
    r = ttrpc_put_message(buf, stream, TTRPC_RESPONSE, 0, &response.base);
    free(response.payload.data);
    return r;
}

int ttrpc_put_failure(struct ttrpc_buf *buf, uint32_t stream, int code, const char *message,
                      const ProtobufCMessage *detail)
{
    Ttrpc__Status status = TTRPC__STATUS__INIT;
    Ttrpc__Response response = TTRPC__RESPONSE__INIT;
    Ttrpc__Any any = TTRPC__ANY__INIT, *list = &any;
    char url[128];
    status.has_code = true;
    status.code = code;
    status.message = (char *)message;
    response.status = &status;
    int r = pack(detail, &any.value);
    if (r < 0)
        return r;
    if (detail) {
        snprintf(url, sizeof url, "type.googleapis.com/%s", detail->descriptor->name);
        any.type_url = url;
        any.has_value = true;
        status.n_details = 1;
        status.details = &list;
    }
    r = ttrpc_put_message(buf, stream, TTRPC_RESPONSE, 0, &response.base);
    free(any.value.data);
    return r;
}
