/* SPDX-License-Identifier: PostgreSQL */
/* See fetch.h. */
#include "handover/fetch.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_US       (500 * MILLISECOND_US)
#define ITEMS_PER_TURN 64

bool
fetch_from(const struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_lsn)
{
    const struct postgres_sample *s;

    if (!spool_empty(&in->spool)) {
        spool_resume(&in->spool, ret_timeline, ret_lsn);
        return true;
    }
    s = postgres_sample(in->who->postgres);
    if (s == NULL || s->replay == LSN_UNKNOWN || who_identity(in->who)->segment_bytes == 0)
        return false;
    *ret_timeline = s->timeline;
    *ret_lsn = segment_start(s->replay, who_identity(in->who)->segment_bytes);
    return true;
}

int
fetch_begin(struct fetch *t, struct incoming *in, const struct member *from,
            const struct lineage *lineage, struct position end, int64_t now_us)
{
    char conninfo[400];

    snprintf(conninfo, sizeof conninfo, "host='%s/far/%s' port=5432 user=walferry",
             in->who->self->run, from->name);
    *t = (struct fetch){.in = in,
                        .from = from,
                        .end = end,
                        .lineage = *lineage,
                        .history = malloc(lineage->length + 1),
                        .source = source_new(conninfo, "walferry_failover", "", NULL),
                        .moved_us = now_us,
                        .retry_us = now_us};
    if (t->history == NULL || t->source == NULL) {
        fetch_stop(t);
        return fail(ERR_LOCAL, "out of memory");
    }
    memcpy(t->history, lineage->text, lineage->length);
    t->history[lineage->length] = '\0';
    t->lineage.text = t->history;
    return 0;
}

void
fetch_stop(struct fetch *t)
{
    source_free(t->source);
    free(t->history);
    *t = (struct fetch){0};
}

void
fetch_watch(const struct fetch *t, struct loop *l)
{
    if (t->in != NULL)
        source_watch(t->source, l, !t->has_item);
}

/* The connection ended, and is made again. */
static void
rest(struct fetch *t, int64_t now_us)
{
    snprintf(t->reason, sizeof t->reason, "%s", fail_message());
    source_stop(t->source);
    t->has_item = false;
    t->retry_us = now_us + RETRY_US;
}

static void
start(struct fetch *t, int64_t now_us)
{
    timeline_t timeline;
    lsn_t lsn;

    if (now_us < t->retry_us || !fetch_from(t->in, &timeline, &lsn))
        return;
    if (source_start(t->source, who_identity(t->in->who), timeline, lsn, now_us) < 0)
        rest(t, now_us);
}

static int
take_item(struct fetch *t, int64_t now_us)
{
    const struct source_item *i = &t->item;

    if (i->kind == SOURCE_WAL)
        return incoming_take(t->in, i->timeline, i->lsn, i->bytes, i->length, now_us);
    if (!lineage_has(&t->lineage, i->timeline)) /* of a branch that died */
        return 0;
    return incoming_take_history(t->in, i->timeline, i->bytes, i->length);
}

/* 0, or an error that another try would meet, too. */
static int
take_items(struct fetch *t, int64_t now_us)
{
    for (int n = 0; n < ITEMS_PER_TURN; n++) {
        int code = t->has_item ? 1 : source_next(t->source, &t->item);

        if (code < 0)
            rest(t, now_us);
        if (code <= 0)
            return 0;
        t->has_item = true;
        code = take_item(t, now_us);
        if (code == ERR_AGAIN)
            return 0;
        if (code < 0)
            return code;
        t->has_item = false;
    }
    return 0;
}

static int
go_on(struct fetch *t, const struct loop *l, int64_t now_us)
{
    const struct spool *s = &t->in->spool;
    struct source_position position = {.write = s->written, .flush = s->flushed};

    if (!source_active(t->source)) {
        start(t, now_us);
        return 0;
    }
    if (source_run(t->source, l, now_us) < 0 || source_report(t->source, &position, now_us) < 0) {
        rest(t, now_us);
        return 0;
    }
    return take_items(t, now_us);
}

enum fetched
fetch_run(struct fetch *t, const struct loop *l, int64_t now_us)
{
    const struct spool *s = &t->in->spool;

    if (t->in->shut) { /* an error alone may be of WAL that was refuted before */
        snprintf(t->reason, sizeof t->reason, "it is not taken here: %.400s", t->in->error);
        return FETCH_FAILED;
    }
    if (s->timeline == t->end.timeline && s->flushed >= t->end.lsn)
        return FETCH_DONE;
    if (go_on(t, l, now_us) < 0) {
        snprintf(t->reason, sizeof t->reason, "%s", fail_message());
        return FETCH_FAILED;
    }
    if (source_streaming(t->source) && source_next_lsn(t->source) != t->moved) {
        t->moved = source_next_lsn(t->source);
        t->moved_us = now_us;
    }
    if (now_us - t->moved_us < FETCH_US)
        return FETCH_GOES_ON;
    if (t->reason[0] == '\0')
        snprintf(t->reason, sizeof t->reason, "nothing comes from its relay");
    return FETCH_FAILED;
}
