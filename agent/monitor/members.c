/* SPDX-License-Identifier: PostgreSQL */
/* See members.h. */
#include "monitor/members.h"

#include "monitor/conditions.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- this member ---- */

static const char *
worst_event(const struct conditions *c, const char *severity)
{
    for (enum event_id id = 0; id < EVENTS; id++)
        if (c->events.event[id].active && strcmp(event_kind(id)->severity, severity) == 0)
            return c->events.event[id].text;
    return "";
}

/* Its worst alarm or event, one of them. */
static void
own_reason(const struct view *v, struct member_state *s)
{
    const char *const reason[] = {v->who->alarm, v->who->missing, v->in->error,
                                  worst_event(v->conditions, "critical"),
                                  worst_event(v->conditions, "warning")};
    size_t count = sizeof reason / sizeof *reason, i = 0;

    while (i < count && reason[i][0] == '\0')
        i++;
    if (i == count)
        return;
    s->severity = i + 1 < count ? 2 : 1;
    text_escape(s->reason, sizeof s->reason, reason[i], strlen(reason[i]));
}

static int64_t
age_of(const struct receiver *r, const struct lag *lag, int64_t now_us)
{
    int64_t primary_us, age_us;

    return receiver_primary_us(r, now_us, &primary_us) && lag_age(lag, primary_us, &age_us) &&
                   age_us >= 0
               ? age_us
               : AGE_UNKNOWN;
}

void
members_own(const struct view *v, int64_t now_us, struct member_state *ret_state)
{
    const struct who *w = v->who;
    const struct postgres_sample *sample = postgres_sample(w->postgres);
    struct member_state s = {.role = (uint8_t)w->role,
                             .postgres = who_postgres(w, now_us),
                             .flushed_age_us = AGE_UNKNOWN,
                             .applied_age_us = AGE_UNKNOWN};

    if (w->role == ROLE_PRIMARY) {
        s.timeline = w->pool.timeline;
        s.received = s.flushed = s.applied = incoming_primary(v->in, now_us);
    } else if (sample != NULL && !sample->in_recovery) { /* it takes writes, or did */
        s.timeline = sample->timeline;
        if (s.postgres == PONG_POSTGRES_ANSWERS)
            s.received = s.flushed = s.applied = sample->flush;
    } else {
        s.timeline = v->in->spool.timeline;
        s.received = v->in->spool.written;
        s.flushed = incoming_durable(v->in);
        s.applied = incoming_applied(v->in);
        s.flushed_age_us = age_of(&v->in->receiver, &v->in->receiver.flushed, now_us);
        s.applied_age_us = age_of(&v->in->receiver, &v->in->receiver.applied, now_us);
    }
    own_reason(v, &s);
    *ret_state = s;
}

/* ---- all of them ---- */

static const char *
postgres_word(enum pong_postgres postgres)
{
    static const char *const word[] = {"unknown", "up", "silent", "down", "starting", "stopping"};

    return word[postgres];
}

json_t *
lsn_json(lsn_t lsn)
{
    char text[LSN_TEXT_SIZE];

    if (lsn == LSN_UNKNOWN)
        return json_null();
    snprintf(text, sizeof text, LSN_FORMAT, LSN_ARGS(lsn));
    return json_string(text);
}

json_t *
seconds_json(bool known, int64_t us)
{
    return known ? json_real((double)us / (double)SECOND_US) : json_null();
}

