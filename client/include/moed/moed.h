/* SPDX-License-Identifier: MIT
 *
 * libmoed: talk to a moed daemon from a program.
 *
 * A connection (struct moed) carries any number of calls (struct moed_call). Every method starts a
 * call and returns at once; nothing is sent or received before one of these runs:
 *
 *     blocking     moed_wait() for one answer, moed_next() for each message of a stream
 *     event loop   poll moed_fd() for moed_events() until moed_timeout(), then moed_dispatch();
 *                  answers come through callbacks set by moed_call_on()
 *
 *     struct moed *moed;
 *     struct moed_call *call;
 *     struct moed_error error = MOED_ERROR_INIT;
 *     int r = moed_open(NULL, &moed, &error);
 *     …
 *     r = moed_generate(moed, request, &call, &error);
 *     while ((r = moed_next(call, &error)) > 0)
 *         fwrite(moed_call_event(call)->text, 1, moed_call_event(call)->text_bytes, stdout);
 *     moed_call_free(call);
 *     moed_close(moed);
 *
 * Threads: a connection and its calls belong to one thread at a time; a program with several
 * threads opens a connection in each. The library starts no thread, installs no signal handler,
 * has no global state and prints nothing. Its descriptors are close-on-exec, a peer that goes away
 * never raises SIGPIPE.
 *
 * Errors: functions return 0 or more on success and a negative errno on failure. Where a `struct
 * moed_error *` is taken it may be NULL; otherwise it gets the code, the daemon's status and a
 * sentence.
 *
 * Text is UTF-8 without zero bytes. Pointers into results live as long as each function says.
 * Structs that the library fills begin with their size, so that a later library may add fields.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MOED_API __attribute__((visibility("default")))
#else
#define MOED_API
#endif

/* Of this header; moed_version() tells that of the library that runs. */
#define MOED_HEADER_MAJOR 0
#define MOED_HEADER_MINOR 1

/* The library's version, "0.1.0". */
MOED_API const char *moed_version(void);

/* ---- errors */

/* The status of an answer; the numbers are gRPC's. */
enum moed_status {
    MOED_OK = 0,
    MOED_CANCELLED = 1,
    MOED_UNKNOWN = 2,
    MOED_INVALID_ARGUMENT = 3, /* the message names the field */
    MOED_DEADLINE_EXCEEDED = 4,
    MOED_NOT_FOUND = 5, /* no such model */
    MOED_ALREADY_EXISTS = 6,
    MOED_PERMISSION_DENIED = 7,
    MOED_RESOURCE_EXHAUSTED = 8,  /* queue full, quota, slow reader, out of memory */
    MOED_FAILED_PRECONDITION = 9, /* the model is not loaded */
    MOED_ABORTED = 10,
    MOED_OUT_OF_RANGE = 11,
    MOED_UNIMPLEMENTED = 12, /* an older daemon */
    MOED_INTERNAL = 13,
    MOED_UNAVAILABLE = 14, /* no daemon, it went away, or it is draining */
    MOED_DATA_LOSS = 15,   /* part of an answer is missing */
    MOED_UNAUTHENTICATED = 16,
};

/* "NOT_FOUND"; "CODE_?" for a number this library does not know. */
MOED_API const char *moed_status_name(int status);

struct moed_error {
    size_t size;        /* set by MOED_ERROR_INIT */
    int code;           /* negative errno */
    int status;         /* enum moed_status */
    char message[1024]; /* one line of UTF-8 without control characters */
    /* RESOURCE_EXHAUSTED: when it is worth trying again; 0: the daemon does not know, or other. */
    uint64_t retry_after_ms;
};
#define MOED_ERROR_INIT                                                                            \
    {                                                                                              \
        sizeof(struct moed_error), 0, 0, "", 0                                                     \
    }

/* ---- connections */

struct moed;

/**
 * Connect to a daemon.
 *
 *   socket  path; NULL: $MOED_SOCKET if set, else $XDG_RUNTIME_DIR/moed/moed.sock, else
 *           /run/moed/moed.sock, whichever answers first
 *   ret     closed with moed_close
 *   fails   -ENOENT, -ECONNREFUSED, -EACCES … of the last socket tried, status UNAVAILABLE; the
 *           message names every socket tried. -ENAMETOOLONG, -ENOMEM.
 */
MOED_API int moed_open(const char *socket, struct moed **ret, struct moed_error *error);

/**
 * Use a connected stream socket; it becomes the connection's (non-blocking, close-on-exec) when
 * this succeeds. Cancelling then always uses this connection.
 *
 *   fails   -EBADF, -ENOMEM; the descriptor stays the caller's
 */
MOED_API int moed_adopt_fd(int fd, struct moed **ret, struct moed_error *error);

/* Ends the connection: the daemon cancels what was running. Open calls become -ECANCELED without
 * a callback; their handles stay valid until moed_call_free. NULL is accepted. Not in a callback.
 */
MOED_API void moed_close(struct moed *moed);

/* The path that was connected to, "" for an adopted descriptor. Lives as long as the connection. */
MOED_API const char *moed_socket(const struct moed *moed);

