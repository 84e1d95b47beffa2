/* SPDX-License-Identifier: PostgreSQL */
/* rejoin: `walferry rejoin`, make a former primary a standby again. */
#include "commands/command.h"
#include "jobs/rejoin.h"

#include <stdio.h>

int
command_rejoin(const struct config *config, const struct member *self,
               const struct options *options)
{
    struct rate_plan plan;
    struct rejoin_request request = {.config = config,
                                     .self = self,
                                     .dry_run = options->dry_run,
                                     .yes = options->yes,
                                     .replace = options->replace,
                                     .offline = options->offline,
                                     .rate = options->rate != NULL ? &plan : NULL,
                                     .map = options->map};

    if (command_from(config, self, options, "rejoin", &request.from) != 0 ||
        command_rate(options, "rejoin", &plan) != 0 || config_check_local(config, self, stderr) < 0)
        return 2;
    return rejoin_run(&request);
}
