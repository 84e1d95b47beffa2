/* SPDX-License-Identifier: PostgreSQL */
/* See metrics.h. */
#include "web/metrics.h"

#include "monitor/conditions.h"
#include "monitor/report.h"

#include "base/clock.h"
#include "base/histogram.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINKS_MAX (MEMBERS_MAX + 1)

struct family {
    const char *path; /* keys of the report, with dots between */
    const char *name, *type, *help;
};

static const struct family of_member[] = {
    {"epoch.number", "walferry_epoch", "gauge",
     "Number of the pool's epoch: changes of the primary."},
    {"timeline", "walferry_timeline", "gauge", "Timeline of the primary, as last seen."},
    {"failover_step", "walferry_failover_step", "gauge",
     "Step of a failover to this member that is under way, 0: none."},
    {"postgres.in_recovery", "walferry_postgres_in_recovery", "gauge",
     "1 while the PostgreSQL of this member is in recovery."},
    {"postgres.replay_paused", "walferry_postgres_replay_paused", "gauge",
     "1 while replay is paused in the PostgreSQL of this member."},
    {"postgres.insert", "walferry_postgres_insert_lsn_bytes", "gauge",
     "Insert position of this member's PostgreSQL."},
    {"postgres.flush", "walferry_wal_produced_bytes_total", "counter",
     "WAL that this member's PostgreSQL has flushed, as a position: its rate is the WAL produced."},
    {"postgres.replay", "walferry_wal_replayed_bytes_total", "counter",
     "WAL that this member's PostgreSQL has replayed, as a position."},
    {"spool.free_bytes", "walferry_spool_free_bytes", "gauge",
     "Free space of the spool's file system."},
    {"spool.seconds_to_full", "walferry_spool_seconds_to_full", "gauge",
     "Until it is full, at the rate of the last minute; absent: it does not fill."},
    {"pg_wal.free_bytes", "walferry_pg_wal_free_bytes", "gauge",
     "Free space of pg_wal's file system."},
    {"guard.step_number", "walferry_guard_step", "gauge",
     "Step of the guard: 0 watch, 1 squeeze, 2 outbox, 3 release, 4 hold."},
    {"guard.reserve_bytes", "walferry_pg_wal_reserve_bytes", "gauge",
     "With less of it free a slot is let go."},
    {"outbox.bytes", "walferry_outbox_bytes", "gauge", "WAL in the outbox, not yet shipped."},
    {"outbox.end", "walferry_outbox_end_lsn_bytes", "gauge", "Where the outbox ends."},
    {"pg_wal.seconds_to_full", "walferry_pg_wal_seconds_to_full", "gauge",
     "Until it is full, at the rate of the last minute; absent: it does not fill."},
    {"tunnel.streams", "walferry_tunnel_streams", "gauge",
     "Streams through tunnels that are open."},
    {"tunnel.opened", "walferry_tunnel_streams_total", "counter", "Streams opened so far."},
    {"tunnel.bytes", "walferry_tunnel_bytes_total", "counter",
     "Bytes that went through tunnels, both ways, before compression."},
    {"relay.guest_count", "walferry_relay_guests", "gauge",
     "Readers of the relay that are not the local standby."},
    {"spool.start", "walferry_spool_start_lsn_bytes", "gauge", "First position the spool holds."},
    {"spool.received", "walferry_spool_received_lsn_bytes", "gauge",
     "End of what the spool has been given."},
    {"spool.flushed", "walferry_spool_flushed_lsn_bytes", "gauge",
     "End of what the spool has on stable storage."},
};

