/* SPDX-License-Identifier: PostgreSQL */
/*
 * pgwire: the server half of PostgreSQL's replication protocol, encoding and decoding only.
 *
 * Source: PostgreSQL manual, "Message Formats" and "Streaming Replication Protocol". Numbers are in
 * network byte order. Start-up packets: u32 length (itself included), u32 code, body. Messages
 * after that: u8 type, u32 length (itself included), body.
 */
#ifndef SHIPPER_REPLICATION_PGWIRE_H
#define SHIPPER_REPLICATION_PGWIRE_H

#include "base/buf.h"
#include "base/lsn.h"

#define PGWIRE_MESSAGE_MAX (16u << 10) /* of a client */
#define PGWIRE_WAL_MAX     (128u << 10)
#define PGWIRE_REPLY_MAX   (HISTORY_BYTES_MAX + 1024) /* no answer to a command is longer */

/* STARTUP_SSL is GSS encryption, too: the answer to both is one byte 'N'. */
enum startup_kind { STARTUP_MORE, STARTUP_SSL, STARTUP_CANCEL, STARTUP_SESSION };

struct startup {
    enum startup_kind kind;
    size_t bytes; /* consume these */
    bool newer;   /* it asks for more than protocol 3.0 has: answer pgwire_put_negotiate */
    bool replication;
    bool database; /* SQL, too: replication=database */
    bool renames;  /* its `options` may set another application_name */
    char application_name[64];
    char user[64];   /* "" : none, or longer than a role's name can be */
    char dbname[64]; /* as it stands there; "" : not named, or too long */
    /* protocol options (_pq_.NAME), none of which is known here: their number, and the bytes of
     * their names with a 0 each; all parameters, which are in the buffer until it is consumed */
    uint32_t options;
    size_t options_bytes;
    const uint8_t *parameters;
    size_t parameters_bytes;
};

/* 0, or ERR_PEER: no start-up packet (a length out of range, an unknown protocol). */
int pgwire_startup(const struct buf *in, struct startup *ret_startup);

struct pgwire_message {
    char type;
    size_t bytes;
    const uint8_t *body;
    size_t length;
};

/* 1; 0: the message is not complete; ERR_PEER. */
int pgwire_message(const struct buf *in, struct pgwire_message *ret_message);

struct pgwire_status {
    bool feedback; /* 'h', else 'r' */
    lsn_t write, flush, apply;
    bool reply_wanted;
    uint64_t xmin, catalog_xmin; /* epoch << 32 | xid */
};

/* The inside of a CopyData from a client; ERR_PEER for anything but 'r' and 'h'. */
int pgwire_status(const uint8_t *body, size_t length, struct pgwire_status *ret_status);

enum pgwire_verb {
    VERB_UNKNOWN,
    VERB_IDENTIFY_SYSTEM,
    VERB_SHOW,
    VERB_TIMELINE_HISTORY,
    VERB_START_REPLICATION,
    VERB_READ_SLOT,
    VERB_CREATE_SLOT,
    VERB_DROP_SLOT,
};

struct pgwire_command {
    enum pgwire_verb verb;
    char name[64]; /* of a slot or setting; "" : none */
    bool temporary, physical;
    timeline_t timeline; /* 0: not named */
    lsn_t lsn;
};

/*
 * Keywords in any case, identifiers bare or quoted, one semicolon or none; slots in the syntax of
 * before PostgreSQL 15 and in parentheses. False: not understood (`verb` is set if the first word
 * is known).
 */
bool pgwire_parse(const char *text, struct pgwire_command *ret_command);

/* Encoders: ERR_AGAIN when there is no room, nothing written then. */
int pgwire_put_ready(struct buf *out);
/* NegotiateProtocolVersion: 3.0 is the newest here; and each unknown option. */
int pgwire_put_negotiate(struct buf *out, const struct startup *s);
/* AuthenticationOk, the ParameterStatus that libpq wants, BackendKeyData, ReadyForQuery. */
int pgwire_put_authentication(struct buf *out, const char *server_version, uint32_t backend);
int pgwire_put_empty(struct buf *out); /* the answer to an empty query */
int pgwire_put_error(struct buf *out, const char *severity, const char *sqlstate,
                     const char *message);
int pgwire_put_complete(struct buf *out, const char *tag);
int pgwire_put_copy_both(struct buf *out);
int pgwire_put_copy_done(struct buf *out);
int pgwire_put_keepalive(struct buf *out, lsn_t end, int64_t wall_us, bool reply_wanted);

/* A result of one row: columns of name, type OID, text value (NULL: null). */
struct pgwire_column {
    const char *name;
    uint32_t oid;
    const char *value;
    size_t length; /* 0: strlen(value) */
};
int pgwire_put_row(struct buf *out, const struct pgwire_column *columns, size_t count);

#define OID_INT8 20
#define OID_INT4 23
#define OID_TEXT 25

/* Room for XLogData of at most n bytes of WAL: fill *ret_wal, then commit the bytes there are. */
bool pgwire_reserve_wal(struct buf *out, size_t n, uint8_t **ret_wal);
void pgwire_commit_wal(struct buf *out, size_t n, lsn_t start, lsn_t end, int64_t wall_us);

#endif
