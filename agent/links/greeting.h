/* SPDX-License-Identifier: PostgreSQL */
/*
 * greeting: the answer to a far agent that said HELLO at the inlet: is it of this pool, of this
 * cluster, and the primary that the pool knows of (role.h)? Only then its WAL is looked at.
 */
#ifndef AGENT_LINKS_GREETING_H
#define AGENT_LINKS_GREETING_H

#include "links/incoming.h"

/* False: it was refused. *ret_asks is set when it claims what only the member itself can say: that
 * has to be asked. Of a knock, too: that it asks for a promise. `dialled`: the session that a knock asks
 * about is one that this agent has dialled. */
bool greeting_check(struct incoming *in, struct session *s, const struct hello *h, bool dialled,
                    bool *ret_asks);

/* True when it is the primary's and its WAL comes from now on. */
bool greeting_answer(struct incoming *in, struct session *s, const struct hello *h, int64_t now_us,
                     int64_t wall_us);

/* Whose is the session that lives? Its member is asked as soon as it is up, so that a failover knows. One
 * that is not its own ends; what one has told that nobody knows to be its own is forgotten with it. */
void greeting_prove(struct incoming *in, int64_t now_us);

/* End the session of a relay that could not know where an empty spool begins, once that is known. */
void greeting_begin(struct incoming *in, int64_t wall_us);

/* End the session of a former primary whose PostgreSQL was down when WAL began to come, and came
 * up again. */
void greeting_part(struct incoming *in);

#endif
