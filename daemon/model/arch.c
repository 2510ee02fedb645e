/* SPDX-License-Identifier: MIT */
#include "model/arch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "format/format.h"

extern const struct arch arch_deepseek2;

const struct arch *const arch_table[] = {
    &arch_deepseek2,
    NULL,
};

/* Families that users will try: their names deserve more than "unknown". */
static const struct {
    const char *name, *what;
} known[] = {
    {"deepseek", "DeepSeek-MoE 16B of 2024, without latent attention"},
    {"deepseek32", "DeepSeek V3.2 with its sparse attention index"},
    {"glm-dsa", "GLM-5 with its sparse attention index"},
    {"deepseek4", "DeepSeek V4"},
    {"deepseek41", "DeepSeek V4.1"},
};

static int refuse(const struct format *format, const char *name, struct err *err)
{
    const char *what = "no model family that moed knows";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name))
            what = known[i].what;
    char supported[256] = "";
    for (int i = 0; arch_table[i]; i++) {
        size_t used = strlen(supported);
        snprintf(supported + used, sizeof supported - used, "%s%s (%s)", i ? ", " : "",
                 arch_table[i]->name, arch_table[i]->models);
    }
    return err_set(err, -ENOTSUP,
                   "%s: general.architecture is '%s' (%s), which is not supported; supported: %s",
                   format_path(format), name, what, supported);
}

int arch_find(const struct format *format, const struct arch **ret, struct err *err)
{
    const char *name;
    size_t bytes;
    int r = meta_str(format_meta(format), "general.architecture", &name, &bytes, err);
    if (r == -ENOENT)
        return err_set(err, -EINVAL, "%s: key 'general.architecture' is missing",
                       format_path(format));
    if (r < 0)
        return r;
    for (int i = 0; arch_table[i]; i++) {
        if (!strcmp(arch_table[i]->name, name)) {
            *ret = arch_table[i];
            return 0;
        }
    }
    return refuse(format, name, err);
}
