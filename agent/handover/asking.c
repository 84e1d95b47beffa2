/* SPDX-License-Identifier: PostgreSQL */
/* See asking.h. */
#include "handover/asking.h"

#include "handover/tails.h"
#include "handover/tell.h"

#include "base/clock.h"
#include "base/kill_point.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ASK_EACH_US (200 * MILLISECOND_US)
#define FRESH_US    (4 * SECOND_US) /* its word, before the epoch is spent; others are waited for */
#define NOT_ASKED   UINT64_MAX      /* in no session */

/* Is there a link from that member, which is the primary then? */
static bool
is_linked(const struct failover *f, const struct member *m)
{
    return incoming_own(f->in) && strcmp(f->in->receiver.from, m->name) == 0;
}

/* Is there a session with the primary's key that nobody has confirmed? */
static bool
is_unproven(const struct failover *f)
{
    const struct receiver *r = &f->in->receiver;

    return receiver_live(r) && !receiver_relayed(r) && !incoming_own(f->in);
}

/* What has the primary said to the present ask for its promise? */
static enum promise_word
primary_promise(const struct failover *f, const char **ret_reason)
{
    const struct config *config = f->who->config;

    *ret_reason = "";
    for (size_t i = 0; i < config->members; i++)
        if (strcmp(config->member[i].name, f->former) == 0) {
            *ret_reason = f->answer[i].reason;
            return f->answer[i].word;
        }
    return 0;
}

/* As incoming_passed_us, of the primary that is to be replaced. */
static int64_t
beacon_us(const struct failover *f)
{
    bool passed = strcmp(f->in->receiver.origin, f->former) == 0;

    return passed && !f->resumes ? incoming_passed_us(f->in) : 0;
}

/* When the primary was heard of last, over its link or through a head. */
static int64_t
heard_us(const struct failover *f)
{
    int64_t us = beacon_us(f);

    return us != 0 ? us : f->in->receiver.heard_us;
}

/*
 * With a server that is writable the primary gets no new session: a reclaim knows that it is alive
 * by its agent, which goes on dialling. A primary that has promised has a dead server and an agent
 * that lives, also while there is no link from it, or one that says nothing. One whose beacon was
 * made since the ask has a server that answers, whoever brings it.
 */
static bool
has_answered(const struct failover *f, enum pong_postgres *ret_word)
{
    const struct receiver *r = &f->in->receiver;
    bool linked = incoming_own(f->in) && r->postgres_us >= f->asked_us,
         dials = f->wish.reclaim && f->in->claimed_us > f->asked_us,
         passed = beacon_us(f) >= f->asked_us;
    const char *reason;
    bool promised = !f->resumes && primary_promise(f, &reason) == PROMISE_GIVE;

    *ret_word = linked                ? r->postgres
                : dials               ? PONG_POSTGRES_ANSWERS
                : promised || !passed ? PONG_POSTGRES_DEAD
                                      : PONG_POSTGRES_ANSWERS;
    return linked || dials || promised || passed;
}

/* For its word, and for the promise of those that have not given it. A link that says nothing may be
 * dead while its agent lives. */
static void
ask(struct failover *f, int64_t now_us)
{
    struct frame promise = {.type = FRAME_PROMISE, .promise = f->own.promise};
    const struct config *config = f->who->config;
    enum pong_postgres word;
    bool quiet = now_us - f->asked_us >= SECOND_US && !has_answered(f, &word);

    receiver_ping(&f->in->receiver, now_us);
    for (size_t i = 0; f->own.promise.number != 0 && i < config->members; i++) {
        const struct member *m = &config->member[i];

        if (f->answer[i].word == PROMISE_GIVE || m == f->who->self)
            continue;
        if (is_linked(f, m))
            receiver_tell(&f->in->receiver, &promise);
        if (!is_linked(f, m) || quiet)
            asks_hurry(f->asks, m->name);
    }
    inlet_push(&f->in->inlet);
}

