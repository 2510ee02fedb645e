/* SPDX-License-Identifier: MIT
 *
 * replay: answers that were saved are computed again and compared, token by token and byte by byte.
 * One thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/input.h"
#include "moectl/link.h"
#include "moectl/receipt.h"
#include "moectl/record.h"
#include "moectl/reflect.h"
#include "moectl/screen.h"
#include "moectl/verb.h"
#include "moed/v1/generate.pb-c.h"

struct saved { /* a line of the file */
    json_t *object;
    const json_t *answer;
    struct receipt receipt;
    struct moed_request *request;
    size_t line;
};

static void saved_fini(struct saved *saved)
{
    json_decref(saved->object);
    receipt_fini(&saved->receipt);
    moed_request_free(saved->request);
}

/* ---- reading */
static int read_request(const struct options *o, struct saved *saved)
{
    char words[REFLECT_WORDS] = "the request is missing";
    const json_t *object = json_object_get(saved->object, "request");
    ProtobufCMessage *message =
        object ? reflect_from_json(&moed__v1__generate_request__descriptor, object, words) : NULL;
    if (!message)
        return link_error(o, "%s:%zu: %s", o->args[0], saved->line, words);
    size_t n = protobuf_c_message_get_packed_size(message);
    OWN_MEM uint8_t *bytes = malloc(n + 1);
    if (bytes)
        protobuf_c_message_pack(message, bytes);
    protobuf_c_message_free_unpacked(message, NULL);
    int r = bytes ? moed_request_unpack(bytes, n, &saved->request) : -ENOMEM;
    return r < 0 ? link_error(o, "%s:%zu: the request is none that moectl saved: %s", o->args[0],
                              saved->line, strerror(-r))
                 : 0;
}

static int read_line(const struct options *o, const char *text, size_t bytes, struct saved *ret)
{
    json_error_t fault;
    ret->object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &fault);
    if (!ret->object)
        return link_error(o, "%s:%zu: %s", o->args[0], ret->line, fault.text);
    ret->answer = json_object_get(ret->object, "answer");
    if (!json_is_object(ret->answer))
        return link_error(o, "%s:%zu: the answer is missing", o->args[0], ret->line);
    if (!receipt_read(json_object_get(ret->object, "receipt"), &ret->receipt))
        return link_error(o, "%s:%zu: the receipt is missing or broken", o->args[0], ret->line);
    return read_request(o, ret);
}

/* Without what tells who computed it, where that does not matter. */
static int set_receipt(const struct options *o, const struct saved *saved)
{
    struct moed_receipt receipt = saved->receipt.receipt;
    if (o->anyway)
        receipt.place = receipt.isa = receipt.cache = receipt.attention = receipt.sampler =
            receipt.model = receipt.version = NULL;
    int r = moed_request_set_receipt(saved->request, &receipt);
    return r < 0 ? link_error(o, "%s:%zu: the receipt is broken: %s", o->args[0], saved->line,
                              strerror(-r))
                 : 0;
}

/* ---- comparing */
/* Index of the first element that is another one; -1: there is none. */
static json_int_t first_element(const json_t *was, const json_t *is)
{
    size_t n = json_array_size(was), m = json_array_size(is), i = 0;
    while (i < n && i < m && json_equal(json_array_get(was, i), json_array_get(is, i)))
        i++;
    return i < n || i < m ? (json_int_t)i : -1;
}

static json_int_t first_byte(const json_t *was, const json_t *is)
{
    const char *a = json_string_value(was), *b = json_string_value(is);
    size_t n = a ? strlen(a) : 0, m = b ? strlen(b) : 0, i = 0;
    while (i < n && i < m && a[i] == b[i])
        i++;
    return i < n || i < m ? (json_int_t)i : -1;
}

