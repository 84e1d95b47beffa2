/* SPDX-License-Identifier: PostgreSQL */
/* See status.h. */
#include "jobs/status.h"

#include "control/control.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/wire/frame.h"

#include <poll.h>
#include <string.h>

/* A link that was refused has dialled again by then: an older refusal may be over. */
#define HEARD_US  (REDIAL_US + SECOND_US)
#define SETTLE_US (30 * SECOND_US)
#define SETTLE_MS 100

int
status_ask(const struct job *j, json_t **ret_status)
{
    json_t *status = NULL;
    int code =
        control_ask(j->self->run, json_pack("{s:s}", "command", "status"), control_keep, &status);

    if (code >= 0 && status == NULL)
        code = fail(ERR_PEER, "the agent says nothing");
    else if (code > 0)
        code = fail(ERR_PEER, "%s", status_text(status, "text", NULL));
    if (code < 0) {
        json_decref(status);
        return code;
    }
    *ret_status = status;
    return 0;
}

const json_t *
status_at(const json_t *status, const char *a, const char *b)
{
    status = json_object_get(status, a);
    return b != NULL ? json_object_get(status, b) : status;
}

const char *
status_text(const json_t *status, const char *a, const char *b)
{
    const char *text = json_string_value(status_at(status, a, b));

    return text != NULL ? text : "";
}

const char *
status_refused(const json_t *link, int64_t waited_us)
{
    const json_t *ago = json_object_get(link, "refused_seconds_ago");

    if (!json_is_number(ago) ||
        (int64_t)(json_number_value(ago) * (double)SECOND_US) + HEARD_US > waited_us)
        return NULL;
    return json_string_value(json_object_get(link, "reason"));
}

int
status_cut_spool(struct job *j, const json_t *status)
{
    json_t *line = NULL;
    int code;

    if (!json_is_string(status_at(status, "receiving", "forked_at")))
        return 0;
    job_say(
        j,
        "the spool holds WAL behind %s that the primary lacks: it is kept aside in %s, then the "
        "spool goes on from there",
        status_text(status, "receiving", "forked_at"), j->self->spool);
    code =
        control_ask(j->self->run, json_pack("{s:s}", "command", "cut_spool"), control_keep, &line);
    if (code > 0)
        code = fail(ERR_LOCAL, "it is not: %s", status_text(line, "text", NULL));
    json_decref(line);
    return code < 0 ? code : 1;
}

/* The primary's link comes: its timeline was compared with the spool. */
static bool
is_settled(const json_t *status)
{
    return json_integer_value(status_at(status, "spool", "timeline")) == 0 ||
           strcmp(status_text(status, "receiving", "state"), "up") == 0;
}

int
status_settle_spool(struct job *j)
{
    int64_t until_us = clock_us() + SETTLE_US;
    bool settled = false;

    while (!settled) {
        json_t *status;
        int code = status_ask(j, &status);

        if (code < 0)
            return code;
        settled = is_settled(status);
        if (!settled)
            code = status_cut_spool(j, status);
        if (code == 0 && !settled && clock_us() >= until_us)
            code = fail(ERR_PEER,
                        "the link of the primary does not come, and only that tells whether the "
                        "spool holds WAL that the primary lacks: %s",
                        status_text(status, "receiving", "reason"));
        json_decref(status);
        if (code < 0)
            return code;
        if (!settled)
            poll(NULL, 0, SETTLE_MS);
    }
    return 0;
}

int
status_rejoined(const struct job *j)
{
    json_t *line = NULL;
    int code =
        control_ask(j->self->run, json_pack("{s:s}", "command", "rejoined"), control_keep, &line);

    if (code > 0)
        code = fail(ERR_LOCAL, "the agent does not take this member back: %s",
                    status_text(line, "text", NULL));
    json_decref(line);
    return code;
}

int
status_renew_spool(struct job *j)
{
    json_t *line = NULL;
    int code = control_ask(j->self->run, json_pack("{s:s}", "command", "renew_spool"), control_keep,
                           &line);

    if (code > 0)
        code =
            fail(ERR_LOCAL, "the spool does not begin anew: %s", status_text(line, "text", NULL));
    json_decref(line);
    return code;
}

int
status_ready_spool(struct job *j, const char *primary, lsn_t restart)
{
    json_t *status;
    lsn_t end = LSN_UNKNOWN;
    int code = status_ask(j, &status);

    if (code < 0)
        return code;
    lsn_parse(status_text(status, "spool", "flushed"), &end);
    json_decref(status);
    if (end == LSN_UNKNOWN || end >= restart)
        return 0;
    job_say(j,
            "the spool ends at " LSN_FORMAT ", %s has WAL from " LSN_FORMAT
            " on: the spool begins anew",
            LSN_ARGS(end), primary, LSN_ARGS(restart));
    code = status_renew_spool(j);
    return code < 0 ? code : 1;
}
