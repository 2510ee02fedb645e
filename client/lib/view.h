/* SPDX-License-Identifier: MIT
 *
 * A decoded protobuf message as the public structs of moed.h, so that protobuf-c stays inside.
 *
 * A view borrows the message it was built from and owns only what it had to lay out anew.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "moed/moed.h"

struct view_chunk;

struct view { /* zeroed is empty */
    struct view_chunk *chunks;
    const struct moed_event *event;
    const struct moed_model *const *models;
    size_t n_models;
    bool draining, found;
    const ProtobufCMessage *shown; /* the answer of Show, for its metadata */
    const struct moed_hello_info *hello;
    const struct moed_stats_info *stats;
    const struct moed_pressure *pressure;
    const struct moed_reloaded *reloaded;
    const int32_t *ids;
    size_t n_ids;
    const float *values;
    size_t n_values;
    const char *text;
    const void *bytes;
    size_t n_bytes;
    const struct moed_session *const *sessions;
    size_t n_sessions;
    const struct moed_message *const *messages;
    size_t n_messages;
    uint32_t next_message;
};

/* Zeroed memory that lives as long as the view; NULL: no memory. */
void *view_lay(struct view *view, size_t n, size_t size);
/* "" for NULL. */
const char *view_word(const char *s);
/* Of sessions, as view_build() calls them; the id is of no use to them. */
int view_build_session(struct view *view, const ProtobufCMessage *message, const uint8_t *id);
int view_build_sessions(struct view *view, const ProtobufCMessage *message, const uint8_t *id);
int view_build_shown(struct view *view, const ProtobufCMessage *message, const uint8_t *id);

/* `generation_id` is what events show as theirs. -ENOMEM. Messages without a view leave it empty.
 */
int view_build(struct view *view, const ProtobufCMessage *message, const uint8_t *generation_id);
void view_fini(struct view *view);
