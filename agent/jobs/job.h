/* SPDX-License-Identifier: PostgreSQL */
/*
 * job: what the long commands (seed, rejoin) share. They run in the command's own process; the
 * agent gives state and sockets and is never waited for with its loop.
 *
 *   lock      <spool>/job.lock, held until the command and every tool that it runs have ended, so
 *             that no two of them ever work on one data directory
 *   journal   <spool>/NAME.job, one JSON object, replaced atomically: what was decided, and the
 *             step that is next. The step is done afterwards; the same command goes on from it
 *   tools     PostgreSQL's own programs (tool.h), whose lines are read as they come
 *   talk      lines on standard output; progress is one line that is rewritten on a terminal, and a
 *             line now and then where there is none
 *
 * Errors as everywhere: a negative code and fail_message().
 */
#ifndef AGENT_JOBS_JOB_H
#define AGENT_JOBS_JOB_H

#include "config/config.h"

#include "base/lsn.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct job {
    const char *name; /* of the command */
    const struct config *config;
    const struct member *self;
    int dir, lock; /* the spool's directory; -1: not open */
    bool terminal, line_open;
    bool cut;           /* a tool wrote a line that is too long to be read */
    int64_t renewed_us; /* the hold */
    /* the progress that is shown */
    const char *what; /* NULL: none */
    int64_t begun_us, shown_us;
    uint64_t first;
};

/* ERR_LOCAL: no spool, or another long command runs (said so). Names are borrowed for life. */
int job_open(struct job *j, const char *name, const struct config *config,
             const struct member *self);
void job_close(struct job *j); /* accepts one that was not opened */

/* The journal. job_load: a new reference; ERR_AGAIN: there is none; ERR_CORRUPT. */
int job_load(const struct job *j, json_t **ret_journal);
int job_save(const struct job *j, const json_t *journal);
int job_forget(const struct job *j);

/* Renew the spool's hold on the WAL from `from` on (hold.h), once a minute; LSN_UNKNOWN: on
 * none. */
int job_renew_hold(struct job *j, lsn_t from);

void job_say(struct job *j, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* fail_message() on standard error, behind the command's name; returns 1, the exit code. */
int job_fail(const struct job *j);

/* "what: 45 %, 120 MB of 266 MB, 25 MB/s, 6 s left". total 0: unknown. The first call with
 * another `what` (a literal) begins the count. */
void job_progress(struct job *j, const char *what, uint64_t done_bytes, uint64_t total_bytes);

/* consent() on a line of its own. */
int job_consent(struct job *j, bool yes, const char *question);

/* tool_run (tool.h) with this member's bindir and the job's lock; the job need not be open. A line
 * that was too long is noted in `cut`. */
int job_run(struct job *j, const char *const argv[], void (*each)(void *context, const char *line),
            void *context);

#endif
