/* SPDX-License-Identifier: PostgreSQL */
/*
 * session: the inside of a lane, which lane.c (the pump), dial.c (the way up and down) and fault.c
 * (the sentences) share.
 */
#ifndef SSH_SESSION_H
#define SSH_SESSION_H

#include "shipper/ssh/lane.h"

#include "base/worker.h"
#include "ssh/host_key.h"
#include "ssh/key.h"

#include <libssh2.h>
#include <netdb.h>

#define PIECE_BYTES     32700 /* libssh2's largest channel packet */
#define COMPLAINT_BYTES 512

/* The worker's job: the worker touches nothing else, so that it may outlive the attempt. */
struct lookup {
    char host[256];
    char port[8];
    struct addrinfo *found;
    int error; /* getaddrinfo's */
};

enum pump_state {
    PUMP_FREE,         /* reads and writes may begin */
    PUMP_HALF_READ,    /* a read stopped while it sent a window adjustment: only it may go on */
    PUMP_HALF_WRITTEN, /* a write stopped inside a packet: only it may go on, with the same piece */
    PUMP_BLOCKED,      /* the far window is full: no write before input has come */
    PUMP_ENDED,        /* all output was read: the exit status is due by end_due_us */
};

struct lane_session {
    char place[272]; /* host:port */
    int64_t now_us;  /* of the last lane_open or lane_run */

    struct worker worker;
    struct lookup lookup;
    struct addrinfo *addresses, *address; /* owned; the address in use */
    int64_t address_due_us;
    int fd;
    uint64_t acked;

    LIBSSH2_SESSION *ssh;
    LIBSSH2_CHANNEL *channel;
    struct host_keys host_keys;
    struct key key;
    bool key_refused, turned_away; /* by that sshd, since the lane was up last */

    enum pump_state pump;
    bool more;          /* libssh2 may hold input that poll does not see */
    int64_t read_us;    /* when input was last looked for */
    int64_t end_due_us; /* NEVER_US: the output has not ended */
    size_t piece_bytes;
    uint8_t piece[PIECE_BYTES];
    char complaint[COMPLAINT_BYTES]; /* the beginning of stderr */
    size_t complaint_bytes;
};

#endif
