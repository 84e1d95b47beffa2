/*
 * See spool.h. What is on disk is found again by reading names and sizes; the position file only
 * says how far a crash of the machine can be trusted. The growing segment is a plain append: one
 * write per piece of WAL. Two files may be open for writing, a full one that waits for its flush
 * and the growing one, so that receiving does not stop at a segment's end.
 */
#include "shipper/wal/spool.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (1u << 30)

#define FILE_NAME_SIZE 40
#define POSITION_SIZE  sizeof((struct flush *)0)->position
#define PARTIAL        ".partial"
#define FRESH          ".new" /* a copy that is not finished */
#define DAMAGED        ".damaged"
#define RECORD_US      SECOND_US
#define COMPARE_BYTES  (64u << 10)
#define PRUNE_MAX      16 /* files in one call: the loop has other things to do */

static void
partial_name(char out[FILE_NAME_SIZE], const char *name)
{
    snprintf(out, FILE_NAME_SIZE, "%.24s%s", name, PARTIAL);
}

/* "X.partial" -> "X.damaged" */
static void
damaged_name(char out[FILE_NAME_SIZE], const char *name)
{
    snprintf(out, FILE_NAME_SIZE, "%.24s%s", name, DAMAGED);
}

static void
name_of(const struct spool *s, timeline_t timeline, lsn_t lsn, char name[SEGMENT_NAME_SIZE],
        char partial[FILE_NAME_SIZE])
{
    segment_name(name, timeline, lsn, s->identity.segment_bytes);
    partial_name(partial, name);
}

static lsn_t
segment_end(const struct spool *s, lsn_t lsn)
{
    return segment_start(lsn, s->identity.segment_bytes) + s->identity.segment_bytes;
}

/* A file's name taken apart: a segment, complete or not. */
static bool
parse_file(const struct spool *s, const char *name, timeline_t *ret_timeline, lsn_t *ret_start,
           bool *ret_partial)
{
    char stem[FILE_NAME_SIZE];
    size_t length = strlen(name);

    *ret_partial =
        length > 24 && (strcmp(name + 24, PARTIAL) == 0 || strcmp(name + 24, DAMAGED) == 0);
    if (length != 24 && !*ret_partial)
        return false;
    memcpy(stem, name, 24);
    stem[24] = '\0';
    return segment_parse(stem, s->identity.segment_bytes, ret_timeline, ret_start);
}

/* ---- opening ---- */

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

/* One pass over the directory. */
struct scan {
    const struct spool *s;
    timeline_t timeline; /* look at its files; 0: only for the highest one */
    timeline_t highest;
    bool any, any_complete;
    lsn_t first;                /* start of the lowest file */
    lsn_t last_complete;        /* start of the highest complete one */
    lsn_t growing;              /* where a partial file belongs */
    char stale[FILE_NAME_SIZE]; /* one that is left over, "" when there is none */
};

static int
visit(void *context, const struct durable_entry *entry)
{
    struct scan *scan = context;
    timeline_t timeline;
    lsn_t start;
    bool partial;

    if (!parse_file(scan->s, entry->name, &timeline, &start, &partial)) {
        if (strlen(entry->name) == 24 + strlen(FRESH) && strcmp(entry->name + 24, FRESH) == 0)
            snprintf(scan->stale, sizeof scan->stale, "%s", entry->name);
        return 0;
    }
    if (entry->bytes > scan->s->identity.segment_bytes ||
        (!partial && entry->bytes != scan->s->identity.segment_bytes))
        return fail(ERR_CORRUPT,
                    "%s/%s has %" PRIu64 " bytes, segments of this pool have %u; move it away",
                    scan->s->path, entry->name, entry->bytes, scan->s->identity.segment_bytes);
    if (timeline > scan->highest)
        scan->highest = timeline;
    if (timeline != scan->timeline)
        return 0;
    if (!scan->any || start < scan->first)
        scan->first = start;
    scan->any = true;
    if (partial && start != scan->growing)
        snprintf(scan->stale, sizeof scan->stale, "%s", entry->name);
    if (!partial && (!scan->any_complete || start > scan->last_complete)) {
        scan->any_complete = true;
        scan->last_complete = start;
    }
    return 0;
}

static int
look(const struct spool *s, timeline_t timeline, lsn_t growing, struct scan *ret_scan)
{
    struct scan scan = {.s = s, .timeline = timeline, .growing = growing};
    int code = durable_list(s->dir, visit, &scan);

    if (code == -1) /* errno's; what visit refuses has its own code */
        return fail_sys(ERR_LOCAL, "cannot list %s", s->path);
    if (code < 0)
        return code;
    *ret_scan = scan;
    return 0;
}

