/* SPDX-License-Identifier: PostgreSQL */
/* See giver.h. */
#include "jobs/giver.h"

#include "jobs/primary.h"
#include "jobs/status.h"

#include "base/clock.h"
#include "base/fail.h"
#include "control/control.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_S 12 /* a tunnel gives up after 10 */
#define STILL_US (60 * SECOND_US)
#define LOOK_MS  200

/* ---- what its agent says ---- */

static void
read_status(struct neighbour *n, const json_t *status)
{
    const json_t *lag = json_object_get(status_at(status, "receiving", "applied"), "lag_seconds");

    n->standby = strcmp(status_text(status, "role", NULL), "standby") == 0;
    n->epoch = (uint64_t)json_integer_value(status_at(status, "epoch", "number"));
    snprintf(n->primary, sizeof n->primary, "%s", status_text(status, "epoch", "member"));
    n->system_identifier = strtoull(status_text(status, "system_identifier", NULL), NULL, 10);
    n->promised = json_is_object(status_at(status, "promised", NULL));
    n->forked = json_is_true(status_at(status, "left", NULL)) ||
                json_is_string(status_at(status, "receiving", "forked_at"));
    n->alarm = json_is_string(status_at(status, "alarm", NULL)) ||
               json_is_string(status_at(status, "missing", NULL));
    n->linked = strcmp(status_text(status, "receiving", "state"), "up") == 0;
    n->up = strcmp(status_text(status, "postgres", "state"), "up") == 0;
    n->in_recovery = json_is_true(status_at(status, "postgres", "in_recovery"));
    n->paused = json_is_true(status_at(status, "postgres", "replay_paused"));
    n->behind_known = json_is_number(lag);
    n->behind_us = (int64_t)(json_number_value(lag) * (double)SECOND_US);
}

static void
ask(const struct job *j, struct neighbour *n)
{
    char run[256];
    json_t *status = NULL;
    int code;

    snprintf(run, sizeof run, "%s/far/%s", j->self->run, n->member->name);
    code = control_ask_within(run, ANSWER_S, json_pack("{s:s}", "command", "status"), control_keep,
                              &status);
    if (code == 0 && status != NULL)
        read_status(n, status);
    else
        snprintf(n->excuse, sizeof n->excuse, "its agent does not answer: %s",
                 code < 0 ? fail_message() : status_text(status, "text", NULL));
    json_decref(status);
}

/* All that are nearer than the primary, or the one that is named. */
static void
ask_all(struct giver *s)
{
    const struct config *c = s->job->config;
    int far = neighbour_distance(&s->around, s->around.primary);

    for (size_t i = 0; i < c->members; i++) {
        const struct member *m = &c->member[i];
        int distance = neighbour_distance(&s->around, m);

        if (m == s->job->self ||
            (s->named != NULL ? m != s->named : distance < 0 || distance > far))
            continue;
        s->asked[s->count].member = m;
        if (m != s->around.primary)
            ask(s->job, &s->asked[s->count]);
        s->count++;
    }
}

/* ---- which one ---- */

static void
say_passed_over(const struct giver *s, const struct neighbour *chosen)
{
    char why[NEIGHBOUR_WHY_SIZE];

    for (size_t i = 0; i < s->count; i++) {
        const struct neighbour *n = &s->asked[i];

        if (neighbour_distance(&s->around, n->member) <
                neighbour_distance(&s->around, chosen->member) &&
            !neighbour_gives(&s->around, n, why))
            job_say(s->job, "not from %s: %s", n->member->name, why);
    }
}

/* Only then it is chosen. */
static int
reach(struct giver *s, const struct neighbour *n)
{
    giver_release(s);
    s->member = n->member == s->around.primary ? NULL : n->member;
    if (s->member == NULL ||
        primary_connect(s->job->config, s->job->self, s->member, "postgres", &s->connection) == 0)
        return 0;
    return fail_in(ERR_PEER, "its PostgreSQL is not reached through the tunnel");
}

static void
excuse(struct giver *s, const struct member *m)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->asked[i].member == m)
            snprintf(s->asked[i].excuse, sizeof s->asked[i].excuse, "%s", fail_message());
}

