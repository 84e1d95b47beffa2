/* SPDX-License-Identifier: PostgreSQL */
/* set: `walferry set KEY=VALUE` changes how the running agent ships, until its next start. */
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"

#include "base/fail.h"

#include <stdio.h>
#include <string.h>

int
command_set(const struct config *config, const struct member *self, const struct options *options)
{
    struct link_settings checked = config->shipping;
    char key[32] = "";
    const char *value = strchr(options->args[0], '=');
    int code;

    if (value != NULL && (size_t)(value - options->args[0]) < sizeof key)
        memcpy(key, options->args[0], (size_t)(value - options->args[0]));
    if (value == NULL || config_set(&checked, key, value + 1) < 0) {
        fprintf(stderr, "walferry set: %s\n",
                value == NULL ? "KEY=VALUE is wanted, as in rate_limit=20MB" : fail_message());
        return 2;
    }
    code = control_ask(self->run,
                       json_pack("{s:s s:s s:s}", "command", "set", "key", key, "value", value + 1),
                       show_line, NULL);
    if (code < 0)
        fprintf(stderr,
                "walferry set: %s; is the agent of %s running? (systemctl start walferry@%s)\n",
                fail_message(), self->name, config->name);
    return code == 0 ? 0 : 1;
}
