/* SPDX-License-Identifier: PostgreSQL */
/*
 * role: the judge. Who is the primary, what role this member has, what is wrong with the pool, and
 * whom to believe.
 *
 * Pure: facts in, decisions out. Nothing here asks PostgreSQL, a socket, a file or a clock. The
 * daemon gathers the facts, saves the pool and is the only writer of role and alarm.
 *
 * Role follows the pool's epoch (epoch.h), never the config. Where PostgreSQL's own recovery state
 * disagrees, PostgreSQL is right and the disagreement is an alarm, never silently repaired.
 */
#ifndef AGENT_POOL_ROLE_H
#define AGENT_POOL_ROLE_H

#include "pool/believe.h"
#include "pool/replay.h"

#define ALARM_MAX        512
#define FACTS_OTHERS_MAX 8

enum role {
    ROLE_UNKNOWN, /* PostgreSQL was never seen and nothing is on disk */
    ROLE_PRIMARY,
    ROLE_STANDBY,
    ROLE_PROMOTING, /* a failover to this member is under way */
    ROLE_FENCED,    /* its PostgreSQL is writable, or would be when it is started, and another
                       member is the primary */
};

const char *role_name(enum role role);

/* What is known of one member and its PostgreSQL. */
struct member_facts {
    const char *name;
    const struct told *told; /* another member's own word; NULL: none was heard */
    struct epoch claim;      /* that came with its key, and it could not be asked; number 0: none */
    const char *claim_why;   /* ... why not */
    bool seen;               /* in this life of the agent: what follows is as of the last time */
    bool up;                 /* it answers now */
    bool in_recovery;        /* false while it is not seen */
    timeline_t timeline;
    lsn_t replayed;             /* in recovery: up to here */
    timeline_t fed;             /* of the last WAL that its spool has; 0: none */
    uint64_t system_identifier; /* 0: unknown */
    /* of its data directory while it does not answer: what a start would make of it (as
     * control_file.h has it) */
    bool looked;
    bool opens_writable, ran_writable;
    timeline_t disk_timeline;
};

struct judge_facts {
    struct member_facts self;
    struct member_facts other[FACTS_OTHERS_MAX]; /* what is heard of the rest of the pool */
    size_t others;
    const char *spool, *pgdata;       /* their paths */
    uint64_t spool_system_identifier; /* 0: it belongs to no cluster yet */
    bool failover_runs;
    struct replay_word replay;
};

struct judgement {
    enum role role;
    char alarm[ALARM_MAX];   /* "" : all is well */
    bool ships;              /* a primary: all the same */
    char missing[ALARM_MAX]; /* acknowledged WAL that no PostgreSQL has; "" : none */
    timeline_t timeline;     /* the pool's, as it has to be on disk; so has: */
    bool left;               /* as pool.state has it */
};

/* Does the pool begin here and now: is this member the primary of epoch 1? */
bool judge_first(const struct pool *p, const struct member_facts *self,
                 struct epoch_origin *ret_origin);

/* What these facts make of this member. */
void judge_step(const struct pool *p, const struct judge_facts *f, struct judgement *ret_judgement);

/* Another epoch than `before` is the present one: did a DBA's word take it from this member? Then what
 * its PostgreSQL did for it is not the pool's. */
bool judge_overruled(const struct pool *p, const char *self, const struct epoch *before);

/* A rejoin or seed says that the data directory is the pool's now: may `left` be dropped, or is it
 * seen that it is not? */
bool judge_may_return(const struct pool *p, const struct member_facts *self);

/* A DBA ends a conflict: the epoch that makes `primary` the primary, over ours and all that is
 * claimed against it. 0; 1: it is ended so already, by the present epoch; or ERR_USAGE: there is none
 * to end, or it is between others. */
int judge_resolve(const struct pool *p, const struct judge_facts *f, const char *primary,
                  struct epoch_origin *ret_origin);

/* ---- a failover to this member ---- */

/* The step behind this one; FAILOVER_NONE behind the last. */
enum failover_step failover_after(enum failover_step step);

/* Where one that stood at `step` goes on: a PostgreSQL that is still in recovery may have been put
 * back since it had all. */
enum failover_step failover_from(enum failover_step step, bool in_recovery);

/*
 * May this member's server become the primary against what the pool has, by a DBA's word? One that
 * takes writes goes on as it is. One in recovery that can replay nothing of the pool any more, for it
 * has parted from it or lacks WAL that is nowhere (`lacks`), is promoted from where it stands.
 */
enum reclaim { RECLAIM_NOTHING, RECLAIM_AS_IT_IS, RECLAIM_PROMOTES };
enum reclaim judge_reclaim(enum role role, enum replay replay, bool in_recovery, bool lacks);

/* Is the failover whose journal is here a reclaim? */
bool judge_reclaims(const struct pool *p);

/* The timeline from which a failover here forks. It may be older than the primary's: that was
 * restored, and none of its WAL since came here. A reclaim's is its server's own. */
timeline_t judge_parent(const struct pool *p, timeline_t fed);

/* Was our PostgreSQL promoted by the failover whose journal is here: is only its rest to be done,
 * which needs nobody? (That its timeline forks from the parent, its history has to say, but not of a
 * reclaim.) */
