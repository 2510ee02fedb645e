/* SPDX-License-Identifier: MIT
 *
 * status and ps: how the daemon is doing. One thread.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "moectl/link.h"
#include "moectl/report.h"
#include "moectl/screen.h"
#include "moectl/verb.h"

struct state { /* three answers on one connection */
    struct moed_call *hello, *list, *stats;
};

static void state_fini(struct state *s)
{
    moed_call_free(s->hello);
    moed_call_free(s->list);
    moed_call_free(s->stats);
}

static int ask_state(const struct options *o, struct moed *moed, struct state *ret)
{
    struct moed_error error = MOED_ERROR_INIT;
    int r = moed_hello(moed, "moectl " MOED_VERSION, &ret->hello, &error);
    if (r == 0)
        r = moed_list(moed, &ret->list, &error);
    if (r == 0)
        r = moed_stats(moed, &ret->stats, &error);
    struct moed_call *calls[] = {ret->hello, ret->list, ret->stats};
    for (int i = 0; i < 3 && r == 0; i++)
        r = moed_wait(calls[i], &error);
    return r < 0 ? link_failed(o, &error) : 0;
}

static json_t *words_json(const char *const *words, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, screen_json_word(words[i]));
    return list;
}

static json_t *limits_json(const struct moed_hello_info *hello)
{
    json_t *object = json_object();
    for (size_t i = 0; i < hello->n_limits; i++) {
        const struct moed_limit *l = hello->limits[i];
        json_t *value = l->is_range ? json_object() : json_integer((json_int_t)l->value);
        if (l->is_range) {
            json_object_set_new(value, "least", screen_json_real(l->least));
            json_object_set_new(value, "most", screen_json_real(l->most));
            json_object_set_new(value, "missing", screen_json_real(l->missing));
        }
        json_object_set_new(object, l->name, value);
    }
    return object;
}

static json_t *model_stats_list(const struct moed_stats_info *stats)
{
    json_t *list = json_array();
    for (size_t i = 0; i < stats->n_models; i++)
        json_array_append_new(list, report_model_stats_json(stats->models[i]));
    return list;
}

static json_t *state_json(struct moed *moed, const struct state *s)
{
    const struct moed_hello_info *hello = moed_call_hello(s->hello);
    const struct moed_stats_info *stats = moed_call_stats(s->stats);
    json_t *o = json_object();
    json_object_set_new(o, "socket", screen_json_word(moed_socket(moed)));
    json_object_set_new(o, "version", screen_json_word(hello->version));
    json_object_set_new(o, "protocol_minor", json_integer(hello->protocol_minor));
    json_object_set_new(o, "features", words_json(hello->features, hello->n_features));
    json_object_set_new(o, "limits", limits_json(hello));
    json_object_set_new(o, "boot_id", screen_json_word(hello->boot_id));
    json_object_set_new(o, "instance_id",
                        screen_json_hex(hello->instance_id, hello->instance_id_bytes));
    json_object_set_new(o, "uid", json_integer(hello->uid));
    json_object_set_new(o, "draining", json_boolean(hello->draining));
    json_object_set_new(o, "uptime_seconds", screen_json_real(stats->uptime_seconds));
    json_object_set_new(o, "resident_bytes", json_integer((json_int_t)stats->resident_bytes));
    json_object_set_new(o, "notice", screen_json_word(stats->notice));
    json_object_set_new(o, "vault", screen_json_word(stats->vault));
    if (stats->pressure)
        json_object_set_new(o, "pressure", report_pressure_json(stats->pressure));
    json_object_set_new(o, "models", report_models_json(s->list));
    json_object_set_new(o, "model_stats", model_stats_list(stats));
    json_t *counters = json_object();
    for (size_t i = 0; i < stats->n_counters; i++)
        json_object_set_new(counters, stats->counters[i]->name,
                            json_integer((json_int_t)stats->counters[i]->value));
    json_object_set_new(o, "counters", counters);
    return o;
}

