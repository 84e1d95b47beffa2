/* SPDX-License-Identifier: PostgreSQL */
/* See front.h. */
#include "links/front.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "links/incoming.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
front_lacks(const struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_lsn)
{
    const struct postgres_sample *s = postgres_sample(in->who->postgres);
    const struct spool *spool = &in->spool;
    timeline_t timeline = in->relay.wanted_timeline, next;
    lsn_t lsn = in->relay.wanted, end;
    struct relay_standby standby;

    relay_standby(&in->relay, &standby);
    if (lsn == LSN_UNKNOWN && s != NULL && s->in_recovery) {
        timeline = s->timeline;
        lsn = s->replay;
    }
    if (in->who->role != ROLE_STANDBY || in->held || standby.connected || lsn == LSN_UNKNOWN ||
        spool_empty(spool) || segment_start(lsn, spool->identity.segment_bytes) >= spool->start)
        return false;
    if (timeline != spool->timeline &&
        !(spool_switch_point(spool, timeline, &end, &next) && lsn <= end))
        return false; /* another lineage: nobody has the WAL that it needs */
    *ret_timeline = timeline;
    *ret_lsn = lsn;
    return true;
}

/* ---- the folder ---- */

static int
open_folder(struct front *f, const char *spool)
{
    char path[sizeof f->spool.path];

    snprintf(path, sizeof path, "%s/" SPOOL_FRONT, spool);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make %s", path);
    f->over = false;
    return spool_open(&f->spool, path);
}

static int
remove_file(void *dir, const struct durable_entry *entry)
{
    return durable_unlink(*(const int *)dir, entry->name) < 0 ? -1 : 0;
}

/* All WAL is out of it. */
static void
remove_folder(struct front *f)
{
    char path[sizeof f->spool.path];

    snprintf(path, sizeof path, "%s", f->spool.path);
    if (durable_list(f->spool.dir, remove_file, &f->spool.dir) < 0)
        log_warning("cannot remove what is in %s: %s", path, strerror(errno));
    spool_close(&f->spool);
    if (rmdir(path) < 0)
        log_warning("cannot remove %s: %s", path, strerror(errno));
    f->over = false;
}

/* ---- the worker's jobs ---- */

static void
job_flush(void *job)
{
    spool_flush_run(job);
}

static void
job_join(void *job)
{
    spool_join_run(job);
}

static void
job_clear(void *job)
{
    spool_prune_run(job);
}

/* It is begun anew: what it had comes again. */
static void
give_up(struct front *f, int64_t now_us)
{
    log_warning("%s; what was got of it is got again", fail_message());
    f->over = true;
    f->rest_until_us = now_us + FRONT_PATIENCE_US;
}

static void
end_job(struct incoming *in, int64_t now_us)
{
    struct front *f = &in->front;
    enum front_job job = f->job;

    if (!worker_done(&f->worker))
        return;
    f->job = FRONT_RESTS;
    switch (job) {
    case FRONT_RESTS:
        break;
    case FRONT_FLUSHES:
        if (spool_flush_end(&f->spool, &f->flush) < 0)
            give_up(f, now_us);
        break;
    case FRONT_JOINS:
        if (spool_join_end(&in->spool, &f->join) < 0)
            give_up(f, now_us);
        else
            log_info("the spool begins at " LSN_FORMAT " now: PostgreSQL here has all it needs",
                     LSN_ARGS(in->spool.start));
        f->over = true;
        break;
    case FRONT_IS_CLEARED:
        if (spool_prune_end(&f->spool, &f->prune) == 0) {
            remove_folder(f);
            break;
        }
        log_warning("%s", fail_message());
        f->clear_us = now_us + FRONT_PATIENCE_US;
        break;
    }
}

static bool
is_fed(const struct incoming *in)
{
    return receiver_live(&in->receiver) && in->receiver.into == &in->front.spool;
}

static void
begin_job(struct incoming *in, int64_t now_us)
{
    struct front *f = &in->front;

    if (f->spool.dir < 0 || worker_busy(&f->worker))
        return;
    if (!is_fed(in) && f->over && spool_empty(&f->spool)) {
        remove_folder(f);
    } else if (!is_fed(in) && f->over) {
        if (now_us >= f->clear_us && spool_clear_begin(&f->spool, &f->prune)) {
            f->job = FRONT_IS_CLEARED;
            worker_submit(&f->worker, job_clear, &f->prune);
        }
    } else if (!is_fed(in) && spool_join_begin(&in->spool, &f->spool, &f->join)) {
        f->job = FRONT_JOINS;
        worker_submit(&f->worker, job_join, &f->join);
    } else if (spool_flush_begin(&f->spool, &f->flush, now_us)) {
        f->job = FRONT_FLUSHES;
        worker_submit(&f->worker, job_flush, &f->flush);
    }
}

