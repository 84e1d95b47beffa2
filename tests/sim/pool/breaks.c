/* SPDX-License-Identifier: PostgreSQL */
/*
 * Rules that are taken away on demand (--break), each at the place where it decides: the linker puts
 * these in front of the real functions. Rules of what is mirrored are broken where is_broken stands.
 */
#include "sim/pool/world.h"

#include "pool/promise.h"
#include "pool/route.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum failover_answer __real_judge_answer(const struct primary_facts *f,
                                         const struct failover_wish *wish);
enum failover_answer __wrap_judge_answer(const struct primary_facts *f,
                                         const struct failover_wish *wish);
enum asked_verdict __real_judge_asked(const struct asked_member *m, size_t members,
                                      const struct failover_wish *wish);
enum asked_verdict __wrap_judge_asked(const struct asked_member *m, size_t members,
                                      const struct failover_wish *wish);
enum session_word __real_asks_whose(struct asks *a, const char *member, uint64_t incarnation);
enum session_word __wrap_asks_whose(struct asks *a, const char *member, uint64_t incarnation);
enum rescue __real_judge_rescue(const struct rescue_facts *f, const struct failover_wish *wish);
enum rescue __wrap_judge_rescue(const struct rescue_facts *f, const struct failover_wish *wish);
enum prepared __real_judge_prepared(const struct prepare_facts *f,
                                    const struct failover_wish *wish);
enum prepared __wrap_judge_prepared(const struct prepare_facts *f,
                                    const struct failover_wish *wish);
enum news __real_judge_news(const struct pool *p, const char *self, const struct told *told);
enum news __wrap_judge_news(const struct pool *p, const char *self, const struct told *told);
enum tail __real_judge_tail(const struct pool *p, const struct holder *ours, lsn_t from,
                            const struct holder *theirs);
enum tail __wrap_judge_tail(const struct pool *p, const struct holder *ours, lsn_t from,
                            const struct holder *theirs);
void __real_replay_judge(const struct replay_facts *f, struct replay_word *ret_word);
void __wrap_replay_judge(const struct replay_facts *f, struct replay_word *ret_word);
enum failover_step __real_failover_from(enum failover_step step, bool in_recovery);
enum failover_step __wrap_failover_from(enum failover_step step, bool in_recovery);
int __real_pool_save(const struct pool *p, int dir);
int __wrap_pool_save(const struct pool *p, int dir);
void __real_quorum_choose(const struct quorum_facts *f, char ret_names[QUORUM_SIZE]);
void __wrap_quorum_choose(const struct quorum_facts *f, char ret_names[QUORUM_SIZE]);

void __real_judge_routes(const struct route_facts *f, const struct routes *before,
                         struct routes *ret_routes);
void __wrap_judge_routes(const struct route_facts *f, const struct routes *before,
                         struct routes *ret_routes);
bool __real_judge_table(const struct epoch *present, const char *self, const struct routes *ours,
                        const struct routes *told);
bool __wrap_judge_table(const struct epoch *present, const char *self, const struct routes *ours,
                        const struct routes *told);
enum promise_verdict __real_judge_promise(const struct pool *p, const char *self,
                                          const struct promise_facts *f, const struct promise *ask,
                                          char ret_reason[FRAME_REASON_MAX]);
enum promise_verdict __wrap_judge_promise(const struct pool *p, const char *self,
                                          const struct promise_facts *f, const struct promise *ask,
                                          char ret_reason[FRAME_REASON_MAX]);

/* Each that a head feeds, from the one before it of its site. */
static void
feed_in_a_chain(const struct route_facts *f, struct routes *r)
{
    for (size_t i = 0; i < f->members; i++)
        for (size_t k = 0; k < i && r->route[i].why == ROUTE_RELAYED; k++)
            if (r->route[k].why == ROUTE_RELAYED &&
                strcmp(f->member[k].site, f->member[i].site) == 0)
                snprintf(r->route[i].from, sizeof r->route[i].from, "%s", f->member[k].name);
}

static void
feed_all(const struct route_facts *f, struct routes *r)
{
    for (size_t i = 0; i < f->members; i++) {
        if (i == f->primary)
            continue;
        r->route[i].why = ROUTE_MIRROR;
        snprintf(r->route[i].from, sizeof r->route[i].from, "%s", f->member[f->primary].name);
    }
}

void
__wrap_judge_routes(const struct route_facts *f, const struct routes *before,
                    struct routes *ret_routes)
{
    struct route_facts facts = *f;
    struct routes none = {.epoch = before->epoch, .number = before->number};

    for (size_t i = 0; i < f->members && is_broken("head-stays"); i++) {
        const struct route *route = routes_of(before, f->member[i].name);

        if (route == NULL || !route_is_head(route))
            continue;
        facts.member[f->primary].silent_us[i] = facts.member[i].stalled_us = 0;
        for (size_t k = 0; k < f->members; k++)
            facts.member[i].silent_us[k] = 0;
    }
    __real_judge_routes(&facts, is_broken("first-is-head") ? &none : before, ret_routes);
    if (is_broken("first-is-head") && epoch_equal(&before->epoch, &f->epoch))
        ret_routes->number = before->number + 1;
    if (is_broken("feeds-all"))
        feed_all(f, ret_routes);
    if (is_broken("chain"))
        feed_in_a_chain(f, ret_routes);
}

