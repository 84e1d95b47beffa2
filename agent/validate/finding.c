/*
 * validate: is this member, or every one of the pool, ready for a role change? Each line ok, warn
 * or fail, why, and what to type; the exit code is the worst of them: 0, 1, 2, and 3 when nothing
 * could be judged (usage, config).
 *
 * This member is judged here, by this process, with its agent or PostgreSQL up or down. Another one
 * is asked through its agent, which runs `walferry validate --local --json` there (service.h).
 * What shows only in comparison is judged here, over the facts of all who answered.
 */
#include "validate/finding.h"
#include "commands/command.h"
#include "control/control.h"
#include "control/show.h"

#include "base/fail.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REASON_SIZE      1400
#define ANSWER_S         90 /* the way there, and VALIDATE_SERVICE_LIMIT_US */
#define VALIDATE_UNKNOWN 3  /* nothing could be judged: usage */

static const char *const result_name[] = {"ok", "warn", "fail"};

void
validate_add(json_t *checks, const char *check, enum readiness result, const char *reason,
             const char *remedy)
{
    char one_line[REASON_SIZE], shown[REASON_SIZE];
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
                                    result_name[result], "reason", shown, "remedy", remedy));
}

void
validate_say(struct validation *v, enum readiness result, const char *format, ...)
{
    char reason[REASON_SIZE];
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
    char remedy[REASON_SIZE];
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

static void
keep_line(void *context, const char *line)
{
    if (line[0] != '\0')
        snprintf(context, TOOL_LINE_SIZE, "%s", line);
}

int
validate_tool(struct validation *v, const char *const argv[], char ret_line[TOOL_LINE_SIZE])
{
    ret_line[0] = '\0';
    return job_run(&v->job, argv, keep_line, ret_line);
}

static enum readiness
result_of(const json_t *check)
{
    const char *name = json_string_value(json_object_get(check, "result"));

    for (int i = READY_OK; i < READY_FAIL; i++)
        if (name != NULL && strcmp(name, result_name[i]) == 0)
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
        if (result_of(check) > worst)
            worst = result_of(check);
    }
    return worst;
}

const char *
validate_key_line(char out[KEY_LINE_SIZE], const struct config *config, const char *to,
                  const char *from, bool no_tunnel)
{
    snprintf(out, KEY_LINE_SIZE,
             "restrict,command=\"walferry receive%s --config %s --member %s --from %s\"",
             no_tunnel ? " --no-tunnel" : "", config->file, to, from);
    return out;
}

/* ---- the reports ---- */

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

/* The answer's lines: words of refusal, or the report. */
struct answer {
    json_t *member;
    char text[512];
};

static void
take_line(void *context, json_t *line)
{
    struct answer *answer = context;
    const char *text = json_string_value(json_object_get(line, "text"));
    json_t *report = json_object_get(line, "report");

    if (text != NULL)
        snprintf(answer->text, sizeof answer->text, "%s", text);
    if (json_is_array(json_object_get(report, "checks"))) {
        json_decref(answer->member);
        answer->member = json_incref(report);
    }
}

static json_t *
ask(const struct member *self, const struct member *m)
{
    struct answer answer = {0};
    char run[sizeof self->run + MEMBER_NAME_SIZE + 8], reason[REASON_SIZE], remedy[256];
    json_t *checks;
    int code;

    snprintf(run, sizeof run, "%s/far/%s", self->run, m->name);
    code = control_ask_within(run, ANSWER_S, json_pack("{s:s}", "command", "validate"), take_line,
                              &answer);
    if (answer.member != NULL) {
        json_object_set_new(answer.member, "member", json_string(m->name));
        return answer.member;
    }
    snprintf(reason, sizeof reason, "%s cannot be asked from here: %s", m->name,
             code < 0 ? fail_message() : answer.text);
    snprintf(remedy, sizeof remedy,
             "walferry validate --local, on the host of %s; walferry status, on both", m->name);
    checks = json_array();
    validate_add(checks, "report", READY_FAIL, reason, remedy);
    return json_pack("{s:s s:s s:s s:o s:{}}", "member", m->name, "site", m->site, "role",
                     "unknown", "checks", checks, "facts");
}

/* ---- to the reader ---- */

static void
print_member(const json_t *member)
{
    static const char *const verdict[] = {"ready", "ready, with warnings", "not ready"};
    const json_t *check;
    size_t i;

    printf("%s (%s, site %s): %s\n", show_word(member, "member", "?"),
           show_word(member, "role", "unknown"), show_word(member, "site", "?"),
           verdict[validate_worst(member)]);
    json_array_foreach (json_object_get(member, "checks"), i, check) {
        const char *remedy = show_word(check, "remedy", NULL);

        printf("  %-4s  %-18s %s\n", result_name[result_of(check)], show_word(check, "check", "?"),
               show_word(check, "reason", ""));
        if (remedy != NULL)
            printf("  %-4s  %-18s -> %s\n", "", "", remedy);
    }
}

/* Takes over the reference. */
static void
print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
}

int
command_validate(const struct config *config, const struct member *self,
                 const struct options *options)
{
    const char *name = options->arg_count > 0 ? options->args[0] : self->name;
    json_t *members = json_array(), *member;
    enum readiness worst = READY_OK;
    size_t i;

    if (config_member(config, name) == NULL || (options->pool && options->arg_count > 0) ||
        (options->local && (options->pool || strcmp(name, self->name) != 0))) {
        fprintf(stderr, "walferry validate: %s\n",
                options->local  ? "--local is this member alone"
                : options->pool ? "a member or --pool, not both"
                                : "no such member in the pool's file");
        json_decref(members);
        return VALIDATE_UNKNOWN;
    }
    for (i = 0; i < config->members; i++) {
        const struct member *m = &config->member[i];

        if (m == self)
            json_array_append_new(members, judge_self(config, m));
        else if (!options->local)
            json_array_append_new(members, ask(self, m));
    }
    if (!options->local)
        validate_compare(members);
    for (i = json_array_size(members); i > 0; i--) {
        member = json_array_get(members, i - 1);
        if (!options->pool && strcmp(show_word(member, "member", ""), name) != 0)
            json_array_remove(members, i - 1);
        else if (validate_worst(member) > worst)
            worst = validate_worst(member);
    }
    if (options->json && options->local)
        print_json(json_incref(json_array_get(members, 0)));
    else if (options->json)
        print_json(json_pack("{s:s s:s s:O}", "pool", config->name, "result", result_name[worst],
                             "members", members));
    else
        json_array_foreach (members, i, member)
            print_member(member);
    json_decref(members);
    return (int)worst;
}