/*
 * Unfinished copies, and partial files other than the growing one: below it copies of complete
 * segments, above it what came while an earlier one was not flushed. None was ever acknowledged.
 */
static int
remove_stale(const struct spool *s, lsn_t growing)
{
    struct scan scan;
    int code;

    while ((code = look(s, s->timeline, growing, &scan)) == 0 && scan.stale[0] != '\0')
        if (durable_remove(s->dir, scan.stale) < 0)
            return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, scan.stale);
    return code;
}

static int
complete_is_there(const struct spool *s, timeline_t timeline, lsn_t start, bool *ret_there)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE];
    int fd;

    name_of(s, timeline, start, name, partial);
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

/* The timeline that was the right one just below `end`, by the newest history. */
static timeline_t
timeline_before(const struct spool *s, const char *text, size_t length, lsn_t end)
{
    for (timeline_t t = history_next(text, length, 0, s->timeline); t < s->timeline;
         t = history_next(text, length, t, s->timeline)) {
        lsn_t fork;

        if (history_switch_point(text, length, t, &fork) && end <= fork)
            return t;
    }
    return s->timeline;
}

/* Down from the newest byte, over timelines, to the first that is held; below it nothing may be
 * left. */
static int
find_start(struct spool *s)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length = spool_history(s, s->timeline, text, sizeof text), code;
    lsn_t start = s->fd >= 0 ? s->fd_start : s->written;
    timeline_t timeline = s->timeline;
    struct scan scan;

    if (length < 0 && length != ERR_AGAIN)
        return length;
    for (bool there = true; start > 0;) {
        lsn_t below = start - s->identity.segment_bytes;

        timeline = length < 0 ? s->timeline : timeline_before(s, text, (size_t)length, start);
        code = complete_is_there(s, timeline, below, &there);
        if (code < 0)
            return code;
        if (!there)
            break;
        start = below;
    }
    s->start = start;
    code = look(s, timeline, 0, &scan);
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

/* What this spool's own words say was flushed: the position file, and where this timeline began. */
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
        return 0; /* the tail is not trusted, no more */
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
    /* killed just behind a switch: the new timeline's file got its name with all before the fork
     * flushed */
    if (timeline < s->timeline) {
        timeline_t next;

        if (!spool_switch_point(s, timeline, ret_flushed, &next) || next != s->timeline)
            *ret_flushed = 0;
    }
    return 0;
}

static void
describe_position(const struct spool *s, const char *boot, lsn_t flushed, char out[POSITION_SIZE])
{
    snprintf(out, POSITION_SIZE, "boot %s\ntimeline %" PRIu32 "\nflushed " LSN_FORMAT "\n",
             boot[0] != '\0' ? boot : "-", s->timeline, LSN_ARGS(flushed));
}

/* Say on disk that what lies above `flushed` is not known good, whatever boot this is. */
static int
distrust(struct spool *s)
{
    char text[POSITION_SIZE];

    describe_position(s, "-", s->flushed, text);
    if (durable_replace(s->dir, "position", text, strlen(text)) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/position", s->path);
    s->recorded = s->flushed;
    return 0;
}

/*
 * A partial file at `written`: its bytes, and how far they are known good. One that could not be
 * flushed is not flushed again: the kernel may have dropped its pages and would call that success.
 */
static int
open_tail(struct spool *s, lsn_t recorded, bool same_boot)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], damaged[FILE_NAME_SIZE];
    uint64_t bytes;

    name_of(s, s->timeline, s->written, name, partial);
    damaged_name(damaged, name);
    if (durable_open(s->dir, partial, DURABLE_WRITE, &s->fd) < 0) {
        if (errno == ENOENT && durable_open(s->dir, damaged, DURABLE_WRITE, &s->fd) == 0)
            s->damaged = true;
        else
            return errno == ENOENT ? ERR_AGAIN
                                   : fail_sys(ERR_LOCAL, "cannot open %s/%s", s->path, partial);
    }
    if (durable_size(s->fd, &bytes) < 0)
        return fail_sys(ERR_LOCAL, "cannot read %s/%s", s->path, partial);
    if (!s->damaged && durable_data(s->fd) < 0) {
        (void)!durable_rename(s->dir, partial, damaged);
        s->damaged = true;
    } else if (!s->damaged &&
               durable_remove(s->dir, damaged) < 0) { /* this one is made from its bytes */
        return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, damaged);
    }
    s->fd_start = s->written;
    s->written += bytes;
    s->flushed = s->available = s->written;
    if ((!same_boot || s->damaged) && recorded < s->written)
        s->flushed = s->available = recorded > s->fd_start ? recorded : s->fd_start;
    return 0;
}