static const struct family of_link[] = {
    {"since_seconds", "walferry_link_state_age_seconds", "gauge",
     "Time since the link changed its state."},
    {"lanes", "walferry_link_lanes", "gauge", "SSH connections of the link that are up."},
    {"compression_level", "walferry_link_compression_level", "gauge",
     "Level of zstd at this moment, 0: none."},
    {"rate_limits", "walferry_link_rate_limited", "gauge",
     "1 while WAL waits for the rate limit, not for the line."},
    {"round_trip_seconds", "walferry_link_round_trip_seconds", "gauge",
     "Round trip of the last PING through the link."},
    {"clock_offset_seconds", "walferry_link_clock_offset_seconds", "gauge",
     "Wall clock of the far host minus ours."},
    {"standby_connected", "walferry_link_standby_connected", "gauge",
     "1 while the standby's PostgreSQL is connected to its agent."},
    {"feeds", "walferry_link_feeds", "gauge",
     "1 while this member ships to the other by the table of routes."},
    {"commits_wait", "walferry_link_commits_wait", "gauge",
     "1 while PostgreSQL's commits wait for this member, or for it among others."},
    {"heard_seconds_ago", "walferry_link_heard_age_seconds", "gauge",
     "Time since the last frame of the primary."},
    {"config_differs", "walferry_link_config_differs", "gauge",
     "1 while the pool's file differs between the two members."},
    {"wal_bytes", "walferry_link_wal_bytes_total", "counter",
     "WAL shipped on this link, before compression."},
    {"wire_bytes", "walferry_link_wire_bytes_total", "counter",
     "The same WAL as frames, after compression."},
    {"shipping.produced_bytes_per_second", "walferry_link_produced_bytes_per_second", "gauge",
     "WAL that the primary makes, over ten seconds."},
    {"shipping.shipped_bytes_per_second", "walferry_link_shipped_bytes_per_second", "gauge",
     "WAL that gets to the other site's stable storage, over ten seconds."},
    {"shipping.level_in_seconds", "walferry_link_level_seconds", "gauge",
     "Until nothing is unshipped, at these rates; absent: unknown, or never."},
    {"sent", "walferry_link_sent_lsn_bytes", "gauge", "End of what was sent in this session."},
};

/* The same of received, flushed and applied, told apart by label `position`. */
static const struct family of_position[] = {
    {"lsn", "walferry_lsn_bytes", "gauge", "Where the standby's side is."},
    {"behind_bytes", "walferry_behind_bytes", "gauge",
     "WAL between it and the primary's flush position."},
    {"lag_seconds", "walferry_lag_seconds", "gauge",
     "Age of the newest moment up to which every commit is there."},
};

/* Of each member of the pool, told apart by labels `member` and `site`. */
static const struct family of_known[] = {
    {"heard_seconds_ago", "walferry_member_heard_age_seconds", "gauge",
     "Age of what is known of the member, by any way."},
    {"severity", "walferry_member_severity", "gauge",
     "Of the member's worst alarm or event: 0 none, 1 warning, 2 critical."},
};

/* ... and by `position`. */
static const struct family of_known_position[] = {
    {"", "walferry_member_lsn_bytes", "gauge", "Where the member stands, as it was heard."},
    {"_lag_seconds", "walferry_member_lag_seconds", "gauge",
     "Age of the newest moment up to which every commit is there, as far as it is known here."},
};

struct output {
    FILE *out;
    const struct view *view;
    const json_t *report;
    const json_t *link[LINKS_MAX]; /* links of the primary, then what comes in */
    char name[LINKS_MAX][2 * MEMBER_NAME_SIZE];
    size_t links;
};

