/* SPDX-License-Identifier: PostgreSQL */
/* See store.h. */
#include "sender/store.h"

struct source *
store_with(const struct link_store *store, int stores, timeline_t timeline, lsn_t lsn,
           uint64_t behind_bytes)
{
    for (int i = 0; i < stores; i++) {
        const struct spool *s = store[i].spool;

        if (s == NULL || spool_empty(s) || lsn < s->start || timeline > s->timeline)
            continue;
        if (lsn + behind_bytes < s->available ||
            (lsn == s->available && store[i].grows && behind_bytes == 0))
            return store[i].source;
    }
    return NULL;
}

bool
store_beyond(const struct link_store *store, int stores, lsn_t lsn)
{
    for (int i = 0; i < stores; i++)
        if (store[i].spool != NULL && !spool_empty(store[i].spool) &&
            lsn < store[i].spool->available)
            return true;
    return false;
}