/* A full, good tail only lacks its name; what grew behind it is the tail then. */
static int
open_tails(struct spool *s, lsn_t recorded, bool same_boot)
{
    int code;

    while ((code = open_tail(s, recorded, same_boot)) == 0 && !s->damaged &&
           s->flushed == s->fd_start + s->identity.segment_bytes) {
        char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE];

        name_of(s, s->timeline, s->fd_start, name, partial);
        durable_close(s->fd);
        s->fd = -1;
        if (durable_rename(s->dir, partial, name) < 0)
            return fail_sys(ERR_LOCAL, "cannot rename %s/%s", s->path, partial);
    }
    return code == ERR_AGAIN ? 0 : code;
}

static int
find_positions(struct spool *s)
{
    struct scan scan;
    lsn_t recorded;
    bool same_boot;
    int code = look(s, 0, 0, &scan);

    if (code < 0 || scan.highest == 0)
        return code;
    s->timeline = scan.highest;
    code = look(s, s->timeline, 0, &scan);
    if (code < 0)
        return code;
    s->written = scan.any_complete ? scan.last_complete + s->identity.segment_bytes : scan.first;
    s->flushed = s->available = s->written;
    if (durable_sync_dir(s->dir) <
        0) /* a killed process may have left a name that is only in memory */
        return fail_sys(ERR_LOCAL, "cannot flush the directory %s", s->path);
    code = load_position(s, &recorded, &same_boot);
    if (code == 0)
        code = open_tails(s, recorded, same_boot);
    if (code == 0)
        code = remove_stale(s, s->fd >= 0 ? s->fd_start : s->written);
    if (code == 0)
        code = find_start(s);
    s->recorded = recorded;
    if (code == 0 && recorded > s->written) {
        log_warning(
            "%s ends at " LSN_FORMAT ", but up to " LSN_FORMAT
            " was flushed once: the disk lost it, or files were taken away; it has to come again",
            s->path, LSN_ARGS(s->written), LSN_ARGS(recorded));
        code = distrust(s); /* or the old record would vouch for what comes */
    }
    return code;
}

int
spool_open(struct spool *s, const char *path)
{
    int code;

    *s = (struct spool){.dir = -1, .lock = -1, .fd = -1, .retired_fd = -1, .read_fd = -1};
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
        code = find_positions(s);
    if (code < 0)
        spool_close(s);
    return code;
}

void
spool_close(struct spool *s)
{
    if (s == NULL || s->path[0] == '\0')
        return;
    durable_close(s->fd);
    durable_close(s->retired_fd);
    durable_close(s->read_fd);
    durable_close(s->lock);
    durable_close(s->dir);
    *s = (struct spool){.dir = -1, .lock = -1, .fd = -1, .retired_fd = -1, .read_fd = -1};
}

