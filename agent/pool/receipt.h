/* SPDX-License-Identifier: PostgreSQL */
/*
 * receipt: what a failover has cost, one file for each that was written, none ever replaced.
 *
 * <spool>/lost/<epoch>[-<timeline>-<fork>]-<time>.json. A failover writes one when it begins, with
 * what is known then ("at most"); the rejoin of the member that lost has its own, with the exact
 * list, and so has a member that was promoted by hand in the same epoch: it parted at another
 * place. They lie on two hosts: `walferry lost` puts together what belongs together. What is
 * "listed" one by one may be long and is in a file of its own, .list: an agent reads little of it.
 *
 *   {"epoch": 2, "primary": "dc2-a", "former": "dc1-a" or null, "began": "2026-...",
 *    "at_most": "...", "at_most_since_us": the moment that it names, in microseconds since 1970, or
 *    null, "exact": false}
 *   ... and when "exact" is true or "why_not_exact" says why it is not: "timeline", "fork", "end",
 *   "escrow", and what loss_list.h lists
 */
#ifndef AGENT_POOL_RECEIPT_H
#define AGENT_POOL_RECEIPT_H

#include "pool/epoch.h"
#include "pool/replay.h"

#include <jansson.h>
#include <stdint.h>

#define RECEIPTS_MAX 64 /* that are shown: the newest */
/* of lists that an agent tells a command on another host */
#define RECEIPT_FAR_BYTES (128u << 10)

int receipt_save(const char *spool, const json_t *receipt); /* ERR_LOCAL */
/* ... unless one of the same epoch has the same under `key`: who was killed behind it does it again. */
int receipt_save_once(const char *spool, const json_t *receipt, const char *key);

/* What was acknowledged here and is not in our PostgreSQL, once for an epoch. ERR_LOCAL. */
int receipt_save_missing(const char *spool, const struct pool *p, const struct replay_word *w);

/* The receipt of the failover that began the present epoch here, from what pool.state has of it,
 * unless there is one or none was made. ERR_LOCAL. */
int receipt_save_failover(const char *spool, const struct pool *p);

/* All of them, by epoch and time, oldest first: a new array, empty if there is none. Lists of
 * list_bytes together are in it, the newest first; of one that stays out "list_file" says where it
 * is. ERR_LOCAL. */
int receipt_load(const char *spool, uint64_t list_bytes, json_t **ret_receipts);

/* The "tables" of one, a line each to standard output: "    chat.public.message: 2 inserted". */
void receipt_print_tables(const json_t *tables, const char *before);

#endif
