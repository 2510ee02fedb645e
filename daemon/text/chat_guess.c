/* SPDX-License-Identifier: MIT
 *
 * Which family a template belongs to. See chat_guess.h.
 *
 * DeepSeek's families differ in what they print right after <｜Assistant｜>. So the template is
 * walked once for the pieces of text it prints: literals in {{ … }} that are not an argument, an
 * index or half of a comparison, and the raw text between tags. Branches are followed as far as
 * needed: what was printed before an `if` is what its `else` continues. */
#include "text/chat_guess.h"

#include <stdbool.h>
#include <string.h>

#define ASSISTANT "<｜Assistant｜>"

enum { MAX_DEPTH = 64, MAX_GROUPS = 16 };

struct scan {
    const char *at, *end;
    bool after; /* the last thing printed ends in ASSISTANT */
    int depth;  /* of if blocks */
    struct {
        bool after;     /* what it was before the block */
        bool for_think; /* the block depends on whether thinking is wanted */
    } block[MAX_DEPTH];
    int for_think;     /* such blocks around us */
    bool prints_close; /* ASSISTANT </think> */
    bool prints_open;  /* ASSISTANT <think> newline, always */
    bool splits;       /* </think> where it is not printed: an answer is cut there */
};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool starts(const char *at, const char *end, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(end - at) >= n && memcmp(at, word, n) == 0;
}

static bool is(const char *text, size_t bytes, const char *word)
{
    return bytes == strlen(word) && memcmp(text, word, bytes) == 0;
}

static bool holds(const char *text, size_t bytes, const char *word)
{
    return memmem(text, bytes, word, strlen(word)) != NULL;
}

/* What follows ASSISTANT in the same literal or in the next. */
static void see_after(struct scan *scan, const char *text, const char *end)
{
    if (starts(text, end, "</think>"))
        scan->prints_close = true;
    if (starts(text, end, "<think>\n") || starts(text, end, "<think>\\n"))
        scan->prints_open = scan->prints_open || scan->for_think == 0;
}

static void print_literal(struct scan *scan, const char *text, size_t bytes)
{
    const char *end = text + bytes;
    if (bytes == 0)
        return;
    if (scan->after)
        see_after(scan, text, end);
    scan->after = false;
    const char *at;
    while ((at = memmem(text, (size_t)(end - text), ASSISTANT, strlen(ASSISTANT)))) {
        text = at + strlen(ASSISTANT);
        see_after(scan, text, end);
        scan->after = text == end;
    }
}

/* Moves past a quoted string; *text and *bytes are what it quotes, escapes as they stand. */
static void read_quoted(struct scan *scan, const char **text, size_t *bytes)
{
    char quote = *scan->at++;
    *text = scan->at;
    while (scan->at < scan->end && *scan->at != quote)
        scan->at += *scan->at == '\\' && scan->end - scan->at > 1 ? 2 : 1;
    *bytes = (size_t)(scan->at - *text);
    if (scan->at < scan->end)
        scan->at++;
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r')))
        at++;
    return at;
}

/* Whether the literal that ends here is compared and not printed. */
static bool is_compared(const struct scan *scan)
{
    const char *at = skip_space(scan->at, scan->end);
    return starts(at, scan->end, "in ") || starts(at, scan->end, "not in ") ||
           starts(at, scan->end, "==") || starts(at, scan->end, "!=");
}

/* The inside of {{ … }}. */
static void read_expression(struct scan *scan)
{
    bool before[MAX_GROUPS] = {scan->after}; /* what an else continues, for each group */
    bool opened = scan->prints_open;
    int calls = 0, groups = 0; /* open brackets: arguments and indexes, or only order */
    bool condition = false;    /* between an inline if and its else */
    bool operand = false;      /* right of a comparison */
    bool value = false;        /* a name or bracket came last: '(' calls it */
    while (scan->at < scan->end && !starts(scan->at, scan->end, "}}")) {
        char c = *scan->at;
        const char *text = scan->at;
        size_t bytes;
        if (c == '\'' || c == '"') {
            read_quoted(scan, &text, &bytes);
            bool printed = calls == 0 && !condition && !operand && !is_compared(scan);
            if (printed)
                print_literal(scan, text, bytes);
            else if (holds(text, bytes, "</think>"))
                scan->splits = true;
            operand = false;
            value = true;
            continue;
        }
        if (is_word(c)) {
            while (scan->at < scan->end && is_word(*scan->at))
                scan->at++;
            bytes = (size_t)(scan->at - text);
            value = false;
            if (condition && holds(text, bytes, "think"))
                scan->prints_open = opened; /* so it is not printed always */
            if (is(text, bytes, "if") && calls == 0) {
                condition = true;
            } else if (is(text, bytes, "else") && calls == 0) {
                condition = false;
                scan->after = before[groups < MAX_GROUPS ? groups : MAX_GROUPS - 1];
            } else if (is(text, bytes, "in")) {
                operand = true;
            } else if (!is(text, bytes, "not") && !is(text, bytes, "and") &&
                       !is(text, bytes, "or") && !is(text, bytes, "is")) {
                value = true;
                if (calls == 0 && !condition)
                    scan->after = false; /* something we do not know is printed */
            }
            continue;
        }
        scan->at++;
        if (c == '[' || c == '{' || (c == '(' && (value || calls > 0)))
            calls++;
        else if (c == '(' && ++groups < MAX_GROUPS)
            before[groups] = scan->after;
        else if ((c == ']' || c == '}' || c == ')') && calls > 0)
            calls--;
        else if (c == ')' && groups > 0)
            groups--;
        else if (c == '=' && scan->at < scan->end && *scan->at == '=')
            operand = true;
        if (c == '(' || c == '[' || c == '+' || c == '~')
            value = false;
        else if (c == ')' || c == ']')
            value = true;
    }
}

