/* SPDX-License-Identifier: PostgreSQL */
/*
 * What the PostgreSQL here has, against the WAL of the pool: the facts are gathered here, replay.h
 * judges them. Anew with each sample, once a second, and when a link has brought another history.
 */
#include "daemon/agent.h"

#include "base/fail.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>

#define LINE_SIZE 64 /* of a history */

static struct lineage
lineage_from(timeline_t timeline, const char *text, int got)
{
    return (struct lineage){
        .timeline = got < 0 ? 0 : timeline, .text = text, .length = got < 0 ? 0 : (size_t)got};
}

/* The history of the pool's timeline that never came here, for its WAL does not continue ours: where
 * it left the timeline before, the epoch's chain tells. */
static int
history_of_chain(const struct agent *a, timeline_t timeline, char *text, size_t size)
{
    const struct epoch_origin o = pool_origin(&a->who.pool);
    int got = o.from > 1 ? spool_history(&a->in.spool, o.from, text, size - LINE_SIZE) : 0;

    if (got < 0 || o.timeline != timeline || o.from == 0 || o.from >= timeline)
        return ERR_AGAIN;
    return got + snprintf(text + got, LINE_SIZE, "%u\t" LSN_FORMAT "\tof the chain\n", o.from,
                          LSN_ARGS(o.fork));
}

/* Of the pool: the newest timeline that this member has heard of, or has WAL of. */
static struct lineage
pool_lineage(const struct agent *a)
{
    static char text[HISTORY_BYTES_MAX + 1];
    const struct spool *spool = &a->in.spool;
    timeline_t timeline =
        a->who.pool.timeline > spool->timeline ? a->who.pool.timeline : spool->timeline;
    int got = timeline > 1 ? spool_history(spool, timeline, text, sizeof text) : 0;

    if (got < 0)
        got = history_of_chain(a, timeline, text, sizeof text);
    return lineage_from(timeline, text, got);
}

static struct lineage
own_lineage(const struct agent *a, timeline_t timeline)
{
    static char text[HISTORY_BYTES_MAX + 1];

    return lineage_from(
        timeline, text,
        timeline > 1 ? pgwal_history(a->who.self->pgdata, timeline, text, sizeof text) : 0);
}

/*
 * How far a standby has replayed, on which timeline at least. What it has asked the relay for is
 * known to be on its way, and it goes back to no earlier timeline while it is up.
 */
static struct position
find_replayed(struct agent *a, const struct postgres_sample *s)
{
    bool up = postgres_state(a->who.postgres) == POSTGRES_UP;
    struct position last = a->replayed, now = {0};
    struct relay_standby standby;

    relay_standby(&a->in.relay, &standby);
    if (s == NULL && standby.connected)
        now.lsn = standby.apply; /* it may answer no queries (hot_standby = off) */
    else if (s != NULL && s->in_recovery)
        now = (struct position){s->timeline, s->replay};
    if (standby.connected && standby.timeline > now.timeline)
        now.timeline = standby.timeline;
    if (up && a->was_up && now.lsn >= last.lsn && last.timeline > now.timeline)
        now.timeline = last.timeline;
    if (!up && s != NULL) /* the sample is the last one of that life */
        now = last;
    a->was_up = up;
    a->replayed = now;
    return now;
}

/* A standby that does not answer: what was seen of its last life may be of before standby.signal was
 * made by hand, or nothing was. Its data directory tells what it has for certain. */
static bool
is_on_disk(const struct agent *a)
{
    return a->looked && a->who.role == ROLE_STANDBY;
}

static void
find_reached(const struct agent *a, const struct postgres_sample *s, struct position reached[2])
{
    if (is_on_disk(a)) {
        reached[0] = a->start.checkpoint;
        reached[1] = a->start.recovery_end;
    } else if (s != NULL) {
        reached[0] = s->checkpoint;
        reached[1] = s->recovery_end;
    }
    reached[0].lsn += reached[0].lsn != LSN_UNKNOWN; /* where that record begins */
}

/* The last one of its timelines that is known. */
static timeline_t
own_timeline(const struct replay_facts *f, const struct postgres_sample *s)
{
    timeline_t timeline = f->reached[0].timeline;

    if (f->promoted)
        return s->timeline;
    if (f->replayed.timeline != 0)
        return f->replayed.timeline;
    return f->reached[1].timeline > timeline ? f->reached[1].timeline : timeline;
}

void
replay_look(struct agent *a)
{
    const struct postgres_sample *s = postgres_sample(a->who.postgres);
    const struct spool *spool = &a->in.spool;
    struct replay_facts f = {.pool = pool_lineage(a),
                             .promoted = s != NULL && !s->in_recovery && !is_on_disk(a),
                             .replayed = find_replayed(a, s)};

    if (!f.promoted)
        find_reached(a, s, f.reached);
    f.own = own_lineage(a, own_timeline(&f, s));
    if (spool->timeline == f.pool.timeline)
        f.held = spool->flushed;
    if (f.promoted) {
        f.inserted = s->insert;
        f.acknowledged = incoming_acknowledged(&a->in, &f.whole);
    }
    replay_judge(&f, &a->who.replay);
}
