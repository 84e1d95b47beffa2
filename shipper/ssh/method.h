/* SPDX-License-Identifier: PostgreSQL */
/* method: the algorithms that a lane offers, in order of preference. */
#ifndef SSH_METHOD_H
#define SSH_METHOD_H

#include <libssh2.h>
#include <stdbool.h>

bool method_rsa_sha2(void); /* this libssh2 signs with rsa-sha2: 1.11 and later */

/* host_keys as host_keys_offer gives them. */
int method_offer(LIBSSH2_SESSION *ssh, const char *host_keys);

/* ERR_PEER: what the server at `place` would have to allow. */
int method_none_in_common(LIBSSH2_SESSION *ssh, const char *host_keys, const char *place);

#endif
