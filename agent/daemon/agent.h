/*
 * agent: the daemon of one member. One thread, one poll loop, nothing in it blocks; it owns its
 * rooms by value and is the only one who decides: what role this member has, whom it ships to, whom
 * it takes WAL from.
 *
 * Role follows the pool's epoch (pool.state), never the config; where PostgreSQL's own recovery
 * state disagrees, PostgreSQL is right and the disagreement is an alarm, never silently repaired.
 */
#ifndef AGENT_DAEMON_AGENT_H
#define AGENT_DAEMON_AGENT_H

#include "config/config.h"
#include "control/control.h"
#include "validate/service.h"
#include "monitor/conditions.h"
#include "retention/disk_guard.h"
#include "web/http.h"
#include "retention/outbox.h"
#include "retention/backfill.h"
#include "pool/role.h"
#include "postgres/postgres.h"
#include "tunnel/tunnel.h"
#include "files/site_files.h"

#include "base/fail.h"
#include "base/histogram.h"
#include "base/worker.h"
#include "shipper/receiver/inlet.h"
#include "shipper/sender/link.h"
#include "shipper/replication/relay.h"

/* Where the primary stands is known this long, and a round trip: it has gone on since, and nobody
 * can say how far. */
#define AGENT_FRESH_US (3 * POSTGRES_SAMPLE_US)
#define AGENT_NEWS_US  (2 * SECOND_US) /* ... both together; a full line's round trip is long */

enum failover_phase {
    FAILOVER_IDLE,
    FAILOVER_WAITING, /* for our own PostgreSQL, which may have been started a moment ago */
    FAILOVER_ASKING,
    FAILOVER_RESCUING,
    FAILOVER_RUNNING,
};

/* A failover as the agent drives it: failover.c is its only writer. */
struct failover {
    enum failover_phase phase;
    uint64_t client; /* who gets the progress lines */
    struct failover_wish wish;
    bool entered;
    int64_t started_us, begun_us; /* the whole; the present phase or step */
    int64_t since_us;             /* ... without progress */
    int64_t asked_us;             /* PING is out */
    lsn_t rescued;                /* progress of a drain, to tell a slow one from a dead one */
    int64_t ask_us, step_us[FAILOVER_PROMOTE + 1]; /* how long it took: what came before the
                                                      steps, and each of them */
    bool loss_known;
    char loss[256];     /* as it was said */
    bool command_asked; /* a command of this step is with PostgreSQL */
    size_t next_member; /* FAILOVER_SLOTS */
    lsn_t drain_to;
    lsn_t replayed;            /* FAILOVER_PROMOTE */
    int64_t moved_us, said_us; /* ... since when no further; of its last line */
};

struct note; /* a small file on its way to disk: agent.c */

struct agent {
    const struct config *config;
    const struct member *self;
    bool running; /* everything was opened */
    enum role role;
    char alarm[ALARM_MAX];              /* "" : all is well */
    char spool_error[FAIL_MESSAGE_MAX]; /* why the spool takes nothing; "" : it does */
    bool spool_shut;                    /* nor is it tried before spool_retry_us */
    int64_t spool_retry_us;
    struct log_memory spool_said; /* of spool_error: it may come back at once */
    lsn_t spool_stuck_at;         /* where it took no more; LSN_UNKNOWN: it takes WAL */
    uint64_t renewing;            /* the client whose seed wants an empty spool; 0: none */
    bool hold_named;              /* a damaged one, in the log */
    int64_t started_us;
    uint64_t incarnation;

    struct loop loop;
    struct pool pool;
    struct epoch_origin rival; /* the other claimant of our epoch number; number 0: none */

    struct spool spool;
    struct flush flush;
    struct prune pruning;
    struct worker flusher, pruner, state_writer;
    int64_t escrow_due_us; /* to look for what is too old */
    struct workers workers;
    struct frame_cache frame_cache;
    struct note *note;
    struct codec *codec;
    uint8_t *scratch;
    struct receiver receiver;
    struct inlet inlet;
    struct relay relay;
    struct outbox outbox;
    struct postgres *postgres;
    int64_t flushed_us; /* when the last flush began */
    lsn_t stuck_lsn;    /* where PostgreSQL's flush stands, with more behind it in memory */
    int64_t stuck_us;
    int64_t stopping_us; /* since when the local server is shutting down; 0: it is not */
    int64_t feedback_us; /* when the local standby was last here */
    struct link link[MEMBERS_MAX];
    size_t links;
    struct link_settings shipping; /* of the config, as changed since the start */
    bool shipping_set;             /* ... by `walferry set` */
    char slot_name[MEMBERS_MAX][SLOT_NAME_SIZE];
    char conninfo[512];
    char *history; /* of the primary's timeline; HISTORY_BYTES_MAX and a 0 */
    size_t history_bytes;
    timeline_t history_timeline;
    struct hello hello;
    struct control control;
    struct validate_service validate_service;
    struct http http;
    struct histogram flush_took;
    struct failover failover;
    struct conditions conditions;
    struct disk_guard guard;
    struct gaps gaps; /* WAL that other members lack */
    struct backfill backfill;
    struct tunnel tunnel;
    struct site site;
};

/* The state of everything, for `walferry status`: a new reference. */
json_t *agent_report(const struct agent *a, int64_t now_us);

/* Where the primary stands, by its own sample or by the beacon that came last; LSN_UNKNOWN when
 * that is too long ago. */
lsn_t agent_primary_stands(const struct agent *a, int64_t now_us);

/* Is what the last PING told, round trip and wall clocks, still so? */
bool agent_offset_known(const struct clock_offset *o, int64_t now_us);

/* Why nothing comes in, or, on a link that is up, why no figure of it stays near 0; "" . */
const char *agent_receiving_reason(const struct agent *a);

/* Where this member's PostgreSQL is or was: identity from it, else from the spool. */
const struct identity *agent_identity(const struct agent *a);
enum pong_postgres agent_postgres_word(const struct agent *a, int64_t now_us);

/* Save pool.state; 0 or the error, which is also logged. A state is on disk before it is acted on.
 */
int agent_save_pool(struct agent *a);

/* What the local standby has applied, by its own word or its relay client's. 0: unknown. */
lsn_t agent_applied(const struct agent *a);

/* failover.c */
void failover_request(struct agent *a, uint64_t client, const json_t *request, int64_t now_us);
void failover_run(struct agent *a, int64_t now_us);
int64_t failover_due_us(const struct agent *a);

#endif
