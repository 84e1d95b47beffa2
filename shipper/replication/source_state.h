/* SPDX-License-Identifier: PostgreSQL */
/*
 * source_state: the inside of a source, which source.c (the connection and its commands) and copy.c
 * (the stream) share.
 */
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
    int64_t due_us;             /* when the server must have answered */
    timeline_t server_timeline; /* the newest that the server knows */
    timeline_t timeline;        /* being streamed, or to be */
    timeline_t known_upto;      /* histories up to this timeline were given away */
    lsn_t start;                /* of the first stream: below it the server need not have WAL */
    lsn_t lsn;                  /* the start, then the next byte expected */
    lsn_t server_lsn;           /* the end of the server's WAL, as of IDENTIFY_SYSTEM */
    bool fresh;                 /* started without a position: the slot's is taken */
    bool slot_made;             /* on this connection, here or by somebody else */
    bool slot_missing;          /* START found none */
    lsn_t gone_to;              /* see source_gone; LSN_UNKNOWN: nothing is */
    bool heard;                 /* something came in the stream: the server has the WAL */
    int64_t streams_us;         /* when the stream began */
    bool write_pending;
    bool broken;       /* nothing comes or goes any more, but libpq may hold messages */
    char *message;     /* libpq's, alive until the next source_next */
    PGresult *result;  /* of the running command: the last one with rows */
    PGresult *history; /* to be given away, or given and alive until the next source_next */
    bool history_given;
    char sqlstate[6];
    struct source_position said;
    bool said_any;
    int64_t said_us, feedback_us;
    bool withdraw; /* feedback is due, even if there is none */
};

void source_free_message(struct source *s);
int source_lost(const struct source *s, const char *doing); /* ERR_PEER, with libpq's message */
int source_broke(struct source *s); /* the connection; 0 while libpq may still hold WAL */
int source_flush(struct source *s);
int source_history_or_start(struct source *s); /* ask for the next history, or the stream */
int source_take_results(struct source *s);

#endif
