/* SPDX-License-Identifier: MIT
 *
 * Parsing by table. Numbers are read in the C locale whatever the user's is.
 */
#include "moectl/option.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/verb.h"
#include "paper.h"

enum type {
    TYPE_HELP,   /* the form of help behind "=", or none */
    TYPE_FLAG,   /* bool at offset */
    TYPE_STRING, /* const char * at offset */
    TYPE_COLOR,
    TYPE_IDS,
    TYPE_REAL,    /* a setting */
    TYPE_INTEGER, /* a setting */
    TYPE_SEED,    /* a setting of 64 bits without sign */
    TYPE_SECONDS, /* a setting, kept in milliseconds */
    TYPE_SET,     /* a setting that is 1 when the option is there */
    TYPE_CLASS,   /* a setting */
    TYPE_TOP,
    TYPE_ANSWERS,
    TYPE_BEST,
    TYPE_EFFORT,
    TYPE_STOP,
    TYPE_BREAKER,
    TYPE_BAN,
    TYPE_BIAS,
    TYPE_COUNT,  /* int at offset */
    TYPE_AMOUNT, /* double at offset */
    TYPE_RANGE,  /* struct range at offset */
};

struct option {
    const char *name;
    char letter;     /* 0: none */
    const char *arg; /* NULL: takes none */
    unsigned groups;
    enum type type;
    size_t offset;
    enum moed_field field;
    const char *help;
};