static void add(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void
add(char *out, size_t size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list args;

    va_start(args, format);
    vsnprintf(out + used, size - used, format, args);
    va_end(args);
}

/* `age_us` ago this member was so far behind. */
static void
add_lag(char *out, size_t size, const char *what, int64_t lag_us, int64_t age_us)
{
    char text[32];

    if (lag_us == AGE_UNKNOWN)
        add(out, size, "%s unknown", what);
    else
        add(out, size, "%s %s behind", what, text_duration(text, sizeof text, lag_us + age_us));
}

/* One line for people. */
static const char *
state_text(char *out, size_t size, const struct member_state *s, const char *by, int64_t age_us)
{
    char age[32];

    out[0] = '\0';
    if (s->role != ROLE_PRIMARY) {
        add_lag(out, size, "on disk", s->flushed_age_us, age_us);
        add_lag(out, size, ", applied", s->applied_age_us, age_us);
    } else {
        add(out, size, "all is well");
        if (s->severity > 0 || s->postgres != PONG_POSTGRES_ANSWERS)
            out[0] = '\0';
    }
    if (s->postgres != PONG_POSTGRES_ANSWERS)
        add(out, size, "%sPostgreSQL %s", out[0] != '\0' ? ", " : "", postgres_word(s->postgres));
    if (s->reason[0] != '\0')
        add(out, size, "%s%s", out[0] != '\0' ? "; " : "", s->reason);
    if (by[0] != '\0')
        add(out, size, " (by %s, %s ago)", by, text_duration(age, sizeof age, age_us));
    return out;
}

static const char *
silence_text(char *out, size_t size, const struct known_member *m, int64_t silent_us)
{
    char age[32];

    text_duration(age, sizeof age, silent_us);
    if (m->seen_us == 0)
        snprintf(out, size, "not heard of since this agent began, %s ago", age);
    else
        snprintf(out, size, "not heard for %s: %s then", age,
                 m->state.role <= ROLE_FENCED ? role_name((enum role)m->state.role) : "unknown");
    return out;
}

void
members_tell(json_t *member, const struct view *v, const char *name, int64_t now_us)
{
    const struct known_member *m = known_of(v->known, name);
    bool self = m == &v->known->member[v->known->self], known, silent;
    struct member_state s;
    char text[400];
    int64_t age_us;

    if (m == NULL)
        return;
    silent = known_silent(v->known, m, now_us, &age_us);
    known = self || m->seen_us != 0;
    s = m->state;
    if (self) {
        members_own(v, now_us, &s);
        age_us = 0;
    }
    if (silent)
        silence_text(text, sizeof text, m, age_us);
    else if (!known)
        snprintf(text, sizeof text, "not heard of yet");
    else
        state_text(text, sizeof text, &s, m->by, age_us);
    json_object_set_new(member, "heard_seconds_ago", seconds_json(known, age_us));
    json_object_set_new(member, "silent", json_boolean(silent));
    json_object_set_new(member, "silent_seconds", seconds_json(silent, age_us));
    json_object_set_new(member, "by", m->by[0] != '\0' ? json_string(m->by) : json_null());
    json_object_set_new(member, "says",
                        known && s.role <= ROLE_FENCED ? json_string(role_name((enum role)s.role))
                                                       : json_null());
    json_object_set_new(member, "postgres",
                        json_string(known ? postgres_word(s.postgres) : "unknown"));
    json_object_set_new(member, "timeline",
                        known && s.timeline != 0 ? json_integer(s.timeline) : json_null());
    json_object_set_new(member, "received", known ? lsn_json(s.received) : json_null());
    json_object_set_new(member, "flushed", known ? lsn_json(s.flushed) : json_null());
    json_object_set_new(member, "applied", known ? lsn_json(s.applied) : json_null());
    json_object_set_new(
        member, "flushed_lag_seconds",
        seconds_json(known && s.flushed_age_us != AGE_UNKNOWN, s.flushed_age_us + age_us));
    json_object_set_new(
        member, "applied_lag_seconds",
        seconds_json(known && s.applied_age_us != AGE_UNKNOWN, s.applied_age_us + age_us));
    json_object_set_new(member, "severity", json_integer(known ? s.severity : 0));
    json_object_set_new(member, "reason",
                        known && s.reason[0] != '\0' ? json_string(s.reason) : json_null());
    json_object_set_new(member, "state", json_string(text));
}
