/* SPDX-License-Identifier: PostgreSQL */
/*
 * client: a session of the relay, which client.c, guests.c (who gets a place), protocol.c (commands
 * and answers), serving.c (WAL) and relay.c share.
 *
 * A client's life: STARTUP -> READY (commands) -> STREAMING -> ENDING (its timeline is over: our
 * CopyDone is out, the client's is awaited) -> READY ... and CLOSING, when only our last words are
 * left to be written; or STARTUP -> SQL, whoever takes it. Every client is served from the spool's files at its own LSN; one that reads
 * slowly slows nobody but itself: while its answers do not fit, its commands are not read.
 */
#ifndef REPLICATION_CLIENT_H
#define REPLICATION_CLIENT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"
#include "shipper/replication/pgwire.h"
#include "shipper/replication/relay.h"

#define SILENT_US (60 * SECOND_US)

#define CLIENT_TEXT_SIZE 120

enum client_state {
    CLIENT_STARTUP,
    CLIENT_SQL, /* its start-up packet is still in `in` */
    CLIENT_READY,
    CLIENT_STREAMING,
    CLIENT_ENDING,
    CLIENT_CLOSING,
};

enum client_kind {
    CLIENT_STANDBY, /* a process of our PostgreSQL */
    CLIENT_OURSELVES,
    CLIENT_GUEST,
    CLIENT_AFAR, /* through a tunnel */
};

struct relay_client {
    int fd;
    enum client_kind kind;
    pid_t pid; /* 0: unknown */
    enum client_state state;
    struct buf in, out;
    bool held;        /* a message waits until its answer has room */
    bool say_now;     /* a keepalive is due at once */
    unsigned refused; /* requests for encryption */
    int64_t heard_us; /* the client's last message; before the first the session's beginning */
    int64_t said_us;  /* our last message */
    int64_t asked_us; /* our last request for an answer */
    int64_t since_us; /* the session's beginning */
    timeline_t timeline;
    lsn_t from, lsn; /* where the stream began; the next byte to serve */
    bool caught_up;
    char application_name[64];
    struct relay_standby standby;
};

/* client.c */
struct relay_client *client_new(int fd, enum client_kind kind, pid_t pid, int64_t now_us);
void client_drop(struct relay *r, size_t index); /* close the connection, free the place */
int client_write(struct relay_client *k);
const char *client_describe(const struct relay_client *k,
                            char out[CLIENT_TEXT_SIZE]); /* for the log */
bool client_is_guest(const struct relay_client *k);
void client_set_state(struct relay_client *k, enum client_state state);
/* A standby leaves the stream: its last report is kept. */
void client_keep_word(struct relay *r, struct relay_client *k);
int client_hang_up(struct relay_client *k); /* without last words of ours */
/* Last words: the session ends as soon as they are written. */
void client_close(struct relay_client *k, const char *sqlstate, const char *message);

/* guests.c: take those who knock, and turn away those for whom there is no place. */
void guests_accept(struct relay *r, int64_t now_us);

/* protocol.c: messages come in, answers go out. */
int protocol_read(struct relay_client *k);
int protocol_take(struct relay *r, struct relay_client *k, int64_t now_us);

/* serving.c: one turn of a client. False: the session is over. */
bool serving_run(struct relay *r, struct relay_client *k, short ready, int64_t now_us);
int64_t serving_due_us(const struct relay_client *k); /* its next turn, whatever poll says */

#endif
