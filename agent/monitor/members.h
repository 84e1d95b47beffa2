/* SPDX-License-Identifier: PostgreSQL */
/*
 * members: where this member stands, for the others, and where the others do, for people: as far as
 * it is known (pool/known.h). What is not known is unknown, and what is old says how old it is.
 */
#ifndef AGENT_MONITOR_MEMBERS_H
#define AGENT_MONITOR_MEMBERS_H

#include "monitor/view.h"
#include "pool/known.h"

#include <jansson.h>

/* This member, as it tells it to others. */
void members_own(const struct view *v, int64_t now_us, struct member_state *ret_state);

/* What is known of a member, into its object of the report. */
void members_tell(json_t *member, const struct view *v, const char *name, int64_t now_us);

/* null: unknown. New references, for all of the report. */
json_t *lsn_json(lsn_t lsn);
json_t *seconds_json(bool known, int64_t us);

#endif