/* False once the daemon has gone away; a new connection must then be opened. */
MOED_API bool moed_is_open(const struct moed *moed);

/* Calls with a single answer that are started from now on fail with -ETIMEDOUT after this many
 * milliseconds. 0, the default: never. moed_load with `wait` is excepted. */
MOED_API void moed_set_timeout(struct moed *moed, uint32_t milliseconds);

/* ---- event loops */

/* The descriptor to poll; valid until moed_close. */
MOED_API int moed_fd(const struct moed *moed);
/* POLLIN and POLLOUT as they are needed now; ask again after every call into the library. */
MOED_API short moed_events(const struct moed *moed);
/* When moed_dispatch must run even without an event: CLOCK_MONOTONIC in microseconds;
 * UINT64_MAX: never. */
MOED_API uint64_t moed_timeout(const struct moed *moed);

/**
 * Send and receive what is possible without blocking, and run callbacks.
 *
 *   returns 1       something moved: there may be more at once
 *           0       nothing to do
 *   fails   -ECONNRESET the daemon went away; -EPROTO it does not speak the protocol; other errnos
 *           of the socket. All open calls have failed with status UNAVAILABLE, callbacks included.
 *           -EDEADLK inside a callback.
 */
MOED_API int moed_dispatch(struct moed *moed);

/* ---- calls */

struct moed_call;

/**
 * Told of a call's progress, inside moed_dispatch (or moed_wait, moed_next of another call).
 *
 *   result  1           a stream's next message is there: look at it by the views below
 *           0           the call is over; the answer of a call with a single one is there
 *           negative    the call failed: see moed_call_result
 *
 * After 0 or a negative result no more callbacks come. A callback may start, cancel and free
 * calls, its own too; it must not dispatch, wait or close.
 */
typedef void (*moed_callback)(struct moed_call *call, int result, void *arg);

/* Sets the callback, before the first message has arrived; -EBUSY after that. */
MOED_API int moed_call_on(struct moed_call *call, moed_callback callback, void *arg);

/**
 * Block until a call is over.
 *
 *   returns 0       done; the answer is looked at by the views below
 *   fails   the call's own failure; -EINTR a signal handler ran: call again; -EINVAL a stream
 *           without a callback: use moed_next; -EDEADLK inside a callback
 */
MOED_API int moed_wait(struct moed_call *call, struct moed_error *error);

/**
 * Block until a stream's next message.
 *
 *   returns 1       there is one, looked at by the views below until the next call of moed_next
 *           0       the stream ended well
 *   fails   as moed_wait; messages that came before a failure are given first. -EINVAL if the call
 *           has a callback or is no stream
 */
MOED_API int moed_next(struct moed_call *call, struct moed_error *error);

MOED_API bool moed_call_is_done(const struct moed_call *call);
/* 0, or the failure of a call that is done; -EINPROGRESS while it runs. */
MOED_API int moed_call_result(const struct moed_call *call, struct moed_error *error);

/**
 * Stop a call. No callback of it runs after this returns, its result is -ECANCELED. A generation
 * is cancelled in the daemon by its id: on this connection, or on a fresh one where this one is
 * congested. Does nothing to a call that is done. The messages already there can still be read.
 */
MOED_API void moed_call_cancel(struct moed_call *call);

/* Frees the handle and what its views point at, cancelling the call if it still runs. NULL is
 * accepted. */
MOED_API void moed_call_free(struct moed_call *call);

/* ---- what is asked of a model */

enum moed_role { MOED_SYSTEM = 0, MOED_USER = 1, MOED_ASSISTANT = 2, MOED_TOOL = 3 };

/* Fields of a request. What is not set is the daemon's default; ranges are the daemon's too, a
 * value outside is answered with INVALID_ARGUMENT and the field's name. */
