/* SPDX-License-Identifier: PostgreSQL */
/*
 * rejoin: a member that parted from the pool's history becomes a standby again, see rejoin.c.
 */
#ifndef AGENT_JOBS_REJOIN_H
#define AGENT_JOBS_REJOIN_H

#include "config/config.h"

#include "shipper/sender/rate.h"

#include <stdbool.h>

struct rejoin_request {
    const struct config *config;
    const struct member *self;
    bool dry_run; /* say where it parted and what would be done */
    bool yes;     /* do not ask */
    bool replace; /* make a new copy instead of rewinding */
    bool offline; /* the primary is gone: by what the spool has of it, if nothing parted */
    /* of a new copy, as in seed.h */
    const struct rate_plan *rate;
    const char *map;
    const struct member *from; /* who gives the pages, or the copy; NULL: the nearest that can */
};

/* The exit code: 0 done; 1 failed, which is said on standard error, or refused; 2 nobody to ask. */
int rejoin_run(const struct rejoin_request *request);

#endif
