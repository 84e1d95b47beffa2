/* SPDX-License-Identifier: PostgreSQL */
/*
 * tunnel: sockets in the run directory that lead to another member, each client over a stream
 * (stream.h) of its own.
 *
 *   <run>/tunnel/.s.PGSQL.5432         the current primary's PostgreSQL: SQL for the role
 *                                      tunnel_user, replication for the agents' role
 *   <run>/far/<member>/control         that member's agent, for the commands it answers from afar
 *   <run>/far/<member>/.s.PGSQL.5432   that member's relay: its spool
 *   <run>/far/<member>/.s.PGSQL.5433   that member's own PostgreSQL, for the same two roles
 *
 *   <run>/.s.PGSQL.5432                the relay: it hands over what is no replication, and as in
 *                                      slot_sync.h that is led to the primary's PostgreSQL
 *
 * All 0600, peer uid ours or root. A client is bound to its stream within TUNNEL_WAIT_US or told
 * why not, in the words of the service (ErrorResponse, or a line of JSON). Where this member
 * receives the link of the far one it asks over that link and the far agent dials; else it dials
 * itself. At most TUNNEL_STREAMS_MAX streams, TUNNEL_FAR_MAX of them for clients of other members;
 * one is dialled at a time, for PostgreSQL and relays with the member's tunnel_identity. A stream
 * whose key is bound with --no-tunnel leads to the agent only, and may change nothing there.
 *
 * The far end at a PostgreSQL has a gate (gate.h): encryption is declined twice (SSH does that),
 * cancel requests are dropped, and only those roles (and slot_sync_user) pass, if PostgreSQL says that they can
 * become nothing worse: no superuser, nor a member of one; with SQL no role that replicates, for
 * that could make slots. A standby passes a stream to the primary's on through its own tunnel.
 */
#ifndef AGENT_TUNNEL_TUNNEL_H
#define AGENT_TUNNEL_TUNNEL_H

#include "base/workers.h"
#include "base/loop.h"
#include "control/control.h"
#include "links/incoming.h"
#include "links/outgoing.h"
#include "tunnel/admission.h"
#include "tunnel/door.h"
#include "shipper/wire/frame.h"

#include <stdbool.h>

#define TUNNEL_STREAMS_MAX 24
#define TUNNEL_FAR_MAX     (8 + MEMBERS_MAX) /* each other member may synchronize its slots */
#define TUNNEL_WAIT_US     (10 * SECOND_US)

struct passage; /* tunnel.c */

struct tunnel {
    const struct who *who; /* borrowed, as these: */
    struct outgoing *out;
    struct incoming *in;
    struct control *control;
    struct doors doors;
    struct passage *passage[TUNNEL_STREAMS_MAX];
    struct workers workers;
    struct admission admission;
    uint64_t opened; /* streams so far */
    uint64_t bytes;  /* that went through those that ended */
};

int tunnel_open(struct tunnel *t, const struct who *who, struct outgoing *out, struct incoming *in,
                struct control *control); /* ERR_LOCAL, ERR_USAGE */
void tunnel_close(struct tunnel *t);
void tunnel_watch(const struct tunnel *t, struct loop *l);
void tunnel_run(struct tunnel *t, const struct loop *l, int64_t now_us);

/* Streams that are open now, and the bytes of all so far, both ways, before compression. */
unsigned tunnel_streams(const struct tunnel *t);
uint64_t tunnel_bytes(const struct tunnel *t);

#endif
