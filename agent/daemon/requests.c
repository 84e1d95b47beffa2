/* SPDX-License-Identifier: PostgreSQL */
/*
 * What is asked over the control socket, by a command of this host or, through a tunnel, of another
 * member: one row for each command.
 */
#include "config/pool_file.h"
#include "control/show.h"
#include "daemon/agent.h"
#include "monitor/report.h"
#include "pool/receipt.h"
#include "pool/route.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/kill_point.h"
#include "base/log.h"

#include <inttypes.h>
#include <string.h>

typedef void answer(struct agent *a, uint64_t client, const json_t *request, int64_t now_us);

static void
answer_status(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)request;
    control_answer(&a->control, client, report_json(&a->view, now_us));
    control_done(&a->control, client, 0);
}

static void
answer_set(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    const char *key = json_string_value(json_object_get(request, "key"));
    const char *value = json_string_value(json_object_get(request, "value"));
    int code = key == NULL || value == NULL ? fail(ERR_USAGE, "set wants a key and a value")
                                            : config_set(&a->out.settings, key, value);

    (void)now_us;
    if (code < 0) {
        control_text(&a->control, client, "%s", fail_message());
        control_done(&a->control, client, 1);
        return;
    }
    disk_guard_ship(&a->guard);
    a->out.settings_changed = true;
    log_info("%s is %s until the next start: walferry set", key, value);
    control_text(&a->control, client,
                 "%s = %s until the agent's next start; %s has the last word%s", key, value,
                 a->who.config->file,
                 a->who.role == ROLE_PRIMARY ? "" : " (this member ships only as the primary)");
    control_done(&a->control, client, 0);
}

static void
answer_gaps(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)now_us;
    backfill_request(&a->backfill, &a->control, client, request);
}

/* To a command on another host: a list that is too long stays where it is. */
static void
answer_lost(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    json_t *all = NULL, *receipt;
    size_t i;

    (void)request;
    (void)now_us;
    if (receipt_load(a->who.self->spool, RECEIPT_FAR_BYTES, &all) < 0)
        control_text(&a->control, client, "%s", fail_message());
    json_array_foreach (all, i, receipt)
        control_answer(&a->control, client, json_pack("{s:O}", "receipt", receipt));
    json_decref(all);
    control_done(&a->control, client, 0);
}

static void
tell_pin(struct agent *a, uint64_t client, const struct member *m)
{
    const struct route *r = routes_of(&a->who.pool.routes, m->name);
    char text[ROUTE_TEXT_SIZE];

    control_text(&a->control, client, "%s: %s%s", m->name,
                 route_text(&a->who.pool.routes, r, m->site, text),
                 strcmp(m->site, a->who.self->site) != 0 ? ""
                 : r->pinned ? "; it will be the head of its site when the primary is at another"
                             : "");
}

static void
answer_route(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    const char *name = json_string_value(json_object_get(request, "member"));
    const struct member *m = name != NULL ? config_member(a->who.config, name) : NULL;
    bool pinned = json_is_true(json_object_get(request, "pin"));
    int code = (name != NULL || pinned) && m == NULL
                   ? fail(ERR_USAGE, "%s is no member of the pool's file here",
                          name != NULL ? name : "nobody")
                   : routes_pin(a, m, pinned);

    (void)now_us;
    if (code < 0)
        control_text(&a->control, client, "refused: %s", fail_message());
    else if (code == 1)
        control_text(&a->control, client, "nothing changes");
    if (code >= 0 && m != NULL)
        tell_pin(a, client, m);
    else if (code == 0)
        control_text(&a->control, client, "no member is pinned");
    control_done(&a->control, client, code < 0 ? 1 : 0);
}

static void
answer_config(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)now_us;
    pool_file_answer(&a->control, client, request, a->who.config, a->who.self);
}

static void
answer_drain(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)request;
    (void)now_us;
    for (size_t i = 0; i < a->out.links; i++)
        link_drain(&a->out.link[i]);
    control_done(&a->control, client, 0);
}

static void
answer_renew_spool(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)request;
    (void)now_us;
    incoming_renew(&a->in, client);
}

static void
answer_cut_spool(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)request;
    (void)now_us;
    incoming_cut_forked(&a->in, client);
}

/* A rejoin, or a seed, has put the data directory right. */
static void
answer_rejoined(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    struct member_facts self = a->facts.self;
    static struct pool next; /* large */
    int code = 0;

    (void)request;
    (void)now_us;
    upkeep_look(a); /* what the last turn has seen is of before */
    self.looked = a->looked;
    self.ran_writable = a->start.ran_writable;
    self.disk_timeline = a->start.timeline;
    next = a->who.pool;
    next.left = false;
    if (a->who.pool.left && !judge_may_return(&a->who.pool, &self))
        code = fail(ERR_USAGE, "PostgreSQL here still is what it was when it left the pool");
    else if (a->who.pool.left)
        code = who_set_pool(&a->who, &a->who.pool, &next);
    if (code < 0)
        control_text(&a->control, client, "%s", fail_message());
    control_done(&a->control, client, code < 0 ? 1 : 0);
}

