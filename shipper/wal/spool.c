/* SPDX-License-Identifier: PostgreSQL */
/*
 * See spool.h: receiving, flushing, serving. The growing segment is a plain append: one write per
 * piece of WAL. Two files may be open for writing, a full one that waits for its flush and the
 * growing one, so that receiving does not stop at a segment's end.
 */
#include "spool_private.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RECORD_US     SECOND_US
#define COMPARE_BYTES (64u << 10)

/* Does the segment before the border `lsn` belong to our timeline, so that it can come again? */
static bool
goes_on_before(const struct spool *s, lsn_t lsn)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length = spool_history(s, s->timeline, text, sizeof text);

    if (lsn == s->start || (length < 0 && length != ERR_AGAIN))
        return false;
    return length < 0 || spool_timeline_before(s, text, (size_t)length, lsn) == s->timeline;
}

void
spool_resume(const struct spool *s, timeline_t *ret_timeline, lsn_t *ret_lsn)
{
    lsn_t lsn = segment_start(s->available, s->identity.segment_bytes);

    if (lsn == s->available && goes_on_before(s, lsn))
        lsn -= s->identity.segment_bytes;
    *ret_timeline = s->timeline;
    *ret_lsn = lsn; /* a torn tail comes again, too */
}

int
spool_begin(struct spool *s, timeline_t timeline, lsn_t lsn)
{
    assert(spool_empty(s) && segment_bytes_valid(s->identity.segment_bytes));
    if (lsn != segment_start(lsn, s->identity.segment_bytes))
        return fail(ERR_PEER,
                    "WAL for an empty spool starts at " LSN_FORMAT ", which is no segment's start",
                    LSN_ARGS(lsn));
    s->timeline = timeline;
    s->start = s->written = s->flushed = s->available = lsn;
    return 0;
}

int
spool_open_segment(struct spool *s, timeline_t timeline, lsn_t start)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], damaged[FILE_NAME_SIZE];
    /* a worker may rename the file meanwhile: so the first name is tried again */
    const char *const names[] = {name, partial, damaged, name};

    if (s->read_fd >= 0 && s->read_timeline == timeline && s->read_start == start)
        return 0;
    durable_close(s->read_fd);
    s->read_fd = -1;
    spool_name_of(s, timeline, start, name, partial);
    spool_damaged_name(damaged, name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (durable_open(s->dir, names[i], DURABLE_READ, &s->read_fd) == 0) {
            s->read_timeline = timeline;
            s->read_start = start;
            return 0;
        }
        if (errno != ENOENT)
            return fail_sys(ERR_LOCAL, "cannot open %s/%s", s->path, names[i]);
    }
    return ERR_AGAIN;
}

/* Bytes that are here already: the same are fine, others replace only a torn tail. */
static int
compare(struct spool *s, lsn_t lsn, const uint8_t *bytes, size_t n)
{
    static uint8_t there[COMPARE_BYTES];
    lsn_t start = segment_start(lsn, s->identity.segment_bytes);
    int code = spool_open_segment(s, s->timeline, start);

    if (code == ERR_AGAIN)
        return fail(ERR_PEER,
                    "WAL from " LSN_FORMAT " comes again, which this spool holds no longer",
                    LSN_ARGS(lsn));
    if (code < 0)
        return code;
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < sizeof there ? n - at : sizeof there, same = 0;
        ssize_t got = durable_read(s->read_fd, there, piece, lsn + at - start);

        if (got < 0)
            return fail_sys(ERR_LOCAL, "cannot read %s", s->path);
        while (same < (size_t)got && there[same] == bytes[at + same])
            same++;
        if (same < piece) {
            char name[SEGMENT_NAME_SIZE];

            segment_name(name, s->timeline, start, s->identity.segment_bytes);
            if (lsn + at + same < s->available || s->growing.fd < 0 || start != s->growing.start)
                return fail(
                    ERR_CORRUPT,
                    "other bytes at an acknowledged position: segment %s, offset %" PRIu64
                    " (" LSN_FORMAT
                    "). The primary was restored from an older state, or is another server; nothing was changed",
                    name, lsn + at + same - start, LSN_ARGS(lsn + at + same));
            if (durable_write(s->growing.fd, bytes + at + same, piece - same,
                              lsn + at + same - start) < 0)
                return fail_sys(ERR_LOCAL, "cannot write %s/%s" PARTIAL, s->path, name);
        }
        at += piece;
        if (lsn + at > s->available)
            s->available = lsn + at;
    }
    return 0;
}

