/* SPDX-License-Identifier: PostgreSQL */
/* See loss.h. */
#include "pool/loss.h"

#include "base/lsn.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void
unknown(struct loss *l, enum loss_why why)
{
    l->kind = LOSS_UNKNOWN;
    l->why = why;
}

static void
count_bytes(const struct loss_facts *f, struct loss *l)
{
    if (!f->compared || f->end == LSN_UNKNOWN || f->durable == LSN_UNKNOWN)
        return;
    l->bytes_known = true;
    l->bytes = f->end > f->durable ? f->end - f->durable : 0;
}

void
loss_judge(const struct loss_facts *f, struct loss *ret_loss)
{
    struct loss *l = ret_loss;

    *l = (struct loss){.primary = f->primary, .holder = f->holder, .unread = f->unread};
    if (f->reclaims != 0) {
        l->kind = LOSS_ALL;
        l->epoch = f->reclaims;
        l->from = f->from;
    } else if (f->lacks) {
        unknown(l, LOSS_WHY_LACKS);
    } else if (f->rescued) {
        l->kind = LOSS_NONE;
        l->age_us = f->rescued_us;
        l->bytes_known = true;
    } else if (f->unproven) {
        unknown(l, LOSS_WHY_UNPROVEN);
    } else if (f->covered.lsn == LSN_UNKNOWN) {
        unknown(l, f->before.lsn != LSN_UNKNOWN ? LOSS_WHY_WENT_BACK
                   : f->primary[0] != '\0'      ? LOSS_WHY_NOT_COMPARED
                                                : LOSS_WHY_NOBODY);
    } else if (!f->clock_known) {
        unknown(l, LOSS_WHY_CLOCK);
    } else {
        l->kind = LOSS_AT_MOST;
        l->age_us = f->primary_us > f->covered.mono_us ? f->primary_us - f->covered.mono_us : 0;
        l->since_us = f->covered.wall_us;
        l->older = f->older;
        count_bytes(f, l);
    }
}

bool
loss_known(const struct loss *l)
{
    return l->kind == LOSS_NONE || l->kind == LOSS_AT_MOST;
}

bool
loss_less(const struct loss *a, const struct loss *b)
{
    if (!loss_known(a) || !loss_known(b))
        return loss_known(a);
    if (a->kind != b->kind)
        return a->kind == LOSS_NONE;
    return a->age_us < b->age_us;
}

const char *
loss_kind_name(enum loss_kind kind)
{
    static const char *const name[] = {"unknown", "none", "at most", "all"};

    return name[kind];
}

static void
tell_unknown(const struct loss *l, const char *where, char *out, size_t size)
{
    switch (l->why) {
    case LOSS_WHY_ROLE:
        snprintf(out, size, "unknown; this member is neither the primary nor a standby");
        break;
    case LOSS_WHY_NOBODY:
        snprintf(out, size, "unknown; no primary was heard of yet");
        break;
    case LOSS_WHY_LACKS:
        snprintf(out, size, "unknown; the PostgreSQL %s lacks WAL from before what was shipped",
                 where);
        break;
    case LOSS_WHY_WENT_BACK:
        snprintf(out, size, "unknown; WAL of %.63s that was %s is there no longer", l->primary,
                 where);
        break;
    case LOSS_WHY_NOT_COMPARED:
        snprintf(out, size, "unknown; what is %s was not yet compared with what %.63s has", where,
                 l->primary);
        break;
    case LOSS_WHY_UNPROVEN:
        snprintf(out, size, "unknown; who ships with the key of %.63s was not confirmed by it",
                 l->primary);
        break;
    case LOSS_WHY_CLOCK:
        snprintf(out, size, "unknown; the clock of %.63s is not known", l->primary);
        break;
    }
}

static void
tell_at_most(const struct loss *l, const char *where, char *out, size_t size)
{
    char age[32], when[40], bytes[24], wal[40] = "", restored[160] = "";

    if (l->bytes_known && l->bytes > 0)
        snprintf(wal, sizeof wal, " (%s of WAL at least)",
                 text_bytes(bytes, sizeof bytes, l->bytes));
    if (l->older)
        snprintf(restored, sizeof restored,
                 "; %.63s was restored to an older state: nothing that it has committed since is "
                 "%s",
                 l->primary, where);
    snprintf(
        out, size,
        "at most what was committed in the last %s or later%s: everything before %s (primary's "
        "clock) is %s%s",
        text_duration(age, sizeof age, l->age_us), wal, text_time(when, sizeof when, l->since_us),
        where, restored);
}

/* Without them "at most" is what is missing of all that the pool has. */
static void
tell_unread(const struct loss *l, char *out, size_t size)
{
    size_t used = strlen(out);

    if (l->unread != NULL && l->unread[0] != '\0')
        snprintf(out + used, size - used, "; not read: %s", l->unread);
}

const char *
loss_text(const struct loss *l, char out[POOL_LOSS_SIZE])
{
    char where[80] = "here";

    if (l->holder != NULL)
        snprintf(where, sizeof where, "on %.63s", l->holder);
    switch (l->kind) {
    case LOSS_UNKNOWN:
        tell_unknown(l, where, out, POOL_LOSS_SIZE);
        tell_unread(l, out, POOL_LOSS_SIZE);
        break;
    case LOSS_NONE:
        snprintf(out, POOL_LOSS_SIZE, "none; everything that %.63s had in pg_wal is %s", l->primary,
                 where);
        break;
    case LOSS_AT_MOST:
        tell_at_most(l, where, out, POOL_LOSS_SIZE);
        tell_unread(l, out, POOL_LOSS_SIZE);
        break;
    case LOSS_ALL:
        if (l->from.lsn != LSN_UNKNOWN)
            snprintf(out, POOL_LOSS_SIZE,
                     "all that was committed in the pool behind " LSN_FORMAT
                     " of timeline %u, up to epoch %" PRIu64
                     " of %.63s; WAL of it that came here stays in the spool",
                     LSN_ARGS(l->from.lsn), l->from.timeline, l->epoch, l->primary);
        else
            snprintf(out, POOL_LOSS_SIZE,
                     "all that %.63s committed as the primary of epoch %" PRIu64
                     "; WAL of it that came here stays in the spool",
                     l->primary, l->epoch);
        break;
    }
    return out;
}
