/* SPDX-License-Identifier: PostgreSQL */
/* See compress.h. */
#include "shipper/sender/compress.h"

#include "base/fail.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct compress_job *
nth(struct compressor *c, unsigned n)
{
    return &c->job[(c->first + n) % COMPRESSOR_JOBS];
}

/* The job that gathers small pieces: behind all that were given to the workers. */
static struct compress_job *
gathering(struct compressor *c)
{
    return nth(c, c->count);
}

static void
run(struct workers_job *job)
{
    struct compress_job *j = (struct compress_job *)(void *)job;
    struct codec *codec = &j->codecs[job->worker];

    codec->level = j->level;
    j->code = frame_put_wal(&j->frame, codec, j->timeline, j->lsn, j->wal, j->n);
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
    for (unsigned i = 0; i <= WORKERS_MAX; i++)
        codec_release(&s->codec[i]);
    *s = (struct frame_cache){0};
}

static bool
same_piece(const struct compress_job *j, timeline_t timeline, lsn_t lsn, size_t n)
{
    return j->timeline == timeline && j->lsn == lsn && j->n == n;
}

/* The frame of j's WAL, byte for byte the same WAL, from the frame cache into j. */
static bool
frame_cache_take(const struct frame_cache *s, struct compress_job *j)
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

/* j's frame is sent: its buffers change places with the oldest ones of the cache. */
static void
frame_cache_put(struct frame_cache *s, struct compress_job *j)
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
        return; /* without memory nothing is kept: the cache only saves time */
    }
    s->place[at].timeline = j->timeline;
    s->place[at].lsn = j->lsn;
    s->place[at].n = j->n;
    s->place[at].wal = j->wal;
    s->place[at].frame = j->frame;
    j->wal = wal;
    j->frame = frame;
}

/* Does another link compress the same piece now? */
static bool
under_way(const struct compressor *c, const struct compress_job *j)
{
    for (unsigned i = 0; i < c->frame_cache->compressors; i++) {
        struct compressor *other = c->frame_cache->compressor[i];

        for (unsigned n = other->forgotten; other != c && n < other->count; n++)
            if (!nth(other, n)->waits && same_piece(nth(other, n), j->timeline, j->lsn, j->n))
                return true;
    }
    return false;
}

/* ---- jobs ---- */

int
compressor_init(struct compressor *c, struct workers *workers, struct frame_cache *frame_cache,
                int compression)
{
    *c = (struct compressor){
        .workers = workers, .frame_cache = frame_cache, .compression = compression};
    if (frame_cache->compressors < FRAME_CACHE_COMPRESSORS)
        frame_cache->compressor[frame_cache->compressors++] = c;
    adapt_init(&c->adapt);
    for (unsigned i = 0; i < COMPRESSOR_JOBS; i++) {
        c->job[i].job.run = run;
        c->job[i].codecs = frame_cache->codec;
        c->job[i].wal = malloc(FRAME_WAL_MAX);
        if (c->job[i].wal == NULL || buf_init(&c->job[i].frame, FRAME_BYTES_MAX) < 0)
            return fail(ERR_LOCAL, "out of memory for a link's buffers");
    }
    return 0;
}

void
compressor_release(struct compressor *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (!nth(c, i)->waits)
            workers_wait(c->workers, &nth(c, i)->job);
    for (unsigned i = 0; c->frame_cache != NULL && i < c->frame_cache->compressors; i++)
        if (c->frame_cache->compressor[i] == c)
            c->frame_cache->compressor[i] =
                c->frame_cache->compressor[--c->frame_cache->compressors];
    for (unsigned i = 0; i < COMPRESSOR_JOBS; i++) {
        free(c->job[i].wal);
        buf_release(&c->job[i].frame);
    }
    *c = (struct compressor){0};
}

void
compressor_reset(struct compressor *c)
{
    c->forgotten = c->count;
    gathering(c)->n = 0;
    adapt_rest(&c->adapt);
}

bool
compressor_wants(const struct compressor *c)
{
    return c->count + 1 + COMPRESSOR_ITEM_FRAMES <
           COMPRESSOR_JOBS; /* 1: the gathered pieces, if they make a frame of their own */
}

