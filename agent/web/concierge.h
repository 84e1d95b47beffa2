/* SPDX-License-Identifier: PostgreSQL */
/*
 * concierge: where clients should go. /primary, /standby, /active and /healthz of http.h, with what
 * this member knows of the others. Whether writers may come is the judge's word (role.h).
 */
#ifndef AGENT_WEB_CONCIERGE_H
#define AGENT_WEB_CONCIERGE_H

#include "web/reply.h"

void concierge_primary(const struct request *q, struct reply *r);
void concierge_standby(const struct request *q, struct reply *r);
void concierge_active(const struct request *q, struct reply *r);
void concierge_healthz(const struct request *q, struct reply *r);

#endif
