/* SPDX-License-Identifier: MIT
 *
 * Listening sockets: who may come in, how many, and what to do when descriptors run out.
 *
 * Loop thread.
 */
#pragma once

#include "base/err.h"

struct hub;
struct server;

int server_new(struct hub *hub, struct server **ret, struct err *err);
/* Closes the listeners, and removes the sockets it bound. Memory goes with the last handle. */
void server_close(struct server *server);
/* See service_listen_path and service_listen_fd. */
int server_listen_path(struct server *server, const char *path, struct err *err);
int server_listen_fd(struct server *server, int fd, struct err *err);
/* A connection is gone: there may be room for another. NULL is taken. */
void server_room(struct server *server);
