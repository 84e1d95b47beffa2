/* SPDX-License-Identifier: PostgreSQL */
/*
 * promise: a member's word to a failover elsewhere, before that spends an epoch. Pure, as role.h is:
 * may it be given here, and does who asks for it have enough?
 *
 * It is given to (number, asker), stands in pool.state, and binds: no WAL of a lower epoch is taken
 * or read from our server, nobody else is promised, no failover begins here unforced. It ends with
 * that epoch or a higher one, when its asker says that it asks no more, or by a DBA's word.
 */
#ifndef AGENT_POOL_PROMISE_H
#define AGENT_POOL_PROMISE_H

#include "pool/epoch.h"
#include "pool/role.h"

/* What a failover here asks of the others. */
struct own_ask {
    struct promise promise; /* number 0: nothing */
    bool forced;
};

/* ---- who is asked ---- */

struct promise_facts {
    const struct own_ask *own;
    enum pong_postgres postgres; /* ours: of interest when this member is the primary */
    bool writable;               /* ... and takes writes */
    /* what comes from the primary, by its agent: */
    bool fed;     /* a server that answers */
    bool doubted; /* the link is up, the server neither answers nor is dead */
};

/* Of two that ask for the same, the one with the lower name gives way, unless a DBA forced it. Who has
 * the epoch already, and is not promoted yet, asks for it again after a restart. */
enum promise_verdict {
    PROMISE_YES,
    PROMISE_NO,    /* for the reason that is told */
    PROMISE_LATER, /* not answered: it starts, stops, promotes, or knows no epoch yet: not for long */
};
enum promise_verdict judge_promise(const struct pool *p, const char *self,
                                   const struct promise_facts *f, const struct promise *ask,
                                   char ret_reason[FRAME_REASON_MAX]);

/* ---- who asks ---- */

struct asked_member {
    bool primary;         /* of the present epoch */
    bool linked;          /* ... and its link is up, and not silent */
    bool given, refused;  /* its answer to this ask */
    bool yields;          /* ... for it has promised one that asks, too, and has to give way */
    bool reached, failed; /* without a link: has its agent spoken, or can it not be dialled? */
    int64_t dials_us;     /* since it is dialled, and has not spoken */
    int64_t asked_us;     /* since its answer is waited for, and another one has promised */
    int64_t refused_us;   /* ... until it refused, the last time */
};

/* Everybody has to promise. Only a primary that cannot be dialled does not: where --dead vouches for
 * its death, or there is nobody else to ask. One that refuses is asked again, and is believed when it
 * does so 3 s later: what it knew may be from before the primary died; one that has promised who gives
 * way is waited for until that is given back. Force overrules what is not promised. */
enum asked_verdict { ASKED_MEMBER_WAITS, ASKED_MEMBER_GOOD, ASKED_MEMBER_LACKS };
enum asked_verdict judge_asked(const struct asked_member *m, size_t members,
                               const struct failover_wish *wish);

#endif
