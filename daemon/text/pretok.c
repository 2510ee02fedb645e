/* SPDX-License-Identifier: MIT
 *
 * Splits text by lists of PCRE2 patterns. See pretok.h.
 *
 * Match data is made per call, so that one compiled list serves all threads. Every pattern of the
 * table takes time linear in its piece, also without JIT; the limits are a fence behind that. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok.h"

#include <string.h>

#include <pcre2.h>

#include "text/utf8.h"

/* Unicode White_Space. PCRE2's \s would add U+180E, which lost the property in Unicode 6.3. */
#define SPACE_SET                                                                                  \
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"    \
    "\\x{205F}\\x{3000}"
#define SPACE    "[" SPACE_SET "]"
#define NO_SPACE "[^" SPACE_SET "]"

/* CJK ideographs, the scripts from Samaritan to just below them, and Hangul: deepseek-llm rule 5 */
#define EASTERN "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"

/* The cased letters deepseek-llm joins into words. */
#define CASED                                                                                      \
    "\\x{41}-\\x{5A}\\x{61}-\\x{7A}\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}"          \
    "\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}"         \
    "\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}" \
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}"    \
    "\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}"                 \
    "\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"                 \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}"         \
    "\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}"        \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}"                 \
    "\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}"         \
    "\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}"         \
    "\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{"     \
    "2C7B}"                                                                                        \
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{"    \
    "A69B}"                                                                                        \
    "\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}"                 \
    "\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}"                 \
    "\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}"         \
    "\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

/* Of V3, R1 and their revisions. */
#define DEEPSEEK_V3                                                                                \
    {                                                                                              \
        "\\p{N}{1,3}", "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+",             \
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"                                \
            "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                                         \
            "|\\x{20}?[\\p{P}\\p{S}]+[\\r\\n]*"                                                    \
            "|" SPACE "*[\\r\\n]+"                                                                 \
            "|" SPACE "+(?!" NO_SPACE ")"                                                          \
            "|" SPACE "+",                                                                         \
    }

/* What the rules below share: numbers, marks with a space in front, lines, space. */
#define GPT_TAIL                                                                                   \
    "|\\p{N}{1,3}"                                                                                 \
    "|\\x{20}?[^" SPACE_SET "\\p{L}\\p{N}]+[\\r\\n]*"                                              \
    "|" SPACE "*[\\r\\n]+"                                                                         \
    "|" SPACE "+(?!" NO_SPACE ")"                                                                  \
    "|" SPACE "+"
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"

#define GLM4                                                                                       \
    {                                                                                              \
        CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+" GPT_TAIL                                      \
    }

/* Letters and marks but for Han and lower case, and but for Han and capitals: written as what they
 * are not, since a class cannot be cut by another here. */
#define KIMI_UPPER "[^\\p{Han}\\p{Ll}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}]"
#define KIMI_LOWER "[^\\p{Han}\\p{Lu}\\p{Lt}\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}]"

const struct pretok_rules pretok_table[] = {
    {"deepseek-llm",
     {
         "[\\r\\n]",
         SPACE "?[" CASED "]+",
         SPACE "?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}"
               "\\x{3000}-\\x{3002}]+",
         /* "space up to the end": the look-behind finds the same match without a start at each
          * character of a long run that ends elsewhere */
         "(?<!" SPACE ")" SPACE "++\\z",
         EASTERN,
         "\\p{N}+",
     }},
    {"deepseek-coder", {"[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+", EASTERN, "\\p{N}"}},
    {"deepseek-v3", DEEPSEEK_V3},
    {"joyai-llm", DEEPSEEK_V3}, /* the name V4 files carry */
    {"kimi-k2",
     {"\\p{Han}+"
      "|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+" CONTRACTION "?"
      "|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*" CONTRACTION "?" GPT_TAIL},
     true},
    {"glm4", GLM4, true},
    {"chatglm-bpe", GLM4, true},
    {NULL, {NULL}},
};

struct pretok {
    int n;
    pcre2_code *code[PRETOK_MAX_PATTERNS];
};

struct split { /* one call */
    const struct pretok *pretok;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pretok_emit emit;
    void *arg;
    struct err *err;
};

enum { HEAP_LIMIT_KIB = 32 * 1024, MATCH_LIMIT_BASE = 1000 * 1000, MATCH_LIMIT_PER_BYTE = 16 };

static void match_freep(pcre2_match_data **p)
{
    pcre2_match_data_free(*p);
}

static void limits_freep(pcre2_match_context **p)
{
    pcre2_match_context_free(*p);
}

const struct pretok_rules *pretok_find(const char *name)
{
    for (const struct pretok_rules *rules = pretok_table; rules->name; rules++)
        if (strcmp(rules->name, name) == 0)
            return rules;
    return NULL;
}

int pretok_open(const struct pretok_rules *rules, struct pretok **ret, struct err *err)
{
    OWN(pretok) *pretok = calloc(1, sizeof(*pretok));
    if (!pretok)
        return err_set(err, -ENOMEM, "no memory for the pre-tokenizer '%s'", rules->name);

    for (int i = 0; rules->patterns[i]; i++) {
        int code;
        size_t at;
        pcre2_code *compiled =
            pcre2_compile((PCRE2_SPTR)rules->patterns[i], PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &at, NULL);
        if (!compiled) {
            char words[128];
            pcre2_get_error_message(code, (PCRE2_UCHAR *)words, sizeof(words));
            return err_set(err, -EINVAL, "pre-tokenizer '%s': pattern %d is wrong at %zu: %s",
                           rules->name, i + 1, at, words);
        }
        pretok->code[pretok->n++] = compiled;
        /* Not checked: without JIT (memory that may not become code, a foreign CPU) pcre2_match
         * interprets the same pattern. */
        pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    }
    *ret = TAKE(pretok);
    return 0;
}

void pretok_close(struct pretok *pretok)
{
    if (!pretok)
        return;
    for (int i = 0; i < pretok->n; i++)
        pcre2_code_free(pretok->code[i]);
    free(pretok);
}

static int refuse(const struct split *split, int rule, size_t bytes, int code)
{
    if (code == PCRE2_ERROR_NOMEMORY)
        return err_set(split->err, -ENOMEM, "no memory to split a text of %zu bytes", bytes);
    char words[128];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)words, sizeof(words));
    return err_set(split->err, -EINVAL, "splitting rule %d gives up on a piece of %zu bytes: %s",
                   rule + 1, bytes, words);
}

