/* SPDX-License-Identifier: PostgreSQL */
/* See report.h. */
#include "monitor/report.h"

#include "links/exposed.h"
#include "monitor/conditions.h"
#include "monitor/members.h"
#include "pool/route.h"
#include "pool/route_json.h"
#include "retention/slot.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

static json_t *
text_json(const char *text)
{
    return text[0] != '\0' ? json_string(text) : json_null();
}

/* One of received, flushed, applied: where it is, how far behind in bytes and in seconds. */
static json_t *
position_json(lsn_t position, lsn_t primary, const struct lag *lag, bool clock_known,
              int64_t primary_us)
{
    int64_t age_us = 0;
    bool known = clock_known && lag_age(lag, primary_us, &age_us);
    char when[40];
    json_t *behind = json_null();

    if (position != LSN_UNKNOWN && primary != LSN_UNKNOWN)
        behind = json_integer(primary > position ? (json_int_t)(primary - position) : 0);
    return json_pack("{s:o s:o s:o s:o}", "lsn", lsn_json(position), "behind_bytes", behind,
                     "lag_seconds", seconds_json(known, age_us), "as_of",
                     lag->covered.lsn != LSN_UNKNOWN
                         ? json_string(text_time(when, sizeof when, lag->covered.wall_us))
                         : json_null());
}

const char *
report_postgres_state(enum postgres_state state)
{
    static const char *const name[] = {"unknown", "down", "starting", "stopping", "up"};

    return name[state];
}

static json_t *
postgres_json(const struct view *v)
{
    const struct postgres_sample *s = postgres_sample(v->who->postgres);
    json_t *json =
        json_pack("{s:s s:o s:i}", "state", report_postgres_state(postgres_state(v->who->postgres)),
                  "reason", text_json(postgres_reason(v->who->postgres)), "major",
                  who_identity(v->who)->postgres_major);

    if (s == NULL)
        return json;
    json_object_set_new(json, "in_recovery", json_boolean(s->in_recovery));
    json_object_set_new(json, "timeline", json_integer(s->timeline));
    json_object_set_new(json, "insert", lsn_json(s->insert));
    json_object_set_new(json, "flush", lsn_json(s->flush));
    json_object_set_new(json, "replay", lsn_json(s->replay));
    json_object_set_new(json, "replay_paused", json_boolean(s->replay_paused));
    json_object_set_new(json, "synchronous_standby_names",
                        json_string(s->synchronous_standby_names));
    return json;
}

const char *
report_link_state(enum link_state state)
{
    static const char *const name[] = {"stopped", "down", "connecting", "greeting", "up"};

    return name[state];
}

static json_t *
round_trip_json(const struct clock_offset *o, int64_t now_us)
{
    return seconds_json(conditions_offset_known(o, now_us), o->round_trip_us);
}

/* zstd's level now; 0 none. */
static json_t *
level_json(const struct compressor *c)
{
    int level = compressor_level(c);

    return json_integer(level == CODEC_NONE ? 0 : level);
}

static json_t *
limit_json(const struct rate *r)
{
    char text[RATE_TEXT_MAX];

    return json_string(rate_text(&r->plan, text, sizeof text));
}

static json_t *
clock_offset_json(const struct clock_offset *o, int64_t now_us)
{
    return seconds_json(conditions_offset_known(o, now_us), o->wall_offset_us);
}

static json_t *
rate_json(bool known, double per_second)
{
    return known ? json_integer((json_int_t)per_second) : json_null();
}

static json_t *
progress_json(const struct progress *s)
{
    return json_pack("{s:s s:o s:o s:o s:o}", "state", progress_name(s->state), "reason",
                     text_json(s->reason), "produced_bytes_per_second",
                     rate_json(s->produced_known, s->produced), "shipped_bytes_per_second",
                     rate_json(s->shipped_known, s->shipped), "level_in_seconds",
                     seconds_json(s->level_known, s->level_us));
}