/* The file for the segment that begins at `written`. */
static int
open_next(struct spool *s)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE];

    if (s->growing.fd >= 0) {
        if (s->full.fd >= 0)
            return ERR_AGAIN;
        s->full = s->growing;
        s->growing.fd = -1;
    }
    spool_name_of(s, s->timeline, s->written, name, partial);
    if (durable_open(s->dir, partial, DURABLE_CREATE, &s->growing.fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s/%s", s->path, partial);
    durable_reserve(s->growing.fd, s->identity.segment_bytes);
    s->growing.start = s->written;
    s->growing.is_new = true;
    return 0;
}

static int
append(struct spool *s, const uint8_t *bytes, size_t n)
{
    lsn_t offset;
    int code = s->growing.fd < 0 || s->written == s->growing.start + s->identity.segment_bytes
                   ? open_next(s)
                   : 0;

    if (code < 0)
        return code;
    offset = s->written - s->growing.start;
    if (durable_write(s->growing.fd, bytes, n, offset) < 0) {
        char name[SEGMENT_NAME_SIZE];

        segment_name(name, s->timeline, s->growing.start, s->identity.segment_bytes);
        return fail_sys(ERR_LOCAL, "cannot write %s/%s" PARTIAL, s->path, name);
    }
    s->written += n;
    s->available = s->written;
    return 0;
}

int
spool_copy_segment(const struct spool *s, timeline_t timeline, lsn_t start, const char *suffix,
                   int from, uint64_t needed, uint64_t most, int *ret_fd, uint64_t *ret_copied)
{
    static _Thread_local uint8_t chunk[COMPARE_BYTES];
    char name[SEGMENT_NAME_SIZE], target[FILE_NAME_SIZE], fresh[FILE_NAME_SIZE];
    uint64_t at = 0;
    int fd, code = 0;

    segment_name(name, timeline, start, s->identity.segment_bytes);
    snprintf(target, sizeof target, "%s%s", name, suffix);
    snprintf(fresh, sizeof fresh, "%s" FRESH, name);
    if (durable_remove(s->dir, fresh) < 0 || durable_open(s->dir, fresh, DURABLE_CREATE, &fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot make %s/%s", s->path, fresh);
    while (code == 0 && from >= 0 && at < most) {
        size_t piece = most - at < sizeof chunk ? (size_t)(most - at) : sizeof chunk;
        ssize_t got = durable_read(from, chunk, piece, at);

        if (got > 0 && durable_write(fd, chunk, (size_t)got, at) < 0)
            code = fail_sys(ERR_LOCAL, "cannot write %s/%s", s->path, fresh);
        at += got > 0 ? (uint64_t)got : 0;
        if (got < (ssize_t)piece)
            break;
    }
    if (code == 0 && at < needed)
        code = fail(ERR_LOCAL,
                    "cannot copy %s/%s: only %" PRIu64 " of %" PRIu64 " flushed bytes can be read",
                    s->path, name, at, needed);
    if (code == 0 && (durable_data(fd) < 0 || durable_rename(s->dir, fresh, target) < 0))
        code = fail_sys(ERR_LOCAL, "cannot flush %s/%s", s->path, fresh);
    if (code < 0) {
        durable_close(fd);
        return code;
    }
    *ret_fd = fd;
    *ret_copied = at;
    return 0;
}

/* Does WAL of a higher timeline at lsn follow what is held here, and from where on? */
static int
check_switch(const struct spool *s, timeline_t timeline, lsn_t lsn, lsn_t *ret_fork)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length = spool_history(s, timeline, text, sizeof text), code;

    if (length == ERR_AGAIN && timeline > s->timeline)
        return fail(ERR_PEER, "WAL of timeline %u comes before its history", timeline);
    if (length < 0 && length != ERR_AGAIN)
        return length;
    code = spool_check_history(s, timeline, text, length < 0 ? 0 : (size_t)length);
    if (code == ERR_AGAIN) /* a session begins after the look */
        return fail(ERR_PEER, "%s", fail_message());
    if (code < 0)
        return code;
    history_switch_point(text, (size_t)length, s->timeline, ret_fork); /* checked just now */
    if (history_next(text, (size_t)length, s->timeline, timeline) != timeline)
        return fail(
            ERR_PEER,
            "WAL of timeline %u comes, timeline %u lies between it and timeline %u, which is held here",
            timeline, history_next(text, (size_t)length, s->timeline, timeline), s->timeline);
    if (*ret_fork > s->available || lsn > *ret_fork)
        return fail(ERR_PEER,
                    "a hole: WAL of timeline %u comes from " LSN_FORMAT ", it begins at " LSN_FORMAT
                    ", timeline %u is held up to " LSN_FORMAT,
                    timeline, LSN_ARGS(lsn), LSN_ARGS(*ret_fork), s->timeline,
                    LSN_ARGS(s->available));
    return 0;
}

/* The old timeline's bytes of the segment that it forked in are the new timeline's beginning: the
 * next flush copies them. */
static int
switch_timeline(struct spool *s, timeline_t timeline, lsn_t lsn, const uint8_t *bytes, size_t n)
{
    lsn_t fork, start;
    int code = check_switch(s, timeline, lsn, &fork);

    if (code < 0)
        return code;
    if (s->flushing || s->flushed < fork)
        return ERR_AGAIN; /* the old timeline's bytes first */
    start = segment_start(fork, s->identity.segment_bytes);
    if (lsn < start)
        return fail(ERR_PEER,
                    "WAL of timeline %u comes from " LSN_FORMAT
                    ", its first segment begins at " LSN_FORMAT,
                    timeline, LSN_ARGS(lsn), LSN_ARGS(start));
    if (lsn < fork)
        code = compare(s, lsn, bytes,
                       fork - lsn < n ? (size_t)(fork - lsn) : n); /* before anything changes */
    if (code < 0)
        return code;
    s->next_timeline = timeline;
    s->next_fork = fork;
    return ERR_AGAIN;
}

static lsn_t
segment_end(const struct spool *s, lsn_t lsn)
{
    return segment_start(lsn, s->identity.segment_bytes) + s->identity.segment_bytes;
}

int
spool_append(struct spool *s, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n,
             int64_t now_us)
{
    const uint8_t *at = bytes;

    (void)now_us;
    assert(!spool_empty(s));
    if (s->damaged)
        return fail(ERR_LOCAL, "the spool %s could not be flushed and is not repaired yet",
                    s->path);
    if (s->clearing || s->cutting || (s->next_timeline != 0 && timeline == s->timeline))
        return ERR_AGAIN;
    if (timeline != s->timeline) {
        int code = switch_timeline(s, timeline, lsn, at, n);

        if (code < 0)
            return code;
    }
    if (lsn > s->available) /* also inside a torn tail: it has to be compared first */
        return fail(ERR_PEER, "a hole: WAL from " LSN_FORMAT " comes, " LSN_FORMAT " is next",
                    LSN_ARGS(lsn), LSN_ARGS(s->available));
    while (n > 0) {
        lsn_t end = lsn < s->written ? s->written : segment_end(s, lsn);
        size_t piece;
        int code;

        if (end > segment_end(s, lsn))
            end = segment_end(s, lsn);
        piece = end - lsn < n ? (size_t)(end - lsn) : n;
        code = lsn < s->written ? compare(s, lsn, at, piece) : append(s, at, piece);
        if (code < 0)
            return code;
        lsn += piece;
        at += piece;
        n -= piece;
    }
    return 0;
}

/* All of the segment that may be served is to be flushed. */
static void
flush_segment(const struct spool *s, const struct segment *segment, struct flush *f)
{
    char name[SEGMENT_NAME_SIZE];
    lsn_t end = segment->start + s->identity.segment_bytes;

    f->fd = segment->fd;
    f->upto = s->available < end ? s->available : end;
    f->sync_dir = segment->is_new;
    spool_name_of(s, s->timeline, segment->start, name, f->from);
    if (f->upto == end)
        snprintf(f->to, sizeof f->to, "%s", name);
}

/* When no more WAL comes the last position has to get into its file, too, without a flush. */
static bool
record_due(const struct spool *s, int64_t now_us)
{
    return s->recorded_us == 0 || now_us - s->recorded_us >= RECORD_US;
}

static void
begin_job(struct spool *s, struct flush *f, enum flush_kind kind, lsn_t upto)
{
    *f = (struct flush){
        .kind = kind, .fd = -1, .dir = s->dir, .upto = upto, .made_fd = -1, .as = *s};
    f->as.read_fd = -1;
    s->flushing = true;
}

bool
spool_flush_begin(struct spool *s, struct flush *f, int64_t now_us)
{
    if (s->flushing || s->damaged || s->clearing || spool_empty(s))
        return false;
    if (s->next_timeline != 0) {
        begin_job(s, f, FLUSH_SWITCH, s->next_fork);
        return true;
    }
    *f = (struct flush){.fd = -1, .dir = s->dir, .upto = s->flushed};
    snprintf(f->as.path, sizeof f->as.path, "%s", s->path);
    if (s->full.fd >= 0)
        flush_segment(s, &s->full, f);
    else if (s->growing.fd >= 0 && s->flushed < s->available)
        flush_segment(s, &s->growing, f);
    else if (s->recorded >= s->flushed || !record_due(s, now_us))
        return false;
    if (record_due(s, now_us)) {
        spool_describe_position(s, s->available == s->written ? s->boot_id : "-", f->upto,
                                f->position);
        s->recorded_us = now_us;
    }
    s->flushing = true;
    return true;
}

bool
spool_recover_begin(struct spool *s, struct flush *f)
{
    if (!s->damaged || s->lost || s->flushing || s->clearing)
        return false;
    begin_job(s, f, FLUSH_RECOVER, s->flushed);
    return true;
}

static int
flush_data(struct flush *f)
{
    const char *failed = "flush";
    char damaged[FILE_NAME_SIZE];
    int code;

    if ((f->fd < 0 || durable_data(f->fd) == 0) &&
        (!f->sync_dir || durable_sync_dir(f->dir) == 0)) {
        failed = "rename";
        if (f->to[0] == '\0' || durable_rename(f->dir, f->from, f->to) == 0)
            return 0;
    }
    code = fail_sys(ERR_LOCAL, "cannot %s %s/%s", failed, f->as.path, f->from);
    spool_damaged_name(damaged, f->from);
    /* so that a restart does not flush it again and believe the success */
    (void)!durable_rename(f->dir, f->from, damaged);
    return code;
}

static int
make_switched(struct flush *f)
{
    struct spool *s = &f->as;
    lsn_t start = segment_start(f->upto, s->identity.segment_bytes);
    int code = f->upto > start ? spool_open_segment(s, s->timeline, start) : 0;

    if (code == ERR_AGAIN)
        code = fail(ERR_CORRUPT, "the segment of " LSN_FORMAT " is missing in %s", LSN_ARGS(start),
                    s->path);
    if (code == 0)
        code = spool_copy_segment(s, s->next_timeline, start, PARTIAL, s->read_fd, f->upto - start,
                                  f->upto - start, &f->made_fd, &f->made_bytes);
    durable_close(s->read_fd);
    return code;
}

/*
 * The damaged segment's bytes in a new file: the old one's pages may never reach the disk, however
 * often they are flushed. Bytes above `flushed` are copied, too: after a restart `flushed` is only
 * the recorded position, and more was acknowledged. They are a tail to be compared, as after a
 * crash.
 */
static int
make_recovered(struct flush *f)
{
    struct spool *s = &f->as;
    lsn_t start = segment_start(f->upto, s->identity.segment_bytes);
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], damaged[FILE_NAME_SIZE];
    int old = -1, code = spool_distrust(s);

    if (code < 0)
        return code;
    spool_name_of(s, s->timeline, start, name, partial);
    spool_damaged_name(damaged, name);
    if (durable_open(s->dir, damaged, DURABLE_READ, &old) < 0 &&
        durable_open(s->dir, partial, DURABLE_READ, &old) < 0 &&
        durable_open(s->dir, name, DURABLE_READ, &old) < 0)
        old = -1;
    code = spool_copy_segment(s, s->timeline, start, PARTIAL, old, f->upto - start,
                              s->identity.segment_bytes, &f->made_fd, &f->made_bytes);
    durable_close(old);
    if (code == 0 && durable_remove(s->dir, damaged) < 0)
        code = fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, damaged);
    return code < 0 ? code : spool_remove_stale(s, start);
}

