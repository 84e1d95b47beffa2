/* SPDX-License-Identifier: PostgreSQL */
/* See concierge.h. */
#include "web/concierge.h"

#include "base/clock.h"
#include "base/text.h"

#include <microhttpd.h>
#include <stdio.h>
#include <string.h>

#define PEER_SEEN_US (3 * SECOND_US)  /* PING is sent each second */
#define NEWS_US      (10 * SECOND_US) /* a former primary that comes back hears of it by then */
#define LAG_MAX_US   (30 * 86400 * SECOND_US) /* that ?lag= may ask for */

/* When another member was last heard of, and which: 0, never in this life. */
static int64_t
peer_heard_us(const struct view *v, const char **ret_name, bool *ret_live)
{
    bool receiving = v->who->role == ROLE_STANDBY || v->who->role == ROLE_PROMOTING;
    int64_t best_us = v->in->receiver.heard_us; /* also of the former primary */

    *ret_name = v->in->receiver.from[0] != '\0' ? v->in->receiver.from
                : v->out->links > 0             ? v->out->link[0].member
                                                : "the other site";
    *ret_live = receiving && receiver_live(&v->in->receiver);
    if (receiving)
        return best_us;
    for (size_t i = 0; i < v->out->far; i++) { /* a mirror was dark with this host */
        const struct link *l = &v->out->link[i];

        if (l->sender.seen_us <= best_us)
            continue;
        best_us = l->sender.seen_us;
        *ret_name = l->member;
        *ret_live = l->state == LINK_SHIPPING;
    }
    return best_us;
}

static bool
peer_word(const struct request *q, char *out, size_t size)
{
    const char *name;
    bool live;
    int64_t heard_us = peer_heard_us(q->view, &name, &live);
    char ago[32];

    if (heard_us == 0) {
        snprintf(out, size, "%s was not seen since this agent was started %s ago", name,
                 text_duration(ago, sizeof ago, q->now_us - q->view->who->started_us));
        return false;
    }
    live = live && q->now_us - heard_us < PEER_SEEN_US;
    snprintf(out, size, live ? "%s is seen" : "%s was not seen for %s", name,
             text_duration(ago, sizeof ago, q->now_us - heard_us));
    return live;
}

static bool
postgres_answers(const struct request *q)
{
    return who_postgres(q->view->who, q->now_us) == PONG_POSTGRES_ANSWERS;
}

/* Why this is not where clients should write; NULL: it is. */
static const char *
not_primary(const struct request *q)
{
    const struct view *v = q->view;
    const struct postgres_sample *s = postgres_sample(v->who->postgres);
    const char *peer;
    bool live;
    struct concierge_facts facts = {.role = v->who->role,
                                    .alarm = v->who->alarm,
                                    .answers = postgres_answers(q),
                                    .in_recovery = s != NULL && s->in_recovery,
                                    .young = q->now_us - v->who->started_us < NEWS_US,
                                    .peer_heard = peer_heard_us(v, &peer, &live) != 0};

    return judge_concierge(&facts);
}

void
concierge_primary(const struct request *q, struct reply *r)
{
    const char *why = not_primary(q);
    char peer[160];
    bool seen = peer_word(q, peer, sizeof peer);

    if (why != NULL)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s: %s; %s\n", q->view->who->self->name, why,
                   peer);
    else
        reply_text(r, MHD_HTTP_OK, "%s is the primary of epoch %llu; %s%s\n",
                   q->view->who->self->name, (unsigned long long)q->view->who->pool.epoch.number,
                   peer, seen ? "" : ": whether it was promoted meanwhile cannot be known here");
}

