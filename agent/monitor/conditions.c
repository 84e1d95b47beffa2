/* SPDX-License-Identifier: PostgreSQL */
/* See conditions.h. */
#include "monitor/conditions.h"

#include "links/commits.h"
#include "links/exposed.h"
#include "pool/known.h"
#include "pool/route.h"
#include "retention/slot.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLE_NEWS_US    (10 * SECOND_US)
#define RIVAL_NEWS_US   (30 * SECOND_US)
#define CLOCK_OFFSET_US (2 * SECOND_US)
/* A PING goes out each second: later the round trip is unknown. */
#define OFFSET_KEEP_US (3 * SECOND_US)

bool
conditions_settle(struct conditions *f, enum role role, int64_t now_us)
{
    if (f->role == role || role == ROLE_UNKNOWN || role == ROLE_PROMOTING)
        return false;
    if (f->role != ROLE_UNKNOWN)
        f->role_changed_us = now_us;
    f->role_before = f->role;
    f->role = role;
    return true;
}

/* ---- state of shipping ---- */

bool
conditions_offset_known(const struct clock_offset *o, int64_t now_us)
{
    return o->count > 0 && now_us - o->last_us < OFFSET_KEEP_US;
}

void
conditions_link(const struct view *v, size_t i, int64_t now_us, struct progress *ret_progress)
{
    const struct link *l = &v->out->link[i];
    const char *reason = outgoing_reason(l);
    struct progress_facts f = {.up = l->state == LINK_SHIPPING,
                               .started = l->sender.far_known ||
                                          l->sender.flushed.covered.lsn != LSN_UNKNOWN,
                               .reason = reason[0] != '\0' ? reason : l->source_reason,
                               .flushed = l->sender.far.flushed,
                               .produced = &v->rates->produced,
                               .shipped = &v->rates->shipped[i]};

    if (l->sender.far_compared) /* else that is no position of our WAL */
        f.primary = incoming_primary(v->in, now_us);
    f.lag_known = lag_age(&l->sender.flushed, now_us, &f.lag_us);
    progress_judge(&f, now_us, ret_progress);
}

void
conditions_receiving(const struct view *v, int64_t now_us, struct progress *ret_progress)
{
    const struct receiver *r = &v->in->receiver;
    int64_t primary_us;
    bool clock_known = receiver_primary_us(r, now_us, &primary_us);
    struct progress_facts f = {.up = receiver_live(r),
                               .started = r->flushed.covered.lsn != LSN_UNKNOWN,
                               .reason = incoming_reason(v->in),
                               .primary = incoming_primary(v->in, now_us),
                               .flushed = incoming_durable(v->in),
                               .produced = &v->rates->produced,
                               .shipped = &v->rates->shipped[0]};

    f.lag_known = clock_known && lag_age(&r->flushed, primary_us, &f.lag_us);
    progress_judge(&f, now_us, ret_progress);
}

/* ---- conditions ---- */

