/* SPDX-License-Identifier: PostgreSQL */
/*
 * own slots: those that a member has from its time as primary, when it follows again and was not
 * rewound (pg_rewind and a new copy bring none). They would keep WAL for ever, and a logical one is
 * in the way of the synchronization of the new primary's slot of that name.
 *
 * Dropped are the links' slots, and a logical slot which the new primary has, too, with failover.
 * Any other logical slot is named: a standby may have slots of its own (PostgreSQL 16 and later).
 * One in use, or synchronized from the new primary, is neither.
 */
#ifndef AGENT_JOBS_OWN_SLOTS_H
#define AGENT_JOBS_OWN_SLOTS_H

#include "jobs/divergence.h"

/* When it follows the primary of p. What is not possible is told, and no error. */
void own_slots_settle(struct divergence *p);

#endif
