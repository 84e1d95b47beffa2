/* SPDX-License-Identifier: PostgreSQL */
/* See supply.h. */
#include "shipper/replication/supply.h"

#include "base/durable.h"
#include "base/fail.h"
#include "shipper/wal/pgwal.h"

bool
supply_empty(const struct supply *s)
{
    return spool_empty(s->spool);
}

/* Does our PostgreSQL's WAL follow the spool's? */
static bool
goes_on(const struct supply *s)
{
    lsn_t end;

    return s->timeline > s->spool->timeline && !spool_empty(s->spool) &&
           history_switch_point(s->history, s->history_bytes, s->spool->timeline, &end);
}

static int
visit_history(void *context, const struct durable_entry *entry)
{
    timeline_t *newest = context, timeline;

    if (history_parse_name(entry->name, &timeline) && timeline > *newest)
        *newest = timeline;
    return 0;
}

timeline_t
supply_newest(const struct supply *s, lsn_t *ret_end)
{
    timeline_t newest = 1;

    *ret_end = goes_on(s) ? s->flushed : s->spool->available;
    if (goes_on(s))
        return s->timeline;
    if (!spool_empty(s->spool))
        return s->spool->timeline;
    durable_list(s->spool->dir, visit_history, &newest);
    return newest;
}

bool
supply_switch_point(const struct supply *s, timeline_t timeline, lsn_t *ret_end,
                    timeline_t *ret_next)
{
    if (spool_switch_point(s->spool, timeline, ret_end, ret_next))
        return true;
    if (!goes_on(s) || !history_switch_point(s->history, s->history_bytes, timeline, ret_end))
        return false;
    *ret_next = history_next(s->history, s->history_bytes, timeline, s->timeline);
    return true;
}

timeline_t
supply_oldest(const struct supply *s, lsn_t *ret_start)
{
    static char text[HISTORY_BYTES_MAX + 1];
    timeline_t timeline = s->spool->timeline, next = 0;
    int length = spool_history(s->spool, timeline, text, sizeof text);
    lsn_t end;

    *ret_start = s->spool->start;
    while (length > 0) {
        next = history_next(text, (size_t)length, next, timeline);
        if (next == timeline ||
            (history_switch_point(text, (size_t)length, next, &end) && s->spool->start < end))
            return next;
    }
    return timeline;
}

bool
supply_holds(const struct supply *s, timeline_t timeline, lsn_t lsn)
{
    const struct spool *spool = s->spool;
    uint8_t byte;
    lsn_t first;

    if (timeline == spool->timeline &&
        lsn >= segment_start(spool->available, spool->identity.segment_bytes))
        return true;
    if (spool_first(spool, timeline, &first) && lsn >= first)
        return true;
    return goes_on(s) && supply_read(s, timeline, lsn, &byte, 1) >= 0;
}

/* The last bytes of an old timeline are in the next timeline's file of the same segment. */
static int
read_server(const struct supply *s, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    uint32_t segment_bytes = s->spool->identity.segment_bytes;
    timeline_t next;
    lsn_t end;

    if (supply_switch_point(s, timeline, &end, &next) &&
        segment_start(end, segment_bytes) == segment_start(lsn, segment_bytes))
        timeline = next;
    return pgwal_serve(s->pgdata, segment_bytes, timeline, lsn, out, n);
}

int
supply_read(const struct supply *s, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    timeline_t next;
    lsn_t end;
    int got;

    if (!goes_on(s))
        return spool_read(s->spool, timeline, lsn, out, n);
    end = s->flushed;
    if (timeline != s->timeline && !supply_switch_point(s, timeline, &end, &next))
        return ERR_AGAIN;
    if (lsn >= end)
        return 0;
    if (n > end - lsn)
        n = (size_t)(end - lsn);
    got = spool_read(s->spool, timeline, lsn, out, n);
    return got == 0 || got == ERR_AGAIN ? read_server(s, timeline, lsn, out, n) : got;
}

int
supply_history(const struct supply *s, timeline_t timeline, char *out, size_t size)
{
    int length = spool_history(s->spool, timeline, out, size);

    return length == ERR_AGAIN && goes_on(s) ? pgwal_history(s->pgdata, timeline, out, size)
                                             : length;
}
