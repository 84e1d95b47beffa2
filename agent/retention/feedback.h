/* SPDX-License-Identifier: PostgreSQL */
/*
 * feedback: hot standby feedback of a standby that is away, which its slot remembers, is withdrawn
 * after feedback_keep, so that vacuum is not held back: over the link's walsender where there is
 * one, else by a short visit to the slot.
 */
#ifndef AGENT_RETENTION_FEEDBACK_H
#define AGENT_RETENTION_FEEDBACK_H

#include "links/outgoing.h"

#include "shipper/replication/source.h"

struct feedback {
    const struct who *who; /* borrowed, as this: */
    struct outgoing *out;
    struct {
        char name[64];
        int64_t fed_us; /* when feedback was alive, or there was none */
    } slot[POSTGRES_SLOTS_MAX];
    struct source *visitor; /* tells a slot that there is no feedback */
    char visited[64];
    int64_t visit_us;
};

void feedback_init(struct feedback *f, const struct who *who, struct outgoing *out);
void feedback_rest(struct feedback *f); /* end the visit; accepts a zeroed struct */
void feedback_watch(const struct feedback *f, struct loop *l);
/* Go on with a visit. */
void feedback_run(struct feedback *f, const struct loop *l, const struct postgres_sample *s,
                  int64_t now_us);
/* A few times a second: whose feedback is too old? */
void feedback_look(struct feedback *f, const struct postgres_sample *s, int64_t now_us);

#endif