/* Another ask: no answer to an earlier one counts. */
static void
ask_anew(struct failover *f, int64_t now_us)
{
    const struct config *config = f->who->config;
    struct promise *p = &f->own.promise;

    if (f->wish.dry_run)
        return;
    *p = (struct promise){.word = PROMISE_ASK,
                          .number = f->wish.epoch != 0 ? f->wish.epoch
                                    : f->resumes       ? f->pool->epoch.number
                                                       : f->pool->epoch.number + 1,
                          .nonce = (uint64_t)clock_wall_us(),
                          .reason = ""};
    snprintf(p->asker, sizeof p->asker, "%s", f->who->self->name);
    f->own.forced = f->wish.force;
    f->promises_us = now_us;
    memset(f->answer, 0, sizeof f->answer);
    for (size_t i = 0; i < config->members; i++)
        if (&config->member[i] != f->who->self)
            asks_anew(f->asks, config->member[i].name, f->again ? f->first_asked_us : now_us,
                      now_us);
}

void
asking_hear(struct failover *f, const char *member, const struct promise *promise)
{
    const struct config *config = f->who->config;

    if (f->own.promise.number == 0 || promise->nonce != f->own.promise.nonce)
        return;
    for (size_t i = 0; i < config->members; i++)
        if (strcmp(config->member[i].name, member) == 0) {
            f->answer[i].word = promise->word;
            f->answer[i].heard_us = clock_us();
            f->answer[i].yields = strcmp(promise->asker, f->who->self->name) < 0;
            text_escape(f->answer[i].reason, sizeof f->answer[i].reason, promise->reason,
                        strlen(promise->reason));
        }
}

void
asking_begin(struct failover *f, bool again, int64_t now_us)
{
    set_phase(f, FAILOVER_ASKING, now_us);
    if (!again) {
        inlet_shut(&f->in->inlet, false);
        f->since_us = now_us;
    }
    f->again = again;
    f->asked_us = now_us;
    if (f->first_asked_us == 0) {
        f->first_asked_us = now_us;
        f->against = f->pool->epoch;
        snprintf(f->former, sizeof f->former, "%s",
                 f->resumes ? pool_origin(f->pool).parent.member : f->pool->epoch.member);
    }
    f->took = f->in->spool.written;
    tails_ask(f);
    ask_anew(f, now_us);
    ask(f, now_us);
}

bool
asking_news(const struct failover *f)
{
    enum pong_postgres word;

    return has_answered(f, &word) && (!f->has_word || word != f->word);
}

/* It may be one whose session was never here. */
static const char *
primary_name(const struct failover *f)
{
    return f->resumes                   ? f->former
           : f->pool->epoch.number != 0 ? f->pool->epoch.member
                                        : f->in->receiver.from;
}

/* WAL that comes is progress, whatever the primary says. */
static void
note_progress(struct failover *f, int64_t now_us)
{
    if (f->in->spool.written <= f->took)
        return;
    f->took = f->in->spool.written;
    f->since_us = now_us;
    f->asked_again = false;
}

/* The primary, as the DBA reads it behind "the PostgreSQL of X". */
static const char *
word_text(enum pong_postgres word)
{
    switch (word) {
    case PONG_POSTGRES_UNKNOWN:
        return "was not yet asked by its agent, which was just started";
    case PONG_POSTGRES_ANSWERS:
        return "answers";
    case PONG_POSTGRES_SILENT:
        return "does not answer its agent, though its postmaster is there";
    case PONG_POSTGRES_DEAD:
        return "is dead, its agent lives";
    case PONG_POSTGRES_STARTING:
        return "is starting";
    case PONG_POSTGRES_STOPPING:
        return "is stopping";
    }
    return "";
}