/* The condition holds. Each of several links adds its sentence, as far as there is room. */
static void hold(struct event_condition *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void
hold(struct event_condition *c, const char *format, ...)
{
    size_t used = c->holds ? strlen(c->text) : 0;
    va_list args;

    if (c->holds && used + 3 < sizeof c->text)
        used += (size_t)snprintf(c->text + used, sizeof c->text - used, "; ");
    c->holds = true;
    va_start(args, format);
    vsnprintf(c->text + used, sizeof c->text - used, format, args);
    va_end(args);
}

/* The age of what a position covers at lag_us of the primary's clock (lag_known: that is known). An
 * unknown one is at least that of this agent, or of its role, or of what was covered before. */
static void
judge_age(const struct view *v, struct event_condition *c, const char *what, const struct lag *lag,
          bool lag_known, int64_t lag_us, int64_t limit_us, int64_t now_us)
{
    char age[32], limit[32];
    int64_t age_us = 0;
    bool known = lag_known && lag_age(lag, lag_us, &age_us);

    if (!known && !(lag_known && lag_least(lag, lag_us, &age_us)))
        age_us = now_us - (v->conditions->role_changed_us != 0 ? v->conditions->role_changed_us
                                                               : v->who->started_us);
    if (age_us < limit_us)
        return;
    text_duration(limit, sizeof limit, limit_us);
    text_duration(age, sizeof age, age_us);
    if (known)
        hold(c, "%s %s behind (limit %s)", what, age, limit);
    else
        hold(c, "%s behind by an unknown time, %s at least", what, age);
}

static void
judge_offset(struct event_condition *c, const char *member, const struct clock_offset *o,
             int64_t now_us)
{
    int64_t apart_us = o->wall_offset_us < 0 ? -o->wall_offset_us : o->wall_offset_us;
    char apart[32];

    if (conditions_offset_known(o, now_us) && apart_us >= CLOCK_OFFSET_US)
        hold(c, "the clock of %s is %s %s ours", member,
             text_duration(apart, sizeof apart, apart_us),
             o->wall_offset_us > 0 ? "ahead of" : "behind");
}

/* Else it has all that a dead primary had, however long ago that was. */
static bool
lacks_something(const struct loss_facts *f)
{
    struct loss loss;

    loss_judge(f, &loss);
    return loss.kind != LOSS_NONE;
}

/* A member that another one feeds: no link from here can be down. */
static void
judge_fed(const struct view *v, const char *member, struct event_condition *c, int64_t now_us)
{
    const struct route *route = routes_of(&v->who->pool.routes, member);
    const struct known_member *m = known_of(v->known, member);
    int64_t silent_us;
    char age[32];

    if (route->cut)
        hold(c, "%s gets no WAL: %s, which has to feed it, does not reach it", member, route->from);
    else if (m != NULL && known_silent(v->known, m, now_us, &silent_us))
        hold(c, "%s, which %s feeds, is not heard of for %s", member, route->from,
             text_duration(age, sizeof age, silent_us));
}

static void
judge_link(const struct view *v, size_t i, struct event_condition c[EVENTS], int64_t now_us)
{
    const struct link *l = &v->out->link[i];
    const struct config *limits = v->who->config;
    const struct postgres_sample *s = postgres_sample(v->who->postgres);
    const struct postgres_slot *slot = slot_of(s, v->out->slot_name[i]);
    char what[80], bytes[24], limit[24];
    struct loss_facts facts;
    uint64_t retained;
    bool lost, feeds = outgoing_feeds(v->out, l->member);

    exposed_link(l, v->who->self->name, LSN_UNKNOWN, now_us, &facts);
    snprintf(what, sizeof what, "what %s has on disk is", l->member);
    if (feeds && lacks_something(&facts))
        judge_age(v, &c[EVENT_SHIP_LATE], what, &l->sender.flushed, true, now_us,
                  limits->ship_warning_us, now_us);
    snprintf(what, sizeof what, "what PostgreSQL of %s shows is", l->member);
    if (feeds)
        judge_age(v, &c[EVENT_APPLY_LATE], what, &l->sender.applied, true, now_us,
                  limits->apply_warning_us, now_us);
    if (l->sender.older)
        hold(&c[EVENT_RESTORED],
             "PostgreSQL here was restored to an older state: %s has its WAL up to " LSN_FORMAT
             " at least; failover there, or a new copy of it",
             l->member, LSN_ARGS(l->sender.flushed.covered.lsn));
    if (outgoing_rests(v->out, l))
        judge_fed(v, l->member, &c[EVENT_LINK_DOWN], now_us);
    if (l->state != LINK_SHIPPING && feeds)
        hold(&c[EVENT_LINK_DOWN], "the link to %s: %.190s", l->member,
             l->reason[0] != '\0' ? l->reason : "connecting");
    else if (l->state == LINK_SHIPPING && l->sender.far_digest != v->who->config->digest)
        hold(&c[EVENT_CONFIG_DIFFERS], "the pool's file of %s is another one", l->member);
    if (l->state == LINK_SHIPPING)
        judge_offset(&c[EVENT_CLOCKS_DIFFER], l->member, &l->sender.offset, now_us);
    if (!slot_retained(v->out, i, &retained, &lost))
        return;
    if (lost)
        hold(&c[EVENT_SLOT_RETAINS], "slot %s has lost WAL that %s needs%s", v->out->slot_name[i],
             l->member,
             strcmp(slot->invalid, "idle_timeout") == 0 ? " (idle_replication_slot_timeout)" : "");
    else if (slot_expires(s, slot) && !slot_spare(v->out, i, s))
        hold(&c[EVENT_SLOT_RETAINS],
             "slot %s is in no use: at %s PostgreSQL lets its WAL go "
             "(idle_replication_slot_timeout)",
             v->out->slot_name[i], text_duration(limit, sizeof limit, s->slot_timeout_us));
    else if (retained >= limits->slot_warning_bytes)
        hold(&c[EVENT_SLOT_RETAINS], "slot %s keeps %s of WAL (limit %s)", v->out->slot_name[i],
             text_bytes(bytes, sizeof bytes, retained),
             text_bytes(limit, sizeof limit, limits->slot_warning_bytes));
}

static void
judge_receiving(const struct view *v, struct event_condition c[EVENTS], int64_t now_us)
{
    const struct receiver *r = &v->in->receiver;
    const char *reason = incoming_reason(v->in);
    int64_t primary_us;
    bool clock_known = receiver_primary_us(r, now_us, &primary_us);
    struct loss_facts facts;

    exposed_receiving(v->in, now_us, &facts);
    if (lacks_something(&facts))
        judge_age(v, &c[EVENT_SHIP_LATE], "what is on disk here is", &r->flushed, clock_known,
                  primary_us, v->who->config->ship_warning_us, now_us);
    judge_age(v, &c[EVENT_APPLY_LATE], "what PostgreSQL here shows is", &r->applied, clock_known,
              primary_us, v->who->config->apply_warning_us, now_us);
    if (r->older)
        hold(&c[EVENT_RESTORED],
             "the PostgreSQL of %s was restored to an older state: its WAL up to " LSN_FORMAT
             " at least is here; failover here, or a new copy",
             r->from, LSN_ARGS(r->flushed.covered.lsn));
    if (!receiver_live(r))
        hold(&c[EVENT_LINK_DOWN], "the link from %s: %.150s",
             r->from[0] != '\0' ? r->from : "the primary",
             reason[0] != '\0' ? reason : "it was not here yet");
    else if (r->far_digest != v->who->config->digest)
        hold(&c[EVENT_CONFIG_DIFFERS], "the pool's file of %s is another one", r->from);
    if (receiver_live(r))
        judge_offset(&c[EVENT_CLOCKS_DIFFER], r->from, &r->offset, now_us);
}

static void
judge_disk(const struct view *v, struct event_condition *c, const struct disk *d, const char *where,
           int64_t now_us)
{
    char bytes[24], left[32], limit[32];
    uint64_t segment_bytes = who_identity(v->who)->segment_bytes;
    int64_t full_us;

    if (d->known && trend_full_us(&d->trend, segment_bytes, now_us, &full_us) &&
        full_us < v->who->config->disk_warning_us)
        hold(c, "%s has %s left and is full in %s at this rate (limit %s)", where,
             text_bytes(bytes, sizeof bytes, d->free_bytes),
             text_duration(left, sizeof left, full_us),
             text_duration(limit, sizeof limit, v->who->config->disk_warning_us));
}

static void
judge_member(const struct view *v, struct event_condition c[EVENTS], int64_t now_us)
{
    const struct conditions *f = v->conditions;
    char lacks[200];

    if (postgres_state(v->who->postgres) != POSTGRES_UP && v->who->role != ROLE_FENCED)
        hold(&c[EVENT_POSTGRES_AWAY], "PostgreSQL here: %.180s", postgres_reason(v->who->postgres));
    if (v->who->alarm[0] != '\0')
        hold(&c[EVENT_ALARM], "%.230s", v->who->alarm);
    if (v->who->missing[0] != '\0')
        hold(&c[EVENT_MISSING], "%.230s", v->who->missing);
    if (v->who->pool.promised.number != 0)
        hold(&c[EVENT_PROMISED],
             "epoch %" PRIu64
             " is promised to %s: nothing of a lower one is taken or shipped here; "
             "if no failover runs there any more: walferry failover --break-promise %s",
             v->who->pool.promised.number, v->who->pool.promised.member,
             v->who->pool.promised.member);
    if (v->in->inlet.rival_us != 0 && now_us - v->in->inlet.rival_us < RIVAL_NEWS_US)
        hold(&c[EVENT_RIVAL],
             "another agent with the key of %s wants the place of its living session; sshd's log "
             "tells from where",
             v->in->receiver.from);
    for (size_t i = 0; i < v->asks->count; i++) {
        const struct ask *q = &v->asks->ask[i];

        if (q->refuted_us == 0 || now_us - q->refuted_us >= RIVAL_NEWS_US)
            continue;
        if (q->refuted.number == 0)
            hold(
                &c[EVENT_FALSE_CLAIM],
                "somebody with the key of %s ships here as if it were %s, which itself knows nothing of "
                "it; sshd's log tells from where",
                q->to->name, q->to->name);
        else
            hold(&c[EVENT_FALSE_CLAIM],
                 "somebody with the key of %s claims epoch %" PRIu64 " for it, and %s itself does "
                 "not; sshd's log tells from where",
                 q->to->name, q->refuted.number, q->to->name);
    }
    if (v->in->error[0] != '\0')
        hold(&c[EVENT_SPOOL_REFUSES], "%.230s", v->in->error);
    judge_disk(v, &c[EVENT_SPOOL_FILLING], &v->rates->spool, "the spool's file system", now_us);
    judge_disk(v, &c[EVENT_PG_WAL_FILLING], &v->rates->pg_wal, "the file system of pg_wal", now_us);
    if (f->role_changed_us != 0 && now_us - f->role_changed_us < ROLE_NEWS_US)
        hold(&c[EVENT_ROLE_CHANGED], "%s was %s and is %s", v->who->self->name,
             role_name(f->role_before), role_name(f->role));
    for (size_t i = 0; i < v->gaps->count; i++) {
        const struct gap *gap = &v->gaps->gap[i];
        char bytes[24];

        if (gap->state != GAP_GIVEN_UP)
            hold(&c[EVENT_GAP], "%s lacks WAL from " LSN_FORMAT " to " LSN_FORMAT " (%s): %s",
                 gap->member, LSN_ARGS(gap->start), LSN_ARGS(gap->end),
                 text_bytes(bytes, sizeof bytes, gap->end - gap->start),
                 gap_state_name(gap->state));
    }
    if (v->who->role == ROLE_PRIMARY && commits_lack(v->out, lacks, sizeof lacks))
        hold(&c[EVENT_NOT_SYNCHRONOUS], "synchronous = %s, but %s",
             synchronous_name(v->who->config->synchronous), lacks);
    if (v->who->role == ROLE_PRIMARY && commits_hang(v->out, lacks, sizeof lacks))
        hold(&c[EVENT_COMMITS_HANG],
             "synchronous = %s, and commits hang: nothing is confirmed by %s",
             synchronous_name(v->who->config->synchronous), lacks);
}

static void
judge_guard(const struct view *v, struct event_condition c[EVENTS], int64_t now_us)
{
    const struct disk_guard *g = v->guard;
    const struct outbox *o = v->outbox;
    char kept[24], left[24];

    if (o->filling || !spool_empty(&o->spool))
        hold(&c[EVENT_OUTBOX], "%s are in %s, not at the other site%s%.100s",
             text_bytes(kept, sizeof kept, o->spool.available - o->spool.start), o->path,
             o->full               ? "; it is full"
             : o->error[0] != '\0' ? ": "
                                   : "",
             o->error);
    if (g->release.gone_us != 0 && now_us - g->release.gone_us < ROLE_NEWS_US)
        hold(&c[EVENT_RELEASED], "%s", g->release.text);
    if (g->step == DISK_GUARD_HOLD)
        hold(&c[EVENT_HELD], "slots keep %s, pg_wal has %s left%s%s%s",
             text_bytes(kept, sizeof kept, g->facts.retained),
             text_bytes(left, sizeof left, g->facts.free_bytes),
             v->who->config->on_full_hold ? " and on_full = hold: make room" : "",
             g->kept_text[0] != '\0' ? "; " : "", g->kept_text);
}

static void
say(struct conditions *f, const struct event_entry *entry)
{
    const struct event_kind *kind = event_kind(entry->id);
    char lasted[32];

    if (entry->raised)
        log_warning("%s %s: %s", kind->id, kind->name, entry->text);
    else
        log_info("%s %s is over after %s", kind->id, kind->name,
                 text_duration(lasted, sizeof lasted, entry->lasted_us));
    event_command_put(&f->event_command, entry, role_name(f->who->role));
}

void
conditions_look(struct conditions *f, const struct view *v, int64_t now_us, int64_t wall_us)
{
    struct event_condition c[EVENTS] = {0};
    const struct event_entry *entry;

    judge_member(v, c, now_us);
    if (v->who->role == ROLE_PRIMARY)
        for (size_t i = 0; i < v->out->links; i++)
            judge_link(v, i, c, now_us);
    if (v->who->role == ROLE_PRIMARY)
        judge_guard(v, c, now_us);
    else if (v->who->role == ROLE_STANDBY)
        judge_receiving(v, c, now_us);
    for (enum event_id id = 0; id < EVENTS; id++)
        if (events_step(&f->events, id, &c[id], now_us, wall_us, &entry) > 0)
            say(f, entry);
}

/* ---- life ---- */

int
conditions_open(struct conditions *f, const struct who *who)
{
    char *text = malloc(EVENT_FILE_BYTES);

    f->who = who;
    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory");
    if (durable_load(f->who->spool->dir, EVENT_FILE, text, EVENT_FILE_BYTES) >= 0)
        events_load(&f->events, text);
    else if (errno != ENOENT)
        log_warning("cannot read %s/%s: %s; the history of events begins anew", f->who->spool->path,
                    EVENT_FILE, strerror(errno));
    free(text);
    return event_command_init(&f->event_command, f->who->config->event_command,
                              f->who->config->name, f->who->self->name, f->who->self->site);
}

static void
job_save(void *context)
{
    struct conditions_file *file = context;

    file->error = durable_replace(file->dir, EVENT_FILE, file->text, file->length) < 0 ? errno : 0;
}

bool
conditions_save(struct conditions *f, struct worker *worker)
{
    if (f->file.error != 0 && !f->file_failed)
        log_warning("cannot write %s/%s: %s; tried again once a second", f->who->spool->path,
                    EVENT_FILE, strerror(f->file.error));
    f->file_failed = f->file.error != 0;
    if (!f->events.unsaved && !f->file_failed)
        return false;
    f->file.dir = f->who->spool->dir;
    f->file.length = events_save(&f->events, f->file.text);
    f->events.unsaved = false;
    worker_submit(worker, job_save, &f->file);
    return true;
}

void
conditions_close(struct conditions *f)
{
    event_command_release(&f->event_command);
    if (f->who != NULL && f->who->spool->dir >= 0 && f->events.unsaved) {
        f->file.dir = f->who->spool->dir;
        f->file.length = events_save(&f->events, f->file.text);
        job_save(&f->file);
    }
}
