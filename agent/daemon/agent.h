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
#include "retention/rates.h"
#include "retention/slot.h"
#include "web/http.h"
#include "retention/outbox.h"
#include "retention/backfill.h"
#include "links/greeting.h"
#include "links/outgoing.h"
#include "tunnel/tunnel.h"
#include "files/site_files.h"

#include "base/fail.h"
#include "base/worker.h"
#include "shipper/receiver/inlet.h"
#include "shipper/sender/link.h"
#include "shipper/replication/relay.h"

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
    struct who who;
    bool running; /* everything was opened */
    struct loop loop;
    struct epoch_origin rival; /* the other claimant of our epoch number; number 0: none */
    struct codec *codec;
    struct incoming in;
    struct outgoing out;
    struct outbox outbox;
    struct gaps gaps; /* WAL that other members lack */
    struct backfill backfill;
    struct disk_guard guard;
    struct tunnel tunnel;
    struct failover failover;
    struct rates rates;
    struct conditions conditions;
    struct http http;
    struct site site;
    struct control control;
    struct validate_service validate_service;
    struct worker state_writer;
    struct note *note;
    int64_t escrow_due_us; /* to look for what is too old */
};

/* The state of everything, for `walferry status`: a new reference. */
json_t *agent_report(const struct agent *a, int64_t now_us);

/* Is what the last PING told, round trip and wall clocks, still so? */
bool agent_offset_known(const struct clock_offset *o, int64_t now_us);

/* failover.c */
void failover_request(struct agent *a, uint64_t client, const json_t *request, int64_t now_us);
void failover_run(struct agent *a, int64_t now_us);
int64_t failover_due_us(const struct agent *a);

#endif