bool
spool_empty(const struct spool *s)
{
    return s->timeline == 0;
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

/* ---- histories ---- */

int
spool_history(const struct spool *s, timeline_t timeline, char *out, size_t size)
{
    char name[HISTORY_NAME_SIZE];
    ssize_t got;

    history_name(name, timeline);
    got = durable_load(s->dir, name, out, size);
    if (got < 0 && errno == ENOENT)
        return ERR_AGAIN;
    if (got < 0)
        return fail_sys(errno == EFBIG ? ERR_CORRUPT : ERR_LOCAL, "cannot read %s/%s", s->path,
                        name);
    return (int)got;
}

int
spool_put_history(struct spool *s, timeline_t timeline, const char *text, size_t length)
{
    static char there[HISTORY_BYTES_MAX + 1];
    char name[HISTORY_NAME_SIZE];
    int got;

    if (length > HISTORY_BYTES_MAX)
        return fail(ERR_PEER, "the history of timeline %u has %zu bytes, more than %d", timeline,
                    length, HISTORY_BYTES_MAX);
    got = spool_history(s, timeline, there, sizeof there);
    history_name(name, timeline);
    if (got >= 0 && ((size_t)got != length || memcmp(there, text, length) != 0))
        return fail(
            ERR_CORRUPT,
            "the history of timeline %u differs from %s/%s: two servers made a timeline of that number; compare "
            "both files and decide which server is right",
            timeline, s->path, name);
    if (got >= 0)
        return 0;
    if (got != ERR_AGAIN)
        return got;
    if (durable_replace(s->dir, name, text, length) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/%s", s->path, name);
    return 0;
}

/* Both texts name the same switch point for every ancestor that ours knows. */
static bool
same_ancestors(const char *ours, size_t our_length, const char *theirs, size_t their_length,
               timeline_t last)
{
    for (timeline_t t = history_next(ours, our_length, 0, last); t < last;
         t = history_next(ours, our_length, t, last)) {
        lsn_t our_end, their_end;

        if (!history_switch_point(ours, our_length, t, &our_end) ||
            !history_switch_point(theirs, their_length, t, &their_end) || our_end != their_end)
            return false;
    }
    return true;
}

int
spool_check_history(const struct spool *s, timeline_t timeline, const char *text, size_t length)
{
    static char ours[HISTORY_BYTES_MAX + 1];
    int our_length;
    lsn_t fork;

    if (spool_empty(s))
        return 0;
    if (timeline < s->timeline)
        return fail(
            ERR_CORRUPT,
            "the server is on timeline %u, this spool holds timeline %u already: a former primary, or restored "
            "from an older state",
            timeline, s->timeline);
    our_length = spool_history(s, s->timeline, ours, sizeof ours);
    if (our_length < 0 && our_length != ERR_AGAIN)
        return our_length;
    if (timeline == s->timeline) {
        if (our_length > 0 && ((size_t)our_length != length || memcmp(ours, text, length) != 0))
            return fail(
                ERR_CORRUPT,
                "the history of timeline %u differs from the one in the spool %s: two servers made a timeline "
                "of that number",
                timeline, s->path);
        return 0;
    }
    if (!history_switch_point(text, length, s->timeline, &fork) ||
        (our_length > 0 && !same_ancestors(ours, (size_t)our_length, text, length, s->timeline)))
        return fail(ERR_CORRUPT,
                    "timeline %u does not descend from timeline %u, which this spool holds",
                    timeline, s->timeline);
    if (fork < s->flushed)
        return fail(ERR_CORRUPT,
                    "timeline %u forked from timeline %u at " LSN_FORMAT ", before " LSN_FORMAT
                    ", up to which this spool has acknowledged WAL",
                    timeline, s->timeline, LSN_ARGS(fork), LSN_ARGS(s->flushed));
    return 0;
}

bool
spool_switch_point(const struct spool *s, timeline_t timeline, lsn_t *ret_end, timeline_t *ret_next)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length;

    if (timeline >= s->timeline)
        return false;
    length = spool_history(s, s->timeline, text, sizeof text);
    if (length < 0 || !history_switch_point(text, (size_t)length, timeline, ret_end))
        return false;
    *ret_next = history_next(text, (size_t)length, timeline, s->timeline);
    return true;
}

/* ---- receiving ---- */

/* Does the segment before the border `lsn` belong to our timeline, so that it can come again? */
static bool
goes_on_before(const struct spool *s, lsn_t lsn)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int length = spool_history(s, s->timeline, text, sizeof text);

    if (lsn == s->start || (length < 0 && length != ERR_AGAIN))
        return false;
    return length < 0 || timeline_before(s, text, (size_t)length, lsn) == s->timeline;
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

static int
open_for_read(struct spool *s, timeline_t timeline, lsn_t start)
{
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], damaged[FILE_NAME_SIZE];
    /* a worker may give the file another name meanwhile: so the first one is tried again */
    const char *const names[] = {name, partial, damaged, name};

    if (s->read_fd >= 0 && s->read_timeline == timeline && s->read_start == start)
        return 0;
    durable_close(s->read_fd);
    s->read_fd = -1;
    name_of(s, timeline, start, name, partial);
    damaged_name(damaged, name);
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

/* Bytes that are here already: the same again are fine, others replace only what is a torn tail. */
static int
compare(struct spool *s, lsn_t lsn, const uint8_t *bytes, size_t n)
{
    static uint8_t there[COMPARE_BYTES];
    lsn_t start = segment_start(lsn, s->identity.segment_bytes);
    int code = open_for_read(s, s->timeline, start);

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
            if (lsn + at + same < s->available || s->fd < 0 || start != s->fd_start)
                return fail(
                    ERR_CORRUPT,
                    "other bytes at an acknowledged position: segment %s, offset %" PRIu64
                    " (" LSN_FORMAT
                    "). The primary was restored from an older state, or is another server; nothing was changed",
                    name, lsn + at + same - start, LSN_ARGS(lsn + at + same));
            if (durable_write(s->fd, bytes + at + same, piece - same, lsn + at + same - start) < 0)
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

    if (s->fd >= 0) { /* full */
        if (s->retired_fd >= 0)
            return ERR_AGAIN;
        if (s->flushing)
            s->flush_retired = true; /* the flush that is out has this file */
        s->retired_fd = s->fd;
        s->retired_start = s->fd_start;
        s->retired_new = s->fd_new;
        s->fd = -1;
    }
    name_of(s, s->timeline, s->written, name, partial);
    if (durable_open(s->dir, partial, DURABLE_CREATE, &s->fd) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s/%s", s->path, partial);
    durable_reserve(s->fd, s->identity.segment_bytes);
    s->fd_start = s->written;
    s->fd_new = true;
    return 0;
}

static int
append(struct spool *s, const uint8_t *bytes, size_t n)
{
    lsn_t offset;
    int code =
        s->fd < 0 || s->written == s->fd_start + s->identity.segment_bytes ? open_next(s) : 0;

    if (code < 0)
        return code;
    offset = s->written - s->fd_start;
    if (durable_write(s->fd, bytes, n, offset) < 0) {
        char name[SEGMENT_NAME_SIZE];

        segment_name(name, s->timeline, s->fd_start, s->identity.segment_bytes);
        return fail_sys(ERR_LOCAL, "cannot write %s/%s" PARTIAL, s->path, name);
    }
    s->written += n;
    s->available = s->written;
    return 0;
}

/*
 * A partial file with the first bytes of `from` (-1: there are none), under its name only when they
 * are flushed: at least `needed` of them, up to `most` as far as they can be read.
 */
static int
copy_partial(const struct spool *s, timeline_t timeline, lsn_t start, int from, uint64_t needed,
             uint64_t most, int *ret_fd, uint64_t *ret_copied)
{
    static _Thread_local uint8_t chunk[COMPARE_BYTES];
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], fresh[FILE_NAME_SIZE];
    uint64_t at = 0;
    int fd, code = 0;

    name_of(s, timeline, start, name, partial);
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
    if (code == 0 && (durable_data(fd) < 0 || durable_rename(s->dir, fresh, partial) < 0))
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

/* What the old timeline holds of the segment it forked in is the new one's beginning: the next
 * flush copies it. */
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
    if (s->clearing || (s->next_timeline != 0 && timeline == s->timeline))
        return ERR_AGAIN;
    if (timeline != s->timeline) {
        int code = switch_timeline(s, timeline, lsn, at, n);

        if (code < 0)
            return code;
    }
    if (lsn > s->available) /* also in a torn tail, which has to be compared first */
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

/* ---- flushing ---- */

static void
describe(const struct spool *s, lsn_t start, struct flush *f)
{
    char name[SEGMENT_NAME_SIZE];

    name_of(s, s->timeline, start, name, f->from);
    if (f->upto == start + s->identity.segment_bytes)
        snprintf(f->to, sizeof f->to, "%s", name);
}

/* After a pause of the WAL the last position has to get into its file, too: without a flush. */
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
    s->flush_retired = s->retired_fd >= 0;
    if (s->flush_retired) {
        f->fd = s->retired_fd;
        f->upto = s->retired_start + s->identity.segment_bytes;
        f->sync_dir = s->retired_new;
        describe(s, s->retired_start, f);
    } else if (s->fd >= 0 && s->flushed < s->available) {
        f->fd = s->fd;
        f->upto = s->available;
        f->sync_dir = s->fd_new;
        describe(s, s->fd_start, f);
    } else if (s->recorded >= s->flushed || !record_due(s, now_us)) {
        return false;
    }
    if (record_due(s, now_us)) {
        describe_position(s, s->available == s->written ? s->boot_id : "-", f->upto, f->position);
        s->recorded_us = now_us;
    }
    s->flushing = true;
    return true;
}

bool
spool_recover_begin(struct spool *s, struct flush *f)
{
    if (!s->damaged || s->flushing || s->clearing)
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
    damaged_name(damaged, f->from);
    /* so that a restart does not flush it again and believe that */
    (void)!durable_rename(f->dir, f->from, damaged);
    return code;
}

static int
make_switched(struct flush *f)
{
    struct spool *s = &f->as;
    lsn_t start = segment_start(f->upto, s->identity.segment_bytes);
    int code = f->upto > start ? open_for_read(s, s->timeline, start) : 0;

    if (code == ERR_AGAIN)
        code = fail(ERR_CORRUPT, "the segment of " LSN_FORMAT " is missing in %s", LSN_ARGS(start),
                    s->path);
    if (code == 0)
        code = copy_partial(s, s->next_timeline, start, s->read_fd, f->upto - start,
                            f->upto - start, &f->made_fd, &f->made_bytes);
    durable_close(s->read_fd);
    return code;
}

/*
 * The damaged segment's bytes in a new file: the old one's pages may never reach the disk, however
 * often they are flushed. What is above `flushed` is copied, too: after a restart `flushed` is only
 * what was recorded, and more was acknowledged. It is a tail to be compared, as after a crash.
 */
static int
make_recovered(struct flush *f)
{
    struct spool *s = &f->as;
    lsn_t start = segment_start(f->upto, s->identity.segment_bytes);
    char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], damaged[FILE_NAME_SIZE];
    int old = -1, code = distrust(s);

    if (code < 0)
        return code;
    name_of(s, s->timeline, start, name, partial);
    damaged_name(damaged, name);
    if (durable_open(s->dir, damaged, DURABLE_READ, &old) < 0 &&
        durable_open(s->dir, partial, DURABLE_READ, &old) < 0 &&
        durable_open(s->dir, name, DURABLE_READ, &old) < 0)
        old = -1;
    code = copy_partial(s, s->timeline, start, old, f->upto - start, s->identity.segment_bytes,
                        &f->made_fd, &f->made_bytes);
    durable_close(old);
    if (code == 0 && durable_remove(s->dir, damaged) < 0)
        code = fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, damaged);
    return code < 0 ? code : remove_stale(s, start);
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
    /* an older position is only a smaller promise: a full disk must not stop what was flushed */
    else if (f->position[0] != '\0' &&
             durable_replace(f->dir, "position", f->position, strlen(f->position)) < 0)
        f->position[0] = '\0';
}

