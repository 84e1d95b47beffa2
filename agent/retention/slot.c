/* SPDX-License-Identifier: PostgreSQL */
/* See slot.h. */
#include "retention/slot.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define WHY_GONE "its slot was gone, until it was made anew nothing held this WAL"

const struct postgres_slot *
slot_of(const struct postgres_sample *s, const char *name)
{
    for (size_t k = 0; s != NULL && k < s->slots; k++)
        if (strcmp(s->slot[k].name, name) == 0)
            return &s->slot[k];
    return NULL;
}

bool
slot_keeps_wal(const struct postgres_slot *slot)
{
    return !slot->lost && slot->restart_lsn != LSN_UNKNOWN;
}

bool
slot_retained(const struct outgoing *out, size_t i, uint64_t *ret_retained, bool *ret_lost)
{
    const struct postgres_sample *s = postgres_sample(out->who->postgres);
    const struct postgres_slot *slot = slot_of(s, out->slot_name[i]);

    if (slot == NULL || s->in_recovery)
        return false;
    *ret_lost = slot->lost;
    *ret_retained = slot->restart_lsn != LSN_UNKNOWN && s->flush > slot->restart_lsn
                        ? s->flush - slot->restart_lsn
                        : 0;
    return slot->lost || slot->restart_lsn != LSN_UNKNOWN;
}

bool
slot_expires(const struct postgres_sample *s, const struct postgres_slot *slot)
{
    return s->slot_timeout_us > 0 && !slot->lost && slot->unused_us >= s->slot_timeout_us / 2;
}

bool
slot_spare(const struct outgoing *out, size_t i, const struct postgres_sample *s)
{
    lsn_t flushed = outgoing_flushed(out, &out->link[i]);

    return outgoing_rests(out, &out->link[i]) && flushed != LSN_UNKNOWN && flushed >= s->redo;
}

/* The slot of link i was gone, or kept nothing. What the far side has not got yet is in pg_wal; nothing held it up
 * to `end`, where the new slot begins. */
static void
note_gone(const struct outgoing *out, size_t i, struct gaps *gaps, lsn_t end, const char *why)
{
    const struct who *who = out->who;
    const struct sender *far = &out->link[i].sender;
    uint32_t segment_bytes = who_identity(who)->segment_bytes;
    struct gap *gap;

    if (!far->far_known || far->far.flushed == LSN_UNKNOWN)
        return;
    gap = gap_note(gaps, out->link[i].member, who->pool.timeline,
                   segment_start(far->far.flushed, segment_bytes),
                   segment_start(end, segment_bytes), why);
    if (gap != NULL)
        snprintf(gap->doing, sizeof gap->doing, "shipped from pg_wal, as far as that still has it");
}

/* The slot keeps the segment of the far side's last byte, which is compared again; logical subscribers
 * wait for the exact position (synchronized_standby_slots). */
static lsn_t
needed_from(const struct outgoing *out, size_t i)
{
    lsn_t flushed = out->link[i].sender.far.flushed;
    bool border = flushed == segment_start(flushed, who_identity(out->who)->segment_bytes);

    return flushed != LSN_UNKNOWN && border ? flushed - 1 : flushed;
}

/* Does its member get the WAL from another one, and has got past what the slot keeps? */
static bool
follows(const struct outgoing *out, size_t i, const struct postgres_slot *slot)
{
    const struct link *l = &out->link[i];

    return outgoing_rests(out, l) && !slot->active && slot_keeps_wal(slot) &&
           needed_from(out, i) > slot->restart_lsn;
}

static bool
advance(const struct outgoing *out, size_t i)
{
    char where[SLOT_NAME_SIZE + 40];

    snprintf(where, sizeof where, "'%s', '" LSN_FORMAT "'", out->slot_name[i],
             LSN_ARGS(needed_from(out, i)));
    return postgres_ask(out->who->postgres, POSTGRES_ADVANCE_SLOT, where);
}

/* At the last checkpoint at least; where one is under way it begins at that one's start. */
static bool
make(struct outgoing *out, size_t i, struct gaps *gaps, bool released)
{
    if (!postgres_ask(out->who->postgres, POSTGRES_MAKE_SLOT, out->slot_name[i]))
        return false;
    log_info("slot %s is made for the link to %s", out->slot_name[i], out->link[i].member);
    out->slot_made[i] = !released;
    if (!released)
        note_gone(out, i, gaps, postgres_sample(out->who->postgres)->redo, WHY_GONE);
    return true;
}

void
slot_keep(struct outgoing *out, struct gaps *gaps, const char *released)
{
    struct postgres *postgres = out->who->postgres;
    const struct postgres_sample *s = postgres_sample(postgres);

    if (out->who->role != ROLE_PRIMARY || s == NULL || s->in_recovery ||
        postgres_state(postgres) != POSTGRES_UP)
        return;
    for (size_t i = 0; i < out->links; i++) {
        const char *name = out->slot_name[i];
        const struct postgres_slot *slot = slot_of(s, name);

        if (slot == NULL && s->slots < POSTGRES_SLOTS_MAX &&
            make(out, i, gaps, strcmp(released, name) == 0))
            return; /* one command at a time */
        if (slot != NULL && slot_keeps_wal(slot) && out->slot_made[i]) {
            out->slot_made[i] = false;
            note_gone(out, i, gaps, slot->restart_lsn, WHY_GONE);
        }
        if (slot != NULL && follows(out, i, slot) && advance(out, i))
            return;
        if (slot != NULL && slot->lost && !slot->active &&
            postgres_ask(postgres, POSTGRES_DROP_SLOT, name)) {
            log_warning(
                "slot %s was invalidated and keeps nothing any more: dropped, to be made anew",
                name);
            if (strcmp(slot->invalid, "idle_timeout") == 0)
                note_gone(out, i, gaps, s->redo,
                          "its slot was invalidated by idle_replication_slot_timeout while the "
                          "link was down");
            return;
        }
    }
}
