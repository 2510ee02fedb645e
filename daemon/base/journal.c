/* SPDX-License-Identifier: MIT
 *
 * NAME=value and a newline for each field. The address is looked up with every line: journald may
 * have been started again since.
 */
#include "base/journal.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

enum { MOST_FIELDS = 16 };

int journal_open(void)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

static struct iovec piece(const char *text)
{
    return (struct iovec){.iov_base = (void *)(size_t)text, .iov_len = strlen(text)};
}

int journal_send(int fd, const char *path, const struct journal_field *field, size_t n)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct iovec iov[4 * MOST_FIELDS];
    size_t used = 0;
    if (strlen(path) >= sizeof address.sun_path || n > MOST_FIELDS)
        return -EINVAL;
    strcpy(address.sun_path, path);
    for (size_t i = 0; i < n; i++) {
        if (!field[i].value)
            continue;
        iov[used++] = piece(field[i].name);
        iov[used++] = piece("=");
        iov[used++] = piece(field[i].value);
        iov[used++] = piece("\n");
    }
    struct msghdr message = {
        .msg_name = &address, .msg_namelen = sizeof address, .msg_iov = iov, .msg_iovlen = used};
    ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent >= 0 ? 0 : errno == EAGAIN || errno == ENOBUFS ? -EAGAIN : -errno;
}