static void
say_word(struct failover *f)
{
    const struct failover_wish *wish = &f->wish;
    const char *from = primary_name(f), *what = word_text(f->word);

    if (f->word == PONG_POSTGRES_ANSWERS && wish->force)
        say(f,
            "the primary %s answers; going on because of --force: it stays writable until "
            "it is stopped, and what it commits from now on will be lost",
            from);
    else if (f->word == PONG_POSTGRES_ANSWERS && wish->dry_run)
        say(f, "the primary %s answers: without --force this would be refused", from);
    else if (f->word == PONG_POSTGRES_DEAD && wish->reclaim)
        say(f, "the PostgreSQL of %s %s: what is left in its pg_wal stays there", from, what);
    else if (f->word == PONG_POSTGRES_DEAD && wish->dry_run)
        say(f,
            "the PostgreSQL of %s %s: what is left in its pg_wal would be shipped first, "
            "then nothing is lost",
            from, what);
    else if (f->word == PONG_POSTGRES_DEAD)
        say(f, "the PostgreSQL of %s %s: shipping what is left in its pg_wal", from, what);
    else if (f->word != PONG_POSTGRES_ANSWERS)
        say(f, "the PostgreSQL of %s %s: %s", from, what,
            wish->dry_run ? "that would be waited for" : "waiting for another word of it");
}

/* Another word than before: what was done by the old one counts no more. */
static void
note_word(struct failover *f, int64_t now_us)
{
    if (!asking_news(f))
        return;
    f->has_word = true;
    f->silent = false;
    has_answered(f, &f->word);
    f->loss_known = f->wish.rescue_failed = false;
    f->since_us = f->promises_us = now_us;
    for (size_t i = 0; i < MEMBERS_MAX; i++)
        if (f->answer[i].word == PROMISE_REFUSE)
            f->answer[i].word = 0;
    if (f->again) {
        f->again = false;
        inlet_shut(&f->in->inlet, false);
    }
    say_word(f);
}

static struct primary_facts
gather_facts(const struct failover *f, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    bool linked = incoming_own(f->in);
    enum pong_postgres word;
    int64_t since_us = linked ? r->heard_us : f->in->inlet.since_us;

    if (!linked && since_us < beacon_us(f))
        since_us = beacon_us(f);
    if (since_us < f->first_asked_us)
        since_us = f->first_asked_us;
    return (struct primary_facts){.linked = linked,
                                  .unproven = is_unproven(f),
                                  .arrives = inlet_arrives(&f->in->inlet, now_us),
                                  .answered = has_answered(f, &word),
                                  .word = f->word,
                                  .rescued = f->loss_known,
                                  .behind = inlet_behind(&f->in->inlet),
                                  .unheard = f->silent && heard_us(f) == f->heard_us,
                                  .asked_us = now_us - f->asked_us,
                                  .quiet_us = now_us - since_us,
                                  .word_us = now_us - f->since_us,
                                  .round_trip_us = r->offset.round_trip_us};
}

static void
say_silence(struct failover *f, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    const struct ask *q = asks_of(f->asks, primary_name(f));
    const char *reason;
    char ago[32];

    if (f->silent && heard_us(f) == f->heard_us)
        return;
    f->silent = true;
    f->heard_us = heard_us(f);
    if (primary_promise(f, &reason) == PROMISE_REFUSE)
        say(f,
            "the primary %s refuses: %s; going on because of --force: if its PostgreSQL takes "
            "writes, it does so until it is stopped, and what it commits from now on will be lost",
            primary_name(f), reason);
    else if (is_unproven(f))
        say(f,
            "a link with the key of %s is up, and %s was not reached to say whether it is its own: "
            "nothing that it tells counts",
            r->from, r->from);
    else if (f->wish.reclaim)
        say(f, "the primary %s is not heard of. A cut line looks the same from here",
            primary_name(f));
    else if (f->wish.dry_run && q != NULL && q->told_us >= f->asked_us)
        say(f,
            "the agent of %s answers, and nothing is heard of its PostgreSQL: a failover would ask "
            "it for its promise",
            primary_name(f));
    else if (beacon_us(f) != 0)
        say(f,
            "the primary %s does not answer; it answered last %s ago, by what %s passed on. A cut "
            "line looks the same from here: make sure that it is not serving clients",
            primary_name(f), text_duration(ago, sizeof ago, now_us - beacon_us(f)), r->from);
    else if (r->heard_us == 0 || strcmp(r->from, primary_name(f)) != 0)
        say(f, "the primary does not answer, and nothing is known of when it was heard of last");
    else
        say(f,
            "the primary %s does not answer; last heard of %s ago. A cut line looks the "
            "same from here: make sure that it is not serving clients",
            r->from, text_duration(ago, sizeof ago, now_us - r->heard_us));
}

