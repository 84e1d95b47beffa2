/* SPDX-License-Identifier: PostgreSQL */
/* seed: `walferry seed`, copy the primary to this host. */
#include "commands/command.h"
#include "jobs/seed.h"

#include <stdio.h>

int
command_rate(const struct options *options, const char *command, struct rate_plan *ret_plan)
{
    if (options->rate == NULL || (rate_parse(ret_plan, options->rate) == 0 && ret_plan->spans == 0))
        return 0;
    fprintf(stderr, "walferry %s: --rate: bytes per second as in 20MB\n", command);
    return 2;
}

int
command_from(const struct config *config, const struct member *self, const struct options *options,
             const char *command, const struct member **ret_member)
{
    const struct member *m = options->from == NULL ? NULL : config_member(config, options->from);

    *ret_member = m;
    if (options->from == NULL || (m != NULL && m != self))
        return 0;
    fprintf(stderr, "walferry %s: --from: %s is %s\n", command, options->from,
            m == self ? "this member itself" : "no member of the pool's file");
    return 2;
}

int
command_seed(const struct config *config, const struct member *self, const struct options *options)
{
    struct rate_plan plan;
    struct seed_request request = {.config = config,
                                   .self = self,
                                   .dry_run = options->dry_run,
                                   .yes = options->yes,
                                   .replace = options->replace,
                                   .discard = options->discard,
                                   .force = options->force,
                                   .rate = options->rate != NULL ? &plan : NULL,
                                   .map = options->map};

    if (command_from(config, self, options, "seed", &request.from) != 0 ||
        command_rate(options, "seed", &plan) != 0 || config_check_local(config, self, stderr) < 0)
        return 2;
    return seed_run(&request);
}
