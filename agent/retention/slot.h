/* SPDX-License-Identifier: PostgreSQL */
/*
 * slot: the replication slots of the links. Each link has one from its first start on: it keeps the
 * WAL while the far side gets its copy. What is invalidated keeps nothing and is made anew. That of a
 * member which another one feeds is moved on behind what it has, forward only.
 */
#ifndef AGENT_RETENTION_SLOT_H
#define AGENT_RETENTION_SLOT_H

#include "links/outgoing.h"
#include "retention/gap.h"

/* By its name; NULL: there is none, or no sample. */
const struct postgres_slot *slot_of(const struct postgres_sample *s, const char *name);
bool slot_keeps_wal(const struct postgres_slot *slot);

/* WAL that the slot of link i keeps on the primary. False: there is no slot, or none is known. */
bool slot_retained(const struct outgoing *out, size_t i, uint64_t *ret_retained, bool *ret_lost);

/* Half of idle_replication_slot_timeout is over, and nobody uses the slot: its WAL will be let go. */
bool slot_expires(const struct postgres_sample *s, const struct postgres_slot *slot);

/* Has its member, which another one feeds, all up to the last checkpoint? It misses nothing then. */
bool slot_spare(const struct outgoing *out, size_t i, const struct postgres_sample *s);

/* Once a second, on the primary: make the slots that are not there. The gap of the one that was
 * let go (`released`) has its record already. */
void slot_keep(struct outgoing *out, struct gaps *gaps, const char *released);

#endif
