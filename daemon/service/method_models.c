/* SPDX-License-Identifier: MIT
 *
 * Hello, Ping, and the models: List, Show, Load, Unload. Loop thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "engine/models.h"
#include "format/format.h"
#include "model/model.h"
#include "moed/v1/engine.pb-c.h"
#include "moed/v1/models.pb-c.h"
#include "service/call.h"
#include "service/conn.h"
#include "service/field.h"
#include "service/hub.h"
#include "service/method.h"
#include "service/order.h"
#include "service/pressure.h"
#include "service/seek.h"
#include "service/status.h"
#include "ttrpc.h"

enum {
    PROTOCOL_MINOR = 0,
    MAX_LIMITS = 32 + N_FIELDS,
    MAX_METADATA = 1200,  /* three fields each, and a message has 4096 */
    METADATA_BYTES = 512, /* of one value as text */
};

/* ---- Hello */
static const char *const features[] = {
    "generate.parts",
    "generate.thinking",
    "generate.logprobs",
    "generate.prompt_logprobs",
    "generate.tools",
    "generate.suffix",
    "generate.receipt",
    "cancel",
    "sessions",
    "watch",
    "reload",
    "embed",
};

static void read_boot_id(char dst[40])
{
    OWN_FD fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, dst, 36);
    dst[n < 0 ? 0 : n] = '\0';
}

static void add_limit(Moed__V1__Limit *list, size_t *n, const char *name, uint64_t value)
{
    Moed__V1__Limit *limit = &list[(*n)++];
    moed__v1__limit__init(limit);
    limit->name = (char *)name;
    limit->has_value = true;
    limit->value = value;
}

static void add_limits(const struct service_config *config, Moed__V1__Limit *list, size_t *n)
{
    add_limit(list, n, "connections", (uint64_t)config->max_connections);
    add_limit(list, n, "connections_per_uid", (uint64_t)config->max_connections_uid);
    add_limit(list, n, "connections_of_root", (uint64_t)config->max_connections_root);
    add_limit(list, n, "calls_per_connection", (uint64_t)config->max_calls);
    add_limit(list, n, "frame_bytes", TTRPC_MAX_DATA);
    add_limit(list, n, "message_fields", TTRPC_MAX_FIELDS);
    add_limit(list, n, "message_depth", TTRPC_MAX_DEPTH);
    add_limit(list, n, "metadata_pairs", TTRPC_MAX_METADATA);
    add_limit(list, n, "metadata_bytes", TTRPC_MAX_METADATA_BYTES);
    add_limit(list, n, "request_bytes", config->request_bytes);
    add_limit(list, n, "all_bytes", config->all_bytes);
    add_limit(list, n, "sessions_per_uid", (uint64_t)config->max_sessions_uid);
    add_limit(list, n, "session_bytes_per_uid", config->session_bytes_uid);
    add_limit(list, n, "session_bytes", config->session_bytes);
    add_limit(list, n, "first_request_ms", (uint64_t)config->first_request_ms);
    add_limit(list, n, "frame_progress_ms", (uint64_t)config->progress_ms);
    add_limit(list, n, "frame_ms", (uint64_t)config->frame_ms);
    add_limit(list, n, "write_stall_ms", (uint64_t)config->write_stall_ms);
    add_limit(list, n, "slow_reader_ms", (uint64_t)config->slow_reader_ms);
    add_limit(list, n, "unsent_bytes_per_stream", config->stream_soft_bytes);
    add_limit(list, n, "unsent_bytes_per_connection", config->connection_soft_bytes);
    add_limit(list, n, "unsent_bytes_hard", config->connection_hard_bytes);
    for (int i = 0; i < N_FIELDS; i++) {
        Moed__V1__Limit *limit = &list[(*n)++];
        moed__v1__limit__init(limit);
        limit->name = (char *)field_table[i].name;
        limit->has_least = limit->has_most = limit->has_missing = true;
        limit->least = field_table[i].least;
        limit->most = field_table[i].most;
        limit->missing = field_table[i].missing;
    }
}

