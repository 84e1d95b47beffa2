/* SPDX-License-Identifier: PostgreSQL */
/*
 * progress: what a DBA asks of a link first: does it keep up? The state is worked out anew each
 * time it is asked for, from the figures of that moment: it is never older than they are.
 */
#ifndef AGENT_MONITOR_PROGRESS_H
#define AGENT_MONITOR_PROGRESS_H

#include "base/lsn.h"
#include "base/trend.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum progress_state {
    PROGRESS_NOT_STARTED, /* nothing was shipped yet, and nothing is wrong */
    PROGRESS_ERROR,       /* nothing is shipped: see reason */
    PROGRESS_BEHIND,      /* there is a backlog: see the rates */
    PROGRESS_STEADY,      /* WAL goes as it comes */
    PROGRESS_FINAL,       /* all there is is durable there, and none was made for some seconds */
};

/* What the state is judged by; produced and shipped are trends of LSNs. */
struct progress_facts {
    bool up, started;   /* the link; something was acknowledged once */
    const char *reason; /* why nothing comes; "" */
    lsn_t primary;      /* where the primary stands; LSN_UNKNOWN if nobody knows */
    lsn_t flushed;      /* where the far site stands */
    bool lag_known;
    int64_t lag_us; /* of flushed */
    const struct trend *produced, *shipped;
};

struct progress {
    enum progress_state state;
    const char *reason; /* as it came in */
    bool produced_known, shipped_known, level_known;
    double produced, shipped; /* bytes of WAL per second */
    int64_t level_us;         /* until level, at these rates; unknown also means never */
};

void progress_judge(const struct progress_facts *f, int64_t now_us, struct progress *ret_progress);
const char *progress_name(enum progress_state state);

#endif
