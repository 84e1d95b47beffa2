/* SPDX-License-Identifier: PostgreSQL */
/* store: spools that may have WAL which the server has no longer, each behind a relay. */
#ifndef SENDER_STORE_H
#define SENDER_STORE_H

#include "shipper/replication/source.h"
#include "shipper/wal/spool.h"

struct link_store {
    const struct spool *spool; /* borrowed; NULL: there is none */
    struct source *source;
    bool grows; /* more WAL follows at its end: do not go to the server yet */
};

/* The source of the store that has the byte at lsn and behind_bytes behind it; NULL: none has. */
struct source *store_with(const struct link_store *store, int stores, timeline_t timeline,
                          lsn_t lsn, uint64_t behind_bytes);

bool store_beyond(const struct link_store *store, int stores, lsn_t lsn); /* any WAL behind lsn? */

#endif
