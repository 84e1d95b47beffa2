/* client: what the files of the relay share: one of its clients. */
#ifndef REPLICATION_CLIENT_H
#define REPLICATION_CLIENT_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"
#include "shipper/replication/pgwire.h"
#include "shipper/replication/relay.h"

#define SILENT_US (60 * SECOND_US)

#define CLIENT_TEXT_SIZE 120

enum client_state { CLIENT_STARTUP, CLIENT_READY, CLIENT_STREAMING, CLIENT_ENDING, CLIENT_CLOSING };

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
    unsigned refused; /* encryptions */
    int64_t heard_us; /* its last message; before the first its beginning */
    int64_t said_us;  /* our last message */
    int64_t asked_us; /* our last request for an answer */
    int64_t since_us; /* its beginning */
    timeline_t timeline;
    lsn_t from, lsn; /* where it began; next byte to serve */
    bool caught_up;
    char application_name[64];
    struct relay_standby standby;
};

struct relay_client *new_client(int fd, enum client_kind kind, pid_t pid, int64_t now_us);
int write_client(struct relay_client *k);
const char *describe(const struct relay_client *k, char out[CLIENT_TEXT_SIZE]);
void set_state(struct relay_client *k, enum client_state state);
void standby_left(struct relay *r, struct relay_client *k);
int hang_up(struct relay_client *k);
void close_client(struct relay_client *k, const char *sqlstate, const char *message);
void drop(struct relay *r, size_t index);
void accept_clients(struct relay *r, int64_t now_us);
bool is_guest(const struct relay_client *k);
int read_client(struct relay_client *k);
int take_messages(struct relay *r, struct relay_client *k, int64_t now_us);
bool run_client(struct relay *r, struct relay_client *k, short ready, int64_t now_us);
int64_t client_due_us(const struct relay_client *k);

#endif