static void
head(const struct output *o, const char *name, const char *type, const char *help)
{
    fprintf(o->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static const json_t *
look_up(const json_t *json, const char *path)
{
    char key[64];

    for (;;) {
        size_t length = strcspn(path, ".");

        snprintf(key, sizeof key, "%.*s", (int)length, path);
        json = json_object_get(json, key);
        if (path[length] == '\0')
            return json;
        path += length + 1;
    }
}

/* A number, a truth or an LSN of the report; false: unknown. */
static bool
figure(const json_t *value, double *ret_figure)
{
    lsn_t lsn;

    if (json_is_number(value))
        *ret_figure = json_number_value(value);
    else if (json_is_boolean(value))
        *ret_figure = json_is_true(value) ? 1 : 0;
    else if (json_is_string(value) && lsn_parse(json_string_value(value), &lsn))
        *ret_figure = (double)lsn;
    else
        return false;
    return true;
}

/* The value and the line's end: an integer whole, a time with its microseconds. */
static void
put_value(const struct output *o, double value)
{
    fprintf(o->out, fabs(value) < 1e18 && value == (double)(int64_t)value ? " %.0f\n" : " %.9g\n",
            value);
}

static void
put_member(const struct output *o, const struct family *f)
{
    double value;

    if (!figure(look_up(o->report, f->path), &value))
        return;
    head(o, f->name, f->type, f->help);
    fputs(f->name, o->out);
    put_value(o, value);
}

static void
put_link(const struct output *o, const struct family *f)
{
    bool headed = false;
    double value;

    for (size_t i = 0; i < o->links; i++) {
        if (!figure(look_up(o->link[i], f->path), &value))
            continue;
        if (!headed)
            head(o, f->name, f->type, f->help);
        headed = true;
        fprintf(o->out, "%s{link=\"%s\"}", f->name, o->name[i]);
        put_value(o, value);
    }
}

static void
put_position(const struct output *o, const struct family *f)
{
    static const char *const position[] = {"received", "flushed", "applied"};
    bool headed = false;
    double value;

    for (size_t i = 0; i < o->links; i++)
        for (size_t k = 0; k < 3; k++) {
            if (!figure(look_up(json_object_get(o->link[i], position[k]), f->path), &value))
                continue;
            if (!headed)
                head(o, f->name, f->type, f->help);
            headed = true;
            fprintf(o->out, "%s{link=\"%s\",position=\"%s\"}", f->name, o->name[i], position[k]);
            put_value(o, value);
        }
}

static void
put_label(const struct output *o, const char *name, const json_t *member)
{
    fprintf(o->out, "%s{member=\"%s\",site=\"%s\"", name,
            json_string_value(json_object_get(member, "name")),
            json_string_value(json_object_get(member, "site")));
}

static bool
is_heard(const json_t *member)
{
    return json_is_number(json_object_get(member, "heard_seconds_ago")) &&
           !json_is_true(json_object_get(member, "silent"));
}

static bool
is_self(const struct output *o, const json_t *member)
{
    return strcmp(json_string_value(json_object_get(member, "name")), o->view->who->self->name) ==
           0;
}

/* Yes or no of each member; of one that is not heard of only whether it is. */
static void
put_known_words(const struct output *o, const json_t *members)
{
    const json_t *member;
    size_t i;

    head(o, "walferry_member_heard", "gauge", "1 while this other member is heard of, by any way.");
    json_array_foreach (members, i, member) {
        if (is_self(o, member))
            continue;
        put_label(o, "walferry_member_heard", member);
        fprintf(o->out, "} %d\n", is_heard(member));
    }
    head(o, "walferry_member_role", "gauge", "1 for the role that the member says it has.");
    json_array_foreach (members, i, member)
        for (enum role r = 0; r <= ROLE_FENCED && is_heard(member); r++) {
            const char *says = json_string_value(json_object_get(member, "says"));

            put_label(o, "walferry_member_role", member);
            fprintf(o->out, ",role=\"%s\"} %d\n", role_name(r),
                    says != NULL && strcmp(says, role_name(r)) == 0);
        }
    head(o, "walferry_member_postgres_up", "gauge", "1 while the member's PostgreSQL answers it.");
    json_array_foreach (members, i, member) {
        if (!is_heard(member))
            continue;
        put_label(o, "walferry_member_postgres_up", member);
        fprintf(o->out, "} %d\n",
                strcmp(json_string_value(json_object_get(member, "postgres")), "up") == 0);
    }
}

static void
put_known(const struct output *o)
{
    static const char *const position[] = {"received", "flushed", "applied"};
    const json_t *member, *members = json_object_get(o->report, "members");
    double value;
    size_t i;

    put_known_words(o, members);
    for (size_t f = 0; f < sizeof of_known / sizeof of_known[0]; f++) {
        head(o, of_known[f].name, of_known[f].type, of_known[f].help);
        json_array_foreach (members, i, member) {
            if (!figure(json_object_get(member, of_known[f].path), &value) ||
                (f > 0 && !is_heard(member)))
                continue;
            put_label(o, of_known[f].name, member);
            fputs("}", o->out);
            put_value(o, value);
        }
    }
    for (size_t f = 0; f < sizeof of_known_position / sizeof of_known_position[0]; f++) {
        head(o, of_known_position[f].name, of_known_position[f].type, of_known_position[f].help);
        json_array_foreach (members, i, member)
            for (size_t k = 0; k < 3; k++) {
                char path[64];

                snprintf(path, sizeof path, "%s%s", position[k], of_known_position[f].path);
                if (!is_heard(member) || !figure(json_object_get(member, path), &value))
                    continue;
                put_label(o, of_known_position[f].name, member);
                fprintf(o->out, ",position=\"%s\"}", position[k]);
                put_value(o, value);
            }
    }
}

/* As the primary has judged them: the same on each member that holds its table. */
static void
put_routes(const struct output *o)
{
    const json_t *route, *routes = look_up(o->report, "routes.members");
    const char *from;
    size_t i;

    if (json_array_size(routes) > 0)
        head(o, "walferry_route", "gauge",
             "1 while the link brings WAL to its member by the table of routes, 0 while none.");
    json_array_foreach (routes, i, route)
        if ((from = json_string_value(json_object_get(route, "from"))) != NULL)
            fprintf(o->out, "walferry_route{link=\"%s>%s\",why=\"%s\"} %d\n", from,
                    json_string_value(json_object_get(route, "member")),
                    json_string_value(json_object_get(route, "why")),
                    !json_is_true(json_object_get(route, "cut")));
}

/* The pool's figure first, without a label, then each link's. */
static void
put_pool_and_links(const struct output *o, const char *name, const char *help, const json_t *pool,
                   const char *path)
{
    double value;
    bool headed = figure(pool, &value);

    if (headed) {
        head(o, name, "gauge", help);
        fputs(name, o->out);
        put_value(o, value);
    }
    for (size_t i = 0; i < o->links; i++) {
        if (!figure(look_up(o->link[i], path), &value))
            continue;
        if (!headed)
            head(o, name, "gauge", help);
        headed = true;
        fprintf(o->out, "%s{link=\"%s\"}", name, o->name[i]);
        put_value(o, value);
    }
}

/* One sample for each value that a word can have, 1 for the one it has. */
static void
put_words(const struct output *o, const char *name, const char *label, const char *link,
          const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf(o->out, "%s{%s%s%s%s=\"%s\"} %d\n", name, link != NULL ? "link=\"" : "",
                link != NULL ? link : "", link != NULL ? "\"," : "", label, words[i],
                strcmp(word, words[i]) == 0);
}

static void
put_states(const struct output *o)
{
    const char *role[ROLE_FENCED + 1], *server[POSTGRES_UP + 1], *link[LINK_SHIPPING + 1];
    const json_t *report = o->report;

    for (enum role r = 0; r <= ROLE_FENCED; r++)
        role[r] = role_name(r);
    for (enum postgres_state p = 0; p <= POSTGRES_UP; p++)
        server[p] = report_postgres_state(p);
    for (enum link_state l = 0; l <= LINK_SHIPPING; l++)
        link[l] = report_link_state(l);
    head(o, "walferry_role", "gauge", "1 for the role that this member has.");
    put_words(o, "walferry_role", "role", NULL, json_string_value(json_object_get(report, "role")),
              role, 5);
    head(o, "walferry_postgres_state", "gauge", "1 for the state of this member's PostgreSQL.");
    put_words(o, "walferry_postgres_state", "state", NULL,
              json_string_value(look_up(report, "postgres.state")), server, 5);
    head(o, "walferry_alarm", "gauge", "1 while this agent is in alarm: see status.");
    fprintf(o->out, "walferry_alarm %d\n", o->view->who->alarm[0] != '\0');
    head(o, "walferry_spool_up", "gauge", "1 while the spool takes WAL.");
    fprintf(o->out, "walferry_spool_up %d\n", o->view->in->error[0] == '\0');
    if (o->links == 0)
        return;
    head(o, "walferry_link_up", "gauge", "1 while the link is up.");
    for (size_t i = 0; i < o->links; i++)
        fprintf(o->out, "walferry_link_up{link=\"%s\"} %d\n", o->name[i],
                strcmp(json_string_value(json_object_get(o->link[i], "state")), "up") == 0);
    head(o, "walferry_link_state", "gauge", "1 for the state that the link has.");
    for (size_t i = 0; i < o->links; i++)
        put_words(o, "walferry_link_state", "state", o->name[i],
                  json_string_value(json_object_get(o->link[i], "state")), link, 5);
}

static void
put_histogram(const struct output *o, const char *name, const char *link, const struct histogram *h)
{
    uint64_t count = 0;
    char label[2 * MEMBER_NAME_SIZE + 16] = "", alone[2 * MEMBER_NAME_SIZE + 16] = "";

    if (link != NULL) {
        snprintf(label, sizeof label, "link=\"%s\",", link);
        snprintf(alone, sizeof alone, "{link=\"%s\"}", link);
    }
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += h->bucket[i];
        if (i < HISTOGRAM_BUCKETS - 1)
            fprintf(o->out, "%s_bucket{%sle=\"%g\"} %" PRIu64 "\n", name, label,
                    (double)histogram_bound_us[i] / (double)SECOND_US, count);
    }
    fprintf(o->out, "%s_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name, label, count);
    fprintf(o->out, "%s_sum%s %.9g\n%s_count%s %" PRIu64 "\n", name, alone,
            (double)h->sum_us / (double)SECOND_US, name, alone, count);
}

/* How many links this member ships on: the first of o->link, in the order of v->out->link. */
static size_t
outgoing(const struct output *o)
{
    return json_array_size(json_object_get(o->report, "links"));
}

static void
put_counters(const struct output *o)
{
    static const char *const reason[LINK_ENDS] = {"stopped", "silent", "refused", "lost"};
    const struct view *v = o->view;
    size_t out = outgoing(o);

    if (o->links > 0) {
        head(o, "walferry_link_frames_total", "counter", "WAL frames shipped on this link.");
        for (size_t i = 0; i < o->links; i++)
            fprintf(o->out, "walferry_link_frames_total{link=\"%s\"} %" PRIu64 "\n", o->name[i],
                    i < out ? v->out->link[i].sender.frames : v->in->receiver.frames);
        head(o, "walferry_link_disconnects_total", "counter",
             "Connections of the link that ended after they were accepted, by reason.");
        for (size_t i = 0; i < o->links; i++) {
            for (size_t k = 0; i < out && k < LINK_ENDS; k++)
                fprintf(o->out,
                        "walferry_link_disconnects_total{link=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                        o->name[i], reason[k], v->out->link[i].ended_for[k]);
            if (i >= out)
                fprintf(o->out,
                        "walferry_link_disconnects_total{link=\"%s\",reason=\"any\"} %" PRIu64 "\n",
                        o->name[i], v->in->inlet.ended);
        }
    }
    if (out > 0) {
        head(o, "walferry_commit_wait_seconds", "histogram",
             "From a piece of WAL's arrival at this agent until the other member has it on stable "
             "storage: what a synchronous commit waits for this link.");
        for (size_t i = 0; i < out; i++)
            put_histogram(o, "walferry_commit_wait_seconds", o->name[i],
                          &v->out->link[i].commit_wait);
    }
    head(o, "walferry_spool_flush_seconds", "histogram", "Time of the spool's flushes.");
    put_histogram(o, "walferry_spool_flush_seconds", NULL, &v->in->flush_took);
}

static void
put_slots(const struct output *o)
{
    const struct postgres_sample *s = postgres_sample(o->view->who->postgres);
    bool headed = false;

    if (s == NULL || s->in_recovery)
        return;
    for (size_t i = 0; i < s->slots; i++) {
        const struct postgres_slot *slot = &s->slot[i];

        if (slot->restart_lsn == LSN_UNKNOWN || slot->restart_lsn > s->insert)
            continue;
        if (!headed)
            head(o, "walferry_slot_retained_bytes", "gauge",
                 "WAL that the slot keeps in the primary's pg_wal.");
        headed = true;
        fprintf(o->out, "walferry_slot_retained_bytes{slot=\"%s\"} %" PRIu64 "\n", slot->name,
                s->insert - slot->restart_lsn);
    }
}

static void
put_events(const struct output *o)
{
    const struct events *e = &o->view->conditions->events;

    head(o, "walferry_event_active", "gauge", "1 while this event is raised on this member.");
    for (enum event_id id = 0; id < EVENTS; id++)
        fprintf(o->out, "walferry_event_active{id=\"%s\",name=\"%s\",severity=\"%s\"} %d\n",
                event_kind(id)->id, event_kind(id)->name, event_kind(id)->severity,
                e->event[id].active);
    head(o, "walferry_events_total", "counter", "Times that this event was raised here.");
    for (enum event_id id = 0; id < EVENTS; id++)
        fprintf(o->out, "walferry_events_total{id=\"%s\"} %" PRIu64 "\n", event_kind(id)->id,
                e->event[id].raised);
}

static void
put_progress(const struct output *o)
{
    const char *state[PROGRESS_FINAL + 1];

    if (o->links == 0)
        return;
    for (enum progress_state p = 0; p <= PROGRESS_FINAL; p++)
        state[p] = progress_name(p);
    head(o, "walferry_link_shipping", "gauge", "1 for the state of shipping of the link.");
    for (size_t i = 0; i < o->links; i++)
        put_words(o, "walferry_link_shipping", "state", o->name[i],
                  json_string_value(look_up(o->link[i], "shipping.state")), state, 5);
}

static void
put_info(const struct output *o)
{
    const struct view *v = o->view;

    head(o, "walferry_build_info", "gauge", "This program.");
    fprintf(o->out, "walferry_build_info{version=\"%s\"} 1\n", WALFERRY_VERSION);
    head(o, "walferry_pool_info", "gauge", "This member, and who is the primary.");
    fprintf(o->out,
            "walferry_pool_info{pool=\"%s\",member=\"%s\",site=\"%s\",home=\"%s\",primary=\"%s\","
            "system_identifier=\"%s\",postgres=\"%d\"} 1\n",
            v->who->config->name, v->who->self->name, v->who->self->site, v->who->config->home,
            v->who->pool.epoch.member,
            json_string_value(json_object_get(o->report, "system_identifier")),
            who_identity(v->who)->postgres_major);
}

static void
put_gaps(const struct output *o)
{
    uint64_t bytes[GAP_STATES] = {0};
    const struct gaps *gaps = o->view->gaps;

    for (size_t i = 0; i < gaps->count; i++)
        bytes[gaps->gap[i].state] += gaps->gap[i].end - gaps->gap[i].start;
    head(
        o, "walferry_gap_bytes", "gauge",
        "WAL that other members lack and that cannot simply be shipped, by what is done about it.");
    for (enum gap_state s = 0; s < GAP_STATES; s++)
        fprintf(o->out, "walferry_gap_bytes{state=\"%s\"} %" PRIu64 "\n", gap_state_name(s),
                bytes[s]);
}

static void
put_time(const struct output *o, const struct lag_history *history, int64_t now_us)
{
    double seconds;

    head(o, "walferry_start_time_seconds", "gauge", "When this agent was started, since 1970.");
    fprintf(o->out, "walferry_start_time_seconds %.3f\n",
            (double)(clock_wall_us() - (now_us - o->view->who->started_us)) / (double)SECOND_US);
    if (!lag_time_to_apply(history, o->view->in, now_us, &seconds))
        return;
    head(o, "walferry_time_to_apply_seconds", "gauge",
         "Replay of all that this standby holds at its present rate: the time to promote.");
    fprintf(o->out, "walferry_time_to_apply_seconds %.3f\n", seconds);
}

static void
find_links(struct output *o)
{
    const json_t *link, *receiving = json_object_get(o->report, "receiving");
    const char *from = json_string_value(json_object_get(receiving, "from"));
    size_t i;

    json_array_foreach (json_object_get(o->report, "links"), i, link) {
        snprintf(o->name[o->links], sizeof o->name[0], "%s>%s", o->view->who->self->name,
                 json_string_value(json_object_get(link, "to")));
        o->link[o->links++] = link;
    }
    if (from == NULL) /* nobody yet */
        return;
    snprintf(o->name[o->links], sizeof o->name[0], "%s>%s", from, o->view->who->self->name);
    o->link[o->links++] = receiving;
}

char *
metrics_text(const struct view *v, const struct lag_history *history, int64_t now_us,
             size_t *ret_length)
{
    char *text = NULL;
    json_t *report = report_json(v, now_us);
    struct output o = {.view = v, .report = report};

    o.out = open_memstream(&text, ret_length);
    if (o.out == NULL || report == NULL) {
        json_decref(report);
        return NULL;
    }
    find_links(&o);
    put_pool_and_links(
        &o, "walferry_exposure_seconds",
        "Age of the newest moment up to which every commit is on stable storage at "
        "another site: what a disaster now could cost. Without a link: the pool's, as far as this "
        "member knows; the smallest that one knows is true for all.",
        json_object_get(report, "exposure_seconds"), "exposure_seconds");
    put_pool_and_links(&o, "walferry_unshipped_bytes",
                       "WAL of the primary that is not on stable storage at the other site.",
                       look_up(report, "loss.bytes"), "flushed.behind_bytes");
    put_info(&o);
    put_states(&o);
    put_known(&o);
    put_routes(&o);
    for (size_t i = 0; i < sizeof of_member / sizeof of_member[0]; i++)
        put_member(&o, &of_member[i]);
    for (size_t i = 0; i < sizeof of_link / sizeof of_link[0]; i++)
        put_link(&o, &of_link[i]);
    for (size_t i = 0; i < sizeof of_position / sizeof of_position[0]; i++)
        put_position(&o, &of_position[i]);
    put_counters(&o);
    put_slots(&o);
    put_gaps(&o);
    put_events(&o);
    put_progress(&o);
    put_time(&o, history, now_us);
    json_decref(report);
    if (fclose(o.out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
