/*
 * poolfile: the pool's file as it stands on each member: shown, compared, replaced. `walferry
 * config` asks the agents, this one's and, through the tunnel, the others'.
 *
 * A file that comes from afar is checked whole as this host would read it at its next start; it may
 * not change what runs here, which files and directories are used, or where the members are (ssh,
 * host_key, known_hosts; a new member): the key that brought it can do one thing. The predecessors
 * stay in <spool>/config, POOLFILE_KEPT of them. Nothing is taken up before the agent's next start.
 */
#ifndef AGENT_CONFIG_POOL_FILE_H
#define AGENT_CONFIG_POOL_FILE_H

#include "control/control.h"
#include "config/config.h"

#define POOLFILE_KEPT 20

/* The request {"command": "config", "do": "show" | "check" | "install", "text": ...} of a client.
 */
void poolfile_answer(struct control *control, uint64_t client, const json_t *request,
                     const struct config *config, const struct member *self);

#endif