static void print_seconds(double seconds)
{
    long s = (long)seconds;
    if (s >= 86400)
        printf("%ld d %ld h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        printf("%ld h %ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        printf("%ld min %ld s", s / 60, s % 60);
    else
        printf("%ld s", s);
}

static bool any_in_state(const struct moed_call *list, enum moed_model_state state)
{
    for (size_t i = 0; i < moed_call_n_models(list); i++)
        if (moed_call_model(list, i)->state == state)
            return true;
    return false;
}

static bool any_rests(const struct moed_call *list)
{
    for (size_t i = 0; i < moed_call_n_models(list); i++)
        if (moed_call_model(list, i)->resting)
            return true;
    return false;
}

/* What somebody new would do now. */
static const char *next_step(const struct state *s)
{
    if (moed_call_hello(s->hello)->draining)
        return "the daemon is going down; try again when it is back";
    if (any_in_state(s->list, MOED_MODEL_READY) || any_rests(s->list))
        return "moectl ask \"your question\", or moectl chat";
    if (any_in_state(s->list, MOED_MODEL_LOADING))
        return "a model is loading; moectl load waits for it";
    if (any_in_state(s->list, MOED_MODEL_UNLOADED) || any_in_state(s->list, MOED_MODEL_FAILED))
        return "moectl load";
    return "give the daemon a model: moed --model FILE";
}

/* What the model runs on. */
static void print_place(const struct moed_model_stats *m)
{
    const struct {
        const char *name, *words;
    } lines[] = {{"workers", m->workers}, {"memory", m->memory}, {"nodes", m->nodes}};
    putchar('\n');
    screen_word(stdout, m->model);
    putchar('\n');
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        if (!*lines[i].words)
            continue;
        printf("  %-8s ", lines[i].name);
        screen_word(stdout, lines[i].words);
        putchar('\n');
    }
    printf("  cache    %" PRIu32 " of %" PRIu32 " pages in use, %" PRIu32
           " kept; of prompts %" PRIu64 " tokens were known, %" PRIu64 " read\n",
           m->pages_used, m->pages_total, m->pages_kept, m->cached_tokens, m->prompt_tokens);
    char size[32];
    if (m->broken)
        printf("  broken   %" PRIu64 " matrices in %s of weights looked at, %" PRIu64
               " read from the file again: this machine's memory loses bits\n",
               m->broken, screen_bytes(size, sizeof size, m->scrubbed_bytes), m->mended);
    if (report_has_fared(m))
        report_histograms(m);
}

/* Whether a restart loads again what is loaded now. */
static void print_vault(const struct state *s)
{
    const struct moed_stats_info *stats = moed_call_stats(s->stats);
    char size[32];
    uint64_t kept = 0;
    if (*stats->notice) {
        screen_word(stdout, stats->notice);
        putchar('\n');
    }
    for (size_t i = 0; i < moed_call_n_models(s->list); i++)
        kept += moed_call_model(s->list, i)->kept_bytes;
    if (!*stats->vault) {
        puts("a restart loads models anew: nobody keeps weights meanwhile");
        return;
    }
    printf("%s of weights outlive a restart, kept by ", screen_bytes(size, sizeof size, kept));
    screen_word(stdout, stats->vault);
    putchar('\n');
}

static void print_pressure(const struct moed_pressure *p)
{
    char left[32], all[32];
    printf("memory   %s", moed_rung_name(p->rung));
    if (p->limit_bytes) {
        printf(", %s of %s left by ", screen_bytes(left, sizeof left, p->left_bytes),
               screen_bytes(all, sizeof all, p->limit_bytes));
        screen_word(stdout, p->limit);
    }
    if (p->some_percent >= 0)
        printf("; %.1f %% of the time waited for, by ", p->some_percent);
    else
        fputs("; ", stdout);
    screen_word(stdout, p->source);
    putchar('\n');
}

