/* SPDX-License-Identifier: PostgreSQL */
/* See steps.h. */
#include "handover/steps.h"

#include "handover/prepare.h"
#include "handover/tell.h"
#include "pool/receipt.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SETTING_US (5 * SECOND_US)
#define DRAIN_US   (30 * SECOND_US) /* without progress */
#define SLOT_US    (5 * SECOND_US)
#define PROMOTE_US (60 * SECOND_US)
#define LOOK_US    (10 * SECOND_US) /* until what is missing is looked for */

static bool
set_step(struct failover *f, enum failover_step step)
{
    static struct pool next; /* large */

    next = *f->pool;
    next.step = step;
    if (step != f->pool->step && who_set_pool(f->who, f->pool, &next) < 0) {
        stop(f, "%s; mend that and run this again", fail_message());
        return false;
    }
    return true;
}

void
steps_begin(struct failover *f, int64_t now_us)
{
    set_phase(f, FAILOVER_RUNNING, now_us);
    f->entered = f->command_asked = false;
    f->since_us = now_us;
    set_step(f, failover_from(f->pool->step, postgres_sample(f->who->postgres)->in_recovery));
}

/* Writable, but on no timeline of its own: nothing of the journal makes that good. */
static bool
is_half_promoted(struct failover *f)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    const struct member_facts self = {.seen = true,
                                      .up = postgres_state(f->who->postgres) == POSTGRES_UP,
                                      .in_recovery = s->in_recovery,
                                      .timeline = s->timeline,
                                      .fed = f->in->spool.timeline};
    char why[ALARM_MAX];

    if (!judge_half_promoted(f->pool, &self, f->who->self->pgdata, why))
        return false;
    stop(f, "refused: %s", why);
    return true;
}

/* ---- each true when it is done ---- */

static bool
step_epoch(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    const struct member_facts self = {.name = f->who->self->name,
                                      .in_recovery = s->in_recovery,
                                      .timeline = s->timeline,
                                      .replayed = s->replay};
    static struct pool next; /* large */
    struct epoch_origin origin;

    (void)now_us;
    next = *f->pool;
    judge_epoch(f->pool, &self, &f->wish, &origin);
    pool_adopt(&next, &origin, clock_wall_us());
    next.step = FAILOVER_EPOCH;
    snprintf(next.loss, sizeof next.loss, "%s", f->loss);
    next.loss_since_us = f->loss_since_us;
    if (who_set_pool(f->who, f->pool, &next) < 0) {
        stop(f, "refused: %s", fail_message());
        return false;
    }
    KILL_POINT("failover:5");
    /* for `walferry lost`; the member that lost completes it when it rejoins */
    if (receipt_save_failover(f->who->self->spool, f->pool) < 0)
        log_warning("%s", fail_message());
    KILL_POINT("failover:6");
    f->own = (struct own_ask){0};
    incoming_tell_pool(f->in); /* a living former primary hears it at once */
    inlet_end(&f->in->inlet, "failover: this member is the primary from now on");
    inlet_shut(&f->in->inlet, false); /* the epoch keeps lower ones out */
    KILL_POINT("failover:7");
    return true;
}

static bool
step_exposed(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    static const char empty[] = "synchronous_standby_names = ''\n";
    const char *error;

    if (!f->entered) {
        f->entered = true;
        if (durable_replace(f->in->spool.dir, "walferry.conf", empty, sizeof empty - 1) < 0) {
            stop(f, "cannot write %s/walferry.conf: %s; mend that and run this again",
                 f->in->spool.path, strerror(errno));
            return false;
        }
        KILL_POINT("failover:8");
        if (s->synchronous_standby_names[0] == '\0')
            return true;
        say(f, "runs exposed: synchronous_standby_names is emptied");
    }
    if (!f->command_asked)
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_RELOAD, NULL);
    else if (postgres_done(f->who->postgres, &error) && error != NULL)
        say(f, "PostgreSQL does not reload its settings: %s", error);
    if (s->synchronous_standby_names[0] == '\0')
        return true;
    if (now_us - f->since_us < SETTING_US)
        return false;
    say(f,
        "synchronous_standby_names is still '%s': it is set elsewhere than in %s/walferry.conf; commits will wait "
        "until you empty it",
        s->synchronous_standby_names, f->in->spool.path);
    return true;
}

/* Of the timeline that our PostgreSQL is on; 0 bytes: it has none. */
static size_t
own_history(const struct failover *f, const char **ret_text)
{
    static char text[HISTORY_BYTES_MAX + 1];
    int got = pgwal_history(f->who->self->pgdata, postgres_sample(f->who->postgres)->timeline, text,
                            sizeof text);

    *ret_text = text;
    return got > 0 ? (size_t)got : 0;
}

bool
steps_fork(const struct failover *f, lsn_t *ret_fork)
{
    const char *text;
    size_t length = own_history(f, &text);

    return history_switch_point(text, length, judge_parent(f->pool, f->in->spool.timeline),
                                ret_fork);
}

