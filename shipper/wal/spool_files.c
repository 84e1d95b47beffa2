/* SPDX-License-Identifier: PostgreSQL */
/*
 * The spool's files as they lie in its directory: their names, one pass over them, and the file
 * "position".
 */
#include "spool_private.h"

#include "base/durable.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool
spool_empty(const struct spool *s)
{
    return s->timeline == 0;
}

void
spool_damaged_name(char out[FILE_NAME_SIZE], const char *name)
{
    snprintf(out, FILE_NAME_SIZE, "%.24s" DAMAGED, name);
}

void
spool_name_of(const struct spool *s, timeline_t timeline, lsn_t lsn, char name[SEGMENT_NAME_SIZE],
              char partial[FILE_NAME_SIZE])
{
    segment_name(name, timeline, lsn, s->identity.segment_bytes);
    snprintf(partial, FILE_NAME_SIZE, "%s" PARTIAL, name);
}

bool
spool_parse_file(const struct spool *s, const char *name, timeline_t *ret_timeline,
                 lsn_t *ret_start, bool *ret_partial)
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

static int
visit(void *context, const struct durable_entry *entry)
{
    struct scan *scan = context;
    timeline_t timeline;
    lsn_t start;
    bool partial;

    if (!spool_parse_file(scan->s, entry->name, &timeline, &start, &partial)) {
        if (strlen(entry->name) == 24 + strlen(FRESH) && strcmp(entry->name + 24, FRESH) == 0)
            snprintf(scan->stale, sizeof scan->stale, "%s", entry->name);
        if (strlen(entry->name) == 24 + strlen(ASIDE) && strcmp(entry->name + 24, ASIDE) == 0 &&
            strcmp(entry->name, scan->aside) > 0)
            snprintf(scan->aside, sizeof scan->aside, "%s", entry->name);
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

int
spool_look(const struct spool *s, timeline_t timeline, lsn_t growing, struct scan *ret_scan)
{
    struct scan scan = {.s = s, .timeline = timeline, .growing = growing};
    int code = durable_list(s->dir, visit, &scan);

    if (code == -1) /* the list's own failure; visit's refusals have their codes */
        return fail_sys(ERR_LOCAL, "cannot list %s", s->path);
    if (code != 0)
        return code;
    *ret_scan = scan;
    return 0;
}

void
spool_close_segments(struct spool *s)
{
    durable_close(s->growing.fd);
    durable_close(s->full.fd);
    durable_close(s->read_fd);
    s->growing.fd = s->full.fd = s->read_fd = -1;
}

/*
 * Partial files other than the growing one: below it they are copies of complete segments, above it
 * they came while an earlier one was not flushed. None of their bytes was ever acknowledged.
 */
int
spool_remove_stale(const struct spool *s, lsn_t growing)
{
    struct scan scan;
    int code;

    while ((code = spool_look(s, s->timeline, growing, &scan)) == 0 && scan.stale[0] != '\0')
        if (durable_remove(s->dir, scan.stale) < 0)
            return fail_sys(ERR_LOCAL, "cannot remove %s/%s", s->path, scan.stale);
    return code;
}

void
spool_describe_position(const struct spool *s, const char *boot, lsn_t flushed,
                        char out[POSITION_SIZE])
{
    snprintf(out, POSITION_SIZE, "boot %s\ntimeline %" PRIu32 "\nflushed " LSN_FORMAT "\n",
             boot[0] != '\0' ? boot : "-", s->timeline, LSN_ARGS(flushed));
}

int
spool_distrust(struct spool *s)
{
    char text[POSITION_SIZE];

    spool_describe_position(s, "-", s->flushed, text);
    if (durable_replace(s->dir, "position", text, strlen(text)) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/position", s->path);
    s->recorded = s->flushed;
    return 0;
}
