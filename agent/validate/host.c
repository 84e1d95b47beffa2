/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate, by the host: files, commands, disks, the agent and what it knows, the keys that may
 * come in. Nothing here needs PostgreSQL.
 */
#include "control/control.h"
#include "control/show.h"
#include "jobs/status.h"
#include "postgres/control_file.h"
#include "postgres/postgres.h"
#include "validate/query.h"
#include "validate/subject.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OFFSET_MAX_US (2 * SECOND_US) /* as of event WF011 */
#define DISK_WARNING  (UINT64_C(1) << 30)
#define DISK_CRITICAL (UINT64_C(80) << 20) /* five segments */

static void
check_config(struct validation *v)
{
    char *errors = NULL, *line, *rest;
    size_t size = 0;
    FILE *stream = open_memstream(&errors, &size);

    if (stream == NULL || config_check_local(v->config, v->self, stream) == 0)
        validate_say(v, READY_OK, "%s fits this host", v->config->file);
    if (stream != NULL)
        fclose(stream);
    for (rest = errors; rest != NULL && (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == '\0')
            continue;
        validate_say(v, READY_FAIL, "%s", line);
        validate_remedy(v, "as it says there; the agent would not start again");
    }
    free(errors);
}

static void
check_tools(struct validation *v)
{
    static const char *const tools[] = {"pg_ctl",    "pg_controldata", "pg_basebackup",
                                        "pg_rewind", "pg_waldump",     "pg_verifybackup"};
    bool right = true;

    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        char path[sizeof v->self->bindir + 32];

        snprintf(path, sizeof path, "%s/%s", v->self->bindir, tools[i]);
        if (access(path, X_OK) == 0)
            continue;
        right = false;
        validate_say(v, READY_FAIL, "cannot run %s: %s", path, strerror(errno));
        validate_remedy(v, "install the server's package, or correct bindir of [member %s]",
                        v->self->name);
    }
    if (right)
        validate_say(v, READY_OK, "PostgreSQL's tools are in %s", v->self->bindir);
}

/* The program that a shell would run: the first word behind NAME=value. NULL: none. */
static char *
first_word(char *words, char **ret_rest)
{
    char *word;

    *ret_rest = words;
    do
        word = strsep(ret_rest, " \t");
    while (word != NULL && (word[0] == '\0' || strchr(word, '=') != NULL));
    return word;
}

/* A command of the config that begins with sudo needs a rule that asks for no password. */
static bool
sudo_allows(struct validation *v, const char *sudo, char *rest)
{
    const char *argv[20] = {sudo, "-n", "-l"};
    char line[TOOL_LINE_SIZE], *word;

    for (size_t n = 3; n < 19 && (word = strsep(&rest, " \t")) != NULL;)
        if (word[0] != '\0')
            argv[n++] = word;
    return validate_tool(v, argv, line) == 0;
}

static void
check_command(struct validation *v, const char *key, const char *command)
{
    char words[sizeof v->self->start], found[TOOL_LINE_SIZE], *rest, *word;
    const char *argv[] = {"/bin/sh", "-c", "command -v -- \"$1\"", "sh", NULL, NULL};

    snprintf(words, sizeof words, "%s", command);
    argv[4] = word = first_word(words, &rest);
    if (word == NULL) {
        validate_say(v, READY_OK, "%s is pg_ctl's", key);
    } else if (validate_tool(v, argv, found) < 0) {
        validate_say(v, READY_FAIL, "%s = %s: there is no program %s to run", key, command, word);
        validate_remedy(v, "correct %s of [member %s] in %s", key, v->self->name, v->config->file);
    } else if (strcmp(basename(found), "sudo") == 0 && rest != NULL &&
               !sudo_allows(v, found, rest)) {
        validate_say(v, READY_FAIL, "%s = %s: sudo wants a password, or forbids it", key, command);
        validate_remedy(v, "visudo: %s ALL = (root) NOPASSWD: and the command behind sudo",
                        v->self->target.user);
    } else {
        validate_say(v, READY_OK, "%s = %s", key, command);
    }
}

static void
check_commands(struct validation *v)
{
    check_command(v, "start", v->self->start);
    check_command(v, "stop", v->self->stop);
}

