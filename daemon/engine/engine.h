/* SPDX-License-Identifier: MIT
 *
 * The engine of one model: a thread that steps all its sequences together.
 *
 * Everything here is called on the loop thread and never blocks: requests go down a ring, events
 * come up another, `wake` (called on the engine's thread) says that there are some. Between the
 * two a sequence belongs to the engine alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/own.h"
#include "engine/ladder.h"
#include "engine/sample.h"
#include "engine/sched.h"
#include "engine/think.h"

struct meters;
struct model;
struct porter;
struct place;
struct preambles;
struct engine;
struct usage;

enum { ENGINE_MAX_TOP = 20, ENGINE_TEXT_BYTES = 192, ENGINE_RUNS = 48, ENGINE_NUMBERS = 48 };

/* Rows of prompts in a step that may have logits, beside the last of each. */
enum { ENGINE_PROMPT_ROWS = 32 };

/* Rows of a prompt in a step that are made as those of answers, for one who replays. */
enum { ENGINE_REPLAY_ROWS = 16 };

struct engine_config {
    int max_sequences;     /* together in a step; more wait in the queue */
    int max_queue;         /* waiting requests; one more is refused with -EBUSY */
    int step_rows;         /* of prompts in a step, at most */
    uint64_t cache_bytes;  /* latent cache; 0: as much as max_sequences short talks need */
    int keep_percent;      /* of the cache, at most, for what one uid said before; 0: nothing */
    struct porter *porter; /* to whom that is handed when there is time, and who is asked for it;
                              must outlive the engine; NULL: it lasts as long as the engine */
    const struct preambles *shared; /* what all uids may find known, made by whom it may be; of an
                                       eighth of the cache at most; of no use after engine_open();
                                       NULL: nothing */
};

/* What a request without an answer is for: to move what is known of a session's tokens. */
enum engine_care {
    CARE_NONE,
    CARE_RESUME, /* from the disk into memory, ahead of the next turn */
    CARE_PIN,    /* the same, and it stays there */
    CARE_PARK,   /* to the disk, where it stays, and from memory */
};

/* A request; made by engine_request_new, filled by the caller, owned by the engine once submitted.
 */
struct engine_request {
    int32_t *prompt; /* heap; ids are checked against the vocabulary at submit */
    int n_prompt;
    int max_tokens;   /* 0: as many as the context takes, which is the limit anyway */
    int top_logprobs; /* -1: no logprobs, else 0 … ENGINE_MAX_TOP */
    int32_t *run; /* heap, with is_replay: so many of the prompt's tokens are made, or recalled, as
                     those of prompts, so many as those of answers, and so on in turns; the rest
                     as those of prompts. Without, all are, and whatever is known is recalled. */
    int n_runs;
    bool is_replay;
    bool is_embedding; /* no answer is wanted, but VALUES: the mean of the hidden states behind the
                          last norm of all the prompt's tokens */
    bool prompt_logprobs;  /* and of the prompt's tokens, which is then read in smaller steps */
    bool show_special;     /* special tokens print their text */
    bool ignore_end;       /* go on after an end token */
    enum engine_care care; /* with a talk, and no pages are promised for an answer */
    uint64_t talk;         /* the session it is of; 0: of none */
    bool is_pinned;        /* what is known of the session then stays in memory */
    bool is_followed;      /* others with the same prompt come when this one has read it */
    uint64_t finish_by_ns; /* monotonic; 0: whenever. An ESTIMATE comes first */
    int n_beside;          /* answers that will be written beside it for the same client */
    uint32_t uid;          /* of the peer, from the kernel */
    uint64_t kept_bytes, disk_bytes; /* of what that uid's requests leave behind, at most, in this
                                        engine's cache and on the disk; UINT64_MAX: as all others */
    enum sched_class class;
    uint64_t queue_ns; /* it may wait so long for its turn, or is refused; 0: it waits */
    char **stops;      /* heap, n_stops strings on the heap */
    int n_stops;
    struct sample_params sample;
    struct think_params think;
};
struct engine_request *engine_request_new(void);
void engine_request_free(struct engine_request *request);
OWN_DEFINE(engine_request, engine_request_free);