#define AT(member) offsetof(struct options, member)
static const struct option option_table[] = {
    {"model", 'm', "NAME", GROUP_MODEL, TYPE_STRING, AT(model), 0,
     "which model; default: the daemon's first"},
    {"system", 's', "TEXT", GROUP_CHAT, TYPE_STRING, AT(system), 0, "the system message"},
    {"think", 't', NULL, GROUP_CHAT, TYPE_FLAG, AT(think), 0, "ask the model to think first"},
    {"effort", 0, "LEVEL", GROUP_CHAT, TYPE_EFFORT, 0, MOED_EFFORT,
     "to think: low, high, max; default: as it likes"},
    {"think-tokens", 0, "N", GROUP_CHAT, TYPE_INTEGER, 0, MOED_THINKING_TOKENS,
     "thinking has at most N tokens; 0: no limit"},
    {"think-soft", 0, "N", GROUP_CHAT, TYPE_INTEGER, 0, MOED_THINKING_SOFT_TOKENS,
     "from N on it ends with a sentence"},
    {"tools", 0, "FILE", GROUP_TOOLS, TYPE_STRING, AT(tools), 0,
     "JSON array of functions it may call"},
    {"session", 0, "NAME", GROUP_SESSION, TYPE_STRING, AT(session), 0,
     "go on with this conversation, or begin it"},
    {"raw", 0, "TEXT", GROUP_RAW, TYPE_STRING, AT(raw), 0, "the prompt; default: standard input"},
    {"suffix", 0, "TEXT", GROUP_RAW, TYPE_STRING, AT(suffix), 0,
     "fill the hole between the prompt and this"},
    {"tokens-in", 0, "IDS", GROUP_RAW, TYPE_IDS, 0, 0, "the prompt as token ids: 1,2,3"},
    {"tokens", 'n', "N", GROUP_SAMPLING, TYPE_INTEGER, 0, MOED_MAX_TOKENS,
     "stop after N tokens; 0: at the context's end"},
    {"temperature", 0, "X", GROUP_SAMPLING | GROUP_BENCH, TYPE_REAL, 0, MOED_TEMPERATURE,
     "0: always the most probable token"},
    {"top-k", 0, "N", GROUP_SAMPLING, TYPE_INTEGER, 0, MOED_TOP_K,
     "only among the N most probable; 0: off"},
    {"top-p", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_TOP_P,
     "only the first that make up X; 1: off"},
    {"min-p", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_MIN_P,
     "only those of X times the best; 0: off"},
    {"top-n-sigma", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_TOP_N_SIGMA,
     "only X deviations from the best; 0: off"},
    {"mirostat", 0, "TAU", GROUP_SAMPLING, TYPE_REAL, 0, MOED_MIROSTAT_TAU,
     "steer to TAU bits a token; 0: off"},
    {"mirostat-eta", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_MIROSTAT_ETA,
     "how fast; default 0.1"},
    {"repetition-penalty", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_REPETITION_PENALTY, "1: off"},
    {"presence-penalty", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_PRESENCE_PENALTY, "0: off"},
    {"frequency-penalty", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_FREQUENCY_PENALTY, "0: off"},
    {"dry", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_DRY_MULTIPLIER,
     "against repetitions, 0.8 say; 0: off"},
    {"dry-base", 0, "X", GROUP_SAMPLING, TYPE_REAL, 0, MOED_DRY_BASE,
     "how it grows with their length; default 1.75"},
    {"dry-length", 0, "N", GROUP_SAMPLING, TYPE_INTEGER, 0, MOED_DRY_ALLOWED_LENGTH,
     "from N tokens on; default 2"},
    {"dry-range", 0, "N", GROUP_SAMPLING, TYPE_INTEGER, 0, MOED_DRY_RANGE,
     "within the last N tokens; 0: all"},
    {"dry-breaker", 0, "TEXT", GROUP_SAMPLING, TYPE_BREAKER, 0, 0,
     "none reaches across it; repeatable"},
    {"logit-bias", 0, "ID:X", GROUP_SAMPLING, TYPE_BIAS, 0, 0,
     "add X to a logit, -100 bans; repeatable"},
    {"seed", 0, "N", GROUP_SAMPLING, TYPE_SEED, 0, MOED_SEED,
     "the same seed, the same answer; 0: any"},
    {"ban", 0, "TEXT", GROUP_SAMPLING, TYPE_BAN, 0, 0, "never write this text; repeatable"},
    {"stop", 0, "TEXT", GROUP_SAMPLING, TYPE_STOP, 0, 0, "end before this text; repeatable"},
    {"ignore-end", 0, NULL, GROUP_SAMPLING, TYPE_SET, 0, MOED_IGNORE_END,
     "go on after the model's end token"},
    {"show-special", 0, NULL, GROUP_SAMPLING, TYPE_SET, 0, MOED_SHOW_SPECIAL,
     "print special tokens too"},
    {"n", 0, "N", GROUP_SEVERAL, TYPE_ANSWERS, 0, MOED_N, "so many answers, with further seeds"},
    {"best-of", 0, "N", GROUP_SEVERAL, TYPE_BEST, 0, MOED_BEST_OF,
     "of so many the most probable are told"},
    {"finish-within", 0, "SECONDS", GROUP_SAMPLING, TYPE_SECONDS, 0, MOED_FINISH_WITHIN_MS,
     "end by then with what is written"},
    {"timeout", 0, "SECONDS", GROUP_SAMPLING | GROUP_BENCH, TYPE_SECONDS, 0, MOED_TIMEOUT_MS,
     "give up after this time"},
    {"class", 0, "CLASS", GROUP_SAMPLING, TYPE_CLASS, 0, MOED_CLASS,
     "interactive, or after it batch, background"},
    {"queue-timeout", 0, "SECONDS", GROUP_SAMPLING, TYPE_SECONDS, 0, MOED_QUEUE_TIMEOUT_MS,
     "refused if its turn comes later"},
    {"top-logprobs", 0, "K", GROUP_RAW, TYPE_TOP, 0, MOED_TOP_LOGPROBS,
     "with --json: the K most probable tokens"},
    {"prompt-logprobs", 0, NULL, GROUP_RAW, TYPE_FLAG, AT(prompt_logprobs), 0,
     "with --json: of the prompt's tokens, too"},
    {"bos", 0, NULL, GROUP_TOKENIZE, TYPE_FLAG, AT(add_bos), 0, "put BOS in front"},
    {"no-special", 0, NULL, GROUP_TOKENIZE, TYPE_FLAG, AT(no_special), 0,
     "special tokens are plain text"},
    {"hide-special", 0, NULL, GROUP_DETOKENIZE, TYPE_FLAG, AT(hide_special), 0,
     "special tokens print nothing"},
    {"pooling", 0, "KIND", GROUP_EMBED, TYPE_STRING, AT(pooling), 0,
     "mean: of the hidden states of all tokens"},
    {"normalize", 0, NULL, GROUP_EMBED, TYPE_FLAG, AT(normalize), 0, "to a length of 1"},
    {"save", 0, "FILE", GROUP_SAVE, TYPE_STRING, AT(save), 0, "write there what replay needs"},
    {"anyway", 0, NULL, GROUP_REPLAY, TYPE_FLAG, AT(anyway), 0,
     "though something else computes it now"},
    {"clients", 'c', "N", GROUP_BENCH, TYPE_COUNT, AT(clients), 0, "connections; default 4"},
    {"rate", 0, "X", GROUP_BENCH, TYPE_AMOUNT, AT(rate), 0,
     "requests a second; default: as they are answered"},
    {"requests", 0, "N", GROUP_BENCH, TYPE_COUNT, AT(requests), 0, "begin no more than so many"},
    {"duration", 0, "SECONDS", GROUP_BENCH, TYPE_AMOUNT, AT(duration), 0,
     "begin none after this time"},
    {"prompt", 0, "N[-M]", GROUP_BENCH, TYPE_RANGE, AT(prompt), 0,
     "tokens of a prompt; default 128"},
    {"answer", 0, "N[-M]", GROUP_BENCH, TYPE_RANGE, AT(answer), 0,
     "tokens of an answer; default 32"},
    {"shared", 0, "X", GROUP_BENCH, TYPE_AMOUNT, AT(shared), 0,
     "this share of each prompt is common; default 0"},
    {"seed", 0, "N", GROUP_BENCH, TYPE_COUNT, AT(dice_seed), 0,
     "of prompts, lengths and times; default 0"},
    {"csv", 0, "FILE", GROUP_BENCH, TYPE_STRING, AT(csv), 0, "write a line a request there"},
    {"experts", 0, NULL, GROUP_STATS, TYPE_FLAG, AT(experts), 0, "which experts are chosen, too"},
    {"no-wait", 0, NULL, GROUP_LOAD, TYPE_FLAG, AT(no_wait), 0, "return before the model is ready"},
    {"config", 0, "FILE", GROUP_CONFIG, TYPE_STRING, AT(config), 0,
     "another main file than the standard one"},
    {"follow", 'f', NULL, GROUP_LOG, TYPE_FLAG, AT(follow), 0, "go on as lines are written"},
    {"since", 0, "TIME", GROUP_LOG, TYPE_STRING, AT(since), 0,
     "from then on: \"1 hour ago\", yesterday, 2026-01-31"},
    {"explain", 'x', NULL, GROUP_LOG, TYPE_FLAG, AT(explain), 0,
     "what a line means, and what to do"},
    {"socket", 'S', "PATH", GROUP_GLOBAL, TYPE_STRING, AT(socket), 0, "where the daemon listens"},
    {"json", 'j', NULL, GROUP_GLOBAL, TYPE_FLAG, AT(json), 0, "answer in JSON, one object a line"},
    {"quiet", 'q', NULL, GROUP_GLOBAL, TYPE_FLAG, AT(quiet), 0,
     "no thinking, figures, progress or tables"},
    {"color", 0, "WHEN", GROUP_GLOBAL, TYPE_COLOR, 0, 0, "auto, always or never"},
    {"help", 'h', "[FORM]", GROUP_GLOBAL, TYPE_HELP, 0, 0,
     "this text; or =" PAPER_FORMS ": for these"},
    {"version", 'V', NULL, GROUP_GLOBAL, TYPE_FLAG, AT(version), 0, "the version"},
    {0},
};

