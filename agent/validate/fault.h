/* SPDX-License-Identifier: PostgreSQL */
/*
 * fault: minor releases of PostgreSQL that do harm in a pool. Pure.
 *
 * Each fault names the first release without it, whose release notes describe it
 * (https://www.postgresql.org/docs/release/).
 */
#ifndef AGENT_VALIDATE_FAULT_H
#define AGENT_VALIDATE_FAULT_H

#include "base/identity.h"
#include "validate/finding.h"

#include <stdbool.h>
#include <stddef.h>

struct fault {
    enum readiness result;
    bool replays_older; /* only while it replays WAL of an older minor */
    const char *what;
    /* By major from POSTGRES_MAJOR_MIN on: it came with one minor and is mended in a later one.
     * {0, 0}: not there. */
    struct {
        short came, mended;
    } minors[POSTGRES_MAJOR_MAX - POSTGRES_MAJOR_MIN + 1];
};

#define FAULT_NEVER 999 /* the community has made no release that mends it, and makes none */

/*
 * The first fault from number *n on of a server with this server_version_num; `replays`: of the
 * primary that it would follow, 0: faults of the server alone. NULL: no further one. *n becomes
 * the number behind it, *ret_mended the minor to be installed or FAULT_NEVER.
 */
const struct fault *fault_next(size_t *n, long version, long replays, int *ret_mended);

/* server_version_num of a server_version as in "15.20 (Debian 15.20-0+deb12u1)"; 0: none, or a
 * version before its first release. */
long fault_version(const char *server_version);

#endif
