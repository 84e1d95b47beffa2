/* SPDX-License-Identifier: PostgreSQL */
#include "base/unix_socket.h"

#include "base/fail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof((struct sockaddr_un *)0)->sun_path == UNIX_SOCKET_PATH_SIZE, "unix(7)");

static int
make_address(struct sockaddr_un *address, const char *path)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address->sun_path)
        return fail(ERR_USAGE,
                    "the socket path %s has over %d bytes; choose a shorter run directory", path,
                    UNIX_SOCKET_PATH_SIZE - 1);
    memcpy(address->sun_path, path, strlen(path) + 1);
    return 0;
}

static int
try_connect(const struct sockaddr_un *address, int flags, int *ret_fd)
{
    *ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (*ret_fd >= 0 && connect(*ret_fd, (const struct sockaddr *)address, sizeof *address) == 0)
        return 0;
    if (*ret_fd >= 0)
        close(*ret_fd);
    *ret_fd = -1;
    return -1;
}

static int
clear_path(const struct sockaddr_un *address)
{
    const char *path = address->sun_path;
    struct stat st;
    int fd;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail_sys(ERR_LOCAL, "cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return fail(ERR_LOCAL, "%s is in the way: it is no socket; remove it", path);
    if (try_connect(address, 0, &fd) == 0) {
        close(fd);
        return fail(ERR_LOCAL,
                    "something else listens on %s; give the agent a run directory of its own",
                    path);
    }
    if (errno != ECONNREFUSED)
        return fail_sys(ERR_LOCAL, "cannot tell whether anybody listens on %s", path);
    return unlink(path) < 0 ? fail_sys(ERR_LOCAL, "cannot remove %s", path) : 0;
}

int
unix_socket_listen(const char *path, int backlog, int *ret_fd)
{
    struct sockaddr_un address;
    int code = make_address(&address, path), fd;

    *ret_fd = -1;
    if (code == 0)
        code = clear_path(&address);
    if (code < 0)
        return code;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        chmod(path, 0600) < 0 || listen(fd, backlog) < 0) {
        code = fail_sys(ERR_LOCAL, "cannot listen on %s", path);
        if (fd >= 0)
            close(fd);
        return code;
    }
    *ret_fd = fd;
    return 0;
}

int
unix_socket_connect(const char *path, int *ret_fd)
{
    struct sockaddr_un address;
    int code = make_address(&address, path);

    *ret_fd = -1;
    if (code == 0 && try_connect(&address, 0, ret_fd) < 0)
        code = fail_sys(ERR_PEER, "no agent listens on %s", path);
    return code;
}

int
local_call(const char *path, int *ret_fd)
{
    struct sockaddr_un address;
    int code = make_address(&address, path);

    *ret_fd = -1;
    if (code == 0 && try_connect(&address, SOCK_NONBLOCK, ret_fd) < 0)
        code = fail_sys(ERR_PEER, "nobody takes a connection on %s", path);
    return code;
}

bool
unix_socket_peer_is_ours(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
           (who.uid == geteuid() || who.uid == 0);
}

pid_t
unix_socket_peer_pid(int fd)
{
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 ? who.pid : 0;
}