static bool
step_drain(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    lsn_t flushed, fork;
    const char *error;
    char stall[700];
    bool connected;

    if (judge_reclaims(f->pool))
        return true;
    if (!s->in_recovery) {
        say(f,
            "PostgreSQL was promoted meanwhile, by somebody else: what it had not replayed by then "
            "is not in it");
        return true;
    }
    if (f->who->replay.replay == REPLAY_FORKED) { /* ... and got standby.signal since */
        stop(f, "refused: %s", f->who->alarm);
        return false;
    }
    if (s->timeline > judge_parent(f->pool, f->in->spool.timeline) && steps_fork(f, &fork) &&
        fork >= f->in->spool.available)
        return true; /* so did this one, but it lacks nothing */
    if (worker_busy(&f->in->flusher) || f->in->spool.clearing)
        return false;
    if (!f->entered) {
        if (!spool_empty(&f->in->spool) && spool_trust_tail(&f->in->spool) < 0) {
            stop(f, "%s; mend that and run this again", fail_message());
            return false;
        }
        f->entered = true;
        f->drain_to = LSN_UNKNOWN; /* of a PostgreSQL that may have come back with less */
        relay_push(&f->in->relay, now_us);
        KILL_POINT("failover:9");
    }
    if (s->replay_paused && !f->command_asked) {
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_REPLAY_RESUME, NULL);
        if (f->command_asked)
            say(f, "replay was paused: resumed");
    } else if (f->command_asked && postgres_done(f->who->postgres, &error) && error != NULL) {
        stop(f, "replay is paused and cannot be resumed: %s", error);
        return false;
    }
    flushed = prepare_flushed(f, &connected);
    if (spool_empty(&f->in->spool) || flushed >= f->in->spool.available)
        return true;
    if (flushed > f->drain_to) {
        f->drain_to = flushed;
        f->since_us = now_us;
    }
    if (now_us - f->since_us < DRAIN_US)
        return false;
    if (f->wish.force)
        say(f,
            "going on because of --force: the PostgreSQL of %s has flushed WAL up to " LSN_FORMAT
            ", what the spool holds behind it will be missing",
            f->who->self->name, LSN_ARGS(flushed));
    else
        stop(f,
             "%s; nothing was promoted, run this again when that is mended; or without what the "
             "spool holds behind it: walferry failover --force",
             prepare_stall(f, f->in->spool.available, stall, sizeof stall));
    return f->wish.force;
}

/* Without slots the WAL since the fork would be recycled before the others come back. */
static bool
step_slots(struct failover *f, int64_t now_us)
{
    const char *error;
    bool done = f->command_asked && postgres_done(f->who->postgres, &error);

    if (postgres_state(f->who->postgres) != POSTGRES_UP) { /* asked again when it is back */
        f->entered = f->command_asked = false;
        if (now_us - f->since_us >= DRAIN_US)
            stop(f,
                 "the PostgreSQL of %s does not answer (%s), and the members that come back need "
                 "slots before it is promoted; start it and run this again",
                 f->who->self->name, postgres_reason(f->who->postgres));
        return false;
    }
    if (!f->entered) {
        f->entered = true;
        f->since_us = now_us;
    }
    if (done) {
        if (error != NULL)
            say(f, "no slot for %s: %s", f->out->link[f->next_member].member, error);
        KILL_POINT("failover:10");
        f->command_asked = false;
        f->next_member++;
        f->since_us = now_us;
    }
    if (f->next_member == f->out->links)
        return true;
    if (!f->command_asked)
        f->command_asked =
            postgres_ask(f->who->postgres, POSTGRES_MAKE_SLOT, f->out->slot_name[f->next_member]);
    if (now_us - f->since_us >= SLOT_US) {
        say(f, "no slot for %s: PostgreSQL does not answer in time",
            f->out->link[f->next_member].member);
        return true;
    }
    return false;
}

static bool
step_promote(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    const char *error;
    char left[32];

    if (!f->entered) {
        f->entered = true;
        KILL_POINT("failover:11");
        f->replayed = LSN_UNKNOWN;
        f->moved_us = f->said_us = now_us;
    }
    if (s->replay > f->replayed) { /* all that is here comes before the promotion */
        f->replayed = s->replay;
        f->moved_us = now_us;
    }
    if (!s->in_recovery && postgres_state(f->who->postgres) == POSTGRES_UP)
        return true;
    if (postgres_state(f->who->postgres) != POSTGRES_UP)
        f->command_asked = false; /* started again, it knows nothing of that */
    if (!f->command_asked) {
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_PROMOTE, NULL);
    } else if (postgres_done(f->who->postgres, &error)) {
        if (error != NULL) {
            stop(f, "PostgreSQL refuses to promote: %s", error);
            return false;
        }
        KILL_POINT("failover:12");
    }
    if (now_us - f->said_us >= PROMOTE_US / 4 && f->replayed < f->in->spool.flushed) {
        f->said_us = now_us;
        say(f, "PostgreSQL replays, then it is promoted: %s left",
            text_bytes(left, sizeof left, f->in->spool.flushed - f->replayed));
    }
    if (now_us - f->moved_us >= PROMOTE_US)
        stop(
            f,
            "PostgreSQL was told to promote and is still in recovery, without progress for %d s; see "
            "its log, and whether a query blocks its replay (pg_stat_activity), and run this again",
            (int)(PROMOTE_US / SECOND_US));
    return false;
}