void
concierge_standby(const struct request *q, struct reply *r)
{
    const struct view *v = q->view;
    int64_t limit_us = NEVER_US, primary_us, age_us = 0;
    bool known = receiver_primary_us(&v->in->receiver, q->now_us, &primary_us) &&
                 lag_age(&v->in->receiver.applied, primary_us, &age_us);
    char peer[160], shown[32] = "unknown";

    peer_word(q, peer, sizeof peer);
    if (known)
        text_duration(shown, sizeof shown, age_us);
    if (q->lag != NULL && text_take_duration(q->lag, LAG_MAX_US, &limit_us) < 0)
        reply_text(r, MHD_HTTP_BAD_REQUEST,
                   "lag is a number with ms, s, min, h or d, as in lag=10s\n");
    else if (v->who->role != ROLE_STANDBY)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s is no standby (%s)\n", v->who->self->name,
                   role_name(v->who->role));
    else if (v->who->replay.replay == REPLAY_FORKED)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s has forked: %s\n", v->who->self->name,
                   v->who->alarm);
    else if (!postgres_answers(q) || !postgres_sample(v->who->postgres)->in_recovery)
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE,
                   "%s: PostgreSQL here does not answer as a standby\n", v->who->self->name);
    else
        reply_text(r,
                   q->lag != NULL && (!known || age_us > limit_us) ? MHD_HTTP_SERVICE_UNAVAILABLE
                                                                   : MHD_HTTP_OK,
                   "%s is a standby, its lag is %s; %s\n", v->who->self->name, shown, peer);
}

/* Where clients find a member's PostgreSQL: its host as the pool's file names it, its port. */
static void
endpoint(const struct member *m, char *out, size_t size)
{
    const char *port = strstr(m->postgres, "port='");

    snprintf(out, size, strchr(m->target.host, ':') != NULL ? "[%s]:%.*s" : "%s:%.*s",
             m->target.host, port != NULL ? (int)strcspn(port + 6, "'") : 4,
             port != NULL ? port + 6 : "5432");
}

void
concierge_active(const struct request *q, struct reply *r)
{
    const struct view *v = q->view;
    const struct pool *p = &v->who->pool;
    const struct member *m = config_member(v->who->config, p->epoch.member);
    char peer[160], place[300] = "", since[40] = "", how[400];
    bool ours = v->who->role == ROLE_PRIMARY && not_primary(q) == NULL;
    bool seen = peer_word(q, peer, sizeof peer);

    if (m != NULL)
        endpoint(m, place, sizeof place);
    if (p->changes > 0)
        text_time(since, sizeof since, p->change[p->changes - 1].wall_us);
    if (m == NULL)
        snprintf(how, sizeof how, "no primary was seen yet; %s", peer);
    else if (v->who->role == ROLE_PRIMARY)
        snprintf(how, sizeof how, "%s%s; %s%s", v->who->self->name,
                 ours ? " is the primary and takes writes" : ", the primary, takes no writes now",
                 peer, seen ? "" : ": whether it was promoted meanwhile cannot be known here");
    else
        snprintf(how, sizeof how, "%s says so%s; %s", seen ? m->name : v->who->self->name,
                 seen ? " on the link" : ", from what it knew last: this may be over", peer);
    reply_json(r, json_pack("{s:s s:s s:s? s:s? s:s? s:I s:s? s:b s:s s:b s:s}", "pool",
                            v->who->config->name, "told_by", v->who->self->name, "site",
                            m != NULL ? m->site : NULL, "member", m != NULL ? m->name : NULL,
                            "endpoint", place[0] != '\0' ? place : NULL, "epoch",
                            (json_int_t)p->epoch.number, "since", since[0] != '\0' ? since : NULL,
                            "certain", seen && p->epoch.number > 0, "how", how, "peer_seen", seen,
                            "peer", peer));
}

void
concierge_healthz(const struct request *q, struct reply *r)
{
    const struct view *v = q->view;
    const char *wrong = v->who->alarm[0] != '\0' ? v->who->alarm : v->in->error;

    if (wrong[0] != '\0')
        reply_text(r, MHD_HTTP_SERVICE_UNAVAILABLE, "%s\n", wrong);
    else
        reply_text(r, MHD_HTTP_OK, "%s runs\n", v->who->self->name);
}