void method_hello(struct call *call, struct payload *payload)
{
    Moed__V1__HelloRequest *request =
        call_unpack(call, &moed__v1__hello_request__descriptor, payload);
    if (!request)
        return;
    moed__v1__hello_request__free_unpacked(request, NULL);

    Moed__V1__Limit list[MAX_LIMITS], *limits[MAX_LIMITS];
    Moed__V1__HelloResponse response = MOED__V1__HELLO_RESPONSE__INIT;
    char boot_id[40];
    read_boot_id(boot_id);
    add_limits(&call->hub->config, list, &response.n_limits);
    for (size_t i = 0; i < response.n_limits; i++)
        limits[i] = &list[i];
    response.limits = limits;
    response.version = (char *)MOED_VERSION;
    response.has_protocol_minor = true;
    response.protocol_minor = PROTOCOL_MINOR;
    response.features = (char **)features;
    response.n_features = sizeof features / sizeof features[0];
    response.boot_id = boot_id;
    response.has_instance_id = true;
    response.instance_id = (ProtobufCBinaryData){sizeof call->hub->instance, call->hub->instance};
    response.has_uid = true;
    response.uid = call->conn->uid;
    response.has_draining = true;
    response.draining = call->hub->draining;
    call_reply(call, &response.base);
}

void method_ping(struct call *call, struct payload *payload)
{
    Moed__V1__PingRequest *request =
        call_unpack(call, &moed__v1__ping_request__descriptor, payload);
    if (!request)
        return;
    moed__v1__ping_request__free_unpacked(request, NULL);
    Moed__V1__PingResponse response = MOED__V1__PING_RESPONSE__INIT;
    call_reply(call, &response.base);
}

/* ---- List and Show */

/* A message has TTRPC_MAX_FIELDS fields at most: of very many models the last are told without what
 * their files say. */
static void list(struct call *call, struct models_entry *none)
{
    (void)none;
    struct models *all = call->hub->models;
    size_t n = (size_t)models_count(all);
    OWN_MEM Moed__V1__Model *list = calloc(n + 1, sizeof *list);
    OWN_MEM Moed__V1__Model **models = calloc(n + 1, sizeof *models);
    if (!list || !models) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for the list");
        return;
    }
    Moed__V1__ListResponse response = MOED__V1__LIST_RESPONSE__INIT;
    int64_t left = TTRPC_MAX_FIELDS - METHOD_BRIEF_FIELDS * (int64_t)n;
    for (int i = 0; i < (int)n; i++) {
        const struct models_entry *entry = models_at(all, i);
        if (entry->gone)
            continue;
        Moed__V1__Model *model = &list[response.n_models];
        left -= METHOD_MORE_FIELDS;
        (left >= 0 ? method_describe : method_describe_briefly)(entry, model);
        models[response.n_models++] = model;
    }
    response.models = models;
    call_reply(call, &response.base);
}

void method_list(struct call *call, struct payload *payload)
{
    Moed__V1__ListRequest *request =
        call_unpack(call, &moed__v1__list_request__descriptor, payload);
    if (!request)
        return;
    moed__v1__list_request__free_unpacked(request, NULL);

    seek(call, NULL, SEEK_LISTED, list);
}

struct shown { /* one pair; the text is a copy */
    Moed__V1__Metadata pair;
    char text[METADATA_BYTES];
};

static void show_pair(const struct meta *meta, int i, struct shown *ret)
{
    const char *key = meta_key(meta, i);
    moed__v1__metadata__init(&ret->pair);
    ret->pair.key = (char *)(ttrpc_is_utf8(key, strlen(key)) ? key : "(not UTF-8)");
    meta_text(meta, i, ret->text, sizeof ret->text);
    ret->pair.value = ttrpc_is_utf8(ret->text, strlen(ret->text)) ? ret->text : NULL;
}

