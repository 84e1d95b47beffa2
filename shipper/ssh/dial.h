/* SPDX-License-Identifier: PostgreSQL */
/* dial: a lane's way up, one step after the other, and down. The only writer of lane.state. */
#ifndef SSH_DIAL_H
#define SSH_DIAL_H

#include "shipper/ssh/lane.h"

int dial_begin(struct lane *l); /* look up the host */
int dial_run(struct lane *l);   /* 0 when the lane is up; ERR_AGAIN */
void dial_watch(const struct lane *l, struct loop *loop);
void dial_end(struct lane *l); /* close the connection in any state; never waits */

#endif
