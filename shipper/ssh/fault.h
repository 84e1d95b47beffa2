/* SPDX-License-Identifier: PostgreSQL */
/* fault: why a lane did not get up, or ended, in the DBA's words. All return an error code. */
#ifndef SSH_FAULT_H
#define SSH_FAULT_H

#include "shipper/ssh/lane.h"

int fault_ssh(struct lane *l, int error); /* libssh2's, without a better sentence of its own */
int fault_timeout(const struct lane *l);
int fault_connect(const char *place, int error); /* errno's */
int fault_key_refused(struct lane *l);
/* The sshd has said so in place of its banner. 0: it has not. */
int fault_turned_away(struct lane *l);

#endif
