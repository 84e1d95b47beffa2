/* SPDX-License-Identifier: PostgreSQL */
/* See rates.h. */
#include "retention/rates.h"

#include "base/durable.h"

#include <stdio.h>

static void
look_at_disk(struct disk *d, int dir, int64_t now_us)
{
    d->known = dir >= 0 && durable_free(dir, &d->free_bytes) == 0;
    if (d->known)
        trend_add(&d->trend, now_us, d->free_bytes);
}

static void
look_at_disks(struct rates *r, const struct incoming *in, int64_t now_us)
{
    const char *pgdata = in->who->self->pgdata;
    char path[sizeof in->who->self->pgdata + 8];
    int dir = -1;

    look_at_disk(&r->spool, in->spool.dir, now_us);
    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    if (durable_dir(path, &dir) < 0)
        dir = -1;
    look_at_disk(&r->pg_wal, dir, now_us);
    durable_close(dir);
}

void
rates_look(struct rates *r, const struct outgoing *out, const struct incoming *in, int64_t now_us)
{
    lsn_t primary = incoming_primary(in, now_us);

    look_at_disks(r, in, now_us);
    if (primary != LSN_UNKNOWN)
        trend_add(&r->produced, now_us, primary);
    if (in->who->role == ROLE_PRIMARY) {
        for (size_t i = 0; i < out->links; i++) {
            const struct link *l = &out->link[i];

            if ((l->state == LINK_SHIPPING || outgoing_rests(out, l)) && l->sender.far_known)
                trend_add(&r->shipped[i], now_us, l->sender.far.flushed);
        }
    } else if (receiver_live(&in->receiver) && !spool_empty(&in->spool)) {
        trend_add(&r->shipped[0], now_us, in->spool.flushed);
    }
}

void
rates_forget_wal(struct rates *r)
{
    trend_clear(&r->produced);
    for (size_t i = 0; i < MEMBERS_MAX; i++)
        trend_clear(&r->shipped[i]);
}
