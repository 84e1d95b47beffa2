/* SPDX-License-Identifier: PostgreSQL */
/* Whether whole records lie behind a fork, and ending the spool there: see spool_cut_begin. */
#include "spool_private.h"

#include "base/durable.h"
#include "base/fail.h"
#include "base/kill_point.h"
#include "shipper/wal/records.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define READ_BYTES (64u << 10)

bool
spool_cut_begin(struct spool *s, struct cut *c, enum cut_wish wish, lsn_t fork)
{
    if (s->flushing || s->pruning || s->clearing || (s->damaged && !s->lost) ||
        s->next_timeline != 0 || s->full.fd >= 0 || spool_empty(s) || fork >= s->written)
        return false;
    *c = (struct cut){.wish = wish, .fork = fork, .as = *s};
    c->as.read_fd = -1;
    s->flushing = s->cutting = true;
    return true;
}

/* A piece of flushed WAL at lsn; its length, ERR_AGAIN: its segment is gone, or ERR_LOCAL. */
static int
read_piece(struct spool *s, lsn_t lsn, uint8_t out[READ_BYTES])
{
    lsn_t start = segment_start(lsn, s->identity.segment_bytes);
    lsn_t end = start + s->identity.segment_bytes;
    int code = spool_open_segment(s, s->timeline, start);
    size_t n;

    if (code < 0)
        return code;
    if (end > s->flushed)
        end = s->flushed;
    n = end - lsn < READ_BYTES ? (size_t)(end - lsn) : READ_BYTES;
    if (durable_read(s->read_fd, out, n, lsn - start) != (ssize_t)n)
        return fail_sys(ERR_LOCAL, "cannot read the segment of " LSN_FORMAT " in %s", LSN_ARGS(lsn),
                        s->path);
    return (int)n;
}

/* From the segment of the fork on: a record that reaches into it ends at the fork or before. */
static int
look(struct cut *c)
{
    static _Thread_local uint8_t bytes[READ_BYTES];
    struct spool *s = &c->as;
    struct records r;
    int got = 0;

    records_begin(&r, s->identity.segment_bytes, s->timeline, s->identity.system_identifier,
                  segment_start(c->fork, s->identity.segment_bytes));
    while (!c->damaged && r.at < s->flushed && (got = read_piece(s, r.at, bytes)) > 0)
        c->damaged = records_put(&r, bytes, (size_t)got) < 0;
    if (got < 0 && got != ERR_AGAIN)
        return got;
    c->whole = got == ERR_AGAIN ? s->flushed : r.whole; /* not known: as if all were whole */
    return 0;
}

/* The segment of the fork as it is now. */
static int
keep_segment(struct spool *s, lsn_t start)
{
    lsn_t end = start + s->identity.segment_bytes;
    uint64_t copied;
    int fd, code = spool_open_segment(s, s->timeline, start);

    if (code == 0)
        code = spool_copy_segment(s, s->timeline, start, ASIDE, s->read_fd,
                                  (s->flushed < end ? s->flushed : end) - start,
                                  s->identity.segment_bytes, &fd, &copied);
    if (code == 0)
        durable_close(fd);
    return code;
}

/* A later segment, under whatever name. */
static int
set_aside(const struct spool *s, lsn_t start)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], aside[FILE_NAME_SIZE];

    spool_name_of(s, s->timeline, start, name, partial);
    snprintf(aside, sizeof aside, "%s" ASIDE, name);
    if (durable_rename(s->dir, partial, aside) == 0 ||
        (errno == ENOENT && (durable_rename(s->dir, name, aside) == 0 || errno == ENOENT)))
        return 0;
    return fail_sys(ERR_LOCAL, "cannot rename %s/%s", s->path, name);
}

