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

#include "pool/epoch.h"

#define ALARM_MAX        512
#define FACTS_OTHERS_MAX 8

enum role {
    ROLE_UNKNOWN, /* PostgreSQL was never seen and nothing is on disk */
    ROLE_PRIMARY,
    ROLE_STANDBY,
    ROLE_PROMOTING, /* a failover to this member is under way */
    ROLE_FENCED,    /* deposed: its PostgreSQL is writable, another member is the primary */
};

const char *role_name(enum role role);

/* What is known of one member and its PostgreSQL. */
struct member_facts {
    const char *name;
    struct epoch claim; /* what it is said to be the primary of, against the pool; number 0: none */
    bool seen;          /* in this life of the agent: what follows is as of the last time */
    bool up;            /* it answers now */
    bool in_recovery;   /* false while it is not seen */
    timeline_t timeline;
    uint64_t system_identifier; /* 0: unknown */
};

struct judge_facts {
    struct member_facts self;
    struct member_facts other[FACTS_OTHERS_MAX]; /* what is heard of the rest of the pool */
    size_t others;
    const char *spool;                /* its path */
    uint64_t spool_system_identifier; /* 0: it belongs to no cluster yet */
    bool failover_runs;
};

struct judgement {
    enum role role;
    char alarm[ALARM_MAX]; /* "" : all is well */
    timeline_t timeline;   /* the pool's, as it has to be on disk */
};

/* Does the pool begin here and now: is this member the primary of epoch 1? */
bool judge_first(const struct pool *p, const struct member_facts *self,
                 struct epoch_origin *ret_origin);

/* What these facts make of this member. */
void judge_step(const struct pool *p, const struct judge_facts *f, struct judgement *ret_judgement);

/* What another member tells of an epoch. */
enum news {
    NEWS_NONE,       /* the pool knows as much, or more */
    NEWS_RIVAL,      /* of our epoch number, with another primary */
    NEWS_UNBELIEVED, /* a higher one whose timeline does not come after ours */
    NEWS_EPOCH,      /* a higher one: to be adopted */
};
enum news judge_news(const struct pool *p, const struct epoch_origin *told);

/* The far side's claim to be the primary, as HELLO has it. CLAIM_REFUSED: with what to answer. */
enum claim {
    CLAIM_GOOD,
    CLAIM_HIGHER, /* good once the pool has adopted its epoch: judge_news */
    CLAIM_REFUSED,
};
enum claim judge_claim(const struct pool *p, const char *from, const struct epoch *epoch,
                       enum refuse_kind *ret_kind, char ret_reason[FRAME_REASON_MAX]);

/* ---- a failover to this member ---- */

/* The step behind this one; FAILOVER_NONE behind the last. */
enum failover_step failover_after(enum failover_step step);

/* What the DBA wants, and what was tried. */
struct failover_wish {
    bool force, dry_run;
    bool rescue_failed; /* the rest of a dead primary's WAL cannot be got */
};

/* What to do about the primary's PostgreSQL, by what its agent says of it now. */
enum failover_answer {
    ANSWER_WAIT,   /* nothing was said */
    ANSWER_REFUSE, /* it serves clients */
    ANSWER_RESCUE, /* it is dead: what it left behind is shipped first */
    ANSWER_GO_ON,
};
enum failover_answer judge_answer(enum pong_postgres word, const struct failover_wish *wish);

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
