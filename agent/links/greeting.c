/* SPDX-License-Identifier: PostgreSQL */
/* See greeting.h. */
#include "links/greeting.h"

#include "postgres/control_file.h"

#include "shipper/wal/hold.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WRITABLE                                                                                    \
    "the PostgreSQL of %s is writable (a former primary, or promoted by hand): bring it back as a " \
    "standby, there: walferry rejoin"

static void refuse(struct incoming *in, struct session *s, enum refuse_kind kind,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

static void
refuse(struct incoming *in, struct session *s, enum refuse_kind kind, const char *format, ...)
{
    struct epoch_origin origin = pool_origin(&in->who->pool);
    char reason[FRAME_REASON_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    inlet_refuse(&in->inlet, s, kind, &origin, reason);
}

static bool
is_writable(const struct incoming *in)
{
    const struct postgres_sample *s = postgres_sample(in->who->postgres);

    return s != NULL && !s->in_recovery && postgres_state(in->who->postgres) == POSTGRES_UP;
}

void
greeting_part(struct incoming *in)
{
    char reason[FRAME_REASON_MAX];

    if (in->inlet.live == NULL || in->who->role != ROLE_FENCED || !is_writable(in) ||
        !pool_was_primary(&in->who->pool, in->who->self->name))
        return;
    snprintf(reason, sizeof reason, WRITABLE, in->who->self->name);
    inlet_end(&in->inlet, reason);
}

/* The far side's claim to be the primary. */
static bool
check_claim(struct incoming *in, struct session *s, const struct hello *h,
            struct epoch_origin *ret_told)
{
    struct epoch_origin theirs = {.epoch = h->epoch, .timeline = h->timeline};
    char reason[FRAME_REASON_MAX];
    enum refuse_kind kind;

    switch (judge_claim(&in->who->pool, h->from, &h->epoch, &kind, reason)) {
    case CLAIM_REFUSED:
        if (kind == REFUSE_CONFLICT)
            *ret_told = theirs;
        refuse(in, s, kind, "%s", reason);
        return false;
    case CLAIM_HIGHER:
        if (receiver_judge(&in->receiver, h) < 0 && in->who->role != ROLE_PRIMARY) {
            refuse(in, s, REFUSE_OPERATOR, "%s", fail_message());
            return false;
        }
        *ret_told = theirs;
        break;
    case CLAIM_GOOD:
        break;
    }
    return true;
}

bool
greeting_check(struct incoming *in, struct session *s, const struct hello *h,
               struct epoch_origin *ret_told)
{
    const struct member *self = in->who->self;
    const struct config *config = in->who->config;
    uint64_t ours = postgres_identity(in->who->postgres)->system_identifier;
    struct identity control;

    *ret_told = (struct epoch_origin){0};
    if (ours == 0 && control_file_identity(self->pgdata, &control) == 0)
        ours = control.system_identifier;
    if (strcmp(h->pool, config->name) != 0)
        refuse(in, s, REFUSE_OPERATOR, "this agent serves pool %s, not %s", config->name, h->pool);
    else if (strcmp(h->to, self->name) != 0)
        refuse(in, s, REFUSE_OPERATOR,
               "this is %s, not %s: compare the ssh addresses of both in the pool's file",
               self->name, h->to);
    else if (config_member(config, h->from) == NULL)
        refuse(in, s, REFUSE_OPERATOR, "%s is no member of the pool's file on %s", h->from,
               self->name);
    else if (h->lane == HELLO_KNOCKS)
        refuse(in, s, REFUSE_RETRY, "%s would be let in%s", h->from,
               inlet_no_tunnel(s) ? KNOCK_NO_TUNNEL : "");
    else if (ours != 0 && ours != h->identity.system_identifier)
        refuse(in, s, REFUSE_OPERATOR,
               "another database cluster: the system identifier of %s is %" PRIu64
               ", the PostgreSQL of %s has %" PRIu64
               "; its data directory is no copy of this pool's",
               h->from, h->identity.system_identifier, self->name, ours);
    else
        return check_claim(in, s, h, ret_told);
    return false;
}

/* Where an empty spool shall begin. */
static lsn_t
wanted_start(const struct incoming *in, int64_t wall_us, timeline_t *ret_timeline)
{
    const struct postgres_sample *sample = postgres_sample(in->who->postgres);
    lsn_t wanted = in->relay.wanted;

    *ret_timeline = in->relay.wanted_timeline;
    if (wanted == LSN_UNKNOWN && sample != NULL && sample->in_recovery &&
        sample->replay != LSN_UNKNOWN) {
        wanted = sample->replay; /* what a fresh spool's standby will ask for first */
        *ret_timeline = sample->timeline;
    }
    if (hold_from(in->spool.dir, wall_us) != UINT64_MAX)
        wanted = LSN_UNKNOWN; /* a new copy is made: what the old one lacks is not needed */
    return wanted;
}

bool
greeting_answer(struct incoming *in, struct session *s, const struct hello *h, int64_t now_us,
                int64_t wall_us)
{
    const char *self = in->who->self->name;
    timeline_t timeline;
    lsn_t wanted;

    if (pool_judge(&in->who->pool, &h->epoch) != POOL_SAME) {
        refuse(in, s, REFUSE_OPERATOR, "epoch %" PRIu64 " of %s is not believed here",
               h->epoch.number, h->from);
    } else if (is_writable(in)) {
        /* a server that is down may be on its way back: rejoin wants the WAL in the spool */
        refuse(in, s, REFUSE_OPERATOR, WRITABLE, self);
    } else if (in->renewing != 0) {
        refuse(in, s, REFUSE_RETRY, "%s", INCOMING_RENEWED);
    } else if (in->spool.next_timeline != 0) { /* where it goes on is not certain */
        refuse(in, s, REFUSE_RETRY, "the spool goes over to timeline %u just now",
               in->spool.next_timeline);
    } else if (in->shut) {
        refuse(in, s, REFUSE_RETRY, "%s takes no WAL now: %s", self, in->error);
    } else if (receiver_judge(&in->receiver, h) < 0) {
        refuse(in, s, REFUSE_OPERATOR, "%s", fail_message());
    } else {
        wanted = wanted_start(in, wall_us, &timeline);
        if (inlet_accept(&in->inlet, s, timeline, wanted, in->who->config->digest, now_us) == 0)
            return true;
        refuse(in, s, REFUSE_RETRY, "%s", fail_message());
    }
    return false;
}
