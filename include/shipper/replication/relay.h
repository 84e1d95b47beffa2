/* SPDX-License-Identifier: PostgreSQL */
/*
 * relay: the agent's server half of PostgreSQL's replication protocol, on <run>/.s.PGSQL.5432.
 *
 * Its clients are the local standby and guests. A connecting process is the local standby if it is
 * a child of the postmaster of our pgdata, as the kernel says: only its reports count for drain,
 * applied, pruning and feedback, and an empty spool begins where it asks. Guests (another standby,
 * pg_receivewal, psql with replication=true; or through a tunnel) are served, each on its own, and
 * count for nothing; they go on with pg_wal when this member is promoted (supply.h). A process in
 * another pid namespace cannot be seen, and is a guest.
 * A client is an LSN and two buffers: there is no queue.
 *
 * Served are IDENTIFY_SYSTEM, SHOW (the few names these clients ask for), TIMELINE_HISTORY,
 * START_REPLICATION [SLOT s] [PHYSICAL] X/X [TIMELINE n], READ_REPLICATION_SLOT (any name: what the
 * spool holds from its first byte on), CREATE_REPLICATION_SLOT (TEMPORARY PHYSICAL is granted: the
 * spool keeps its WAL anyway; others are refused readably), DROP_REPLICATION_SLOT; every other
 * command gets 0A000 / 42601 with the list. A timeline ends as in walsender: CopyDone, then the row
 * of the next timeline. An ordinary session (SQL) is none of the relay's: it is refused, or, with
 * `passes_sql` and not from afar, given out by relay_take_sql as soon as its start-up packet is here.
 *
 * Bounds: as many guests as the config says, RELAY_AFAR_MAX through tunnels; the local standby and
 * this agent itself have places of their own (a client without a place takes that of a session of
 * its kind which was idle for 60 s, else it gets 53300). Start-up within 10 s; one message is at
 * most 16 kB from a client, and none is read while its answers do not fit; the peer's uid is ours
 * or root. Before the system identifier is known: 57P03. Before the spool's first byte: 58P01 (what
 * the local standby asked for is remembered in `wanted`). Ahead of its end: XX000, as from a
 * walsender. A keepalive goes out once a client has caught up, when it asks, and after 10 s without
 * a word; a streaming client that says nothing for 30 s is asked to, after 60 s it is dropped. A
 * client that breaks the protocol gets 08P01 and is dropped.
 *
 * A starting standby asks restore_command for one segment after the other, at half the speed, and
 * connects here only when it gets none: while the spool grows, never. So there is the file
 * <run>/RELAY_OFFER: while it exists, restore_command gives no segment (it writes the name into the
 * file), and removes the file when the standby does not connect here after all. relay_offer makes
 * it when the agent starts and when PostgreSQL was away; it is removed as soon as a local standby
 * streams: a standby that is promoted by hand leaves the stream and restores the rest of the spool.
 *
 * Source of the formats: PostgreSQL manual, "Streaming Replication Protocol", "Message Formats".
 */
#ifndef SHIPPER_REPLICATION_RELAY_H
#define SHIPPER_REPLICATION_RELAY_H

#include "base/buf.h"
#include "base/unix_socket.h"
#include "base/loop.h"
#include "shipper/replication/pgwire.h"
#include "shipper/replication/supply.h"

#include <stdbool.h>
#include <sys/types.h>

#define RELAY_OFFER         "relay.offer"
#define RELAY_STANDBY_MAX   4 /* its walreceiver, and what else it sends here in vain */
#define RELAY_OURSELVES_MAX 8
#define RELAY_GUESTS_MAX    32
#define RELAY_AFAR_MAX      2 /* through a tunnel */
#define RELAY_CLIENTS_MAX                                                                          \
    (RELAY_STANDBY_MAX + RELAY_OURSELVES_MAX + RELAY_GUESTS_MAX + RELAY_AFAR_MAX)
#define RELAY_GUEST_BYTES (UINT64_C(1) << 30) /* of WAL that a guest may hold back at most */

/* What the local standby reports. */
struct relay_standby {
    bool connected;
    timeline_t timeline; /* that it streams, or streamed last */
    lsn_t write, flush, apply;
    uint64_t xmin, catalog_xmin; /* epoch << 32 | xid; 0: no feedback */
    int64_t reported_us;         /* of the last status message, monotonic */
    int64_t left_us;             /* when it was last connected; 0: never seen */
};

struct relay_guest {
    char application_name[64]; /* fit to be shown */
    pid_t pid;                 /* 0: it cannot be seen */
    bool afar, streams;
    timeline_t timeline;
    lsn_t sent, flushed, applied; /* LSN_UNKNOWN: nothing yet, or not reported */
    int64_t since_us;
};

struct relay_client; /* shipper/replication/client.h */

struct relay {
    int fd; /* listening, -1 when closed */
    char path[UNIX_SOCKET_PATH_SIZE];
    char offer[UNIX_SOCKET_PATH_SIZE];
    bool offered;
    bool passes_sql; /* relay_take_sql is called in every turn */
    struct supply supply;
    unsigned guests; /* places for guests */
    uint64_t
        onward_bytes; /* of WAL that a link of this agent which ships from here may hold back */
    int64_t told_us;  /* when it was last logged that a guest was turned away */
    struct relay_client *client[RELAY_CLIENTS_MAX];
    /* asked for by the local standby and not held, until it gets a stream; timeline 0: nothing is */
    timeline_t wanted_timeline;
    lsn_t wanted;
    struct relay_standby left; /* the last report of a standby that is gone */
};

/* Bind run/.s.PGSQL.5432, mode 0600, replacing a socket nobody listens on. pgdata NULL: of no
 * PostgreSQL, for this agent itself (and guests). ERR_LOCAL; ERR_USAGE: the path is too long. */
int relay_open(struct relay *r, const char *run, struct spool *spool, const char *pgdata,
               unsigned guests);
/* Ends all clients (57P01), removes the socket; accepts a zeroed struct. */
void relay_close(struct relay *r);

/* A guest through a tunnel: the relay owns fd from here on. False: there is no place. */
bool relay_adopt(struct relay *r, int fd, int64_t now_us);

/* A session with SQL. The taker owns fd and `in`, where the bytes from the start-up packet on are;
 * `startup` is read from it. */
struct relay_sql {
    int fd;
    struct buf in;
    struct startup startup;
};
bool relay_take_sql(struct relay *r, struct relay_sql *ret_sql); /* false: there is none */

/* Descriptors and deadline; then accept, read and serve. */
void relay_watch(const struct relay *r, struct loop *l, int64_t now_us);
void relay_run(struct relay *r, const struct loop *l, int64_t now_us);

/* PostgreSQL may start: make RELAY_OFFER. */
void relay_offer(struct relay *r);

/* The spool grew: serve it now, do not wait for the next turn. */
void relay_push(struct relay *r, int64_t now_us);

void relay_standby(const struct relay *r, struct relay_standby *ret_standby);

size_t relay_guests(const struct relay *r, struct relay_guest out[RELAY_CLIENTS_MAX]);

/* The lowest position that a streaming client still needs: the segment start of its flushed
 * position (of the position sent, if it reports none). A guest holds back at most
 * RELAY_GUEST_BYTES, this agent onward_bytes: one that is further behind depends on `keep`.
 * UINT64_MAX: none is needed. */
lsn_t relay_needs(const struct relay *r);

#endif
