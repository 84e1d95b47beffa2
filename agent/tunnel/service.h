/* SPDX-License-Identifier: PostgreSQL */
/*
 * service: what a tunnel leads to, its name, and a refusal in its own words: ErrorResponse of
 * PostgreSQL's protocol, or a line of JSON from the agent.
 */
#ifndef AGENT_TUNNEL_SERVICE_H
#define AGENT_TUNNEL_SERVICE_H

#include "base/buf.h"
#include "shipper/wire/frame.h"

#define REFUSAL_BYTES 8192 /* room for one */

const char *service_name(enum tunnel_service service);
void service_put_error(struct buf *out, enum tunnel_service service, const char *sqlstate,
                       const char *reason);

/* To a client that gets no stream: it reads this, if it reads at all, and its end. */
void service_tell(int client, enum tunnel_service service, const char *sqlstate,
                  const char *reason);

#endif