/* The inside of {% … %}: its first word, and whether it asks for thinking. */
static void read_statement(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == '-' || *scan->at == '+'))
        scan->at++;
    scan->at = skip_space(scan->at, scan->end);
    const char *word = scan->at;
    while (scan->at < scan->end && is_word(*scan->at))
        scan->at++;
    size_t n = (size_t)(scan->at - word);

    bool think = false;
    while (scan->at < scan->end && !starts(scan->at, scan->end, "%}")) {
        const char *text = scan->at;
        size_t bytes;
        if (*scan->at == '\'' || *scan->at == '"') {
            read_quoted(scan, &text, &bytes);
            if (holds(text, bytes, "</think>"))
                scan->splits = true;
        } else if (is_word(*scan->at)) {
            while (scan->at < scan->end && is_word(*scan->at))
                scan->at++;
            think = think || holds(text, (size_t)(scan->at - text), "think");
        } else {
            scan->at++;
        }
    }

    if (is(word, n, "if")) {
        if (scan->depth < MAX_DEPTH) {
            scan->block[scan->depth].after = scan->after;
            scan->block[scan->depth].for_think = think;
            scan->for_think += think;
        }
        scan->depth++;
    } else if (scan->depth > 0 && scan->depth <= MAX_DEPTH) {
        int top = scan->depth - 1;
        if (is(word, n, "else") || is(word, n, "elif")) {
            scan->after = scan->block[top].after;
            if (think && !scan->block[top].for_think) {
                scan->block[top].for_think = true;
                scan->for_think++;
            }
        } else if (is(word, n, "endif")) {
            /* The block may have printed nothing, or its last branch. */
            scan->after = scan->after || scan->block[top].after;
            scan->for_think -= scan->block[top].for_think;
            scan->depth--;
        }
    } else if (scan->depth > 0 && is(word, n, "endif")) {
        scan->depth--;
    }
}

static void read_raw(struct scan *scan)
{
    const char *text = scan->at;
    while (scan->at < scan->end && !starts(scan->at, scan->end, "{{") &&
           !starts(scan->at, scan->end, "{%") && !starts(scan->at, scan->end, "{#"))
        scan->at++;
    if (skip_space(text, scan->at) < scan->at) /* the space between tags is layout */
        print_literal(scan, text, (size_t)(scan->at - text));
}

static void read_template(struct scan *scan)
{
    while (scan->at < scan->end) {
        const char *close = "#}";
        if (starts(scan->at, scan->end, "{{")) {
            scan->at += 2;
            read_expression(scan);
            close = "}}";
        } else if (starts(scan->at, scan->end, "{%")) {
            scan->at += 2;
            read_statement(scan);
            close = "%}";
        } else if (starts(scan->at, scan->end, "{#")) {
            while (scan->at < scan->end && !starts(scan->at, scan->end, close))
                scan->at++;
        } else {
            read_raw(scan);
            continue;
        }
        if (starts(scan->at, scan->end, close))
            scan->at += 2;
    }
}

static const char *guess_deepseek3(const char *template, size_t bytes)
{
    struct scan scan = {.at = template, .end = template + bytes};
    read_template(&scan);
    if (scan.prints_close)
        return "deepseek-v3.1";
    if (scan.prints_open)
        return "deepseek-r1";
    return scan.splits ? "deepseek-r1-0528" : "deepseek-v3";
}

const char *chat_guess(const char *template, size_t bytes)
{
    if (holds(template, bytes, "｜DSML｜")) {
        if (holds(template, bytes, "tool_calls>"))
            return "deepseek-v4";
        if (holds(template, bytes, "function_calls>"))
            return "deepseek-v3.2";
    }
    if (holds(template, bytes, ASSISTANT))
        return guess_deepseek3(template, bytes);
    if (holds(template, bytes, "'Assistant: '") || holds(template, bytes, "\"Assistant: \""))
        return "deepseek-v2";
    if (holds(template, bytes, "### Instruction:"))
        return "deepseek-coder";
    if (holds(template, bytes, "<|im_middle|>")) /* they differ in what stands for no system text */
        return holds(template, bytes, "You are a helpful assistant") ? "moonlight" : "kimi-k2";
    if (!holds(template, bytes, "[gMASK]<sop>"))
        return NULL;
    /* Its elders break lines after each role, and 4.5 turns thinking off by a word. */
    bool is_4_7 = holds(template, bytes, "</think>") && !holds(template, bytes, "/nothink");
    return is_4_7 ? "glm-4.7" : "glm";
}