static void
answer_discard(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)request;
    (void)now_us;
    if (a->who.missing[0] != '\0') {
        incoming_renew(&a->in, client);
        return;
    }
    control_text(&a->control, client, "nothing that was acknowledged here is missing");
    control_done(&a->control, client, 1);
}

static void
answer_validate(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    (void)request;
    (void)now_us;
    validate_service_ask(&a->validate_service, &a->control, client);
}

static void
answer_failover(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    failover_request(&a->failover, client, request, now_us);
}

static int
resolve(struct agent *a, const char *primary, bool dry_run, struct epoch_origin *ret_origin)
{
    static struct pool next; /* large */
    int code;

    if (a->failover.phase != FAILOVER_IDLE)
        return fail(ERR_USAGE, "a failover runs here: wait for its end");
    code = judge_resolve(&a->who.pool, &a->facts, primary, ret_origin);
    if (code != 0 || dry_run)
        return code;
    KILL_POINT("resolve:1");
    next = a->who.pool;
    pool_adopt(&next, ret_origin, clock_wall_us());
    next.left |= judge_overruled(&next, a->who.self->name, &a->who.pool.epoch);
    if (who_set_pool(&a->who, &a->who.pool, &next) < 0)
        return ERR_LOCAL;
    KILL_POINT("resolve:2");
    log_warning("epoch %" PRIu64 ": %s is the primary, by walferry resolve",
                ret_origin->epoch.number, primary);
    asks_forget_claims(&a->asks);
    incoming_over(&a->in);
    return 0;
}

static void
answer_resolve(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    bool dry_run = json_is_true(json_object_get(request, "dry_run"));
    struct epoch_origin origin;
    char alarm[ALARM_MAX];
    int code;

    (void)now_us;
    snprintf(alarm, sizeof alarm, "%s", a->who.alarm);
    code = resolve(a, show_word(request, "primary", ""), dry_run, &origin);
    if (code < 0)
        control_text(&a->control, client, "refused: %s", fail_message());
    else if (code == 1)
        control_answer(&a->control, client,
                       json_pack("{s:o s:b}", "text",
                                 json_sprintf("done already: %s is the primary of epoch %" PRIu64,
                                              origin.epoch.member, origin.epoch.number),
                                 "already", 1));
    else if (dry_run)
        control_text(&a->control, client,
                     "%s\nepoch %" PRIu64 " of %s would overrule what the others claim", alarm,
                     origin.epoch.number, origin.epoch.member);
    else
        control_text(&a->control, client,
                     "epoch %" PRIu64 ": %s is the primary. The others hear of it as soon as they "
                     "are reached; each of them that was written to needs walferry rejoin",
                     origin.epoch.number, origin.epoch.member);
    control_done(&a->control, client, code < 0 ? 1 : 0);
}

static const struct row {
    const char *command;
    answer *answer;
    bool afar; /* also for another member, through a tunnel */
} rows[] = {
    {"status", answer_status, true},
    {"config", answer_config, true},
    {"lost", answer_lost, true},
    {"validate", answer_validate, true},
    {"set", answer_set, false}, /* here only, as all below */
    {"gaps", answer_gaps, false},
    {"route", answer_route, false},
    {"drain", answer_drain, false},
    {"failover", answer_failover, false},
    {"resolve", answer_resolve, false},
    {"renew_spool", answer_renew_spool, false},
    {"cut_spool", answer_cut_spool, false},
    {"rejoined", answer_rejoined, false},
    {"discard", answer_discard, false},
};

static const struct row *
find_row(const char *command)
{
    for (size_t i = 0; command != NULL && i < sizeof rows / sizeof *rows; i++)
        if (strcmp(command, rows[i].command) == 0)
            return &rows[i];
    return NULL;
}

static void
answer_request(struct agent *a, uint64_t client, const json_t *request, int64_t now_us)
{
    const struct row *row = find_row(json_string_value(json_object_get(request, "command")));
    bool afar = control_afar(&a->control, client),
         only_asks = control_only_asks(&a->control, client);
    bool installs = strcmp(show_word(request, "do", ""), "install") == 0;

    if (afar && (row == NULL || !row->afar || (only_asks && installs)))
        control_text(&a->control, client,
                     "that is not answered from another member%s: type it on the host of %s",
                     only_asks ? " whose key is bound with --no-tunnel" : "", a->who.self->name);
    else if (row == NULL)
        control_text(&a->control, client,
                     "this agent does not know that command: is its version older?");
    else {
        row->answer(a, client, request, now_us);
        return;
    }
    control_done(&a->control, client, 1);
}

void
requests_run(struct agent *a, int64_t now_us)
{
    uint64_t client;
    json_t *request;

    while (control_request(&a->control, &client, &request)) {
        answer_request(a, client, request, now_us);
        json_decref(request);
    }
}
