/* SPDX-License-Identifier: PostgreSQL */
/* See follow.h. */
#include "jobs/follow.h"

#include "jobs/status.h"
#include "postgres/control_file.h"

#include "base/clock.h"
#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STILL_US        (300 * SECOND_US)
#define READ_US         (10 * SECOND_US) /* pg_control, the title */
#define SAY_US          (60 * SECOND_US)
#define SEGMENT_DIGITS  (SEGMENT_NAME_SIZE - 1)
#define TIMELINE_DIGITS 8
#define PIDS_SIZE       4096 /* of the postmaster's children; startup is one of the first */

void
follow_begin(struct follow *f, struct job *j, int64_t now_us)
{
    *f = (struct follow){.job = j, .begun_us = now_us, .moved_us = now_us, .said_us = now_us};
}

/* PostgreSQL takes connections: only then the agent's figures are those of this server. */
static bool
is_up(const json_t *status)
{
    const char *state = json_string_value(status_at(status, "postgres", "state"));

    return state != NULL && strcmp(state, "up") == 0;
}

static bool
is_connected(const json_t *status)
{
    return json_is_true(status_at(status, "receiving", "standby_connected"));
}

bool
follow_streams(const json_t *status)
{
    return is_up(status) && is_connected(status) &&
           json_is_true(status_at(status, "postgres", "in_recovery"));
}

static bool
is_covered(const struct follow *f, const json_t *status, int64_t now_us)
{
    const json_t *lag = json_object_get(status_at(status, "receiving", "applied"), "lag_seconds");

    return is_connected(status) && json_is_number(lag) &&
           (int64_t)(json_number_value(lag) * (double)SECOND_US) < now_us - f->begun_us;
}

/* ---- what it has applied ---- */

static bool
advanced(lsn_t *at, lsn_t now)
{
    bool more = now > *at;

    *at = now;
    return more;
}

static bool
server_moved(struct follow *f, const json_t *status)
{
    const char *text = json_string_value(status_at(status, "postgres", "replay"));
    const json_t *behind =
        json_object_get(status_at(status, "receiving", "applied"), "behind_bytes");
    uint64_t left = (uint64_t)json_integer_value(behind);
    lsn_t lsn;

    if (f->first_behind == 0)
        f->first_behind = left;
    if (f->first_behind > 0 && json_is_integer(behind) && left <= f->first_behind)
        job_progress(f->job, "replaying", f->first_behind - left, f->first_behind);
    return text != NULL && lsn_parse(text, &lsn) && advanced(&f->replay, lsn);
}

/* "postgres: 15/main: startup recovering 000000010000000000000005" */
static bool
take_title(struct follow *f, const char *title)
{
    static const char *const word[] = {"recovering ", "waiting for "};
    const char *startup = strstr(title, "startup");

    for (size_t i = 0; i < 2 && startup != NULL; i++) {
        const char *found = strstr(startup, word[i]);

        if (found == NULL || strspn(found + strlen(word[i]), "0123456789ABCDEF") != SEGMENT_DIGITS)
            continue;
        snprintf(f->doing, sizeof f->doing, "%.*s", (int)(strlen(word[i]) + SEGMENT_DIGITS), found);
        return true;
    }
    return false;
}

static void
read_title(struct follow *f)
{
    char path[96], pid[16], pids[PIDS_SIZE], title[256];
    size_t got;
    FILE *file;

    f->doing[0] = '\0';
    job_server_pid_line(f->job, 1, pid, sizeof pid);
    snprintf(path, sizeof path, "/proc/%s/task/%s/children", pid, pid);
    if (pid[0] == '\0' || (file = fopen(path, "re")) == NULL)
        return;
    got = fread(pids, 1, sizeof pids - 1, file);
    pids[got] = '\0';
    fclose(file);
    for (char *save, *child = strtok_r(pids, " ", &save); child != NULL;
         child = strtok_r(NULL, " ", &save)) {
        snprintf(path, sizeof path, "/proc/%.16s/cmdline", child);
        if ((file = fopen(path, "re")) == NULL)
            continue;
        got = fread(title, 1, sizeof title - 1, file);
        title[got] = '\0';
        fclose(file);
        if (take_title(f, title))
            return;
    }
}

