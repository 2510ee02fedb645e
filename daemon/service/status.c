/* SPDX-License-Identifier: MIT
 *
 * The table of error codes and RPC statuses.
 */
#include "service/status.h"

#include <errno.h>
#include <stddef.h>

#include "ttrpc.h"

/* The first row of a status is the one it turns back into. */
static const struct row {
    int error, code;
} table[] = {
    {-ECANCELED, TTRPC_CANCELLED},
    {-EINVAL, TTRPC_INVALID_ARGUMENT},
    {-EBADMSG, TTRPC_INVALID_ARGUMENT},
    {-EILSEQ, TTRPC_INVALID_ARGUMENT},
    {-E2BIG, TTRPC_INVALID_ARGUMENT}, /* the prompt is longer than the context */
    {-ERANGE, TTRPC_INVALID_ARGUMENT},
    {-ETIMEDOUT, TTRPC_DEADLINE_EXCEEDED},
    {-ENOENT, TTRPC_NOT_FOUND},
    {-EEXIST, TTRPC_ALREADY_EXISTS},
    {-EACCES, TTRPC_PERMISSION_DENIED},
    {-EPERM, TTRPC_PERMISSION_DENIED},
    {-ENOMEM, TTRPC_RESOURCE_EXHAUSTED},
    {-EBUSY, TTRPC_RESOURCE_EXHAUSTED}, /* a queue is full */
    {-EMSGSIZE, TTRPC_RESOURCE_EXHAUSTED},
    {-ENOSPC, TTRPC_RESOURCE_EXHAUSTED}, /* of a user's sessions */
    {-EDQUOT, TTRPC_RESOURCE_EXHAUSTED},
    {-EFBIG, TTRPC_RESOURCE_EXHAUSTED},
    {-ENOTSUP, TTRPC_FAILED_PRECONDITION},
    {-EUNATCH, TTRPC_FAILED_PRECONDITION},
    {-EAGAIN, TTRPC_ABORTED},
    {-ENOSYS, TTRPC_UNIMPLEMENTED},
    {-EIO, TTRPC_INTERNAL},
    {-ESHUTDOWN, TTRPC_UNAVAILABLE},
    {-EUCLEAN, TTRPC_DATA_LOSS},
};

int status_of(int error)
{
    if (error == 0)
        return TTRPC_OK;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].error == error)
            return table[i].code;
    return TTRPC_INTERNAL;
}

int status_errno(int code)
{
    if (code == TTRPC_OK)
        return 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].code == code)
            return table[i].error;
    return -EIO;
}
