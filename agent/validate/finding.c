/* SPDX-License-Identifier: PostgreSQL */
/* See finding.h. */
#include "validate/finding.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const readiness_name[] = {"ok", "warn", "fail"};

void
validate_add(json_t *checks, const char *check, enum readiness result, const char *reason,
             const char *remedy)
{
    char one_line[VALIDATE_REASON_SIZE], shown[VALIDATE_REASON_SIZE];
    size_t n = (size_t)snprintf(one_line, sizeof one_line, "%s", reason);

    n = n < sizeof one_line ? n : sizeof one_line - 1;
    while (n > 0 && one_line[n - 1] == '\n')
        one_line[--n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (one_line[i] == '\n' || one_line[i] == '\t')
            one_line[i] = ' ';
    text_escape(shown, sizeof shown, one_line, n);
    json_array_append_new(checks,
                          json_pack("{s:s s:s s:s s:s?}", "check", check, "result",
                                    readiness_name[result], "reason", shown, "remedy", remedy));
}

void
validate_say(struct validation *v, enum readiness result, const char *format, ...)
{
    char reason[VALIDATE_REASON_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    validate_add(v->checks, v->check, result, reason, NULL);
}

void
validate_remedy(struct validation *v, const char *format, ...)
{
    json_t *last = json_array_get(v->checks, json_array_size(v->checks) - 1);
    char remedy[VALIDATE_REASON_SIZE];
    va_list args;

    va_start(args, format);
    vsnprintf(remedy, sizeof remedy, format, args);
    va_end(args);
    json_object_set_new(last, "remedy", json_string(remedy));
}

void
validate_run(struct validation *v, const struct check *checks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        v->check = checks[i].name;
        checks[i].run(v);
    }
}

enum readiness
validate_result(const json_t *check)
{
    const char *name = json_string_value(json_object_get(check, "result"));

    for (int i = READY_OK; i < READY_FAIL; i++)
        if (name != NULL && strcmp(name, readiness_name[i]) == 0)
            return (enum readiness)i;
    return READY_FAIL; /* also a word that only a newer version knows */
}

enum readiness
validate_worst(const json_t *member)
{
    enum readiness worst = READY_OK;
    const json_t *check;
    size_t i;

    json_array_foreach (json_object_get(member, "checks"), i, check) {
        if (validate_result(check) > worst)
            worst = validate_result(check);
    }
    return worst;
}