static json_t *
slot_json(const struct view *v, size_t i)
{
    uint64_t retained;
    bool lost;

    if (!slot_retained(v->out, i, &retained, &lost))
        return json_null();
    return json_pack("{s:s s:o s:b}", "name", v->out->slot_name[i], "retained_bytes",
                     lost ? json_null() : json_integer((json_int_t)retained), "lost", lost);
}

/* Of one link. */
static json_t *
exposure_json(const struct loss_facts *f)
{
    struct loss loss;

    loss_judge(f, &loss);
    return seconds_json(loss_known(&loss), loss.age_us);
}

/* A position of the far side, if it is one of our WAL. */
static lsn_t
of_ours(const struct view *v, const struct link *l, lsn_t position)
{
    return l->sender.far_compared || outgoing_rests(v->out, l) ? position : LSN_UNKNOWN;
}

static json_t *
link_json(const struct view *v, size_t i, int64_t now_us)
{
    const struct link *l = &v->out->link[i];
    const struct sender *s = &l->sender;
    const struct postgres_sample *sample = postgres_sample(v->who->postgres);
    bool fresh = sample != NULL && !sample->in_recovery && now_us - sample->mono_us < WHO_FRESH_US;
    lsn_t primary = fresh ? sample->flush : LSN_UNKNOWN;
    struct progress progress;
    struct loss_facts facts;
    json_t *json = json_pack(
        "{s:s s:s s:o s:o s:o s:o s:o s:b}", "to", l->member, "state", report_link_state(l->state),
        "since_seconds", seconds_json(true, now_us - l->since_us), "reason",
        text_json(outgoing_reason(l)), "source_reason", text_json(l->source_reason),
        "round_trip_seconds", round_trip_json(&s->offset, now_us), "clock_offset_seconds",
        clock_offset_json(&s->offset, now_us), "standby_connected", s->far.standby_connected);

    exposed_link(l, v->who->self->name, primary, now_us, &facts);
    json_object_set_new(json, "exposure_seconds", exposure_json(&facts));
    conditions_link(v, i, now_us, &progress);
    json_object_set_new(json, "shipping", progress_json(&progress));
    json_object_set_new(json, "refused_seconds_ago",
                        seconds_json(s->refused_us != 0, now_us - s->refused_us));
    json_object_set_new(json, "slot", slot_json(v, i));
    json_object_set_new(json, "heard_seconds_ago",
                        seconds_json(s->seen_us != 0, now_us - s->seen_us));
    json_object_set_new(json, "sent", lsn_json(l->state == LINK_SHIPPING ? s->sent : LSN_UNKNOWN));
    json_object_set_new(
        json, "received",
        position_json(of_ours(v, l, s->far.received), primary, &s->received, true, now_us));
    json_object_set_new(
        json, "flushed",
        position_json(of_ours(v, l, s->far.flushed), primary, &s->flushed, true, now_us));
    json_object_set_new(
        json, "applied",
        position_json(of_ours(v, l, s->far.applied), primary, &s->applied, true, now_us));
    json_object_set_new(json, "mirror", json_boolean(i >= v->out->far));
    json_object_set_new(json, "feeds", json_boolean(outgoing_feeds(v->out, l->member)));
    json_object_set_new(json, "commits_wait", json_boolean(s->commits_wait));
    json_object_set_new(json, "restored", json_boolean(s->older));
    json_object_set_new(json, "drained", lsn_json(l->drain.done));
    json_object_set_new(json, "wal_bytes", json_integer((json_int_t)s->wal_bytes));
    json_object_set_new(json, "wire_bytes", json_integer((json_int_t)s->wire_bytes));
    json_object_set_new(json, "lanes", json_integer(lanes_up(&l->lanes)));
    json_object_set_new(json, "compression_level", level_json(&l->compressor));
    json_object_set_new(json, "rate_limit", limit_json(&l->rate));
    json_object_set_new(json, "rate_limits", json_boolean(l->rate_limits));
    json_object_set_new(json, "set_at_run_time", json_boolean(v->out->settings_changed));
    json_object_set_new(json, "connections_lost", json_integer((json_int_t)l->ended));
    json_object_set_new(
        json, "config_differs",
        json_boolean(l->state == LINK_SHIPPING && s->far_digest != v->who->config->digest));
    return json;
}

