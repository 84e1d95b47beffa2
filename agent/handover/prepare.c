/* SPDX-License-Identifier: PostgreSQL */
/* See prepare.h. */
#include "handover/prepare.h"

#include "handover/tell.h"

#include "base/clock.h"
#include "base/kill_point.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define SAY_US (2 * SECOND_US)

void
prepare_begin(struct failover *f, int64_t now_us)
{
    set_phase(f, FAILOVER_PREPARING, now_us);
    f->since_us = f->said_us = now_us;
    f->drain_to = LSN_UNKNOWN;
    f->command_asked = f->has_ready = false;
    f->target = f->in->spool.available;
    if (!f->wish.dry_run)
        inlet_shut(&f->in->inlet, true);
    KILL_POINT("failover:3");
}

lsn_t
prepare_flushed(const struct failover *f, bool *ret_connected)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    timeline_t timeline = f->in->spool.timeline;
    lsn_t flushed = LSN_UNKNOWN;
    struct relay_standby standby;

    relay_standby(&f->in->relay, &standby);
    if (standby.connected && standby.timeline == timeline)
        flushed = standby.flush;
    if (s->timeline == timeline && s->flush > flushed) /* pg_last_wal_receive_lsn: flushed WAL */
        flushed = s->flush;
    if (f->who->replay.replay == REPLAY_FOLLOWS && s->replay > flushed)
        flushed = s->replay;
    *ret_connected = standby.connected;
    return flushed;
}

/* How many of the members that come back have no slot here yet. */
static int
missing_slots(const struct failover *f)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    int missing = 0;

    for (size_t i = 0; i < f->out->links; i++) {
        bool found = false;

        for (size_t n = 0; n < s->slots; n++)
            found = found || strcmp(s->slot[n].name, f->out->slot_name[i]) == 0;
        missing += !found;
    }
    return missing;
}

static int
lacking(int need, int free)
{
    return need > free ? need - free : 0;
}

static void
ask_postgres(struct failover *f)
{
    const char *error;

    if (f->has_ready)
        return;
    if (!f->command_asked) {
        f->command_asked = postgres_ask(f->who->postgres, POSTGRES_READY, NULL);
    } else if (postgres_done(f->who->postgres, &error)) {
        f->has_ready = error == NULL && sscanf(postgres_answer(f->who->postgres), "%4[tf] %d %d",
                                               f->rights, &f->free_slots, &f->free_walsenders) == 3;
        f->command_asked = false; /* asked again when it was lost */
    }
}

static struct prepare_facts
gather_facts(struct failover *f, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(f->who->postgres);
    bool connected, up = postgres_state(f->who->postgres) == POSTGRES_UP;
    lsn_t flushed = prepare_flushed(f, &connected);
    struct prepare_facts facts = {
        .asked = f->has_ready && up,
        .replay_paused = s->replay_paused,
        .synchronous = s->synchronous_standby_names[0] != '\0',
        .flushed =
            f->wish.reclaim || (up && f->in->spool.flushed >= f->target && flushed >= f->target)};

    if (!up)
        f->drain_to = LSN_UNKNOWN; /* it may come back with less */
    else if (flushed > f->drain_to) {
        f->drain_to = flushed;
        f->since_us = now_us;
    }
    facts.stalled_us = now_us - f->since_us;
    if (!f->has_ready)
        return facts;
    facts.may_promote = !s->in_recovery || f->rights[0] == 't';
    facts.may_resume = f->rights[1] == 't';
    facts.may_reload = f->rights[2] == 't';
    facts.may_make_slots = f->rights[3] == 't';
    facts.slots_lacking = lacking(missing_slots(f), f->free_slots);
    facts.walsenders_lacking = lacking((int)f->out->links, f->free_walsenders);
    return facts;
}

/* Has pg_wal no room for another segment? Its walreceiver comes and goes then. */
static bool
is_full(const struct failover *f, char *ret_why, size_t size)
{
    char path[sizeof f->who->self->pgdata + 8], have[24], need[24];
    uint64_t free_bytes, needed = f->in->spool.identity.segment_bytes;
    struct statvfs room;

    snprintf(path, sizeof path, "%s/pg_wal", f->who->self->pgdata);
    if (statvfs(path, &room) < 0)
        return false;
    free_bytes = (uint64_t)room.f_bavail * room.f_frsize;
    if (free_bytes >= needed)
        return false;
    snprintf(ret_why, size,
             ": %s are free on the file system of %s, a segment needs %s; make room there",
             text_bytes(have, sizeof have, free_bytes), path,
             text_bytes(need, sizeof need, needed));
    return true;
}

