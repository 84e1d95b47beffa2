/* SPDX-License-Identifier: PostgreSQL */
/*
 * route: who feeds whom. Pure, as role.h is: what the primary knows of every member goes in, the table
 * of routes comes out.
 *
 * The primary feeds each member of its own site, and one of each other site: the head of that site,
 * which feeds the rest from its own relay. So one copy of the WAL crosses to each site, and no WAL
 * goes over more than two hops. Where the head does not reach a member that can be reached, the primary
 * feeds that one, too, or another that reaches it.
 *
 * A way that is in the table stays until nothing was heard over it for ROUTE_SILENT_US; another one is
 * taken only while it is heard of. A head keeps its place, so that one which comes back does not take
 * it: until it is silent, has got no further for so long though there was more, another reaches
 * more of its site, or a DBA pins another. A pinned one takes it whenever it is heard of; if it has got
 * no further there, or refuses what it is sent, its pin is over.
 */
#ifndef AGENT_POOL_ROUTE_H
#define AGENT_POOL_ROUTE_H

#include "shipper/wire/frame.h"

#define ROUTE_SILENT_US (10 * SECOND_US)
#define ROUTE_FRESH_US  (3 * SECOND_US)
#define ROUTE_TEXT_SIZE 256
/* No table has a higher number: a few more, and no frame could hold it. */
#define ROUTE_NUMBER_MAX (EPOCH_NUMBER_MAX / 2)

/* Ages count from the begin of the watch where nothing was heard since. A stall counts from when the
 * member was heard of again. */
struct route_member {
    const char *name, *site;
    bool pinned;        /* at most one of a site */
    int64_t stalled_us; /* since it got no further, though there was more; 0: it does, or has all */
    int64_t routed_us;  /* since its way is the one in the table before; 0: it is in none */
    int64_t silent_us[FRAME_MEMBERS_MAX]; /* since it heard of each of the others */
};

struct route_facts {
    struct route_member member[FRAME_MEMBERS_MAX]; /* as the pool's file has them */
    size_t members, primary;
    struct epoch epoch;
    int64_t wall_us; /* now */
};

/* The table that these facts make of the one before (of whichever epoch; count 0: none). Its number is
 * another one when anything in it is. */
void judge_routes(const struct route_facts *f, const struct routes *before,
                  struct routes *ret_routes);

/* NULL: it is not in the table. */
const struct route *routes_of(const struct routes *r, const char *member);

/* Is it the head of its site? */
bool route_is_head(const struct route *r);

/* Is `a` newer than `b`: of a higher epoch, or a later table of the same? */
bool routes_newer(const struct routes *a, const struct routes *b);

/* The number that the primary's own table needs, for another member holds a table of that epoch which the
 * primary has not, or not any more: else that one would be newer. 0: none. */
uint64_t routes_above(const struct routes *ours, const struct routes *told);

/* A table that another member tells: is it of the present epoch, newer than ours, and such a one as
 * judge_routes makes? Of `self` as the primary there is none but its own. */
bool judge_table(const struct epoch *present, const char *self, const struct routes *ours,
                 const struct routes *told);

/* Where a member of that site gets its WAL from, and why, in words: "from dc2-a, which is the head of
 * dc2 since ...". Returns out. */
const char *route_text(const struct routes *r, const struct route *route, const char *site,
                       char out[ROUTE_TEXT_SIZE]);

#endif
