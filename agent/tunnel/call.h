/* SPDX-License-Identifier: PostgreSQL */
/*
 * call: a socket to this member's PostgreSQL, where libpq would connect to with its `postgres`.
 */
#ifndef AGENT_TUNNEL_CALL_H
#define AGENT_TUNNEL_CALL_H

#include "config/config.h"

/* Non-blocking, perhaps still connecting. 0, ERR_PEER or ERR_LOCAL. */
int call_postgres(const struct member *self, int *ret_fd);

#endif
