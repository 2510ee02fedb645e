/* SPDX-License-Identifier: MIT
 *
 * The ttrpc 1.2 codec: bytes in, frames out, frames in, bytes out; no socket, clock or log.
 *
 * Shared by daemon and client. Any thread; every struct has one owner. A decoder buffers what has
 * arrived and never what a length field promises. Before protobuf-c sees a message, ttrpc_check()
 * has walked it: protobuf-c turns a two-byte field into a record of tens of bytes, so fields and
 * depth are bounded first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

enum {
    TTRPC_HEADER_BYTES = 10,
    TTRPC_MAX_DATA = 4 << 20, /* largest body, inclusive; a longer one is read and thrown away */
    TTRPC_MAX_DISCARD = 16 << 20, /* a body this long makes byte 0 non-zero: not ttrpc any more */
    TTRPC_MAX_DEPTH = 32,         /* messages within messages */
    TTRPC_MAX_FIELDS = 4096,      /* of one message with all messages in it */
    TTRPC_MAX_METADATA = 64,      /* pairs of a request */
    TTRPC_MAX_METADATA_BYTES = 16 << 10,
    TTRPC_WORDS = 192, /* room for what ttrpc_check and friends have to say */
};

enum ttrpc_type { TTRPC_REQUEST = 1, TTRPC_RESPONSE = 2, TTRPC_DATA = 3 };

enum ttrpc_flags {                             /* "remote" is the receiver of the frame */
                   TTRPC_REMOTE_CLOSED = 0x01, /* you will hear no more from me on this stream */
                   TTRPC_REMOTE_OPEN = 0x02,   /* DATA follows from me */
                   TTRPC_NO_DATA =
                       0x04, /* the frame carries no message; without it length 0 is an empty one */
};

#define TTRPC_CODE_MAP(X)                                                                          \
    X(OK, 0)                                                                                       \
    X(CANCELLED, 1)                                                                                \
    X(UNKNOWN, 2)                                                                                  \
    X(INVALID_ARGUMENT, 3)                                                                         \
    X(DEADLINE_EXCEEDED, 4)                                                                        \
    X(NOT_FOUND, 5)                                                                                \
    X(ALREADY_EXISTS, 6)                                                                           \
    X(PERMISSION_DENIED, 7)                                                                        \
    X(RESOURCE_EXHAUSTED, 8)                                                                       \
    X(FAILED_PRECONDITION, 9)                                                                      \
    X(ABORTED, 10)                                                                                 \
    X(OUT_OF_RANGE, 11)                                                                            \
    X(UNIMPLEMENTED, 12)                                                                           \
    X(INTERNAL, 13)                                                                                \
    X(UNAVAILABLE, 14)                                                                             \
    X(DATA_LOSS, 15)                                                                               \
    X(UNAUTHENTICATED, 16)

enum ttrpc_code {
#define X(name, number) TTRPC_##name = number,
    TTRPC_CODE_MAP(X)
#undef X
};
const char *ttrpc_code_name(int code); /* "INVALID_ARGUMENT"; "CODE_?" for numbers we do not know */

/* ---- a growable run of bytes, used up from the front; zeroed is empty */
struct ttrpc_buf {
    uint8_t *data;
    size_t start, n, room; /* the bytes are data[start … start + n) */
};
/* Room for n more bytes at the end, uninitialised and already counted; NULL: no memory. */
uint8_t *ttrpc_buf_add(struct ttrpc_buf *buf, size_t n);
int ttrpc_buf_put(struct ttrpc_buf *buf, const void *bytes, size_t n); /* -ENOMEM */
/* Drops n bytes from the front; an empty buffer gives its memory back. */
void ttrpc_buf_drop(struct ttrpc_buf *buf, size_t n);
void ttrpc_buf_fini(struct ttrpc_buf *buf);

/* ---- frames in */
struct ttrpc_frame {
    uint32_t stream;
    uint8_t type;  /* as it came: may be none of enum ttrpc_type */
    uint8_t flags; /* as they came */
    bool oversize; /* the body was longer than TTRPC_MAX_DATA and is gone: data is NULL */
    uint32_t n;    /* body bytes, as the header said */
    const uint8_t *data;
};

