/* See store.h. */
#include "sender/store.h"

#include "base/fail.h"

int
link_store(struct link *l, enum link_store_kind kind, const struct spool *spool,
           const char *conninfo)
{
    static const char *const name[LINK_STORES] = {"walferry_outbox", "walferry_gap"};
    struct source *source = source_new(conninfo, name[kind], "", NULL);

    if (source == NULL)
        return fail(ERR_LOCAL, "out of memory for a link");
    l->store[kind] = (struct link_store){.spool = spool, .source = source};
    return 0;
}

/* Where the byte at lsn comes from: a store as far as it goes. */
struct source *
source_of(const struct link *l, lsn_t lsn, uint64_t behind_bytes)
{
    for (int i = 0; i < LINK_STORES; i++) {
        const struct spool *s = l->store[i].spool;

        if (s == NULL || spool_empty(s) || lsn < s->start || l->sender.sent_timeline > s->timeline)
            continue;
        if (lsn + behind_bytes < s->available ||
            (lsn == s->available && l->store[i].grows && behind_bytes == 0))
            return l->store[i].source;
    }
    return l->from_server;
}

/* Does a store hold anything behind lsn? */
bool
in_store(const struct link *l, lsn_t lsn)
{
    for (int i = 0; i < LINK_STORES; i++)
        if (l->store[i].spool != NULL && !spool_empty(l->store[i].spool) &&
            lsn < l->store[i].spool->available)
            return true;
    return false;
}

/* What pg_wal may have no longer goes first. */
bool
ships_store(const struct link *l)
{
    return l->source != l->from_server && source_active(l->source);
}
