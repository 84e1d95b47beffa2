/* SPDX-License-Identifier: PostgreSQL */
/*
 * giver: the member that gives a copy or the pages of a rewind: neighbour.h decides which, this
 * asks all that are near, connects, and makes it ready.
 *
 * Ready is a standby when its last restartpoint is of a checkpoint that the primary has made since:
 * a copy begins there, so that all WAL it needs comes over the link, and pg_rewind takes the
 * restartpoint's timeline for the server's.
 */
#ifndef AGENT_JOBS_GIVER_H
#define AGENT_JOBS_GIVER_H

#include "jobs/job.h"
#include "jobs/neighbour.h"

#include <libpq-fe.h>

struct giver {
    struct job *job; /* borrowed; set by the caller, as `named` */
    const struct member *named;
    const struct member *member; /* that was chosen; NULL: the primary */
    PGconn *connection;          /* to its PostgreSQL, as tunnel_user; NULL: the primary's own */
    struct neighbourhood around;
    struct neighbour asked[MEMBERS_MAX];
    size_t count; /* 0: nobody was asked yet */
};

/* Who gives it, and say so: "from dc2-a: own site, 0.3 s behind". `primary` of `epoch`, as known
 * here. ERR_USAGE: the named one cannot; ERR_PEER: nobody can. */
int giver_choose(struct giver *s, const char *primary, json_int_t epoch);

/* A standby: wait until it is ready, by the connection to the primary; progress is shown. The
 * primary always is. */
int giver_ready(struct giver *s, PGconn *primary, const char *name);

/* It failed, fail_message() says how: choose another one, and say so. ERR_PEER: the primary failed
 * or one was named, with the message of before and what to type. */
int giver_next(struct giver *s);

void giver_release(struct giver *s);

#endif
