/* SPDX-License-Identifier: PostgreSQL */
/*
 * tails: what the other members have on disk and this one lacks is taken before it is promoted.
 *
 * Each has said with its promise where its WAL ends; what follows from that is judged in pool/tail.c.
 * The former primary is not one of them: its rest comes first, over its link. The rest of the one with
 * the most is fetched, then all is looked at again. Who could not be read, and what that means for the
 * loss, is told by name. A dry run asks without promises, and only tells.
 */
#ifndef AGENT_HANDOVER_TAILS_H
#define AGENT_HANDOVER_TAILS_H

#include "handover/failover.h"
#include "pool/loss.h"

enum tails {
    TAILS_WAIT,
    TAILS_DONE,    /* all that can be had is here, or is given up by force */
    TAILS_REFUSED, /* f->refusal says why */
    TAILS_BEGIN,   /* everything was prepared already, and there is more to be had */
};

/* A new failover, or a new ask: of a dry run everybody is asked where it is. */
void tails_ask(struct failover *f);

/* Behind the promises, and the rescue: in FAILOVER_ASKING and FAILOVER_RESCUING. */
enum tails tails_run(struct failover *f, int64_t now_us);

/* What is known by them of what would be lost; `unread` gets names, and is part of the facts then. */
void tails_loss(const struct failover *f, char *unread, size_t size, struct loss_facts *facts,
                int64_t now_us);

#endif
