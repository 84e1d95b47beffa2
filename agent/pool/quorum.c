/* SPDX-License-Identifier: PostgreSQL */
/* See quorum.h. */
#include "pool/quorum.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define NAME_BYTES "abcdefghijklmnopqrstuvwxyz0123456789_"

bool
quorum_names(const char *names, const char *slot)
{
    for (const char *at = names; *at != '\0';) {
        size_t length = strspn(at, NAME_BYTES);

        if (*at == '*' || (length == strlen(slot) && strncmp(at, slot, length) == 0))
            return true;
        at += length > 0 ? length : 1;
    }
    return false;
}

/* Does the mode mean this member? */
static bool
is_meant(const struct quorum_facts *f, size_t i)
{
    const struct member *m = &f->config->member[i];
    bool mirror = strcmp(m->site, f->primary->site) == 0;

    if (m == f->primary)
        return false;
    switch (f->config->synchronous) {
    case SYNCHRONOUS_OFF:
        return false;
    case SYNCHRONOUS_MIRROR:
        return mirror;
    case SYNCHRONOUS_SITE:
        return !mirror;
    case SYNCHRONOUS_ANY:
        return true;
    case SYNCHRONOUS_ALL:
        return f->member[i].fed;
    }
    return false;
}

static bool
is_named(const struct quorum_facts *f, size_t i)
{
    char slot[SLOT_NAME_SIZE];

    config_slot_name(slot, f->config->member[i].name);
    return quorum_names(f->names, slot);
}

static bool
is_ready(const struct quorum_facts *f, size_t i)
{
    const struct quorum_member *m = &f->member[i];

    return m->level || (is_named(f, i) && !(f->degrades && m->lost));
}

/* With all: is a member that commits wait for fed by another one now, and who is fed in its place not
 * yet level? */
static bool
is_between(const struct quorum_facts *f)
{
    const struct member *m = f->config->member;

    for (size_t i = 0; i < f->config->members; i++)
        for (size_t k = 0; k < f->config->members; k++)
            if (&m[i] != f->primary && !f->member[i].fed && is_named(f, i) && is_meant(f, k) &&
                !is_ready(f, k) && strcmp(m[i].site, m[k].site) == 0)
                return true;
    return false;
}

static void
put_names(const struct quorum_facts *f, const bool chosen[MEMBERS_MAX], size_t count,
          char ret_names[QUORUM_SIZE])
{
    size_t used = 0, need = f->config->synchronous == SYNCHRONOUS_ALL ? count : 1, put = 0;
    char slot[SLOT_NAME_SIZE];

    if (count > 1)
        used = (size_t)snprintf(ret_names, QUORUM_SIZE, "ANY %zu (", need);
    for (size_t i = 0; i < f->config->members; i++) {
        if (!chosen[i])
            continue;
        config_slot_name(slot, f->config->member[i].name);
        used += (size_t)snprintf(ret_names + used, QUORUM_SIZE - used, "%s%s",
                                 put++ > 0 ? ", " : "", slot);
        assert(used + 2 < QUORUM_SIZE);
    }
    snprintf(ret_names + used, QUORUM_SIZE - used, "%s", count > 1 ? ")" : "");
}

void
quorum_choose(const struct quorum_facts *f, char ret_names[QUORUM_SIZE])
{
    bool meant[MEMBERS_MAX] = {0}, ready[MEMBERS_MAX] = {0};
    size_t all = 0, ready_ones = 0;

    for (size_t i = 0; i < f->config->members; i++) {
        meant[i] = is_meant(f, i);
        ready[i] = meant[i] && is_ready(f, i);
        all += meant[i];
        ready_ones += ready[i];
    }
    ret_names[0] = '\0';
    if (f->config->synchronous == SYNCHRONOUS_OFF || (ready_ones == 0 && f->degrades))
        return;
    if (f->config->synchronous == SYNCHRONOUS_ALL &&
        (all == 0 || (!f->degrades && is_between(f)))) {
        snprintf(ret_names, QUORUM_SIZE, "%.*s", QUORUM_SIZE - 1, f->names);
        return;
    }
    if (all == 0 || (ready_ones == 0 && f->names[0] == '\0'))
        return;
    if (f->config->synchronous == SYNCHRONOUS_ALL && ready_ones > 0)
        put_names(f, ready, ready_ones, ret_names);
    else
        put_names(f, meant, all, ret_names);
}

bool
quorum_lacks(const struct quorum_facts *f, char *out, size_t size)
{
    static const char *const nobody[] = {[SYNCHRONOUS_OFF] = "",
                                         [SYNCHRONOUS_MIRROR] = "a mirror",
                                         [SYNCHRONOUS_SITE] = "the other site",
                                         [SYNCHRONOUS_ANY] = "any other member",
                                         [SYNCHRONOUS_ALL] = "any other member"};
    const enum synchronous mode = f->config->synchronous;
    size_t named = 0, all = 0, used = 0;

    for (size_t i = 0; i < f->config->members; i++) {
        bool meant = is_meant(f, i), is = meant && is_named(f, i);

        all += meant;
        named += is;
        if (meant && !is && used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s",
                                     used > 0 ? ", " : "commits do not wait for ",
                                     f->config->member[i].name);
    }
    if (named == 0 && all > 0)
        snprintf(out, size, "commits do not wait for %s", nobody[mode]);
    return all > 0 && (mode == SYNCHRONOUS_ALL ? named < all : named == 0);
}

bool
quorum_hangs(const struct quorum_facts *f, char *out, size_t size)
{
    size_t named = 0, lost = 0, used = 0;
    char ours[QUORUM_SIZE];

    quorum_choose(f, ours);
    for (size_t i = 0; i < f->config->members; i++) {
        if (&f->config->member[i] == f->primary || !is_named(f, i))
            continue;
        named++;
        if (!f->member[i].lost)
            continue;
        lost++;
        if (used < size)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     f->config->member[i].name);
    }
    return lost > 0 && (f->config->synchronous == SYNCHRONOUS_ALL || lost == named) &&
           strcmp(ours, f->names) == 0;
}
