/* SPDX-License-Identifier: PostgreSQL */
/*
 * status: what a long command asks of the agent of its own host.
 */
#ifndef AGENT_JOBS_STATUS_H
#define AGENT_JOBS_STATUS_H

#include "jobs/job.h"

#include "base/lsn.h"

/* The agent's status, a new reference. ERR_PEER: it does not answer. */
int status_ask(const struct job *j, json_t **ret_status);

/* status[a], or status[a][b] where b is not NULL; NULL: it is not there. status may be NULL. */
const json_t *status_at(const json_t *status, const char *a, const char *b);
const char *status_text(const json_t *status, const char *a, const char *b); /* "": not there */

/* Let the spool begin anew if it ends before `restart`, where the WAL begins that `primary` keeps
 * for this member: nothing would ever follow behind its end. 1: it begins anew; 0: it may stay. */
int status_ready_spool(struct job *j, const char *primary, lsn_t restart);

#endif
