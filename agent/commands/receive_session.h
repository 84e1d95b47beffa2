/* SPDX-License-Identifier: PostgreSQL */
/*
 * receive_session: sshd's pipe is the agent's while the session lasts. With next to no library, as
 * every lane of every link has a process of this on the far host, which does nothing but wait.
 */
#ifndef AGENT_COMMANDS_RECEIVE_SESSION_H
#define AGENT_COMMANDS_RECEIVE_SESSION_H

#include <stdbool.h>

/*
 * Hands descriptors 0 and 1 to the agent of `run`, which is that of `self`, and waits for the
 * session's end. The exit code: 1, and the reason on stderr, if the session ended because the agent
 * has: one that was killed could not say so. ERR_PEER: no agent listens; 0 and 1 are still ours.
 */
int receive_session(const char *run, const char *self, const char *pool, const char *from,
                    bool no_tunnel);

#endif
