/* SPDX-License-Identifier: PostgreSQL */
/* See beacon.h: nothing here knows of sockets, files or clocks. */
#include "shipper/wire/beacon.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DRIFT 5000 /* two clocks part by at most 1 s in this many */

static void
thin(struct lag *l)
{
    size_t kept = 0;

    /* of a pair the newer goes: the older one is covered sooner, and tells an older time */
    for (size_t i = 0; i < l->count; i++)
        if (i >= l->count / 2 || i % 2 == 0)
            l->pending[kept++] = l->pending[i];
    l->count = kept;
}

static void
cover(struct lag *l)
{
    size_t covered = 0;

    while (covered < l->count && l->pending[covered].lsn <= l->position)
        covered++;
    if (covered == 0)
        return;
    if (l->covered.lsn == LSN_UNKNOWN || l->pending[covered - 1].mono_us > l->covered.mono_us)
        l->covered = l->pending[covered - 1]; /* else it was told again */
    l->count -= covered;
    memmove(l->pending, l->pending + covered, l->count * sizeof *l->pending);
}

void
lag_beacon(struct lag *l, const struct beacon *b)
{
    /* no WAL since, or a crash took back what was not flushed: the newer time holds for this LSN */
    while (l->count > 0 && b->lsn <= l->pending[l->count - 1].lsn &&
           b->mono_us > l->pending[l->count - 1].mono_us)
        l->count--;
    if (b->lsn <= l->position && l->count == 0) {
        if (b->mono_us > l->covered.mono_us || l->covered.lsn == 0)
            l->covered = *b;
        return;
    }
    if (l->count > 0 && b->lsn <= l->pending[l->count - 1].lsn)
        return; /* it came before the cut, too */
    if (l->count == BEACONS_MAX)
        thin(l);
    l->pending[l->count++] = *b;
    cover(l);
}

void
lag_hold(struct lag *l, lsn_t position)
{
    l->position = LSN_UNKNOWN;
    if (position < l->covered.lsn) {
        l->before = l->covered;
        l->covered = (struct beacon){0};
    } else if (l->covered.lsn == LSN_UNKNOWN && position >= l->before.lsn) {
        l->covered = l->before;
    }
}

void
lag_reach(struct lag *l, lsn_t position)
{
    lag_hold(l, position);
    l->position = position;
    cover(l);
}

void
lag_take(struct lag *l, const struct beacon *covered)
{
    size_t done = 0;

    if (covered->lsn == LSN_UNKNOWN ||
        (l->covered.lsn != LSN_UNKNOWN && covered->mono_us <= l->covered.mono_us))
        return;
    l->covered = *covered;
    while (done < l->count && l->pending[done].mono_us <= covered->mono_us)
        done++;
    l->count -= done;
    memmove(l->pending, l->pending + done, l->count * sizeof *l->pending);
}

void
lag_forget(struct lag *l, int64_t since_us)
{
    while (l->count > 0 && l->pending[l->count - 1].mono_us > since_us)
        l->count--;
}

void
lag_restart(struct lag *l)
{
    l->count = 0;
    l->covered = l->before = (struct beacon){0};
}

/* After another boot: the beacon's monotonic time that gives its wall clock's age from now on. */
static void
rebase(struct beacon *b, int64_t now_us, int64_t wall_us)
{
    b->mono_us = now_us - (wall_us - b->wall_us);
}

void
lag_rebase(struct lag *l, int64_t now_us, int64_t wall_us)
{
    rebase(&l->covered, now_us, wall_us);
    rebase(&l->before, now_us, wall_us);
    for (size_t i = 0; i < l->count; i++)
        rebase(&l->pending[i], now_us, wall_us);
}

static bool
age(const struct beacon *b, int64_t now_us, int64_t *ret_age_us)
{
    if (b->lsn == LSN_UNKNOWN)
        return false;
    *ret_age_us = now_us > b->mono_us ? now_us - b->mono_us : 0;
    return true;
}

bool
lag_age(const struct lag *l, int64_t now_us, int64_t *ret_age_us)
{
    return age(&l->covered, now_us, ret_age_us);
}

bool
lag_least(const struct lag *l, int64_t now_us, int64_t *ret_age_us)
{
    return age(&l->before, now_us, ret_age_us);
}

bool
lag_is_older(const struct lag *l, const struct beacon *b)
{
    return b->lsn < l->covered.lsn && b->mono_us > l->covered.mono_us;
}

void
offset_restart(struct clock_offset *o)
{
    o->count = 0;
}

int64_t
offset_error_us(const struct clock_offset *o, int64_t now_us)
{
    return o->error_us + (now_us - o->at_us) / DRIFT;
}

bool
offset_sample(struct clock_offset *o, int64_t sent_us, int64_t far_us, int64_t far_wall_us,
              int64_t now_us, int64_t wall_us)
{
    int64_t round_trip_us = now_us - sent_us, offset_us = far_us - (sent_us + round_trip_us / 2);
    int64_t error_us = offset_error_us(o, now_us), apart_us = offset_us - o->offset_us;
    bool other;

    if (round_trip_us < 0)
        return false; /* not an answer to a PING of ours */
    other = o->known &&
            (apart_us < 0 ? -apart_us : apart_us) > error_us + round_trip_us / 2 + SECOND_US;
    if (!o->known || other || round_trip_us / 2 <= error_us) {
        o->known = true;
        o->offset_us = offset_us;
        o->error_us = round_trip_us / 2;
        o->at_us = now_us;
    }
    o->count++;
    o->last_us = now_us;
    o->round_trip_us = round_trip_us;
    o->wall_offset_us = (far_wall_us - far_us) - (wall_us - now_us) + o->offset_us;
    return other;
}

size_t
lag_record_save(const struct lag_record *r, const char *boot_id, char out[LAG_RECORD_MAX])
{
    int n = snprintf(out, LAG_RECORD_MAX,
                     "primary %s boot %s offset %" PRId64 " flushed %" PRIu64 " %" PRId64
                     " %" PRId64 " applied %" PRIu64 " %" PRId64 " %" PRId64 "%s%s\n",
                     r->primary[0] != '\0' ? r->primary : "-", boot_id[0] != '\0' ? boot_id : "-",
                     r->offset_us, r->flushed.lsn, r->flushed.wall_us, r->flushed.mono_us,
                     r->applied.lsn, r->applied.wall_us, r->applied.mono_us,
                     r->member[0] != '\0' ? " member " : "", r->member);

    return (size_t)n;
}

bool
lag_record_load(struct lag_record *r, const char *text, const char *boot_id, int64_t now_us,
                int64_t wall_us)
{
    struct lag_record got = {0};
    char boot[64];

    if (sscanf(text,
               "primary %31s boot %63s offset %" SCNd64 " flushed %" SCNu64 " %" SCNd64 " %" SCNd64
               " applied %" SCNu64 " %" SCNd64 " %" SCNd64 " member %31s",
               got.primary, boot, &got.offset_us, &got.flushed.lsn, &got.flushed.wall_us,
               &got.flushed.mono_us, &got.applied.lsn, &got.applied.wall_us, &got.applied.mono_us,
               got.member) < 9)
        return false;
    if (boot_id[0] == '\0' || strcmp(boot, boot_id) != 0) {
        got.offset_us = 0;
        rebase(&got.flushed, now_us, wall_us);
        rebase(&got.applied, now_us, wall_us);
    }
    *r = got;
    return true;
}
