/* SPDX-License-Identifier: PostgreSQL */
/*
 * proof: WAL from somebody who is not the server goes into a spool no further than its records are
 * whole and right.
 *
 * What has come and is not proven yet, the begin of a record above all, is held in a file without a
 * name beside the spool; a record may be as long as PostgreSQL makes them. Bytes come from a
 * segment's start on, also those that the spool has already, which it compares. A giver that was
 * wrong is left by proof_begin for the next one, at the start of the segment in which the spool
 * ends: a record that is not whole begins there, so it is never taken half from one and half from
 * another. Where a timeline ends, what it left is taken as it is: the next one has it again.
 */
#ifndef AGENT_RETENTION_PROOF_H
#define AGENT_RETENTION_PROOF_H

#include "shipper/wal/records.h"
#include "shipper/wal/spool.h"

struct proof {
    struct records records;
    bool open;
    int fd;
    lsn_t base, poured; /* of the file's first byte; below it all is in the spool */
};

void proof_release(struct proof *p); /* accepts a zeroed struct, which is how it begins */

/* From here on, of somebody anew; what is held is dropped. ERR_LOCAL. */
int proof_begin(struct proof *p, const struct spool *s, timeline_t timeline, lsn_t start);
void proof_drop(struct proof *p); /* what is held, and nobody goes on */

/* Where the next byte belongs; LSN_UNKNOWN: nobody gives any. */
lsn_t proof_next(const struct proof *p);

/* Bytes that follow. 0; ERR_AGAIN: not taken, the spool has to flush first; ERR_CORRUPT: they are
 * wrong, see records_put; ERR_PEER: they do not follow; and what spool_append says. */
int proof_put(struct proof *p, struct spool *s, timeline_t timeline, lsn_t lsn, const void *bytes,
              size_t n, int64_t now_us);

/* Go on with what is proven and waits for the spool. 0: none does; ERR_AGAIN or an error. */
int proof_pour(struct proof *p, struct spool *s, int64_t now_us);

/* What is held is right, by a look at what follows elsewhere. */
void proof_trust(struct proof *p);

#endif
