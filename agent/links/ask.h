/* SPDX-License-Identifier: PostgreSQL */
/*
 * ask: another member is asked what it knows of the pool, over a connection that is dialled for it.
 *
 * What such a member says is its own word, for its host key is pinned. What comes in with somebody's
 * key is only a claim: the member whose key it is is asked back. A question is a knock (frame.h):
 * POOL is its answer. One question to a member at a time, and not more than one in ASK_REST_US; in
 * ASK_HURRY_US where a promise (pool/promise.h) is at stake: while a failover here asks for one, each
 * question does; of a member that asks us for one, only this way is believed that it does.
 *
 * So is whose a session is that came in with a member's key: an answer holds for it and the later dials
 * of the same start of an agent, whose incarnations nobody else can know.
 */
#ifndef AGENT_LINKS_ASK_H
#define AGENT_LINKS_ASK_H

#include "links/who.h"

#include "base/loop.h"
#include "shipper/ssh/lane.h"

#define ASK_REST_US  (2 * SECOND_US)
#define ASK_HURRY_US (300 * MILLISECOND_US)

/* What a member holds, by the answer to the last knock that it answered. */
struct ask_held {
    bool told;
    struct position end; /* of its WAL on disk */
    struct held_wal wal; /* its history is `history` */
    char *history;
    int64_t us; /* when it was asked for: it is of then, or later */
};

/* Somebody with a member's key has said that it is the primary of an epoch. */
struct open_claim {
    struct epoch epoch; /* number 0: none that is open */
    int64_t since_us, heard_us;
};

/* Where a member stands, by the last word on it that came over the session of WAL. */
struct ask_report {
    struct member_position at; /* member "": there was none */
    int64_t us;                /* when it was so */
};

struct ask {
    struct asks *asks;
    const struct member *to;
    struct lane lane;
    bool made; /* the lane */
    enum ask_state { ASK_RESTS, ASK_DIALS, ASK_WAITS } state;
    bool wanted, hurries;
    int64_t due_us;     /* for the answer; while it rests: no question before that, or in a hurry */
    char reason[256];   /* why the last question had no answer; "": it had one, or there was none */
    int64_t begun_us;   /* the last question */
    int64_t knocked_us; /* ... when it was sent */
    bool reached;       /* its agent has answered the last question, or one before asks_anew */
    bool heard;         /* of the present answer: POOL came, */
    bool asking;        /* and that it asks for a promise */
    uint64_t held;      /* the nonce of our promise to it when it was asked */
    struct open_claim claim;
    struct told told;                      /* its own word; changes 0: none was heard */
    int64_t told_us;                       /* when */
    struct ask_report report[MEMBERS_MAX]; /* as the pool's file has them */
    struct ask_held held_wal;
    struct epoch refuted;  /* the last claim that was not its own word; number 0: a session */
    int64_t refuted_us;    /* when; 0: never */
    uint64_t session;      /* to be asked about with the next knock; 0: none */
    uint64_t about;        /* the last one that was */
    uint64_t own, foreign; /* the last ones that were, by its word; 0: none */
};

struct asks {
    const struct who *who; /* borrowed */
    struct ask ask[MEMBERS_MAX];
    size_t count;
    void (*answer)(void *context, struct told *told);
    /* What a member says of promises; NULL: it was asked since we promised, and asks for none. */
    void (*promise)(void *context, const char *member, const struct promise *promise);
    /* A member tells, in a session of its own, where members stand; NULL: nobody listens. */
    void (*news)(void *context, const char *member, const struct frame *pool);
    void *context;
};

/* `answer` is given each word of a member, in asks_run and ask_hear; `promise` in asks_run and
 * ask_promise. */
void asks_open(struct asks *a, const struct who *who,
               void (*answer)(void *context, struct told *told),
               void (*promise)(void *context, const char *member, const struct promise *promise),
               void *context);
void asks_close(struct asks *a); /* accepts a zeroed struct */
void asks_watch(const struct asks *a, struct loop *l);
void asks_run(struct asks *a, const struct loop *l, int64_t now_us);

/* Ask that member, as soon as the rest is over. */
void asks_want(struct asks *a, const char *member);
void asks_want_all(struct asks *a);
/* The same, for a promise is at stake. */
void asks_hurry(struct asks *a, const char *member);
/* What that member has or has not answered before counts no more, and a question that was begun before
 * `begun_us` is put once more; only that it could not be dialled a moment ago, by a later one, does. */
void asks_anew(struct asks *a, const char *member, int64_t begun_us, int64_t now_us);
/* The same, for somebody with its key claims to be the primary of that epoch. */
void asks_claim(struct asks *a, const char *member, const struct epoch *epoch, int64_t now_us);
/* A POOL came over a link that we dialled: a member's own word, too. `ask` is asks_of's. ask_shipped: that
 * link carries WAL: only there are reports told, and who is in none keeps the one of before. */
void ask_shipped(void *ask, const struct frame *pool);
struct ask *asks_of(struct asks *a, const char *member);
void ask_hear(void *ask, const struct frame *pool);
/* The same of a PROMISE. */
void ask_promise(void *ask, const struct frame *promise);
/* Whose is the session of that incarnation (not 0), which came with the key of `member`? It is asked
 * for as long as that is not known and somebody wants to know it. */
enum session_word asks_session(struct asks *a, const char *member, uint64_t incarnation);
/* The same, by what is known; nobody is asked. */
enum session_word asks_whose(struct asks *a, const char *member, uint64_t incarnation);
/* Somebody ships with its key who is not it. */
void asks_foreign(struct asks *a, const char *member, int64_t now_us);

/* Once a second: ask again what is open. */
void asks_keep(struct asks *a, int64_t now_us);

/* A DBA has decided about what was claimed. */
void asks_forget_claims(struct asks *a);

/* Could a claim be neither confirmed nor refuted for so long that it has to be told? */
bool ask_unconfirmed(const struct ask *q, int64_t now_us);

/* The HELLO of a knock: parts that only a session uses get values that pass the checks. */
void ask_hello(const struct config *config, const struct member *self, const struct member *to,
               struct hello *ret_hello);

#endif
