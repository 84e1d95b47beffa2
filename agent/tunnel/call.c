/* SPDX-License-Identifier: PostgreSQL */
/* See call.h. */
#include "tunnel/call.h"

#include "base/fail.h"
#include "base/unix_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int
call_address(const char *host, const char *port, int *ret_fd)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6,
                               .sin6_port = htons((uint16_t)strtoul(port, NULL, 10))};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six.sin6_port};
    bool is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1;
    int rc;

    if (!is_four && inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
        return fail(ERR_LOCAL, "PostgreSQL's host %s is neither a directory nor an address", host);
    *ret_fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*ret_fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make a socket");
    rc = is_four ? connect(*ret_fd, (struct sockaddr *)&four, sizeof four)
                 : connect(*ret_fd, (struct sockaddr *)&six, sizeof six);
    if (rc == 0 || errno == EINPROGRESS)
        return 0;
    close(*ret_fd);
    return fail_sys(ERR_PEER, "PostgreSQL does not answer on %s:%s", host, port);
}

int
call_postgres(const struct member *self, int *ret_fd)
{
    PQconninfoOption *options = PQconninfoParse(self->postgres, NULL);
    const char *host = "/var/run/postgresql", *port = "5432";
    char path[512];
    int code;

    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val != NULL && strcmp(o->keyword, "host") == 0)
            host = o->val;
        if (o->val != NULL && strcmp(o->keyword, "port") == 0)
            port = o->val;
    }
    snprintf(path, sizeof path, "%s/.s.PGSQL.%s", host, port);
    code = host[0] == '/' ? local_call(path, ret_fd) : call_address(host, port, ret_fd);
    PQconninfoFree(options);
    return code;
}
