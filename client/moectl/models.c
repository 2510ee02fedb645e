/* SPDX-License-Identifier: MIT
 *
 * list, show, load, unload. One thread.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moectl/bar.h"
#include "moectl/link.h"
#include "moectl/report.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

static const char *named(const struct options *o)
{
    return o->n_args > 0 ? o->args[0] : o->model;
}

int verb_list(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = link_open(o, &moed);
    if (r)
        return r;
    r = link_wait(o, moed_list(moed, &call, &error), &call, &error);
    if (r)
        return r;
    if (o->json)
        screen_json(json_pack("{s:o}", "models", report_models_json(call)));
    else if (o->quiet)
        report_names(call);
    else
        report_models(call);
    return EXIT_DONE;
}

/* ---- show */
static json_t *shown_json(const struct moed_call *call)
{
    const char *key, *value;
    json_t *metadata = json_object();
    for (size_t i = 0; moed_call_metadata(call, i, &key, &value); i++)
        json_object_set_new_nocheck(metadata, key, screen_json_word(value));
    json_t *model = report_model_json(moed_call_model(call, 0));
    json_object_set_new(model, "metadata", metadata);
    return model;
}

static void print_pair(const char *key, const char *value)
{
    if (!*value)
        return;
    screen_cell(key, 14);
    screen_word(stdout, value);
    putchar('\n');
}

static void print_number(const char *key, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    print_pair(key, value ? text : "");
}

static void print_shown(const struct moed_call *call)
{
    char size[32];
    const char *key, *value;
    const struct moed_model *m = moed_call_model(call, 0);
    print_pair("name", m->name);
    print_pair("state", moed_model_state_name(m->state));
    print_pair("path", m->path);
    print_pair("family", m->family);
    print_pair("chat", m->chat);
    print_pair("quantisation", m->quantisation);
    print_pair("container", m->container);
    print_pair("file", screen_bytes(size, sizeof size, m->file_bytes));
    if (m->weight_bytes)
        print_pair("weights", screen_bytes(size, sizeof size, m->weight_bytes));
    print_number("parameters", m->parameters);
    print_number("context", m->context);
    print_number("vocabulary", m->vocabulary);
    print_pair("error", m->error);
    for (size_t i = 0; moed_call_metadata(call, i, &key, &value); i++) {
        if (i == 0)
            putchar('\n');
        screen_word(stdout, key);
        fputs(" = ", stdout);
        screen_word(stdout, value);
        putchar('\n');
    }
}

int verb_show(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = link_open(o, &moed);
    if (r)
        return r;
    r = link_wait(o, moed_show(moed, named(o), &call, &error), &call, &error);
    if (r)
        return r;
    if (!moed_call_model(call, 0))
        return link_error(o, "the daemon's answer holds no model");
    if (o->json)
        screen_json(shown_json(call));
    else
        print_shown(call);
    return EXIT_DONE;
}

/* ---- load */
static int print_model(const struct options *o, const struct moed_call *call)
{
    const struct moed_model *m = moed_call_model(call, 0);
    if (!m)
        return link_error(o, "the daemon's answer holds no model");
    if (o->json)
        screen_json(report_model_json(m));
    else if (!o->quiet) {
        screen_word(stdout, m->name);
        printf(" is %s\n", moed_model_state_name(m->state));
    }
    return m->state == MOED_MODEL_FAILED ? link_error(o, "loading failed: %s", m->error) : 0;
}

struct progress {
    const struct options *o;
    const char *name; /* NULL or "": any that loads */
    struct bar bar;
};

static void on_change(struct moed_call *watch, int result, void *arg)
{
    struct progress *p = arg;
    const struct moed_model *m = result > 0 ? moed_call_model(watch, 0) : NULL;
    if (!m || m->state != MOED_MODEL_LOADING || m->bytes_all == 0)
        return;
    if (p->name && *p->name && strcmp(p->name, m->name) != 0)
        return;
    if (!p->o->json) {
        bar_draw(&p->bar, m);
        return;
    }
    screen_json(report_model_json(m));
    fflush(stdout); /* whoever reads it wants to know now */
}

int verb_load(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *watch = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    struct progress progress = {.o = o, .name = named(o)};
    int r = link_open(o, &moed);
    if (r)
        return r;
    bool has_progress = (o->json || isatty(STDERR_FILENO)) && !o->quiet && !o->no_wait;
    if (has_progress && moed_watch(moed, &watch, &error) == 0)
        moed_call_on(watch, on_change, &progress);
    int started = moed_load(moed, named(o), !o->no_wait, &call, &error);
    r = started < 0 ? started : moed_wait(call, &error);
    bar_clear(&progress.bar);
    return r < 0 ? link_failed(o, &error) : print_model(o, call);
}

int verb_unload(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = link_open(o, &moed);
    if (r)
        return r;
    r = link_wait(o, moed_unload(moed, named(o), &call, &error), &call, &error);
    return r ? r : print_model(o, call);
}