const char *
prepare_stall(const struct failover *f, lsn_t held, char *out, size_t size)
{
    bool connected;
    lsn_t flushed = prepare_flushed(f, &connected);
    char why[384] = "";

    if (!is_full(f, why, sizeof why) && !connected)
        snprintf(why, sizeof why,
                 ": its walreceiver does not connect to the relay (see primary_conninfo)");
    snprintf(out, size,
             "the PostgreSQL of %s has flushed WAL up to " LSN_FORMAT
             ", the spool holds it up to " LSN_FORMAT ", and nothing moves%s",
             f->who->self->name, LSN_ARGS(flushed), LSN_ARGS(held), why);
    return out;
}

static void
explain_stall(struct failover *f)
{
    char stall[700];

    if (postgres_state(f->who->postgres) != POSTGRES_UP)
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: the PostgreSQL of %s does not answer any more (%s); nothing was changed",
                 f->who->self->name, postgres_reason(f->who->postgres));
    else
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: %s. Nothing was changed; mend that (see its log) and run this again",
                 prepare_stall(f, f->target, stall, sizeof stall));
}

static void
explain_right(struct failover *f, const char *what, const char *grant, const char *overrule)
{
    snprintf(f->refusal, sizeof f->refusal,
             "refused: the agent's role may not %s on %s. As superuser, on the primary while that "
             "lives: %s; or name a superuser in postgres of [member %s] and "
             "restart this agent%s. Nothing was changed",
             what, f->who->self->name, grant, f->who->self->name, overrule);
}

#define OR_FORCE "; or run walferry failover --force, which goes on without it"

static void
explain(struct failover *f, enum prepared verdict, const struct prepare_facts *facts)
{
    const char *name = f->who->self->name;

    switch (verdict) {
    case PREPARED_NOT_YET:
    case PREPARED:
        break;
    case PREPARED_NO_PROMOTE:
        explain_right(f, "promote", "grant execute on function pg_promote to it", "");
        break;
    case PREPARED_NO_RESUME:
        explain_right(f, "resume replay, which is paused,",
                      "grant execute on function pg_wal_replay_resume to it",
                      "; or here: select pg_wal_replay_resume()");
        break;
    case PREPARED_NO_RELOAD:
        explain_right(f, "reload the settings, and commits would wait for a standby that is gone,",
                      "grant execute on function pg_reload_conf to it", OR_FORCE);
        break;
    case PREPARED_NO_SLOTS:
        if (!facts->may_make_slots)
            explain_right(f, "make slots for the members that come back",
                          "alter it with replication", OR_FORCE);
        else
            snprintf(f->refusal, sizeof f->refusal,
                     "refused: %d replication slots are free on %s, the members that come back "
                     "need %d more. Drop what nobody uses (pg_replication_slots)" OR_FORCE
                     ". Nothing was changed",
                     f->free_slots, name, facts->slots_lacking);
        break;
    case PREPARED_NO_WALSENDERS:
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: %d walsenders are free on %s, the members that come back need %d more. "
                 "End what nobody uses (pg_stat_replication), or raise max_wal_senders" OR_FORCE
                 ". Nothing was changed",
                 f->free_walsenders, name, facts->walsenders_lacking);
        break;
    case PREPARED_STALLED:
        explain_stall(f);
        break;
    }
}

enum prepared
prepare_run(struct failover *f, int64_t now_us)
{
    struct prepare_facts facts;
    enum prepared verdict;

    ask_postgres(f);
    facts = gather_facts(f, now_us);
    verdict = judge_prepared(&facts, &f->wish);
    if (verdict == PREPARED_NOT_YET && !facts.flushed && now_us - f->said_us >= SAY_US) {
        f->said_us = now_us;
        say(f, "waiting until the PostgreSQL of %s has flushed all up to " LSN_FORMAT,
            f->who->self->name, LSN_ARGS(f->target));
    }
    explain(f, verdict, &facts);
    return verdict;
}