static enum asked
refuse(struct failover *f, bool answered)
{
    const char *from = primary_name(f);
    const struct ask *q = asks_of(f->asks, from);

    if (!answered && is_unproven(f))
        snprintf(
            f->refusal, sizeof f->refusal,
            "refused: a link with the key of %s is up, and %s is not reached to say whether it is "
            "its own%s%.300s. Mend the way to its agent and run this again; if %s must go all "
            "the same: walferry failover %s--force",
            from, from, q != NULL && q->reason[0] != '\0' ? ": " : "", q != NULL ? q->reason : "",
            from,
            f->wish.reclaim ? "--reclaim "
            : f->wish.dead  ? "--dead "
                            : "");
    else if (f->wish.reclaim)
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: the primary %s is alive, its agent is heard. Make %s its standby: "
                 "walferry rejoin. If %s must go all the same: walferry failover --reclaim --force",
                 from, f->who->self->name, from);
    else if (f->wish.rescue_failed)
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: what %s has left in its pg_wal is not here. Run this again when that is "
                 "mended, or give it up: walferry failover --force",
                 from);
    else if (!answered)
        snprintf(
            f->refusal, sizeof f->refusal,
            "refused: the agent of %s dials again and again, and no word of its PostgreSQL "
            "comes%s%.300s. Mend that and run this again; if it must go all the same: walferry "
            "failover --force",
            from, f->in->inlet.reason[0] != '\0' ? ": " : "", f->in->inlet.reason);
    else if (f->word == PONG_POSTGRES_ANSWERS)
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: the primary %s answers, its PostgreSQL accepts connections. If it must "
                 "go all the same, stop it first, or run: walferry failover --force",
                 from);
    else
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: the PostgreSQL of %s %s. Run this again when it answers or is down; if "
                 "it must go all the same: walferry failover --force",
                 from, word_text(f->word));
    return ASKED_REFUSED;
}

/* ---- promises ---- */

bool
asking_overtaken(struct failover *f)
{
    const struct pool *p = f->pool;
    const char *self = f->who->self->name;

    if (p->promised.number != 0 && !f->wish.force)
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: %s has promised epoch %" PRIu64
                 " to %s, where a failover runs. If %s is gone: walferry failover "
                 "--break-promise %s here, then run this again",
                 self, p->promised.number, p->promised.member, p->promised.member,
                 p->promised.member);
    else if (!epoch_equal(&f->against, &p->epoch))
        snprintf(f->refusal, sizeof f->refusal,
                 "refused: %s has become the primary of epoch %" PRIu64 " meanwhile",
                 p->epoch.member, p->epoch.number);
    else
        return false;
    return true;
}

static enum asked
lacks_promise(struct failover *f, size_t i)
{
    const char *member = f->who->config->member[i].name;
    bool may_be_dead =
        !f->wish.dead && strcmp(member, f->former) == 0 && f->who->config->members > 2;

    if (f->answer[i].word == PROMISE_REFUSE)
        snprintf(f->refusal, sizeof f->refusal,
                 "refused by %s: %s. If it must go all the same: walferry failover --force", member,
                 f->answer[i].reason);
    else
        snprintf(
            f->refusal, sizeof f->refusal,
            "refused: %s has not promised to keep out of the way (its agent is not reached, "
            "its PostgreSQL starts, stops or is promoted, or %s cannot be dialled from there). "
            "%s; if it must go all the same: walferry failover --force",
            member, f->who->self->name,
            may_be_dead ? "If its host is dead: walferry failover --dead. Else mend that and run "
                          "this again"
                        : "Mend that and run this again");
    return ASKED_REFUSED;
}

