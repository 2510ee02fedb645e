/* SPDX-License-Identifier: MIT
 *
 * From token bytes to text that may be sent. See detok.h.
 *
 * Bytes become characters first (`tail` waits for the rest of one), characters gather in `held`,
 * and what no stop string may begin with any more is given out. `held` is laid out as
 * [given by the last call | still held]; the first part goes at the next call. */
#include "text/detok.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/token.h"
#include "text/utf8.h"

static int add_stop(struct detok *d, const char *stop, struct err *err)
{
    int i = d->n_stops;
    size_t bytes = strlen(stop);
    if (bytes == 0)
        return err_set(err, -EINVAL, "stop string %d is empty", i);
    if (bytes > DETOK_MAX_STOP_BYTES)
        return err_set(err, -EINVAL, "stop string %d has %zu bytes, expected at most %d", i, bytes,
                       DETOK_MAX_STOP_BYTES);
    if (utf8_valid(stop, bytes) != bytes)
        return err_set(err, -EINVAL, "stop string %d is not UTF-8", i);
    d->stops[i] = strdup(stop);
    if (!d->stops[i])
        return err_set(err, -ENOMEM, "no memory for stop strings");
    d->stop_bytes[i] = bytes;
    d->n_stops++;
    return 0;
}

int detok_init(struct detok *d, const struct vocab *vocab, bool show_special,
               const char *const *stops, int n_stops, struct err *err)
{
    *d = (struct detok){.vocab = vocab, .show_special = show_special, .stop = -1};
    if (n_stops < 0 || n_stops > DETOK_MAX_STOPS)
        return err_set(err, -EINVAL, "%d stop strings, expected at most %d", n_stops,
                       DETOK_MAX_STOPS);
    int r = 0;
    for (int i = 0; r == 0 && i < n_stops; i++)
        r = add_stop(d, stops[i], err);
    if (r == 0) {
        /* a partial stop string, and every byte of the tail and of a token as U+FFFD */
        d->held_room = DETOK_MAX_STOP_BYTES + 3 * (sizeof(d->tail) + vocab_max_bytes(vocab));
        d->held = malloc(d->held_room);
        if (!d->held)
            r = err_set(err, -ENOMEM, "no memory for the text of a sequence");
    }
    if (r < 0)
        detok_fini(d);
    return r;
}

void detok_fini(struct detok *d)
{
    for (int i = 0; i < d->n_stops; i++)
        free(d->stops[i]);
    free(d->held);
    *d = (struct detok){0};
}

static void hold(struct detok *d, const void *text, size_t bytes)
{
    memcpy(d->held + d->n_held, text, bytes);
    d->n_held += bytes;
}

/* The tail will not become a character any more. */
static void give_up_tail(struct detok *d)
{
    if (d->n_tail > 0)
        hold(d, utf8_replacement, 3);
    d->n_tail = 0;
}

static void take_byte(struct detok *d, unsigned char byte)
{
    d->tail[d->n_tail++] = byte;
    enum utf8_state state = utf8_state(d->tail, d->n_tail);
    if (state == UTF8_PART)
        return;
    if (state == UTF8_WHOLE) {
        hold(d, d->tail, (size_t)d->n_tail);
        d->n_tail = 0;
    } else if (d->n_tail == 1) { /* the byte can begin nothing */
        give_up_tail(d);
    } else { /* what came before it is a maximal subpart; the byte gets its own chance */
        d->n_tail--;
        give_up_tail(d);
        take_byte(d, byte);
    }
}

/* The stop string that ends first in the held text, and where it begins; of two that end together
 * the longer. So the answer does not depend on how the text came in tokens. */
static int find_stop(const struct detok *d, size_t *start)
{
    int found = -1;
    size_t first_end = 0;
    for (int i = 0; i < d->n_stops; i++) {
        const char *at = memmem(d->held, d->n_held, d->stops[i], d->stop_bytes[i]);
        if (!at)
            continue;
        size_t begin = (size_t)(at - d->held), end = begin + d->stop_bytes[i];
        if (found < 0 || end < first_end || (end == first_end && begin < *start)) {
            found = i;
            first_end = end;
            *start = begin;
        }
    }
    return found;
}

/* How many bytes at the end may be the beginning of a stop string. */
static size_t partial_stop(const struct detok *d)
{
    size_t most = 0;
    for (int i = 0; i < d->n_stops; i++) {
        size_t n = d->stop_bytes[i] - 1;
        if (n > d->n_held)
            n = d->n_held;
        for (; n > most; n--)
            if (memcmp(d->held + d->n_held - n, d->stops[i], n) == 0)
                most = n;
    }
    return most;
}

/* Forgets what the last call gave out. */
static void begin(struct detok *d)
{
    if (d->n_given > 0)
        memmove(d->held, d->held + d->n_given, d->n_held - d->n_given);
    d->n_held -= d->n_given;
    d->n_given = 0;
}

/* Decides what of the held text is given out; `all`: no stop string can grow any more. */
static void give(struct detok *d, bool all, const char **text, size_t *bytes)
{
    size_t start = 0;
    int stop = find_stop(d, &start);
    if (stop >= 0) {
        d->stopped = true;
        d->stop = stop;
        d->n_held = start;
        d->n_tail = 0;
        all = true;
    }
    d->n_given = all ? d->n_held : d->n_held - partial_stop(d);
    *text = d->held;
    *bytes = d->n_given;
}

void detok_push(struct detok *d, int32_t id, const char **text, size_t *bytes)
{
    begin(d);
    bool hidden =
        !d->show_special && (vocab_is_special(d->vocab, id) || vocab_is_unused(d->vocab, id));
    if (!d->stopped) {
        if (hidden) {
            give_up_tail(d);
        } else {
            size_t n;
            const char *s = vocab_bytes(d->vocab, id, &n);
            for (size_t i = 0; i < n; i++)
                take_byte(d, (unsigned char)s[i]);
        }
    }
    give(d, hidden, text, bytes);
}

void detok_finish(struct detok *d, const char **text, size_t *bytes)
{
    begin(d);
    give_up_tail(d);
    give(d, true, text, bytes);
}