void
spool_flush_run(struct flush *f)
{
    switch (f->kind) {
    case FLUSH_DATA:
        f->code = flush_data(f);
        break;
    case FLUSH_SWITCH:
        f->code = make_switched(f);
        break;
    case FLUSH_RECOVER:
        f->code = make_recovered(f);
        break;
    }
    if (f->code < 0)
        snprintf(f->reason, sizeof f->reason, "%s", fail_message());
    /* the old position promises less: so a full disk need not fail the flush */
    else if (f->position[0] != '\0' &&
             durable_replace(f->dir, "position", f->position, strlen(f->position)) < 0)
        f->position[0] = '\0';
}

/* The file that a job has made is the growing segment now. */
static void
take_made(struct spool *s, const struct flush *f)
{
    lsn_t start = segment_start(f->upto, s->identity.segment_bytes);

    spool_close_segments(s);
    s->growing = (struct segment){.fd = f->made_fd, .start = start};
    s->written = start + f->made_bytes;
    s->available = s->flushed = f->upto;
    s->whole_upto = LSN_UNKNOWN;
}

static int
end_job(struct spool *s, const struct flush *f)
{
    bool switches = f->kind == FLUSH_SWITCH;

    s->recorded = f->as.recorded;
    if (switches)
        s->next_timeline = 0; /* the next spool_append of that timeline sets it again */
    if (f->code < 0) {
        durable_close(f->made_fd);
        return fail(f->code, "%s", f->reason);
    }
    take_made(s, f);
    s->damaged = false;
    if (switches) {
        s->timeline = f->as.next_timeline;
        s->recorded = 0;
    }
    return 0;
}