static void
check_space(struct validation *v, const char *path, const char *what, const char *status_key)
{
    const json_t *to_full =
        json_object_get(json_object_get(v->status, status_key), "seconds_to_full");
    int64_t full_us = (int64_t)(json_number_value(to_full) * (double)SECOND_US);
    bool soon = json_is_number(to_full) && full_us < v->config->disk_warning_us;
    char shown[32], time[40] = "";
    uint64_t bytes;
    int dir;

    if (durable_dir(path, &dir) < 0 || durable_free(dir, &bytes) < 0) {
        validate_say(v, READY_FAIL, "the room for %s in %s is unknown: %s", what, path,
                     strerror(errno));
        validate_remedy(v, "correct spool or pgdata of [member %s]", v->self->name);
        return;
    }
    durable_close(dir);
    if (soon)
        snprintf(time, sizeof time, ", full in %s", text_duration(shown, sizeof shown, full_us));
    text_bytes(shown, sizeof shown, bytes);
    validate_say(v,
                 bytes < DISK_CRITICAL || (soon && full_us < v->config->disk_critical_us)
                     ? READY_FAIL
                 : bytes < DISK_WARNING || soon ? READY_WARN
                                                : READY_OK,
                 "%s free for %s, in %s%s", shown, what, path, time);
    if (bytes < DISK_WARNING || soon)
        validate_remedy(v, bytes < DISK_WARNING
                               ? "make room: 1 GB is little when the other site is away for a while"
                               : "make room, or stop what fills it");
}

static void
check_disk(struct validation *v)
{
    char pg_wal[sizeof v->self->pgdata + 16];

    snprintf(pg_wal, sizeof pg_wal, "%s/pg_wal", v->self->pgdata);
    check_space(v, pg_wal, "pg_wal", "pg_wal");
    check_space(v, v->self->spool, "the spool", "spool");
}

static void
check_agent(struct validation *v)
{
    const char *alarm;

    if (control_ask_within(v->self->run, 5, json_pack("{s:s}", "command", "status"), control_keep,
                           &v->status) != 0 ||
        v->status == NULL) {
        validate_say(v, READY_FAIL, "the agent of %s does not run: %s", v->self->name,
                     fail_message());
        validate_remedy(v, "systemctl start walferry@%s", v->config->name);
        return;
    }
    alarm = show_word(v->status, "alarm", "");
    if (alarm[0] != '\0') {
        validate_say(v, READY_FAIL, "alarm: %s", alarm);
        validate_remedy(v, "walferry status; then as it says there");
    } else {
        validate_say(
            v, READY_OK, "the agent runs, %s of epoch %" JSON_INTEGER_FORMAT,
            show_word(v->status, "role", "unknown"),
            json_integer_value(json_object_get(json_object_get(v->status, "epoch"), "number")));
    }
}

/* Is a link, outgoing or incoming, up, and do the clocks of both hosts agree? */
static void
check_link(struct validation *v, const json_t *link, const char *name)
{
    const json_t *offset = json_object_get(link, "clock_offset_seconds");
    double seconds = json_number_value(offset);

    if (strcmp(show_word(link, "state", ""), "up") != 0) {
        validate_say(v, READY_FAIL, "the link %s is %s: %s", name,
                     show_word(link, "state", "unknown"),
                     show_word(link, "reason", "no reason is known"));
        validate_remedy(v, "walferry status, on both hosts");
    } else {
        validate_say(v, READY_OK, "the link %s is up", name);
    }
    if (!json_is_number(offset)) {
        validate_say(v, READY_WARN, "the offset of the clocks %s is unknown", name);
        validate_remedy(v, "ask again when the link is up");
    } else if (seconds * (double)SECOND_US > (double)OFFSET_MAX_US ||
               seconds * (double)SECOND_US < (double)-OFFSET_MAX_US) {
        validate_say(v, READY_WARN, "the clocks %s differ by %.1f s", name, seconds);
        validate_remedy(v, "timedatectl set-ntp true, on both hosts");
    } else {
        validate_say(v, READY_OK, "the clocks %s differ by %.3f s", name, seconds);
    }
}

static const json_t *
find_member(const json_t *members, const char *key, const char *name)
{
    const json_t *member;
    size_t i;

    json_array_foreach (members, i, member)
        if (strcmp(show_word(member, key, ""), name) == 0)
            return member;
    return NULL;
}

/* A member that another one feeds: no link from here is up, what counts is that one's, and how far the
 * member is behind. */
static void
check_fed(struct validation *v, const char *name)
{
    const json_t *route = find_member(status_at(v->status, "routes", "members"), "member", name),
                 *member = find_member(status_at(v->status, "members", NULL), "name", name);
    const json_t *lag = json_object_get(member, "flushed_lag_seconds");
    bool silent = json_is_true(json_object_get(member, "silent")),
         cut = json_is_true(json_object_get(route, "cut")),
         late = !json_is_number(lag) ||
                json_number_value(lag) * (double)SECOND_US >= (double)v->config->ship_warning_us;

    validate_say(v,
                 silent || cut ? READY_FAIL
                 : late        ? READY_WARN
                               : READY_OK,
                 "%s is fed %s; %s%s", name, show_word(route, "text", "by another member"),
                 silent ? "it is " : "", show_word(member, "state", "not known here"));
    if (silent || cut || late)
        validate_remedy(v, "walferry route; walferry status, on the hosts of %s and %s", name,
                        show_word(route, "from", "its feeder"));
}

