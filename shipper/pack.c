/* See pack.h. */
#include "shipper/pack.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pack_job *
nth(struct pack *p, unsigned n)
{
    return &p->job[(p->first + n) % PACK_JOBS];
}

/* The one that gathers: behind all that were given to the crew. */
static struct pack_job *
gathering(struct pack *p)
{
    return nth(p, p->count);
}

static void
run(struct crew_job *job)
{
    struct pack_job *j = (struct pack_job *)(void *)job;

    j->code = frame_put_wal(&j->frame, &j->codec, j->timeline, j->lsn, j->wal, j->n);
    if (j->code < 0)
        snprintf(j->why, sizeof j->why, "%s", fail_message());
}

int
pack_init(struct pack *p, struct crew *crew, int compression)
{
    *p = (struct pack){.crew = crew, .compression = compression};
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
        crew_wait(p->crew, &nth(p, i)->job);
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
    return p->count < PACK_JOBS - 2;
}

bool
pack_empty(const struct pack *p)
{
    return p->count == 0 && p->job[p->first].n == 0;
}

static void
prepare(struct pack *p, struct pack_job *j)
{
    buf_clear(&j->frame);
    j->codec.level = p->compression == COMPRESSION_AUTO ? adapt_level(&p->adapt) : p->compression;
    p->count++;
}

static void
submit(struct pack *p)
{
    struct pack_job *j = gathering(p);

    prepare(p, j);
    crew_submit(p->crew, &j->job);
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
        piece = FRAME_WAL_MAX - j->n < n ? FRAME_WAL_MAX - j->n : n;
        memcpy(j->wal + j->n, at, piece);
        j->n += piece;
        at += piece;
        lsn += piece;
        n -= piece;
        if (j->n == FRAME_WAL_MAX)
            submit(p);
    }
}

void
pack_rest(struct pack *p, bool busy)
{
    struct pack_job *j = gathering(p);

    if (j->n == 0 || busy)
        return;
    if (p->count > 0 || j->n > PACK_AT_ONCE_BYTES) {
        submit(p);
        return;
    }
    prepare(p, j);
    run(&j->job);
    j->job.done = true; /* the crew never saw it */
    gathering(p)->n = 0;
}

void
pack_look(struct pack *p, bool waiting, bool line_full, int64_t now_us)
{
    if (waiting || line_full)
        adapt_look(&p->adapt, line_full, p->wal_out, p->wire_out, now_us);
    else
        adapt_rest(&p->adapt);
}

int
pack_collect(struct pack *p, struct sender *s, bool all)
{
    while (p->count > 0) {
        struct pack_job *j = nth(p, 0);

        if (all)
            crew_wait(p->crew, &j->job);
        else if (!crew_done(p->crew, &j->job))
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
        if (sender_packed(s, j->timeline, j->lsn, j->n, buf_data(&j->frame), buf_used(&j->frame)) <
            0)
            return ERR_LOCAL;
    }
    return 0;
}