int usage_error(const struct options *o, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("moectl: ", stderr);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nTry 'moectl%s%s --help'.\n", o->verb ? " " : "",
            o->verb ? o->verb->name : "");
    return EXIT_USAGE;
}

bool option_words(int i, struct option_words *ret)
{
    const struct option *o = &option_table[i];
    if (i < 0 || !o->name)
        return false;
    *ret = (struct option_words){o->name, o->letter, o->arg, o->groups, o->help};
    return true;
}

/* ---- values */
static int add_setting(struct options *o, const struct setting *setting)
{
    if (o->n_settings == MAX_SETTINGS)
        return usage_error(o, "too many options");
    o->settings[o->n_settings++] = *setting;
    return 0;
}

static int bad_value(const struct options *o, const struct option *option, const char *value,
                     const char *expected)
{
    return usage_error(o, "--%s: found '%s', expected %s", option->name, value, expected);
}

static bool read_real(const char *text, double *ret)
{
    char *end;
    errno = 0;
    *ret = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*ret);
}

static bool read_integer(const char *text, int64_t *ret)
{
    char *end;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

static int take_real(struct options *o, const struct option *option, const char *value)
{
    struct setting s = {.field = option->field, .is_real = true};
    if (!read_real(value, &s.real))
        return bad_value(o, option, value, "a number");
    return add_setting(o, &s);
}

static int take_integer(struct options *o, const struct option *option, const char *value)
{
    struct setting s = {.field = option->field};
    if (!read_integer(value, &s.integer) || s.integer < INT32_MIN || s.integer > INT32_MAX)
        return bad_value(o, option, value, "a whole number");
    if (option->type == TYPE_TOP)
        o->has_top = true;
    o->is_several |= (option->type == TYPE_ANSWERS || option->type == TYPE_BEST) && s.integer > 1;
    if (option->type == TYPE_ANSWERS)
        o->n_answers = s.integer < 1 ? 1 : s.integer > MAX_ANSWERS ? MAX_ANSWERS : (int)s.integer;
    return add_setting(o, &s);
}

static int take_seed(struct options *o, const struct option *option, const char *value)
{
    struct setting s = {.field = option->field};
    char *end;
    errno = 0;
    unsigned long long seed = strtoull(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || strchr(value, '-'))
        return bad_value(o, option, value, "a whole number of at most 64 bits");
    s.integer = (int64_t)seed;
    return add_setting(o, &s);
}

static int take_seconds(struct options *o, const struct option *option, const char *value)
{
    struct setting s = {.field = option->field};
    double seconds;
    if (!read_real(value, &seconds) || seconds <= 0 || seconds > 1e9)
        return bad_value(o, option, value, "seconds above 0");
    s.integer = (int64_t)ceil(seconds * 1000);
    return add_setting(o, &s);
}

static int take_count(struct options *o, const struct option *option, const char *value, int *ret)
{
    int64_t count;
    if (!read_integer(value, &count) || count < 0 || count > INT32_MAX)
        return bad_value(o, option, value, "a whole number");
    *ret = (int)count;
    return 0;
}

static int take_amount(struct options *o, const struct option *option, const char *value,
                       double *ret)
{
    if (!read_real(value, ret) || *ret < 0 || *ret > 1e9)
        return bad_value(o, option, value, "a number of 0 or more");
    return 0;
}

static int take_range(struct options *o, const struct option *option, const char *value,
                      struct range *ret)
{
    int least, most, end = 0;
    int n = sscanf(value, "%9d%n-%9d%n", &least, &end, &most, &end);
    if (n == 1)
        most = least;
    if (n < 1 || value[end] != '\0' || least < 1 || most < least)
        return bad_value(o, option, value, "tokens: 100 or 100-200");
    *ret = (struct range){least, most};
    return 0;
}

static int take_class(struct options *o, const struct option *option, const char *value)
{
    for (int i = MOED_INTERACTIVE; i <= MOED_BACKGROUND; i++)
        if (strcmp(value, moed_class_name((enum moed_class)i)) == 0)
            return add_setting(o, &(struct setting){.field = option->field, .integer = i});
    return bad_value(o, option, value, "interactive, batch or background");
}

static int take_bias(struct options *o, const struct option *option, const char *value)
{
    const char *colon = strchr(value, ':');
    char id[16] = "";
    int64_t number;
    double bias;
    if (colon && (size_t)(colon - value) < sizeof id)
        memcpy(id, value, (size_t)(colon - value));
    if (!colon || !read_integer(id, &number) || number < 0 || number > INT32_MAX ||
        !read_real(colon + 1, &bias))
        return bad_value(o, option, value, "ID:X");
    if (o->n_biases == MAX_BIASES)
        return usage_error(o, "--%s: more than %d", option->name, MAX_BIASES);
    o->biases[o->n_biases].id = (int32_t)number;
    o->biases[o->n_biases++].bias = (float)bias;
    return 0;
}

static int take_effort(struct options *o, const struct option *option, const char *value)
{
    static const struct {
        const char *name;
        enum moed_effort effort;
    } levels[] = {{"low", MOED_EFFORT_LOW}, {"high", MOED_EFFORT_HIGH}, {"max", MOED_EFFORT_MAX}};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(value, levels[i].name) == 0)
            return add_setting(
                o, &(struct setting){.field = option->field, .integer = levels[i].effort});
    return bad_value(o, option, value, "low, high or max");
}