static void
check_links(struct validation *v)
{
    const json_t *link, *receiving = json_object_get(v->status, "receiving");
    char name[MEMBER_NAME_SIZE + 8];
    size_t i;

    json_array_foreach (json_object_get(v->status, "links"), i, link) {
        if (show_rests(link)) {
            check_fed(v, show_word(link, "to", "?"));
            continue;
        }
        snprintf(name, sizeof name, "to %s", show_word(link, "to", "?"));
        check_link(v, link, name);
    }
    if (json_is_object(receiving)) {
        snprintf(name, sizeof name, "from %s", show_word(receiving, "from", "the primary"));
        check_link(v, receiving, name);
    }
}

static bool
names_member(const char *line, const char *option, const char *name)
{
    char wanted[MEMBER_NAME_SIZE + 16];
    const char *at;
    size_t length = (size_t)snprintf(wanted, sizeof wanted, "%s %s", option, name);

    for (at = line; (at = strstr(at, wanted)) != NULL; at += length)
        if (strchr("\" ", at[length]) != NULL)
            return true;
    return false;
}

/* Is this line of our pool? An authorized_keys file may serve several pools. */
static bool
is_ours(const struct validation *v, const char *line)
{
    char config[sizeof v->config->file + 16];

    snprintf(config, sizeof config, "--config %s ", v->config->file);
    return line[0] != '#' && strstr(line, "walferry receive") != NULL &&
           strstr(line, config) != NULL;
}

/* Bit i: this line is right, and member i comes in by it. 0: the line is wrong (said). */
static unsigned
judge_key(struct validation *v, const char *file, const char *line, int number)
{
    const char *wrong = NULL;
    char right[KEY_LINE_SIZE];
    unsigned from = 0;

    for (size_t i = 0; i < v->config->members; i++)
        if (&v->config->member[i] != v->self &&
            names_member(line, "--from", v->config->member[i].name))
            from = 1u << i;
    if (strncmp(line, "restrict,", strlen("restrict,")) != 0)
        wrong = "does not begin with restrict: it allows more than the command";
    else if (!names_member(line, "--member", v->self->name))
        wrong = "has another --member than this one";
    else if (from == 0)
        wrong = "has --from without another member of this pool";
    if (wrong == NULL)
        return from;
    validate_say(v, READY_FAIL, "line %d of %s %s", number, file, wrong);
    validate_remedy(v, "it begins: %s",
                    config_key_line(right, v->config, v->self->name, "MEMBER", false));
    return 0;
}

void
validate_keys(struct validation *v, const char *file)
{
    char *line = NULL, expected[KEY_LINE_SIZE];
    FILE *stream = fopen(file, "re");
    bool ours = false;
    unsigned known = 0;
    size_t size = 0;

    for (int number = 1; stream != NULL && getline(&line, &size, stream) > 0; number++) {
        if (!is_ours(v, line))
            continue;
        ours = true;
        known |= judge_key(v, file, line, number);
    }
    free(line);
    if (stream != NULL)
        fclose(stream);
    if (!ours) {
        validate_say(v, READY_OK,
                     "%s has no line of this pool; sshd may read another one, what counts is the "
                     "dial (ssh) of the other members",
                     file);
        return;
    }
    for (size_t i = 0; i < v->config->members; i++) {
        const char *name = v->config->member[i].name;
        bool bound = (known & 1u << i) != 0;

        if (&v->config->member[i] == v->self)
            continue;
        validate_say(v, bound ? READY_OK : READY_FAIL, "%s %s %s", file,
                     bound ? "binds the key of" : "has no line for", name);
        if (!bound)
            validate_remedy(v, "%s and the public key of %s",
                            config_key_line(expected, v->config, v->self->name, name, false), name);
    }
}

/* Only sshd knows which file it reads; this is the default. */
static void
check_keys(struct validation *v)
{
    const struct passwd *we = getpwuid(geteuid());
    char file[300];

    snprintf(file, sizeof file, "%s/.ssh/authorized_keys", we != NULL ? we->pw_dir : "");
    validate_keys(v, file);
}

static void
tell_facts(struct validation *v)
{
    struct identity control;
    char text[32];

    snprintf(text, sizeof text, "%016" PRIx64, v->config->digest);
    json_object_set_new(v->facts, "config", json_string(text));
    json_object_set_new(v->facts, "walferry", json_string(WALFERRY_VERSION));
    json_object_set_new(v->facts, "glibc", json_string(gnu_get_libc_version()));
    if (control_file_identity(v->self->pgdata, &control) < 0)
        return;
    snprintf(text, sizeof text, "%" PRIu64, control.system_identifier);
    json_object_set_new(v->facts, "system_identifier", json_string(text));
    json_object_set_new(v->facts, "major", json_integer(control.postgres_major));
}

void
validate_host(struct validation *v)
{
    static const struct check checks[] = {
        {"config", check_config}, {"agent", check_agent},       {"links", check_links},
        {"tools", check_tools},   {"commands", check_commands}, {"disk", check_disk},
        {"keys", check_keys},
    };

    tell_facts(v);
    validate_run(v, checks, sizeof checks / sizeof *checks);
}
