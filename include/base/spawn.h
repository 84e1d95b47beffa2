/*
 * spawn: one command, run and waited for, by a worker thread.
 *
 * posix_spawn: no copy of the agent's memory, and the loop neither forks nor waits. The command has
 * a process group of its own, which is killed after limit_us, or when stop_fd (an eventfd) becomes
 * readable; its standard input is /dev/null, no descriptor of the agent's is left to it.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPAWN_OUTPUT_MAX 512

struct spawn {
    char *const *argv; /* argv[0]: an absolute path */
    char *const *environment;
    int stop_fd;
    int64_t limit_us;
    int stdout_fd;    /* 0: none; else its standard output goes there; borrowed */
    bool keep_output; /* the last of what it prints, in `output`; else it goes to the agent's log */
    /* results */
    int error;  /* errno: it could not be started */
    int status; /* as of waitpid */
    bool timed_out, stopped;
    char output[SPAWN_OUTPUT_MAX]; /* made safe to show, one line */
};

void spawn_run(struct spawn *s); /* blocks */

/* True: it ended with status 0. Else why not, in words, behind "it ": room for 80 bytes. */
bool spawn_good(const struct spawn *s, char *out, size_t size);

#endif
