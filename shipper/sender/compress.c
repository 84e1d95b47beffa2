/* See compress.h. */
#include "shipper/sender/compress.h"

#include "base/fail.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pack_job *
nth(struct pack *p, unsigned n)
{
    return &p->job[(p->first + n) % PACK_JOBS];
}

/* The one that gathers: behind all that were given to the workers. */
static struct pack_job *
gathering(struct pack *p)
{
    return nth(p, p->count);
}

static void
run(struct workers_job *job)
{
    struct pack_job *j = (struct pack_job *)(void *)job;

    j->code = frame_put_wal(&j->frame, &j->codec, j->timeline, j->lsn, j->wal, j->n);
    if (j->code < 0)
        snprintf(j->why, sizeof j->why, "%s", fail_message());
}

/* ---- the frame cache ---- */

void
frame_cache_release(struct frame_cache *s)
{
    for (unsigned i = 0; i < FRAME_CACHE_PLACES; i++) {
        free(s->place[i].wal);
        buf_release(&s->place[i].frame);
    }
    *s = (struct frame_cache){0};
}

static bool
same_piece(const struct pack_job *j, timeline_t timeline, lsn_t lsn, size_t n)
{
    return j->timeline == timeline && j->lsn == lsn && j->n == n;
}

/* The frame of j's WAL, byte for byte the same WAL, from the frame cache into j. */
static bool
frame_cache_take(const struct frame_cache *s, struct pack_job *j)
{
    for (unsigned i = 0; i < FRAME_CACHE_PLACES; i++) {
        const struct buf *frame = &s->place[i].frame;

        if (!same_piece(j, s->place[i].timeline, s->place[i].lsn, s->place[i].n) ||
            memcmp(s->place[i].wal, j->wal, j->n) != 0)
            continue;
        buf_clear(&j->frame);
        buf_reserve(&j->frame, buf_used(frame));
        buf_put_bytes(&j->frame, buf_data(frame), buf_used(frame));
        j->code = 0;
        return true;
    }
    return false;
}

/* j is done with: its buffers change places with the oldest ones here. */
static void
frame_cache_put(struct frame_cache *s, struct pack_job *j)
{
    unsigned at = s->next++ % FRAME_CACHE_PLACES;
    uint8_t *wal = s->place[at].wal;
    struct buf frame = s->place[at].frame;

    if (wal == NULL)
        wal = malloc(FRAME_WAL_MAX);
    if (wal == NULL || (frame.bytes == NULL && buf_init(&frame, FRAME_BYTES_MAX) < 0)) {
        free(wal);
        s->place[at].wal = NULL;
        s->place[at].n = 0;
        return; /* it only saves time */
    }
    s->place[at].timeline = j->timeline;
    s->place[at].lsn = j->lsn;
    s->place[at].n = j->n;
    s->place[at].wal = j->wal;
    s->place[at].frame = j->frame;
    j->wal = wal;
    j->frame = frame;
}

/* Is the same piece on its way to the frame cache? */
static bool
under_way(const struct pack *p, const struct pack_job *j)
{
    for (unsigned i = 0; i < p->frame_cache->packs; i++) {
        struct pack *other = p->frame_cache->pack[i];

        for (unsigned n = other->forgotten; other != p && n < other->count; n++)
            if (!nth(other, n)->waits && same_piece(nth(other, n), j->timeline, j->lsn, j->n))
                return true;
    }
    return false;
}

/* ---- packing ---- */

int
pack_init(struct pack *p, struct workers *workers, struct frame_cache *frame_cache, int compression)
{
    *p = (struct pack){.workers = workers, .frame_cache = frame_cache, .compression = compression};
    if (frame_cache->packs < FRAME_CACHE_PACKS)
        frame_cache->pack[frame_cache->packs++] = p;
    adapt_init(&p->adapt);
    for (unsigned i = 0; i < PACK_JOBS; i++) {
        p->job[i].job.run = run;
        p->job[i].wal = malloc(FRAME_WAL_MAX);
        if (p->job[i].wal == NULL || buf_init(&p->job[i].frame, FRAME_BYTES_MAX) < 0)
            return fail(ERR_LOCAL, "out of memory for a link's buffers");
    }
    return 0;
}

void
pack_release(struct pack *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (!nth(p, i)->waits)
            workers_wait(p->workers, &nth(p, i)->job);
    for (unsigned i = 0; p->frame_cache != NULL && i < p->frame_cache->packs; i++)
        if (p->frame_cache->pack[i] == p)
            p->frame_cache->pack[i] = p->frame_cache->pack[--p->frame_cache->packs];
    for (unsigned i = 0; i < PACK_JOBS; i++) {
        free(p->job[i].wal);
        buf_release(&p->job[i].frame);
        codec_release(&p->job[i].codec);
    }
    *p = (struct pack){0};
}