static void
note_given(struct failover *f, int64_t now_us)
{
    unsigned given = 0;

    for (size_t i = 0; i < f->who->config->members; i++)
        given += f->answer[i].word == PROMISE_GIVE;
    if (given > f->given)
        f->promises_us = now_us;
    f->given = given;
}

static enum asked
wait_for_promises(struct failover *f, int64_t now_us)
{
    const struct config *config = f->who->config;
    enum asked asked = ASKED_GOES_ON;
    enum pong_postgres word;

    note_given(f, now_us);
    for (size_t i = 0; f->own.promise.number != 0 && i < config->members; i++) {
        const struct member *m = &config->member[i];
        const struct ask *q = asks_of(f->asks, m->name);
        struct asked_member facts = {.primary =
                                         f->former[0] == '\0' || strcmp(f->former, m->name) == 0,
                                     .linked = is_linked(f, m) && has_answered(f, &word),
                                     .given = f->answer[i].word == PROMISE_GIVE,
                                     .refused = f->answer[i].word == PROMISE_REFUSE,
                                     .yields = f->answer[i].yields,
                                     .asked_us = now_us - f->promises_us,
                                     .refused_us = f->answer[i].heard_us - f->promises_us,
                                     .reached = q != NULL && q->reached};

        if (q == NULL)
            continue; /* this member */
        if (q->state != ASK_RESTS)
            facts.dials_us = now_us - q->begun_us;
        else
            facts.failed = q->reason[0] != '\0';
        switch (judge_asked(&facts, config->members, &f->wish)) {
        case ASKED_MEMBER_GOOD:
            break;
        case ASKED_MEMBER_LACKS:
            return lacks_promise(f, i);
        case ASKED_MEMBER_WAITS:
            asked = ASKED_WAITS;
        }
    }
    return asked;
}

/* ---- the rescue ---- */

static void
ask_drain(struct failover *f)
{
    bool asked = incoming_own(f->in) && receiver_ask_drain(&f->in->receiver) == 0;

    f->session = asked ? f->in->inlet.ended : NOT_ASKED;
    inlet_push(&f->in->inlet);
}

static enum asked
begin_rescue(struct failover *f, int64_t now_us)
{
    set_phase(f, FAILOVER_RESCUING, now_us);
    f->since_us = now_us;
    f->asked_again = false;
    ask_drain(f);
    KILL_POINT("failover:2");
    return ASKED_WAITS;
}

static enum asked
rescue_failed(struct failover *f, const struct rescue_facts *facts, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    const char *from = primary_name(f);

    if (facts->ended && !facts->done)
        say(f, "%s cannot ship the rest: %s", from, r->drained_reason);
    else if (f->in->error[0] != '\0')
        say(f, "the rest is not taken here: %s", f->in->error);
    else if (facts->linked)
        say(f, "%s still looks for the end of its pg_wal: not waited for", from);
    else if (f->session == NOT_ASKED)
        say(f, "the agent of %s lives, but no link from it brings the rest%s%s", from,
            f->in->inlet.reason[0] != '\0' ? ": " : "", f->in->inlet.reason);
    else
        say(f, "%s stopped answering while it shipped the rest", from);
    f->wish.rescue_failed = true;
    asking_begin(f, false, now_us); /* is PostgreSQL there still dead? */
    return ASKED_WAITS;
}

