/* See ladder.h. */
#include "ladder.h"

#include "agent.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

static void
save(struct agent *a)
{
    if (gaps_save(&a->gaps, a->spool.dir) < 0)
        log_error("%s", fail_message());
}

struct gap *
ladder_open_gap(struct agent *a, const char *member, timeline_t timeline, lsn_t start, lsn_t end,
                const char *why)
{
    struct gap *gap = gap_open(&a->gaps, member, timeline, start, end, why, clock_wall_us());
    char bytes[24];

    if (gap == NULL)
        return NULL;
    save(a);
    log_warning("gap: %s lacks WAL from " LSN_FORMAT " to " LSN_FORMAT " of timeline %u (%s): %s",
                member, LSN_ARGS(gap->start), LSN_ARGS(gap->end), gap->timeline,
                text_bytes(bytes, sizeof bytes, gap->end - gap->start), why);
    return gap;
}
