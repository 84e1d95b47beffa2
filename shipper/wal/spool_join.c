/* SPDX-License-Identifier: PostgreSQL */
/* Putting WAL before what the spool holds: see spool_join_begin. */
#include "spool_private.h"

#include "base/durable.h"
#include "base/fail.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Only looked at before the first file is moved: all of it must be of our lineage, and flushed. */
bool
spool_join_begin(struct spool *s, const struct spool *front, struct join *j)
{
    timeline_t next;
    lsn_t end;

    if (spool_empty(s) || spool_empty(front) || s->pruning || front->flushing || front->pruning ||
        front->damaged || front->start >= s->start || front->flushed < s->start)
        return false;
    if (front->timeline != s->timeline && !spool_switch_point(s, front->timeline, &end, &next))
        return false;
    *j = (struct join){
        .as = *s, .timeline = front->timeline, .from = front->start, .end = front->written};
    s->pruning = true; /* the segment that these end at must stay */
    return true;
}

/* First what came of the front behind our begin: alone there it would pass for the front's WAL. */
static int
remove_beyond(const struct join *j)
{
    const struct spool *s = &j->as;

    for (lsn_t lsn = s->start; lsn <= j->end; lsn += s->identity.segment_bytes) {
        char name[SEGMENT_NAME_SIZE], file[2][FILE_NAME_SIZE];

        spool_name_of(s, j->timeline, lsn, name, file[1]);
        snprintf(file[0], sizeof file[0], SPOOL_FRONT "/%s", name);
        snprintf(file[1], sizeof file[1], SPOOL_FRONT "/%s" PARTIAL, name);
        for (size_t i = 0; i < 2; i++)
            if (durable_unlink(s->dir, file[i]) < 0)
                return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, file[i]);
    }
    return 0;
}

void
spool_join_run(struct join *j)
{
    static _Thread_local char text[HISTORY_BYTES_MAX + 1];
    struct spool *s = &j->as;
    int length = spool_history(s, s->timeline, text, sizeof text);

    j->code = length < 0 && length != ERR_AGAIN ? length : remove_beyond(j);
    while (j->code == 0 && s->start > j->from) {
        char name[SEGMENT_NAME_SIZE], partial[FILE_NAME_SIZE], from[FILE_NAME_SIZE];
        lsn_t below = s->start - s->identity.segment_bytes;

        spool_name_of(
            s, length < 0 ? s->timeline : spool_timeline_before(s, text, (size_t)length, s->start),
            below, name, partial);
        snprintf(from, sizeof from, SPOOL_FRONT "/%s", name);
        if (durable_rename(s->dir, from, name) < 0)
            j->code = fail_sys(ERR_LOCAL, "cannot move %s/%s", s->path, from);
        else
            s->start = below;
    }
    if (j->code < 0)
        snprintf(j->reason, sizeof j->reason, "%s", fail_message());
}

int
spool_join_end(struct spool *s, const struct join *j)
{
    assert(s->pruning);
    s->pruning = false;
    s->start = j->as.start;
    s->oldest_us = 0;
    return j->code < 0 ? fail(j->code, "%s", j->reason) : 0;
}
