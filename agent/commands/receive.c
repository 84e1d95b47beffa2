/* SPDX-License-Identifier: PostgreSQL */
/*
 * receive: what sshd runs for a bound key, where the launcher could not hand sshd's pipe to the
 * agent. A refusal is sent as a frame, so that the DBA on the far side reads the reason.
 */
#include "commands/command.h"
#include "commands/receive_session.h"

#include "base/buf.h"
#include "base/fail.h"
#include "shipper/wire/frame.h"

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
        frame_put_refuse(&out, REFUSE_ABSENT, &none, reason) < 0 ||
        write(STDOUT_FILENO, buf_data(&out), buf_used(&out)) < 0)
        return 1;
    buf_release(&out);
    fprintf(stderr, "walferry receive: %s\n", reason);
    return 1;
}

int
command_receive(const struct config *config, const struct member *self,
                const struct options *options)
{
    char reason[FRAME_REASON_MAX], line[KEY_LINE_SIZE];
    int code;

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
    code = receive_session(self->run, self->name, config->name, options->from, options->no_tunnel);
    if (code < 0) {
        snprintf(reason, sizeof reason,
                 "the agent of %s is not running (%s); start it there: systemctl start walferry@%s",
                 self->name, fail_message(), config->name);
        return refuse(reason);
    }
    return code;
}
