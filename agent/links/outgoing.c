/* SPDX-License-Identifier: PostgreSQL */
/* See outgoing.h. */
#include "links/outgoing.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"
#include "shipper/wal/pgwal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define STUCK_US      (300 * MILLISECOND_US)
#define SETTINGS_FILE "walferry.conf"

/* The text of the primary's history file, which HELLO carries. */
int
outgoing_load_history(struct outgoing *o, timeline_t timeline)
{
    int got = 0;

    if (timeline == o->lineage.timeline)
        return 0;
    o->lineage.timeline = 0;
    o->lineage.length = 0;
    if (timeline > 1)
        got = pgwal_history(o->who->self->pgdata, timeline, o->history, HISTORY_BYTES_MAX + 1);
    if (got == ERR_AGAIN)
        got = fail(ERR_LOCAL, "the history of timeline %u is not in %s/pg_wal", timeline,
                   o->who->self->pgdata);
    if (got < 0)
        return got;
    o->lineage.length = (size_t)got;
    o->lineage.timeline = timeline;
    return 0;
}

timeline_t
outgoing_timeline_at(const struct outgoing *o, lsn_t lsn)
{
    timeline_t newest = o->who->pool.timeline;

    return o->lineage.timeline == newest ? lineage_at(&o->lineage, lsn) : newest;
}

/* HELLO for the links, or NULL and why nothing is shipped now. */
static const struct hello *
make_hello(struct outgoing *o, const char **ret_why)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    const struct identity *identity = who_identity(o->who);

    *ret_why = "this member is not the primary";
    if (o->who->role != ROLE_PRIMARY)
        return NULL;
    *ret_why = o->who->alarm;
    if (o->who->alarm[0] != '\0')
        return NULL;
    *ret_why = "waiting for PostgreSQL, which was not seen yet";
    if (identity->system_identifier == 0 || identity->segment_bytes == 0 ||
        o->who->pool.timeline == 0)
        return NULL;
    if (s != NULL && s->in_recovery)
        return NULL;
    if (outgoing_load_history(o, o->who->pool.timeline) < 0) {
        *ret_why = fail_message();
        return NULL;
    }
    o->hello = (struct hello){.protocol = FRAME_PROTOCOL,
                              .identity = *identity,
                              .epoch = o->who->pool.epoch,
                              .incarnation = o->incarnation,
                              .timeline = o->who->pool.timeline,
                              .config_digest = o->who->config->digest,
                              .history = o->history,
                              .history_bytes = o->lineage.length};
    snprintf(o->hello.pool, sizeof o->hello.pool, "%s", o->who->config->name);
    snprintf(o->hello.from, sizeof o->hello.from, "%s", o->who->self->name);
    return &o->hello;
}

/* A stopping server waits for its walsenders: let go of it when the line is too slow. */
static bool
may_hold_walsender(const struct outgoing *o, const struct link *l, int64_t now_us)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    char wait[32], bytes[24];

    if (o->stopping_us == 0 || now_us - o->stopping_us < o->who->config->shutdown_wait_us)
        return true;
    if (l->source_allowed && source_active(l->source))
        log_warning(
            "link to %s: PostgreSQL has waited %s for its WAL to be shipped and is let go: about %s stay "
            "unshipped until it is back",
            l->member, text_duration(wait, sizeof wait, o->who->config->shutdown_wait_us),
            text_bytes(bytes, sizeof bytes,
                       s != NULL && s->flush > l->sender.far.flushed
                           ? s->flush - l->sender.far.flushed
                           : 0));
    return false;
}

static void
tell(struct outgoing *o, const struct link *l, const struct epoch_origin *origin)
{
    o->told[o->tolds].teller = l->member;
    o->told[o->tolds++].origin = *origin;
}

void
outgoing_run(struct outgoing *o, const struct loop *loop, int64_t now_us, int64_t wall_us)
{
    const char *why;
    const struct hello *hello = make_hello(o, &why);
    enum pong_postgres word = o->links > 0 ? who_postgres(o->who, now_us) : PONG_POSTGRES_UNKNOWN;

    o->tolds = 0;
    for (size_t i = 0; i < o->links; i++) {
        struct link *l = &o->link[i];
        bool was_refused = l->sender.refused;

        l->sender.postgres = word;
        l->source_allowed = may_hold_walsender(o, l, now_us);
        l->exact = l->sender.commits_wait || o->stopping_us != 0;
        link_run(l, loop, hello, why, now_us, wall_us);
        if (l->sender.pool_news)
            tell(o, l, &l->sender.pool);
        l->sender.pool_news = false;
        if (l->sender.refused && !was_refused &&
            (l->sender.refusal == REFUSE_EPOCH || l->sender.refusal == REFUSE_CONFLICT))
            tell(o, l, &l->sender.refusal_origin);
    }
}

static void
stamp_beacon(struct outgoing *o)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    struct beacon b;

    if (o->who->role != ROLE_PRIMARY || s == NULL || s->in_recovery || s->insert == LSN_UNKNOWN)
        return;
    b = (struct beacon){.lsn =
                            lsn_before_page_header(s->insert, who_identity(o->who)->segment_bytes),
                        .wall_us = s->wall_us,
                        .mono_us = s->mono_us};
    for (size_t i = 0; i < o->links; i++) {
        o->link[i].sender.commits_wait = s->synchronous_standby_names[0] != '\0';
        sender_beacon(&o->link[i].sender, &b);
    }
}

