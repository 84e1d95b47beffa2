/* SPDX-License-Identifier: PostgreSQL */
/*
 * known: where each member of the pool stands, as far as anybody has told: for people, never for a
 * role decision. The judge (role.h) does not see it, and no hand acts on it.
 *
 * News come first hand, from the member itself in a session that is known to be its own, or passed
 * on by another member, who says how old they were there. What is kept for a member is the youngest
 * that came; its age counts from the latest moment at which it can have been so, and only grows from
 * one member to the next. So news that go in a circle come back older than they went, and a dead
 * member grows old everywhere. Word of the member itself is kept as long as it is fresh.
 *
 * Pure: no clock, no connection of its own. Times are of this host's monotonic clock.
 */
#ifndef AGENT_POOL_KNOWN_H
#define AGENT_POOL_KNOWN_H

#include "shipper/wire/frame.h"

#include <stdbool.h>

#define KNOWN_MAX       FRAME_MEMBERS_MAX
#define KNOWN_SILENT_US (10 * SECOND_US) /* older: not heard of */
#define KNOWN_FRESH_US                                                                             \
    (2 * SECOND_US) /* so much younger has to be what replaces a member's own word */
#define QUIET_SILENT_US (10 * SECOND_US) /* who has to dial did not: the other one does */

struct known_member {
    char name[MEMBER_NAME_SIZE];
    int64_t seen_us;           /* when it was so, at the latest; 0: nothing was ever heard */
    char by[MEMBER_NAME_SIZE]; /* who told; "": itself */
    struct member_state state;
};

struct known {
    struct known_member member[KNOWN_MAX]; /* of the pool's file, in its order, this one too */
    size_t count, self;
    int64_t since_us; /* of this table: silence before is not known */
};

/* One more member; in the order of the pool's file. */
void known_add(struct known *k, const char *name, bool self);

/* `teller` says all this in a session of its own, in answer to a PING of base_us at the earliest. True
 * when something was new. */
bool known_hear(struct known *k, const char *teller, const struct member_news *news, size_t count,
                int64_t base_us, int64_t now_us);

/* What is told to `to` in its turn-th POOL, from 0 on: our own state, and in each KNOWN_TURNS-th what is
 * known of the others but itself, if it came not from there. How many. */
#define KNOWN_TURNS 3
size_t known_tell(const struct known *k, const struct member_state *own, const char *to,
                  unsigned turn, int64_t now_us, struct member_news out[KNOWN_MAX]);

const struct known_member *known_of(const struct known *k, const char *name); /* NULL: none */

/* Was that member not heard of for so long that it has to be told? How long: since this table began, if
 * it never was. */
bool known_silent(const struct known *k, const struct known_member *m, int64_t now_us,
                  int64_t *ret_us);

/*
 * Is it this side of a pair of members that dials their quiet session? Where WAL goes between them
 * there is none. `earlier`: this one stands before the other in the pool's file. silent_us: since the
 * other's session was here last, or this agent began.
 */
bool known_dials(bool linked, bool earlier, int64_t silent_us);

#endif
