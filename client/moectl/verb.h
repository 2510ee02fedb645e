/* SPDX-License-Identifier: MIT
 *
 * The verbs, and the groups of options they take. A verb returns an exit code. One thread.
 */
#pragma once

#include "moectl/option.h"

enum option_group {
    GROUP_GLOBAL = 1,
    GROUP_MODEL = 2,
    GROUP_CHAT = 4,
    GROUP_RAW = 8,
    GROUP_SAMPLING = 16,
    GROUP_TOKENIZE = 32,
    GROUP_DETOKENIZE = 64,
    GROUP_LOAD = 128,
    GROUP_TOOLS = 256,
    GROUP_BENCH = 512,
    GROUP_STATS = 1024,
    GROUP_SAVE = 2048,
    GROUP_REPLAY = 4096,
    GROUP_CONFIG = 8192,
    GROUP_SEVERAL = 16384,
    GROUP_SESSION = 32768,
    GROUP_EMBED = 65536,
    GROUP_LOG = 131072,
};

int verb_ask(const struct options *o);
int verb_chat(const struct options *o);
int verb_generate(const struct options *o);
int verb_tokenize(const struct options *o);
int verb_detokenize(const struct options *o);
int verb_render(const struct options *o);
int verb_session(const struct options *o);
int verb_embed(const struct options *o);
int verb_status(const struct options *o);
int verb_ps(const struct options *o);
int verb_stats(const struct options *o);
int verb_list(const struct options *o);
int verb_show(const struct options *o);
int verb_load(const struct options *o);
int verb_unload(const struct options *o);
int verb_plan(const struct options *o);
int verb_bench(const struct options *o);
int verb_replay(const struct options *o);
int verb_config(const struct options *o);
int verb_doctor(const struct options *o);
int verb_reload(const struct options *o);
int verb_log(const struct options *o);
int verb_rpc(const struct options *o);
