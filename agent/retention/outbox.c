/* SPDX-License-Identifier: PostgreSQL */
/* See outbox.h. */
#include "retention/outbox.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define RETRY_US       (2 * SECOND_US)
#define LOOK_US        (200 * MILLISECOND_US)
#define ITEMS_PER_TURN 32 /* 4 MB, as a link's */

/* The message of now; logged when it is another one. */
static void
refuse(struct outbox *o, int code, int64_t now_us)
{
    o->code = code;
    source_stop(o->source);
    o->waiting = o->skips = false;
    o->retry_us = now_us + RETRY_US;
    if (strcmp(o->error, fail_message()) == 0)
        return;
    snprintf(o->error, sizeof o->error, "%s", fail_message());
    log_warning("%s: %s", o->name, o->error);
}

static int
open_spool(struct outbox *o)
{
    if (mkdir(o->path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", o->path);
    return spool_open(&o->spool, o->path);
}

int
outbox_open(struct outbox *o, const char *name, const char *path, const char *run,
            const char *conninfo, const char *pgdata)
{
    int code;

    *o = (struct outbox){.name = name, .path = path, .bytes_max = UINT64_MAX};
    o->spool.dir = o->spool.lock = -1;
    snprintf(o->run, sizeof o->run, "%s/%s", run, name);
    snprintf(o->conninfo, sizeof o->conninfo, "host='%s' port=5432 user=walferry", o->run);
    if (mkdir(o->run, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", o->run);
    code = outbox_from(o, conninfo, pgdata);
    if (code == 0)
        code = worker_init(&o->flusher);
    if (code == 0)
        code = worker_init(&o->pruner);
    if (code == 0)
        code = relay_open(&o->relay, o->run, &o->spool, NULL, 0);
    if (code == 0 && outbox_reload(o) < 0)
        refuse(o, ERR_LOCAL, clock_us());
    return code;
}

int
outbox_from(struct outbox *o, const char *conninfo, const char *pgdata)
{
    source_free(o->source);
    o->source = source_new(conninfo, "walferry_outbox", "", pgdata);
    return o->source != NULL ? 0 : fail(ERR_LOCAL, "out of memory for the outbox");
}

void
outbox_close(struct outbox *o)
{
    source_free(o->source);
    relay_close(&o->relay);
    worker_release(&o->flusher);
    worker_release(&o->pruner);
    spool_close(&o->spool);
    *o = (struct outbox){0};
}

int
outbox_reload(struct outbox *o)
{
    if (o->filling || o->spool.flushing || o->spool.pruning)
        return fail(ERR_USAGE, "the outbox %s is being filled, or emptied", o->path);
    spool_close(&o->spool);
    return open_spool(o);
}

void
outbox_fill(struct outbox *o, const struct identity *identity, timeline_t timeline, lsn_t from)
{
    if (!o->filling)
        log_info("%s: takes WAL from " LSN_FORMAT " on", o->name,
                 LSN_ARGS(spool_empty(&o->spool) ? from : o->spool.available));
    o->filling = true;
    o->identity = *identity;
    o->from_timeline = timeline;
    o->from = segment_start(from, identity->segment_bytes);
}

void
outbox_stop(struct outbox *o)
{
    if (!o->filling)
        return;
    log_info("%s: takes no more, it ends at " LSN_FORMAT, o->name, LSN_ARGS(o->spool.available));
    source_stop(o->source);
    o->filling = o->waiting = o->full = false;
}

bool
outbox_receives(const struct outbox *o)
{
    return o->filling && !o->full && source_streaming(o->source);
}

/* A worker has to do its part before it is known where to go on. */
static bool
rests(const struct outbox *o)
{
    return o->spool.damaged || o->spool.clearing || o->spool.next_timeline != 0;
}

static void
start(struct outbox *o, int64_t now_us)
{
    timeline_t timeline = o->from_timeline;
    lsn_t from = o->from;
    int code;

    if (now_us < o->retry_us || rests(o))
        return;
    o->retry_us = now_us + RETRY_US;
    code = o->spool.dir < 0 ? open_spool(o) : 0;
    if (code == 0)
        code = spool_adopt(&o->spool, &o->identity);
    if (code == 0 && !spool_empty(&o->spool))
        spool_resume(&o->spool, &timeline, &from); /* compares what is there with the server's */
    if (code == 0 && o->skips)
        from = o->spool.available;
    if (code == 0 && o->proof != NULL)
        code = proof_begin(o->proof, &o->spool, timeline, from);
    if (code == 0)
        code = source_start(o->source, &o->identity, timeline, from, now_us);
    if (code < 0)
        refuse(o, code, now_us);
}

/* The bounds, looked at a few times a second. */
static void
look_for_room(struct outbox *o, int64_t now_us)
{
    uint64_t size = 0, room = 0;

    if (now_us - o->looked_us < LOOK_US)
        return;
    o->looked_us = now_us;
    if (durable_room(o->spool.dir, &size, &room) < 0)
        return;
    o->full = o->spool.written - o->spool.start >= o->bytes_max ||
              room < reserve_bytes(&o->reserve, size);
}

static int
take(struct outbox *o, int64_t now_us)
{
    const struct source_item *item = &o->item;
    timeline_t ours = spool_empty(&o->spool) ? o->from_timeline : o->spool.timeline;
    int code = 0;

    if (item->kind == SOURCE_HISTORY && item->timeline <= ours)
        return 0; /* the far side has it from the server */
    if (item->kind == SOURCE_HISTORY)
        return spool_put_history(&o->spool, item->timeline, item->bytes, item->length);
    if (spool_empty(&o->spool))
        code = spool_begin(&o->spool, item->timeline, item->lsn);
    if (code < 0)
        return code;
    if (o->proof != NULL)
        return proof_put(o->proof, &o->spool, item->timeline, item->lsn, item->bytes, item->length,
                         now_us);
    return spool_append(&o->spool, item->timeline, item->lsn, item->bytes, item->length, now_us);
}

/* Items into the spool; one that has to wait for a flush is kept. */
static int
take_items(struct outbox *o, int64_t now_us)
{
    for (int i = 0; i < ITEMS_PER_TURN && !o->full; i++) {
        int code = o->waiting ? 1 : source_next(o->source, &o->item);

        if (code <= 0)
            return code;
        code = take(o, now_us);
        o->waiting = code == ERR_AGAIN;
        if (code < 0)
            return o->waiting ? 0 : code;
        o->error[0] = '\0';
        o->skips = false;
    }
    return 0;
}

/* It ends on a segment's border, and the server has the segment before it, which would only be
 * compared, no longer. */
static bool
lacks_comparison(const struct outbox *o)
{
    const struct spool *s = &o->spool;

    return strcmp(source_sqlstate(o->source), "58P01") == 0 && !spool_empty(s) &&
           source_next_lsn(o->source) < s->available &&
           s->available == segment_start(s->available, s->identity.segment_bytes);
}

static void
fill(struct outbox *o, const struct loop *l, int64_t now_us)
{
    static const struct source_position nothing; /* it is not the other site */
    int code;

    if (!source_active(o->source))
        start(o, now_us);
    look_for_room(o, now_us);
    code = source_run(o->source, l, now_us);
    if (code >= 0)
        code = source_report(o->source, &nothing, now_us);
    if (code >= 0)
        code = take_items(o, now_us);
    if (code >= 0 && o->proof != NULL) {
        code = proof_pour(o->proof, &o->spool, now_us);
        code = code == ERR_AGAIN ? 0 : code;
    }
    if (code < 0 && lacks_comparison(o)) {
        log_warning("%s: PostgreSQL has the WAL before " LSN_FORMAT
                    " no longer, so it is not compared with what is here",
                    o->name, LSN_ARGS(o->spool.available));
        source_stop(o->source);
        o->skips = true;
        o->retry_us = now_us;
    } else if (code < 0) {
        refuse(o, code, now_us);
    }
}

static void
job_flush(void *job)
{
    spool_flush_run(job);
}

static void
job_prune(void *job)
{
    spool_prune_run(job);
}

static void
begin_flush(struct outbox *o, int64_t now_us)
{
    if (worker_busy(&o->flusher) || o->spool.dir < 0)
        return;
    if (o->spool.damaged ? now_us >= o->retry_us && spool_recover_begin(&o->spool, &o->flush)
                         : spool_flush_begin(&o->spool, &o->flush, now_us))
        worker_submit(&o->flusher, job_flush, &o->flush);
}

static void
end_pruning(struct outbox *o)
{
    if (!worker_done(&o->pruner))
        return;
    if (spool_prune_end(&o->spool, &o->pruning) < 0)
        log_warning("%s: %s", o->name, fail_message());
    else if (o->pruning.all)
        log_info("%s: nothing in it is needed any more, it is empty again", o->name);
}

void
outbox_run(struct outbox *o, const struct loop *l, int64_t now_us)
{
    if (worker_done(&o->flusher) && spool_flush_end(&o->spool, &o->flush) < 0)
        refuse(o, ERR_LOCAL, now_us);
    end_pruning(o);
    if (o->filling)
        fill(o, l, now_us);
    begin_flush(o, now_us);
    relay_run(&o->relay, l, now_us);
}

void
outbox_watch(const struct outbox *o, struct loop *l, int64_t now_us)
{
    loop_watch(l, worker_fd(&o->flusher), POLLIN);
    loop_watch(l, worker_fd(&o->pruner), POLLIN);
    relay_watch(&o->relay, l, now_us);
    if (o->spool.damaged && !o->spool.flushing && !o->spool.clearing)
        loop_due(l, o->retry_us);
    if (!o->filling)
        return;
    if (!source_active(o->source)) {
        loop_due(l, rests(o) ? NEVER_US : o->retry_us);
        return;
    }
    source_watch(o->source, l, !o->full && !o->waiting);
    loop_due(l, now_us + SOURCE_REPORT_US);
}

struct aside {
    int dir;
    char name[32]; /* of the folder */
};

static int
move_aside(void *context, const struct durable_entry *entry)
{
    const struct aside *aside = context;
    char to[300];

    snprintf(to, sizeof to, "%s/%s", aside->name, entry->name);
    return strcmp(entry->name, "lock") == 0 || strcmp(entry->name, "identity") == 0
               ? 0
               : renameat(aside->dir, entry->name, aside->dir, to);
}

int
outbox_set_aside(struct outbox *o, const char *why)
{
    struct aside aside = {.dir = o->spool.dir};

    outbox_stop(o);
    if (spool_empty(&o->spool))
        return 0;
    if (o->spool.flushing || o->spool.pruning)
        return ERR_AGAIN;
    snprintf(aside.name, sizeof aside.name, "aside-%lld", (long long)clock_wall_us());
    log_error("outbox: %s; it is kept in %s/%s and not shipped", why, o->path, aside.name);
    if (mkdirat(aside.dir, aside.name, 0700) < 0 ||
        durable_list(aside.dir, move_aside, &aside) < 0 || durable_sync_dir(aside.dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot move what is in %s", o->path);
    return outbox_reload(o);
}

void
outbox_prune(struct outbox *o, lsn_t needed_from)
{
    struct spool *s = &o->spool;
    bool all = !o->filling && s->flushed == s->written && needed_from >= s->written;

    if (spool_empty(s) || worker_busy(&o->pruner))
        return;
    if (all ? spool_clear_begin(s, &o->pruning)
            : spool_prune_begin(s, &o->pruning, needed_from, 0, INT64_MAX))
        worker_submit(&o->pruner, job_prune, &o->pruning);
}
