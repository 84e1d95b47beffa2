/* SPDX-License-Identifier: PostgreSQL */
/* See incoming.h. */
#include "links/incoming.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/text.h"
#include "shipper/wal/hold.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPOOL_RETRY_US (2 * SECOND_US)
#define FLUSH_US       (5 * MILLISECOND_US)
/* Where the primary stands is known for so long at most, round trip included: it has gone on since,
 * and nobody can say how far. */
#define NEWS_US (2 * SECOND_US)

lsn_t
incoming_durable(const struct incoming *in)
{
    return in->front.reason[0] == '\0' ? in->spool.flushed : LSN_UNKNOWN;
}

lsn_t
incoming_applied(const struct incoming *in)
{
    const struct postgres_sample *s = postgres_sample(in->who->postgres);
    struct relay_standby standby;
    bool up = postgres_state(in->who->postgres) == POSTGRES_UP, newer;
    lsn_t applied = up && s->in_recovery ? s->replay : LSN_UNKNOWN;

    if (in->who->replay.replay != REPLAY_FOLLOWS)
        return LSN_UNKNOWN; /* its LSN may be another place than the pool's */
    relay_standby(&in->relay, &standby);
    newer = standby.connected || (up && standby.reported_us > s->mono_us);
    return newer && standby.apply > applied ? standby.apply : applied;
}

static void
spool_failed(struct incoming *in, int64_t now_us)
{
    char reason[FAIL_MESSAGE_MAX], have[24], need[24];
    uint64_t room, needed = in->spool.identity.segment_bytes;

    snprintf(reason, sizeof reason, "%s", fail_message());
    if (durable_free(in->spool.dir, &room) == 0 && room < needed)
        fail(
            ERR_LOCAL,
            "%s; %s are free, %s are needed: make room on the file system of %s, it then goes on by itself",
            reason, text_bytes(have, sizeof have, room), text_bytes(need, sizeof need, needed),
            in->spool.path);
    snprintf(reason, sizeof reason, "%s", fail_message());
    if (log_news(&in->said, reason, now_us))
        log_error("%s; nothing is accepted until that is mended, what is here is still served",
                  reason);
    in->stuck_at = in->spool.written;
    snprintf(in->error, sizeof in->error, "%s", reason);
    in->shut = true;
    in->retry_us = now_us + SPOOL_RETRY_US;
    inlet_end(&in->inlet, reason);
}

static void
job_flush(void *job)
{
    struct flush *f = job;
    int64_t begun_us = clock_us();

    spool_flush_run(f);
    f->took_us = clock_us() - begun_us;
}

static void
job_cut(void *job)
{
    spool_cut_run(job);
}

void
incoming_cut(struct incoming *in, enum cut_wish wish, lsn_t fork)
{
    if (in->shut || worker_busy(&in->flusher) || worker_busy(&in->pruner) ||
        !spool_cut_begin(&in->spool, &in->cut, wish, fork))
        return;
    if (wish != CUT_LOOK)
        inlet_end(&in->inlet, "the spool is cut at a fork");
    worker_submit(&in->flusher, job_cut, &in->cut);
}

static void
answer_cut(struct incoming *in, const char *why)
{
    if (why != NULL)
        control_text(in->control, in->cutting_for, "%s", why);
    control_done(in->control, in->cutting_for, why == NULL ? 0 : 1);
    in->cutting_for = 0;
}

/* What lies behind the fork is told, for nothing may vanish silently. */
static void
tell_cut(const struct incoming *in, uint64_t behind)
{
    const struct cut *c = &in->cut;
    char bytes[24], path[300];

    if (!spool_kept_aside(&in->spool, path, sizeof path))
        snprintf(path, sizeof path, "%s", in->spool.path);
    text_bytes(bytes, sizeof bytes, behind);
    if (c->done)
        log_warning("the spool is cut at " LSN_FORMAT
                    ", where its timeline was left: the %s behind, "
                    "%s, are kept aside (%s)",
                    LSN_ARGS(c->fork), bytes,
                    c->whole == c->fork ? "a record that never became whole, with no commit in it"
                                        : "which the primary lacks",
                    path);
    else if (c->wish == CUT_OWN)
        log_warning("%s has whole records behind " LSN_FORMAT
                    ", where its timeline was left: %s were acknowledged that are not in the new "
                    "timeline; they stay there",
                    in->spool.path, LSN_ARGS(c->fork), bytes);
}

