/* SPDX-License-Identifier: PostgreSQL */
/*
 * check: what shows only when the whole of a pool's file is read: missing keys, two members in one
 * directory, a home without members.
 */
#include "config/parse.h"

#include <string.h>
#include <strings.h>

static void
check_missing(struct parse *p, int line, const struct key *keys, size_t count, const int *key_line)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].required && key_line[i] == 0)
            complain(&p->to, line, keys[i].name, "missing; allowed: %s", keys[i].allowed);
}

static void
check_pin(struct parse *p, const struct member *m, const int *key_line)
{
    int host_key = key_line[MEMBER_HOST_KEY], known_hosts = key_line[MEMBER_KNOWN_HOSTS];

    if (host_key == 0 && known_hosts == 0)
        complain(&p->to, m->line, "host_key", "missing; allowed: one of host_key and known_hosts");
    else if (host_key != 0 && known_hosts != 0)
        complain(&p->to, known_hosts, "known_hosts",
                 "host_key is there, too; allowed: one of them");
}

/* The relay's socket in `run` has the name that PostgreSQL gives to its own socket. */
static void
check_run(struct parse *p, const struct member *m, const int *key_line)
{
    char host[128];

    snprintf(host, sizeof host, "host='%s'", m->run);
    if (m->run[0] != '\0' && strncmp(m->postgres, host, strlen(host)) == 0)
        complain(&p->to, key_line[MEMBER_RUN], "run",
                 "the socket directory of PostgreSQL; allowed: a directory for walferry alone");
}

static bool
same_host(const struct member *a, const struct member *b)
{
    return a == b ||
           (a->target.host[0] != '\0' && strcasecmp(a->target.host, b->target.host) == 0 &&
            strcmp(a->target.port, b->target.port) == 0);
}

static bool
is_inside(const char *path, const char *outer)
{
    size_t length = strlen(outer);

    return length > 0 && strncmp(path, outer, length) == 0 && path[length] == '/';
}

/* Why two directories cannot both be on one host, or NULL. A rejoin rewrites all of a pgdata. */
static const char *
clash(const char *a, bool a_pgdata, const char *b, bool b_pgdata)
{
    if (a[0] == '\0' || b[0] == '\0')
        return NULL;
    if (strcmp(a, b) == 0)
        return "the same directory as";
    if (b_pgdata && is_inside(a, b))
        return "inside of";
    return a_pgdata && is_inside(b, a) ? "around" : NULL;
}

static void
check_directories(struct parse *p, size_t index, size_t other_index)
{
    static const enum member_key directories[] = {MEMBER_PGDATA, MEMBER_SPOOL, MEMBER_RUN,
                                                  MEMBER_OUTBOX};
    const size_t count = sizeof directories / sizeof *directories;
    const struct member *m = &p->c->member[index], *other = &p->c->member[other_index];

    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < (m == other ? i : count); j++) {
            const struct key *mine = &member_keys[directories[i]],
                             *theirs = &member_keys[directories[j]];
            const char *how = clash((const char *)m + mine->offset, i == 0,
                                    (const char *)other + theirs->offset, j == 0);

            if (how != NULL)
                complain(&p->to, p->member_key_line[index][directories[i]], mine->name,
                         "%s %s of member %s on the same host; allowed: a directory of its own",
                         how, theirs->name, other->name);
        }
}

/* Members on one host need addresses of their own; members on several hosts often have the same. */
static void
check_http(struct parse *p, size_t index)
{
    const struct member *m = &p->c->member[index];

    for (size_t i = 0; i < index; i++) {
        const struct member *other = &p->c->member[i];

        if (m->http.host[0] != '\0' && strcasecmp(m->target.host, other->target.host) == 0 &&
            strcmp(m->http.host, other->http.host) == 0 &&
            strcmp(m->http.port, other->http.port) == 0)
            complain(&p->to, p->member_key_line[index][MEMBER_HTTP], "http",
                     "the address of member %s on the same host; allowed: one of its own",
                     other->name);
    }
}

static bool
begins_site(const struct config *c, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(c->member[i].site, c->member[index].site) == 0)
            return false;
    return c->member[index].site[0] != '\0';
}

static void
check_site(struct parse *p, size_t index)
{
    size_t sites = 0;

    for (size_t i = 0; i <= index; i++)
        sites += begins_site(p->c, i);
    if (begins_site(p->c, index) && sites > SITES_MAX)
        complain(&p->to, p->member_key_line[index][MEMBER_SITE], "site",
                 "'%s' is one site too many; allowed: %d sites", p->c->member[index].site,
                 SITES_MAX);
}

static void
check_member(struct parse *p, size_t index)
{
    const struct member *m = &p->c->member[index];
    const int *key_line = p->member_key_line[index];

    complain_in(&p->to, m);
    check_missing(p, m->line, member_keys, MEMBER_KEYS, key_line);
    check_pin(p, m, key_line);
    check_run(p, m, key_line);
    check_site(p, index);
    for (size_t i = 0; i <= index; i++)
        if (same_host(m, &p->c->member[i]))
            check_directories(p, index, i);
    check_http(p, index);
}

static void
check_sites(struct parse *p)
{
    const struct config *c = p->c;
    bool home = false, two = false;
    int line = p->pool_line > 0 ? p->pool_line : 1;

    if (p->refused)
        return; /* the refused section may be the missing member */
    for (size_t i = 0; i < c->members; i++) {
        if (c->member[i].site[0] == '\0')
            return; /* a missing key: complained about elsewhere */
        home = home || strcmp(c->member[i].site, c->home) == 0;
        two = two || strcmp(c->member[i].site, c->member[0].site) != 0;
    }
    if (c->members < 2)
        complain(&p->to, line, NULL, "members: %zu; allowed: 2 to %d sections [member NAME]",
                 c->members, MEMBERS_MAX);
    else if (!two)
        complain(&p->to, line, NULL, "all members are at %s; allowed: members at two sites or more",
                 c->member[0].site);
    if (c->members > 0 && c->home[0] != '\0' && !home)
        complain(&p->to, p->pool_key_line[POOL_HOME], "home",
                 "no member is at '%s'; allowed: the site of a member", c->home);
}

/* Every member may be the primary one day. */
static void
check_mirrors(struct parse *p)
{
    const struct config *c = p->c;

    if (c->synchronous != SYNCHRONOUS_MIRROR || p->refused)
        return;
    for (size_t i = 0; i < c->members; i++) {
        const char *site = c->member[i].site;
        size_t there = 0;

        for (size_t j = 0; j < c->members; j++)
            there += strcmp(c->member[j].site, site) == 0;
        if (there == 1 && site[0] != '\0')
            complain(&p->to, p->pool_key_line[POOL_SYNCHRONOUS], "synchronous",
                     "mirror, but %s is alone at %s: as the primary it would have no mirror; "
                     "allowed: two members or more at each site, or site, any, all, off",
                     c->member[i].name, site);
    }
}

void
check_whole(struct parse *p)
{
    complain_in(&p->to, NULL);
    if (p->pool_line == 0)
        complain(&p->to, 1, NULL, "missing; allowed: once");
    else
        check_missing(p, p->pool_line, pool_keys, POOL_KEYS, p->pool_key_line);
    check_sites(p);
    check_mirrors(p);
    for (size_t i = 0; i < p->c->members; i++)
        check_member(p, i);
}
