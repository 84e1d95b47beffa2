/* SPDX-License-Identifier: PostgreSQL */
/* See proof.h. */
#include "retention/proof.h"

#include "base/durable.h"
#include "base/fail.h"

#include <fcntl.h>

#define HELD        "held"
#define CHUNK_BYTES (128u << 10)
#define PUNCH_BYTES (UINT64_C(16) << 20)

void
proof_release(struct proof *p)
{
    if (p->open)
        durable_close(p->fd);
    *p = (struct proof){0};
}

int
proof_begin(struct proof *p, const struct spool *s, timeline_t timeline, lsn_t start)
{
    if (!p->open && (durable_open(s->dir, HELD, DURABLE_CREATE, &p->fd) < 0 ||
                     durable_unlink(s->dir, HELD) < 0))
        return fail_sys(ERR_LOCAL, "cannot make %s/" HELD, s->path);
    p->open = true;
    if (durable_truncate(p->fd, 0) < 0)
        return fail_sys(ERR_LOCAL, "cannot empty %s/" HELD, s->path);
    records_begin(&p->records, s->identity.segment_bytes, timeline, s->identity.system_identifier,
                  start);
    p->base = p->poured = start;
    return 0;
}

void
proof_drop(struct proof *p)
{
    p->records = (struct records){0};
    p->base = p->poured = LSN_UNKNOWN;
    if (p->open)
        durable_truncate(p->fd, 0);
}

lsn_t
proof_next(const struct proof *p)
{
    return p->records.at;
}

void
proof_trust(struct proof *p)
{
    p->records.whole = p->records.at;
}

/* Up to here it is in the spool: blocks of the file go back to the file system, where they can. */
static void
move_on(struct proof *p, lsn_t upto)
{
    bool due = (upto - p->base) / PUNCH_BYTES > (p->poured - p->base) / PUNCH_BYTES;

    p->poured = upto;
    if (due)
        fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)(upto - p->base));
}

int
proof_pour(struct proof *p, struct spool *s, int64_t now_us)
{
    static uint8_t bytes[CHUNK_BYTES];
    const struct records *r = &p->records;
    lsn_t upto = r->whole < r->at ? r->whole : r->at;

    while (p->poured < upto) {
        size_t n = upto - p->poured < sizeof bytes ? (size_t)(upto - p->poured) : sizeof bytes;
        int code;

        if (durable_read(p->fd, bytes, n, p->poured - p->base) != (ssize_t)n)
            return fail_sys(ERR_LOCAL, "cannot read %s/" HELD, s->path);
        code = spool_append(s, r->timeline, p->poured, bytes, n, now_us);
        if (code < 0)
            return code;
        move_on(p, p->poured + n);
    }
    return 0;
}

int
proof_put(struct proof *p, struct spool *s, timeline_t timeline, lsn_t lsn, const void *bytes,
          size_t n, int64_t now_us)
{
    int code;

    if (timeline != p->records.timeline)
        proof_trust(p);
    code = proof_pour(p, s, now_us);
    if (code == 0 && timeline != p->records.timeline)
        code = proof_begin(p, s, timeline, lsn);
    if (code < 0)
        return code;
    if (lsn != p->records.at)
        return fail(ERR_PEER, "WAL from " LSN_FORMAT " comes, " LSN_FORMAT " is next",
                    LSN_ARGS(lsn), LSN_ARGS(p->records.at));
    if (durable_write(p->fd, bytes, n, lsn - p->base) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/" HELD, s->path);
    if (records_put(&p->records, bytes, n) < 0)
        return ERR_CORRUPT;
    code = proof_pour(p, s, now_us);
    return code == ERR_AGAIN ? 0 : code;
}
