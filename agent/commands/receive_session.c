/* SPDX-License-Identifier: PostgreSQL */
#include "commands/receive_session.h"

#include "base/unix_socket.h"
#include "shipper/receiver/inlet.h"

#include <stdio.h>
#include <unistd.h>

/* A killed agent closes its descriptors one by one, so its socket is tried twice. */
static bool
agent_gone(const char *run)
{
    for (int i = 0; i < 2; i++) {
        char path[128];
        int fd;

        snprintf(path, sizeof path, "%s/inlet", run);
        if (unix_socket_connect(path, &fd) < 0)
            return true;
        close(fd);
        usleep(50000);
    }
    return false;
}

int
receive_session(const char *run, const char *self, const char *pool, const char *from,
                bool no_tunnel)
{
    int code = inlet_hand_over(run, from, no_tunnel);

    if (code < 0)
        return code;
    if (!agent_gone(run))
        return 0;
    fprintf(stderr,
            "the agent of %s has ended (stopped or killed); start it there: systemctl start "
            "walferry@%s\n",
            self, pool);
    return 1;
}
