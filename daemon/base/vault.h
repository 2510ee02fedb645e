/* SPDX-License-Identifier: MIT
 *
 * Descriptors that outlive the process: by name, with a keeper that holds them while nobody else
 * does: a supervisor, or a helper.
 *
 * Any thread. What the keeper hands over at the start is offered, and stays with it until it is
 * dropped; whoever takes it checks what it is. Without a keeper there is no vault: NULL.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/own.h"

enum { VAULT_NAME_BYTES = 64, VAULT_MOST = 1024 };

struct vault_keeper {
    const char *words; /* who it is, for people */
    void *arg;
    /* Holds one more copy of a descriptor. Negative errno. */
    int (*keep)(void *arg, const char *name, int fd);
    /* Holds none of this name any more. */
    void (*drop)(void *arg, const char *name);
    /* Waits, a while at most, until what was asked has been done. */
    void (*settle)(void *arg);
};

struct vault;

/* NULL: no memory. */
struct vault *vault_new(const struct vault_keeper *keeper);
void vault_free(struct vault *vault);
OWN_DEFINE(vault, vault_free);
const char *vault_words(const struct vault *vault);

/* At the start: what the keeper has. Takes the descriptor; of two of one name, or of one too many,
 * neither is offered. */
void vault_offer(struct vault *vault, const char *name, int fd);
/* What was offered, once: it is the caller's, and the keeper's still. -ENOENT. */
int vault_take(struct vault *vault, const char *name);
/* A copy of what is offered, which stays so. -ENOENT. */
int vault_look(struct vault *vault, const char *name);
/* A name that begins so, of what is offered and not taken yet: number `i` of them; false: no more.
 */
bool vault_name(struct vault *vault, const char *begin, int i, char ret[VAULT_NAME_BYTES]);

int vault_keep(struct vault *vault, const char *name, int fd, struct err *err);
/* The keeper's and what is offered under that name. */
void vault_drop(struct vault *vault, const char *name);
/* The same, if it is offered: what somebody has taken meanwhile stays with the keeper, and false.
 */
bool vault_discard(struct vault *vault, const char *name);
void vault_settle(struct vault *vault);
