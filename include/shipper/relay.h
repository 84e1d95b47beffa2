/*
 * relay: the agent's server half of PostgreSQL's replication protocol, on <run>/.s.PGSQL.5432.
 *
 * Its clients are the local standby's walreceiver, pg_receivewal, psql (replication=true), and the
 * source of this agent when it ships onward. A client is an LSN and two buffers: there is no queue;
 * asked ahead of the spool it waits. Serves IDENTIFY_SYSTEM, SHOW (the few names these clients ask
 * for), TIMELINE_HISTORY, START_REPLICATION [SLOT s] [PHYSICAL] X/X [TIMELINE n],
 * READ_REPLICATION_SLOT, CREATE_REPLICATION_SLOT (TEMPORARY PHYSICAL is granted: the spool keeps
 * its WAL anyway; others refused readably), DROP_REPLICATION_SLOT; every other command gets
 * 0A000 / 42601 with the list. Timeline ends as in walsender: CopyDone, next timeline's row.
 *
 * Bounds: RELAY_CLIENTS_MAX (one more takes the place of a session idle for 60 s, else gets 53300),
 * start-up within 10 s, one message at most 16 kB from a client and none read while its answers do
 * not fit, peer uid is ours or root. Before the system identifier is known: 57P03. Before the
 * spool's first byte: 58P01 (the asked position is remembered in `wanted`). A keepalive once caught
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
#ifndef SHIPPER_RELAY_H
#define SHIPPER_RELAY_H

#include "base/buf.h"
#include "base/local.h"
#include "base/loop.h"
#include "shipper/spool.h"

#include <stdbool.h>

#define RELAY_OFFER       "relay.offer"
#define RELAY_CLIENTS_MAX 8
#define RELAY_AFAR_MAX    2                   /* of them, through a tunnel */
#define RELAY_AFAR_BYTES  (UINT64_C(1) << 30) /* that such a client may hold back at most */

/*
 * What the local standby says: from the client that streams and whose application is a walreceiver
 * (any local client that streams and reports apply != 0 counts; pg_receivewal reports none).
 */
struct relay_standby {
    bool connected;
    lsn_t write, flush, apply;
    uint64_t xmin, catalog_xmin; /* epoch << 32 | xid; 0: no feedback */
    int64_t reported_us;         /* of the last status message, monotonic */
    int64_t left_us;             /* when it was last connected; 0: never seen */
};

struct relay_client; /* relay.c */

struct relay {
    int fd; /* listening, -1 when closed */
    char path[LOCAL_PATH_SIZE];
    char offer[LOCAL_PATH_SIZE];
    bool offered;
    struct spool *spool; /* borrowed */
    struct relay_client *client[RELAY_CLIENTS_MAX];
    /* asked for by a walreceiver while the spool was empty; timeline 0: nobody asked */
    timeline_t wanted_timeline;
    lsn_t wanted;
    struct relay_standby left; /* the last word of a standby that is gone */
};

/* Bind run/.s.PGSQL.5432, mode 0600, replacing a socket nobody listens on. ERR_LOCAL; ERR_USAGE:
 * the path is too long. */
int relay_open(struct relay *r, const char *run, struct spool *spool);
/* Ends all clients (57P01), removes the socket; accepts a zeroed struct. */
void relay_close(struct relay *r);

/*
 * A client that comes through a tunnel: fd is the relay's from here on. False: no place. It reads
 * WAL and that is all: whatever it reports, it is no standby (its flush, apply and xmin count
 * nowhere, `wanted` is not its), and pruning leaves behind it what is older than RELAY_AFAR_BYTES.
 */
bool relay_adopt(struct relay *r, int fd, int64_t now_us);

/* Its descriptors and deadline; then accept, read and serve. */
void relay_watch(const struct relay *r, struct loop *l, int64_t now_us);
void relay_run(struct relay *r, const struct loop *l, int64_t now_us);

/* PostgreSQL may start: see above. */
void relay_offer(struct relay *r);

/* The spool grew: serve it now, do not wait for the next turn. */
void relay_push(struct relay *r, int64_t now_us);

void relay_standby(const struct relay *r, struct relay_standby *ret_standby);

/* The lowest position a streaming client still needs: the segment start of what it has flushed (of
 * what it was given, if it does not say). LSN max when there is none. */
lsn_t relay_needs(const struct relay *r);

#endif
