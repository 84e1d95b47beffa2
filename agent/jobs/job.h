/*
 * job: what the long commands (seed, rejoin) share. They run in the command's own process; the
 * agent gives state and sockets and is never waited for with its loop.
 *
 *   lock      <spool>/job.lock, held until the command and every tool that it runs have ended, so
 *             that no two of them ever work on one data directory
 *   journal   <spool>/NAME.job, one JSON object, replaced atomically: what was decided and how far
 *             it came. It is written before what it says is done; the same command goes on from it
 *   tools     PostgreSQL's own programs, by argv and without a shell; their lines are read as they
 *             come. A tool dies with the command, also when that is killed with -9
 *   server    start and stop of the local PostgreSQL, by the config's keys
 *   talk      lines on standard output; progress is one line that is rewritten on a terminal, and a
 *             line now and then where there is none
 *
 * Errors as everywhere: a negative code and fail_message().
 */
#ifndef AGENT_JOBS_JOB_H
#define AGENT_JOBS_JOB_H

#include "config/config.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct job {
    const char *name; /* the command's */
    const struct config *config;
    const struct member *self;
    int dir, lock; /* the spool's directory; -1: not open */
    bool terminal, line_open;
    bool cut; /* a tool wrote a line that is too long to be read */
    /* of the running progress */
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

void job_say(struct job *j, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "what: 45 %, 120 MB of 266 MB, 25 MB/s, 6 s left". total 0: unknown. The first call with
 * another `what` (a literal) begins the count. */
void job_progress(struct job *j, const char *what, uint64_t done_bytes, uint64_t total_bytes);

/* consent() on a line of its own. */
int job_consent(struct job *j, bool yes, const char *question);

/*
 * Run argv[0] (an absolute path, or a program of bindir) and wait for it; the job need not be open.
 * Each line of its output, also one ended by \r, goes to `each` (NULL: to nobody). ERR_PEER: it
 * ended with another status than 0; the message has its last lines.
 */
int job_run(struct job *j, const char *const argv[], void (*each)(void *context, const char *line),
            void *context);

/*
 * Both are fine when it is so already. ERR_LOCAL: the message has the command and its last lines. A
 * start command that gives up on a server that is still starting has not failed: watch it
 * (follow.h). The end of a server that is stopping is waited for, however long it takes.
 */
int job_start_postgres(struct job *j);
int job_stop_postgres(struct job *j);

/* 1: a postmaster runs on this member's data directory, 0: none, ERR_LOCAL. */
int job_postgres_runs(const struct job *j);

/* Line n (the first is 1) of its postmaster.pid, without what is behind the first word; "": none.
 */
void job_postmaster_line(const struct job *j, int n, char *out, size_t size);

/* Where its log is, for a message that says "see ...". Returns out. */
const char *job_postgres_log(const struct job *j, char *out, size_t size);

/* The line in postgresql.auto.conf behind which all is for a while only. */
#define JOB_OVERRIDES "# walferry rejoin, until it is done:"

/* The program `walferry` as PostgreSQL's settings shall name it. ERR_LOCAL. */
int job_program(char *out, size_t size);

/*
 * Make the copy in `pgdata` a standby of the local relay: standby.signal, and primary_conninfo,
 * restore_command, recovery_target_timeline and wal_retrieve_retry_interval in its
 * postgresql.auto.conf. That is the server's own file, which is read last wherever the
 * configuration lies, and is in the directory that was just made: no file of the DBA's is touched
 * and none has to have an include line. Other lines of it stay, but what
 * is behind JOB_OVERRIDES.
 */
int job_write_settings(const struct job *j, const char *pgdata);

#endif
