/* SPDX-License-Identifier: PostgreSQL */
/*
 * divergence: where this member's data directory and the present primary part, and what this side
 * alone has behind that point. rejoin and seed ask this before they change anything.
 *
 * In come the control file and pg_wal here, the history files of both sides, and, through the
 * tunnel, answers of the present primary. One timeline does not prove that they have not parted:
 * WAL here may go on behind the primary's end (the primary was rolled back to a snapshot).
 *
 * Errors: ERR_LOCAL what is here cannot be read, ERR_PEER the present primary does not tell,
 * ERR_CORRUPT the two have nothing in common.
 */
#ifndef AGENT_JOBS_DIVERGENCE_H
#define AGENT_JOBS_DIVERGENCE_H

#include "jobs/job.h"
#include "postgres/control_file.h"
#include "shipper/wal/timeline.h"

#include <libpq-fe.h>

struct divergence {
    struct job *job;                /* borrowed */
    char primary[MEMBER_NAME_SIZE]; /* the name of the present primary; set by the caller */
    PGconn *connection;             /* NULL: not connected */
    struct control_file control;
    char own[HISTORY_BYTES_MAX + 1], theirs[HISTORY_BYTES_MAX + 1];
    struct lineage our, their;
    timeline_t timeline; /* the last timeline that both have ... */
    lsn_t fork;          /* ... and up to where its WAL is the same */
    lsn_t end;           /* of the WAL here; LSN_UNKNOWN: not looked for */
    bool unlike;         /* histories tell a later fork, or none: the bytes before it differ */
};

int divergence_connect(struct divergence *p); /* also again, after a long step */
int divergence_control(struct divergence *p);

/* The history of the timeline here: out of pg_wal, the spool or `escrow` (NULL: none). */
int divergence_own_history(struct divergence *p, timeline_t timeline, const char *escrow);

/* All but `end`. 1: their histories part; 0: it is one timeline, fork is not set. */
int divergence_look(struct divergence *p, const char *escrow);

/* The same with the history of `timeline` that the spool has, without the primary. */
int divergence_look_here(struct divergence *p, timeline_t timeline);

/* Where the WAL here ends, by its records: the control file tells it only after a clean stop.
 * `beside`: also while PostgreSQL runs, which may write on meanwhile; else a running one is
 * ERR_PEER. */
int divergence_end(struct divergence *p, bool beside);

/* Does the WAL here go on behind the fork? When `end` is known. */
bool divergence_goes_on(const struct divergence *p);

/*
 * Are the last bytes that both have by their histories the same? They may not be: after two
 * promotions at one position, or where a server was opened without one. 0: they are; 1: not, and
 * `fork` is where the first record begins that differs; ERR_AGAIN: one has no such WAL any more.
 * `one_timeline`: as divergence_look told.
 */
int divergence_compare(struct divergence *p, bool one_timeline, bool beside);

/* All of these. 1: there is WAL here that the primary lacks, 0: none. */
int divergence_judge(struct divergence *p, bool beside);

/* What was committed here behind the fork, as a receipt (receipt.h) without epoch and escrow; a new
 * reference. */
json_t *divergence_receipt(struct divergence *p);

/* "exactly 3 transactions" */
const char *divergence_words(const json_t *receipt, char *out, size_t size);

void divergence_release(struct divergence *p);

#endif
