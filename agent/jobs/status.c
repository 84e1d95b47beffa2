/* SPDX-License-Identifier: PostgreSQL */
/* See status.h. */
#include "jobs/status.h"

#include "control/control.h"

#include "base/fail.h"

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

int
status_ready_spool(struct job *j, const char *primary, lsn_t restart)
{
    json_t *status, *line = NULL;
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
    code = control_ask(j->self->run, json_pack("{s:s}", "command", "renew_spool"), control_keep,
                       &line);
    if (code > 0)
        code =
            fail(ERR_LOCAL, "the spool does not begin anew: %s", status_text(line, "text", NULL));
    json_decref(line);
    return code < 0 ? code : 1;
}