/* The segment of the fork up to the fork; a whole file that it was goes last. */
static int
end_segment(struct spool *s, lsn_t start, lsn_t fork)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE];
    uint64_t copied;
    int fd, code = spool_copy_segment(s, s->timeline, start, PARTIAL, s->read_fd, fork - start,
                                      fork - start, &fd, &copied);

    if (code < 0)
        return code;
    durable_close(fd);
    KILL_POINT("cut:4");
    spool_name_of(s, s->timeline, start, name, partial);
    return durable_remove(s->dir, name) < 0
               ? fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, name)
               : 0;
}

static int
cut_off(struct cut *c)
{
    struct spool *s = &c->as;
    uint32_t segment_bytes = s->identity.segment_bytes;
    lsn_t start = segment_start(c->fork, segment_bytes);
    lsn_t last = segment_start(s->written - 1, segment_bytes);
    bool inside = c->fork > start;
    char text[POSITION_SIZE];
    int code = inside ? keep_segment(s, start) : 0;

    if (code < 0)
        return code;
    KILL_POINT("cut:1");
    spool_describe_position(s, s->available == s->written ? s->boot_id : "-", c->fork, text);
    c->changed = true;
    if (durable_replace(s->dir, "position", text, strlen(text)) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/position", s->path);
    KILL_POINT("cut:2");
    for (lsn_t at = last; code == 0 && at >= start + (inside ? segment_bytes : 0);
         at -= segment_bytes)
        code = set_aside(s, at);
    KILL_POINT("cut:3");
    return code == 0 && inside ? end_segment(s, start, c->fork) : code;
}

/* As after a restart: the files say where the spool ends, also when a call of the cut failed. */
static int
find_again(struct spool *s)
{
    s->timeline = 0;
    s->damaged = false;
    s->start = s->written = s->flushed = s->available = LSN_UNKNOWN;
    s->growing.fd = s->full.fd = s->read_fd = -1; /* those are the caller's */
    return spool_find_positions(s);
}

void
spool_cut_run(struct cut *c)
{
    int code = c->as.lost ? 0 : look(c);
    bool torn = c->whole == c->fork && (!c->damaged || c->wish == CUT_OWN);

    c->changed = c->as.lost;
    if (code == 0 && !c->changed && c->wish != CUT_LOOK && (torn || c->wish == CUT_FORKED)) {
        code = cut_off(c);
        c->done = code == 0;
    }
    durable_close(c->as.read_fd);
    if (code < 0)
        snprintf(c->reason, sizeof c->reason, "%s", fail_message());
    if (c->changed && find_again(&c->as) < 0) {
        c->lost = true;
        if (code == 0)
            snprintf(c->reason, sizeof c->reason, "%s", fail_message());
        code = ERR_LOCAL;
    }
    c->code = code < 0 ? ERR_LOCAL : 0;
}

static void
take_found(struct spool *s, const struct spool *found)
{
    spool_close_segments(s);
    s->timeline = found->timeline;
    s->start = found->start;
    s->written = found->written;
    s->flushed = found->flushed;
    s->available = found->available;
    s->damaged = found->damaged;
    s->lost = false;
    s->growing = found->growing;
    s->recorded = found->recorded;
    s->whole_upto = LSN_UNKNOWN;
    snprintf(s->aside, sizeof s->aside, "%s", found->aside);
}

int
spool_cut_end(struct spool *s, const struct cut *c)
{
    assert(s->cutting);
    s->flushing = s->cutting = false;
    if (c->lost) {
        s->damaged = s->lost = true;
    } else if (c->changed) {
        take_found(s, &c->as);
    } else if (c->code == 0) {
        s->whole = c->whole;
        s->whole_upto = c->as.flushed;
        s->whole_damaged = c->damaged;
    }
    if (c->code < 0)
        return fail(c->code, "%s", c->reason);
    return s->damaged ? fail(ERR_LOCAL, "%s could not be flushed when it was cut", s->path) : 0;
}

bool
spool_kept_aside(const struct spool *s, char *out, size_t size)
{
    int fd;

    if (s->aside[0] == '\0' || durable_open(s->dir, s->aside, DURABLE_READ, &fd) < 0)
        return false;
    durable_close(fd);
    snprintf(out, size, "%s/%s", s->path, s->aside);
    return true;
}