static json_t *
disk_json(const struct disk *d, uint64_t segment_bytes, int64_t now_us)
{
    int64_t full_us = 0;
    bool known = d->known && trend_full_us(&d->trend, segment_bytes, now_us, &full_us);

    return json_pack("{s:o s:o}", "free_bytes",
                     d->known ? json_integer((json_int_t)d->free_bytes) : json_null(),
                     "seconds_to_full", seconds_json(known, full_us));
}

static json_t *
receiving_json(const struct view *v, int64_t now_us)
{
    const struct receiver *r = &v->in->receiver;
    int64_t primary_us = 0;
    bool clock_known = receiver_primary_us(r, now_us, &primary_us);
    bool live = receiver_live(r);
    lsn_t primary = incoming_primary(v->in, now_us);
    struct relay_standby standby;
    struct progress progress;
    struct loss_facts facts;
    json_t *json;

    exposed_receiving(v->in, now_us, &facts);
    relay_standby(&v->in->relay, &standby);
    json =
        json_pack("{s:o s:s s:o s:o s:o s:b}", "from", text_json(r->from), "state",
                  live ? "up" : "down", "reason", text_json(incoming_reason(v->in)),
                  "round_trip_seconds", round_trip_json(&r->offset, now_us), "clock_offset_seconds",
                  clock_offset_json(&r->offset, now_us), "standby_connected", standby.connected);
    json_object_set_new(json, "exposure_seconds", exposure_json(&facts));
    conditions_receiving(v, now_us, &progress);
    json_object_set_new(json, "shipping", progress_json(&progress));
    json_object_set_new(
        json, "refused_seconds_ago",
        seconds_json(v->in->inlet.refused_us != 0, now_us - v->in->inlet.refused_us));
    json_object_set_new(json, "forked_at", lsn_json(v->in->forked));
    json_object_set_new(json, "since_seconds",
                        seconds_json(v->in->inlet.since_us != 0, now_us - v->in->inlet.since_us));
    json_object_set_new(json, "heard_seconds_ago",
                        seconds_json(r->heard_us != 0, now_us - r->heard_us));
    json_object_set_new(json, "restored", json_boolean(r->older));
    json_object_set_new(json, "primary", lsn_json(r->stamped.lsn));
    json_object_set_new(
        json, "received",
        position_json(v->in->spool.written, primary, &r->received, clock_known, primary_us));
    json_object_set_new(
        json, "flushed",
        position_json(incoming_durable(v->in), primary, &r->flushed, clock_known, primary_us));
    json_object_set_new(
        json, "applied",
        position_json(incoming_applied(v->in), primary, &r->applied, clock_known, primary_us));
    json_object_set_new(json, "wal_bytes", json_integer((json_int_t)r->wal_bytes));
    json_object_set_new(json, "wire_bytes", json_integer((json_int_t)r->wire_bytes));
    json_object_set_new(json, "lanes", json_integer(inlet_lanes(&v->in->inlet)));
    json_object_set_new(json, "connections_lost", json_integer((json_int_t)v->in->inlet.ended));
    json_object_set_new(json, "config_differs",
                        json_boolean(live && r->far_digest != v->who->config->digest));
    return json;
}