void
steps_end(struct failover *f, int64_t now_us)
{
    f->phase = FAILOVER_RUNNING;
    f->ended = true;
    f->since_us = now_us;
}

static void
finish(struct failover *f, int64_t now_us)
{
    char whole[32], asking[32], rescue[32], prepare[32], part[FAILOVER_PROMOTE + 1][32];
    static struct pool next; /* large */
    const char *text;
    size_t length;

    KILL_POINT("failover:13");
    next = *f->pool;
    length = own_history(f, &text);
    pool_promoted(&next, postgres_sample(f->who->postgres)->timeline, text, length);
    next.step = FAILOVER_NONE;
    if (who_set_pool(f->who, f->pool, &next) < 0) {
        stop(f, "promoted, but %s; it is tried again until that is mended", fail_message());
        return;
    }
    KILL_POINT("failover:14");
    f->step_us[FAILOVER_EPOCH] += f->step_us[FAILOVER_NONE]; /* that turn has written the epoch */
    for (int i = FAILOVER_EPOCH; i <= FAILOVER_PROMOTE; i++)
        text_duration(part[i], sizeof part[i], f->step_us[i]);
    say_primary(f, "done");
    if (f->client != 0)
        say(f,
            "it took %s: asking %s, rescue %s, prepare %s, epoch %s, synchronous commit %s, drain %s, "
            "slots %s, promote %s",
            text_duration(whole, sizeof whole, now_us - f->started_us),
            text_duration(asking, sizeof asking,
                          f->phase_us[FAILOVER_WAITING] + f->phase_us[FAILOVER_ASKING]),
            text_duration(rescue, sizeof rescue, f->phase_us[FAILOVER_RESCUING]),
            text_duration(prepare, sizeof prepare, f->phase_us[FAILOVER_PREPARING]),
            part[FAILOVER_EPOCH], part[FAILOVER_EXPOSED], part[FAILOVER_DRAIN],
            part[FAILOVER_SLOTS], part[FAILOVER_PROMOTE]);
    steps_end(f, now_us);
}

/* The exit code waits for what incoming_left finds. */
static void
run_end(struct failover *f, int64_t now_us)
{
    bool unsure = f->who->replay.unsure, missing = f->who->missing[0] != '\0';

    if (unsure && (f->in->spool.cutting || now_us - f->since_us < LOOK_US))
        return;
    if (missing)
        say(f, "NOT COMPLETE: %s", f->who->missing);
    else if (unsure)
        say(f, "whether acknowledged WAL is missing is not known yet: walferry status tells it");
    control_done(f->control, f->client, missing || unsure ? EXIT_MISSING : 0);
    f->own = (struct own_ask){0}; /* of one that went on with an epoch which was written before */
    f->phase = FAILOVER_IDLE;
}

/* A PostgreSQL that was away may have been put back since it had all. (On disk the step is the later
 * one: who goes on from there drains, too.) */
static void
drain_again(struct failover *f, int64_t now_us)
{
    bool up = postgres_state(f->who->postgres) == POSTGRES_UP, was_away = f->was_away;
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    enum failover_step from = failover_from(f->pool->step, s != NULL && s->in_recovery);

    f->was_away = !up;
    if (!up || !was_away || from == f->pool->step)
        return;
    f->pool->step = from;
    f->entered = f->command_asked = false;
    f->next_member = 0;
    f->since_us = now_us;
}

void
steps_run(struct failover *f, int64_t now_us)
{
    if (!f->ended)
        drain_again(f, now_us);
    /* a step that is done leads to the next one at once: no timer between them */
    while (f->phase == FAILOVER_RUNNING && !f->ended) {
        enum failover_step step = f->pool->step;
        bool done = false;

        if (postgres_sample(f->who->postgres) == NULL || is_half_promoted(f))
            return;
        switch (step) {
        case FAILOVER_NONE:
            done = step_epoch(f, now_us);
            break;
        case FAILOVER_EPOCH:
            done = true; /* the epoch is on disk; every HELLO is compared with it */
            break;
        case FAILOVER_EXPOSED:
            done = step_exposed(f, now_us);
            break;
        case FAILOVER_DRAIN:
            done = step_drain(f, now_us);
            break;
        case FAILOVER_SLOTS:
            done = step_slots(f, now_us);
            break;
        case FAILOVER_PROMOTE:
            done = step_promote(f, now_us);
            break;
        }
        if (!done)
            return;
        now_us = clock_us();
        f->step_us[step] += now_us - f->begun_us;
        f->begun_us = f->since_us = now_us;
        f->entered = f->command_asked = false;
        if (step == FAILOVER_PROMOTE) {
            finish(f, now_us);
            break;
        }
        if (step == FAILOVER_NONE)
            continue; /* step_epoch has written FAILOVER_EPOCH */
        if (!set_step(f, failover_after(step)))
            return;
    }
    if (f->ended)
        run_end(f, now_us);
}
