/*
 * parting: where this member's data directory and the present primary part, and what this side
 * alone has behind that: the commands' question (rejoin, seed) before they change anything.
 *
 * In come the control file and pg_wal here, the history files of both sides, and, through the
 * tunnel, the present primary's words. The same timeline is no proof: what is here behind the
 * primary's own end is WAL that it has not (it was rolled back to a snapshot).
 *
 * Errors: ERR_LOCAL what is here cannot be read, ERR_PEER the present primary does not tell,
 * ERR_CORRUPT the two have nothing in common.
 */
#ifndef AGENT_JOBS_PARTING_H
#define AGENT_JOBS_PARTING_H

#include "jobs/job.h"
#include "shipper/wal/timeline.h"

#include <libpq-fe.h>

/* What pg_controldata says; as of its server's last checkpoint if that runs. */
struct control_file {
    uint64_t system_identifier;
    uint32_t segment_bytes, next_xid;
    timeline_t timeline;          /* the later one of the checkpoint's and the one below */
    timeline_t recovery_timeline; /* of the minimum recovery point; 0: none */
    lsn_t reached; /* checkpoint or minimum recovery point: WAL goes at least there */
    bool shut_down, checksums, hints, full_page_writes;
};

struct parting {
    struct job *job;                /* borrowed */
    char primary[MEMBER_NAME_SIZE]; /* the present one: the caller's */
    PGconn *present;                /* NULL: not connected */
    struct control_file control;
    char own[HISTORY_BYTES_MAX + 1], theirs[HISTORY_BYTES_MAX + 1];
    struct lineage our, their;
    timeline_t timeline; /* the last one that both have ... */
    lsn_t fork;          /* ... and up to where they are the same */
    lsn_t end;           /* of the WAL here; LSN_UNKNOWN: not looked for */
};

int parting_connect(struct parting *p); /* also again, after a long step */
int parting_control(struct parting *p);

/* The history of the timeline here: out of pg_wal, the spool or `escrow` (NULL: none). */
int parting_own_history(struct parting *p, timeline_t timeline, const char *escrow);

/* All but `end`. 1: their histories part; 0: it is one timeline, fork is not set. */
int parting_look(struct parting *p, const char *escrow);

/* Where the WAL here ends: by its records, the control file knows it only after a clean stop.
 * `beside`: also while PostgreSQL runs, it may be further by then; else that is ERR_PEER. */
int parting_end(struct parting *p, bool beside);

/* Does the WAL here go on where the primary's does not? When `end` is known. */
bool parting_goes_on(const struct parting *p);

/* All of it: 1: there is WAL here that the primary has not, 0: there is none. */
int parting_judge(struct parting *p, bool beside);

/* What was committed here behind the fork, as a receipt (receipt.h) without epoch and escrow; a new
 * reference. */
json_t *parting_receipt(struct parting *p);

/* "exactly 3 transactions" */
const char *parting_words(const json_t *receipt, char *out, size_t size);

void parting_release(struct parting *p);

#endif
