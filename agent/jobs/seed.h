/* SPDX-License-Identifier: PostgreSQL */
/*
 * seed: this host's first copy of the database, or a new one, see seed.c.
 */
#ifndef AGENT_JOBS_SEED_H
#define AGENT_JOBS_SEED_H

#include "config/config.h"

#include "shipper/sender/rate.h"

#include <stdbool.h>

struct seed_request {
    const struct config *config;
    const struct member *self;
    bool dry_run;                 /* say what would be done, and time a few seconds of a copy */
    bool yes;                     /* do not ask */
    bool replace;                 /* ... the copy that is here */
    bool discard;                 /* ... and what only the data here has: it is shown first */
    bool kept;                    /* what only the data here has is in escrow */
    bool force;                   /* give up an earlier copy; WAL goes into the data directory */
    const struct rate_plan *rate; /* NULL: no limit */
    const char *map;              /* of tablespaces, see datadir_place; NULL */
    const struct member *from;    /* who gives the copy; NULL: the nearest that can */
};

/* The exit code: 0 done; 1 failed, which is said on standard error, or refused; 2 nobody to ask. */
int seed_run(const struct seed_request *request);

#endif
