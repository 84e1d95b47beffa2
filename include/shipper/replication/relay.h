/*
 * relay: the agent's server half of PostgreSQL's replication protocol, on <run>/.s.PGSQL.5432.
 *
 * Its clients are the local standby and guests. The local standby is whoever is a child of the
 * postmaster of our pgdata, by what the kernel says of the process that connected: its word alone
 * counts for drain, applied, pruning and feedback, and where an empty spool begins is what it asks
 * for. Guests (another standby, pg_receivewal, psql with replication=true; or through a tunnel) are
 * served, each on its own, and that is all; they go on with pg_wal when this member is promoted
 * (supply.h). A process in another pid namespace cannot be seen, and is a guest.
 * A client is an LSN and two buffers: there is no queue. Serves IDENTIFY_SYSTEM, SHOW (the few
 * names these clients ask for), TIMELINE_HISTORY, START_REPLICATION [SLOT s] [PHYSICAL] X/X
 * [TIMELINE n], READ_REPLICATION_SLOT (any name: what the spool holds from its first byte on),
 * CREATE_REPLICATION_SLOT (TEMPORARY PHYSICAL is granted: the spool keeps its WAL anyway; others
 * refused readably), DROP_REPLICATION_SLOT; every other command gets 0A000 / 42601 with the list.
 * Timeline ends as in walsender: CopyDone, next timeline's row.
 *
 * Bounds: so many guests as the config has, RELAY_AFAR_MAX through tunnels; the local standby and
 * this agent itself have places of their own (one more takes the place of a session of its kind
 * that was idle for 60 s, else it gets 53300). Start-up within 10 s, one message at most 16 kB from
 * a client and none read while its answers do not fit, peer uid is ours or root. Before the system
 * identifier is known: 57P03. Before the spool's first byte: 58P01 (the asked position is
 * remembered in `wanted`). Ahead of its end: XX000, as from a walsender. A keepalive once caught
 * up, when asked for, and after 10 s without a word; a streaming client that says nothing for 30 s
 * is asked to, after 60 s it is dropped. Who breaks the protocol is told so (08P01) and dropped.
 *
 * A starting standby asks restore_command for one segment after the other, and comes here only when
 * it gets none: while the spool grows, never, at half the speed. So there is the file
 * <run>/RELAY_OFFER: where it is, restore_command gives no segment (it writes down which), and
 * removes it when that does not lead here. relay_offer makes it, when the agent starts and when
 * PostgreSQL was away; it is gone as soon as a local standby gets on here: one that is promoted by
 * hand leaves the stream and restores the rest of the spool first.
 *
 * Source of the formats: PostgreSQL manual, "Streaming Replication Protocol", "Message Formats".
 */
#ifndef SHIPPER_REPLICATION_RELAY_H
#define SHIPPER_REPLICATION_RELAY_H

#include "base/buf.h"
#include "base/unix_socket.h"
#include "base/loop.h"
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
#define RELAY_GUEST_BYTES (UINT64_C(1) << 30) /* that a guest may hold back at most */

/* What the local standby says. */
struct relay_standby {
    bool connected;
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
    lsn_t sent, flushed, applied; /* LSN_UNKNOWN: nothing yet, or it does not say */
    int64_t since_us;
};

struct relay_client; /* relay.c */

struct relay {
    int fd; /* listening, -1 when closed */
    char path[UNIX_SOCKET_PATH_SIZE];
    char offer[UNIX_SOCKET_PATH_SIZE];
    bool offered;
    struct supply supply;
    unsigned guests; /* places of theirs */
    int64_t told_us; /* that one was turned away */
    struct relay_client *client[RELAY_CLIENTS_MAX];
    /* asked for by the local standby while the spool was empty; timeline 0: it did not */
    timeline_t wanted_timeline;
    lsn_t wanted;
    struct relay_standby left; /* the last word of a standby that is gone */
};

/* Bind run/.s.PGSQL.5432, mode 0600, replacing a socket nobody listens on. pgdata NULL: of no
 * PostgreSQL, for this agent itself (and guests). ERR_LOCAL; ERR_USAGE: the path is too long. */
int relay_open(struct relay *r, const char *run, struct spool *spool, const char *pgdata,
               unsigned guests);
/* Ends all clients (57P01), removes the socket; accepts a zeroed struct. */
void relay_close(struct relay *r);

/* A guest that comes through a tunnel: fd is the relay's from here on. False: no place. */
bool relay_adopt(struct relay *r, int fd, int64_t now_us);

/* Its descriptors and deadline; then accept, read and serve. */
void relay_watch(const struct relay *r, struct loop *l, int64_t now_us);
void relay_run(struct relay *r, const struct loop *l, int64_t now_us);

/* PostgreSQL may start: see above. */
void relay_offer(struct relay *r);

/* The spool grew: serve it now, do not wait for the next turn. */
void relay_push(struct relay *r, int64_t now_us);

void relay_standby(const struct relay *r, struct relay_standby *ret_standby);

size_t relay_guests(const struct relay *r, struct relay_guest out[RELAY_CLIENTS_MAX]);

/* The lowest position a streaming client still needs: the segment start of what it has flushed (of
 * what it was given, if it does not say). A guest holds back RELAY_GUEST_BYTES at most: one that is
 * further behind has what `keep` keeps. LSN max when there is none. */
lsn_t relay_needs(const struct relay *r);

#endif