void
pack_reset(struct pack *p)
{
    p->forgotten = p->count;
    gathering(p)->n = 0;
    adapt_rest(&p->adapt);
}

bool
pack_wants(const struct pack *p)
{
    return p->count + 1 + PACK_ITEM_FRAMES < PACK_JOBS; /* 1: what was gathered, if it goes alone */
}

unsigned
pack_frames(const struct pack *p)
{
    return p->count - p->forgotten + (p->job[(p->first + p->count) % PACK_JOBS].n > 0);
}

bool
pack_empty(const struct pack *p)
{
    return p->count == 0 && p->job[p->first].n == 0;
}

static int
level(const struct pack *p)
{
    return p->compression == COMPRESSION_AUTO ? adapt_level(&p->adapt) : p->compression;
}

/* Sooner packed than handed over: what a thread's getting up costs, twice, is 100 KB of level 1. */
static bool
quick(const struct pack *p, const struct pack_job *j)
{
    return j->n <= PACK_AT_ONCE_BYTES || (level(p) <= 1 && p->frame_cache->packs == 1);
}

static void
prepare(struct pack *p, struct pack_job *j)
{
    buf_clear(&j->frame);
    assert(p->count < PACK_JOBS - 1); /* pack_wants leaves room for what one item can fill */
    j->codec.level = level(p);
    p->count++;
}

/* With others that ship the same WAL: from the frame cache, or wait for it, or do it. */
static void
settle(struct pack *p, struct pack_job *j)
{
    if (frame_cache_take(p->frame_cache, j)) {
        j->waits = false;
        j->job.done = true; /* the workers never saw it */
    } else if (!under_way(p, j)) {
        j->waits = false;
        workers_submit(p->workers, &j->job);
    }
}

static void
submit(struct pack *p)
{
    struct pack_job *j = gathering(p);

    prepare(p, j);
    j->waits = p->frame_cache->packs > 1;
    if (!j->waits)
        workers_submit(p->workers, &j->job);
    else
        settle(p, j);
    gathering(p)->n = 0;
}

void
pack_wal(struct pack *p, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    while (n > 0) {
        struct pack_job *j = gathering(p);
        size_t piece;

        if (j->n > 0 && (j->timeline != timeline || j->lsn + j->n != lsn)) {
            submit(p);
            continue;
        }
        if (j->n == 0) {
            j->timeline = timeline;
            j->lsn = lsn;
        }
        piece = FRAME_WAL_MAX - (size_t)(lsn % FRAME_WAL_MAX);
        if (piece > n)
            piece = n;
        memcpy(j->wal + j->n, at, piece);
        j->n += piece;
        at += piece;
        lsn += piece;
        n -= piece;
        if (lsn % FRAME_WAL_MAX == 0)
            submit(p);
    }
}

void
pack_rest(struct pack *p, bool busy)
{
    struct pack_job *j = gathering(p);

    if (j->n == 0 || busy)
        return;
    if (p->count > 0 || !quick(p, j)) {
        submit(p);
        return;
    }
    prepare(p, j);
    run(&j->job);
    j->job.done = true; /* the workers never saw it */
    gathering(p)->n = 0;
}

int
pack_collect(struct pack *p, struct sender *s, bool all)
{
    while (p->count > 0) {
        struct pack_job *j = nth(p, 0);
        int code;

        if (j->waits)
            settle(p, j);
        if (all && j->waits) { /* not for others */
            j->waits = false;
            workers_submit(p->workers, &j->job);
        }
        if (j->waits)
            return 0;
        if (all)
            workers_wait(p->workers, &j->job);
        else if (!workers_done(p->workers, &j->job))
            return 0;
        p->first = (p->first + 1) % PACK_JOBS;
        p->count--;
        if (p->forgotten > 0) {
            p->forgotten--;
            continue;
        }
        if (j->code < 0)
            return fail(j->code, "%s", j->why);
        p->wal_out += j->n;
        p->wire_out += buf_used(&j->frame);
        code =
            sender_packed(s, j->timeline, j->lsn, j->n, buf_data(&j->frame), buf_used(&j->frame));
        if (code < 0)
            return code;
        if (p->frame_cache->packs > 1 && j->n > PACK_AT_ONCE_BYTES)
            frame_cache_put(p->frame_cache, j);
    }
    return 0;
}
