/* SPDX-License-Identifier: PostgreSQL */
/*
 * door: the sockets in the run directory where clients of tunnels come in; tunnel.h lists them.
 */
#ifndef AGENT_TUNNEL_DOOR_H
#define AGENT_TUNNEL_DOOR_H

#include "config/config.h"

#include "base/unix_socket.h"
#include "shipper/wire/frame.h"

#define TUNNEL_DOORS_MAX (1 + 3 * (MEMBERS_MAX - 1))

struct door {
    int fd;
    char path[UNIX_SOCKET_PATH_SIZE];
    enum tunnel_service service;
    const struct member *member; /* NULL: whoever is the primary */
};

/* The first one leads to the primary's PostgreSQL. */
struct doors {
    struct door door[TUNNEL_DOORS_MAX];
    size_t count;
};

int doors_open(struct doors *d, const struct config *config, const struct member *self);
void doors_close(struct doors *d); /* accepts a zeroed struct */

#endif