static void show(struct call *call, struct models_entry *entry)
{
    const struct meta *meta = entry->model ? format_meta(model_format(entry->model)) : NULL;
    int all = meta ? meta_n_keys(meta) : 0;
    size_t n = (size_t)(all < MAX_METADATA ? all : MAX_METADATA);
    OWN_MEM struct shown *list = calloc(n + 1, sizeof *list);
    OWN_MEM Moed__V1__Metadata **pairs = calloc(n + 1, sizeof *pairs);
    if (!list || !pairs) {
        call_fail(call, TTRPC_RESOURCE_EXHAUSTED, "no memory for %zu keys", n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        show_pair(meta, (int)i, &list[i]);
        pairs[i] = &list[i].pair;
    }
    if ((size_t)all > n && n > 0) { /* said, not hidden: the last pair tells */
        list[n - 1].pair.key = (char *)"(more)";
        snprintf(list[n - 1].text, METADATA_BYTES, "%d keys are not shown", all - (int)n + 1);
        list[n - 1].pair.value = list[n - 1].text;
    }
    Moed__V1__Model model;
    Moed__V1__ShowResponse response = MOED__V1__SHOW_RESPONSE__INIT;
    method_describe(entry, &model);
    response.model = &model;
    response.metadata = pairs;
    response.n_metadata = n;
    call_reply(call, &response.base);
}

void method_show(struct call *call, struct payload *payload)
{
    Moed__V1__ShowRequest *request =
        call_unpack(call, &moed__v1__show_request__descriptor, payload);
    if (!request)
        return;
    seek(call, request->model ? request->model : "", SEEK_LISTED | SEEK_OPEN | SEEK_ANYWAY, show);
    moed__v1__show_request__free_unpacked(request, NULL);
}

/* ---- Load: answers at once, or when the loader is through */
static void reply_loaded(struct call *call, const struct models_entry *entry)
{
    Moed__V1__Model model;
    Moed__V1__LoadResponse response = MOED__V1__LOAD_RESPONSE__INIT;
    method_describe(entry, &model);
    response.model = &model;
    call_reply(call, &response.base);
}

static void on_load_changed(struct call *call)
{
    const struct models_entry *entry = call->data;
    if (entry->state == MODELS_READY)
        reply_loaded(call, entry);
    else if (entry->state == MODELS_FAILED)
        call_fail(call, status_of(entry->error.code), "model '%s' could not be loaded: %s",
                  entry->name, entry->error.text);
    else if (entry->state != MODELS_LOADING)
        call_fail(call, TTRPC_ABORTED, "model '%s' was unloaded meanwhile", entry->name);
}

static const struct call_hooks load_hooks = {.changed = on_load_changed};

static void load(struct call *call, struct models_entry *entry, bool wait)
{
    struct err err = {0};
    if (!models_is_in_memory(entry->state) && pressure_refuses(call->hub->pressure, call))
        return;
    int r = order_load(call->hub, entry, &err);
    if (r < 0) {
        call_fail(call, status_of(r), "%s", err.text);
        return;
    }
    if (!wait || entry->state != MODELS_LOADING) {
        reply_loaded(call, entry);
        return;
    }
    call->data = entry;
    call->hooks = &load_hooks;
}

static void load_and_wait(struct call *call, struct models_entry *entry)
{
    load(call, entry, true);
}

static void load_only(struct call *call, struct models_entry *entry)
{
    load(call, entry, false);
}

void method_load(struct call *call, struct payload *payload)
{
    Moed__V1__LoadRequest *request =
        call_unpack(call, &moed__v1__load_request__descriptor, payload);
    if (!request)
        return;
    seek(call, request->model ? request->model : "", SEEK_LISTED | SEEK_OPEN | SEEK_WAKE,
         request->wait ? load_and_wait : load_only);
    moed__v1__load_request__free_unpacked(request, NULL);
}

/* ---- Unload: stops what runs on it, answers when it is gone */
static void reply_unloaded(struct call *call, const struct models_entry *entry)
{
    Moed__V1__Model model;
    Moed__V1__UnloadResponse response = MOED__V1__UNLOAD_RESPONSE__INIT;
    method_describe(entry, &model);
    response.model = &model;
    call_reply(call, &response.base);
}

static void on_unload_changed(struct call *call)
{
    struct err err = {0};
    int r = order_unloaded(call->hub, call->data, &err);
    if (r == -EINPROGRESS)
        return;
    if (r < 0)
        call_fail(call, status_of(r), "%s", err.text);
    else
        reply_unloaded(call, call->data);
}

static const struct call_hooks unload_hooks = {.changed = on_unload_changed};

static void unload(struct call *call, struct models_entry *entry)
{
    struct err err = {0};
    int r = order_unload(call->hub, entry, &err);
    if (r == 0) {
        reply_unloaded(call, entry);
    } else if (r == -EINPROGRESS) {
        call->data = entry;
        call->hooks = &unload_hooks;
    } else {
        call_fail(call, status_of(r), "%s", err.text);
    }
}

void method_unload(struct call *call, struct payload *payload)
{
    Moed__V1__UnloadRequest *request =
        call_unpack(call, &moed__v1__unload_request__descriptor, payload);
    if (!request)
        return;
    seek(call, request->model ? request->model : "", 0, unload);
    moed__v1__unload_request__free_unpacked(request, NULL);
}
