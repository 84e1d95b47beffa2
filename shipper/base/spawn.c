/* SPDX-License-Identifier: PostgreSQL */
/* See spawn.h. */
#include "base/spawn.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_MAX (SPAWN_OUTPUT_MAX / 2)

struct tail {
    int fd; /* -1: closed, or not wanted */
    char bytes[TAIL_MAX];
    size_t used;
};

/* The agent blocks or ignores signals: the command gets the defaults. */
static int
begin(const struct spawn *s, int out, int stdout_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&files, out, 2);
    posix_spawn_file_actions_adddup2(&files, stdout_fd >= 0 ? stdout_fd : 2, 1);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    error = posix_spawn(ret_pid, s->argv[0], &files, &attributes, s->argv, s->environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* The end of the output explains a failure. */
static void
read_tail(struct tail *t)
{
    char piece[256];
    ssize_t got;

    while (t->fd >= 0 && (got = read(t->fd, piece, sizeof piece)) != 0) {
        size_t n = got > 0 ? (size_t)got : 0, drop;

        if (got < 0)
            return;
        n = n < TAIL_MAX ? n : TAIL_MAX;
        drop = t->used + n > TAIL_MAX ? t->used + n - TAIL_MAX : 0;
        memmove(t->bytes, t->bytes + drop, t->used - drop);
        t->used -= drop;
        memcpy(t->bytes + t->used, piece + got - n, n);
        t->used += n;
    }
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

static void
show_tail(struct tail *t, char out[SPAWN_OUTPUT_MAX])
{
    while (t->used > 0 && strchr(" \r\n", t->bytes[t->used - 1]) != NULL)
        t->used--;
    for (size_t i = 0; i < t->used; i++)
        if (t->bytes[i] == '\n')
            t->bytes[i] = ' ';
    text_escape(out, SPAWN_OUTPUT_MAX, t->bytes, t->used);
}

static void
wait_for(struct spawn *s, pid_t pid, struct tail *t)
{
    struct pollfd wait_for[3] = {{.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN},
                                 {.fd = s->stop_fd, .events = POLLIN},
                                 {.events = POLLIN}};
    int64_t until_us = clock_us() + s->limit_us, left_us;

    while (wait_for[0].fd >= 0 && (left_us = until_us - clock_us()) > 0 &&
           wait_for[0].revents == 0 && wait_for[1].revents == 0) {
        wait_for[2].fd = t->fd;
        poll(wait_for, 3, (int)(left_us / MILLISECOND_US) + 1);
        read_tail(t);
    }
    s->stopped = wait_for[1].revents != 0;
    s->timed_out = wait_for[0].revents == 0 && !s->stopped;
    if (wait_for[0].revents == 0)
        kill(-pid, SIGKILL);
    while (waitpid(pid, &s->status, 0) < 0 && errno == EINTR)
        ;
    if (wait_for[0].fd >= 0)
        close(wait_for[0].fd);
}

static void
take_stdout(struct spawn *s, int fd)
{
    ssize_t got = pread(fd, s->stdout_bytes, s->stdout_max, 0);

    s->stdout_used = got > 0 ? (size_t)got : 0;
    close(fd);
}

void
spawn_run(struct spawn *s)
{
    struct tail t = {.fd = -1};
    int pipe_fd[2] = {-1, -1}, stdout_fd = -1;
    pid_t pid;

    if ((s->stdout_bytes != NULL && (stdout_fd = memfd_create("stdout", MFD_CLOEXEC)) < 0) ||
        (s->keep_output &&
         (pipe2(pipe_fd, O_CLOEXEC) < 0 || fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK) < 0))) {
        s->error = errno;
        if (stdout_fd >= 0)
            close(stdout_fd);
        return;
    }
    t.fd = pipe_fd[0];
    s->error = begin(s, pipe_fd[1], stdout_fd, &pid);
    if (pipe_fd[1] >= 0)
        close(pipe_fd[1]);
    if (s->error == 0)
        wait_for(s, pid, &t);
    read_tail(&t);
    if (t.fd >= 0) /* still open in a process that the command left behind */
        close(t.fd);
    show_tail(&t, s->output);
    if (stdout_fd >= 0)
        take_stdout(s, stdout_fd);
}

bool
spawn_good(const struct spawn *s, char *out, size_t size)
{
    if (s->error != 0)
        snprintf(out, size, "cannot be run: %s", strerror(s->error));
    else if (s->timed_out)
        snprintf(out, size, "was killed: it took over %d s", (int)(s->limit_us / SECOND_US));
    else if (s->stopped)
        snprintf(out, size, "was killed: the agent stops");
    else if (WIFSIGNALED(s->status))
        snprintf(out, size, "ended by signal %d", WTERMSIG(s->status));
    else if (WEXITSTATUS(s->status) != 0)
        snprintf(out, size, "ended with status %d", WEXITSTATUS(s->status));
    else
        return true;
    return false;
}

int
spawn_worker_init(struct spawn_worker *w)
{
    int code;

    *w = (struct spawn_worker){.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (w->stop_fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make an eventfd");
    code = worker_init(&w->worker);
    if (code < 0)
        close(w->stop_fd);
    return code;
}

void
spawn_worker_release(struct spawn_worker *w, const char *what)
{
    uint64_t one = 1;

    if (!w->worker.started)
        return;
    if (write(w->stop_fd, &one, sizeof one) < 0)
        log_warning("%s cannot be ended: %s", what, strerror(errno));
    worker_release(&w->worker);
    close(w->stop_fd);
}