enum moed_field {
    MOED_TEMPERATURE = 1,    /* real; 0: greedy */
    MOED_TOP_K,              /* integer; 0: off */
    MOED_TOP_P,              /* real; 1: off */
    MOED_MIN_P,              /* real; 0: off */
    MOED_REPETITION_PENALTY, /* real; 1: off */
    MOED_PRESENCE_PENALTY,   /* real; 0: off */
    MOED_FREQUENCY_PENALTY,  /* real; 0: off */
    MOED_SEED,               /* integer, 64 bits without sign */
    MOED_MAX_TOKENS,         /* integer; 0: up to the context limit */
    MOED_LOGPROBS,           /* flag: log-probabilities of the tokens */
    MOED_TOP_LOGPROBS,       /* integer: and of the most probable ones at each place */
    MOED_IGNORE_END,         /* flag: go on after the model's end token */
    MOED_RETURN_PROMPT,      /* flag: the first event has the prompt's ids */
    MOED_SHOW_SPECIAL,       /* flag: special tokens print their text */
    MOED_THINKING,           /* flag: ask a chat model to think first */
    MOED_TIMEOUT_MS,         /* integer: of the whole generation; 0: none */
    MOED_TOP_N_SIGMA,        /* real; 0: off */
    MOED_MIROSTAT_TAU,       /* real; 0: off; needs a temperature above 0 */
    MOED_MIROSTAT_ETA,       /* real */
    MOED_DRY_MULTIPLIER,     /* real; 0: off */
    MOED_DRY_BASE,           /* real */
    MOED_DRY_ALLOWED_LENGTH, /* integer: tokens of a repetition that cost nothing yet */
    MOED_DRY_RANGE,          /* integer: last tokens that are looked at; 0: all */
    MOED_PROMPT_LOGPROBS,    /* flag: log-probabilities of the prompt's tokens, too */
    MOED_EFFORT,             /* enum moed_effort: how much is thought */
    /* Integers: limits on an answer's thinking, in tokens; 0: as the effort says. From the soft one
     * on it is closed where a sentence ends, by the other in any case; the answer follows. */
    MOED_THINKING_TOKENS,
    MOED_THINKING_SOFT_TOKENS, /* 0: three quarters of MOED_THINKING_TOKENS */
    MOED_FINISH_WITHIN_MS, /* integer: the answer ends by then with what is written; 0: whenever */
    MOED_N, /* integer: so many answers, drawn with seeds one after the other; see moed_event */
    MOED_BEST_OF,          /* integer: the best of so many are told, when all are written */
    MOED_CLASS,            /* integer: enum moed_class */
    MOED_QUEUE_TIMEOUT_MS, /* integer: of waiting for its turn; 0: it waits */
};
enum moed_effort {
    MOED_EFFORT_NONE = 0, /* as the model likes */
    MOED_EFFORT_HIGH = 1,
    MOED_EFFORT_MAX = 2, /* some families refuse it */
    MOED_EFFORT_LOW = 3,
};

/* Which of a user's requests go first. */
enum moed_class { MOED_INTERACTIVE = 0, MOED_BATCH = 1, MOED_BACKGROUND = 2 };
/* "interactive", "batch", "background"; "unknown" for others */
MOED_API const char *moed_class_name(enum moed_class value);

/* A request is filled, used by any number of moed_generate and moed_render, and freed. */
struct moed_request;
struct moed_receipt;
MOED_API struct moed_request *moed_request_new(void); /* NULL: no memory */
MOED_API void moed_request_free(struct moed_request *request);

/* Setters: -EINVAL for a field of the other kind, for text that is not UTF-8 or has a zero byte,
 * for a second kind of prompt (messages, text and ids exclude each other); -ERANGE for a number
 * that its field cannot hold; -ENOMEM. */
MOED_API int moed_request_set_real(struct moed_request *request, enum moed_field field,
                                   double value);
/* Flags too: 0 or 1. A seed above INT64_MAX is passed as its bits. */
MOED_API int moed_request_set_integer(struct moed_request *request, enum moed_field field,
                                      int64_t value);
/* NULL or "": the daemon's first model. */
MOED_API int moed_request_set_model(struct moed_request *request, const char *model);
/* A string that ends the generation; may be called again for more. */
MOED_API int moed_request_add_stop(struct moed_request *request, const char *text);
/* A string that the answer never holds, nor its thinking: a token that would complete it is not
 * chosen. May be called again for more. */
MOED_API int moed_request_add_banned(struct moed_request *request, const char *text);
/* A string that no repetition reaches across, instead of the usual newline, colon, double quote and
 * star; may be called again for more, and once with "" for none at all. */
MOED_API int moed_request_add_dry_breaker(struct moed_request *request, const char *text);
/* Added to a token's logit; -100 bans it. -ERANGE for NAN and after 1000 of them. */
MOED_API int moed_request_add_bias(struct moed_request *request, int32_t id, float bias);

/* Raw prompt text, appended to what is there: special tokens are parsed, BOS is put in front where
 * the model file says so. Of any size: sent in parts where it exceeds a frame. */
MOED_API int moed_request_add_text(struct moed_request *request, const char *text, size_t bytes);
/* What stands behind a hole that the answer fills, appended; the raw text is then what stands
 * before it, and special tokens in both are plain text. A model that was not made for it answers
 * with FAILED_PRECONDITION. */
MOED_API int moed_request_add_suffix(struct moed_request *request, const char *text, size_t bytes);
/* Token ids as the prompt, taken as they are, appended. */
MOED_API int moed_request_add_ids(struct moed_request *request, const int32_t *ids, size_t n);
/* A message of a conversation. A single one must fit a frame (4 MiB): -EMSGSIZE. */
MOED_API int moed_request_add_message(struct moed_request *request, enum moed_role role,
                                      const char *text, size_t bytes);
/* A tool call in the assistant message added last; -EINVAL if the last one is of another role. */
MOED_API int moed_request_add_tool_call(struct moed_request *request, const char *name,
                                        const char *arguments_json);
/* What the model may call: a JSON array of {"type":"function","function":{…}} or of the inner
 * objects; NULL: nothing. For messages alone. -EMSGSIZE above 3 MiB. Calls come in moed_event. */
