/*
 * adapt: which zstd level fits what limits a link now. Pure arithmetic.
 *
 * While there is a backlog it looks, a few times a second, who waits for whom: frames that wait for
 * the line ask for a stronger level, a line that waits for frames for a faster one. A step that did
 * not help (the line is still full and WAL got no smaller, or less WAL got through) is taken back,
 * and not tried again for a while.
 */
#ifndef SHIPPER_ADAPT_H
#define SHIPPER_ADAPT_H

#include <stdbool.h>
#include <stdint.h>

#define ADAPT_RUNGS 4

struct adapt {
    unsigned rung, before;          /* place on the ladder; where it was before the last step */
    double rate, rate_before;       /* WAL bytes a microsecond on this rung; before the step */
    double ratio, ratio_before;     /* WAL bytes per wire byte */
    int64_t closed_us[ADAPT_RUNGS]; /* not to be tried again before this */
    bool trying;                    /* the last step is not proven yet */
    bool settling;                  /* what gets through is still of the rung before */
    int64_t look_us;
    uint64_t wal_then, wire_then;
    unsigned full, empty; /* looks at the line since: frames waited for it, or it for frames */
};

void adapt_init(struct adapt *a);
int adapt_level(const struct adapt *a);

/* Once a turn while WAL is waiting to be shipped: whether frames wait for a lane, and how much WAL
 * was packed so far, into how many bytes. */
void adapt_look(struct adapt *a, bool line_full, uint64_t wal_bytes, uint64_t wire_bytes,
                int64_t now_us);

/* Nothing waits: what comes next is compared with nothing before. */
void adapt_rest(struct adapt *a);

#endif