/* ---- whose turn it is ---- */

static bool
is_asked_for(const struct incoming *in)
{
    return in->relay.wanted != LSN_UNKNOWN;
}

void
front_direct(struct incoming *in, timeline_t *ret_timeline, lsn_t *ret_wanted, int64_t now_us)
{
    struct front *f = &in->front;
    timeline_t timeline;
    lsn_t lsn;

    in->receiver.into = &in->spool;
    if (f->job != FRONT_RESTS || f->over || now_us < f->rest_until_us || !is_asked_for(in) ||
        !front_lacks(in, &timeline, &lsn))
        return;
    if (f->spool.dir < 0 && open_folder(f, in->spool.path) < 0) {
        log_warning("%s", fail_message());
        f->rest_until_us = now_us + FRONT_PATIENCE_US;
        return;
    }
    f->over =
        f->spool.damaged || (!spool_empty(&f->spool) &&
                             f->spool.start > segment_start(lsn, in->spool.identity.segment_bytes));
    if (f->over)
        return;
    in->receiver.into = &f->spool;
    *ret_timeline = timeline;
    *ret_wanted = lsn;
    f->moved = f->spool.written;
    f->moved_us = now_us;
}

/* `lacks`: and the far side was told so. */
static void
end_turn(struct incoming *in, bool lacks, int64_t now_us)
{
    struct front *f = &in->front;

    if (f->spool.written != f->moved) {
        f->moved = f->spool.written;
        f->moved_us = now_us;
    }
    if (!is_fed(in)) {
        if (lacks && is_asked_for(in) && now_us >= f->rest_until_us && f->job == FRONT_RESTS &&
            !f->over)
            inlet_end(&in->inlet, f->reason);
    } else if (f->over) {
        inlet_end(&in->inlet, "the WAL before the spool is not needed, or got anew");
    } else if (!spool_empty(&f->spool) && f->spool.flushed >= in->spool.start) {
        inlet_end(&in->inlet, "the WAL before the spool is here, the link goes on at its end");
    } else if (now_us - f->moved_us >= FRONT_PATIENCE_US) {
        f->rest_until_us = now_us + FRONT_REST_US;
        inlet_end(&in->inlet, "no WAL from before the spool comes, the link goes on at its end");
    }
}

void
front_run(struct incoming *in, int64_t now_us)
{
    struct front *f = &in->front;
    char first[LSN_TEXT_SIZE];
    bool lacks, told = f->reason[0] != '\0';
    timeline_t timeline;
    lsn_t lsn;

    end_job(in, now_us);
    lacks = front_lacks(in, &timeline, &lsn);
    f->reason[0] = '\0';
    if (lacks) {
        snprintf(first, sizeof first, LSN_FORMAT, LSN_ARGS(lsn));
        snprintf(
            f->reason, sizeof f->reason,
            "PostgreSQL here needs WAL from %s (timeline %u) on, the spool begins at " LSN_FORMAT
            ": nothing that is here counts as durable before it has what lies between",
            first, timeline, LSN_ARGS(in->spool.start));
    } else if (f->spool.dir >= 0) {
        struct relay_standby standby;

        relay_standby(&in->relay, &standby);
        f->over |= in->who->role == ROLE_PRIMARY || in->held || spool_empty(&in->spool) ||
                   standby.connected;
    }
    receiver_detach(&in->receiver, lacks);
    end_turn(in, lacks && told, now_us);
    begin_job(in, now_us);
}

/* ---- life ---- */

int
front_open(struct front *f, const char *spool)
{
    char path[sizeof f->spool.path];
    int code = worker_init(&f->worker);

    f->spool.dir = f->spool.lock = -1;
    snprintf(path, sizeof path, "%s/" SPOOL_FRONT, spool);
    if (code == 0 && access(path, F_OK) == 0 && open_folder(f, spool) < 0)
        log_warning("%s", fail_message());
    return code;
}

void
front_close(struct front *f)
{
    worker_release(&f->worker);
    spool_close(&f->spool);
}

void
front_watch(const struct front *f, struct loop *l)
{
    loop_watch(l, worker_fd(&f->worker), POLLIN);
    if (f->spool.dir >= 0 && !worker_busy(&f->worker) && f->spool.flushed < f->spool.available)
        loop_due(l, 0);
}