static void
end_cut(struct incoming *in, int64_t now_us)
{
    uint64_t behind = in->spool.written - in->cut.fork;
    int code = spool_cut_end(&in->spool, &in->cut);

    if (code < 0)
        spool_failed(in, now_us);
    else
        tell_cut(in, behind);
    if (in->cut.done)
        in->forked = LSN_UNKNOWN;
    if (in->cut.wish == CUT_FORKED && in->cutting_for != 0)
        answer_cut(in, code < 0 ? in->error : NULL);
}

void
incoming_cut_forked(struct incoming *in, uint64_t client)
{
    bool right = in->who->role == ROLE_STANDBY || in->who->role == ROLE_FENCED;

    if (in->forked == LSN_UNKNOWN || in->cutting_for != 0 || !right) {
        control_text(in->control, client, "no link was refused for a fork here");
        control_done(in->control, client, 1);
        return;
    }
    in->cutting_for = client;
}

static void
cut_forked(struct incoming *in)
{
    if (in->cutting_for == 0 || in->spool.cutting)
        return;
    if (in->shut)
        answer_cut(in, in->error);
    else if (in->forked == LSN_UNKNOWN || in->forked >= in->spool.written)
        answer_cut(in, NULL);
    else
        incoming_cut(in, CUT_FORKED, in->forked);
}

/* On the primary: its timeline left that of the spool at `fork`. */
void
incoming_left(struct incoming *in, lsn_t fork)
{
    const struct spool *s = &in->spool;
    lsn_t whole;

    if (fork <= s->flushed && fork < s->written && (!spool_whole(s, &whole) || whole == fork))
        incoming_cut(in, CUT_OWN, fork);
}

static void
end_flush(struct incoming *in, int64_t now_us)
{
    if (!worker_done(&in->flusher))
        return;
    if (in->spool.cutting) {
        end_cut(in, now_us);
        return;
    }
    if (in->flush.fd >= 0)
        histogram_add(&in->flush_took, in->flush.took_us);
    if (spool_flush_end(&in->spool, &in->flush) < 0)
        spool_failed(in, now_us);
    else if (in->flush.kind == FLUSH_RECOVER)
        in->retry_us = now_us;
}

/* Is there room again, is a file that could not be flushed replaced? */
static void
try_spool(struct incoming *in, int64_t now_us)
{
    uint64_t room = 0, needed = in->spool.identity.segment_bytes;

    if (!in->shut || now_us < in->retry_us || worker_busy(&in->flusher) || in->spool.clearing)
        return;
    in->retry_us = now_us + SPOOL_RETRY_US;
    if (durable_free(in->spool.dir, &room) < 0 || room < needed)
        return;
    if (spool_recover_begin(&in->spool, &in->flush))
        worker_submit(&in->flusher, job_flush, &in->flush);
    else if (in->spool.lost && spool_cut_begin(&in->spool, &in->cut, CUT_LOOK, in->cut.fork))
        worker_submit(&in->flusher, job_cut, &in->cut);
    else
        in->shut = in->spool.damaged;
}

/* That the spool takes WAL again is told when more is here than before. After WAL that did not
 * continue the spool, the error stays until WAL that does has come. */
static void
retry_spool(struct incoming *in, int64_t now_us)
{
    try_spool(in, now_us);
    if (!in->shut && (!in->inlet.refuted || in->who->role == ROLE_PRIMARY))
        in->error[0] = '\0';
    if (in->stuck_at == LSN_UNKNOWN || in->error[0] != '\0' || in->spool.available <= in->stuck_at)
        return;
    log_info("the spool takes WAL again");
    in->said = (struct log_memory){0};
    in->stuck_at = LSN_UNKNOWN;
}

