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

#include "base/fail.h"
#include "base/log.h"

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

static const struct row {
    const char *command;
    answer *answer;
    bool afar; /* also for another member, through a tunnel */
} rows[] = {
    {"status", answer_status, true},
    {"config", answer_config, true},
    {"lost", answer_lost, true},
    {"validate", answer_validate, true},
    {"set", answer_set, false},
    {"gaps", answer_gaps, false},
    {"drain", answer_drain, false},
    {"failover", answer_failover, false},
    {"renew_spool", answer_renew_spool, false},
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
