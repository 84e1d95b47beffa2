/* SPDX-License-Identifier: PostgreSQL */
/*
 * daemon: the agent of one member, from its start to SIGTERM.
 */
#ifndef AGENT_DAEMON_DAEMON_H
#define AGENT_DAEMON_DAEMON_H

#include "config/config.h"

/* `signals` is a signalfd of those that end it. 0 or an error; one that a human has to judge is
 * ERR_USAGE or ERR_CORRUPT. */
int daemon_run(const struct config *config, const struct member *self, int signals);

#endif
