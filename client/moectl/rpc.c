/* SPDX-License-Identifier: MIT
 *
 * rpc: any method with JSON for its messages. One thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moectl/input.h"
#include "moectl/link.h"
#include "moectl/reflect.h"
#include "moectl/screen.h"
#include "moectl/verb.h"
#include "moed/v1/engine.pb-c.h"
#include "ttrpc.h"

/* protobuf-c's descriptors do not say which methods stream. */
static const char *const streams[] = {"Generate", "Watch"};

static bool is_stream(const char *method)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++)
        if (strcmp(streams[i], method) == 0)
            return true;
    return false;
}

static int list_methods(const struct options *o, const char *method)
{
    char names[400] = "";
    const ProtobufCServiceDescriptor *service = &moed__v1__engine__descriptor;
    for (unsigned i = 0; i < service->n_methods; i++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", service->methods[i].name);
    }
    return usage_error(o, "rpc: found '%s', expected one of %s", method, names);
}

/* ---- the request */
static int read_json(const struct options *o, json_t **ret)
{
    OWN_MEM char *input = NULL;
    const char *text = o->n_args > 1 ? o->args[1] : "{}";
    size_t bytes = strlen(text);
    if (strcmp(text, "-") == 0) {
        int r = input_read(o, &input, &bytes);
        if (r)
            return r;
        text = input;
    }
    json_error_t error;
    *ret = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    return *ret ? 0
                : usage_error(o, "the request is no JSON object: line %d: %s", error.line,
                              error.text);
}

static int pack(const struct options *o, const ProtobufCMessageDescriptor *type, uint8_t **ret,
                size_t *n)
{
    char words[REFLECT_WORDS] = "";
    json_t *object = NULL;
    int r = read_json(o, &object);
    if (r)
        return r;
    ProtobufCMessage *message = reflect_from_json(type, object, words);
    json_decref(object);
    if (!message)
        return usage_error(o, "the request: %s", words);
    *n = protobuf_c_message_get_packed_size(message);
    *ret = malloc(*n + 1);
    if (*ret)
        protobuf_c_message_pack(message, *ret);
    protobuf_c_message_free_unpacked(message, NULL);
    return *ret ? 0 : link_error(o, "no memory for the request");
}

/* ---- the answer */
static int print_message(const struct options *o, const struct moed_call *call,
                         const ProtobufCMessageDescriptor *type)
{
    char words[TTRPC_WORDS] = "";
    size_t n;
    const void *bytes = moed_call_bytes(call, &n);
    ProtobufCMessage *message = ttrpc_unpack(type, bytes, n, words);
    if (!message)
        return link_error(o, "the daemon sent a broken %s: %s", type->short_name, words);
    screen_json(reflect_to_json(message));
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

static int print_stream(const struct options *o, struct moed_call *call,
                        const ProtobufCMessageDescriptor *type)
{
    struct moed_error error = MOED_ERROR_INIT;
    int r;
    while ((r = moed_next(call, &error)) > 0) {
        int failed = print_message(o, call, type);
        if (failed)
            return failed;
    }
    return r < 0 ? link_failed(o, &error) : 0;
}

int verb_rpc(const struct options *o)
{
    OWN_MEM uint8_t *payload = NULL;
    size_t n = 0;
    OWN(moed) *moed = NULL;
    OWN(moed_call) *call = NULL;
    struct moed_error error = MOED_ERROR_INIT;
    const ProtobufCMethodDescriptor *method =
        protobuf_c_service_descriptor_get_method_by_name(&moed__v1__engine__descriptor, o->args[0]);
    if (!method)
        return list_methods(o, o->args[0]);
    int r = pack(o, method->input, &payload, &n);
    if (r == 0)
        r = link_open(o, &moed);
    if (r)
        return r;
    unsigned flags = is_stream(method->name) ? MOED_RAW_STREAM : 0u;
    int started = moed_raw(moed, method->name, flags, payload, n, &call, &error);
    if (started < 0)
        return link_failed(o, &error);
    if (flags)
        return print_stream(o, call, method->output);
    r = link_wait(o, started, &call, &error);
    return r ? r : print_message(o, call, method->output);
}
