/* SPDX-License-Identifier: PostgreSQL */
/* See replay.h. */
#include "pool/replay.h"

/* Of both, the lineage that a position here lies on. */
static const struct lineage *
lineage_of(const struct replay_facts *f, struct position at)
{
    return lineage_has(&f->own, at.timeline) ? &f->own : &f->pool;
}

static enum position_order
beside_pool(const struct replay_facts *f, struct position at, struct position *ret_fork)
{
    const struct position pool = {.timeline = f->pool.timeline, .lsn = f->held};

    return lineage_order(&f->pool, pool, lineage_of(f, at), at, ret_fork);
}

/*
 * The control file's positions are certain. What was replayed since may be on a later timeline than
 * the one that is known: behind that one's end it proves nothing.
 */
static void
judge_standby(const struct replay_facts *f, struct replay_word *w)
{
    for (size_t i = 0; i < sizeof f->reached / sizeof *f->reached; i++) {
        w->at = f->reached[i];
        if (w->at.lsn == LSN_UNKNOWN || beside_pool(f, w->at, &w->fork) != POSITION_APART ||
            w->fork.timeline == 0)
            continue;
        w->replay = REPLAY_FORKED;
        return;
    }
    w->at = f->replayed;
    if (w->at.lsn == LSN_UNKNOWN)
        return;
    if (beside_pool(f, w->at, &w->fork) != POSITION_APART) {
        if (lineage_has(&f->pool, w->at.timeline))
            w->replay = REPLAY_FOLLOWS;
    } else if (w->fork.timeline != 0 && w->fork.timeline != w->at.timeline) {
        w->replay = REPLAY_FORKED;
    }
}

static void
judge_promoted(const struct replay_facts *f, struct replay_word *w)
{
    const struct position mine = {.timeline = f->own.timeline, .lsn = f->inserted};

    w->at = f->acknowledged;
    if (mine.timeline == 0 || w->at.timeline == 0)
        return;
    w->keep_from = UINT64_MAX;
    if (lineage_order(lineage_of(f, w->at), w->at, &f->own, mine, &w->fork) != POSITION_APART)
        return;
    w->keep_from = w->fork.lsn;
    w->unsure = !f->whole && w->fork.timeline == w->at.timeline;
    w->missing = !w->unsure;
}

void
replay_judge(const struct replay_facts *f, struct replay_word *ret_word)
{
    *ret_word = (struct replay_word){.replay = REPLAY_UNKNOWN};
    if (f->promoted)
        judge_promoted(f, ret_word);
    else if (f->pool.timeline != 0)
        judge_standby(f, ret_word);
    if (ret_word->replay == REPLAY_FOLLOWS)
        ret_word->keep_from = UINT64_MAX;
}