static int
choose(struct giver *s)
{
    char why[NEIGHBOUR_WHY_SIZE] = "", words[128];
    const struct neighbour *n;

    while ((n = neighbour_choose(&s->around, s->asked, s->count)) != NULL) {
        if (reach(s, n) == 0) {
            say_passed_over(s, n);
            job_say(s->job, "from %s: %s", n->member->name,
                    neighbour_words(&s->around, n, words, sizeof words));
            return 0;
        }
        excuse(s, n->member);
    }
    if (s->named == NULL)
        return fail(ERR_PEER, "no member can give a copy");
    (void)neighbour_gives(&s->around, &s->asked[0], why);
    return fail(ERR_USAGE,
                "refused: %s gives no copy: %s; without --from the nearest that can does",
                s->named->name, why);
}

int
giver_choose(struct giver *s, const char *primary, json_int_t epoch)
{
    json_t *status = NULL;

    giver_release(s);
    s->around = (struct neighbourhood){.self = s->job->self,
                                       .primary = config_member(s->job->config, primary),
                                       .epoch = (uint64_t)epoch,
                                       .named = s->named};
    if (s->around.primary == NULL)
        return fail(ERR_PEER, "%s, the primary, is no member of the pool's file here", primary);
    if (status_ask(s->job, &status) == 0)
        s->around.system_identifier =
            strtoull(status_text(status, "system_identifier", NULL), NULL, 10);
    json_decref(status);
    memset(s->asked, 0, sizeof s->asked);
    s->count = 0;
    ask_all(s);
    return choose(s);
}

int
giver_next(struct giver *s)
{
    const struct member *failed = s->member;
    char why[FAIL_MESSAGE_MAX];

    if (failed == NULL)
        return ERR_PEER;
    if (s->named != NULL)
        return fail_in(ERR_PEER, "%s gives no copy (without --from the nearest that can does)",
                       failed->name);
    snprintf(why, sizeof why, "%s", fail_message());
    job_say(s->job, "%s gives no copy: %s", failed->name, why);
    fail(ERR_PEER, "%s", why);
    excuse(s, failed);
    return choose(s);
}

/* ---- ready ---- */

/* 1: it has replayed all up to `to`. */
static int
look(const struct giver *s, lsn_t to, lsn_t *ret_at)
{
    char text[64];
    int code = primary_ask(s->connection,
                           "select case when pg_is_in_recovery() then "
                           "pg_last_wal_replay_lsn()::text else '' end",
                           text, sizeof text);

    if (code < 0)
        return code;
    if (!lsn_parse(text, ret_at))
        return fail(ERR_PEER, "%s is no standby any more", s->member->name);
    return *ret_at >= to;
}

static int
wait_for(const struct giver *s, lsn_t to)
{
    lsn_t at = LSN_UNKNOWN, first = LSN_UNKNOWN, before = LSN_UNKNOWN;
    int64_t moved_us = clock_us();
    int code;

    while ((code = look(s, to, &at)) == 0) {
        if (first == LSN_UNKNOWN)
            first = at;
        if (at != before)
            moved_us = clock_us();
        before = at;
        if (clock_us() - moved_us > STILL_US)
            return fail(ERR_PEER, "it has replayed nothing for %d s, and is at " LSN_FORMAT,
                        (int)(STILL_US / SECOND_US), LSN_ARGS(at));
        job_progress(s->job, "waiting for its replay", at - first, to - first);
        poll(NULL, 0, LOOK_MS);
    }
    return code < 0 ? code : 0;
}

/* The connection may have ended during a question to the DBA, or a long step. */
static int
reach_again(struct giver *s)
{
    char one[8];

    if (primary_ask(s->connection, "select 1", one, sizeof one) == 0)
        return 0;
    PQfinish(s->connection);
    s->connection = NULL;
    return primary_connect(s->job->config, s->job->self, s->member, "postgres", &s->connection);
}

int
giver_ready(struct giver *s, PGconn *primary, const char *name)
{
    const struct job *j = s->job;
    lsn_t to;
    int code;

    if (s->member == NULL)
        return 0;
    code = reach_again(s);
    if (code == 0)
        code = primary_checkpoint(j->config, j->self, NULL);
    if (code == 0)
        code = primary_position(primary, name, &to);
    if (code == 0)
        code = wait_for(s, to);
    return code == 0 ? primary_checkpoint(j->config, j->self, s->member) : code;
}

void
giver_release(struct giver *s)
{
    PQfinish(s->connection);
    s->connection = NULL;
    s->member = NULL;
}
