/* SPDX-License-Identifier: PostgreSQL */
/* See commits.h. */
#include "links/commits.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SETTINGS_FILE "walferry.conf"
#define SETTING_SIZE  (QUORUM_SIZE + 40)
#define KEEP_US       (1 * SECOND_US) /* between two looks */

static void
make_setting(char out[SETTING_SIZE], const char *names)
{
    snprintf(out, SETTING_SIZE, "synchronous_standby_names = '%s'\n", names);
}

/* Is this what PostgreSQL finds in our file, or found there before it was last written? */
static bool
is_ours(const struct outgoing *o, const char *names)
{
    char wanted[SETTING_SIZE], text[SETTING_SIZE];
    ssize_t length;

    if (names[0] == '\0' || strcmp(names, o->names_before) == 0)
        return true;
    make_setting(wanted, names);
    length = durable_load(o->who->spool->dir, SETTINGS_FILE, text, sizeof text);
    return length >= 0 && (size_t)length == strlen(wanted) &&
           memcmp(text, wanted, (size_t)length) == 0;
}

/* What is durable over there confirms our commits. */
static bool
confirms(const struct link *l)
{
    return l->state == LINK_SHIPPING && l->sender.far_compared && !l->sender.far.fenced;
}

/*
 * From when is the last that a link confirmed? By the clock of the samples: beacons come with them.
 * Where none came for long, the agent or PostgreSQL was away, and that is nobody's loss.
 */
static void
look_at_links(struct outgoing *o, const struct postgres_sample *s)
{
    bool was_away = s->mono_us - o->looked_us >= o->who->config->synchronous_wait_us / 2;

    o->looked_us = s->mono_us;
    for (size_t i = 0; i < o->links; i++) {
        const struct beacon *covered = &o->link[i].sender.flushed.covered;

        if (was_away)
            o->confirmed_us[i] = s->mono_us;
        else if (confirms(&o->link[i]) && covered->lsn != LSN_UNKNOWN &&
                 covered->mono_us > o->confirmed_us[i])
            o->confirmed_us[i] = covered->mono_us;
    }
}

/* One that others may be replacing does not go on alone. */
static bool
may_degrade(const struct who *w)
{
    return w->config->synchronous_degrades && w->ships && w->pool.promised.number == 0;
}

static void
gather_facts(const struct outgoing *o, const struct postgres_sample *s,
             struct quorum_facts *ret_facts)
{
    const struct config *c = o->who->config;
    int64_t patience_us = c->synchronous_wait_us - KEEP_US; /* the next look is too late */

    *ret_facts = (struct quorum_facts){.config = c,
                                       .primary = o->who->self,
                                       .names = s->synchronous_standby_names,
                                       .degrades = may_degrade(o->who)};
    for (size_t i = 0; i < o->links; i++) {
        const struct link *l = &o->link[i];

        ret_facts->member[config_member(c, l->member) - c->member] =
            (struct quorum_member){.fed = outgoing_feeds(o, l->member),
                                   .level = confirms(l) && l->sender.far.flushed >= s->flush,
                                   .lost = s->mono_us - o->confirmed_us[i] >= patience_us};
    }
}

/* Is this a primary that takes commits? */
static bool
is_primary(const struct outgoing *o, const struct postgres_sample *s)
{
    return s != NULL && !s->in_recovery && o->who->role == ROLE_PRIMARY &&
           postgres_state(o->who->postgres) == POSTGRES_UP;
}

static void
say(const struct outgoing *o, const char *names)
{
    const struct config *c = o->who->config;
    char wait[32];

    if (names[0] != '\0')
        log_info("commits wait for %s from now on (synchronous = %s)", names,
                 synchronous_name(c->synchronous));
    else if (o->who->role == ROLE_STANDBY)
        log_info("synchronous_standby_names is emptied: a standby has nobody to wait for");
    else if (c->synchronous == SYNCHRONOUS_OFF)
        log_info("synchronous is off: commits wait for no other member from now on");
    else
        log_warning("nobody has confirmed for %s: commits wait for no other member until one has "
                    "caught up (synchronous_loss = degrade)",
                    text_duration(wait, sizeof wait, c->synchronous_wait_us));
}

void
commits_keep(struct outgoing *o)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    char names[QUORUM_SIZE] = "", text[SETTING_SIZE];
    struct quorum_facts facts;

    if (is_primary(o, s)) {
        look_at_links(o, s);
        gather_facts(o, s, &facts);
        quorum_choose(&facts, names);
    } else if (s == NULL || !s->in_recovery || o->who->role != ROLE_STANDBY) {
        o->names[0] = o->names_before[0] = '\0';
        return;
    }
    if (strcmp(names, s->synchronous_standby_names) == 0)
        o->names[0] = o->names_before[0] = '\0';
    if (strcmp(names, s->synchronous_standby_names) == 0 ||
        !is_ours(o, s->synchronous_standby_names))
        return;
    if (!postgres_ask(o->who->postgres, POSTGRES_RELOAD, NULL)) /* sent in the next turn */
        return;
    make_setting(text, names);
    if (durable_replace(o->who->spool->dir, SETTINGS_FILE, text, strlen(text)) < 0) {
        log_warning("cannot write %s/%s: %s", o->who->spool->path, SETTINGS_FILE, strerror(errno));
        return;
    }
    snprintf(o->names_before, sizeof o->names_before, "%s", s->synchronous_standby_names);
    snprintf(o->names, sizeof o->names, "%s", names);
    say(o, names);
}

bool
commits_lack(const struct outgoing *o, char *out, size_t size)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    struct quorum_facts facts;

    if (!is_primary(o, s))
        return false;
    gather_facts(o, s, &facts);
    return quorum_lacks(&facts, out, size);
}

bool
commits_hang(const struct outgoing *o, char *out, size_t size)
{
    const struct postgres_sample *s = postgres_sample(o->who->postgres);
    struct quorum_facts facts;

    if (!is_primary(o, s))
        return false;
    gather_facts(o, s, &facts);
    return quorum_hangs(&facts, out, size);
}
