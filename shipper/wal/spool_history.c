/* SPDX-License-Identifier: PostgreSQL */
/* The timeline histories that the spool holds, whether a server's history continues them, and where
 * a timeline's WAL begins and ends. */
#include "spool_private.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <string.h>

timeline_t
spool_timeline_before(const struct spool *s, const char *text, size_t length, lsn_t end)
{
    for (timeline_t t = history_next(text, length, 0, s->timeline); t < s->timeline;
         t = history_next(text, length, t, s->timeline)) {
        lsn_t fork;

        if (history_switch_point(text, length, t, &fork) && end <= fork)
            return t;
    }
    return s->timeline;
}

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

/* Where a higher timeline left ours, by its history; ERR_CORRUPT: it does not descend from it. */
static int
find_fork(const struct spool *s, timeline_t timeline, const char *text, size_t length,
          lsn_t *ret_fork)
{
    static char ours[HISTORY_BYTES_MAX + 1];
    int our_length = spool_history(s, s->timeline, ours, sizeof ours);

    if (our_length < 0 && our_length != ERR_AGAIN)
        return our_length;
    if (!history_switch_point(text, length, s->timeline, ret_fork) ||
        (our_length > 0 && !same_ancestors(ours, (size_t)our_length, text, length, s->timeline)))
        return fail(ERR_CORRUPT,
                    "timeline %u does not descend from timeline %u, which this spool holds",
                    timeline, s->timeline);
    return 0;
}

bool
spool_whole(const struct spool *s, lsn_t *ret_end)
{
    if (s->whole_upto != s->flushed)
        return false;
    *ret_end =
        s->whole < s->flushed ? s->whole : s->flushed; /* ahead of it behind a switch record */
    return true;
}

/* More was acknowledged than the server has: are there whole records in it? */
static int
check_behind(const struct spool *s, timeline_t timeline, lsn_t fork)
{
    lsn_t whole;
    bool known = spool_whole(s, &whole);

    if (known && whole == fork && !s->whole_damaged)
        return 0;
    return fail(known ? ERR_CORRUPT : ERR_AGAIN,
                "timeline %u forked from timeline %u at " LSN_FORMAT ", before " LSN_FORMAT
                ", up to which this spool has acknowledged WAL%s",
                timeline, s->timeline, LSN_ARGS(fork), LSN_ARGS(s->flushed),
                !known ? "; whether whole records lie between is not known yet" : "");
}

static int
check_same_timeline(const struct spool *s, timeline_t timeline, const char *text, size_t length)
{
    static char ours[HISTORY_BYTES_MAX + 1];
    int our_length = spool_history(s, s->timeline, ours, sizeof ours);

    if (our_length < 0)
        return our_length == ERR_AGAIN ? 0 : our_length;
    if (our_length > 0 && ((size_t)our_length != length || memcmp(ours, text, length) != 0))
        return fail(
            ERR_CORRUPT,
            "the history of timeline %u differs from the one in the spool %s: two servers made a timeline "
            "of that number",
            timeline, s->path);
    return 0;
}

int
spool_check_history(const struct spool *s, timeline_t timeline, const char *text, size_t length)
{
    lsn_t fork;
    int code;

    if (spool_empty(s))
        return 0;
    if (timeline < s->timeline)
        return fail(
            ERR_CORRUPT,
            "the server is on timeline %u, this spool holds timeline %u already: a former primary, or restored "
            "from an older state",
            timeline, s->timeline);
    if (timeline == s->timeline)
        return check_same_timeline(s, timeline, text, length);
    code = find_fork(s, timeline, text, length, &fork);
    return code == 0 && fork < s->flushed ? check_behind(s, timeline, fork) : code;
}

bool
spool_goes_on_behind(const struct spool *s, timeline_t timeline, const char *text, size_t length,
                     lsn_t *ret_fork)
{
    return !spool_empty(s) && timeline > s->timeline &&
           find_fork(s, timeline, text, length, ret_fork) == 0 && *ret_fork < s->flushed;
}

bool
spool_switch_point(const struct spool *s, timeline_t timeline, lsn_t *ret_end, timeline_t *ret_next)
{
    static _Thread_local char text[HISTORY_BYTES_MAX + 1];
    int length;

    if (timeline >= s->timeline)
        return false;
    length = spool_history(s, s->timeline, text, sizeof text);
    if (length < 0 || !history_switch_point(text, (size_t)length, timeline, ret_end))
        return false;
    *ret_next = history_next(text, (size_t)length, timeline, s->timeline);
    return true;
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

    if (!spool_parse_file(first->s, entry->name, &timeline, &start, &partial) ||
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
    lsn_t end, start, newer;

    if (spool_empty(s) || durable_list(s->dir, visit_first, &first) < 0)
        return false;
    if (!first.found) { /* its last bytes may be in a newer timeline's file */
        if (!spool_switch_point(s, timeline, &end, &timeline))
            return false;
        start = segment_start(end, s->identity.segment_bytes);
        if (end == start || !spool_first(s, timeline, &newer) || newer > start)
            return false;
        first.start = start;
    }
    *ret_first = first.start;
    return true;
}
