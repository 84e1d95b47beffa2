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

/* Why the link of this part of a status (receiving, or one of links) is refused, if a DBA has to act;
 * NULL: it is not, or was not yet dialled again in the time that was waited. */
const char *status_refused(const json_t *link, int64_t waited_us);

/* WAL in the spool that the primary lacks is kept aside, when the link was refused for it. 1: it is,
 * and the link comes up now; 0: there is none. */
int status_cut_spool(struct job *j, const json_t *status);

/* Before PostgreSQL is started: wait until the primary's link has come, which settles whether the spool
 * goes on behind a fork, so that nothing of that is replayed. 0; ERR_PEER: it does not come. */
int status_settle_spool(struct job *j);

/* The data directory is the pool's again, PostgreSQL is about to be started on it: the agent forgets
 * that it had left the pool. */
int status_rejoined(const struct job *j);

/* Let the spool begin anew, for a job that holds WAL (job_renew_hold). */
int status_renew_spool(struct job *j);

/* Let the spool begin anew if it ends before `restart`, where the WAL begins that `primary` keeps
 * for this member: nothing would ever follow behind its end. 1: it begins anew; 0: it may stay. */
int status_ready_spool(struct job *j, const char *primary, lsn_t restart);

#endif