MOED_API int moed_request_set_tools(struct moed_request *request, const char *tools_json);
/* The answer continues the assistant message added last. */
MOED_API int moed_request_continue_last(struct moed_request *request);
/* A conversation that the daemon holds, by its name or id: what is in it comes first, so that the
 * request has only what is new, and the answer is added to it. Without a prompt an answer that was
 * cut goes on. `revision`: ABORTED if it has another one by now; 0: whatever it has. `create`: it
 * is made if there is none of that name. NULL: in no session. */
MOED_API int moed_request_set_session(struct moed_request *request, const char *session,
                                      uint64_t revision, bool create);

/* The answer is to be that to which the daemon gave this receipt, again: to the byte, if the rest
 * of the request is what it was then. What of the receipt is set and is another now is answered
 * with FAILED_PRECONDITION and named. NULL: any answer will do. */
MOED_API int moed_request_set_receipt(struct moed_request *request,
                                      const struct moed_receipt *receipt);

/* A request as bytes, a GenerateRequest of protobuf, and back. *ret is freed with free(), or
 * moed_request_free(). Unpack takes what pack made: -EINVAL for bytes that are something else, or
 * hold what this library has no place for. -ENOMEM */
MOED_API int moed_request_pack(const struct moed_request *request, uint8_t **ret, size_t *bytes);
MOED_API int moed_request_unpack(const uint8_t *data, size_t bytes, struct moed_request **ret);

/* ---- methods. All start a call: *ret is the handle, freed with moed_call_free.
 *   fails   -ENOTCONN the connection has ended; -EMSGSIZE the request exceeds a frame (status
 *           RESOURCE_EXHAUSTED); -EINVAL text that is not UTF-8 or has a zero byte; -EOVERFLOW all
 *           of a connection's 2³¹ calls are used up; -ENOMEM */

/* Who the daemon is: moed_call_hello. `client` names the program, "moectl 0.1"; may be NULL. */
MOED_API int moed_hello(struct moed *moed, const char *client, struct moed_call **ret,
                        struct moed_error *error);
MOED_API int moed_ping(struct moed *moed, struct moed_call **ret, struct moed_error *error);

/* A stream of moed_call_event. The request is copied. Gaps in the events, and an end without the
 * final event, are DATA_LOSS. A reader that leaves 16 MiB of events unread while other calls run
 * on the same connection loses the stream with RESOURCE_EXHAUSTED. */
MOED_API int moed_generate(struct moed *moed, const struct moed_request *request,
                           struct moed_call **ret, struct moed_error *error);
/* Cancels a generation by the 16 bytes of its id, from any connection of the same user:
 * moed_call_found. To stop one's own stream, moed_call_cancel is simpler. */
MOED_API int moed_cancel(struct moed *moed, const uint8_t id[16], struct moed_call **ret,
                         struct moed_error *error);

enum moed_text_flags {
    MOED_ADD_BOS = 1,      /* tokenize: put BOS in front */
    MOED_NO_SPECIAL = 2,   /* tokenize: special tokens in the text are plain text */
    MOED_HIDE_SPECIAL = 4, /* detokenize: special tokens print nothing */
};
/* moed_call_ids */
MOED_API int moed_tokenize(struct moed *moed, const char *model, const char *text, size_t bytes,
                           unsigned flags, struct moed_call **ret, struct moed_error *error);
/* moed_call_text (U+FFFD for what is not UTF-8) and moed_call_bytes (the very bytes) */
MOED_API int moed_detokenize(struct moed *moed, const char *model, const int32_t *ids, size_t n,
                             unsigned flags, struct moed_call **ret, struct moed_error *error);
/* The prompt that the request's messages become: moed_call_ids, moed_call_text */
MOED_API int moed_render(struct moed *moed, const struct moed_request *request,
                         struct moed_call **ret, struct moed_error *error);

enum moed_embed_flags { MOED_NORMALIZE = 1 }; /* to a length of 1 */
/* A text as a vector: moed_call_values. `pooling` is "mean", of the model's hidden states; NULL is
 * answered with FAILED_PRECONDITION and advice, for a chat model's are no good at finding what
 * means the like. Takes as long as reading the text does, and no longer than moed_set_timeout says.
 */
MOED_API int moed_embed(struct moed *moed, const char *model, const char *text, size_t bytes,
                        const char *pooling, unsigned flags, struct moed_call **ret,
                        struct moed_error *error);

/* moed_call_model of 0 … moed_call_n_models - 1 */
MOED_API int moed_list(struct moed *moed, struct moed_call **ret, struct moed_error *error);
/* moed_call_model 0, moed_call_metadata */
MOED_API int moed_show(struct moed *moed, const char *model, struct moed_call **ret,
                       struct moed_error *error);
/* moed_call_model 0. `wait`: the answer comes when the model is ready. */
MOED_API int moed_load(struct moed *moed, const char *model, bool wait, struct moed_call **ret,
                       struct moed_error *error);
MOED_API int moed_unload(struct moed *moed, const char *model, struct moed_call **ret,
                         struct moed_error *error);
/* moed_call_stats */
MOED_API int moed_stats(struct moed *moed, struct moed_call **ret, struct moed_error *error);
/* The same with how often each expert was chosen. */
MOED_API int moed_stats_experts(struct moed *moed, struct moed_call **ret,
                                struct moed_error *error);
