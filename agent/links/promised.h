/* SPDX-License-Identifier: PostgreSQL */
/*
 * promised: what speaks here for and against a promise that a failover elsewhere asks for
 * (pool/promise.h judges), and what one that stands lets in.
 */
#ifndef AGENT_LINKS_PROMISED_H
#define AGENT_LINKS_PROMISED_H

#include "links/incoming.h"

enum promise_verdict promised_judge(const struct incoming *in, const struct promise *ask,
                                    int64_t now_us, char ret_reason[FRAME_REASON_MAX]);

/* Is that promise on disk, for this very ask, or that epoch? */
bool promised_stands(const struct pool *p, const struct promise *ask);

/* The answer to an ask, which `p` is, by our pool.state. */
void promised_answer(const struct pool *pool, enum promise_verdict verdict, const char *reason,
                     struct promise *p);

/* It is over: off the disk first. 0 or the error of who_set_pool. `pool` is who's. */
int promised_drop(const struct who *w, struct pool *pool, const char *why);

#endif
