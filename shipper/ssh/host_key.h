/* SPDX-License-Identifier: PostgreSQL */
/*
 * host_key: is the host that answers the one that is pinned?
 *
 * A fingerprint does not tell the type of its key, and a server shows one key of a type that was
 * offered. So a key that does not match is followed by a new connection that offers the other types
 * only, until none is left; the types that did not match are remembered for the next time.
 */
#ifndef SSH_HOST_KEY_H
#define SSH_HOST_KEY_H

#include "base/fail.h"
#include "shipper/ssh/lane.h"

#include <libssh2.h>

#define HOST_KEY_OFFERS_SIZE 160

struct host_keys {
    unsigned refused;               /* types that did not match, as bits */
    char refusal[FAIL_MESSAGE_MAX]; /* the first mismatch of this attempt; "": none */
};

/* A new attempt. After one that failed by a mismatch all types are offered again. */
void host_keys_begin(struct host_keys *h);

/* The types to offer, in OpenSSH's names; "": none is left, `refusal` says why. */
void host_keys_offer(const struct host_keys *h, char out[HOST_KEY_OFFERS_SIZE]);

/* 0: it is the pinned host; 1: the key does not match, dial again and offer the other types. */
int host_keys_check(struct host_keys *h, LIBSSH2_SESSION *ssh, const struct lane_target *target,
                    const char *place);

#endif
