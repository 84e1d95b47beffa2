/* SPDX-License-Identifier: PostgreSQL */
#include "base/kill_point.h"

#include "base/log.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void
kill_point(const char *name)
{
    static atomic_uint stopped; /* at so many of the list */
    const char *at = getenv("WALFERRY_STOP_AT");
    size_t length = strlen(name);

    for (unsigned i = 0; at != NULL && i < stopped; i++)
        if ((at = strchr(at, ',')) != NULL)
            at++;
    if (at == NULL || strncmp(at, name, length) != 0 || (at[length] != '\0' && at[length] != ','))
        return;
    stopped++;
    log_warning("stopped at %s, process %d", name, (int)getpid());
    kill(getpid(), SIGSTOP);
}
