/* SPDX-License-Identifier: PostgreSQL */
/*
 * server: the PostgreSQL of this host, started and stopped by a long command as the config says.
 */
#ifndef AGENT_JOBS_SERVER_H
#define AGENT_JOBS_SERVER_H

#include "jobs/job.h"

#include <stddef.h>

/*
 * 0 also when the server runs, or is down, already. ERR_LOCAL: the message has the command and its
 * last lines. A start command that gives up on a server that is still starting has not failed:
 * watch the server (follow.h). The end of a server that is stopping is waited for, however long it
 * takes.
 */
int job_server_start(struct job *j);
int job_server_stop(struct job *j);

/* 1: a postmaster runs on this member's data directory, 0: none, ERR_LOCAL. */
int job_server_runs(const struct job *j);

/* The first word of line n (the first is 1) of its postmaster.pid; "": there is none. */
void job_server_pid_line(const struct job *j, int n, char *out, size_t size);

/* Where its log is, for a message that says "see ...". Returns out. */
const char *job_server_log(const struct job *j, char *out, size_t size);

#endif