/* A stream of changes: each message has a model (moed_call_model 0), moed_call_draining, or
 * moed_call_pressure. */
MOED_API int moed_watch(struct moed *moed, struct moed_call **ret, struct moed_error *error);

/* The daemon reads its configuration once more, and takes all of it or, where it has a fault,
 * nothing: FAILED_PRECONDITION then. For operators. moed_call_reloaded */
MOED_API int moed_reload(struct moed *moed, struct moed_call **ret, struct moed_error *error);

/* Sessions: conversations that the daemon holds for the user, seen by nobody else. Each is named by
 * its name or id; `revision` as in moed_request_set_session. All but the list, showing and deleting
 * answer with the session as it is then: moed_call_session 0. */

/* `settings`: what comes before every request in it, but nothing that is said; may be NULL.
 * `name` too: it is then known by its id. */
MOED_API int moed_session_create(struct moed *moed, const char *name,
                                 const struct moed_request *settings, struct moed_call **ret,
                                 struct moed_error *error);
/* moed_call_session of 0 … moed_call_n_sessions - 1, the one used last first */
MOED_API int moed_session_list(struct moed *moed, struct moed_call **ret, struct moed_error *error);
/* moed_call_session 0; moed_call_message of 0 … moed_call_n_messages - 1, from the `first` on; and
 * moed_call_next_message. With `tokens` answers have their ids. */
MOED_API int moed_session_show(struct moed *moed, const char *session, uint32_t first, bool tokens,
                               struct moed_call **ret, struct moed_error *error);
/* Adds what the request says without an answer. It must fit a frame. */
MOED_API int moed_session_append(struct moed *moed, const char *session, uint64_t revision,
                                 const struct moed_request *more, struct moed_call **ret,
                                 struct moed_error *error);
/* Leaves the first `messages`, and of the answer behind them the first `tokens`, which the next
 * request goes on from. Of raw text the first `tokens`, and no messages. */
MOED_API int moed_session_rewind(struct moed *moed, const char *session, uint64_t revision,
                                 uint32_t messages, uint64_t tokens, struct moed_call **ret,
                                 struct moed_error *error);

enum { MOED_ALL_MESSAGES = 0x7fffffff };
/* A second one with the same beginning, up to that place or with all messages; `name` may be NULL.
 */
MOED_API int moed_session_fork(struct moed *moed, const char *session, uint64_t revision,
                               uint32_t messages, uint64_t tokens, const char *name,
                               struct moed_call **ret, struct moed_error *error);
/* Another name or other settings; NULL: as they are. */
MOED_API int moed_session_update(struct moed *moed, const char *session, uint64_t revision,
                                 const char *name, const struct moed_request *settings,
                                 struct moed_call **ret, struct moed_error *error);
/* Keeps what the model has of it in memory, turn after turn, or no longer.
 * RESOURCE_EXHAUSTED where the user pins more than he may; its words say what was found. The model
 * must be loaded, here (but to unpin) and for the next two. */
MOED_API int moed_session_pin(struct moed *moed, const char *session, uint64_t revision, bool pin,
                              struct moed_call **ret, struct moed_error *error);
/* Writes that to the disk, where it stays, and gives its memory back; done when it is durable. The
 * next turn reads it back. */
MOED_API int moed_session_park(struct moed *moed, const char *session, uint64_t revision,
                               struct moed_call **ret, struct moed_error *error);
/* Reads it back ahead of the next turn. */
MOED_API int moed_session_resume(struct moed *moed, const char *session, uint64_t revision,
                                 struct moed_call **ret, struct moed_error *error);
MOED_API int moed_session_delete(struct moed *moed, const char *session, uint64_t revision,
                                 struct moed_call **ret, struct moed_error *error);

enum moed_raw_flags { MOED_RAW_STREAM = 1 }; /* the method answers with a stream */
/* Any method of the service by its bare name, with protobuf bytes both ways: moed_call_bytes. */
MOED_API int moed_raw(struct moed *moed, const char *method, unsigned flags, const void *message,
                      size_t bytes, struct moed_call **ret, struct moed_error *error);

/* ---- views: what the answer, or a stream's current message, holds. NULL, 0 or false where the
 * method has no such thing. Pointers live until the stream's next message or moed_call_free. */

struct moed_top {
    size_t size;
    int32_t id;
    float logprob;
    const uint8_t *text; /* the token's bytes, NULL if the daemon left them out */
    size_t text_bytes;
};
struct moed_token {
    size_t size;
    int32_t id;
    float logprob;       /* natural, before temperature and filters; NAN if not asked for */
    const uint8_t *text; /* the token's own bytes, which may end inside a character */
    size_t text_bytes;
    const struct moed_top *const *top; /* most probable first */
    size_t n_top;
};
struct moed_usage {
    size_t size;
    int32_t prompt_tokens, cached_tokens, completion_tokens, thinking_tokens;
    double queue_seconds, prefill_seconds, decode_seconds;
};
/* What computed the answer: with all of it the same, and the request with this seed, an answer has
 * the same bytes. */