/* The primary has nothing more to give: who else has more? */
static enum asked
take_tails(struct failover *f, int64_t now_us)
{
    switch (tails_run(f, now_us)) {
    case TAILS_WAIT:
        return ASKED_WAITS;
    case TAILS_DONE:
        return ASKED_GOES_ON;
    case TAILS_REFUSED:
        return ASKED_REFUSED;
    case TAILS_BEGIN:
        asking_begin(f, false, now_us);
        break;
    }
    return ASKED_WAITS;
}

static enum asked
run_fetching(struct failover *f, int64_t now_us)
{
    if (!asking_news(f))
        return take_tails(f, now_us);
    fetch_stop(&f->fetch);
    asking_begin(f, false, now_us);
    return ASKED_WAITS;
}

static enum asked
run_rescuing(struct failover *f, int64_t now_us)
{
    const struct receiver *r = &f->in->receiver;
    uint64_t last = f->in->inlet.ended - !receiver_live(r);
    struct rescue_facts facts = {.linked = incoming_own(f->in),
                                 .renewed = f->session != f->in->inlet.ended,
                                 .word = r->postgres_us >= f->asked_us ? r->postgres
                                                                       : PONG_POSTGRES_UNKNOWN,
                                 .ended = f->session == last && r->drained,
                                 .done = r->drained_done,
                                 .durable = f->in->spool.flushed >= r->drained_end,
                                 .stalled_us = now_us - f->since_us};

    switch (judge_rescue(&facts, &f->wish)) {
    case RESCUE_WAIT:
        break;
    case RESCUE_SLOW:
        f->since_us = now_us;
        say(f, "%s still looks for the end of its pg_wal; with --force it is not waited for",
            r->from);
        break;
    case RESCUE_ASK:
        if (!f->asked_again) { /* links that break and bring nothing are no progress */
            if (f->session != NOT_ASKED)
                say(f, "the link from %s broke and is there again: the rescue goes on", r->from);
            f->since_us = now_us;
        }
        f->asked_again = true;
        ask_drain(f);
        break;
    case RESCUE_DONE:
        f->loss_known = true;
        return take_tails(f, now_us);
    case RESCUE_FAILED:
        return rescue_failed(f, &facts, now_us);
    case RESCUE_REVIVED:
        say(f, "the PostgreSQL of %s was started again meanwhile", r->from);
        asking_begin(f, false, now_us);
        break;
    }
    return ASKED_WAITS;
}

enum asked
asking_run(struct failover *f, int64_t now_us)
{
    struct primary_facts facts;
    enum failover_answer answer;
    enum asked promised = ASKED_GOES_ON;

    if (asking_overtaken(f))
        return ASKED_REFUSED;
    note_progress(f, now_us);
    if (f->fetch.in != NULL)
        return run_fetching(f, now_us);
    if (f->phase == FAILOVER_RESCUING)
        return run_rescuing(f, now_us);
    note_word(f, now_us);
    facts = gather_facts(f, now_us);
    answer = judge_answer(&facts, &f->wish);
    if (answer == ANSWER_RESCUE || answer == ANSWER_GO_ON)
        promised = wait_for_promises(f, now_us);
    if (promised == ASKED_REFUSED)
        return promised;
    switch (promised == ASKED_WAITS ? ANSWER_WAIT : answer) {
    case ANSWER_WAIT:
        if (now_us - f->in->receiver.pinged_us >= ASK_EACH_US)
            ask(f, now_us);
        break;
    case ANSWER_REFUSE:
        return refuse(f, facts.answered);
    case ANSWER_RESCUE:
        return begin_rescue(f, now_us);
    case ANSWER_GO_ON:
        if (f->again && facts.answered && facts.asked_us >= FRESH_US) {
            asking_begin(f, true, now_us);
            break;
        }
        if (!facts.answered) {
            say_silence(f, now_us);
            f->loss_known = false; /* it may have been started since, and take writes */
        }
        return take_tails(f, now_us);
    }
    return ASKED_WAITS;
}
