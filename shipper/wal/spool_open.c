/* SPDX-License-Identifier: PostgreSQL */
/*
 * Opening the spool: its place is found again from the names and sizes of its files. The file
 * "position" only says how far the bytes can be trusted after a crash of the machine.
 */
#include "spool_private.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct spool closed = {
    .dir = -1, .lock = -1, .growing.fd = -1, .full.fd = -1, .read_fd = -1};

static int
visit_nameless(void *context, const struct durable_entry *entry)
{
    const struct spool *s = context;
    char stem[SEGMENT_NAME_SIZE];
    timeline_t timeline;
    lsn_t start;

    snprintf(stem, sizeof stem, "%.24s", entry->name);
    if (!segment_parse(stem, SEGMENT_BYTES_MIN, &timeline, &start))
        return 0;
    return fail(ERR_CORRUPT,
                "%s/%s is there, but no file \"identity\" that says whose it is; move it away",
                s->path, entry->name);
}

static int
load_identity(struct spool *s)
{
    char text[256];
    ssize_t got = durable_load(s->dir, "identity", text, sizeof text);
    struct identity i = {0};

    if (got < 0 && errno == ENOENT) {
        int code = durable_list(s->dir, visit_nameless, s);

        return code == -1 ? fail_sys(ERR_LOCAL, "cannot list %s", s->path) : code;
    }
    if (got < 0)
        return fail_file(ERR_LOCAL, s->dir, "identity", "cannot read %s/identity", s->path);
    if (sscanf(text,
               "system_identifier %" SCNu64 " segment_bytes %" SCNu32 " postgres_major %" SCNu16,
               &i.system_identifier, &i.segment_bytes, &i.postgres_major) != 3 ||
        !segment_bytes_valid(i.segment_bytes) || i.system_identifier == 0)
        return fail(ERR_CORRUPT,
                    "%s/identity is %s: it has to say 'system_identifier N segment_bytes N "
                    "postgres_major N', as pg_controldata tells; or move it away together with all "
                    "segments that are beside it",
                    s->path, got == 0 ? "empty" : "not one of walferry's");
    s->identity = i;
    return 0;
}

static int
complete_is_there(const struct spool *s, timeline_t timeline, lsn_t start, bool *ret_there)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE];
    int fd;

    spool_name_of(s, timeline, start, name, partial);
    if (durable_open(s->dir, name, DURABLE_READ, &fd) < 0) {
        if (errno != ENOENT)
            return fail_sys(ERR_LOCAL, "cannot open %s/%s", s->path, name);
        *ret_there = false;
        return 0;
    }
    durable_close(fd);
    *ret_there = true;
    return 0;
}

/* Down from the newest byte, over timelines, to the first one that is held without a hole; no file
 * may be left below it. */
static int
find_start(struct spool *s)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length = spool_history(s, s->timeline, text, sizeof text), code;
    lsn_t start = s->growing.fd >= 0 ? s->growing.start : s->written;
    timeline_t timeline = s->timeline;
    struct scan scan;

    if (length < 0 && length != ERR_AGAIN)
        return length;
    for (bool there = true; start > 0;) {
        lsn_t below = start - s->identity.segment_bytes;

        timeline = length < 0 ? s->timeline : spool_timeline_before(s, text, (size_t)length, start);
        code = complete_is_there(s, timeline, below, &there);
        if (code < 0)
            return code;
        if (!there)
            break;
        start = below;
    }
    s->start = start;
    code = spool_look(s, timeline, 0, &scan);
    if (code == 0 && scan.any && scan.first < start) {
        char missing[SEGMENT_NAME_SIZE];

        segment_name(missing, timeline, start - s->identity.segment_bytes,
                     s->identity.segment_bytes);
        return fail(
            ERR_CORRUPT,
            "a hole: %s/%s is missing, older segments are there; put it back or move them away",
            s->path, missing);
    }
    return code;
}

/* How far the spool's files say it was flushed: "position", or where this timeline began. */
static int
load_position(const struct spool *s, lsn_t *ret_flushed, bool *ret_same_boot)
{
    char text[128], boot[64];
    timeline_t timeline;
    uint32_t high, low;
    ssize_t got = durable_load(s->dir, "position", text, sizeof text);

    *ret_flushed = 0;
    *ret_same_boot = false;
    if (got < 0 && errno != ENOENT && errno != EFBIG)
        return fail_file(ERR_LOCAL, s->dir, "position", "cannot read %s/position", s->path);
    if (got < 0 && errno == ENOENT)
        return 0; /* so the tail is not trusted: no more than that */
    if (got < 0 || sscanf(text, "boot %63s timeline %" SCNu32 " flushed %" SCNx32 "/%" SCNx32, boot,
                          &timeline, &high, &low) != 4) {
        log_warning("%s/position is %s: the last segment is not trusted and comes again, then it "
                    "is written anew; nothing is to be done",
                    s->path, got == 0 ? "empty" : "not one of walferry's");
        return 0;
    }
    *ret_same_boot = s->boot_id[0] != '\0' && strcmp(boot, s->boot_id) == 0;
    if (timeline == s->timeline) {
        *ret_flushed = (lsn_t)high << 32 | low;
        return 0;
    }
    /* killed just behind a switch: all before the fork was flushed when the new timeline's file got
     * its name */
    if (timeline < s->timeline) {
        timeline_t next;

        if (!spool_switch_point(s, timeline, ret_flushed, &next) || next != s->timeline)
            *ret_flushed = 0;
    }
    return 0;
}

/*
 * A partial file at `written`: its size, and how far it is known good. A file that could not be
 * flushed is not flushed again: the kernel may have dropped its pages and would report success.
 */