int
spool_flush_end(struct spool *s, const struct flush *f)
{
    /* the segment that was flushed may have become full meanwhile */
    struct segment *segment = f->fd == s->full.fd ? &s->full : &s->growing;

    assert(s->flushing);
    s->flushing = false;
    if (f->kind != FLUSH_DATA)
        return end_job(s, f);
    if (f->code < 0) {
        s->damaged = true;
        s->available = s->flushed; /* reads above it may not give what was written */
        return fail(f->code, "%s", f->reason);
    }
    if (f->upto > s->flushed)
        s->flushed = f->upto;
    if (f->position[0] != '\0')
        s->recorded = f->upto;
    if (f->to[0] != '\0') { /* full, and under its name */
        durable_close(segment->fd);
        segment->fd = -1;
    } else if (f->fd >= 0) {
        segment->is_new = false;
    }
    return 0;
}

int
spool_recover(struct spool *s)
{
    struct flush f;

    assert(!s->flushing);
    if (!spool_recover_begin(s, &f))
        return 0;
    spool_flush_run(&f);
    return spool_flush_end(s, &f);
}

int
spool_trust_tail(struct spool *s)
{
    struct flush f;
    int code = spool_recover(s);

    if (code < 0)
        return code;
    s->available = s->written;
    s->recorded_us = 0; /* the position file must not call it torn any more */
    while (spool_flush_begin(s, &f, clock_us())) {
        spool_flush_run(&f);
        code = spool_flush_end(s, &f);
        if (code < 0)
            return code;
    }
    return 0;
}

