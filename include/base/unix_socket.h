/* SPDX-License-Identifier: PostgreSQL */
/* unix_socket: Unix stream sockets, for processes of our own user on this host. */
#ifndef BASE_UNIX_SOCKET_H
#define BASE_UNIX_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#define UNIX_SOCKET_PATH_SIZE 108 /* sun_path, with its 0 (unix(7)) */

/*
 * Listen on path: mode 0600, non-blocking. A socket on which nobody listens is a dead process's and
 * is replaced; any other file there stays. ERR_USAGE: the path is too long; ERR_LOCAL.
 */
int unix_socket_listen(const char *path, int backlog, int *ret_fd);

/* Connect, blocking. ERR_PEER: no agent listens there. */
int unix_socket_connect(const char *path, int *ret_fd);

/* Connect, non-blocking: at once or not at all. ERR_PEER. */
int local_call(const char *path, int *ret_fd);

/* The other end of fd runs as our user, or as root. */
bool unix_socket_peer_is_ours(int fd);

/* The process that connected; 0: it cannot be seen from this pid namespace. */
pid_t unix_socket_peer_pid(int fd);

#endif
