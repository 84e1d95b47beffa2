/* SPDX-License-Identifier: PostgreSQL */
/*
 * spawn: one command, run and waited for, by a worker thread.
 *
 * posix_spawn: no copy of the agent's memory, and the loop neither forks nor waits. The command has
 * a process group of its own, which is killed after limit_us, or when stop_fd (an eventfd) becomes
 * readable. Its standard input is /dev/null, and it inherits no other descriptor of the agent.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include "base/worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPAWN_OUTPUT_MAX 512

struct spawn {
    char *const *argv; /* argv[0]: an absolute path */
    char *const *environment;
    int stop_fd;
    int64_t limit_us;
    char *stdout_bytes; /* NULL, or where the beginning of its standard output goes; borrowed */
    size_t stdout_max;  /* room there */
    bool keep_output;   /* the end of its other output goes to `output`, else to the agent's log */
    /* results */
    int error;  /* errno: it could not be started */
    int status; /* as of waitpid */
    bool timed_out, stopped;
    size_t stdout_used;
    char output[SPAWN_OUTPUT_MAX]; /* made safe to show, one line */
};

void spawn_run(struct spawn *s); /* blocks */

/* True: it ended with status 0. Else out says why not, in words that follow "it "; room: 80 bytes. */
bool spawn_good(const struct spawn *s, char *out, size_t size);

/* A worker for jobs that run commands with its stop_fd. */
struct spawn_worker {
    struct worker worker;
    int stop_fd;
};

int spawn_worker_init(struct spawn_worker *w); /* ERR_LOCAL */

/* Kills the command that runs (`what`, for a message) and waits; accepts a zeroed struct. */
void spawn_worker_release(struct spawn_worker *w, const char *what);

#endif
