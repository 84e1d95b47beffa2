/* SPDX-License-Identifier: PostgreSQL */
/* See tails.h. */
#include "handover/tails.h"

#include "handover/tell.h"

#include "base/clock.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"

#include <stdio.h>
#include <string.h>

#define DRY_US                                                                                     \
    (4 * SECOND_US) /* a dry run waits so long for an answer, a host that is gone gives none */

static bool
is_former(const struct failover *f, size_t i)
{
    return strcmp(f->who->config->member[i].name, f->against.member) == 0;
}

/* Not of a primary that answers, which goes on writing. */
static bool
is_of_use(const struct failover *f)
{
    return !f->wish.reclaim && !f->resumes &&
           !(f->wish.dry_run && f->has_word && f->word == PONG_POSTGRES_ANSWERS);
}

void
tails_ask(struct failover *f)
{
    f->tails_said = false;
    for (size_t i = 0; f->wish.dry_run && i < f->asks->count; i++)
        asks_hurry(f->asks, f->asks->ask[i].to->name);
}

/* Has everybody said where it is, or cannot be asked? */
static bool
is_told(const struct failover *f, int64_t now_us)
{
    for (size_t i = 0; i < f->asks->count; i++) {
        const struct ask *q = &f->asks->ask[i];
        bool failed = q->state == ASK_RESTS && q->reason[0] != '\0' && q->begun_us >= f->asked_us;

        if (strcmp(q->to->name, f->against.member) != 0 && q->held_wal.us < f->asked_us && !failed)
            return now_us - f->asked_us >= DRY_US;
    }
    return true;
}

/* What is here, and from where on WAL would be asked for. */
static struct holder
own_holder(const struct failover *f, lsn_t *ret_from)
{
    static char text[HISTORY_BYTES_MAX + 1];
    const struct spool *spool = &f->in->spool;
    struct holder ours = {.told = true};
    int got = 0;

    if (!fetch_from(f->in, &ours.end.timeline, ret_from))
        return ours;
    ours.end.lsn = spool_empty(spool) ? postgres_sample(f->who->postgres)->replay : spool->flushed;
    if (ours.end.timeline > 1)
        got = spool_empty(spool)
                  ? pgwal_history(f->who->self->pgdata, ours.end.timeline, text, sizeof text)
                  : spool_history(spool, ours.end.timeline, text, sizeof text);
    ours.lineage = (struct lineage){
        .timeline = ours.end.timeline, .text = text, .length = got > 0 ? (size_t)got : 0};
    return ours;
}

/* By its answer to the present ask, which says that nothing will come to it any more. */
static struct holder
other_holder(const struct failover *f, size_t i)
{
    const struct ask *q = asks_of(f->asks, f->who->config->member[i].name);
    const struct ask_held *h = &q->held_wal;
    bool promised = f->answer[i].word == PROMISE_GIVE || f->wish.dry_run;

    return (struct holder){.told = h->told && promised && h->us >= f->asked_us,
                           .lineage = {h->end.timeline, h->history, h->wal.history_bytes},
                           .end = h->end,
                           .start = h->wal.start,
                           .failed = f->tail_failed[i]};
}

/* f->tail of each; from whom WAL is taken next, or TAIL_NOBODY. */
static size_t
look(struct failover *f, struct holder holder[MEMBERS_MAX])
{
    const struct config *config = f->who->config;
    lsn_t from = LSN_UNKNOWN;
    timeline_t timeline;
    struct holder ours = own_holder(f, &from);

    for (size_t i = 0; i < config->members; i++) {
        holder[i] = (struct holder){0};
        f->tail[i] = TAIL_HERE;
        if (&config->member[i] == f->who->self || is_former(f, i))
            continue;
        holder[i] = other_holder(f, i);
        f->tail[i] = judge_tail(f->pool, &ours, from, &holder[i]);
        if (f->tail[i] == TAIL_LEFT)
            lineage_fork(&ours.lineage, &holder[i].lineage, &timeline, &f->left_at);
    }
    return judge_tails(holder, f->tail, config->members);
}

static void
say_more(struct failover *f, const char *member, const struct holder *h, const char *what)
{
    lsn_t ours = f->in->spool.flushed;
    char bytes[24];

    say(f, "%s has %s more of this WAL than %s, up to " LSN_FORMAT ": %s", member,
        text_bytes(bytes, sizeof bytes, h->end.lsn > ours ? h->end.lsn - ours : 0),
        f->who->self->name, LSN_ARGS(h->end.lsn), what);
}

/* Of who has WAL that is not taken: once. */
static void
say_others(struct failover *f)
{
    for (size_t i = 0; !f->tails_said && i < f->who->config->members; i++) {
        const char *member = f->who->config->member[i].name;

        if (f->tail[i] == TAIL_APART)
            say(f,
                "%s has WAL that does not continue what is here: it stays there, for walferry rejoin "
                "on its host",
                member);
        else if (f->tail[i] == TAIL_LEFT)
            say(f, "%s has WAL of the pool, which what is here has left at " LSN_FORMAT "%s",
                member, LSN_ARGS(f->left_at),
                f->wish.dry_run ? ": without --force this would be refused" : "");
        else if (f->tail[i] == TAIL_LACKING)
            say(f, "%s has more of this WAL than %s, and it cannot be got", member,
                f->who->self->name);
    }
    f->tails_said = true;
}

static void
refuse_left(struct failover *f, const char *member)
{
    snprintf(
        f->refusal, sizeof f->refusal,
        "refused: what is here has left the pool at " LSN_FORMAT ", and %s has what the pool "
        "went on with: fail over to %s, or bring this one back: walferry rejoin. If all of that "
        "must go: walferry failover %s--force",
        LSN_ARGS(f->left_at), member, member, f->wish.dead ? "--dead " : "");
}

