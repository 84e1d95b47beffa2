/* SPDX-License-Identifier: PostgreSQL */
/*
 * command: what the command line is made of. A command is a row in main.c's table and a function in
 * the file of its name. Before main calls the function it has read the options, loaded the config
 * and found out which member this is. An option is set only if the command's row takes it.
 */
#ifndef AGENT_COMMANDS_COMMAND_H
#define AGENT_COMMANDS_COMMAND_H

#include "config/config.h"

#include <stdbool.h>

#define JUDGE_UNKNOWN 3 /* exit code of a command that judges: nothing could be judged */

struct options {
    const char *config_file, *member, *from, *reason; /* NULL: not given */
    const char *timeout;                              /* as written: a duration */
    const char *primary, *epoch, *break_promise;      /* NULL: not given */
    const char *rate, *map;                           /* of seed; NULL: not given */
    bool json, yes, dry_run, force, watch, applied, replace, discard, pool, local, no_tunnel, dead,
        cancel, offline, reclaim, all;
    int watch_s; /* interval of --watch */
    const char *const *args;
    int arg_count;
};

struct rate_plan; /* rate.h */

/* --rate, if it is given. 0, or 2 (said on standard error). */
int command_rate(const struct options *options, const char *command, struct rate_plan *ret_plan);

/* --from: the member, or NULL if it is not given. 0, or 2 (said on standard error). */
int command_from(const struct config *config, const struct member *self,
                 const struct options *options, const char *command,
                 const struct member **ret_member);

/* Each returns the exit code (config and self are NULL for --all): 0 done, 1 failed or refused, 2 usage or config; check and validate
 * have their own. */
int command_agent(const struct config *config, const struct member *self,
                  const struct options *options);
int command_receive(const struct config *config, const struct member *self,
                    const struct options *options);
int command_fetch(const struct config *config, const struct member *self,
                  const struct options *options);
int command_status(const struct config *config, const struct member *self,
                   const struct options *options);
int command_check(const struct config *config, const struct member *self,
                  const struct options *options);
int command_config(const struct config *config, const struct member *self,
                   const struct options *options);
int command_files(const struct config *config, const struct member *self,
                  const struct options *options);
int command_sync(const struct config *config, const struct member *self,
                 const struct options *options);
int command_seed(const struct config *config, const struct member *self,
                 const struct options *options);
int command_set(const struct config *config, const struct member *self,
                const struct options *options);
int command_events(const struct config *config, const struct member *self,
                   const struct options *options);
int command_validate(const struct config *config, const struct member *self,
                     const struct options *options);
int command_gaps(const struct config *config, const struct member *self,
                 const struct options *options);
int command_route(const struct config *config, const struct member *self,
                  const struct options *options);
int command_failover(const struct config *config, const struct member *self,
                     const struct options *options);
int command_resolve(const struct config *config, const struct member *self,
                    const struct options *options);
int command_rejoin(const struct config *config, const struct member *self,
                   const struct options *options);
int command_lost(const struct config *config, const struct member *self,
                 const struct options *options);

#endif
