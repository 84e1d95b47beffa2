/* SPDX-License-Identifier: PostgreSQL */
/*
 * lane: one SSH connection, with one channel, of a link; libssh2, never blocking.
 *
 * It resolves the host in a worker thread (numeric addresses at once), connects, checks the pinned
 * host key, authenticates with one key file, runs LANE_COMMAND, and is then two byte streams. The
 * caller owns framing and dead-peer detection; the lane owns SSH, its words, and its timeout for
 * getting up (LANE_CONNECT_US from lane_open). Every address of a name is tried within that time.
 *
 * Output: the caller fills `out` and lane_run writes it in pieces of up to 32,700 bytes, the last
 * one as short as it is; a piece stays in `out` until it is written. Input: lane_run reads into
 * `in` while `in` has LANE_READ_BYTES of room. All of stderr is read; its first 512 bytes are
 * shown, escaped, when the lane ends. The output of a login shell on stdout is the caller's to
 * show: when lane_run fails, `in` still holds all input from before the end.
 *
 * host_key may be the fingerprint of any of the host's keys, known_hosts may have any of them: the
 * lane finds the type by trying (host_key.h). known_hosts: plain and hashed names, with and without
 * port; no patterns and no certificate authorities; a file with an @revoked line is refused.
 *
 * Errors: ERR_PEER for everything the network or the far side did; the message names the step, the
 * host, the expectation and the remedy: host key differs (both fingerprints SHA256:...),
 * key refused (user, key file), RSA key with libssh2 older than 1.11, no common algorithms (which
 * side lacks what), host not found, timeout, command failed with status N. ERR_USAGE for our own
 * files: identity missing or unreadable or readable by others or not ours, not a private key, with
 * a passphrase; known_hosts unreadable. fail_message() outlives lane_close.
 */
#ifndef SHIPPER_SSH_LANE_H
#define SHIPPER_SSH_LANE_H

#include "base/buf.h"
#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define LANE_COMMAND    "walferry receive"
#define LANE_CONNECT_US (5 * SECOND_US)
#define LANE_OUT_BYTES  (512u << 10)
#define LANE_IN_BYTES   (256u << 10)
#define LANE_READ_BYTES (32u << 10) /* with less room than this `in` counts as full */

struct lane_target {
    char user[64];
    char host[256];
    char port[8];
    char host_key[64];     /* "SHA256:..." as ssh-keygen -lf prints it, or "" */
    char known_hosts[256]; /* file in OpenSSH's format, or "" ; exactly one of the two is set */
    char identity[256];    /* private key file, 0600 */
};

enum lane_state {
    LANE_DOWN,
    LANE_RESOLVING,
    LANE_CONNECTING,
    LANE_HANDSHAKE,
    LANE_AUTHENTICATING,
    LANE_STARTING, /* channel and command */
    LANE_UP,
};

struct lane {
    struct buf in, out;
    enum lane_state state;
    const struct lane_target *target; /* borrowed for the life of the lane */
    bool bulk;                        /* set by the caller: mark the packets as bulk (RFC 8622) */
    int64_t due_us;                   /* when getting up counts as failed */
    int64_t progress_us; /* when the far host last took (see lane_unacknowledged) or gave a byte */
    uint64_t bytes_out, bytes_in; /* payload through the channel */
    struct lane_session *session; /* shipper/ssh/session.h */
};

int lane_init(struct lane *l, const struct lane_target *target); /* buffers; state LANE_DOWN */
void lane_release(struct lane *l); /* waits for the end of a name's look-up: perhaps 30 s */
bool lane_settled(struct lane *l); /* it is closed, and lane_release would not wait */

int lane_open(struct lane *l, int64_t now_us); /* begin; ERR_USAGE for our own files */
void lane_close(struct lane *l); /* to LANE_DOWN at once, never waits; buffers cleared */

void lane_watch(const struct lane *l, struct loop *loop);
/* Do what is possible now. 0, or an error, after which the caller calls lane_close. */
int lane_run(struct lane *l, const struct loop *loop, int64_t now_us);

/* Bytes not yet acknowledged by the far host, as the kernel sees it (TCP_INFO / SIOCOUTQ), for
 * dead-peer detection; progress_us moves when this number shrinks. -1 when not connected. */
int lane_unacknowledged(struct lane *l);

#endif
