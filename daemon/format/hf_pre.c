/* SPDX-License-Identifier: MIT
 *
 * See hf_pre.h. What is compared is the list of everything that decides how text is split, in
 * order, a line each: pattern=…, digits=….
 */
#include "format/hf_pre.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"

enum { LIST_BYTES = 4096 };

#define CJK_KANA "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
#define EASTERN  "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

#define GPT_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"

/* Of Kimi, which publishes them in code; a tokenizer.json is what others made of that. */
#define KIMI_LEAD  "[^\\r\\n\\p{L}\\p{N}]?"
#define KIMI_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_END   "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

/* A '*' stands for the rest of its line: a class of letters that is longer than all else. */
static const struct {
    const char *pre, *list;
} known[] = {
    {"deepseek-v3",
     "pattern=\\p{N}{1,3}\n"
     "pattern=" CJK_KANA "\n"
     "pattern=[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
     "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+\n"},
    {"deepseek-llm", "pattern=[\\r\\n]\n"
                     "pattern=\\s?[A-Za-z\u00b5\u00c0-\u00d6*\n"
                     "pattern=\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+\n"
                     "pattern=\\s+$\n"
                     "pattern=" EASTERN "\n"
                     "digits=true\n"},
    {"deepseek-coder", "pattern=[\\r\\n]\n"
                       "pattern=\\s?\\p{L}+\n"
                       "pattern=\\s?\\p{P}+\n"
                       "pattern=" EASTERN "\n"
                       "digits=true\n"},
    {"glm4",
     "pattern=(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" GPT_TAIL},
    {"kimi-k2", "pattern=[\\p{Han}]+|" KIMI_LEAD KIMI_UPPER "*" KIMI_LOWER "+" KIMI_END
                "|" KIMI_LEAD KIMI_UPPER "+" KIMI_LOWER "*" KIMI_END "|\\p{N}{1,3}" GPT_TAIL},
};

struct list {
    char text[LIST_BYTES];
    size_t n;
};

/* One line; CR and LF inside become escapes, as some files write them. */
static int add_line(struct json *json, struct list *list, const char *name, const char *value)
{
    char *dst = list->text + list->n;
    size_t room = sizeof list->text - list->n, n = strlen(name);
    if (n + 2 * strlen(value) + 3 > room)
        return json_fail(json, -ENOTSUP, "found splitting rules of more than %d bytes", LIST_BYTES);
    memcpy(dst, name, n);
    dst[n++] = '=';
    for (const char *c = value; *c; c++) {
        if (*c == '\r' || *c == '\n') {
            dst[n++] = '\\';
            dst[n++] = *c == '\r' ? 'r' : 'n';
        } else {
            dst[n++] = *c;
        }
    }
    dst[n++] = '\n';
    dst[n] = '\0';
    list->n += n;
    return 0;
}

/* What a key of a pre-tokenizer means for the splitting. */
static int see_text(struct json *json, struct list *list, const char *key, const char *value)
{
    static const char *const types[] = {"Sequence", "Split", "Digits", "ByteLevel"};
    if (!strcmp(key, "Regex") || !strcmp(key, "String"))
        return add_line(json, list, "pattern", value);
    if (!strcmp(key, "behavior") && strcmp(value, "Isolated"))
        return json_fail(json, -ENOTSUP, "found the behavior '%.40s', expected 'Isolated'", value);
    if (strcmp(key, "type"))
        return 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i], value))
            return 0;
    return json_fail(json, -ENOTSUP,
                     "found a pre-tokenizer of type '%.40s', expected Sequence, Split, Digits or "
                     "ByteLevel",
                     value);
}

static int see_flag(struct json *json, struct list *list, const char *key, bool value)
{
    if (!strcmp(key, "individual_digits"))
        return add_line(json, list, "digits", value ? "true" : "false");
    if (value &&
        (!strcmp(key, "use_regex") || !strcmp(key, "add_prefix_space") || !strcmp(key, "invert")))
        return json_fail(json, -ENOTSUP, "found a pre_tokenizer with '%s' true, expected false",
                         key);
    return 0;
}

/* Every text and flag under the value that comes, with its key. */
static int walk(struct json *json, struct list *list)
{
    int outside = json->depth;
    const char *key = "";
    do {
        if (json->depth > outside) {
            struct json_text name = {.at = ""};
            int more =
                json->level[json->depth - 1].is_object ? json_key(json, &name) : json_item(json);
            if (more < 0)
                return more;
            if (more == 0)
                continue;
            key = name.at;
        }
        enum json_kind kind;
        struct json_text text;
        bool flag;
        int r = json_peek(json, &kind);
        if (r == 0 && kind == JSON_OBJECT)
            r = json_object(json);
        else if (r == 0 && kind == JSON_ARRAY)
            r = json_array(json);
        else if (r == 0 && kind == JSON_STRING) {
            r = json_string(json, &text);
            if (r == 0)
                r = see_text(json, list, key, text.at);
        } else if (r == 0 && kind == JSON_BOOL) {
            r = json_bool(json, &flag);
            if (r == 0)
                r = see_flag(json, list, key, flag);
        } else if (r == 0) {
            r = json_skip(json);
        }
        if (r < 0)
            return r;
    } while (json->depth > outside);
    return 0;
}

static bool same(const char *pattern, const char *list)
{
    for (; *pattern; pattern++, list++) {
        if (pattern[0] == '*' && pattern[1] == '\n') {
            list = strchr(list, '\n');
            if (!list)
                return false;
            pattern++;
        }
        if (*pattern != *list)
            return false;
    }
    return *list == '\0';
}

int hf_pre_read(struct json *json, const char **ret)
{
    struct list list = {.n = 0};
    int r = walk(json, &list);
    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!same(known[i].list, list.text))
            continue;
        *ret = known[i].pre;
        return 0;
    }
    char names[80] = "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "",
                 known[i].pre);
    return json_fail(json, -ENOTSUP,
                     "found a pre_tokenizer with the rules '%.120s', expected those of %s",
                     list.text, names);
}

int hf_normalizer_read(struct json *json)
{
    struct json_text key, text;
    enum json_kind kind;
    int r = json_peek(json, &kind);
    if (r < 0 || kind == JSON_NULL)
        return r < 0 ? r : json_null(json);
    r = json_object(json);
    while (r == 0 && (r = json_key(json, &key)) > 0) {
        if (json_is(&key, "type")) {
            r = json_string(json, &text);
            if (r == 0 && !json_is(&text, "Sequence"))
                return json_fail(json, -ENOTSUP, "found the normalizer '%.40s', expected none",
                                 text.at);
        } else if (json_is(&key, "normalizers")) {
            r = json_array(json);
            if (r == 0)
                r = json_item(json);
            if (r > 0)
                return json_fail(json, -ENOTSUP, "found a normalizer, expected none");
        } else {
            r = json_skip(json);
        }
    }
    return r;
}