struct moed_receipt {
    size_t size;
    const char *place;     /* "cpu", "ref" */
    const char *isa;       /* the kernels' instruction set: "c", "avx2", "avx512", "amx" */
    const char *cache;     /* number format of cached latents: "F16", "BF16", "F32", "Q8_0" */
    const char *attention; /* how rows attend, in words: "absorbed" */
    const char *sampler;   /* the stages that chose tokens: "temperature=0.8 top_k=40 draw" */
    uint64_t seed;         /* 0: nothing was drawn */
    /* The cached tokens: so many once read in a prompt, so many written as an answer, and so on. */
    const int32_t *cached_rows;
    size_t n_cached_rows;
    const char *model;   /* which it was: 32 hexadecimal digits of what its file holds */
    const char *version; /* of the daemon */
    /* Of a request that had a receipt: the same of all rows of its prompt, known or not. */
    const int32_t *made_rows;
    size_t n_made_rows;
};
enum moed_finish {
    MOED_FINISH_NONE = 0, /* it goes on */
    MOED_FINISH_STOP = 1,
    MOED_FINISH_LENGTH = 2,
    MOED_FINISH_CANCELLED = 3,
    MOED_FINISH_ERROR = 4,
    MOED_FINISH_DRAINING = 5,
    MOED_FINISH_TOOL_CALLS = 6, /* as STOP, and the answer holds tool calls */
    MOED_FINISH_REFUSED = 7,    /* it would have waited for longer than MOED_QUEUE_TIMEOUT_MS */
    MOED_FINISH_TIME = 8,       /* MOED_FINISH_WITHIN_MS */
};
/* "stop", "length", "cancelled", "error", "draining", "tool_calls", "refused", "time"; "none";
 * "unknown" for others */
MOED_API const char *moed_finish_name(enum moed_finish finish);

/* Which limit closed the thinking, where the model did not. */
enum moed_thinking_cut {
    MOED_THINKING_UNCUT = 0,
    MOED_THINKING_CUT_SOFT = 1,
    MOED_THINKING_CUT_HARD = 2,
    MOED_THINKING_CUT_TIME = 3,
};
/* "none", "soft", "hard", "time"; "unknown" for others */
MOED_API const char *moed_thinking_cut_name(enum moed_thinking_cut cut);

/* What an answer with MOED_FINISH_WITHIN_MS is expected to come to; 0: it was never measured. */
struct moed_estimate {
    size_t size;
    double prefill_seconds;   /* until the first token */
    double tokens_per_second; /* then */
    int32_t thinking_tokens, answer_tokens;
};

/* A piece of a tool call that the model makes. The first piece of an index has its id and name,
 * pieces of arguments follow and belong behind each other. */
struct moed_call_delta {
    size_t size;
    int32_t index;         /* 0, 1, 2 … in the answer */
    const char *id, *name; /* NULL but in the first piece */
    const char *arguments; /* never NULL; JSON, if the model wrote JSON */
    bool done;             /* the last piece */
};

/* How far a prompt is; told a few times a second, before the first token. */
struct moed_progress {
    size_t size;
    int32_t tokens_done, tokens_all; /* what was known counts */
    double seconds_left;             /* by the pace so far */
};

/* What was generated since the event before. `text` and `thinking` are whole characters, not
 * ended by a zero byte in any useful sense: use the sizes. Of several answers each has its own
 * events, in any order among each other, and a last one; usage, of all, is in the very last. */
struct moed_event {
    size_t size;
    uint64_t seq;
    const uint8_t *generation_id; /* 16 bytes, in every event */
    const char *model;            /* first event, else NULL */
    const int32_t *prompt;        /* first event, if MOED_RETURN_PROMPT */
    size_t n_prompt;
    int32_t first_index; /* of tokens[0] in the answer */
    const struct moed_token *const *tokens;
    size_t n_tokens;
    const char *thinking, *text; /* never NULL */
    size_t thinking_bytes, text_bytes;
    enum moed_finish finish;        /* last event */
    const char *stop;               /* last event: the stop string that ended it, or NULL */
    const char *error;              /* MOED_FINISH_ERROR, MOED_FINISH_REFUSED: why */
    const struct moed_usage *usage; /* last event, else NULL */
    const struct moed_call_delta *const *calls;
    size_t n_calls;                     /* pieces, in order */
    const struct moed_receipt *receipt; /* last event of a daemon that tells it, else NULL */
    /* The prompt's tokens from the second on, if MOED_PROMPT_LOGPROBS; before any of `tokens`. */
    const struct moed_token *const *prompt_tokens;
    size_t n_prompt_tokens;
    uint64_t session_revision;           /* last event, in a session: what it has now; else 0 */
    const char *session_unkept;          /* last event: why that is not on the disk; NULL: it is */
    enum moed_thinking_cut thinking_cut; /* last event */
    uint64_t text_hash;                  /* last event: XXH3-64 of all thinking, then all text */
    int32_t index;                       /* which answer's; of MOED_BEST_OF 0 is the best */
    float mean_logprob; /* last event, of MOED_BEST_OF: what was chosen by; or NAN */
    const struct moed_progress *progress; /* or NULL */
    const struct moed_estimate *estimate; /* one event before any with tokens, else NULL */
};
MOED_API const struct moed_event *moed_call_event(const struct moed_call *call);

