/* SPDX-License-Identifier: PostgreSQL */
/*
 * exposed: what a loss is judged by (pool/loss.h), of WAL that comes in and of each link that goes
 * out. Names are borrowed.
 */
#ifndef AGENT_LINKS_EXPOSED_H
#define AGENT_LINKS_EXPOSED_H

#include "links/incoming.h"
#include "links/outgoing.h"
#include "pool/loss.h"

void exposed_receiving(const struct incoming *in, int64_t now_us, struct loss_facts *ret_facts);

/* On a primary that has WAL up to `end`; LSN_UNKNOWN: unknown. */
void exposed_link(const struct link *l, const char *primary, lsn_t end, int64_t now_us,
                  struct loss_facts *ret_facts);

/* What the end of the primary would cost now, for all that this member knows; on the primary that of
 * its site. */
void exposed_now(const struct who *who, const struct incoming *in, const struct outgoing *out,
                 int64_t now_us, struct loss *ret_loss);

#endif
