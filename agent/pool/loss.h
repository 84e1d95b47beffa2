/* SPDX-License-Identifier: PostgreSQL */
/*
 * loss: what the end of a primary would cost, or has cost. The only place that works it out. Pure.
 *
 * In: what is known of the commits of one primary that one member has on disk. Out: none; at most
 * those since a moment; all; or unknown, and why. `walferry failover`, its receipt, status, metrics
 * and the page tell this: as exposure the age of that moment.
 *
 * Only what was compared counts. The rest is unknown, never none.
 */
#ifndef AGENT_POOL_LOSS_H
#define AGENT_POOL_LOSS_H

#include "pool/epoch.h"
#include "shipper/wal/timeline.h"

struct loss_facts {
    const char *primary; /* whose commits; "": nobody was heard of yet */
    const char *holder;  /* who has them; NULL: this member */
    bool lacks;          /* its PostgreSQL lacks WAL from before them */
    /* the newest beacon that the holder's disk covers, and one that it covered until its WAL became
     * less; lsn 0: none */
    struct beacon covered, before;
    bool clock_known;
    int64_t primary_us; /* the primary's monotonic clock now */
    bool unproven;      /* they came from somebody with its key, whom nobody has confirmed */
    bool older;         /* the primary was restored to an older state than the holder has */
    bool rescued;       /* its PostgreSQL is dead, and all that it had was compared and is there */
    int64_t rescued_us; /* ... by a word of this age */
    bool compared;      /* the holder's WAL with the primary's, in the last session */
    lsn_t end, durable; /* of the primary's WAL, of the holder's; LSN_UNKNOWN: unknown */
    const char
        *unread; /* who may have more, and was not read; NULL or "": nobody, or of no matter */
    uint64_t reclaims;    /* the holder's server goes on against this epoch of the primary; 0: no */
    struct position from; /* ... and has nothing of the pool behind here; LSN 0: not known */
};

enum loss_kind {
    LOSS_UNKNOWN,
    LOSS_NONE,
    LOSS_AT_MOST, /* what was committed since a moment */
    LOSS_ALL,     /* that was committed in an epoch, or behind a position */
};

enum loss_why {
    LOSS_WHY_ROLE, /* this member neither ships nor receives */
    LOSS_WHY_NOBODY,
    LOSS_WHY_LACKS,
    LOSS_WHY_WENT_BACK,
    LOSS_WHY_NOT_COMPARED,
    LOSS_WHY_UNPROVEN,
    LOSS_WHY_CLOCK,
};

#define LOSS_UNREAD_SIZE 200 /* of their names */

/* A zeroed one: unknown, for this member's role has nothing to tell. */
struct loss {
    enum loss_kind kind;
    enum loss_why why;                     /* LOSS_UNKNOWN */
    const char *primary, *holder, *unread; /* as in the facts, borrowed */
    int64_t age_us;                        /* of the moment; LOSS_NONE: of the word that says so */
    int64_t since_us; /* LOSS_AT_MOST: the moment, by the primary's wall clock */
    bool bytes_known;
    uint64_t bytes;       /* of WAL, by the primary's last word */
    bool older;           /* LOSS_AT_MOST */
    uint64_t epoch;       /* LOSS_ALL */
    struct position from; /* LOSS_ALL: LSN 0: of the epoch; else what came behind this */
};

void loss_judge(const struct loss_facts *f, struct loss *ret_loss);

/* Does `a` cost less than `b`, as far as is known? */
bool loss_less(const struct loss *a, const struct loss *b);

/* Is its age known? */
bool loss_known(const struct loss *l);

const char *loss_kind_name(enum loss_kind kind);

/* In words, as "none; everything that dc1-a had in pg_wal is here". */
const char *loss_text(const struct loss *l, char out[POOL_LOSS_SIZE]);

#endif