enum engine_finish {
    ENGINE_STOP,      /* an end token, or a stop string */
    ENGINE_LENGTH,    /* max_tokens or the context */
    ENGINE_TIME,      /* finish_by_ns */
    ENGINE_CANCELLED, /* by engine_cancel or engine_close */
    ENGINE_ERROR,     /* non-finite logits, no memory: text says which */
    ENGINE_REFUSED,   /* it would wait for longer than it may: so does text */
};

enum engine_event_kind {
    ENGINE_READING,  /* how far a prompt is: at most four times a second, before the first TOKEN */
    ENGINE_KNOWN,    /* how a prompt begins that need not be read again; before the first TOKEN */
    ENGINE_ESTIMATE, /* what to expect of one that has a time; before the first PROMPT or TOKEN */
    ENGINE_PROMPT,   /* a token of the prompt, from the second on: these come first, in order */
    ENGINE_TOKEN,    /* a sampled token with the text that may be sent for it (may be empty) */
    ENGINE_MORE,     /* text alone: what a TOKEN or DONE that follows had no room for */
    ENGINE_VALUES,   /* numbers of an embedding, in order */
    ENGINE_DONE,     /* the last event of a call */
};

struct engine_event {
    uint64_t call;
    enum engine_event_kind kind;
    int32_t id;     /* PROMPT, TOKEN */
    float logprob;  /* PROMPT, and TOKEN when asked for: natural, before temperature and filters */
    uint16_t n_top; /* PROMPT, TOKEN: most probable tokens */
    uint16_t n_text;
    struct {
        int32_t id;
        float logprob;
    } top[ENGINE_MAX_TOP];
    /* DONE */
    enum engine_finish finish;
    int stop_index; /* which stop string, -1: none */
    int n_prompt, n_cached, n_tokens;
    int n_thinking; /* of n_tokens */
    enum think_cut cut;
    uint64_t queue_ns, prefill_ns, decode_ns; /* monotonic; decode from the first token on */
    /* READING, with n_prompt and n_cached: until all is read, as it looks; DONE of one refused:
     * until it is worth asking again */
    uint64_t left_ns;
    uint64_t care_bytes; /* DONE, of CARE_PARK: on the disk */
    int care_code;       /* DONE, of care with ENGINE_ERROR: negative errno, with words in text */
    int n_runs;          /* KNOWN */
    int n_values;        /* VALUES */
    struct {             /* ESTIMATE; 0: it was never measured */
        double prefill_seconds, tokens_per_second;
        int thinking_tokens, answer_tokens;
    } estimate;
    union {
        char text[ENGINE_TEXT_BYTES]; /* TOKEN, MORE: whole UTF-8 characters; DONE: held-back text
                                         is sent as MORE before it; for ENGINE_ERROR the reason */
        float value[ENGINE_NUMBERS];  /* VALUES */
        int32_t run[ENGINE_RUNS]; /* KNOWN: tokens once read as a prompt, tokens once written as an
                                     answer, and so on in turns, on through all such events */
    };
};

/* Starts the thread. The model must be loaded on `place`; both must outlive the engine. */
int engine_open(struct model *model, struct place *place, const struct engine_config *config,
                void (*wake)(void *arg), void *arg, struct engine **ret, struct err *err);
/* Has engine_close() wait, until then at most, for the porter to take what he does not have yet. */
void engine_save(struct engine *engine, uint64_t until_ns); /* monotonic */
/* Has it hand over what the porter does not have yet of talks that are over, between its steps and
 * until then at most; it goes on meanwhile. */