/* The file with the bytes of `timeline` at lsn: its own, or a newer timeline's, when all that lies
 * between the two ends in that segment. A walsender reads the latter (WalSndSegmentOpen). */
static int
open_segment_of(struct spool *s, timeline_t timeline, lsn_t lsn)
{
    lsn_t start = segment_start(lsn, s->identity.segment_bytes), end;
    int code;

    while ((code = spool_open_segment(s, timeline, start)) == ERR_AGAIN &&
           spool_switch_point(s, timeline, &end, &timeline) &&
           segment_start(end, s->identity.segment_bytes) == start)
        ;
    return code;
}

int
spool_read(struct spool *s, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    lsn_t end = s->available, start;
    timeline_t next;
    ssize_t got;
    int code;

    if (timeline != s->timeline && !spool_switch_point(s, timeline, &end, &next))
        return ERR_AGAIN;
    if (end > s->available) /* a spool that began with a newer timeline's file, before the fork */
        end = s->available;
    if (lsn >= end)
        return 0;
    start = segment_start(lsn, s->identity.segment_bytes);
    if (end > start + s->identity.segment_bytes)
        end = start + s->identity.segment_bytes;
    if (n > end - lsn)
        n = (size_t)(end - lsn);
    code = open_segment_of(s, timeline, lsn);
    if (code < 0)
        return code;
    got = durable_read(s->read_fd, out, n, lsn - start);
    if (got < 0)
        return fail_sys(ERR_LOCAL, "cannot read the segment of " LSN_FORMAT " in %s", LSN_ARGS(lsn),
                        s->path);
    return (int)got;
}