static void print_state(struct moed *moed, const struct state *s)
{
    char size[32];
    const struct moed_hello_info *hello = moed_call_hello(s->hello);
    const struct moed_stats_info *stats = moed_call_stats(s->stats);
    fputs("moed ", stdout);
    screen_word(stdout, hello->version);
    fputs(" at ", stdout);
    screen_word(stdout, moed_socket(moed));
    fputs(hello->draining ? ", draining\nup " : "\nup ", stdout);
    print_seconds(stats->uptime_seconds);
    printf(", %s resident, %zu generations running\n",
           screen_bytes(size, sizeof size, stats->resident_bytes), stats->n_generations);
    if (stats->pressure)
        print_pressure(stats->pressure);
    print_vault(s);
    putchar('\n');
    report_models(s->list);
    for (size_t i = 0; i < stats->n_models; i++)
        print_place(stats->models[i]);
    printf("\nnext: %s\n", next_step(s));
}

int verb_status(const struct options *o)
{
    OWN(moed) *moed = NULL;
    struct state s = {0};
    int r = link_open(o, &moed);
    if (r)
        return r;
    r = ask_state(o, moed, &s);
    if (r == 0 && o->json)
        screen_json(state_json(moed, &s));
    else if (r == 0)
        print_state(moed, &s);
    state_fini(&s);
    return r;
}

/* ---- ps */
static json_t *ps_json(const struct moed_stats_info *stats)
{
    json_t *list = json_array();
    for (size_t i = 0; i < stats->n_generations; i++)
        json_array_append_new(list, report_generation_json(stats->generations[i]));
    return json_pack("{s:o,s:o}", "generations", list, "models", model_stats_list(stats));
}

/* Who waits: his place among those of his user, and for how long; else how fast it goes. */
static void print_pace(const struct moed_generation *g)
{
    char text[40];
    if (g->queue_position > 0)
        snprintf(text, sizeof text, "no. %d, %.1f s", g->queue_position, g->queue_seconds);
    else if (g->completion_tokens > 0)
        snprintf(text, sizeof text, "writes %.1f/s", g->decode_rate);
    else
        snprintf(text, sizeof text, "reads %.1f/s", g->prefill_rate);
    printf("%-16s  ", text);
}

static void print_generation(const struct moed_generation *g)
{
    int known = g->prompt_tokens > 0 ? (int)(100.0 * g->cached_tokens / g->prompt_tokens) : 0;
    for (size_t i = 0; i < g->id_bytes; i++)
        printf("%02x", g->id[i]);
    printf("%*s%6u  %-11s %7d %4d %% %7d %7.1f  ",
           g->id_bytes < 16 ? (int)(32 - 2 * g->id_bytes) + 2 : 2, "", g->uid,
           moed_class_name(g->class_), g->prompt_tokens, known, g->completion_tokens, g->seconds);
    print_pace(g);
    screen_word(stdout, g->model);
    putchar('\n');
}

static void print_ps(const struct moed_stats_info *stats)
{
    if (stats->n_generations == 0)
        puts("nothing is running");
    else
        printf("%-32s  %6s  %-11s %7s %6s %7s %7s  %-16s  %s\n", "GENERATION", "UID", "CLASS",
               "PROMPT", "KNOWN", "TOKENS", "SECONDS", "NOW", "MODEL");
    for (size_t i = 0; i < stats->n_generations; i++)
        print_generation(stats->generations[i]);
    report_fares(stats);
}

int verb_ps(const struct options *o)
{
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    int r = link_open(o, &moed);
    if (r)
        return r;
    r = link_wait(o, moed_stats(moed, &call, &error), &call, &error);
    if (r)
        return r;
    const struct moed_stats_info *stats = moed_call_stats(call);
    if (o->json)
        screen_json(ps_json(stats));
    else
        print_ps(stats);
    return EXIT_DONE;
}
