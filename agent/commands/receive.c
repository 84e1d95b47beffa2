/* SPDX-License-Identifier: PostgreSQL */
/*
 * receive: what sshd runs for a bound key. It hands sshd's pipe to the agent and waits. A refusal
 * of its own is sent as a frame, so that the DBA on the far side reads the reason. When the session
 * ends because the agent has ended, stderr says so: an agent that was killed could not.
 */
#include "commands/command.h"

#include "base/fail.h"
#include "base/unix_socket.h"
#include "shipper/receiver/inlet.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A refusal as a frame, for the far side. */
static int
refuse(const char *reason)
{
    struct epoch_origin none = {0};
    struct buf out;

    if (buf_init(&out, 2 * FRAME_REASON_MAX) < 0 ||
        frame_put_refuse(&out, REFUSE_OPERATOR, &none, reason) < 0 ||
        write(STDOUT_FILENO, buf_data(&out), buf_used(&out)) < 0)
        return 1;
    buf_release(&out);
    fprintf(stderr, "walferry receive: %s\n", reason);
    return 1;
}

/* Has the session ended because the agent has? A killed agent closes its descriptors one by one, so
 * its socket is tried twice. */
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
command_receive(const struct config *config, const struct member *self,
                const struct options *options)
{
    char reason[FRAME_REASON_MAX], line[KEY_LINE_SIZE];

    if (getenv("SSH_ORIGINAL_COMMAND") == NULL) {
        snprintf(
            reason, sizeof reason,
            "the key of %s is not bound on the host of %s: its line in authorized_keys must begin with %s",
            options->from, self->name,
            config_key_line(line, config, self->name, options->from, false));
        return refuse(reason);
    }
    if (config_member(config, options->from) == NULL) {
        snprintf(reason, sizeof reason, "--from %s in authorized_keys of %s names no member of %s",
                 options->from, self->name, config->file);
        return refuse(reason);
    }
    if (inlet_hand_over(self->run, options->from, options->no_tunnel) < 0) {
        snprintf(reason, sizeof reason,
                 "the agent of %s is not running (%s); start it there: systemctl start walferry@%s",
                 self->name, fail_message(), config->name);
        return refuse(reason);
    }
    if (agent_gone(self->run)) {
        fprintf(stderr,
                "the agent of %s has ended (stopped or killed); start it there: systemctl start "
                "walferry@%s\n",
                self->name, config->name);
        return 1;
    }
    return 0;
}
