/*
 * gate: what a client of a tunnel says to PostgreSQL, on its way there. Bytes and rules, no I/O.
 *
 * Bytes are taken as they come and given out once they are judged. First the start-up: at most
 * GATE_ENCRYPTIONS requests for encryption (SSH does that), each to be answered by one byte 'N';
 * then a request to cancel, which never passes, for its key would be for any session of the server,
 * or the start-up packet. That is held until gate_open: the caller judges who asks.
 *
 * Then an ordinary session passes as it is: what it may do is its role's affair. For replication
 * every message is looked at, a command whole, before its end passes, for a role that replicates
 * may do more than copy: only physical replication without a slot, or with a temporary one named as
 * pg_basebackup does; no slot is made to stay, moved on or dropped, and no feedback holds back
 * vacuum.
 */
#ifndef SHIPPER_TUNNEL_GATE_H
#define SHIPPER_TUNNEL_GATE_H

#include "base/buf.h"
#include "shipper/replication/pgwire.h"

#define GATE_ENCRYPTIONS 2 /* SSL and GSS, once each */
#define GATE_BYTES       (32u << 10)
#define GATE_WHY_MAX     256

enum gate_state {
    GATE_STARTUP, /* not all of it is here */
    GATE_ASKED,   /* `startup` is: the caller's turn */
    GATE_OPEN,
    GATE_CANCELS, /* it only wanted to cancel */
    GATE_REFUSED, /* nothing passes any more: `why` */
};

struct gate {
    enum gate_state state;
    struct buf held;        /* what came and was not given out */
    size_t judged;          /* of it: may go */
    unsigned encryptions;   /* asked for so far; the caller answers */
    struct startup startup; /* from ASKED on */
    uint64_t passing;       /* of a message that may go, still to come */
    bool streaming;         /* START_REPLICATION was the last command */
    char why[GATE_WHY_MAX];
};

int gate_init(struct gate *g); /* ERR_LOCAL */
void gate_release(struct gate *g);

void gate_take(struct gate *g, struct buf *in); /* what there is room for, and judge it */
void gate_open(struct gate *g);                 /* ASKED: it may come in */

/* What may go is the front of `held`: so many bytes of it; so many have gone. */
size_t gate_passed(const struct gate *g);
void gate_gone(struct gate *g, size_t bytes);

#endif