bool
__wrap_judge_table(const struct epoch *present, const char *self, const struct routes *ours,
                   const struct routes *told)
{
    if (is_broken("chain"))
        return epoch_equal(&told->epoch, present) && strcmp(told->epoch.member, self) != 0 &&
               routes_newer(told, ours);
    if (is_broken("old-table"))
        return told->count > 0 && strcmp(told->epoch.member, self) != 0;
    return __real_judge_table(present, self, ours, told);
}

enum promise_verdict
__wrap_judge_promise(const struct pool *p, const char *self, const struct promise_facts *f,
                     const struct promise *ask, char ret_reason[FRAME_REASON_MAX])
{
    const struct node *m = &w.member[atoi(config_member(&w.config, self)->pgdata)];
    struct promise_facts facts = *f;

    if (is_broken("passed-on-is-no-word") && receiver_relayed(&m->a->in.receiver))
        facts.fed = false;
    return __real_judge_promise(p, self, &facts, ask, ret_reason);
}

void
__wrap_quorum_choose(const struct quorum_facts *f, char ret_names[QUORUM_SIZE])
{
    enum synchronous mode = w.config.synchronous;
    struct quorum_facts facts = *f;

    facts.degrades = f->degrades || is_broken("waits-no-longer");
    if (mode != SYNCHRONOUS_OFF && is_broken("counts-any"))
        w.config.synchronous = SYNCHRONOUS_ANY;
    __real_quorum_choose(&facts, ret_names);
    w.config.synchronous = mode;
}

enum failover_answer
__wrap_judge_answer(const struct primary_facts *f, const struct failover_wish *wish)
{
    bool waits = f->answered && f->word != PONG_POSTGRES_ANSWERS && f->word != PONG_POSTGRES_DEAD;

    if ((waits && is_broken("stopping-is-dead")) || (!f->linked && is_broken("no-redial")) ||
        (f->answered && f->word == PONG_POSTGRES_ANSWERS && is_broken("answers-is-no-word")) ||
        (f->answered && f->word == PONG_POSTGRES_DEAD && is_broken("no-rescue")))
        return ANSWER_GO_ON;
    return __real_judge_answer(f, wish);
}

/* The primary's promise is a second layer of the rules on its word: both are taken away. */
enum asked_verdict
__wrap_judge_asked(const struct asked_member *m, size_t members, const struct failover_wish *wish)
{
    if (is_broken("no-promises") || (m->primary && is_broken("answers-is-no-word")) ||
        (m->primary && !m->linked && !m->reached && is_broken("no-redial")) ||
        (m->primary && m->linked && !m->refused && is_broken("stopping-is-dead")))
        return ASKED_MEMBER_GOOD;
    return __real_judge_asked(m, members, wish);
}

enum session_word
__wrap_asks_whose(struct asks *a, const char *member, uint64_t incarnation)
{
    return is_broken("any-session-is-own") ? SESSION_OWN
                                           : __real_asks_whose(a, member, incarnation);
}

enum rescue
__wrap_judge_rescue(const struct rescue_facts *f, const struct failover_wish *wish)
{
    if (!f->linked && is_broken("rescue-ends-with-the-line"))
        return RESCUE_DONE;
    return __real_judge_rescue(f, wish);
}

enum prepared
__wrap_judge_prepared(const struct prepare_facts *f, const struct failover_wish *wish)
{
    return is_broken("not-prepared") ? PREPARED : __real_judge_prepared(f, wish);
}

enum news
__wrap_judge_news(const struct pool *p, const char *self, const struct told *told)
{
    enum news news = __real_judge_news(p, self, told);

    if (news == NEWS_RIVAL && is_broken("rival-unseen"))
        return NEWS_NONE;
    if (news == NEWS_EPOCH && is_broken("nothing-learned"))
        return NEWS_NONE;
    return news;
}

enum tail
__wrap_judge_tail(const struct pool *p, const struct holder *ours, lsn_t from,
                  const struct holder *theirs)
{
    return is_broken("takes-from-primary-only") ? TAIL_HERE
                                                : __real_judge_tail(p, ours, from, theirs);
}

void
__wrap_replay_judge(const struct replay_facts *f, struct replay_word *ret_word)
{
    __real_replay_judge(f, ret_word);
    if (ret_word->replay == REPLAY_FORKED && is_broken("forked-follows"))
        ret_word->replay = REPLAY_FOLLOWS;
}

enum failover_step
__wrap_failover_from(enum failover_step step, bool in_recovery)
{
    return is_broken("drains-once") ? step : __real_failover_from(step, in_recovery);
}

int
__wrap_pool_save(const struct pool *p, int dir)
{
    return is_broken("state-in-memory") ? 0 : __real_pool_save(p, dir);
}