static int
open_tail(struct spool *s, lsn_t recorded, bool same_boot)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], damaged[FILE_NAME_SIZE];
    uint64_t bytes;

    spool_name_of(s, s->timeline, s->written, name, partial);
    spool_damaged_name(damaged, name);
    if (durable_open(s->dir, partial, DURABLE_WRITE, &s->growing.fd) < 0) {
        if (errno == ENOENT && durable_open(s->dir, damaged, DURABLE_WRITE, &s->growing.fd) == 0)
            s->damaged = true;
        else
            return errno == ENOENT ? ERR_AGAIN
                                   : fail_sys(ERR_LOCAL, "cannot open %s/%s", s->path, partial);
    }
    if (durable_size(s->growing.fd, &bytes) < 0)
        return fail_sys(ERR_LOCAL, "cannot read %s/%s", s->path, partial);
    if (!s->damaged && durable_data(s->growing.fd) < 0) {
        (void)!durable_rename(s->dir, partial, damaged);
        s->damaged = true;
    } else if (!s->damaged &&
               durable_remove(s->dir, damaged) < 0) { /* the partial file is made from it */
        return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, damaged);
    }
    s->growing.start = s->written;
    s->written += bytes;
    s->flushed = s->available = s->written;
    if ((!same_boot || s->damaged) && recorded < s->written)
        s->flushed = s->available = recorded > s->growing.start ? recorded : s->growing.start;
    return 0;
}

/* A full, good tail only lacks its name; the file that grew behind it is the tail then. */
static int
open_tails(struct spool *s, lsn_t recorded, bool same_boot)
{
    int code;

    while ((code = open_tail(s, recorded, same_boot)) == 0 && !s->damaged &&
           s->flushed == s->growing.start + s->identity.segment_bytes) {
        char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE];

        spool_name_of(s, s->timeline, s->growing.start, name, partial);
        durable_close(s->growing.fd);
        s->growing.fd = -1;
        if (durable_rename(s->dir, partial, name) < 0)
            return fail_sys(ERR_LOCAL, "cannot rename %s/%s", s->path, partial);
    }
    return code == ERR_AGAIN ? 0 : code;
}

int
spool_find_positions(struct spool *s)
{
    struct scan scan;
    lsn_t recorded;
    bool same_boot;
    int code = spool_look(s, 0, 0, &scan);

    if (code < 0)
        return code;
    snprintf(s->aside, sizeof s->aside, "%s", scan.aside);
    if (scan.highest == 0)
        return 0;
    s->timeline = scan.highest;
    code = spool_look(s, s->timeline, 0, &scan);
    if (code < 0)
        return code;
    s->written = scan.any_complete ? scan.last_complete + s->identity.segment_bytes : scan.first;
    s->flushed = s->available = s->written;
    if (durable_sync_dir(s->dir) <
        0) /* a killed process may have left a name that is not flushed */
        return fail_sys(ERR_LOCAL, "cannot flush the directory %s", s->path);
    code = load_position(s, &recorded, &same_boot);
    if (code == 0)
        code = open_tails(s, recorded, same_boot);
    if (code == 0)
        code = spool_remove_stale(s, s->growing.fd >= 0 ? s->growing.start : s->written);
    if (code == 0)
        code = find_start(s);
    s->recorded = recorded;
    if (code == 0 && recorded > s->written) {
        log_warning(
            "%s ends at " LSN_FORMAT ", but up to " LSN_FORMAT
            " was flushed once: the disk lost it, or files were taken away; it has to come again",
            s->path, LSN_ARGS(s->written), LSN_ARGS(recorded));
        code = spool_distrust(s); /* or the old record would vouch for the WAL that comes */
    }
    return code;
}

int
spool_open(struct spool *s, const char *path)
{
    int code;

    *s = closed;
    snprintf(s->path, sizeof s->path, "%s", path);
    clock_boot_id(s->boot_id);
    if (durable_dir(path, &s->dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the spool %s", path);
    if (durable_lock(s->dir, "lock", &s->lock) < 0) {
        code =
            errno == EWOULDBLOCK
                ? fail(
                      ERR_LOCAL,
                      "another agent uses the spool %s (its lock file is held): stop that one first",
                      path)
                : fail_file(ERR_LOCAL, s->dir, "lock", "cannot lock %s/lock", path);
        spool_close(s);
        return code;
    }
    code = load_identity(s);
    if (code == 0 && s->identity.system_identifier != 0)
        code = spool_find_positions(s);
    if (code < 0)
        spool_close(s);
    return code;
}

void
spool_close(struct spool *s)
{
    if (s == NULL || s->path[0] == '\0')
        return;
    spool_close_segments(s);
    durable_close(s->lock);
    durable_close(s->dir);
    *s = closed;
}

int
spool_adopt(struct spool *s, const struct identity *identity)
{
    char text[256];
    int length;

    if (s->identity.system_identifier != 0) {
        if (s->identity.system_identifier != identity->system_identifier)
            return fail(
                ERR_CORRUPT,
                "the spool %s holds WAL of another database cluster: system identifier %" PRIu64
                ", not %" PRIu64,
                s->path, s->identity.system_identifier, identity->system_identifier);
        if (s->identity.segment_bytes != identity->segment_bytes)
            return fail(ERR_CORRUPT, "the spool %s holds segments of %u bytes, not %u", s->path,
                        s->identity.segment_bytes, identity->segment_bytes);
        s->identity.postgres_major = identity->postgres_major;
        return 0;
    }
    length = snprintf(
        text, sizeof text,
        "system_identifier %" PRIu64 "\nsegment_bytes %" PRIu32 "\npostgres_major %" PRIu16 "\n",
        identity->system_identifier, identity->segment_bytes, identity->postgres_major);
    if (durable_replace(s->dir, "identity", text, (size_t)length) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/identity", s->path);
    s->identity = *identity;
    return 0;
}