/* WAL that PostgreSQL holds in memory is exposure: make it write that out. */
static void
force_flush(struct outgoing *o)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    bool ships = false;
    lsn_t end;

    for (size_t i = 0; i < o->links; i++)
        ships = ships || o->link[i].state == LINK_SHIPPING;
    if (o->who->role != ROLE_PRIMARY || !ships || s == NULL || s->in_recovery)
        return;
    end = lsn_before_page_header(s->insert, who_identity(o->who)->segment_bytes);
    if (end <= s->flush || s->flush != o->stuck_lsn) {
        o->stuck_lsn = s->flush;
        o->stuck_us = s->mono_us;
    } else if (s->mono_us - o->stuck_us >= STUCK_US) {
        o->stuck_us = s->mono_us;
        postgres_force_flush(o->who->postgres);
    }
}

void
outgoing_sampled(struct outgoing *o)
{
    stamp_beacon(o);
    force_flush(o);
}

void
outgoing_postgres(struct outgoing *o, int64_t now_us)
{
    enum postgres_state state = postgres_state(o->who->postgres);

    if (state == POSTGRES_UP)
        o->stopping_us = 0;
    else if (state == POSTGRES_STOPPING && o->stopping_us == 0)
        o->stopping_us = now_us;
}

/* ---- synchronous_standby_names ---- */

#define SETTING_SIZE 300

static void
make_setting(char out[SETTING_SIZE], const char *names)
{
    snprintf(out, SETTING_SIZE, "synchronous_standby_names = '%s'\n", names);
}

/* Is this server's synchronous_standby_names what this agent wrote? */
static bool
setting_is_ours(const struct outgoing *o, const char *names)
{
    char wanted[SETTING_SIZE], text[SETTING_SIZE];
    ssize_t length = durable_load(o->who->spool->dir, SETTINGS_FILE, text, sizeof text);

    make_setting(wanted, names);
    return length >= 0 && (size_t)length == strlen(wanted) &&
           memcmp(text, wanted, (size_t)length) == 0;
}

/* Set when the pool is synchronous and the link is level, emptied when the pool's file says so no
 * longer. */
void
outgoing_keep(struct outgoing *o)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    const char *names = o->who->config->synchronous ? o->slot_name[0] : "";
    char text[SETTING_SIZE];

    if (o->who->role != ROLE_PRIMARY || o->links == 0 || s == NULL || s->in_recovery ||
        postgres_state(o->who->postgres) != POSTGRES_UP ||
        (s->synchronous_standby_names[0] == '\0') == (names[0] == '\0'))
        return;
    if (names[0] == '\0'
            ? !setting_is_ours(o, s->synchronous_standby_names)
            : o->link[0].state != LINK_SHIPPING || o->link[0].sender.far.flushed < s->flush)
        return;
    if (!postgres_ask(o->who->postgres, POSTGRES_RELOAD, NULL)) /* sent in the next turn */
        return;
    make_setting(text, names);
    if (durable_replace(o->who->spool->dir, SETTINGS_FILE, text, strlen(text)) < 0)
        log_warning("cannot write %s/%s: %s", o->who->spool->path, SETTINGS_FILE, strerror(errno));
    else if (names[0] == '\0')
        log_info("synchronous is off: commits wait for no other site from now on");
    else
        log_info("the link to %s is level: commits wait for it from now on", o->link[0].member);
}

/* ---- life ---- */

struct link *
outgoing_to(struct outgoing *o, const char *member)
{
    for (size_t i = 0; i < o->links; i++)
        if (strcmp(o->link[i].member, member) == 0)
            return &o->link[i];
    return NULL;
}

struct link *
outgoing_of_slot(struct outgoing *o, const char *slot)
{
    for (size_t i = 0; i < o->links; i++)
        if (strcmp(o->slot_name[i], slot) == 0)
            return &o->link[i];
    return NULL;
}

int
outgoing_open(struct outgoing *o, const struct who *who, struct codec *codec)
{
    const struct config *config = who->config;
    int code = workers_init(&o->workers, 0);

    o->who = who;
    o->settings = config->shipping;
    o->incarnation = (uint64_t)(clock_wall_us() / SECOND_US) << 32;
    if (code == 0 && getrandom(&o->incarnation, sizeof(uint32_t), 0) < 0)
        code = fail_sys(ERR_LOCAL, "no random number"); /* the low half: nobody can guess it */
    o->history = malloc(HISTORY_BYTES_MAX + 1);
    if (code == 0 && o->history == NULL)
        code = fail(ERR_LOCAL, "out of memory");
    o->lineage.text = o->history;
    snprintf(o->conninfo, sizeof o->conninfo, "%s", who->self->postgres);
    for (size_t i = 0; i < config->members && code == 0; i++) {
        const struct member *m = &config->member[i];
        char *slot = o->slot_name[o->links];

        if (m == who->self || strcmp(m->site, who->self->site) == 0)
            continue;
        config_slot_name(slot, m->name);
        code = link_init(&o->link[o->links], m->name, &m->target, &o->settings, &o->workers,
                         &o->frame_cache, o->conninfo, slot, who->self->pgdata, codec);
        if (code == 0)
            o->links++;
    }
    return code;
}

void
outgoing_close(struct outgoing *o)
{
    for (size_t i = 0; i < o->links; i++)
        link_release(&o->link[i]);
    workers_release(&o->workers);
    frame_cache_release(&o->frame_cache);
    free(o->history);
}

void
outgoing_watch(const struct outgoing *o, struct loop *l)
{
    loop_watch(l, workers_fd(&o->workers), POLLIN);
    for (size_t i = 0; i < o->links; i++)
        link_watch(&o->link[i], l);
}