static bool
lacks(struct failover *f)
{
    for (size_t i = 0; i < f->who->config->members && !f->wish.force && !f->wish.dry_run; i++) {
        if (f->tail[i] == TAIL_LEFT) {
            refuse_left(f, f->who->config->member[i].name);
            return true;
        }
        if (f->tail[i] != TAIL_LACKING)
            continue;
        snprintf(
            f->refusal, sizeof f->refusal,
            "refused: what %s has more than %s is not here%s%s. Run this again when that is mended, "
            "or give it up: walferry failover %s--force",
            f->who->config->member[i].name, f->who->self->name, f->tail_failed[i] ? ": " : "",
            f->tail_failed[i] ? f->tail_reason[i] : "", f->wish.dead ? "--dead " : "");
        return true;
    }
    return false;
}

static enum tails
begin(struct failover *f, size_t i, const struct holder *h, int64_t now_us)
{
    const struct member *from = &f->who->config->member[i];

    say_more(f, from->name, h, "it is taken from there");
    if (fetch_begin(&f->fetch, f->in, from, &h->lineage, h->end, now_us) < 0) {
        snprintf(f->refusal, sizeof f->refusal, "refused: %.900s", fail_message());
        return TAILS_REFUSED;
    }
    inlet_shut(&f->in->inlet, true);
    set_phase(f, FAILOVER_RESCUING, now_us);
    return TAILS_WAIT;
}

/* It is over: has it brought all? */
static void
end(struct failover *f, enum fetched fetched)
{
    const struct config *config = f->who->config;
    const struct fetch *t = &f->fetch;

    if (fetched == FETCH_DONE)
        say(f, "all that %s had is here, up to " LSN_FORMAT, t->from->name, LSN_ARGS(t->end.lsn));
    else
        say(f, "%s cannot give its rest: %s", t->from->name, t->reason);
    for (size_t i = 0; i < config->members; i++)
        if (&config->member[i] == t->from) {
            f->tail_failed[i] = fetched == FETCH_FAILED;
            snprintf(f->tail_reason[i], sizeof f->tail_reason[i], "%s", t->reason);
        }
    fetch_stop(&f->fetch);
}

enum tails
tails_run(struct failover *f, int64_t now_us)
{
    struct holder holder[MEMBERS_MAX];
    size_t from;

    if (!is_of_use(f))
        return TAILS_DONE;
    if (f->wish.dry_run && !is_told(f, now_us))
        return TAILS_WAIT;
    if (f->fetch.in != NULL) {
        enum fetched fetched = fetch_run(&f->fetch, f->loop, now_us);

        if (fetched == FETCH_GOES_ON)
            return TAILS_WAIT;
        end(f, fetched);
    }
    from = look(f, holder);
    if (from != TAIL_NOBODY && f->wish.dry_run) {
        if (!f->tails_said)
            say_more(f, f->who->config->member[from].name, &holder[from],
                     "that would be taken first");
    } else if (from != TAIL_NOBODY && f->again) {
        return TAILS_BEGIN;
    } else if (from != TAIL_NOBODY) {
        return begin(f, from, &holder[from], now_us);
    }
    say_others(f);
    return lacks(f) ? TAILS_REFUSED : TAILS_DONE;
}

/* ---- what it means for the loss ---- */

static void
add_name(char *unread, size_t size, const char *name)
{
    size_t used = strlen(unread);

    snprintf(unread + used, size - used, "%s%s", used > 0 ? ", " : "", name);
}

/* Is its newest moment one of this primary's? */
static bool
is_of_epoch(const struct failover *f, const struct ask *q)
{
    return q->held_wal.wal.covered != LSN_UNKNOWN && q->told.changes > 0 &&
           epoch_equal(&q->told.change[q->told.changes - 1].origin.epoch, &f->against);
}

/* All that it has is here, or a dry run counts on that: then its newest moment is here, too. */
static void
take_moment(const struct ask_held *h, struct loss_facts *facts, int64_t now_us)
{
    int64_t age_us = h->wal.age_us + now_us - h->us, ours_us;

    if (!facts->clock_known)
        facts->primary_us = now_us; /* any clock: only the difference counts */
    ours_us = facts->primary_us - facts->covered.mono_us;
    if (facts->clock_known && !facts->unproven && facts->covered.lsn != LSN_UNKNOWN &&
        ours_us <= age_us)
        return;
    facts->covered = (struct beacon){
        .lsn = h->wal.covered, .wall_us = h->wal.wall_us, .mono_us = facts->primary_us - age_us};
    facts->clock_known = true;
    facts->unproven = false;
}

void
tails_loss(const struct failover *f, char *unread, size_t size, struct loss_facts *facts,
           int64_t now_us)
{
    unread[0] = '\0';
    facts->unread = unread;
    if (!is_of_use(f))
        return;
    for (size_t i = 0; i < f->who->config->members; i++) {
        const struct member *m = &f->who->config->member[i];
        const struct ask *q = asks_of(f->asks, m->name);

        if (q == NULL || is_former(f, i))
            continue;
        switch (f->tail[i]) {
        case TAIL_MORE:
        case TAIL_HERE:
            if (is_of_epoch(f, q))
                take_moment(&q->held_wal, facts, now_us);
            break;
        case TAIL_LEFT:
        case TAIL_LACKING: /* nor is all here that there was when the primary was read */
            facts->rescued = false;
            add_name(unread, size, m->name);
            break;
        case TAIL_UNREAD:
        case TAIL_APART:
            add_name(unread, size, m->name);
            break;
        }
    }
}
