/* SPDX-License-Identifier: MIT */
#include "moectl/record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/link.h"
#include "moectl/reflect.h"
#include "moectl/screen.h"
#include "moed/v1/generate.pb-c.h"

int record_open(const struct options *o, struct record *ret)
{
    *ret = (struct record){.o = o};
    if (!o->save)
        return 0;
    ret->file = fopen(o->save, "we");
    return ret->file ? 0 : link_error(o, "cannot open '%s': %s", o->save, strerror(errno));
}

int record_close(struct record *record)
{
    held_fini(&record->held);
    if (!record->file)
        return 0;
    errno = 0;
    bool is_bad = ferror(record->file);
    is_bad |= fclose(TAKE(record->file)) != 0;
    return is_bad ? link_error(record->o, "cannot write '%s': %s", record->o->save, strerror(errno))
                  : 0;
}

int record_prepare(struct record *record, struct moed *moed, struct moed_request *request,
                   struct answer *a)
{
    const char *session = record->o->session;
    if (!record->file)
        return 0;
    a->keep_ids = true;
    moed_request_set_integer(request, MOED_RETURN_PROMPT, 1);
    if (!session)
        return 0;
    held_fini(&record->held);
    int r = held_fetch(record->o, moed, session, &record->held);
    if (r == 0) /* what was taken in is what it goes on from */
        moed_request_set_session(request, session, record->held.revision, true);
    return r;
}

/* Names and arguments; ids are new each time. */
static json_t *calls_json(const struct told *a)
{
    json_t *list = json_array();
    for (size_t i = 0; i < a->n_calls; i++) {
        const struct text *text = &a->calls[i].arguments;
        json_t *call = json_object();
        json_object_set_new(call, "name", screen_json_word(a->calls[i].name));
        json_object_set_new(call, "arguments",
                            screen_json_text(text->n ? text->data : "", text->n));
        json_array_append_new(list, call);
    }
    return list;
}

static json_t *text_json(const struct text *text)
{
    return screen_json_text(text->n ? text->data : "", text->n);
}

json_t *record_answer(const struct answer *a, int i)
{
    char hash[20];
    const struct told *part = &a->parts[i];
    json_t *object = json_object();
    snprintf(hash, sizeof hash, "%016" PRIx64, part->text_hash);
    json_object_set(object, "prompt_tokens", a->prompt);
    json_object_set(object, "tokens", part->ids);
    json_object_set_new(object, "thinking", text_json(&part->thinking));
    json_object_set_new(object, "text", text_json(&part->text));
    json_object_set_new(object, "calls", calls_json(part));
    json_object_set_new(object, "finish_reason", screen_json_word(moed_finish_name(part->finish)));
    json_object_set_new(object, "text_hash", json_string(hash));
    return object;
}

/* As that of one answer alone, whose receipt has its seed. */
static void single_out(Moed__V1__GenerateRequest *message)
{
    message->has_n = message->has_best_of = false;
    if (message->sampling)
        message->sampling->has_seed = false;
}

/* As one that holds all it says: answers that were cut are whole where more was said. Raw text is
 * what its prompt was. */
static void take_out(Moed__V1__GenerateRequest *message, const int32_t *prompt, size_t n_prompt,
                     Moed__V1__Tokens *tokens)
{
    moed__v1__in_session__free_unpacked(message->in_session, NULL);
    message->in_session = NULL;
    const Moed__V1__Chat *chat = message->chat;
    for (size_t i = 0; chat && i + 1 < chat->n_messages; i++)
        chat->messages[i]->has_prefix = chat->messages[i]->prefix = false;
    if (chat && chat->n_messages > 0)
        return;
    free(message->text);
    message->text = NULL;
    if (message->tokens)
        moed__v1__tokens__free_unpacked(message->tokens, NULL);
    tokens->ids = (int32_t *)prompt;
    tokens->n_ids = n_prompt;
    message->tokens = tokens;
}

/* NULL: no memory. */
static int32_t *ids_of(const json_t *list)
{
    int32_t *ids = calloc(json_array_size(list) + 1, sizeof *ids);
    for (size_t i = 0; ids && i < json_array_size(list); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

/* The request, behind what its session holds; NULL: no memory. */
static Moed__V1__GenerateRequest *unpack(const struct held *held,
                                         const struct moed_request *request)
{
    OWN_MEM uint8_t *bytes = NULL;
    size_t n;
    if (moed_request_pack(request, &bytes, &n) < 0)
        return NULL;
    OWN_MEM uint8_t *all = malloc(held->n + n + 1);
    if (!all)
        return NULL;
    if (held->n > 0)
        memcpy(all, held->bytes, held->n);
    memcpy(all + held->n, bytes, n);
    return moed__v1__generate_request__unpack(NULL, held->n + n, all);
}

/* NULL: no memory. */
static json_t *request_json(const struct record *record, const struct moed_request *request,
                            const struct answer *a)
{
    Moed__V1__Tokens tokens = MOED__V1__TOKENS__INIT;
    OWN_MEM int32_t *prompt = ids_of(a->prompt);
    Moed__V1__GenerateRequest *message = prompt ? unpack(&record->held, request) : NULL;
    if (!message)
        return NULL;
    if (record->o->is_several)
        single_out(message);
    if (message->in_session)
        take_out(message, prompt, json_array_size(a->prompt), &tokens);
    json_t *object = reflect_to_json(&message->base);
    if (message->tokens == &tokens)
        message->tokens = NULL;
    moed__v1__generate_request__free_unpacked(message, NULL);
    return object;
}

static int write_answer(struct record *record, const struct moed_request *request,
                        const struct answer *a, int i)
{
    if (!a->parts[i].receipt)
        return link_error(record->o, "the daemon told no receipt: nothing is saved");
    json_t *object = json_object();
    json_t *asked = request_json(record, request, a);
    if (!asked) {
        json_decref(object);
        return link_error(record->o, "no memory to save the request");
    }
    json_object_set_new(object, "request", asked);
    json_object_set(object, "receipt", a->parts[i].receipt);
    json_object_set_new(object, "answer", record_answer(a, i));
    json_dumpf(object, record->file, JSON_COMPACT | JSON_REAL_PRECISION(9));
    fputc('\n', record->file);
    json_decref(object);
    return 0;
}

int record_write(struct record *record, const struct moed_request *request, const struct answer *a)
{
    int r = 0;
    for (int i = 0; record->file && i < a->n_parts && r == 0; i++)
        r = write_answer(record, request, a, i);
    if (record->file)
        fflush(record->file); /* a chat may be left by a signal */
    return r;
}
