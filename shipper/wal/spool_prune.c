/* SPDX-License-Identifier: PostgreSQL */
/* Removing WAL that is no longer needed from the spool, oldest first: see spool_prune_begin. */
#include "spool_private.h"

#include "base/durable.h"
#include "base/fail.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PRUNE_MAX 16 /* files in one call: the loop has other things to do */

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

    if (!spool_parse_file(o->s, entry->name, &timeline, &start, &partial) ||
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
    if (spool_empty(s) || s->pruning || s->cutting ||
        s->start + s->identity.segment_bytes >= needed_from || s->oldest_us > wall_us - keep_us)
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
    s->recorded_us = 0; /* the old position file goes, a new one is due */
    s->recorded = LSN_UNKNOWN;
    return true;
}

/* Remove some of the oldest files. How many; 0: no more may go. The caller syncs the directory. */
static int
remove_oldest(struct prune *p)
{
    struct spool *s = &p->as;
    struct oldest o = {.s = s};
    size_t i;

    if (durable_list(s->dir, visit_oldest, &o) < 0)
        return fail_sys(ERR_LOCAL, "cannot list %s", s->path);
    /* the oldest always goes first: else a hole is left */
    for (i = 0; i < o.count && o.at[i].modified_us <= p->until_us; i++) {
        lsn_t end = o.at[i].start + s->identity.segment_bytes;

        if (end >= p->needed_from)
            break;
        if (durable_unlink(s->dir, o.at[i].name) < 0)
            return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, o.at[i].name);
        if (end > s->start && end <= s->flushed) /* the rest is still held */
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

/* No WAL is left. */
static void
begin_anew(struct spool *s)
{
    spool_close_segments(s);
    s->timeline = s->next_timeline = 0;
    s->whole_upto = LSN_UNKNOWN;
    s->start = s->written = s->flushed = s->available = LSN_UNKNOWN;
    s->damaged = s->lost = false;
}

int
spool_prune_end(struct spool *s, const struct prune *p)
{
    assert(s->pruning);
    s->pruning = s->clearing = false;
    if (p->as.start > s->start)
        s->start = p->as.start;
    s->oldest_us = p->as.oldest_us;
    if (s->read_fd >= 0 && s->read_start < s->start) { /* only closing it frees its space */
        durable_close(s->read_fd);
        s->read_fd = -1;
    }
    if (p->code < 0)
        return fail(p->code, "%s", p->reason);
    if (p->all)
        begin_anew(s);
    return 0;
}
