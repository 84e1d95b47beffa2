/* SPDX-License-Identifier: PostgreSQL */
/*
 * adapt: the zstd level for whatever limits a link now. Pure arithmetic: facts in, a level out.
 *
 * During a backlog a few looks a second tell what the WAL waits for. A full line (frames wait for a
 * lane, the far side waits for frames) asks for a stronger level. WAL that waits for compression
 * asks for a faster level. Any other limit (the far side is slow, the server is slow, all share a
 * processor) is not cured by a level: the choice goes back to level 1, which costs little.
 *
 * Every step has to pay, in WAL that the far side has acknowledged: a stronger level by half of the
 * gain that its ratio promises, a level faster than 1 by anything; the way back to level 1 must not
 * lose what a full line gave. One look judges a step. A step that did not pay is taken back and not
 * tried again for a while; a step that paid is doubted after some seconds: a look may be wrong, and
 * the limit of a link changes.
 */
#ifndef SENDER_ADAPT_H
#define SENDER_ADAPT_H

#include <stdbool.h>
#include <stdint.h>

#define ADAPT_LEVELS 4

struct adapt_facts {
    bool backlog;             /* more WAL waits to be compressed than our own buffers hold */
    bool frames_wait;         /* for a lane */
    bool wal_waits;           /* to be compressed */
    bool far_busy;            /* the far side has more than it takes */
    uint64_t wal_compressed;  /* so far: bytes of WAL, */
    uint64_t wire_compressed; /* the bytes of frames made of them, */
    uint64_t wire_taken;      /* and the bytes of frames acknowledged by the far side */
};

enum adapt_limit { ADAPT_LINE, ADAPT_COMPRESSION, ADAPT_OTHER, ADAPT_MIXED };

struct adapt {
    unsigned rung, before;      /* the level, as an index in adapt.c's list; before the last step */
    double rate, rate_before;   /* WAL bytes a microsecond at this level; before the step */
    double ratio, ratio_before; /* WAL bytes per byte of frames */
    struct {
        int64_t until_us;       /* not to be tried again before this */
        double rate;            /* of the level that was better */
        enum adapt_limit limit; /* the reason for the step */
    } closed[ADAPT_LEVELS];
    enum adapt_limit reason;       /* for the last step */
    bool trying;                   /* the last step is not proven yet */
    bool settling;                 /* the frames under way are still of the level before */
    bool filled;                   /* frames have waited for a lane during this backlog */
    int64_t look_us;               /* when this look began; 0: there is none */
    struct adapt_facts then;       /* the facts at its beginning */
    enum adapt_limit limit;        /* in the last turn, */
    int64_t limit_us;              /* which was at this time */
    int64_t spent_us[ADAPT_MIXED]; /* how long each was the limit in this look */
};

void adapt_init(struct adapt *a);
int adapt_level(const struct adapt *a);

/* Once a turn. */
void adapt_look(struct adapt *a, const struct adapt_facts *f, int64_t now_us);

/* Nothing can be judged now: an unproven stronger level is given up. */
void adapt_rest(struct adapt *a);

#endif
