/* SPDX-License-Identifier: MIT
 *
 * What counts: the files of the configuration, then the options of the command line; and what
 * moed does with it at an administrator's wish instead of serving.
 *
 * Main thread.
 */
#pragma once

#include "base/err.h"

struct access;
struct config;
struct task;

/**
 * Fill a configuration that was initialised.
 *
 *   status   of a failure, set to the exit status it means
 */
int configure(const struct task *task, struct config *config, int *status, struct err *err);
/* For one model: a copy, and over it models.d/NAME.conf beside the main file, with its drop-ins.
 * *ret is to be freed with config_fini, on success only. */
int configure_model(const struct task *task, const struct config *config, const char *model,
                    struct config *ret, struct err *err);
/* The rules of [Access]; -EINVAL: one names nobody. To be freed with access_free. */
int configure_access(const struct config *config, struct access **ret, struct err *err);
/* Shows, checks or changes the configuration, if that is the task: the exit status, or
 * OPTIONS_GO_ON. */
int configure_task(const struct task *task);
