/* SPDX-License-Identifier: PostgreSQL */
/* The timeline histories that the spool holds, and whether a server's history continues them. */
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
