/* SPDX-License-Identifier: MIT
 *
 * The table of methods, and what several of them need. Loop thread.
 */
#include "service/method.h"

#include <string.h>
#include <unistd.h>

#include "engine/models.h"
#include "model/model.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/hub.h"
#include "ttrpc.h"

static const struct method method_table[] = {
#define METHOD(Name, name, shape, who, draining, most_bytes)                                       \
    {#Name, METHOD_##shape, METHOD_##who, draining, most_bytes, method_##name},
#include "service/method.def"
#undef METHOD
};

const struct method *method_find(const char *name)
{
    for (size_t i = 0; i < sizeof method_table / sizeof method_table[0]; i++)
        if (strcmp(method_table[i].name, name) == 0)
            return &method_table[i];
    return NULL;
}

bool method_is_work(const struct method *method)
{
    return method->shape == METHOD_PARTS || method->shape == METHOD_TASK;
}

bool method_may(const struct method *method, const struct conn *conn)
{
    return conn->verdict.is_allowed && (method->who == METHOD_ANYONE || conn->verdict.is_operator);
}

/* File names may be any bytes; a string on the wire is UTF-8. */
static char *as_text(const char *text)
{
    if (!text)
        return NULL;
    return ttrpc_is_utf8(text, strlen(text)) ? (char *)text : (char *)"(not UTF-8)";
}

static Moed__V1__ModelState state_of(enum models_state state)
{
    switch (state) {
    case MODELS_UNLOADED:
        break;
    case MODELS_LOADING:
        return MOED__V1__MODEL_STATE__MODEL_LOADING;
    case MODELS_READY:
        return MOED__V1__MODEL_STATE__MODEL_READY;
    case MODELS_TEXT:
        return MOED__V1__MODEL_STATE__MODEL_TEXT;
    case MODELS_FAILED:
        return MOED__V1__MODEL_STATE__MODEL_FAILED;
    case MODELS_UNLOADING:
        return MOED__V1__MODEL_STATE__MODEL_UNLOADING;
    }
    return MOED__V1__MODEL_STATE__MODEL_UNLOADED;
}

static void describe_file(const struct model_info *info, Moed__V1__Model *ret)
{
    ret->family = as_text(info->family);
    ret->chat = as_text(info->chat);
    ret->quantisation = as_text(info->file_type);
    ret->container = as_text(info->kind);
    ret->has_weight_bytes = ret->has_parameters = true;
    ret->weight_bytes = info->weight_bytes;
    ret->parameters = info->parameters;
    ret->has_context = ret->has_vocabulary = ret->has_has_mtp = true;
    ret->context = info->context;
    ret->vocabulary = info->vocab;
    ret->has_mtp = info->has_mtp;
}

void method_describe_briefly(const struct models_entry *entry, Moed__V1__Model *ret)
{
    moed__v1__model__init(ret);
    ret->name = as_text(entry->name);
    ret->path = as_text(entry->path);
    ret->has_state = true;
    ret->state = state_of(entry->state);
    ret->has_file_bytes = entry->file_bytes > 0;
    ret->file_bytes = entry->file_bytes;
    if (entry->state == MODELS_LOADING) {
        ret->has_bytes_done = ret->has_bytes_all = true;
        ret->bytes_done = entry->bytes_done;
        ret->bytes_all = entry->bytes_all;
    }
    if (entry->state == MODELS_LOADING || entry->state == MODELS_READY) {
        ret->has_load_seconds = true;
        ret->load_seconds = entry->load_seconds;
    }
    if (entry->state == MODELS_READY) {
        ret->has_adopted = ret->has_kept_bytes = true;
        ret->adopted = entry->adopted;
        ret->kept_bytes = entry->kept_bytes;
    }
    ret->has_resting = ret->resting = entry->resting && entry->state != MODELS_LOADING;
    if (entry->state == MODELS_FAILED)
        ret->error = as_text(entry->error.text);
}

void method_describe(const struct models_entry *entry, Moed__V1__Model *ret)
{
    method_describe_briefly(entry, ret);
    if (entry->info)
        describe_file(entry->info, ret);
}
