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
#include "links/ask.h"
#include "links/incoming.h"
#include "links/outgoing.h"
#include "links/quiet.h"
#include "monitor/conditions.h"
#include "pool/known.h"
#include "postgres/control_file.h"
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
    char text[MEMBERS_MAX * LAG_RECORD_MAX];
    size_t length;
};

/* What the primary has seen of the others, in its epoch. */
struct route_watch {
    struct epoch epoch; /* number 0: this member is not the primary */
    int64_t since_us;
    int64_t told_us; /* when the table was told last, */
    uint64_t told;   /* and its number */
    struct progress_seen {
        lsn_t received, compared;
        int64_t covered_us; /* the beacon that this covers */
        int64_t us;         /* when it came to be so */
    } seen[MEMBERS_MAX];    /* as the pool's file has them */
    struct route_seen {
        int64_t since_us; /* what the table says of its way, by a wall clock */
        int64_t us;       /* when it came to be said */
    } way[MEMBERS_MAX];
    int64_t talked_us[MEMBERS_MAX]; /* in a quiet session, while this member did not feed it */
};

struct agent {
    struct who who;           /* role and alarm: agent.c is their only writer */
    struct judge_facts facts; /* ... of the last turn */
    struct asks asks;         /* the other members' own words, which are facts, too */
    bool running;             /* everything was opened */
    bool looked;              /* while PostgreSQL does not answer: `start` is known */
    struct control_start start;
    bool left_unsaved;        /* pool.state could not be written when PostgreSQL left the pool */
    struct position replayed; /* replay.c: by our standby ... */
    bool was_up;              /* ... which was up then */
    struct loop loop;
    struct codec *codec; /* the links' and the receiver's */
    struct incoming in;
    struct outgoing out;
    struct known known; /* of all members, to be shown */
    unsigned news_turn; /* over links */
    struct quiets quiets;
    struct outbox outbox;
    struct gaps gaps; /* WAL that other members lack */
    struct backfill backfill;
    struct disk_guard guard;
    struct tunnel tunnel;
    struct failover failover;
    struct route_watch routes;
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
    bool unsaved;          /* the pool could not be changed the last time, */
    int64_t save_us;       /* and the judge does not try it before that */
};

/* requests.c: what is asked over the control socket. */
void requests_run(struct agent *a, int64_t now_us);

/* facts.c: what the rooms know, for the judge. */
struct judge_facts facts_gather(const struct agent *a, int64_t now_us);

/* routes.c: who feeds whom. routes_keep, once a second: the primary judges it anew and tells it;
 * routes_hear: another member tells a table; routes_pin: a DBA's word,
 * member NULL: all. 0; 1: nothing changes; or the error. */
void routes_keep(struct agent *a, int64_t now_us, int64_t wall_us);
void routes_hear(struct agent *a, const struct routes *told);
int routes_pin(struct agent *a, const struct member *member, bool pinned);

/* replay.c: judges anew what the PostgreSQL here has, for who.replay. */
void replay_look(struct agent *a);

/* promise.c: what other members say of promises (asks_open has the shape), the primary over its
 * link. */
void promise_hear(void *agent, const char *member, const struct promise *promise);
void promise_answered(void *agent, const struct frame *f);

/* news.c: where members stand, heard and told. news_open lets the rooms know; news_run is once a second. */
void news_open(struct agent *a);
void news_run(struct agent *a);
void news_received(struct agent *a, const struct frame *pool); /* over the link that comes in */

/* upkeep.c: what has to be done once a second; upkeep_open takes what an earlier life has left,
 * upkeep_look looks what a start would make of a PostgreSQL that does not answer. */
void upkeep_look(struct agent *a);
void upkeep_open(struct agent *a);
void upkeep_run(struct agent *a, int64_t now_us, int64_t wall_us);

#endif
