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
#include "handover/failover.h"
#include "tunnel/tunnel.h"
#include "files/site_files.h"

#include "base/fail.h"
#include "base/worker.h"
#include "shipper/receiver/inlet.h"
#include "shipper/sender/link.h"
#include "shipper/replication/relay.h"

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
    struct view view; /* of all these, for who only tells of them */
    struct http http;
    struct site site;
    struct control control;
    struct validate_service validate_service;
    struct worker state_writer;
    struct note *note;
    int64_t escrow_due_us; /* to look for what is too old */
};

#endif