/* Who else reads from the relay: named, and no more than that. */
static json_t *
relay_json(const struct view *v, int64_t now_us)
{
    struct relay_guest guest[RELAY_CLIENTS_MAX];
    size_t count = relay_guests(&v->in->relay, guest);
    json_t *guests = json_array();
    lsn_t end;

    supply_newest(&v->in->relay.supply, &end);
    for (size_t i = 0; i < count; i++) {
        const struct relay_guest *g = &guest[i];
        bool known = g->flushed != LSN_UNKNOWN;

        json_array_append_new(
            guests,
            json_pack(
                "{s:s s:o s:b s:b s:i s:o s:o s:o s:o s:o}", "application", g->application_name,
                "process", g->pid != 0 ? json_integer(g->pid) : json_null(), "afar", g->afar,
                "streams", g->streams, "timeline", (int)g->timeline, "sent", lsn_json(g->sent),
                "flushed", lsn_json(g->flushed), "applied", lsn_json(g->applied), "behind_bytes",
                known ? json_integer((json_int_t)(g->flushed < end ? end - g->flushed : 0))
                      : json_null(),
                "since_seconds", seconds_json(true, now_us - g->since_us)));
    }
    return json_pack("{s:i s:i s:o}", "guests_max", (int)v->in->relay.guests, "guest_count",
                     (int)count, "guests", guests);
}

static json_t *
spool_json(const struct view *v, int64_t now_us)
{
    const struct spool *s = &v->in->spool;
    json_t *json = json_pack("{s:s s:i s:o s:o s:o s:o s:o}", "path", s->path, "timeline",
                             (int)s->timeline, "start", lsn_json(s->start), "received",
                             lsn_json(s->written), "flushed", lsn_json(s->flushed), "available",
                             lsn_json(s->available), "error", text_json(v->in->error));
    json_t *disk = disk_json(&v->rates->spool, who_identity(v->who)->segment_bytes, now_us);
    char aside[300] = "";

    spool_kept_aside(s, aside, sizeof aside);
    json_object_set_new(json, "kept_aside", text_json(aside));
    json_object_update(json, disk);
    json_decref(disk);
    return json;
}

/* Of the guard, on a primary: see disk_guard.h. */
static json_t *
disk_guard_json(const struct view *v)
{
    const struct disk_guard_facts *f = &v->guard->facts;

    return json_pack(
        "{s:s s:i s:I s:o s:o s:o}", "step", disk_guard_name(v->guard->step), "step_number",
        (int)v->guard->step, "retained_bytes", (json_int_t)f->retained, "reserve_bytes",
        f->disk_known ? json_integer((json_int_t)reserve_bytes(&v->who->config->pg_wal_reserve,
                                                               f->disk_bytes))
                      : json_null(),
        "released",
        v->guard->release.gone_us != 0 ? json_string(v->guard->release.text) : json_null(), "kept",
        text_json(v->guard->kept_text));
}

static json_t *
outbox_json(const struct view *v)
{
    const struct outbox *o = v->outbox;
    const struct spool *s = &o->spool;

    return json_pack("{s:s s:b s:b s:o s:o s:o s:I s:o}", "path", o->path, "filling", o->filling,
                     "full", o->full, "start", lsn_json(s->start), "flushed", lsn_json(s->flushed),
                     "end", lsn_json(s->available), "bytes", (json_int_t)(s->available - s->start),
                     "error", text_json(o->error));
}

/* What a disaster now could cost. */
static json_t *
loss_json(const struct loss *l)
{
    char text[POOL_LOSS_SIZE], when[40];

    return json_pack("{s:s s:o s:o s:o s:s}", "kind", loss_kind_name(l->kind), "seconds",
                     seconds_json(loss_known(l), l->age_us), "since",
                     l->kind == LOSS_AT_MOST
                         ? json_string(text_time(when, sizeof when, l->since_us))
                         : json_null(),
                     "bytes", l->bytes_known ? json_integer((json_int_t)l->bytes) : json_null(),
                     "text", loss_text(l, text));
}

/* Has its PostgreSQL told over this link what it has applied? Then it is a standby, whatever it
 * was. */
