/* SPDX-License-Identifier: PostgreSQL */
/*
 * greeting: the answer to a far agent that said HELLO at the inlet: is it of this pool, of this
 * cluster, and the primary that the pool knows of (role.h)? Only then its WAL is looked at.
 */
#ifndef AGENT_LINKS_GREETING_H
#define AGENT_LINKS_GREETING_H

#include "links/incoming.h"

/* False: it was refused. *ret_told is what it tells of an epoch, for the daemon to learn before
 * greeting_answer; number 0: nothing new. */
bool greeting_check(struct incoming *in, struct session *s, const struct hello *h,
                    struct epoch_origin *ret_told);

/* True when it is the primary's and its WAL comes from now on. */
bool greeting_answer(struct incoming *in, struct session *s, const struct hello *h, int64_t now_us,
                     int64_t wall_us);

/* End the session of a former primary whose PostgreSQL was down when WAL began to come, and came
 * up again. */
void greeting_part(struct incoming *in);

#endif
