/* SPDX-License-Identifier: PostgreSQL */
/* See validate.h. */
#include "validate/validate.h"
#include "control/control.h"
#include "control/show.h"
#include "validate/subject.h"

#include "base/fail.h"

#include <stdio.h>

#define ANSWER_S 90 /* the way there, and VALIDATE_SERVICE_LIMIT_US */

static json_t *
judge_self(const struct config *config, const struct member *self)
{
    struct validation v = {.config = config,
                           .self = self,
                           .checks = json_array(),
                           .facts = json_object(),
                           .settings = json_object(),
                           .job = {.config = config, .self = self, .dir = -1, .lock = -1}};
    json_t *member;

    validate_host(&v);
    validate_postgres(&v);
    if (v.conn != NULL)
        validate_data(&v);
    validate_ssh(&v);
    member = json_pack("{s:s s:s s:s s:o s:o}", "member", self->name, "site", self->site, "role",
                       v.primary ? "primary" : "standby", "checks", v.checks, "facts", v.facts);
    if (v.conn == NULL) {
        const char *role = json_string_value(json_object_get(v.status, "role"));

        json_object_set_new(member, "role", json_string(role != NULL ? role : "unknown"));
    }
    PQfinish(v.conn);
    json_decref(v.settings);
    json_decref(v.status);
    return member;
}

static json_t *
ask_other(const struct member *self, const struct member *m)
{
    char run[sizeof self->run + MEMBER_NAME_SIZE + 8], reason[VALIDATE_REASON_SIZE], remedy[256];
    json_t *line = NULL, *report, *checks;
    int code;

    snprintf(run, sizeof run, "%s/far/%s", self->run, m->name);
    code = control_ask_within(run, ANSWER_S, json_pack("{s:s}", "command", "validate"),
                              control_keep, &line);
    report = json_object_get(line, "report");
    if (json_is_array(json_object_get(report, "checks"))) {
        json_incref(report);
        json_decref(line);
        json_object_set_new(report, "member", json_string(m->name));
        return report;
    }
    snprintf(reason, sizeof reason, "%s cannot be asked from here: %s", m->name,
             code < 0 ? fail_message() : show_word(line, "text", ""));
    json_decref(line);
    snprintf(remedy, sizeof remedy,
             "walferry validate --local, on the host of %s; walferry status, on both", m->name);
    checks = json_array();
    validate_add(checks, "report", READY_FAIL, reason, remedy);
    return json_pack("{s:s s:s s:s s:o s:{}}", "member", m->name, "site", m->site, "role",
                     "unknown", "checks", checks, "facts");
}

json_t *
validate_members(const struct config *config, const struct member *self, bool local)
{
    json_t *members = json_array();

    for (size_t i = 0; i < config->members; i++) {
        const struct member *m = &config->member[i];

        if (m == self)
            json_array_append_new(members, judge_self(config, m));
        else if (!local)
            json_array_append_new(members, ask_other(self, m));
    }
    if (!local)
        validate_compare(members);
    return members;
}