static const struct part {
    const char *key, *title; /* of the place where it differs; its number stands behind */
    json_int_t (*first)(const json_t *was, const json_t *is);
} part_table[] = {
    {"prompt_tokens", "the prompt from token", first_element},
    {"tokens", "the answer from token", first_element},
    {"thinking", "its thinking from byte", first_byte},
    {"text", "its text from byte", first_byte},
    {"calls", "calls of tools from number", first_element},
    {"finish_reason", "how it ended, from byte", first_byte},
    {"text_hash", "the hash of its text, from digit", first_byte},
};
enum { N_PARTS = sizeof part_table / sizeof *part_table };

/* {"tokens": 12 …}: where each part that is not the same begins to be another. */
static json_t *compare(const json_t *was, const json_t *is)
{
    json_t *object = json_object();
    for (int i = 0; i < N_PARTS; i++) {
        const struct part *part = &part_table[i];
        json_int_t at =
            part->first(json_object_get(was, part->key), json_object_get(is, part->key));
        if (at >= 0)
            json_object_set_new(object, part->key, json_integer(at));
    }
    return object;
}

/* ---- telling */
static void print_differences(const json_t *differences)
{
    for (int i = 0; i < N_PARTS; i++) {
        const json_t *at = json_object_get(differences, part_table[i].key);
        if (at)
            printf("; %s %lld", part_table[i].title, (long long)json_integer_value(at));
    }
}

static void print_receipt(const json_t *differences)
{
    const char *key;
    json_t *pair;
    json_object_foreach((json_t *)differences, key, pair)
    {
        const char *was = json_string_value(json_array_get(pair, 0));
        const char *is = json_string_value(json_array_get(pair, 1));
        printf("; %s was ", key);
        screen_word(stdout, was ? was : "unknown");
        fputs(", is ", stdout);
        screen_word(stdout, is ? is : "unknown");
    }
}

static int tell(const struct options *o, const struct saved *saved, const struct answer *a)
{
    json_t *is = record_answer(a, 0);
    json_t *differences = compare(saved->answer, is);
    json_t *receipt =
        receipt_difference(json_object_get(saved->object, "receipt"), a->parts[0].receipt);
    bool same = json_object_size(differences) == 0;
    if (o->json) {
        screen_json(json_pack("{s:I,s:b,s:O,s:O}", "line", (json_int_t)saved->line, "same", same,
                              "differences", differences, "receipt", receipt));
    } else {
        printf("%zu: %s, %zu tokens, hash %s", saved->line, same ? "the same" : "another answer",
               json_array_size(a->parts[0].ids),
               json_string_value(json_object_get(is, "text_hash")));
        print_differences(differences);
        print_receipt(receipt);
        putchar('\n');
    }
    fflush(stdout);
    json_decref(is);
    json_decref(differences);
    json_decref(receipt);
    return same ? EXIT_DONE : EXIT_FAILED;
}

/* ---- running */
static int replay(const struct options *o, struct moed *moed, struct saved *saved)
{
    int r = set_receipt(o, saved);
    if (r)
        return r;
    struct answer a = {.keep_ids = true, .o = o};
    r = answer_run(moed, saved->request, &a);
    if (r == EXIT_DONE)
        r = tell(o, saved, &a);
    answer_fini(&a);
    return r;
}

static int replay_lines(const struct options *o, struct moed *moed, const char *text, size_t bytes)
{
    int result = EXIT_DONE;
    const char *end = text + bytes;
    for (size_t line = 1; text < end && result != EXIT_INTERRUPTED; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop : end;
        struct saved saved = {.line = line};
        int r = read_line(o, text, (size_t)(stop - text), &saved);
        if (r == 0)
            r = replay(o, moed, &saved);
        saved_fini(&saved);
        result = r ? r : result;
        text = stop + (stop < end);
    }
    return result;
}

int verb_replay(const struct options *o)
{
    OWN_MEM char *text = NULL;
    size_t bytes = 0;
    OWN(moed) *moed = NULL;
    int r = input_read_file(o, o->args[0], &text, &bytes);
    if (r == 0 && bytes == 0)
        r = link_error(o, "%s holds no answer", o->args[0]);
    if (r == 0)
        r = link_open(o, &moed);
    return r ? r : replay_lines(o, moed, text, bytes);
}
