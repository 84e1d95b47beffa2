/* SPDX-License-Identifier: PostgreSQL */
/*
 * agent: the daemon of one member from inside. One thread, one poll loop, nothing in it blocks. It
 * owns all rooms by value and joins them: each borrows at its init what it needs of the others, and
 * none knows this struct.
 */
#ifndef AGENT_DAEMON_AGENT_H
#define AGENT_DAEMON_AGENT_H

#include "control/control.h"
#include "files/site_files.h"
#include "handover/failover.h"
#include "links/incoming.h"
#include "links/outgoing.h"
#include "monitor/conditions.h"
#include "retention/backfill.h"
#include "retention/disk_guard.h"
#include "tunnel/tunnel.h"
#include "validate/service.h"
#include "web/http.h"

#include "base/loop.h"
#include "base/worker.h"

/* A small file on its way to disk. */
struct note {
    int dir;
    char name[64];
    char text[LAG_RECORD_MAX];
    size_t length;
};

struct agent {
    struct who who;            /* role and alarm: agent.c is their only writer */
    struct epoch_origin rival; /* the other claimant of our epoch number; number 0: none */
    bool running;              /* everything was opened */
    struct loop loop;
    struct codec *codec; /* the links' and the receiver's */
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
    struct site_files site;
    struct control control;
    struct validate_service validate_service;
    struct worker state_writer;
    struct note note;
    int64_t escrow_due_us; /* to look for what is too old */
};

/* requests.c: what is asked over the control socket. */
void requests_run(struct agent *a, int64_t now_us);

/* upkeep.c: what has to be done once a second; upkeep_open takes what an earlier life has left. */
void upkeep_open(struct agent *a);
void upkeep_run(struct agent *a, int64_t now_us, int64_t wall_us);

#endif