/* The next match of a rule at or after *from; 0: none. */
static int find(const struct split *split, int rule, const char *piece, size_t bytes, size_t *from,
                size_t *end)
{
    const pcre2_code *code = split->pretok->code[rule];
    int r = pcre2_match(code, (PCRE2_SPTR)piece, bytes, *from, PCRE2_NO_UTF_CHECK, split->match,
                        split->limits);
    if (r == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter keeps its frames on the heap */
        r = pcre2_match(code, (PCRE2_SPTR)piece, bytes, *from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        split->match, split->limits);
    if (r == PCRE2_ERROR_NOMATCH)
        return 0;
    if (r < 0)
        return refuse(split, rule, bytes, r);
    const size_t *at = pcre2_get_ovector_pointer(split->match);
    if (at[1] <= at[0] || at[0] < *from) /* an empty match would cut nothing, for ever */
        return 0;
    *from = at[0];
    *end = at[1];
    return 1;
}

/* Cuts one piece by a rule and hands the parts to the rules after it: at most one level a rule. */
static int cut(const struct split *split, int rule, const char *piece, size_t bytes)
{
    if (bytes == 0)
        return 0;
    if (rule == split->pretok->n)
        return split->emit(split->arg, piece, bytes);

    size_t done = 0;
    while (done < bytes) {
        size_t start = done, end = done;
        int r = find(split, rule, piece, bytes, &start, &end);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        r = cut(split, rule + 1, piece + done, start - done);
        if (r < 0)
            return r;
        r = cut(split, rule + 1, piece + start, end - start);
        if (r < 0)
            return r;
        done = end;
    }
    return cut(split, rule + 1, piece + done, bytes - done);
}

int pretok_split(const struct pretok *pretok, const char *text, size_t bytes, pretok_emit emit,
                 void *arg, struct err *err)
{
    if (bytes == 0)
        return 0;
    __attribute__((cleanup(match_freep))) pcre2_match_data *match =
        pcre2_match_data_create(1, NULL); /* only where the whole match lies is asked for */
    __attribute__((cleanup(limits_freep))) pcre2_match_context *limits =
        pcre2_match_context_create(NULL);
    if (!match || !limits)
        return err_set(err, -ENOMEM, "no memory to split a text of %zu bytes", bytes);
    size_t limit = bytes < (UINT32_MAX - MATCH_LIMIT_BASE) / MATCH_LIMIT_PER_BYTE
                       ? MATCH_LIMIT_BASE + bytes * MATCH_LIMIT_PER_BYTE
                       : UINT32_MAX;
    pcre2_set_match_limit(limits, (uint32_t)limit);
    pcre2_set_heap_limit(limits, HEAP_LIMIT_KIB);

    struct split split = {
        .pretok = pretok, .match = match, .limits = limits, .emit = emit, .arg = arg, .err = err};
    size_t at = 0;
    while (at < bytes) {
        size_t valid = utf8_valid(text + at, bytes - at);
        int r = cut(&split, 0, text + at, valid);
        if (r < 0)
            return r;
        at += valid;
        if (at < bytes) {
            r = emit(arg, text + at, 1);
            if (r < 0)
                return r;
            at++;
        }
    }
    return 0;
}
