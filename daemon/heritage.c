/* SPDX-License-Identifier: MIT */
#include "heritage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/vault.h"
#include "births.h"
#include "config.h"
#include "keeper.h"

static void on_kept(void *arg, const char *name, int fd)
{
    struct vault *vault = arg;
    if (vault)
        vault_offer(vault, name, fd);
    else
        close(fd);
}

/* What is kept and not wanted, by those who do not want any. */
static void drop_all(struct vault *vault)
{
    char name[VAULT_NAME_BYTES];
    while (vault && vault_name(vault, "", 0, name))
        vault_drop(vault, name);
}

/* A helper that does not answer is no reason not to serve. */
static struct vault *ask_helper(const char *path)
{
    const struct vault_keeper *keeper;
    struct err err = {0};
    OWN(vault) *vault = NULL;
    int r = keeper_connect(path, &keeper, &err);
    if (r == 0) {
        vault = vault_new(keeper);
        r = keeper_take(keeper, on_kept, vault, &err);
    }
    if (r < 0) {
        log_warning("main", "weights will end with this process: %s", err.text);
        return NULL;
    }
    return TAKE(vault);
}

static int take_gifts(const char *where, struct heritage *h, struct err *err)
{
    const struct vault_keeper *keeper = sd_keeper();
    OWN(vault) *vault = keeper ? vault_new(keeper) : NULL;
    h->n_listeners = sd_take(h->listener, on_kept, vault, err);
    if (h->n_listeners < 0)
        return h->n_listeners;
    if (strcmp(where, "auto") == 0) {
        h->vault = TAKE(vault);
        return 0;
    }
    drop_all(vault);
    if (strcmp(where, "no") != 0)
        h->vault = ask_helper(where);
    return 0;
}

static void count_births(int most, struct heritage *h)
{
    const char *folder = getenv("STATE_DIRECTORY");
    if (!folder || most == 0)
        return;
    snprintf(h->folder, sizeof h->folder, "%.*s", (int)strcspn(folder, ":"), folder);
    int before = births_note(h->folder);
    if (before < most)
        return;
    h->is_safe = true;
    snprintf(h->notice, sizeof h->notice,
             "safe mode, since moed ended unasked %d times in %d s: models load when asked to "
             "(moectl load NAME), and nothing kept from before is used; the next start that is "
             "not after a failure leaves it",
             before, BIRTHS_WINDOW_S);
    log_about(LOG_LEVEL_WARNING, "main", LOG_ABOUT(.event = EVENT_SAFE_MODE), "%s", h->notice);
}

int heritage_take(const struct config *config, struct heritage *ret, struct err *err)
{
    int r = take_gifts(config->vault, ret, err);
    if (r < 0)
        return r;
    count_births(config->safe_after, ret);
    if (ret->is_safe)
        drop_all(ret->vault);
    return 0;
}

void heritage_end(struct heritage *h)
{
    if (*h->folder)
        births_forget(h->folder);
    vault_free(h->vault);
    h->vault = NULL;
}
