/* SPDX-License-Identifier: PostgreSQL */
/*
 * asking: the primary's word before a failover, everybody's promise, and the rescue of what a dead
 * primary left behind.
 *
 * The primary is asked for its promise over its link, the others are dialled (ask.h) and ask back. A
 * promise counts from who was dialled, a refusal from either way. Each time that asking begins has a nonce, and only answers to that one count.
 * In come the link's PONGs and DRAINED, or the beacons of the primary that a head passes on: one of since
 * the ask says that it answers. Out goes whether the failover may go on. What follows from
 * a word, and how long is waited for another, is judged in role.c. A broken line is waited for, and
 * the rescue goes on over the next one.
 */
#ifndef AGENT_HANDOVER_ASKING_H
#define AGENT_HANDOVER_ASKING_H

#include "handover/failover.h"

enum asked {
    ASKED_WAITS,
    ASKED_REFUSED, /* f->refusal says why */
    ASKED_GOES_ON,
};

/* Ask, or ask once more: `again` when everything is prepared and the inlet takes no WAL. */
void asking_begin(struct failover *f, bool again, int64_t now_us);

/* In FAILOVER_ASKING and FAILOVER_RESCUING. */
enum asked asking_run(struct failover *f, int64_t now_us);

/* An answer to a promise that was asked for. */
void asking_hear(struct failover *f, const char *member, const struct promise *promise);

/* Is there another epoch than the one that it is asked to end, or has this member promised itself?
 * The reason is in f->refusal. */
bool asking_overtaken(struct failover *f);

/* Has the primary said another word than the one that was acted on? */
bool asking_news(const struct failover *f);

#endif
