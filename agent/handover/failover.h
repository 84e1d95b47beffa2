/* SPDX-License-Identifier: PostgreSQL */
/*
 * failover: this member becomes the primary because a DBA says so.
 *
 * It asks the primary for its word and everybody for a promise, ships what a dead primary left
 * behind, takes what any other member has and this one lacks (asking.c, tails.c), shows that this member can be promoted (prepare.c), and asks once more. Until
 * then nothing is written, and it can be cancelled: by `--cancel`, or by the end of the command that
 * asked for it; promises are given back. Then it goes through the journal's steps (steps.c): epoch
 * on disk, synchronous commit off, drain, slots, promote. It waits for states with deadlines and
 * tells the asking command every line; a step that cannot be done ends with the reason and the next
 * command, the journal stays.
 *
 * A server that was deposed or promoted by hand and takes writes, or that can replay nothing of the
 * pool any more, is reclaimed: the same, without a rescue or a drain, by an epoch that overrules the
 * present one.
 *
 * It writes the pool's journal and nothing else of what the daemon decides: the role that follows
 * from the journal is the daemon's to judge.
 */
#ifndef AGENT_HANDOVER_FAILOVER_H
#define AGENT_HANDOVER_FAILOVER_H

#include "control/control.h"
#include "handover/fetch.h"
#include "links/ask.h"
#include "links/incoming.h"
#include "links/outgoing.h"
#include "pool/tail.h"

enum failover_phase {
    FAILOVER_IDLE,
    FAILOVER_WAITING, /* for our own PostgreSQL, which may have been started a moment ago */
    FAILOVER_ASKING,
    FAILOVER_RESCUING,
    FAILOVER_PREPARING,
    FAILOVER_RUNNING, /* the journal's steps: something is spent */
};

struct failover {
    const struct who *who; /* borrowed, as these: */
    struct pool *pool;     /* who's: it has the journal */
    struct asks *asks;
    struct outgoing *out;
    struct incoming *in;
    struct control *control;
    const struct loop *loop;
    enum failover_phase phase;
    uint64_t client;  /* who gets the progress lines; 0: nobody asked */
    int64_t asker;    /* ... its process, whose Ctrl-C ends this; 0: not told */
    int64_t retry_us; /* ... and when it may be tried again */
    struct failover_wish wish;
    struct epoch against;          /* the epoch that it was asked to end */
    char former[MEMBER_NAME_SIZE]; /* ... and its primary; "": not known */
    bool resumes; /* a journal of an earlier life: its epoch is spent, nothing is promoted */
    bool entered;
    int64_t started_us, begun_us; /* the whole; the present phase or step */
    int64_t since_us;             /* ... without progress */
    bool asked_again;             /* for the rest, over a new link, since something came */
    int64_t ran_us;               /* failover_run, last; 0: not yet */
    int64_t phase_us[FAILOVER_RUNNING + 1], step_us[FAILOVER_PROMOTE + 1]; /* how long each took */
    bool loss_known;           /* all that the dead primary left behind is here */
    char loss[POOL_LOSS_SIZE]; /* as it was said */
    int64_t loss_since_us;     /* ... of pool.loss_since_us */
    int64_t loss_age_us;       /* ... how long ago that was then */
    char refusal[1024];
    bool ended;         /* the journal: what is missing is looked for, for the last line */
    bool command_asked; /* a command of this step is with PostgreSQL */
    /* asking.c: */
    bool again;                       /* once more, everything is prepared */
    int64_t asked_us, first_asked_us; /* PING is out; 0: not yet */
    bool has_word, silent;            /* the primary's word that was acted on, or its silence */
    enum pong_postgres word;
    int64_t heard_us;   /* the last that was heard before the silence */
    uint64_t session;   /* in which the rest was asked for */
    lsn_t took;         /* what the spool had when something came last */
    struct own_ask own; /* the promises that are asked for; number 0: none, or no more */
    struct {
        enum promise_word word; /* GIVE, REFUSE; else there is none yet */
        bool yields;            /* ... for who has to give way to us */
        int64_t heard_us;
        char reason[256];
    } answer[MEMBERS_MAX];         /* ... of each member of the pool's file, to the present ask */
    unsigned given;                /* ... */
    int64_t promises_us;           /* since when no other one came */
    struct fetch fetch;            /* of the rest of one of them */
    enum tail tail[MEMBERS_MAX];   /* what they had when that was judged last */
    bool tail_failed[MEMBERS_MAX]; /* it could not be got: */
    char tail_reason[MEMBERS_MAX][512];
    lsn_t left_at; /* ... where ours left that of the pool (TAIL_LEFT) */
    bool tails_said;
    /* prepare.c: */
    lsn_t target;   /* PostgreSQL has to flush all up to here */
    bool has_ready; /* what it lets the agent do is known: */
    char rights[5];
    int free_slots, free_walsenders;
    size_t next_member; /* FAILOVER_SLOTS */
    bool was_away;      /* PostgreSQL, when the steps were gone through last */
    lsn_t drain_to;
    lsn_t replayed;            /* FAILOVER_PROMOTE */
    int64_t moved_us, said_us; /* ... since when no further; of its last line */
};

void failover_init(struct failover *f, const struct who *who, struct pool *pool, struct asks *asks,
                   struct outgoing *out, struct incoming *in, struct control *control,
                   const struct loop *loop);
/* {"command": "failover", "force": bool, "dead": bool, "dry_run": bool, "cancel": bool,
 * "reclaim": bool, "pid": N}. A line {"already": true}: nothing is left to do, nobody needs to be
 * asked. A "cancel" with "pid" is Ctrl-C: it ends what that process has asked for, and no other.
 * {"command": "failover", "break_promise": MEMBER}: what this member has promised to that one. */
void failover_request(struct failover *f, uint64_t client, const json_t *request, int64_t now_us);
/* Alone: our PostgreSQL was promoted (judge_promoted), and the command or the agent ended before the
 * last line. False: it is no promotion of this pool's primary, or cannot be written down now. */
bool failover_finish(struct failover *f, int64_t now_us);
void failover_run(struct failover *f, int64_t now_us);
void failover_watch(const struct failover *f, struct loop *l);

#endif
