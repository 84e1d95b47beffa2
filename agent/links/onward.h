/* SPDX-License-Identifier: PostgreSQL */
/*
 * onward: what a standby that feeds others passes through: to them the primary's beacons, back what
 * they need of its spool and of vacuum.
 *
 * A beacon goes on once the receiver here has compared and flushed all that it covers, dated by the
 * clock here: older by what the clock's offset may be wrong, so that no age is told too small.
 */
#ifndef AGENT_LINKS_ONWARD_H
#define AGENT_LINKS_ONWARD_H

#include "links/incoming.h"
#include "links/outgoing.h"

/* Each turn, on a standby: before outgoing_run. */
void onward_run(struct incoming *in, struct outgoing *out, int64_t now_us);

/* Has the spool here all that a member has and lacks which stands there itself? */
bool onward_could_feed(const struct incoming *in, const struct member_position *stands);

/* Does it get the WAL over this link, or refuse it? Why is for a DBA: another way mends nothing of it. */
bool onward_reaches(const struct link *l);

#endif