/* A flush that no commit waits for is put off a little, to have more WAL in it. NEVER_US: none can
 * begin now. */
static int64_t
flush_due_us(const struct incoming *in)
{
    if (worker_busy(&in->flusher) || in->spool.damaged || in->spool.clearing)
        return NEVER_US;
    if (in->receiver.commits_wait || !receiver_live(&in->receiver) || in->spool.full.fd >= 0 ||
        in->spool.flushed == in->spool.available)
        return 0;
    return in->flushed_us + FLUSH_US;
}

static void
begin_flush(struct incoming *in, int64_t now_us)
{
    if (now_us < flush_due_us(in) || !spool_flush_begin(&in->spool, &in->flush, now_us))
        return;
    in->flushed_us = now_us;
    worker_submit(&in->flusher, job_flush, &in->flush);
}

static void
job_prune(void *job)
{
    spool_prune_run(job);
}

static void
renewed(struct incoming *in, int code)
{
    if (code == 0) {
        log_info(INCOMING_RENEWED);
        in->relay.wanted = LSN_UNKNOWN;       /* which another copy needed */
        in->inlet.refuted = in->shut = false; /* no WAL is left that any could contradict */
    } else {
        control_text(in->control, in->renewing, "%s", fail_message());
    }
    control_done(in->control, in->renewing, code == 0 ? 0 : 1);
    in->renewing = 0;
}

void
incoming_renew(struct incoming *in, uint64_t client)
{
    in->renewing = client;
}

/* For a seed: the WAL here ends before the first that the primary still has. Or
 * what it has was given up. */
static void
renew_spool(struct incoming *in)
{
    if (in->renewing == 0 || worker_busy(&in->flusher) || worker_busy(&in->pruner))
        return;
    if (in->who->missing[0] == '\0' &&
        ((in->who->role != ROLE_STANDBY && in->who->role != ROLE_FENCED) ||
         hold_from(in->spool.dir, clock_wall_us()) == UINT64_MAX)) {
        renewed(in, fail(ERR_USAGE, "the spool begins anew only on a standby, for a seed or rejoin "
                                    "that runs"));
        return;
    }
    inlet_end(&in->inlet, INCOMING_RENEWED);
    if (spool_clear_begin(&in->spool, &in->pruning))
        worker_submit(&in->pruner, job_prune, &in->pruning);
}

static void
end_pruning(struct incoming *in)
{
    int code;

    if (!worker_done(&in->pruner))
        return;
    code = spool_prune_end(&in->spool, &in->pruning);
    if (in->pruning.all)
        renewed(in, code);
    else if (code < 0)
        log_warning("%s", fail_message());
}

void
incoming_run(struct incoming *in, const struct loop *l, int64_t now_us, int64_t wall_us)
{
    end_flush(in, now_us);
    end_pruning(in);
    renew_spool(in);
    cut_forked(in);
    if (inlet_run(&in->inlet, l, now_us, wall_us) < 0)
        spool_failed(in, now_us);
}

