/* SPDX-License-Identifier: MIT
 *
 * The table of efforts, and the limits that a request gives itself.
 */
#include "service/reason.h"

#include <errno.h>
#include <inttypes.h>

#include "moed/v1/generate.pb-c.h"
#include "service/field.h"

static const struct {
    int soft, hard; /* tokens of thinking; 0: no limit */
    int percent;    /* of the time of an answer that has one */
    enum chat_effort words;
} efforts[] = {
    [MOED__V1__EFFORT__EFFORT_NONE] = {0, 0, 60, CHAT_EFFORT_NONE},
    [MOED__V1__EFFORT__EFFORT_LOW] = {512, 1024, 30, CHAT_EFFORT_NONE},
    [MOED__V1__EFFORT__EFFORT_HIGH] = {24576, 32768, 60, CHAT_EFFORT_HIGH},
    [MOED__V1__EFFORT__EFFORT_MAX] = {0, 0, 75, CHAT_EFFORT_MAX},
};

int reason_limits(const struct reason *reason, const struct chat_family *family,
                  const struct vocab *vocab, struct think_params *ret, struct err *err)
{
    int64_t hard, soft, level;
    int r = 0;
    if ((r = field_int(FIELD_THINKING_TOKENS, reason->tokens, &hard, err)) < 0 ||
        (r = field_int(FIELD_THINKING_SOFT, reason->soft_tokens, &soft, err)) < 0 ||
        (r = field_int(FIELD_EFFORT, reason->effort, &level, err)) < 0)
        return r;
    if (!family && (hard > 0 || soft > 0))
        return err_set(err, -EINVAL,
                       "%s goes with chat: in text and tokens no thinking is told apart",
                       field_table[hard > 0 ? FIELD_THINKING_TOKENS : FIELD_THINKING_SOFT].name);
    if (hard > 0 && soft > hard)
        return err_set(err, -EINVAL, "%s is %" PRId64 ", expected at most %s, which is %" PRId64,
                       field_table[FIELD_THINKING_SOFT].name, soft,
                       field_table[FIELD_THINKING_TOKENS].name, hard);
    *ret = (struct think_params){.soft = (int)soft, .hard = (int)hard};
    if (hard > 0 && soft == 0)
        ret->soft = (int)(hard - hard / 4);
    if (hard == 0 && soft == 0) {
        ret->soft = efforts[level].soft;
        ret->hard = efforts[level].hard;
    }
    ret->percent = efforts[level].percent;
    if (!family || !chat_think_marks(family, vocab, &ret->open, &ret->close))
        *ret = (struct think_params){0}; /* nothing will be thought */
    return 0;
}

enum chat_effort reason_words(int64_t effort)
{
    return efforts[effort].words;
}
