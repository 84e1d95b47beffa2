/* SPDX-License-Identifier: PostgreSQL */
/* See archive.h. */
#include "retention/archive.h"

#include "base/clock.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int
archive_init(struct archive *a)
{
    return spawn_worker_init(&a->runs);
}

void
archive_release(struct archive *a)
{
    spawn_worker_release(&a->runs, "fetch_command");
}

/* ---- in the worker's thread ---- */

static void
job_get(void *context)
{
    struct archive_job *j = context;
    char *argv[] = {"/bin/sh", "-c", j->command, NULL}, why[80], name[SEGMENT_NAME_SIZE];
    int64_t begun_us = clock_us();

    segment_name(name, j->timeline, j->lsn, j->identity.segment_bytes);
    unlink(j->path);
    j->spawn.argv = argv;
    j->spawn.environment = environ;
    spawn_run(&j->spawn);
    if (!spawn_good(&j->spawn, why, sizeof why))
        snprintf(j->reason, sizeof j->reason, "fetch_command for %s %s: %s", name, why,
                 j->spawn.output[0] != '\0' ? j->spawn.output : "it said nothing");
    else if (pgwal_check(j->path, &j->identity, j->timeline, j->lsn) < 0)
        snprintf(j->reason, sizeof j->reason, "%s", fail_message());
    if (j->reason[0] != '\0')
        unlink(j->path);
    j->took_us = clock_us() - begun_us;
}

/* ---- in the loop ---- */

/* %f, %p and %%. The names and paths need no quoting: they have no character special to a shell. */
static bool
fill_in(const char *command, const char *name, const char *path, char *out, size_t size)
{
    size_t used = 0;

    for (; *command != '\0' && used < size; command++) {
        const char *put = command[0] != '%'   ? NULL
                          : command[1] == 'f' ? name
                          : command[1] == 'p' ? path
                          : command[1] == '%' ? "%"
                                              : NULL;

        if (put == NULL) {
            out[used++] = *command;
            continue;
        }
        used += (size_t)snprintf(out + used, size - used, "%s", put);
        command++;
    }
    if (used >= size)
        return false;
    out[used] = '\0';
    return true;
}

int
archive_get(struct archive *a, const char *command, const struct identity *identity,
            timeline_t timeline, lsn_t lsn, const char *path)
{
    struct archive_job *j = &a->job;
    char name[SEGMENT_NAME_SIZE];

    segment_name(name, timeline, lsn, identity->segment_bytes);
    *j = (struct archive_job){
        .identity = *identity,
        .timeline = timeline,
        .lsn = lsn,
        .spawn = {.stop_fd = a->runs.stop_fd, .limit_us = ARCHIVE_LIMIT_US, .keep_output = true}};
    snprintf(j->path, sizeof j->path, "%s", path);
    if (!fill_in(command, name, path, j->command, sizeof j->command))
        return fail(ERR_USAGE, "fetch_command is longer than %d bytes with its names filled in",
                    ARCHIVE_COMMAND_MAX - 1);
    worker_submit(&a->runs.worker, job_get, j);
    return 0;
}

bool
archive_busy(const struct archive *a)
{
    return worker_busy(&a->runs.worker);
}

bool
archive_done(struct archive *a)
{
    return worker_done(&a->runs.worker);
}

void
archive_watch(const struct archive *a, struct loop *l)
{
    loop_watch(l, worker_fd(&a->runs.worker), POLLIN);
}
