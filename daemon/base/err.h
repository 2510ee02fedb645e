/* SPDX-License-Identifier: MIT
 *
 * An error: a negative errno for the program, a sentence for a human.
 *
 * Any thread; the caller owns the struct. A function takes `struct err *` only where a person or
 * a client reads the answer; the words say what was found, what was expected, and where.
 */
#pragma once

struct err {
    int code;       /* negative errno, 0 while nothing went wrong */
    char text[512]; /* one line of UTF-8, no newline */
};

/* Writes the sentence and gives `code` back, so that `return err_set(err, -EINVAL, …)` is the
 * idiom. `err` may be NULL. Control bytes in the result are replaced by '?': names come from files.
 * A macro, so that the compiler sees which value is returned. */
#define err_set(err, code, ...)                                                                    \
    __extension__({                                                                                \
        const int err_code_ = (code);                                                              \
        err_write((err), err_code_, __VA_ARGS__);                                                  \
        err_code_;                                                                                 \
    })
void err_write(struct err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "where: " in front of the words already there; returns err->code (or `code` if err is NULL).
 */
int err_prefix(struct err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