bool judge_promoted(const struct pool *p, const struct member_facts *self);

/* Does it take writes on a timeline of before its failover, or would it when it is started? PostgreSQL removes standby.signal, writes
 * the new history, and only then notes the new timeline in its control file (StartupXLOG): killed in
 * between, its next start is a crash recovery that stays on the old one. */
bool judge_half_promoted(const struct pool *p, const struct member_facts *self, const char *pgdata,
                         char ret_why[ALARM_MAX]);

/*
 * What the DBA wants, and what was tried. Force overrules a refusal, never a fact. Dead: who types
 * it vouches for the death of the primary's host, so a silent one is not waited for.
 */
struct failover_wish {
    bool force, dead, dry_run;
    bool reclaim;       /* of a server that parted from the present primary (judge_reclaim) */
    uint64_t epoch;     /* the new one's number, by the DBA's word; 0: none was given */
    bool rescue_failed; /* what a dead primary left behind cannot be got */
};

/* The epoch that the failover makes. A reclaim's overrules the present one: the other members
 * believe it, whatever its timeline is. One that promotes forks where its server stands. */
void judge_epoch(const struct pool *p, const struct member_facts *self,
                 const struct failover_wish *wish, struct epoch_origin *ret_origin);

/* What is known of the primary since it was asked for its word. */
struct primary_facts {
    bool linked;   /* there is a link from its agent */
    bool unproven; /* there is one with its key, and it was not reached to ask whose it is */
    bool arrives;  /* somebody who may be it is at the door */
    bool answered; /* since it was asked, over the link, by a promise or a head without one: */
    enum pong_postgres word; /* of its PostgreSQL */
    bool rescued;            /* all that it left behind when it died is here */
    bool behind;             /* its last words wait for our disk */
    bool unheard;            /* nothing came since its silence was taken as the answer */
    int64_t asked_us;        /* since it was asked */
    int64_t quiet_us;        /* ... and nothing is heard, or there is no link */
    int64_t word_us;         /* since it has this word, and ships nothing */
    int64_t round_trip_us;   /* 0: unknown */
};

/*
 * What to do, by the primary's word:
 *   answers              refused
 *   dead                 what it left behind is shipped first; refused when that cannot be got
 *   starting, stopping,  waited for, then refused: it may be one of the others soon
 *   silent, not asked
 *   a link that comes    refused after 30 s: its agent lives
 *   and goes
 *   a link of nobody     waited for until that is known, then refused: it may be its own, and no word
 *   knows whom           of it counts; --dead goes on
 *   no agent             gone on without it: after 3 s of silence on a link, or without one after
 *                        the time that a living agent needs to dial again
 * A reclaim ships nothing: its server goes on from where it is.
 */
enum failover_answer {
    ANSWER_WAIT,
    ANSWER_REFUSE,
    ANSWER_RESCUE,
    ANSWER_GO_ON,
};
enum failover_answer judge_answer(const struct primary_facts *f, const struct failover_wish *wish);

/* A rescue: the primary's agent was asked to ship what its dead PostgreSQL left behind. */
struct rescue_facts {
    bool linked;             /* to its agent, by its own word */
    bool renewed;            /* over another connection than it was asked on */
    enum pong_postgres word; /* over this connection; UNKNOWN: none yet */
    bool ended, done;        /* it says there that it has ended, and shipped all */
    bool durable;            /* ... which is on disk here */
    int64_t stalled_us;      /* since nothing came */
};
enum rescue {
    RESCUE_WAIT,
    RESCUE_SLOW,    /* waited for, too, and told: it looks for the end of its log */
    RESCUE_ASK,     /* again, over the new connection */
    RESCUE_DONE,    /* all is here */
    RESCUE_FAILED,  /* it cannot be finished */
    RESCUE_REVIVED, /* its PostgreSQL is not dead any more */
};
enum rescue judge_rescue(const struct rescue_facts *f, const struct failover_wish *wish);

/* This member, before anything is spent. */
struct prepare_facts {
    bool asked; /* PostgreSQL has said what it lets the agent do: */
    bool may_promote, may_resume, may_reload, may_make_slots;
    int slots_lacking, walsenders_lacking; /* for the members that come back */
    bool replay_paused, synchronous;
    bool flushed;       /* it has flushed all that the spool holds */
    int64_t stalled_us; /* since it flushed no more */
};
enum prepared {
    PREPARED_NOT_YET,
    PREPARED,
    /* facts: */
    PREPARED_NO_PROMOTE,
    PREPARED_NO_RESUME,
    PREPARED_STALLED,
    /* refusals, which force overrules: */
    PREPARED_NO_RELOAD, /* every commit would wait for a standby that is gone */
    PREPARED_NO_SLOTS,  /* the others could not come back without a new copy */
    PREPARED_NO_WALSENDERS,
};
enum prepared judge_prepared(const struct prepare_facts *f, const struct failover_wish *wish);

/* ---- the concierge ---- */

struct concierge_facts {
    enum role role;
    const char *alarm;
    bool answers, in_recovery; /* PostgreSQL here */
    bool young, peer_heard;    /* the agent was just started; another member was heard of since */
};

/* Why this is not where clients should write; NULL: it is. */
const char *judge_concierge(const struct concierge_facts *f);

#endif
