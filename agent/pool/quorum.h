/* SPDX-License-Identifier: PostgreSQL */
/*
 * quorum: whom the commits of a primary wait for. Pure: the pool's file and what is known of each
 * member in, the value of synchronous_standby_names out.
 *
 *   mirror, site, any   ANY 1 of all members that the mode means, also of those that are away: who
 *                       confirms first is enough
 *   all                 ANY n of those n that have caught up
 *
 * Commits begin to wait for a member when it has caught up. They cease to when it is lost and the
 * pool degrades; where it waits they never do, whichever names come and go.
 *
 * https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES
 */
#ifndef AGENT_POOL_QUORUM_H
#define AGENT_POOL_QUORUM_H

#include "config/config.h"

/* "ANY 7 (walferry_..., ...)" */
#define QUORUM_SIZE 320

struct quorum_member {
    bool fed;   /* by the primary itself: else its confirmation does not get there */
    bool level; /* it has on disk all that is committed, and that counts */
    bool lost;  /* nothing came from it for synchronous_wait */
};

struct quorum_facts {
    const struct config *config;
    const struct member *primary;
    struct quorum_member member[MEMBERS_MAX]; /* by its place in the file */
    const char *names;                        /* synchronous_standby_names now */
    bool degrades;                            /* commits may go on without who is lost */
};

void quorum_choose(const struct quorum_facts *f, char ret_names[QUORUM_SIZE]);

/* Do these names have that of a link? A "*" is every name. */
bool quorum_names(const char *names, const char *slot);

/* Commits do not wait as the pool's file says: why, as "commits wait for no mirror". False: they do. */
bool quorum_lacks(const struct quorum_facts *f, char *out, size_t size);

/* Commits wait for us, and cannot return: who is lost, of whom they wait for. False: they return. */
bool quorum_hangs(const struct quorum_facts *f, char *out, size_t size);

#endif
