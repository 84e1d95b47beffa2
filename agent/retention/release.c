/* SPDX-License-Identifier: PostgreSQL */
/* See release.h. */
#include "retention/release.h"

#include "retention/slot.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define RELEASE_US  (5 * SECOND_US) /* between two slots: what the first one freed shows */
#define RELEASE_WHY "pg_wal had less than its reserve: the slot was let go"

/* The member that a slot is for; its name is the slot's when it is none of the file's. */
static const char *
member_of(const struct release *r, const char *slot)
{
    char name[SLOT_NAME_SIZE];

    for (size_t i = 0; i < r->who->config->members; i++) {
        config_slot_name(name, r->who->config->member[i].name);
        if (strcmp(name, slot) == 0)
            return r->who->config->member[i].name;
    }
    return slot;
}

/* From where on the far side has no other place to get it from than pg_wal. */
static lsn_t
lost_from(const struct release *r, const struct postgres_slot *slot)
{
    const struct spool *o = &r->outbox->spool;
    const struct link *l = outgoing_of_slot(r->out, slot->name);
    lsn_t from = slot->restart_lsn;

    if (l != NULL && l->sender.far.flushed > from)
        from = l->sender.far.flushed;
    if (!spool_empty(o) && from >= o->start && from < o->flushed)
        from = o->flushed;
    return from;
}

void
release_init(struct release *r, const struct who *who, struct outgoing *out,
             const struct outbox *outbox, struct gaps *gaps)
{
    r->who = who;
    r->out = out;
    r->outbox = outbox;
    r->gaps = gaps;
}

bool
release_waits(const struct release *r, int64_t now_us)
{
    return r->dropped_us != 0 && now_us - r->dropped_us < RELEASE_US;
}

void
release_slot(struct release *r, const struct postgres_sample *s, const struct postgres_slot *slot,
             uint64_t free_bytes, int64_t now_us)
{
    const char *member = member_of(r, slot->name);
    char bytes[24];
    lsn_t from, end;

    if (slot->active) { /* its link loses it: the next time it is free */
        struct link *l = outgoing_of_slot(r->out, slot->name);

        if (l != NULL)
            link_rest(l, now_us + RELEASE_US);
        return;
    }
    from = lost_from(r, slot);
    end = segment_start(s->redo, who_identity(r->who)->segment_bytes);
    if (from < end && (gap_note(r->gaps, member, outgoing_timeline_at(r->out, from), from, end,
                                RELEASE_WHY) == NULL ||
                       gaps_save(r->gaps, r->who->spool->dir) < 0))
        return; /* not without its record */
    if (!postgres_ask(r->who->postgres, POSTGRES_DROP_SLOT, slot->name))
        return;
    snprintf(r->slot, sizeof r->slot, "%s", slot->name);
    r->dropped_us = now_us;
    r->dropped_lsn = slot->restart_lsn;
    snprintf(r->text, sizeof r->text,
             "pg_wal had %s left: slot %s is let go, %s lacks WAL from " LSN_FORMAT
             " to " LSN_FORMAT,
             text_bytes(bytes, sizeof bytes, free_bytes), slot->name, member, LSN_ARGS(from),
             LSN_ARGS(end));
}

/* A release of an earlier life: killed behind its record, it may still have an end. */
void
release_resume(struct release *r)
{
    const struct spool *o = &r->outbox->spool;

    if (r->resumed)
        return;
    r->resumed = true;
    for (size_t i = 0; i < r->gaps->count; i++) {
        const struct gap *gap = &r->gaps->gap[i];
        bool held = !spool_empty(o) && gap->end >= o->start && gap->end < o->available;

        if (strcmp(gap->why, RELEASE_WHY) != 0 || held) /* the slot has moved on with it */
            continue;
        config_slot_name(r->slot, gap->member);
        r->dropped_us = 0;
        r->dropped_lsn = gap->end;
        snprintf(r->text, sizeof r->text,
                 "slot %s was let go before this start, %s lacks WAL from " LSN_FORMAT, r->slot,
                 gap->member, LSN_ARGS(gap->start));
    }
}

/* The server has taken the drop; false: not yet, or it has refused it. */
static bool
is_gone(struct release *r, const struct postgres_slot *slot, int64_t now_us)
{
    if (r->gone_us != 0 && r->gone_us >= r->dropped_us)
        return true;
    if (slot != NULL && slot->restart_lsn != LSN_UNKNOWN && slot->restart_lsn <= r->dropped_lsn) {
        if (now_us - r->dropped_us >= RELEASE_US)
            r->slot[0] = '\0';
        return false;
    }
    r->gone_us = now_us;
    log_warning("guard: %s", r->text);
    return true;
}

bool
release_finish(struct release *r, const struct postgres_sample *s, int64_t now_us)
{
    const struct postgres_slot *slot = slot_of(s, r->slot);
    int64_t before = r->gone_us;
    struct gap *gap;
    lsn_t end;
    bool news;

    if (r->slot[0] == '\0' || s->mono_us <= r->dropped_us || !is_gone(r, slot, now_us))
        return false;
    news = before != r->gone_us;
    if (slot == NULL || slot->restart_lsn == LSN_UNKNOWN)
        return news;
    end = segment_start(slot->restart_lsn, who_identity(r->who)->segment_bytes);
    /* what was made between the gap's record and the new slot is gone, too */
    gap = gap_behind(r->gaps, member_of(r, slot->name), 0);
    while (gap != NULL && gap->end < end) {
        struct gap *next = gap_behind(r->gaps, gap->member, gap->end);

        if (next == NULL) {
            gap_note(r->gaps, gap->member, gap->timeline, gap->end, end, gap->why);
            break;
        }
        gap = next;
    }
    r->slot[0] = '\0';
    return news;
}