static bool
follows_us(const struct view *v, const struct member *m)
{
    for (size_t i = 0; i < v->out->links; i++) {
        const struct link *l = &v->out->link[i];

        if (strcmp(l->member, m->name) == 0)
            return l->state == LINK_SHIPPING && (l->sender.far.standby_connected ||
                                                 l->sender.applied.covered.mono_us >= l->since_us ||
                                                 l->sender.applied.before.mono_us >= l->since_us);
    }
    return false;
}

/* What a member has said itself when it was last asked. */
static json_t *
said_json(const struct view *v, const struct member *m, int64_t now_us)
{
    for (size_t i = 0; i < v->asks->count; i++) {
        const struct ask *q = &v->asks->ask[i];
        const struct told *t = &q->told;
        const struct epoch *epoch;

        if (q->to != m || t->changes == 0)
            continue;
        epoch = &t->change[t->changes - 1].origin.epoch;
        return json_pack("{s:I s:s s:I s:o s:o s:o}", "epoch", (json_int_t)epoch->number, "primary",
                         epoch->member, "timeline", (json_int_t)t->timeline, "flushed",
                         lsn_json(t->own.flushed), "applied", lsn_json(t->own.applied),
                         "seconds_ago", seconds_json(true, now_us - q->told_us + t->own.age_us));
    }
    return json_null();
}

/* What this agent can say of a member: its own role, and who is the primary. */
static json_t *
members_json(const struct view *v, int64_t now_us)
{
    json_t *members = json_array();

    for (size_t i = 0; i < v->who->config->members; i++) {
        const struct member *m = &v->who->config->member[i];
        const char *role = m == v->who->self                ? role_name(v->who->role)
                           : v->who->pool.epoch.number == 0 ? "unknown"
                           : strcmp(m->name, v->who->pool.epoch.member) == 0 ? "primary"
                           : pool_was_primary(&v->who->pool, m->name) && !follows_us(v, m)
                               ? "former primary"
                               : "standby";

        json_array_append_new(members,
                              json_pack("{s:s s:s s:s s:o}", "name", m->name, "site", m->site,
                                        "role", role, "said", said_json(v, m, now_us)));
        members_tell(json_array_get(members, i), v, m->name, now_us);
    }
    return members;
}

/* The table of routes, with what a person reads. One of an earlier epoch says nothing of now. */
static json_t *
report_routes(const struct view *v)
{
    const struct routes *r = &v->who->pool.routes;
    json_t *json, *members;

    if (r->count == 0 || !epoch_equal(&r->epoch, &v->who->pool.epoch))
        return json_null();
    json = routes_to_json(r);
    members = json_object_get(json, "members");
    for (size_t i = 0; i < r->count; i++) {
        const struct member *m = config_member(v->who->config, r->route[i].member);
        json_t *route = json_array_get(members, i);
        char text[ROUTE_TEXT_SIZE], when[40];

        json_object_set_new(route, "from", text_json(r->route[i].from));
        json_object_del(route, "since_us");
        json_object_set_new(route, "since",
                            json_string(text_time(when, sizeof when, r->route[i].since_us)));
        json_object_set_new(route, "site", m != NULL ? json_string(m->site) : json_null());
        json_object_set_new(
            route, "text",
            json_string(route_text(r, &r->route[i], m != NULL ? m->site : "its site", text)));
    }
    return json;
}

static json_t *
promised_json(const struct epoch *promised)
{
    if (promised->number == 0)
        return json_null();
    return json_pack("{s:I s:s}", "number", (json_int_t)promised->number, "member",
                     promised->member);
}