struct ttrpc_decoder { /* zeroed is ready */
    uint8_t header[TTRPC_HEADER_BYTES];
    uint8_t n_header;
    bool failed;           /* the bytes were not ttrpc */
    bool given;            /* body holds the frame that was returned last */
    uint32_t n_discarded;  /* of an oversize body */
    struct ttrpc_buf body; /* of a frame that came in pieces */
};
void ttrpc_decoder_fini(struct ttrpc_decoder *decoder);

/**
 * Take bytes from the front of *bytes until a frame is whole or they are used up.
 *
 *   returns 1       *ret is a frame; its data lives until the next call or until the bytes go away,
 *                   whichever comes first; call again for the bytes that are left
 *           0       all bytes were taken, the frame is not whole
 *   fails   -EPROTO a length of 16 MiB or more: this peer does not speak ttrpc, end the connection
 *           -ENOMEM
 */
int ttrpc_decode(struct ttrpc_decoder *decoder, const uint8_t **bytes, size_t *n,
                 struct ttrpc_frame *ret);
/* Whether a header or a body has begun and is not whole: an end of file now is a broken frame. */
bool ttrpc_decoder_is_inside(const struct ttrpc_decoder *decoder);

/* ---- frames out: -EMSGSIZE for a body over TTRPC_MAX_DATA, -ENOMEM; the buffer is unchanged then
 */
int ttrpc_put(struct ttrpc_buf *buf, uint32_t stream, enum ttrpc_type type, unsigned flags,
              const void *data, size_t n);
/* The same with a message as the body, packed in place. */
int ttrpc_put_message(struct ttrpc_buf *buf, uint32_t stream, enum ttrpc_type type, unsigned flags,
                      const ProtobufCMessage *message);
/* A REQUEST frame with its envelope. `payload` may be NULL: a client stream opens without one. */
int ttrpc_put_request(struct ttrpc_buf *buf, uint32_t stream, unsigned flags, const char *service,
                      const char *method, const ProtobufCMessage *payload, int64_t timeout_nano);
/* A RESPONSE frame. Code 0 leaves the status out, as Go does; `message` is for failures only. */
int ttrpc_put_response(struct ttrpc_buf *buf, uint32_t stream, int code, const char *message,
                       const ProtobufCMessage *payload);
/* A RESPONSE frame of a failure, with a message that says more; it may be NULL. */
int ttrpc_put_failure(struct ttrpc_buf *buf, uint32_t stream, int code, const char *message,
                      const ProtobufCMessage *detail);

/* ---- messages in */
/**
 * Walk a message by its descriptor: every field whole, at most TTRPC_MAX_FIELDS of them (unknown
 * ones too, those of inner messages too) and TTRPC_MAX_DEPTH deep, no groups, and every string
 * valid UTF-8 without NUL (protobuf-c checks neither and would cut at the NUL).
 *
 *   words   TTRPC_WORDS bytes for the sentence that names field and fault; may be NULL
 *   fails   -EBADMSG         thread   any; pure, no memory
 */
int ttrpc_check(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n, char *words);
/* ttrpc_check, then protobuf-c's unpack. NULL: the words say why. Free with
 * protobuf_c_message_free_unpacked(message, NULL). */
ProtobufCMessage *ttrpc_unpack(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                               char *words);
/* The string or bytes in a field of a packed message, the last if there are several, found without
 * looking into any field. *ret NULL: not there. False: broken, or too many fields. */
bool ttrpc_peek(const void *bytes, size_t n, unsigned number, const char **ret, size_t *n_ret);
struct Ttrpc__Request;
/* -EBADMSG: more metadata than TTRPC_MAX_METADATA pairs or TTRPC_MAX_METADATA_BYTES. */
int ttrpc_check_metadata(const struct Ttrpc__Request *request, char *words);
/* Whether the bytes are valid UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool ttrpc_is_utf8(const void *bytes, size_t n);