enum moed_model_state {
    MOED_MODEL_UNLOADED = 0,
    MOED_MODEL_LOADING = 1,
    MOED_MODEL_READY = 2,
    MOED_MODEL_TEXT = 3, /* a vocabulary only: tokenises, never generates */
    MOED_MODEL_FAILED = 4,
    MOED_MODEL_UNLOADING = 5,
};
/* "unloaded", "loading", "ready", "text", "failed", "unloading"; "unknown" for others */
MOED_API const char *moed_model_state_name(enum moed_model_state state);

struct moed_model { /* strings are "" where unknown */
    size_t size;
    const char *name, *path;
    enum moed_model_state state;
    const char *family, *chat, *quantisation, *container;
    uint64_t file_bytes, weight_bytes, parameters;
    uint32_t context, vocabulary;
    bool has_mtp;
    uint64_t bytes_done, bytes_all; /* loading */
    double load_seconds;            /* loading: until now; ready: all of it */
    const char *error;              /* failed: why */
    bool adopted;        /* ready: the weights were there already, of an earlier process */
    uint64_t kept_bytes; /* ready: of weights that will be there for the next process */
    bool resting;        /* unloaded, since nobody had work for it: the next request loads it */
};
MOED_API size_t moed_call_n_models(const struct moed_call *call);
MOED_API const struct moed_model *moed_call_model(const struct moed_call *call, size_t i);
MOED_API bool moed_call_draining(const struct moed_call *call);

/* What is given up while memory is short; each asks for what those before it ask for as well. */
enum moed_rung {
    MOED_RUNG_CALM,
    MOED_RUNG_SCRATCH, /* memory that only a step needs, between steps */
    MOED_RUNG_PARK,    /* what is kept goes to the disk, and then from memory */
    MOED_RUNG_DROP,    /* what is kept and nobody uses goes, saved or not */
    MOED_RUNG_REFUSE,  /* new work is refused */
};
MOED_API const char *moed_rung_name(enum moed_rung rung); /* "calm" … "refuse", or "unknown" */
struct moed_pressure {
    size_t size;
    enum moed_rung rung;
    uint64_t changes; /* of the rung, since the start */
    /* percent of the last seconds in which some, or all, tasks waited for memory; < 0: unknown */
    double some_percent, full_percent;
    uint64_t left_bytes, limit_bytes;
    const char *limit;  /* what sets it: "MemAvailable", "cgroup /…" */
    const char *source; /* where waiting is read, or why nowhere; for people */
};
/* watch: the rung changed; NULL: this message has none */
MOED_API const struct moed_pressure *moed_call_pressure(const struct moed_call *call);

/* The i-th pair of the model file's metadata; false past the end. */
MOED_API bool moed_call_metadata(const struct moed_call *call, size_t i, const char **key,
                                 const char **value);

struct moed_session { /* strings are "" where unknown */
    size_t size;
    const char *id, *name;
    uint64_t revision; /* grows with every change */
    const char *model; /* "": nothing was said yet */
    bool is_raw;       /* it holds text as tokens, not messages */
    uint32_t messages;
    uint64_t tokens;       /* of raw text; of a chat those of its answers */
    uint64_t bytes;        /* that count against the user's limit */
    int64_t created, used; /* seconds since 1970 */
    bool is_busy;          /* somebody generates in it, or changes it */
    bool is_cut;           /* it ends in an answer that was cut, and may go on */
    const char *unkept;    /* why it is not on the disk as it is; "": it is */
    bool is_pinned, is_parked;
    uint64_t memory_bytes; /* pinned: what the model has of it in memory now */
    uint64_t disk_bytes;   /* parked: what it has of it on the disk */
};
MOED_API size_t moed_call_n_sessions(const struct moed_call *call);
MOED_API const struct moed_session *moed_call_session(const struct moed_call *call, size_t i);

struct moed_tool_call { /* whole */
    size_t size;
    const char *name, *arguments, *id; /* "" where unknown */
};
struct moed_message { /* of a session; of raw text a piece, which is tokens alone */
    size_t size;
    enum moed_role role;
    const char *content, *reasoning, *tool_call_id; /* "" where there is none */
    const struct moed_tool_call *const *calls;
    size_t n_calls;
    const int32_t *tokens; /* an answer's, if asked for */
    size_t n_tokens;
    enum moed_finish finish; /* how an answer ended; MOED_FINISH_NONE: it was given */
    bool is_cut;             /* it may go on */
};
MOED_API size_t moed_call_n_messages(const struct moed_call *call);
MOED_API const struct moed_message *moed_call_message(const struct moed_call *call, size_t i);
/* From where to go on showing; 0: these were the last. */
MOED_API uint32_t moed_call_next_message(const struct moed_call *call);

