/* SPDX-License-Identifier: PostgreSQL */
/*
 * tell: what a failover says to the command that asked for it, and to the log; its phases and its
 * end.
 */
#ifndef AGENT_HANDOVER_TELL_H
#define AGENT_HANDOVER_TELL_H

#include "handover/failover.h"

void say(struct failover *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* BEFORE ": dc2-a is the primary of epoch 2, timeline 2, forked at 0/5000060" */
void say_primary(struct failover *f, const char *before);

/* Its only writer, but for a new failover; the time in each phase is kept. */
void set_phase(struct failover *f, enum failover_phase phase, int64_t now_us);

/* Refused, or cannot go on: the journal stays where it is, the inlet is open again. */
void stop(struct failover *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* ... by a DBA's word: nothing was spent. "nothing was changed", by this run at least */
const char *unchanged(const struct failover *f);
void cancel(struct failover *f, const char *why);

#endif