void engine_flush(struct engine *engine, uint64_t until_ns); /* monotonic */
bool engine_is_flushing(const struct engine *engine);
/* Cancels everything, ends the thread; events not polled are lost. */
void engine_close(struct engine *engine);
OWN_DEFINE(engine, engine_close);

/**
 * Queue a request; on success the engine owns it and *call names it in events (never 0).
 *
 *   fails   -EBUSY  the queue is full: see engine_retry_ns()
 *           -EINVAL a bad token id, stop string or number; an empty prompt; thinking that is
 *                   limited, and no token closes it
 *           -E2BIG  the prompt does not fit the context; the words give both numbers
 *           -ENOMEM
 */
int engine_submit(struct engine *engine, struct engine_request *request, uint64_t *call,
                  struct err *err);
/* How long until there is room in a full queue, by the pace at which calls have ended; 0: nobody
 * knows. Any thread. */
uint64_t engine_retry_ns(const struct engine *engine);
/* Ends a call within one step; its DONE still comes. Unknown calls are ignored. */
void engine_cancel(struct engine *engine, uint64_t call);
/* A paused call keeps its cache and gets no rows: for clients that do not read. */
void engine_pause(struct engine *engine, uint64_t call, bool paused);
/* Memory is so short: gives back what the rung asks for, and goes on doing so, until told
 * otherwise.
 */
void engine_press(struct engine *engine, enum rung rung);
/* Takes the next event; false: none. */
bool engine_poll(struct engine *engine, struct engine_event *ret);

/* What is pinned of a session; 0: nothing. And nothing from the next step on. Any thread. */
uint64_t engine_pinned_bytes(struct engine *engine, uint32_t uid, uint64_t talk);
void engine_unpin(struct engine *engine, uint32_t uid, uint64_t talk);

struct engine_look { /* at a call */
    int position;    /* in its uid's queue, from 1 on; 0: it has begun */
    int n_cached;    /* tokens of the prompt that were known; -1: that is not clear yet */
    int n_read;      /* and have been read since */
    uint64_t queue_ns, prefill_ns, decode_ns; /* so far */
};
/* False: there is no such call. Positions are counted a few times a second. */
bool engine_look(const struct engine *engine, uint64_t call, struct engine_look *ret);

struct engine_stat { /* a snapshot, any thread */
    uint64_t steps, prompt_tokens, decoded_tokens, requests_done, requests_cancelled;
    uint64_t errors;
    uint64_t prefill_ns, decode_ns;
    uint64_t cached_tokens; /* of prompts, that were known */
    uint64_t requests_refused;
    uint64_t plan_ns; /* in which the engine chose who has rows */
    uint32_t sequences, queued, pages_used, pages_total;
    uint32_t queued_by_class[N_CLASSES];
    uint32_t pages_pinned; /* of pages_used; one that two pins share counts twice */
    uint32_t pages_kept;   /* that no sequence uses: what was said before, until others need them */
    uint32_t context, step_rows;
    uint64_t cache_bytes;      /* of the whole pool */
    uint64_t given_back_bytes; /* to the kernel, because engine_press() asked for it */
    uint64_t pages_lost; /* dropped before they could be written to the disk; 0 without a porter */
    uint32_t pages_shared; /* of preambles; not among those used or kept */
    uint64_t saves_failed; /* talks that could not be written, each time one was tried */
};
/* Whether an engine gets on: one that works has another beat from one look to the next, unless it
 * is stuck. Any thread. */
struct engine_pulse {
    bool works; /* it does not wait for somebody to ask; false too where nobody can know */
    uint64_t beat;
};
void engine_pulse(const struct engine *engine, struct engine_pulse *ret);
/* The memory that the latent cache is in. Any thread. */
const void *engine_cache(const struct engine *engine, size_t *bytes);
void engine_stat(const struct engine *engine, struct engine_stat *ret);
/* How requests fared, and which experts they went to (NULL: the model has none). Any thread. */
const struct meters *engine_meters(const struct engine *engine);
struct usage *engine_usage(const struct engine *engine);