static int take_color(struct options *o, const struct option *option, const char *value)
{
    static const char *const names[] = {"auto", "always", "never"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(value, names[i]) == 0) {
            o->color = (enum color_mode)i;
            return 0;
        }
    }
    return bad_value(o, option, value, "auto, always or never");
}

int options_ids(const char *text, int32_t **ids, size_t *n)
{
    size_t room = *n;
    while (true) {
        text += strspn(text, " \t\r\n,[]");
        if (!*text)
            return 0;
        char *end;
        errno = 0;
        long long id = strtoll(text, &end, 10);
        if (end == text || errno != 0 || id < 0 || id > INT32_MAX || !strchr(" \t\r\n,]", *end))
            return -EINVAL;
        if (*n == room) {
            room = room < 64 ? 64 : room * 2;
            int32_t *more = realloc(*ids, room * sizeof *more);
            if (!more)
                return -ENOMEM;
            *ids = more;
        }
        (*ids)[(*n)++] = (int32_t)id;
        text = end;
    }
}

static int take_ids(struct options *o, const struct option *option, const char *value)
{
    o->has_ids = true;
    if (options_ids(value, &o->ids, &o->n_ids) < 0)
        return bad_value(o, option, value, "token ids: 1,2,3");
    return 0;
}

static int take_text(struct options *o, const struct option *option, struct texts *texts,
                     const char *value)
{
    if (texts->n == MAX_TEXTS)
        return usage_error(o, "--%s: more than %d", option->name, MAX_TEXTS);
    texts->at[texts->n++] = value;
    return 0;
}

