/* SPDX-License-Identifier: PostgreSQL */
/* See promise.h. */
#include "pool/promise.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PROMISE_US (10 * SECOND_US)
#define REFUSED_US (3 * SECOND_US) /* until then it may be for who gives way, or by old news */
#define DIAL_US    (3 * SECOND_US) /* a host that is gone does not even refuse */

/* Does another promise, or our own failover, stand against it? */
static bool
is_taken(const struct pool *p, const char *self, const struct own_ask *own,
         const struct promise *ask, char ret_reason[FRAME_REASON_MAX])
{
    if (p->promised.number != 0 && strcmp(p->promised.member, ask->asker) != 0) {
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "%s has promised epoch %" PRIu64
                 " to %s, where a failover runs. If %s is gone, on the host of %s: walferry "
                 "failover --break-promise %s",
                 self, p->promised.number, p->promised.member, p->promised.member, self,
                 p->promised.member);
        return true;
    }
    if (own->promise.number != 0 && (own->forced || strcmp(ask->asker, self) < 0)) {
        snprintf(ret_reason, FRAME_REASON_MAX, "a failover to %s runs there, for epoch %" PRIu64,
                 self, own->promise.number);
        return true;
    }
    return false;
}

static enum promise_verdict
judge_own_server(const char *self, enum pong_postgres word, char ret_reason[FRAME_REASON_MAX])
{
    if (word == PONG_POSTGRES_ANSWERS) {
        snprintf(ret_reason, FRAME_REASON_MAX, "the PostgreSQL of %s answers, it is the primary",
                 self);
        return PROMISE_NO;
    }
    return word == PONG_POSTGRES_DEAD ? PROMISE_YES : PROMISE_LATER;
}

enum promise_verdict
judge_promise(const struct pool *p, const char *self, const struct promise_facts *f,
              const struct promise *ask, char ret_reason[FRAME_REASON_MAX])
{
    ret_reason[0] = '\0';
    if (ask->number == p->epoch.number && strcmp(ask->asker, p->epoch.member) == 0) {
        if (!f->writable)
            return PROMISE_YES;
        snprintf(ret_reason, FRAME_REASON_MAX,
                 "the PostgreSQL of %s takes writes, which %s does not have: walferry failover "
                 "--reclaim there would keep them",
                 self, ask->asker);
        return PROMISE_NO;
    }
    if (ask->number <= p->epoch.number) {
        snprintf(ret_reason, FRAME_REASON_MAX, "%s is the primary of epoch %" PRIu64 ", says %s",
                 p->epoch.member, p->epoch.number, self);
        return PROMISE_NO;
    }
    if (is_taken(p, self, f->own, ask, ret_reason))
        return PROMISE_NO;
    if (p->step != FAILOVER_NONE || p->epoch.number == 0)
        return PROMISE_LATER;
    if (strcmp(p->epoch.member, self) == 0)
        return judge_own_server(self, f->postgres, ret_reason);
    if (f->fed) {
        snprintf(ret_reason, FRAME_REASON_MAX, "%s gets WAL of the primary %s, which answers", self,
                 p->epoch.member);
        return PROMISE_NO;
    }
    return f->doubted ? PROMISE_LATER : PROMISE_YES;
}

enum asked_verdict
judge_asked(const struct asked_member *m, size_t members, const struct failover_wish *wish)
{
    bool away = !m->linked && !m->reached && (m->failed || m->dials_us >= DIAL_US);

    if (m->given)
        return ASKED_MEMBER_GOOD;
    if (m->refused && wish->force)
        return ASKED_MEMBER_GOOD;
    if (m->refused && (members == 2 || (!m->yields && m->refused_us >= REFUSED_US)))
        return ASKED_MEMBER_LACKS;
    if (away && (wish->force || (m->primary && (wish->dead || members == 2))))
        return ASKED_MEMBER_GOOD;
    if (m->asked_us >= (wish->force ? DIAL_US : PROMISE_US))
        return wish->force ? ASKED_MEMBER_GOOD : ASKED_MEMBER_LACKS;
    return ASKED_MEMBER_WAITS;
}