/* What a job has made is the growing segment now. */
static void
take_made(struct spool *s, const struct flush *f)
{
    durable_close(s->fd);
    durable_close(s->retired_fd);
    durable_close(s->read_fd);
    s->retired_fd = s->read_fd = -1;
    s->fd = f->made_fd;
    s->fd_start = segment_start(f->upto, s->identity.segment_bytes);
    s->fd_new = false;
    s->written = s->fd_start + f->made_bytes;
    s->available = s->flushed = f->upto;
}

static int
end_job(struct spool *s, const struct flush *f)
{
    bool switches = f->kind == FLUSH_SWITCH;

    s->recorded = f->as.recorded;
    if (switches)
        s->next_timeline = 0; /* whoever wants it says so again */
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
    assert(s->flushing);
    s->flushing = false;
    if (f->kind != FLUSH_DATA)
        return end_job(s, f);
    if (f->code < 0) {
        s->damaged = true;
        s->available = s->flushed; /* what is read above it may not be what was written */
        return fail(f->code, "%s", f->reason);
    }
    if (f->upto > s->flushed)
        s->flushed = f->upto;
    if (f->position[0] != '\0')
        s->recorded = f->upto;
    if (f->to[0] != '\0') { /* it has its name */
        durable_close(s->flush_retired ? s->retired_fd : s->fd);
        *(s->flush_retired ? &s->retired_fd : &s->fd) = -1;
    } else if (f->fd >= 0) {
        *(s->flush_retired ? &s->retired_new : &s->fd_new) = false;
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

/* ---- serving ---- */

int
spool_read(struct spool *s, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    lsn_t end = s->available, start;
    timeline_t next;
    ssize_t got;
    int code;

    if (timeline != s->timeline && !spool_switch_point(s, timeline, &end, &next))
        return ERR_AGAIN;
    if (lsn >= end)
        return 0;
    start = segment_start(lsn, s->identity.segment_bytes);
    if (end > start + s->identity.segment_bytes)
        end = start + s->identity.segment_bytes;
    if (n > end - lsn)
        n = (size_t)(end - lsn);
    code = open_for_read(s, timeline, start);
    if (code < 0)
        return code;
    got = durable_read(s->read_fd, out, n, lsn - start);
    if (got < 0)
        return fail_sys(ERR_LOCAL, "cannot read the segment of " LSN_FORMAT " in %s", LSN_ARGS(lsn),
                        s->path);
    return (int)got;
}

struct first {
    const struct spool *s;
    timeline_t timeline;
    bool found;
    lsn_t start;
};

static int
visit_first(void *context, const struct durable_entry *entry)
{
    struct first *first = context;
    timeline_t timeline;
    lsn_t start;
    bool partial;

    if (!parse_file(first->s, entry->name, &timeline, &start, &partial) ||
        timeline != first->timeline)
        return 0;
    if (!first->found || start < first->start)
        first->start = start;
    first->found = true;
    return 0;
}

bool
spool_first(const struct spool *s, timeline_t timeline, lsn_t *ret_first)
{
    struct first first = {.s = s, .timeline = timeline};

    if (spool_empty(s) || durable_list(s->dir, visit_first, &first) < 0 || !first.found)
        return false;
    *ret_first = first.start;
    return true;
}

/* ---- what is no longer needed ---- */

struct oldest {
    const struct spool *s;
    size_t count;
    struct {
        lsn_t start;
        int64_t modified_us;
        char name[FILE_NAME_SIZE];
    } at[PRUNE_MAX]; /* lowest first */
};

static int
visit_oldest(void *context, const struct durable_entry *entry)
{
    struct oldest *o = context;
    timeline_t timeline;
    lsn_t start;
    bool partial;
    size_t i;

    if (!parse_file(o->s, entry->name, &timeline, &start, &partial) ||
        (partial && timeline == o->s->timeline))
        return 0;
    for (i = o->count; i > 0 && start < o->at[i - 1].start; i--)
        if (i < PRUNE_MAX)
            o->at[i] = o->at[i - 1];
    if (i == PRUNE_MAX)
        return 0;
    if (o->count < PRUNE_MAX)
        o->count++;
    o->at[i].start = start;
    o->at[i].modified_us = entry->modified_us;
    snprintf(o->at[i].name, sizeof o->at[i].name, "%s", entry->name);
    return 0;
}

static void
begin_prune(struct spool *s, struct prune *p)
{
    *p = (struct prune){.as = *s};
    s->pruning = true;
}

bool
spool_prune_begin(struct spool *s, struct prune *p, lsn_t needed_from, int64_t keep_us,
                  int64_t wall_us)
{
    if (needed_from > s->flushed)
        needed_from = s->flushed;
    if (spool_empty(s) || s->pruning || s->start + s->identity.segment_bytes >= needed_from ||
        s->oldest_us > wall_us - keep_us)
        return false;
    begin_prune(s, p);
    p->needed_from = needed_from;
    p->until_us = wall_us - keep_us;
    return true;
}

bool
spool_clear_begin(struct spool *s, struct prune *p)
{
    if (s->flushing || s->pruning)
        return false;
    begin_prune(s, p);
    p->all = s->clearing = true;
    p->as.timeline = 0; /* no file is the growing one */
    p->needed_from = UINT64_MAX;
    p->until_us = INT64_MAX;
    s->recorded_us = 0; /* the old position vouches for nothing: it goes, a new one is due */
    s->recorded = LSN_UNKNOWN;
    return true;
}

/* Some of the oldest ones; how many, 0 when there are no more that may go. One directory sync is
 * the caller's. */
static int
remove_oldest(struct prune *p)
{
    struct spool *s = &p->as;
    struct oldest o = {.s = s};
    size_t i;

    if (durable_list(s->dir, visit_oldest, &o) < 0)
        return fail_sys(ERR_LOCAL, "cannot list %s", s->path);
    /* always the oldest: a younger one before it would leave a hole */
    for (i = 0; i < o.count && o.at[i].modified_us <= p->until_us; i++) {
        lsn_t end = o.at[i].start + s->identity.segment_bytes;

        if (end >= p->needed_from)
            break;
        if (durable_unlink(s->dir, o.at[i].name) < 0)
            return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, o.at[i].name);
        if (end > s->start && end <= s->flushed) /* what is left is held still */
            s->start = end;
        p->removed++;
    }
    s->oldest_us = i < o.count ? o.at[i].modified_us : 0;
    return (int)i;
}

void
spool_prune_run(struct prune *p)
{
    int got = 0;

    if (p->all && durable_remove(p->as.dir, "position") < 0)
        got = fail_sys(ERR_LOCAL, "cannot remove %s/position", p->as.path);
    if (got == 0)
        got = remove_oldest(p);
    while (p->all && got > 0)
        got = remove_oldest(p);
    if (p->removed > 0 && durable_sync_dir(p->as.dir) < 0 && got >= 0)
        got = fail_sys(ERR_LOCAL, "cannot flush the directory %s", p->as.path);
    p->code = got < 0 ? got : 0;
    if (got < 0)
        snprintf(p->reason, sizeof p->reason, "%s", fail_message());
}

/* Nothing of it is left. */
static void
begin_anew(struct spool *s)
{
    durable_close(s->fd);
    durable_close(s->retired_fd);
    durable_close(s->read_fd);
    s->fd = s->retired_fd = s->read_fd = -1;
    s->timeline = s->next_timeline = 0;
    s->start = s->written = s->flushed = s->available = LSN_UNKNOWN;
    s->damaged = false;
}

int
spool_prune_end(struct spool *s, const struct prune *p)
{
    assert(s->pruning);
    s->pruning = s->clearing = false;
    if (p->as.start > s->start)
        s->start = p->as.start;
    s->oldest_us = p->as.oldest_us;
    if (s->read_fd >= 0 && s->read_start < s->start) { /* its room is given back only then */
        durable_close(s->read_fd);
        s->read_fd = -1;
    }
    if (p->code < 0)
        return fail(p->code, "%s", p->reason);
    if (p->all)
        begin_anew(s);
    return 0;
}

/* ---- restore_command ---- */

static bool
fetchable(const char *name)
{
    timeline_t timeline;
    lsn_t start;

    /* the smallest segments have the most names: whoever has larger ones has fewer files */
    return history_parse_name(name, &timeline) ||
           segment_parse(name, SEGMENT_BYTES_MIN, &timeline, &start);
}

/* Blocks that are shared, or copied inside the kernel, where the file system can. */
static bool
copy_inside(int from, int to)
{
    ssize_t got;

    if (ioctl(to, FICLONE, from) == 0)
        return true;
    while ((got = copy_file_range(from, NULL, to, NULL, COPY_BYTES, 0)) > 0)
        ;
    return got == 0 && lseek(to, 0, SEEK_CUR) > 0;
}

mode_t
spool_target_mode(const char *target)
{
    const char *slash = strrchr(target, '/');
    char directory[1024];
    struct stat about;

    snprintf(directory, sizeof directory, "%.*s", slash != NULL ? (int)(slash - target) : 1,
             slash != NULL ? target : ".");
    return stat(directory, &about) == 0 && (about.st_mode & S_IRWXG) == (S_IRGRP | S_IXGRP) ? 0640
                                                                                            : 0600;
}

/* Nothing is flushed: PostgreSQL does that with what it keeps. */
static int
copy_to(int from, const char *target)
{
    static uint8_t chunk[128u << 10];
    char temporary[1024];
    uint64_t at = 0;
    ssize_t got;
    int fd, code = 0;
    bool copied;

    if ((size_t)snprintf(temporary, sizeof temporary, "%s.walferry", target) >= sizeof temporary)
        return fail(ERR_USAGE, "the target path %.100s... is too long", target);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make %s", temporary);
    copied = copy_inside(from, fd);
    while (code == 0 && !copied && (got = durable_read(from, chunk, sizeof chunk, at)) != 0) {
        if (got < 0 || durable_write(fd, chunk, (size_t)got, at) < 0)
            code = fail_sys(ERR_LOCAL, "cannot copy to %s", temporary);
        at += got < 0 ? 0 : (uint64_t)got;
    }
    if (code == 0 && (fchmod(fd, spool_target_mode(target)) < 0 || rename(temporary, target) < 0))
        code = fail_sys(ERR_LOCAL, "cannot finish %s", target);
    close(fd);
    if (code < 0)
        unlink(temporary);
    return code;
}

int
spool_fetch(const char *path, const char *name, const char *target)
{
    int dir, fd, code;

    if (!fetchable(name))
        return fail(ERR_USAGE, "%.60s is neither a segment's nor a history file's name", name);
    if (durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the spool %s", path);
    if (durable_open(dir, name, DURABLE_READ, &fd) < 0) {
        code = errno == ENOENT ? ERR_AGAIN : fail_sys(ERR_LOCAL, "cannot open %s/%s", path, name);
        durable_close(dir);
        return code;
    }
    code = copy_to(fd, target);
    durable_close(fd);
    durable_close(dir);
    return code;
}