/* By pg_control: WAL up to there is applied and on disk. */
static bool
disk_moved(struct follow *f)
{
    struct control_file c;

    if (control_file_read(f->job->self->bindir, f->job->self->pgdata, &c) < 0)
        return false;
    return advanced(&f->on_disk, c.recovery_end > c.redo ? c.recovery_end : c.redo);
}

static bool
startup_moved(struct follow *f, int64_t now_us)
{
    const char *segment;
    bool moved;

    if (f->read_us != 0 && now_us - f->read_us < READ_US)
        return false;
    f->read_us = now_us;
    moved = disk_moved(f);
    read_title(f);
    /* a missing segment is looked for on every timeline in turn, which is no progress */
    segment = strrchr(f->doing, ' ');
    if (segment != NULL && strcmp(segment + 1 + TIMELINE_DIGITS, f->segment) > 0) {
        snprintf(f->segment, sizeof f->segment, "%s", segment + 1 + TIMELINE_DIGITS);
        moved = true;
    }
    return moved;
}

/* ---- words ---- */

static void
say_startup(struct follow *f, const json_t *status, int64_t now_us)
{
    const char *reason = json_string_value(status_at(status, "postgres", "reason"));

    if (now_us - f->said_us < SAY_US)
        return;
    f->said_us = now_us;
    job_say(f->job,
            "PostgreSQL replays the WAL of the copy: %s%son disk up to " LSN_FORMAT
            "; until that is consistent it takes no connection%s%s",
            f->doing, f->doing[0] != '\0' ? ", " : "", LSN_ARGS(f->on_disk),
            reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

static int
tell_still(struct follow *f, const json_t *status)
{
    const char *link = json_string_value(status_at(status, "receiving", "state"));
    const char *why =
        status == NULL ? "the agent does not answer"
        : json_is_true(status_at(status, "postgres", "replay_paused")) && is_up(status)
            ? "its replay is paused: select pg_wal_replay_resume()"
        : follow_streams(status)
            ? "it is connected, but replays nothing: is recovery_min_apply_delay set?"
        : is_up(status)        ? "it is not connected to the relay"
        : is_connected(status) ? "it is connected to the relay, but takes no "
                                 "connection: is hot_standby off?"
                               : "it takes no connection";
    char log[400];

    if (follow_streams(status))
        f->doing[0] = '\0'; /* it is from before it streamed */
    else
        read_title(f);
    return fail(
        ERR_PEER,
        "the new standby does not get on, it has applied nothing for %d s: %s%s%s%s; see %s",
        (int)(STILL_US / SECOND_US), why, f->doing[0] != '\0' ? "; it is " : "", f->doing,
        link == NULL || strcmp(link, "up") == 0 ? "" : "; the link is down",
        job_server_log(f->job, log, sizeof log));
}

/* ---- a look ---- */

static int
start_again(struct follow *f)
{
    char log[400];
    int code;

    if (f->started)
        return fail(ERR_LOCAL,
                    "PostgreSQL was started here, and has ended again: see %s, then run this again",
                    job_server_log(f->job, log, sizeof log));
    job_say(f->job, "PostgreSQL has ended: it is started again");
    code = job_server_start(f->job);
    /* replay begins again at the last restartpoint */
    *f = (struct follow){.job = f->job, .begun_us = f->begun_us, .started = true};
    f->moved_us = f->said_us = clock_us(); /* a start command may take long */
    return code;
}

int
follow_look(struct follow *f, const json_t *status, int64_t now_us)
{
    bool up = is_up(status), covered = is_covered(f, status, now_us);
    const char *refused;
    int code = status_cut_spool(f->job, status);

    if (code != 0)
        return code < 0 ? code : 0;
    if (job_server_runs(f->job) == 0)
        return start_again(f);
    if (covered && follow_streams(status))
        return 1;
    refused = status_refused(status_at(status, "receiving", NULL), now_us - f->begun_us);
    if (refused != NULL)
        return fail(ERR_PEER, "the link of the primary is refused here: %s", refused);
    /* a standby that has applied all and still takes no connection never will */
    if (up ? server_moved(f, status) : startup_moved(f, now_us) && !covered)
        f->moved_us = now_us;
    if (!up)
        say_startup(f, status, now_us);
    return now_us - f->moved_us < STILL_US ? 0 : tell_still(f, status);
}