static int take_value(struct options *o, const struct option *option, const char *value)
{
    char *base = (char *)o;
    switch (option->type) {
    case TYPE_HELP:
        o->help = true;
        o->help_form = value;
        return 0;
    case TYPE_FLAG:
        *(bool *)(base + option->offset) = true;
        return 0;
    case TYPE_STRING:
        *(const char **)(void *)(base + option->offset) = value;
        return 0;
    case TYPE_COLOR:
        return take_color(o, option, value);
    case TYPE_IDS:
        return take_ids(o, option, value);
    case TYPE_REAL:
        return take_real(o, option, value);
    case TYPE_INTEGER:
    case TYPE_TOP:
    case TYPE_ANSWERS:
    case TYPE_BEST:
        return take_integer(o, option, value);
    case TYPE_EFFORT:
        return take_effort(o, option, value);
    case TYPE_SEED:
        return take_seed(o, option, value);
    case TYPE_SECONDS:
        return take_seconds(o, option, value);
    case TYPE_CLASS:
        return take_class(o, option, value);
    case TYPE_SET:
        return add_setting(o, &(struct setting){.field = option->field, .integer = 1});
    case TYPE_STOP:
        return take_text(o, option, &o->stops, value);
    case TYPE_BAN:
        return take_text(o, option, &o->banned, value);
    case TYPE_BREAKER:
        return take_text(o, option, &o->breakers, value);
    case TYPE_BIAS:
        return take_bias(o, option, value);
    case TYPE_COUNT:
        return take_count(o, option, value, (int *)(void *)(base + option->offset));
    case TYPE_AMOUNT:
        return take_amount(o, option, value, (double *)(void *)(base + option->offset));
    case TYPE_RANGE:
        return take_range(o, option, value, (struct range *)(void *)(base + option->offset));
    }
    return 0;
}

/* ---- parsing */
/* "[FORM]" may be left out, and stands behind "=" only. */
static bool needs_value(const struct option *option)
{
    return option->arg && option->arg[0] != '[';
}

static bool is_taken(const struct option *option, const struct verb *verb)
{
    return option->groups & (GROUP_GLOBAL | (verb ? verb->groups : 0));
}

static const struct option *find_option(const struct verb *verb, const char *name, size_t n)
{
    for (const struct option *o = option_table; o->name; o++)
        if (strlen(o->name) == n && memcmp(o->name, name, n) == 0 && is_taken(o, verb))
            return o;
    return NULL;
}

static const struct option *find_letter(const struct verb *verb, char letter)
{
    for (const struct option *o = option_table; o->name; o++)
        if (o->letter == letter && is_taken(o, verb))
            return o;
    return NULL;
}

