/* SPDX-License-Identifier: PostgreSQL */
/*
 * key: the private key of a lane, read from its file and checked in our own words before libssh2
 * sees it.
 */
#ifndef SSH_KEY_H
#define SSH_KEY_H

#include <stdbool.h>
#include <stddef.h>

#define KEY_BYTES_MAX 16384

struct key {
    char text[KEY_BYTES_MAX];
    size_t bytes;
    bool rsa;
};

/* ERR_USAGE: the file is missing, unreadable, readable by others, of another user, no private key,
 * protected by a passphrase, or for a hardware token. */
int key_read(struct key *k, const char *file);
void key_forget(struct key *k); /* wipe the text; `rsa` stays */

#endif