/* 0: none. */
static uint64_t
lowest(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

void
incoming_serve(struct incoming *in, const struct loop *l, int64_t now_us)
{
    bool feedback, forked = in->who->replay.replay == REPLAY_FORKED;
    struct relay_standby standby;

    begin_flush(in, now_us); /* first: a commit may wait for it */
    front_run(in, now_us);
    relay_push(&in->relay, now_us);
    relay_run(&in->relay, l, now_us);
    relay_standby(&in->relay, &standby);
    if (standby.connected)
        in->feedback_us = now_us;
    feedback = now_us - in->feedback_us <= in->who->config->feedback_keep_us;
    in->receiver.fenced = in->who->role == ROLE_FENCED || forked;
    if (forked)
        receiver_forget_applied(&in->receiver);
    receiver_report(&in->receiver, incoming_applied(in),
                    lowest(feedback ? standby.xmin : 0, in->onward.xmin),
                    lowest(feedback ? standby.catalog_xmin : 0, in->onward.catalog_xmin),
                    standby.connected, now_us);
    inlet_push(&in->inlet);
    retry_spool(in, now_us);
}

int
incoming_take(struct incoming *in, timeline_t timeline, lsn_t lsn, const void *bytes, size_t n,
              int64_t now_us)
{
    int code = 0;

    if (in->spool.cutting || in->spool.clearing || in->shut)
        return ERR_AGAIN;
    if (spool_empty(&in->spool))
        code = spool_adopt(&in->spool, who_identity(in->who));
    if (code == 0 && spool_empty(&in->spool))
        code = spool_begin(&in->spool, timeline, lsn);
    if (code == 0)
        code = spool_append(&in->spool, timeline, lsn, bytes, n, now_us);
    if (code == ERR_LOCAL)
        spool_failed(in, now_us);
    return code;
}

int
incoming_take_history(struct incoming *in, timeline_t timeline, const char *text, size_t length)
{
    lsn_t fork;
    bool behind = spool_goes_on_behind(&in->spool, timeline, text, length, &fork);
    int code = 0;

    if (!history_valid(text, length, timeline))
        return fail(ERR_PEER, "the history of timeline %u that came is no history file", timeline);
    if (timeline > in->spool.timeline && !spool_empty(&in->spool))
        code = spool_check_history(&in->spool, timeline, text, length);
    if ((code == 0 && behind) || code == ERR_AGAIN) { /* a record that never became whole goes */
        incoming_cut(in, code == 0 ? CUT_TORN : CUT_LOOK, fork);
        return ERR_AGAIN;
    }
    return code < 0 ? code : spool_put_history(&in->spool, timeline, text, length);
}

/* WAL that nobody needs: the local standby has it on its own lineage (or is the primary now), no copy
 * that is being made begins before it, and keep has passed. */
void
incoming_prune(struct incoming *in, int64_t wall_us)
{
    const struct postgres_sample *s = postgres_sample(in->who->postgres);
    struct relay_standby standby;
    lsn_t needed, held;

    held = hold_from(in->spool.dir, wall_us);
    in->held = held != UINT64_MAX;
    if (s == NULL || spool_empty(&in->spool) || worker_busy(&in->pruner))
        return;
    relay_standby(&in->relay, &standby);
    needed = !s->in_recovery ? s->insert : s->replay;
    if (s->in_recovery && standby.flush != LSN_UNKNOWN && standby.flush < needed)
        needed = standby.flush;
    if (in->who->replay.keep_from < needed) /* an LSN of another lineage is no reason */
        needed = in->who->replay.keep_from;
    if (relay_needs(&in->relay) < needed)
        needed = relay_needs(&in->relay);
    if (in->onward.needs < needed && in->who->role == ROLE_STANDBY)
        needed = in->onward.needs;
    if (held < needed)
        needed = held;
    if (held == LSN_UNKNOWN && !in->hold_named)
        log_warning("%s: %s", in->spool.path, fail_message());
    in->hold_named = held == LSN_UNKNOWN;
    if (spool_prune_begin(&in->spool, &in->pruning, needed, in->who->self->keep_us, wall_us))
        worker_submit(&in->pruner, job_prune, &in->pruning);
}

void
incoming_tell_pool(struct incoming *in)
{
    struct frame f;

    who_pool_frame(in->who, &f);
    receiver_tell(&in->receiver, &f);
}

void
incoming_over(struct incoming *in)
{
    incoming_tell_pool(in);
    inlet_end(&in->inlet, "its epoch is over");
}

/* ---- what is known by what came ---- */

struct position
incoming_acknowledged(const struct incoming *in, bool *ret_whole)
{
    const struct spool *s = &in->spool;
    struct position p = {.timeline = s->timeline, .lsn = s->flushed};

    *ret_whole = spool_whole(s, &p.lsn) || in->shut;
    return p;
}

lsn_t
incoming_primary(const struct incoming *in, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(in->who->postgres);
    const struct receiver *r = &in->receiver;
    int64_t fresh_us = WHO_FRESH_US + r->offset.round_trip_us, primary_us;

    if (in->who->role == ROLE_PRIMARY)
        return s != NULL && !s->in_recovery && now_us - s->mono_us < WHO_FRESH_US ? s->flush
                                                                                  : LSN_UNKNOWN;
    if (fresh_us > NEWS_US)
        fresh_us = NEWS_US;
    if (!receiver_primary_us(r, now_us, &primary_us) ||
        primary_us - r->stamped.mono_us >= fresh_us || !receiver_compared(r))
        return LSN_UNKNOWN;
    /* WAL that came since that beacon was written there, too */
    return in->spool.written > r->stamped.lsn ? in->spool.written : r->stamped.lsn;
}

const char *
incoming_reason(const struct incoming *in)
{
    const struct receiver *r = &in->receiver;

    if (in->inlet.reason[0] != '\0' || !receiver_live(r))
        return in->inlet.reason;
    switch (r->postgres) {
    case PONG_POSTGRES_UNKNOWN:
    case PONG_POSTGRES_ANSWERS:
        break;
    case PONG_POSTGRES_STARTING:
        return "the PostgreSQL of the primary is starting";
    case PONG_POSTGRES_STOPPING:
        return "the PostgreSQL of the primary is stopping";
    case PONG_POSTGRES_SILENT:
        return "the PostgreSQL of the primary does not answer its agent; look at its log there";
    case PONG_POSTGRES_DEAD:
        return "the PostgreSQL of the primary is down; start it there, or run walferry failover here";
    }
    return r->waits[0] != '\0' ? r->waits : in->front.reason;
}

/* ---- life ---- */

int
incoming_open(struct incoming *in, const struct who *who, struct control *control,
              struct asks *asks, struct codec *codec)
{
    const struct member *self = who->self;
    int code;

    in->who = who;
    in->control = control;
    in->asks = asks;
    in->scratch = malloc(FRAME_WAL_MAX);
    if (in->scratch == NULL)
        return fail(ERR_LOCAL, "out of memory");
    receiver_init(&in->receiver, &in->spool, codec, in->scratch);
    code = worker_init(&in->flusher);
    if (code == 0)
        code = worker_init(&in->pruner);
    if (code == 0)
        code =
            relay_open(&in->relay, self->run, &in->spool, self->pgdata, who->config->relay_guests);
    in->relay.passes_sql = true; /* to the tunnel */
    in->relay.onward_bytes = who->config->downstream_max_bytes;
    if (code == 0)
        code = front_open(&in->front, in->spool.path);
    if (code == 0)
        relay_offer(&in->relay);
    if (code == 0)
        code = inlet_open(&in->inlet, self->run, &in->receiver);
    in->shut = in->spool.damaged;
    if (in->spool.damaged)
        snprintf(in->error, sizeof in->error, "%s could not be flushed when it was opened",
                 in->spool.path);
    return code;
}

void
incoming_close(struct incoming *in)
{
    inlet_close(&in->inlet);
    relay_close(&in->relay);
    worker_release(&in->flusher);
    worker_release(&in->pruner);
    front_close(&in->front);
    free(in->scratch);
}

void
incoming_watch(const struct incoming *in, struct loop *l, int64_t now_us)
{
    loop_watch(l, worker_fd(&in->flusher), POLLIN);
    loop_watch(l, worker_fd(&in->pruner), POLLIN);
    front_watch(&in->front, l);
    inlet_watch(&in->inlet, l);
    relay_watch(&in->relay, l, now_us);
    if (in->spool.flushed < in->spool.available)
        loop_due(l, flush_due_us(in));
    if (in->shut && !worker_busy(&in->flusher) && !in->spool.clearing)
        loop_due(l, in->retry_us);
}