static int take_long(struct options *o, int argc, char **argv, int *i)
{
    const char *text = argv[*i] + 2;
    const char *equals = strchr(text, '=');
    size_t n = equals ? (size_t)(equals - text) : strlen(text);
    const struct option *option = find_option(o->verb, text, n);
    if (!option)
        return usage_error(o, "unknown option '--%.*s'%s%s", (int)n, text,
                           o->verb ? " of " : " in front of the verb",
                           o->verb ? o->verb->name : "");
    if (!option->arg && equals)
        return usage_error(o, "--%s takes no value", option->name);
    const char *value = equals ? equals + 1 : NULL;
    if (needs_value(option) && !equals) {
        if (*i + 1 >= argc)
            return usage_error(o, "--%s needs %s", option->name, option->arg);
        value = argv[++*i];
    }
    return take_value(o, option, value);
}

/* "-qj", "-n5", "-n 5" */
static int take_short(struct options *o, int argc, char **argv, int *i)
{
    for (const char *c = argv[*i] + 1; *c; c++) {
        const struct option *option = find_letter(o->verb, *c);
        if (!option)
            return usage_error(o, "unknown option '-%c'", *c);
        if (!needs_value(option)) {
            int r = take_value(o, option, NULL);
            if (r)
                return r;
            continue;
        }
        if (!c[1] && *i + 1 >= argc)
            return usage_error(o, "-%c needs %s", *c, option->arg);
        return take_value(o, option, c[1] ? c + 1 : argv[++*i]);
    }
    return 0;
}

static const struct verb *find_verb(const char *name)
{
    for (const struct verb *v = verb_table; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v;
    return NULL;
}

static int take_word(struct options *o, char *word)
{
    if (o->verb) {
        o->args[o->n_args++] = word;
        return 0;
    }
    o->verb = find_verb(word);
    return o->verb ? 0 : usage_error(o, "unknown verb '%s'", word);
}

static int check_args(const struct options *o)
{
    const struct verb *v = o->verb;
    if (o->help || o->version)
        return 0;
    if (!v)
        return usage_error(o, "a verb is missing");
    if (o->n_args < v->min_args)
        return usage_error(o, "%s needs %s", v->name, v->args);
    if (v->max_args >= 0 && o->n_args > v->max_args)
        return usage_error(o, "%s: '%s' is one argument too many", v->name, o->args[v->max_args]);
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret)
{
    *ret = (struct options){.clients = 4, .prompt = {128, 128}, .answer = {32, 32}};
    ret->args = calloc((size_t)argc + 1, sizeof *ret->args);
    if (!ret->args)
        abort();
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        int r = 0;
        if (ended || argv[i][0] != '-' || !argv[i][1])
            r = take_word(ret, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            ended = true;
        else if (argv[i][1] == '-')
            r = take_long(ret, argc, argv, &i);
        else
            r = take_short(ret, argc, argv, &i);
        if (r)
            return r;
    }
    return check_args(ret);
}

void options_fini(struct options *o)
{
    free(o->args);
    free(o->ids);
    *o = (struct options){0};
}

/* ---- into a request */
static const char *name_of(enum moed_field field)
{
    for (const struct option *o = option_table; o->name; o++)
        if (o->field == field)
            return o->name;
    return "option";
}

int options_apply(const struct options *o, struct moed_request *request)
{
    if (moed_request_set_model(request, o->model) < 0)
        return usage_error(o, "--model: the name is not UTF-8");
    for (int i = 0; i < o->n_settings; i++) {
        const struct setting *s = &o->settings[i];
        int r = s->is_real ? moed_request_set_real(request, s->field, s->real)
                           : moed_request_set_integer(request, s->field, s->integer);
        if (r < 0)
            return usage_error(o, "--%s: out of range", name_of(s->field));
    }
    for (int i = 0; i < o->stops.n; i++)
        if (moed_request_add_stop(request, o->stops.at[i]) < 0)
            return usage_error(o, "--stop: the text is not UTF-8");
    for (int i = 0; i < o->banned.n; i++)
        if (moed_request_add_banned(request, o->banned.at[i]) < 0)
            return usage_error(o, "--ban: the text is not UTF-8");
    for (int i = 0; i < o->breakers.n; i++)
        if (moed_request_add_dry_breaker(request, o->breakers.at[i]) < 0)
            return usage_error(o, "--dry-breaker: the text is not UTF-8");
    for (int i = 0; i < o->n_biases; i++)
        if (moed_request_add_bias(request, o->biases[i].id, o->biases[i].bias) < 0)
            return usage_error(o, "--logit-bias: out of range");
    if (moed_request_set_session(request, o->session, 0, true) < 0)
        return usage_error(o, "--session: the name is not UTF-8");
    return 0;
}
