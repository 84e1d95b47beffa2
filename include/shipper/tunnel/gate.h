/* SPDX-License-Identifier: PostgreSQL */
/*
 * gate: judges the bytes that a client of a tunnel sends to PostgreSQL. Bytes and rules, no I/O.
 *
 * Bytes are taken as they come and given out once they are judged. First the start-up: at most
 * GATE_ENCRYPTIONS requests for encryption (SSH does that), each to be answered by one byte 'N';
 * then either a request to cancel, which never passes, for its key could be of any session of the
 * server; or the start-up packet, which is held until gate_open: the caller judges who asks.
 *
 * Then an ordinary session passes as it is: its rights are its role's. Of a replication session
 * every message is judged, a command as a whole before its end passes, for a role that replicates
 * may do more than copy. Allowed is physical replication without a slot, or with a temporary slot
 * named as pg_basebackup does; no slot is made to stay, moved on or dropped, and no feedback holds
 * back vacuum.
 */
#ifndef SHIPPER_TUNNEL_GATE_H
#define SHIPPER_TUNNEL_GATE_H

#include "base/buf.h"
#include "shipper/replication/pgwire.h"

#define GATE_ENCRYPTIONS 2 /* SSL and GSS, once each */
#define GATE_BYTES       (32u << 10)
#define GATE_WHY_MAX     256

enum gate_state {
    GATE_STARTUP, /* the start-up is not complete */
    GATE_ASKED,   /* `startup` is complete: the caller's turn */
    GATE_OPEN,
    GATE_CANCELS, /* the client only wanted to cancel */
    GATE_REFUSED, /* nothing passes any more: `why` */
};

struct gate {
    enum gate_state state;
    struct buf held;        /* bytes that came and were not given out */
    size_t judged;          /* of `held`: may go */
    unsigned encryptions;   /* asked for so far; the caller answers */
    struct startup startup; /* from ASKED on */
    uint64_t passing;       /* bytes still to come of a message that may go */
    bool streaming;         /* START_REPLICATION was the last command */
    char why[GATE_WHY_MAX];
};

int gate_init(struct gate *g); /* ERR_LOCAL */
void gate_release(struct gate *g);

void gate_take(struct gate *g, struct buf *in); /* as much as there is room for, and judge it */
void gate_open(struct gate *g);                 /* in GATE_ASKED: the client may come in */

/* How many bytes at the front of `held` may go; how many have gone. */
size_t gate_passed(const struct gate *g);
void gate_gone(struct gate *g, size_t bytes);

#endif
