/* SPDX-License-Identifier: PostgreSQL */
/*
 * member: which member of the pool this is, and what follows from a member's name.
 */
#include "config/parse.h"

#include "base/fail.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const struct member *
config_member(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->members; i++)
        if (strcmp(c->member[i].name, name) == 0)
            return &c->member[i];
    return NULL;
}

static bool
is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return memcmp(&v6, &in6addr_loopback, sizeof v6) == 0;
    return strcasecmp(host, "localhost") == 0;
}

static bool
has_address(const struct ifaddrs *addresses, const char *host)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    unsigned char bytes[16];
    int family = inet_pton(AF_INET, host, bytes) == 1    ? AF_INET
                 : inet_pton(AF_INET6, host, bytes) == 1 ? AF_INET6
                                                         : 0;

    for (const struct ifaddrs *a = addresses; family != 0 && a != NULL; a = a->ifa_next) {
        if (a->ifa_addr == NULL || a->ifa_addr->sa_family != family)
            continue;
        memcpy(&v4, a->ifa_addr, sizeof v4); /* a sockaddr_in6 is longer */
        if (family == AF_INET && memcmp(&v4.sin_addr, bytes, 4) == 0)
            return true;
        if (family != AF_INET6)
            continue;
        memcpy(&v6, a->ifa_addr, sizeof v6);
        if (memcmp(&v6.sin6_addr, bytes, 16) == 0)
            return true;
    }
    return false;
}

/* The members whose ssh host is this machine, by address or by `name`. A loopback host is this
 * machine everywhere: it counts only when no other member has one. */
static size_t
find_here(const struct config *c, const struct ifaddrs *addresses, const char *name,
          const struct member *here[MEMBERS_MAX])
{
    size_t count = 0, loopbacks = 0;

    for (size_t i = 0; i < c->members; i++)
        loopbacks += is_loopback(c->member[i].target.host);
    for (size_t i = 0; i < c->members; i++) {
        const char *host = c->member[i].target.host;

        if (is_loopback(host) ? loopbacks == 1
                              : strcasecmp(host, name) == 0 || has_address(addresses, host))
            here[count++] = &c->member[i];
    }
    return count;
}

static size_t
look_around(const struct config *c, const struct member *here[MEMBERS_MAX])
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *full;
    struct ifaddrs *addresses = NULL;
    char name[256] = "";
    bool names = false;
    size_t count;

    if (getifaddrs(&addresses) < 0)
        addresses = NULL;
    if (gethostname(name, sizeof name - 1) < 0)
        name[0] = '\0';
    count = find_here(c, addresses, name, here);
    for (size_t i = 0; i < c->members; i++)
        names = names || !key_is_numeric(c->member[i].target.host);
    if (count == 0 && names &&
        getaddrinfo(name, NULL, &hints, &full) == 0) { /* last: this may ask a name server */
        if (full->ai_canonname != NULL)
            count = find_here(c, addresses, full->ai_canonname, here);
        freeaddrinfo(full);
    }
    freeifaddrs(addresses);
    return count;
}

static int
choose(const char *what, const struct config *c, const struct member *const *some, size_t count)
{
    char names[MEMBERS_MAX * (MEMBER_NAME_SIZE + 2)] = "";
    size_t used = 0;

    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 some[i]->name);
    return fail(ERR_USAGE, "%s of %s; choose with --member or WALFERRY_MEMBER: %s", what, c->file,
                names);
}

int
config_self(struct config *c, const char *option, const struct member **ret_member)
{
    const char *named = option != NULL ? option : getenv("WALFERRY_MEMBER");
    const struct member *here[MEMBERS_MAX] = {NULL}, *all[MEMBERS_MAX] = {NULL};
    char shown[SHOWN_SIZE], what[SHOWN_SIZE + 32];
    size_t count;

    for (size_t i = 0; i < c->members; i++)
        all[i] = &c->member[i];
    if (named != NULL) {
        here[0] = config_member(c, named);
        snprintf(what, sizeof what, "'%s' is no member",
                 text_escape(shown, sizeof shown, named, strlen(named)));
        if (here[0] == NULL)
            return choose(what, c, all, c->members);
    } else {
        count = look_around(c, here);
        if (count == 0)
            return choose("this machine is the ssh host of no member", c, all, c->members);
        if (count > 1)
            return choose("this machine is the ssh host of several members", c, here, count);
    }
    for (size_t i = 0; i < c->members; i++) {
        struct member *m = &c->member[i];

        memcpy(m->target.identity, here[0]->identity, sizeof here[0]->identity);
        m->tunnel_target = m->target;
        if (here[0]->tunnel_identity[0] != '\0')
            memcpy(m->tunnel_target.identity, here[0]->tunnel_identity,
                   sizeof here[0]->tunnel_identity);
    }
    *ret_member = here[0];
    return 0;
}

void
config_slot_name(char out[SLOT_NAME_SIZE], const char *member)
{
    snprintf(out, SLOT_NAME_SIZE, "walferry_%s", member);
    for (char *s = out; *s != '\0'; s++)
        if (*s == '-')
            *s = '_';
}

const char *
config_key_line(char out[KEY_LINE_SIZE], const struct config *config, const char *to,
                const char *from, bool no_tunnel)
{
    snprintf(out, KEY_LINE_SIZE,
             "restrict,command=\"walferry receive%s --config %s --member %s --from %s\"",
             no_tunnel ? " --no-tunnel" : "", config->file, to, from);
    return out;
}
