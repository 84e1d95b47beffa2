/* source_state: the inside of a source, which source.c and copy.c share. */
#ifndef REPLICATION_SOURCE_STATE_H
#define REPLICATION_SOURCE_STATE_H

#include "shipper/replication/source.h"

#include <libpq-fe.h>

#define ANSWER_US (5 * SECOND_US) /* for the connection, and for each command */

enum source_state {
    SOURCE_IDLE,
    SOURCE_CONNECTING,
    SOURCE_IDENTIFY,
    SOURCE_SIZE,
    SOURCE_READ_SLOT,
    SOURCE_MAKE_SLOT,
    SOURCE_HISTORY_OF,
    SOURCE_START,
    SOURCE_STREAMING,
    SOURCE_TIMELINE_END,
};

struct source {
    char *conninfo;
    char slot[64];
    const char *pgdata;
    PGconn *conn;
    enum source_state state;
    PostgresPollingStatusType polling;
    struct identity expected;
    int64_t due_us;             /* while it has to answer */
    timeline_t server_timeline; /* the newest it knows */
    timeline_t timeline;        /* being streamed, or to be */
    timeline_t known_upto;      /* histories up to this one were given away */
    lsn_t lsn;                  /* start, then the next byte expected */
    lsn_t server_lsn;           /* all it had when it was asked */
    bool fresh;                 /* started at 0: from the slot's need */
    bool slot_made;             /* on this connection, or it was there meanwhile */
    bool slot_missing;          /* START found none */
    lsn_t gone_to;              /* see source_gone; LSN_UNKNOWN: nothing is */
    bool heard; /* something came in the stream: the server has the WAL that was asked for */
    int64_t streams_us; /* since then it streams */
    bool write_pending;
    bool broken;       /* no more comes or goes, but libpq may hold messages */
    char *message;     /* of libpq, alive until the next source_next */
    PGresult *result;  /* of the command that runs: the last one with something in it */
    PGresult *history; /* to be given away, or given and alive until the next source_next */
    bool history_given;
    char sqlstate[6];
    struct source_position said;
    bool said_any;
    int64_t said_us, feedback_us;
    bool withdraw; /* feedback is due, even that there is none */
};

void source_free_message(struct source *s);
int source_lost(const struct source *s, const char *doing);
int source_broke(struct source *s);
int source_flush(struct source *s);
int source_history_or_start(struct source *s);
int source_take_results(struct source *s);

#endif