struct moed_limit { /* of the daemon (value), or the range of a request's field */
    size_t size;
    const char *name; /* "frame_bytes"; "generate.sampling.top_p" */
    bool is_range;
    uint64_t value;
    double least, most; /* zero is always taken: it means the same as leaving the field out */
    double missing;     /* what a field left out means */
};
struct moed_hello_info {
    size_t size;
    const char *version;     /* of the daemon */
    uint32_t protocol_minor; /* grows when fields or methods are added */
    const char *const *features;
    size_t n_features;
    const struct moed_limit *const *limits;
    size_t n_limits;
    const char *boot_id;        /* of the machine */
    const uint8_t *instance_id; /* of the daemon's process */
    size_t instance_id_bytes;
    uint32_t uid; /* who the daemon thinks you are */
    bool draining;
};
MOED_API const struct moed_hello_info *moed_call_hello(const struct moed_call *call);

struct moed_counter {
    size_t size;
    const char *name, *unit, *help;
    uint64_t value;
};
struct moed_histogram { /* how values are spread */
    size_t size;
    const char *name, *unit, *help;
    const double *bounds;
    const uint64_t
        *counts; /* one more than bounds: counts[i] are at most bounds[i], the last more */
    size_t n_bounds;
    double sum;
};
struct moed_expert_layer { /* rows by expert; each row chooses several */
    size_t size;
    uint32_t layer;
    const uint64_t *chosen;
    const float *recent; /* what was chosen ten minutes ago counts half */
    size_t n;
};
struct moed_model_stats {
    size_t size;
    const char *model;
    uint64_t steps, prompt_tokens, decoded_tokens;
    double prefill_seconds, decode_seconds;
    uint32_t sequences, queued, pages_used, pages_total;
    uint64_t cache_bytes;
    const char *workers;    /* how many threads, on which cores, and why no more; for people */
    const char *memory;     /* what pages it lies in; for people */
    const char *nodes;      /* of memory, and what lies on each; "" for one; for people */
    uint64_t cached_tokens; /* of prompts: known already, and so not in prompt_tokens */
    uint32_t pages_kept;    /* beside pages_used: of earlier requests, until others need them */
    uint32_t queued_by_class[3]; /* by enum moed_class; their sum is queued */
    uint64_t refused;            /* requests that would have waited for longer than they may */
    double plan_seconds;         /* in which the engine chose who has rows */
    const struct moed_histogram *const *histograms; /* of requests that came to a first token */
    size_t n_histograms;
    const struct moed_expert_layer *const *experts; /* moed_stats_experts() */
    size_t n_experts;
    uint64_t given_back_bytes; /* to the kernel, while memory was short */
    uint64_t pages_lost; /* dropped before they could be written to the disk, where there is one */
    uint64_t scrubbed_bytes; /* of kept weights, compared with their checksums so far */
    uint64_t broken, mended; /* matrices: with a wrong one; of them read from the file again */
    uint64_t saves_failed;   /* talks that could not be written, each time one was tried */
    uint32_t pages_shared;   /* beside those: of prompts that the administrator lets all share */
    uint32_t pages_pinned;   /* of pages_used: of sessions; two that share one count it twice */
};
struct moed_generation { /* a running call */
    size_t size;
    const uint8_t *id;
    size_t id_bytes;
    const char *model;
    uint32_t uid;
    int32_t prompt_tokens, completion_tokens;
    double seconds;
    enum moed_class class_;           /* `class` is taken in C++ */
    int32_t cached_tokens;            /* of the prompt */
    double prefill_rate, decode_rate; /* tokens a second, so far */
    int32_t queue_position;           /* among those of its user, from 1 on; 0: it has begun */
    double queue_seconds;             /* that it has waited */
};
struct moed_stats_info {
    size_t size;
    const struct moed_counter *const *counters;
    size_t n_counters;
    const struct moed_model_stats *const *models;
    size_t n_models;
    const struct moed_generation *const *generations;
    size_t n_generations;
    double uptime_seconds;
    uint64_t resident_bytes;
    const char *notice; /* what is not as usual: safe mode, and why; "": nothing */
    const char *vault;  /* who keeps weights while the daemon restarts; "": nobody */
    const struct moed_pressure *pressure; /* NULL: an older daemon */
};
MOED_API const struct moed_stats_info *moed_call_stats(const struct moed_call *call);

struct moed_reloaded { /* names of settings that changed */
    size_t size;
    const char *const *now; /* they count from now on */
    size_t n_now;
    const char *const *later; /* for models that are loaded from now on */
    size_t n_later;
    const char *const *restart; /* they need another start of the daemon */
    size_t n_restart;
};
MOED_API const struct moed_reloaded *moed_call_reloaded(const struct moed_call *call);

/* tokenize, render */
MOED_API const int32_t *moed_call_ids(const struct moed_call *call, size_t *n);
/* embed */
MOED_API const float *moed_call_values(const struct moed_call *call, size_t *n);
/* detokenize, render; ended by a zero byte */
MOED_API const char *moed_call_text(const struct moed_call *call, size_t *bytes);
/* detokenize: the text's very bytes; raw: the message */
MOED_API const void *moed_call_bytes(const struct moed_call *call, size_t *bytes);
/* cancel: whether there was such a generation */
MOED_API bool moed_call_found(const struct moed_call *call);

#ifdef __cplusplus
}
#endif