unsigned
compressor_frames(const struct compressor *c)
{
    return c->count - c->forgotten + (c->job[(c->first + c->count) % COMPRESSOR_JOBS].n > 0);
}

bool
compressor_empty(const struct compressor *c)
{
    return c->count == 0 && c->job[c->first].n == 0;
}

int
compressor_level(const struct compressor *c)
{
    return c->compression == COMPRESSION_AUTO ? adapt_level(&c->adapt) : c->compression;
}

/* Is compressing it here faster than handing it over? Two thread switches cost as much as 100 KB at
 * level 1. */
static bool
quick(const struct compressor *c, const struct compress_job *j)
{
    return j->n <= COMPRESSOR_AT_ONCE_BYTES ||
           (compressor_level(c) <= 1 && c->frame_cache->compressors == 1);
}

static void
prepare(struct compressor *c, struct compress_job *j)
{
    buf_clear(&j->frame);
    assert(c->count < COMPRESSOR_JOBS - 1); /* compressor_wants leaves room for one item */
    j->level = compressor_level(c);
    c->count++;
}

/* Other links ship the same WAL: take the frame from the cache, wait for it, or compress. */
static void
settle(struct compressor *c, struct compress_job *j)
{
    if (frame_cache_take(c->frame_cache, j)) {
        j->waits = false;
        j->job.done = true; /* the workers never saw it */
    } else if (!under_way(c, j)) {
        j->waits = false;
        workers_submit(c->workers, &j->job);
    }
}

static void
submit(struct compressor *c)
{
    struct compress_job *j = gathering(c);

    prepare(c, j);
    j->waits = c->frame_cache->compressors > 1;
    if (!j->waits)
        workers_submit(c->workers, &j->job);
    else
        settle(c, j);
    gathering(c)->n = 0;
}

void
compressor_wal(struct compressor *c, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;

    while (n > 0) {
        struct compress_job *j = gathering(c);
        size_t piece;

        if (j->n > 0 && (j->timeline != timeline || j->lsn + j->n != lsn)) {
            submit(c);
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
            submit(c);
    }
}

void
compressor_rest(struct compressor *c, bool busy)
{
    struct compress_job *j = gathering(c);

    if (j->n == 0 || busy)
        return;
    if (c->count > 0 || !quick(c, j)) {
        submit(c);
        return;
    }
    prepare(c, j);
    j->job.worker = WORKERS_MAX;
    run(&j->job);
    j->job.done = true; /* the workers never saw it */
    gathering(c)->n = 0;
}

int
compressor_collect(struct compressor *c, struct sender *s, bool all)
{
    while (c->count > 0) {
        struct compress_job *j = nth(c, 0);
        int code;

        if (j->waits)
            settle(c, j);
        if (all && j->waits) { /* do not wait for another link */
            j->waits = false;
            workers_submit(c->workers, &j->job);
        }
        if (j->waits)
            return 0;
        if (all)
            workers_wait(c->workers, &j->job);
        else if (!workers_done(c->workers, &j->job))
            return 0;
        c->first = (c->first + 1) % COMPRESSOR_JOBS;
        c->count--;
        if (c->forgotten > 0) {
            c->forgotten--;
            continue;
        }
        if (j->code < 0)
            return fail(j->code, "%s", j->why);
        c->wal_out += j->n;
        c->wire_out += buf_used(&j->frame);
        code = sender_wal_frame(s, j->timeline, j->lsn, j->n, buf_data(&j->frame),
                                buf_used(&j->frame));
        if (code < 0)
            return code;
        if (c->frame_cache->compressors > 1 && j->n > COMPRESSOR_AT_ONCE_BYTES)
            frame_cache_put(c->frame_cache, j);
    }
    return 0;
}

int
compressor_flush(struct compressor *c, struct sender *s)
{
    compressor_rest(c, false);
    return compressor_collect(c, s, true);
}

bool
compressor_takes(const struct compressor *c, const struct sender *s)
{
    return compressor_wants(c) && sender_wants(s, compressor_frames(c) + COMPRESSOR_ITEM_FRAMES);
}
