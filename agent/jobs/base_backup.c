/* SPDX-License-Identifier: PostgreSQL */
/* See base_backup.h. */
#include "jobs/base_backup.h"

#include "base/clock.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE_KB_LEAST 32 /* of pg_basebackup */
#define ARGS_MAX      (24 + 2 * TABLESPACES_MAX)

static void
take_progress(void *context, const char *line)
{
    struct base_backup *b = context;
    uint64_t done_kb, total_kb, before;

    if (sscanf(line, "%" SCNu64 "/%" SCNu64 " kB", &done_kb, &total_kb) != 2) {
        /* such as that WAL is not archived: in any language, a minute after the last byte */
        if (strstr(line, "WARNING") != NULL ||
            (b->last_us != 0 && clock_us() - b->last_us > 30 * SECOND_US))
            job_say(b->job, "%s", line);
        return;
    }
    before = b->done_bytes;
    b->done_bytes = done_kb << 10;
    b->total_bytes = total_kb << 10;
    b->last_us = clock_us();
    if (b->first_us == 0) {
        b->first_us = b->last_us;
        b->first_bytes = b->done_bytes;
    }
    job_progress(b->job, "copying", b->done_bytes, b->total_bytes);
    if (b->done_bytes > before)
        (void)!job_renew_hold(b->job, b->hold); /* a failure does no harm yet: it lasts a day */
}

struct arguments {
    const char *argv[ARGS_MAX];
    size_t count;
    char mapping[TABLESPACES_MAX][640];
    char rate[24], conninfo[256], role[ROLE_NAME_SIZE];
};

static void
add(struct arguments *a, const char *argument)
{
    a->argv[a->count++] = argument;
}

/* From where, to where, and how fast. */
static void
fill_in(const struct base_backup *b, struct arguments *a)
{
    const struct member *m = b->job->self;
    const char *const options[] = {
        "-X", b->brings_wal ? "fetch" : "none", "-c", "fast", "-P", "-l", "walferry seed"};

    snprintf(a->conninfo, sizeof a->conninfo,
             "host=%s/tunnel port=5432 user=%s connect_timeout=10 "
             "application_name=walferry_seed",
             m->run, b->job->config->tunnel_user);
    config_role(a->role, m);
    add(a, "-d");
    add(a, a->conninfo);
    add(a, "-U"); /* replaces the user in conninfo */
    add(a, a->role);
    add(a, "-D");
    add(a, b->d->fresh);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        add(a, options[i]);
    for (size_t i = 0; i < b->d->tablespaces; i++) {
        snprintf(a->mapping[i], sizeof a->mapping[i], "%s=%s/walferry-new",
                 b->d->tablespace[i].from, b->d->tablespace[i].at);
        add(a, "-T");
        add(a, a->mapping[i]);
    }
    if (b->rate != NULL) {
        uint64_t kb = b->rate->otherwise / 1024;

        snprintf(a->rate, sizeof a->rate, "%" PRIu64, kb < RATE_KB_LEAST ? RATE_KB_LEAST : kb);
        add(a, "-r");
        add(a, a->rate);
    }
}

int
base_backup_run(struct base_backup *b, bool probe)
{
    struct arguments *a = calloc(1, sizeof *a);
    char program[sizeof b->job->self->bindir + 16];
    int64_t begun_us = clock_us();
    int code;

    if (a == NULL)
        return fail(ERR_LOCAL, "out of memory");
    snprintf(program, sizeof program, "%s/pg_basebackup", b->job->self->bindir);
    if (probe) {
        add(a, "/usr/bin/timeout");
        add(a, "--signal=KILL");
        add(a, BASE_BACKUP_PROBE_S);
    }
    add(a, program);
    fill_in(b, a);
    b->first_us = 0;
    code = job_run(b->job, a->argv, take_progress, b);
    if (code == 0) {
        b->last_us = clock_us();
        b->done_bytes = b->total_bytes;
        b->job->shown_us = 0; /* the last line is always shown */
        job_progress(b->job, "copying", b->done_bytes, b->total_bytes);
    }
    if (b->done_bytes == b->first_bytes && b->first_us != 0) { /* it took less than a second */
        b->first_us = begun_us;
        b->first_bytes = 0;
    }
    free(a);
    return code;
}

double
base_backup_rate(const struct base_backup *b)
{
    int64_t took_us = b->last_us - b->first_us;

    return took_us > 0
               ? (double)(b->done_bytes - b->first_bytes) * (double)SECOND_US / (double)took_us
               : 0;
}
