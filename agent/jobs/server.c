/* SPDX-License-Identifier: PostgreSQL */
/* See server.h. */
#include "jobs/server.h"

#include "postgres/tool.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "shipper/wal/pgwal.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_FILE  "job.out" /* of start and stop */
#define STOP_LOOK_MS 250
#define STOP_SAY_US  (60 * SECOND_US)

int
job_server_runs(const struct job *j)
{
    if (access(j->self->pgdata, F_OK) < 0)
        return 0; /* no directory, no server on it */
    return pgwal_postmaster_alive(j->self->pgdata);
}

void
job_server_pid_line(const struct job *j, int n, char *out, size_t size)
{
    char path[sizeof j->self->pgdata + 16], line[PATH_MAX] = "";
    FILE *file;

    snprintf(path, sizeof path, "%s/postmaster.pid", j->self->pgdata);
    file = fopen(path, "re");
    while (file != NULL && n > 0 && fgets(line, sizeof line, file) != NULL)
        n--;
    if (file != NULL)
        fclose(file);
    snprintf(out, size, "%.*s", n == 0 ? (int)strcspn(line, " \n") : 0, line);
}

const char *
job_server_log(const struct job *j, char *out, size_t size)
{
    if (j->self->start[0] == '\0')
        snprintf(out, size, "%s/postgres.log", j->self->spool);
    else
        snprintf(out, size, "its log (it is started by: %s)", j->self->start);
    return out;
}

/* The configured command, by the shell as its writer expects, or pg_ctl. */
static int
command_server(struct job *j, const char *configured, const char *word)
{
    const char *const by_shell[] = {"sh", "-c", configured, NULL};
    char pg_ctl[sizeof j->self->bindir + 16], log[sizeof j->self->spool + 16];
    const char *const by_pg_ctl[] = {"pg_ctl", "-D", j->self->pgdata, "-w", "-t", "60", "-l", log,
                                     word,     NULL};
    int output, code;

    snprintf(pg_ctl, sizeof pg_ctl, "%s/pg_ctl", j->self->bindir);
    snprintf(log, sizeof log, "%s/postgres.log", j->self->spool);
    if (durable_open(j->dir, OUTPUT_FILE, DURABLE_CREATE, &output) < 0 ||
        durable_truncate(output, 0) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/" OUTPUT_FILE, j->self->spool);
    code = configured[0] != '\0' ? tool_start("/bin/sh", by_shell, configured, output)
                                 : tool_start(pg_ctl, by_pg_ctl, pg_ctl, output);
    durable_close(output);
    return code;
}

int
job_server_start(struct job *j)
{
    int runs = job_server_runs(j), code;
    char log[400];

    if (runs != 0)
        return runs < 0 ? runs : 0;
    code = command_server(j, j->self->start, "start");
    /* the command may have given up waiting for a server that has much to replay */
    return code == 0 || job_server_runs(j) == 1
               ? 0
               : fail_in(ERR_LOCAL, "PostgreSQL does not start, see %s",
                         job_server_log(j, log, sizeof log));
}

static bool
is_stopping(const struct job *j)
{
    char word[16];

    job_server_pid_line(j, 8, word, sizeof word);
    return strcmp(word, "stopping") == 0 && job_server_runs(j) == 1;
}

/* The server archives and sends the rest of its WAL, maybe for longer than the command waits. */
static void
wait_for_end(struct job *j)
{
    int64_t said_us = 0;

    for (; is_stopping(j); poll(NULL, 0, STOP_LOOK_MS)) {
        if (said_us != 0 && clock_us() - said_us < STOP_SAY_US)
            continue;
        said_us = clock_us();
        job_say(j,
                "PostgreSQL is still stopping: its archiver has much to do, or fails (see its "
                "log, and %s/pg_wal/archive_status/*.ready). To end it at once: "
                "%s/pg_ctl stop -m immediate -D %s",
                j->self->pgdata, j->self->bindir, j->self->pgdata);
    }
}

int
job_server_stop(struct job *j)
{
    int runs = job_server_runs(j), code;

    if (runs <= 0)
        return runs;
    code = command_server(j, j->self->stop, "stop");
    wait_for_end(j);
    if (job_server_runs(j) == 0)
        return 0;
    if (code == 0)
        fail(ERR_LOCAL, "it still runs after: %s",
             j->self->stop[0] != '\0' ? j->self->stop : "pg_ctl stop");
    return fail_in(ERR_LOCAL, "PostgreSQL does not stop");
}