json_t *
report_json(const struct view *v, int64_t now_us)
{
    const struct epoch_origin origin = pool_origin(&v->who->pool);
    char system_identifier[24];
    json_t *links = json_array();
    struct loss loss;
    json_t *json;

    exposed_now(v->who, v->in, v->out, now_us, &loss);
    snprintf(system_identifier, sizeof system_identifier, "%llu",
             (unsigned long long)who_identity(v->who)->system_identifier);
    for (size_t i = 0; i < v->out->links; i++)
        if (v->who->role != ROLE_STANDBY && v->who->role != ROLE_UNKNOWN)
            json_array_append_new(links, link_json(v, i, now_us));
    json = json_pack("{s:s s:s s:s s:s s:s s:s s:i s:o}", "version", WALFERRY_VERSION, "pool",
                     v->who->config->name, "member", v->who->self->name, "site", v->who->self->site,
                     "role", role_name(v->who->role), "system_identifier", system_identifier,
                     "timeline", (int)v->who->pool.timeline, "alarm", text_json(v->who->alarm));
    json_object_set_new(json, "missing", text_json(v->who->missing));
    json_object_set_new(
        json, "epoch",
        json_pack("{s:I s:o s:i s:o s:o}", "number", (json_int_t)v->who->pool.epoch.number,
                  "member", text_json(v->who->pool.epoch.member), "timeline", (int)origin.timeline,
                  "fork", lsn_json(origin.fork), "loss",
                  text_json(v->who->missing[0] != '\0' ? v->who->missing : v->who->pool.loss)));
    json_object_set_new(json, "promised", promised_json(&v->who->pool.promised));
    json_object_set_new(json, "left", json_boolean(v->who->pool.left));
    json_object_set_new(json, "failover_step", json_integer(v->who->pool.step));
    json_object_set_new(json, "members", members_json(v, now_us));
    json_object_set_new(json, "routes", report_routes(v));
    json_object_set_new(json, "mirror", json_boolean(who_is_mirror(v->who)));
    /* a mirror does not know what other sites have, and is lost with the primary */
    json_object_set_new(json, "exposure_seconds",
                        seconds_json(loss_known(&loss) && !who_is_mirror(v->who), loss.age_us));
    json_object_set_new(json, "loss", loss_json(&loss));
    json_object_set_new(
        json, "limits",
        json_pack("{s:o s:o s:o s:o s:o}", "ship_warning_seconds",
                  seconds_json(true, v->who->config->ship_warning_us), "exposure_warning_seconds",
                  seconds_json(true, v->who->config->exposure_warning_us),
                  "exposure_critical_seconds",
                  seconds_json(true, v->who->config->exposure_critical_us), "apply_warning_seconds",
                  seconds_json(true, v->who->config->apply_warning_us), "apply_critical_seconds",
                  seconds_json(true, v->who->config->apply_critical_us)));
    json_object_set_new(json, "site_files_differ", json_integer((json_int_t)v->site->differ));
    json_object_set_new(json, "postgres", postgres_json(v));
    json_object_set_new(json, "pg_wal",
                        disk_json(&v->rates->pg_wal, who_identity(v->who)->segment_bytes, now_us));
    if (v->who->role == ROLE_PRIMARY)
        json_object_set_new(json, "guard", disk_guard_json(v));
    json_object_set_new(json, "outbox", outbox_json(v));
    json_object_set_new(json, "events", events_json(&v->conditions->events));
    json_object_set_new(json, "recent_events", events_recent_json(&v->conditions->events));
    json_object_set_new(json, "links", links);
    json_object_set_new(json, "gaps", backfill_report(v->backfill));
    json_object_set_new(json, "receiving",
                        v->who->role == ROLE_PRIMARY ||
                                (v->who->role == ROLE_FENCED && !receiver_live(&v->in->receiver) &&
                                 v->in->forked == LSN_UNKNOWN)
                            ? json_null()
                            : receiving_json(v, now_us));
    json_object_set_new(json, "spool", spool_json(v, now_us));
    json_object_set_new(json, "relay", relay_json(v, now_us));
    json_object_set_new(json, "tunnel",
                        json_pack("{s:i s:I s:I}", "streams", (int)tunnel_streams(v->tunnel),
                                  "opened", (json_int_t)v->tunnel->opened, "bytes",
                                  (json_int_t)tunnel_bytes(v->tunnel)));
    return json;
}
