/* SPDX-License-Identifier: PostgreSQL */
/* See door.h. */
#include "tunnel/door.h"

#include "base/fail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
make_directory(const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return fail_sys(ERR_LOCAL, "cannot make the directory %s", path);
    return 0;
}

static int
add_door(struct doors *all, const char *directory, enum tunnel_service service,
         const struct member *member)
{
    static const char *const name[] = {[TUNNEL_POSTGRES] = ".s.PGSQL.5432",
                                       [TUNNEL_CONTROL] = "control",
                                       [TUNNEL_RELAY] = ".s.PGSQL.5432",
                                       [TUNNEL_SERVER] = ".s.PGSQL.5433"};
    struct door *d = &all->door[all->count];
    char path[256];
    int code = make_directory(directory);

    if (code < 0)
        return code;
    snprintf(path, sizeof path, "%s/%s", directory, name[service]);
    *d = (struct door){.fd = -1, .service = service, .member = member};
    code = unix_socket_listen(path, 16, &d->fd);
    if (code < 0)
        return code;
    memcpy(d->path, path, strlen(path) + 1); /* it fits, or nobody could listen */
    all->count++;
    return 0;
}

int
doors_open(struct doors *d, const struct config *config, const struct member *self)
{
    char directory[256];
    int code;

    snprintf(directory, sizeof directory, "%s/tunnel", self->run);
    code = add_door(d, directory, TUNNEL_POSTGRES, NULL);
    snprintf(directory, sizeof directory, "%s/far", self->run);
    if (code == 0)
        code = make_directory(directory);
    for (size_t i = 0; i < config->members && code == 0; i++) {
        const struct member *m = &config->member[i];

        if (m == self)
            continue;
        snprintf(directory, sizeof directory, "%s/far/%s", self->run, m->name);
        code = add_door(d, directory, TUNNEL_CONTROL, m);
        if (code == 0)
            code = add_door(d, directory, TUNNEL_RELAY, m);
        if (code == 0)
            code = add_door(d, directory, TUNNEL_SERVER, m);
    }
    return code;
}

void
doors_close(struct doors *d)
{
    for (size_t i = 0; i < d->count; i++) {
        unlink(d->door[i].path);
        close(d->door[i].fd);
    }
    d->count = 0;
}
