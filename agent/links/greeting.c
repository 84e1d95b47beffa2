/* SPDX-License-Identifier: PostgreSQL */
/* See greeting.h. */
#include "links/greeting.h"

#include "links/promised.h"
#include "postgres/control_file.h"

#include "base/clock.h"
#include "shipper/wal/hold.h"
#include "shipper/wal/pgwal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WRITABLE                                                                                    \
    "the PostgreSQL of %s is writable (a former primary, or promoted by hand): bring it back as a " \
    "standby, there: walferry rejoin"

#define FORKED                                                                                          \
    "On the host of %s: walferry rejoin keeps it and follows; if the data directory is gone, walferry " \
    "seed --discard"

#define UNRELATED                                                                                  \
    "If that one is the right primary, make a new copy on the host of %s: walferry seed --replace --discard"

static void refuse(struct incoming *in, struct session *s, enum refuse_kind kind,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

static void
tell_pool(const struct incoming *in, struct session *s)
{
    struct frame f;

    who_pool_frame(in->who, &f);
    inlet_tell(s, &f);
}

static void
refuse(struct incoming *in, struct session *s, enum refuse_kind kind, const char *format, ...)
{
    struct epoch_origin origin = pool_origin(&in->who->pool);
    char reason[FRAME_REASON_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (kind == REFUSE_EPOCH || kind == REFUSE_CONFLICT)
        tell_pool(in, s);
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

#define FOREIGN "%s, asked itself, knows nothing of this session"
#define FED_US  (2 * SECOND_US) /* a living link is never silent for so long */

void
greeting_prove(struct incoming *in, int64_t now_us)
{
    const char *from = in->receiver.from;
    enum session_word word;
    char reason[200];

    if (in->inlet.live == NULL) {
        if (in->unproven)
            receiver_forget(&in->receiver);
        in->unproven = false;
        return;
    }
    word = asks_session(in->asks, from, in->inlet.incarnation);
    in->unproven = word != SESSION_OWN;
    if (word != SESSION_FOREIGN)
        return;
    asks_foreign(in->asks, from, now_us);
    snprintf(reason, sizeof reason, FOREIGN, from);
    inlet_end(&in->inlet, reason);
}

/* For a history that somebody with the key of the primary may have made up nothing here is looked
 * through, cut, marked as forked or kept; nor does he take the place of another member that feeds us. */
static bool
check_session(struct incoming *in, struct session *s, const struct hello *h)
{
    const struct ask *q = asks_of(in->asks, h->from);

    if (asks_session(in->asks, h->from, h->incarnation) == SESSION_OWN)
        return true;
    refuse(
        in, s, REFUSE_RETRY,
        "%s asks %s back whether this is its session: its timeline %u is not yet known here%s%.300s",
        in->who->self->name, h->from, h->timeline,
        q != NULL && q->reason[0] != '\0' ? "; it was not reached: " : "",
        q != NULL ? q->reason : "");
    return false;
}

/* Does another member feed this one now? */
static bool
is_fed(const struct incoming *in, const struct hello *h, int64_t now_us)
{
    const struct receiver *r = &in->receiver;

    return receiver_live(r) && strcmp(r->from, h->from) != 0 && now_us - r->heard_us < FED_US;
}

/*
 * Does the WAL of our epoch's primary continue ours? False: it was refused. What lies here behind the
 * fork of its timeline is looked at first; a record that never became whole is cut off.
 */
static bool
check_wal(struct incoming *in, struct session *s, const struct hello *h, int64_t now_us)
{
    lsn_t fork = LSN_UNKNOWN;
    bool behind =
        spool_goes_on_behind(&in->spool, h->timeline, h->history, h->history_bytes, &fork);
    int code;

    if (((!spool_empty(&in->spool) && h->timeline > in->spool.timeline) || is_fed(in, h, now_us)) &&
        !check_session(in, s, h))
        return false;
    code = receiver_judge(&in->receiver, h);
    in->forked = code == ERR_CORRUPT && behind ? fork : LSN_UNKNOWN;
    if (code == 0 && !behind)
        return true;
    if (code == 0 || code == ERR_AGAIN) {
        refuse(in, s, REFUSE_RETRY, "what the spool holds behind the fork is looked at just now");
        incoming_cut(in, code == 0 ? CUT_TORN : CUT_LOOK, fork);
    } else if (in->forked != LSN_UNKNOWN) {
        refuse(in, s, REFUSE_OPERATOR, "%s. " FORKED, fail_message(), in->who->self->name);
    } else if (code == ERR_CORRUPT && !spool_empty(&in->spool) &&
               in->spool.identity.system_identifier == h->identity.system_identifier) {
        refuse(in, s, REFUSE_OPERATOR, "%s. " UNRELATED, fail_message(), in->who->self->name);
    } else {
        refuse(in, s, REFUSE_OPERATOR, "%s", fail_message());
    }
    return false;
}

/* Who claims a higher epoch is asked back first. Until then its WAL is only compared with ours, so
 * that the DBA hears at once that it cannot continue it; the spool is neither looked through for it
 * nor marked as forked. */
static void
refuse_unconfirmed(struct incoming *in, struct session *s, const struct hello *h,
                   const char *reason)
{
    tell_pool(in, s); /* it may know less than we do, and we may not dial it */
    if (in->who->role != ROLE_PRIMARY && receiver_judge(&in->receiver, h) == ERR_CORRUPT)
        refuse(in, s, REFUSE_RETRY, "%s; its WAL does not continue ours: %s", reason,
               fail_message());
    else
        refuse(in, s, REFUSE_RETRY, "%s", reason);
}

/* Is there a reason not to hear a feeder that is not the primary? A later table wins, whoever heard of
 * it first; and while a failover runs here the primary itself is wanted. */
static bool
is_late(const struct incoming *in, const struct hello *h, char ret_reason[FRAME_REASON_MAX])
{
    const struct pool *p = &in->who->pool;
    uint64_t known = epoch_equal(&p->routes.epoch, &p->epoch) ? p->routes.number : 0;

    if (strcmp(h->from, h->epoch.member) == 0)
        return false;
    if (receiver_live(&in->receiver) && in->table > known)
        known = in->table;
    if (in->who->asking->promise.number != 0)
        snprintf(ret_reason, FRAME_REASON_MAX, "a failover runs on %s: it takes WAL of %s itself",
                 in->who->self->name, h->epoch.member);
    else if (h->table < known)
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "%s ships by table %" PRIu64 " of the routes, %s knows a later one", h->from,
                 h->table, in->who->self->name);
    else
        return false;
    return true;
}

/* The far side's claim to be the primary, or to pass its WAL on. */
static bool
check_claim(struct incoming *in, struct session *s, const struct hello *h, bool *ret_asks)
{
    static struct told told; /* large */
    char reason[FRAME_REASON_MAX];
    enum refuse_kind kind;
    enum claim claim;

    told_hello(&told, h);
    claim = judge_claim(&in->who->pool, in->who->self->name, &told, &kind, reason);
    if (claim == CLAIM_GOOD && !is_late(in, h, reason))
        return true;
    if (claim == CLAIM_GOOD)
        kind = REFUSE_RETRY;
    *ret_asks = claim == CLAIM_ASK;
    if (*ret_asks && kind == REFUSE_RETRY)
        refuse_unconfirmed(in, s, h, reason);
    else
        refuse(in, s, kind, "%s", reason);
    return false;
}

static bool
is_on_path(const struct hello *h, const char *member)
{
    for (size_t i = 0; i < h->hops; i++)
        if (strcmp(h->path[i], member) == 0)
            return true;
    return false;
}

/* A knock that asks for a promise. Only a refusal needs no asking back whether it asks. */
static void
answer_promise(struct incoming *in, struct session *s, const struct hello *h, bool *ret_asks)
{
    struct frame f = {.type = FRAME_PROMISE,
                      .promise = {.number = h->epoch.number, .nonce = h->incarnation}};
    char reason[FRAME_REASON_MAX];
    enum promise_verdict verdict;

    snprintf(f.promise.asker, sizeof f.promise.asker, "%s", h->from);
    verdict = promised_judge(in, &f.promise, clock_us(), reason);
    *ret_asks = verdict == PROMISE_YES && !promised_stands(&in->who->pool, &f.promise);
    if (*ret_asks || verdict == PROMISE_LATER)
        return;
    promised_answer(&in->who->pool, verdict, reason, &f.promise);
    inlet_tell(s, &f);
}

/* The history of the timeline that own_position of who.c tells; its length, or an error. */
static int
load_history(const struct incoming *in, timeline_t timeline, char *out, size_t size)
{
    if (timeline <= 1)
        return 0;
    return spool_empty(&in->spool) ? pgwal_history(in->who->self->pgdata, timeline, out, size)
                                   : spool_history(&in->spool, timeline, out, size);
}

/* Only of WAL that nothing speaks against: what a failover may take of it, and what is in it. */
static void
tell_held(const struct incoming *in, const struct member_position *own, struct held_wal *h)
{
    static char text[FRAME_HELD_MAX + 1];
    const struct receiver *r = &in->receiver;
    int got = load_history(in, own->timeline, text, sizeof text);
    int64_t primary_us;

    if (own->timeline == 0 || got < 0 || in->forked != LSN_UNKNOWN || in->inlet.refuted ||
        in->who->replay.replay == REPLAY_FORKED || is_writable(in))
        return;
    *h = (struct held_wal){.told = true,
                           .start = spool_empty(&in->spool) ? LSN_UNKNOWN : in->spool.start,
                           .history = text,
                           .history_bytes = (size_t)got};
    if (r->detached || in->unproven || r->older || in->who->role != ROLE_STANDBY ||
        strcmp(r->origin, in->who->pool.epoch.member) != 0 ||
        !receiver_primary_us(r, clock_us(), &primary_us))
        return;
    h->covered = r->flushed.covered.lsn;
    h->wall_us = r->flushed.covered.wall_us;
    if (primary_us > r->flushed.covered.mono_us)
        h->age_us = primary_us - r->flushed.covered.mono_us;
}

static bool
answer_knock(struct incoming *in, struct session *s, const struct hello *h, bool dialled,
             bool *ret_asks)
{
    struct frame pool, ask = {.type = FRAME_PROMISE, .promise = in->who->asking->promise};

    who_pool_frame(in->who, &pool);
    if (h->session != 0)
        pool.pool.session = dialled ? SESSION_OWN : SESSION_FOREIGN;
    tell_held(in, &pool.pool.position[0], &pool.pool.held);
    inlet_tell(s, &pool);
    if (h->stays != 0 && in->stays != NULL && in->stays(in->stays_context, s, h))
        return false;
    if (ask.promise.number != 0)
        inlet_tell(s, &ask);
    if (h->incarnation != 0)
        answer_promise(in, s, h, ret_asks);
    refuse(in, s, REFUSE_RETRY, "%s would be let in%s", h->from,
           inlet_no_tunnel(s) ? KNOCK_NO_TUNNEL : "");
    return false;
}

bool
greeting_check(struct incoming *in, struct session *s, const struct hello *h, bool dialled,
               bool *ret_asks)
{
    const struct member *self = in->who->self;
    const struct config *config = in->who->config;
    uint64_t ours = postgres_identity(in->who->postgres)->system_identifier;
    struct identity control;

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
        return answer_knock(in, s, h, dialled, ret_asks);
    else if (is_on_path(h, self->name))
        refuse(in, s, REFUSE_OPERATOR, "what %s ships comes from %s: WAL would go in a circle",
               h->from, self->name);
    else if (ours != 0 && ours != h->identity.system_identifier)
        refuse(in, s, REFUSE_OPERATOR,
               "another database cluster: the system identifier of %s is %" PRIu64
               ", the PostgreSQL of %s has %" PRIu64
               "; its data directory is no copy of this pool's",
               h->from, h->identity.system_identifier, self->name, ours);
    else
        return check_claim(in, s, h, ret_asks);
    return false;
}

/* Where an empty spool shall begin. `relayed`: the feeder has no slot of ours that knows it, too. */
static lsn_t
wanted_start(const struct incoming *in, bool relayed, int64_t wall_us, timeline_t *ret_timeline)
{
    const struct postgres_sample *sample = postgres_sample(in->who->postgres);
    lsn_t wanted = in->relay.wanted;

    *ret_timeline = in->relay.wanted_timeline;
    if (wanted == LSN_UNKNOWN && sample != NULL && sample->in_recovery &&
        sample->replay != LSN_UNKNOWN && in->who->replay.replay != REPLAY_FORKED) {
        wanted = sample->replay; /* what a fresh spool's standby will ask for first */
        *ret_timeline = sample->timeline;
    }
    if (hold_from(in->spool.dir, wall_us) != UINT64_MAX)
        wanted = relayed
                     ? in->relay.wanted
                     : LSN_UNKNOWN; /* a new copy is made: what the old one lacks is not needed */
    return wanted;
}

void
greeting_begin(struct incoming *in, int64_t wall_us)
{
    timeline_t timeline;
    lsn_t wanted;

    if (in->inlet.live == NULL || !in->begin_unknown || !spool_empty(&in->spool) ||
        !receiver_relayed(&in->receiver))
        return;
    wanted = wanted_start(in, true, wall_us, &timeline);
    if (wanted != LSN_UNKNOWN && wanted <= in->receiver.stamped.lsn)
        inlet_end(&in->inlet, "it is known now from where on PostgreSQL here needs WAL");
}

bool
greeting_answer(struct incoming *in, struct session *s, const struct hello *h, int64_t now_us,
                int64_t wall_us)
{
    const char *self = in->who->self->name;
    bool same = pool_judge(&in->who->pool, &h->epoch) == POOL_SAME,
         foreign = asks_whose(in->asks, h->from, h->incarnation) == SESSION_FOREIGN;
    timeline_t timeline;
    lsn_t wanted;

    if (same && !foreign && strcmp(h->from, h->epoch.member) == 0)
        in->claimed_us = now_us;
    if (in->who->pool.promised.number != 0) {
        refuse(in, s, REFUSE_RETRY,
               "epoch %" PRIu64 " is promised to %s, where a failover runs: until that is over %s "
               "takes nothing of a lower one. If %s is gone, on the host of %s: walferry failover "
               "--break-promise %s",
               in->who->pool.promised.number, in->who->pool.promised.member, self,
               in->who->pool.promised.member, self, in->who->pool.promised.member);
    } else if (!same) {
        refuse(in, s, REFUSE_OPERATOR, "epoch %" PRIu64 " of %s is not believed here",
               h->epoch.number, h->from);
    } else if (foreign) {
        asks_foreign(in->asks, h->from, now_us);
        refuse(in, s, REFUSE_OPERATOR, FOREIGN, h->from);
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
    } else if (check_wal(in, s, h, now_us)) {
        wanted = wanted_start(in, strcmp(h->from, h->epoch.member) != 0, wall_us, &timeline);
        front_direct(in, &timeline, &wanted, now_us);
        if (in->unproven) /* what the last one told, whose place it may take */
            receiver_forget(&in->receiver);
        in->table = h->table; /* h is gone once it is accepted */
        if (inlet_accept(&in->inlet, s, timeline, wanted, in->who->config->digest, now_us) == 0) {
            in->begin_unknown = spool_empty(&in->spool);
            return true;
        }
        refuse(in, s, REFUSE_RETRY, "%s", fail_message());
    }
    return false;
}
