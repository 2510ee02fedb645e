/* SPDX-License-Identifier: MIT */
#include "base/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct offer {
    char name[VAULT_NAME_BYTES];
    int fd; /* -1: taken */
};

struct vault {
    struct vault_keeper keeper;
    pthread_mutex_t lock; /* of what is offered */
    struct offer *offer;
    int n;
};

struct vault *vault_new(const struct vault_keeper *keeper)
{
    struct vault *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->keeper = *keeper;
    pthread_mutex_init(&v->lock, NULL);
    return v;
}

void vault_free(struct vault *v)
{
    if (!v)
        return;
    for (int i = 0; i < v->n; i++)
        if (v->offer[i].fd >= 0)
            close(v->offer[i].fd);
    free(v->offer);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

const char *vault_words(const struct vault *v)
{
    return v->keeper.words;
}

static struct offer *find(struct vault *v, const char *name)
{
    for (int i = 0; i < v->n; i++)
        if (v->offer[i].fd >= 0 && !strcmp(v->offer[i].name, name))
            return &v->offer[i];
    return NULL;
}

static void forget(struct offer *offer)
{
    close(offer->fd);
    offer->fd = -1;
}

void vault_offer(struct vault *v, const char *name, int raw)
{
    OWN_FD fd = raw;
    struct offer *same = find(v, name);
    struct offer *more = v->n < VAULT_MOST && !same && strlen(name) < VAULT_NAME_BYTES
                             ? reallocarray(v->offer, (size_t)v->n + 1, sizeof *more)
                             : NULL;
    if (same)
        forget(same);
    if (!more) {
        v->keeper.drop(v->keeper.arg, name);
        return;
    }
    v->offer = more;
    snprintf(more[v->n].name, sizeof more->name, "%s", name);
    more[v->n++].fd = TAKE_FD(fd);
}

int vault_take(struct vault *v, const char *name)
{
    pthread_mutex_lock(&v->lock);
    struct offer *offer = find(v, name);
    int fd = offer ? TAKE_FD(offer->fd) : -ENOENT;
    pthread_mutex_unlock(&v->lock);
    return fd;
}

int vault_look(struct vault *v, const char *name)
{
    pthread_mutex_lock(&v->lock);
    struct offer *offer = find(v, name);
    int fd = offer ? fcntl(offer->fd, F_DUPFD_CLOEXEC, 3) : -ENOENT;
    pthread_mutex_unlock(&v->lock);
    return fd;
}

bool vault_name(struct vault *v, const char *begin, int i, char ret[VAULT_NAME_BYTES])
{
    bool found = false;
    pthread_mutex_lock(&v->lock);
    for (int at = 0; at < v->n && !found; at++)
        if (v->offer[at].fd >= 0 && !strncmp(v->offer[at].name, begin, strlen(begin)) && i-- == 0) {
            memcpy(ret, v->offer[at].name, VAULT_NAME_BYTES);
            found = true;
        }
    pthread_mutex_unlock(&v->lock);
    return found;
}

int vault_keep(struct vault *v, const char *name, int fd, struct err *err)
{
    int r = v->keeper.keep(v->keeper.arg, name, fd);
    return r < 0 ? err_set(err, r, "%s does not keep '%s': %s", v->keeper.words, name, strerror(-r))
                 : 0;
}

void vault_drop(struct vault *v, const char *name)
{
    pthread_mutex_lock(&v->lock);
    struct offer *offer = find(v, name);
    if (offer)
        forget(offer);
    pthread_mutex_unlock(&v->lock);
    v->keeper.drop(v->keeper.arg, name);
}

bool vault_discard(struct vault *v, const char *name)
{
    pthread_mutex_lock(&v->lock);
    struct offer *offer = find(v, name);
    if (offer) {
        forget(offer);
        v->keeper.drop(v->keeper.arg, name); /* before anybody can keep another of this name */
    }
    pthread_mutex_unlock(&v->lock);
    return offer;
}

void vault_settle(struct vault *v)
{
    v->keeper.settle(v->keeper.arg);
}
