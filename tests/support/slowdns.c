/* SPDX-License-Identifier: PostgreSQL */
/*
 * slowdns: a resolver that is gone. Loaded before libc (LD_PRELOAD): the lookup of a name takes
 * 20 s, as with two name servers that do not answer; addresses are there at once.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#define LOOKUP_S 20

int
getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
            struct addrinfo **ret_found)
{
    int (*libc)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");

    memcpy(&libc, &symbol, sizeof libc);
    if (hints == NULL || (hints->ai_flags & AI_NUMERICHOST) == 0)
        sleep(LOOKUP_S);
    return libc(host, port, hints, ret_found);
}
