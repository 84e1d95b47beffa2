/*
 * adapt: which zstd level fits what limits a link now. Pure arithmetic: facts in, a level out.
 *
 * While there is a backlog it looks, a few times a second, what the WAL waits for. A full line asks
 * for a stronger level: frames wait for it, and the far side waits for frames. WAL that waits to be
 * packed asks for a faster one. For all else (the far side has more than it takes, the server gives
 * too little, all of them share a processor) no level is the cure: it goes back to level 1, which
 * costs little.
 *
 * Whatever a step is for, it has to pay, in WAL that the far side has acknowledged: a stronger
 * level by half of what its ratio promises, one faster than level 1 by anything; the way back to
 * level 1 must not lose what a full line gave. One look tells. A step that did not pay is taken
 * back and not tried again for a while, and one that did is doubted after some seconds: a look may
 * be wrong, and what limits a link changes.
 */
#ifndef SHIPPER_SENDER_ADAPT_H
#define SHIPPER_SENDER_ADAPT_H

#include <stdbool.h>
#include <stdint.h>

#define ADAPT_RUNGS 4

struct adapt_facts {
    bool backlog;         /* there is WAL that was not packed yet, more than what is in our hands */
    bool frames_wait;     /* for a lane */
    bool wal_waits;       /* to be packed */
    bool far_busy;        /* the far side has more than it takes */
    uint64_t wal_packed;  /* so far: bytes of WAL ... */
    uint64_t wire_packed; /* ... into so many of frames */
    uint64_t wire_taken;  /* so many of them did the far side acknowledge */
};

enum adapt_limit { ADAPT_LINE, ADAPT_PACKING, ADAPT_OTHER, ADAPT_MIXED };

struct adapt {
    unsigned rung, before;      /* place on the backfill; where it was before the last step */
    double rate, rate_before;   /* WAL bytes a microsecond on this rung; before the step */
    double ratio, ratio_before; /* WAL bytes per wire byte */
    struct {
        int64_t until_us;       /* not to be tried again before this */
        double rate;            /* of the rung that was better */
        enum adapt_limit limit; /* that had led to the step */
    } closed[ADAPT_RUNGS];
    enum adapt_limit reason;       /* for the last step */
    bool trying;                   /* the last step is not proven yet */
    bool settling;                 /* what gets through is still of the rung before */
    bool filled;                   /* frames have waited for a lane, since there is a backlog */
    int64_t look_us;               /* when this look began; 0: nothing is looked at */
    struct adapt_facts then;       /* its beginning */
    enum adapt_limit limit;        /* as of the last turn, */
    int64_t limit_us;              /* that is this one */
    int64_t spent_us[ADAPT_MIXED]; /* so long of this look was each the limit */
};

void adapt_init(struct adapt *a);
int adapt_level(const struct adapt *a);

/* Once a turn. */
void adapt_look(struct adapt *a, const struct adapt_facts *f, int64_t now_us);

/* Nothing can be judged now; a stronger level that was not proven is left. */
void adapt_rest(struct adapt *a);

#endif
