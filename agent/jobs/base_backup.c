/* SPDX-License-Identifier: PostgreSQL */
/* See base_backup.h. */
#include "jobs/base_backup.h"

#include "jobs/primary.h"

#include "base/clock.h"
#include "base/durable.h"
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
    char rate[24], conninfo[400], role[ROLE_NAME_SIZE];
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
    char directory[256];
    const char *port = primary_door(m, b->from, directory, sizeof directory);
    const char *const options[] = {
        "-X", b->brings_wal ? "fetch" : "none", "-c", "fast", "-P", "-l", "walferry seed"};

    snprintf(a->conninfo, sizeof a->conninfo,
             "host=%s port=%s user=%s connect_timeout=10 application_name=walferry_seed", directory,
             port, b->job->config->tunnel_user);
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
        snprintf(a->mapping[i], sizeof a->mapping[i], "%s=%s/walferry-new", b->there[i],
                 b->d->tablespace[i].at);
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
base_backup_prepare(struct base_backup *b, PGconn *server)
{
    char text[8];
    int code =
        primary_ask(server,
                    "select (current_setting('archive_mode') = any (case when pg_is_in_recovery() "
                    "then '{always}' else '{on,always}' end::text[]) and "
                    "(last_failed_time > coalesce(last_archived_time, '-infinity') or "
                    "current_setting('archive_command') = '' and "
                    "coalesce(current_setting('archive_library', true), '') = ''))::text "
                    "from pg_stat_archiver",
                    text, sizeof text);

    b->brings_wal = strcmp(text, "true") == 0;
    for (size_t i = 0; i < b->d->tablespaces && code == 0; i++) {
        char query[96];

        snprintf(query, sizeof query, "select pg_tablespace_location(%s)", b->d->tablespace[i].oid);
        code = primary_ask(server, query, b->there[i], sizeof b->there[i]);
    }
    return code;
}

/* WAL is here from the hold on: a copy that begins before it cannot be replayed. */
static int
check_begin(const struct base_backup *b)
{
    static const char word[] = "START WAL LOCATION: ";
    char label[1024], text[LSN_TEXT_SIZE] = "", *found = NULL;
    lsn_t begin = LSN_UNKNOWN;
    int dir;

    if (durable_dir(b->d->fresh, &dir) == 0) {
        if (durable_load(dir, "backup_label", label, sizeof label) >= 0)
            found = strstr(label, word);
        durable_close(dir);
    }
    if (found != NULL) {
        found += strlen(word);
        snprintf(text, sizeof text, "%.*s", (int)strcspn(found, " \n"), found);
    }
    if (!lsn_parse(text, &begin))
        return fail(ERR_PEER, "the backup_label of the copy does not tell where it begins");
    if (begin < b->hold && !b->brings_wal)
        return fail(ERR_PEER,
                    "the copy begins at " LSN_FORMAT ", WAL is kept for it from " LSN_FORMAT
                    " on only",
                    LSN_ARGS(begin), LSN_ARGS(b->hold));
    return 0;
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
    if (code == 0 && !probe)
        code = check_begin(b);
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
