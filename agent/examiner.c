/* See examiner.h. */
#include "examiner.h"

#include "base/fail.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

int
examiner_init(struct examiner *e, const struct config *config, const struct member *self)
{
    *e = (struct examiner){.job = {.config = config, .self = self}};
    e->job.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->job.stop_fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make an eventfd");
    return worker_init(&e->worker);
}

void
examiner_release(struct examiner *e)
{
    uint64_t one = 1;

    if (!e->worker.started)
        return;
    if (write(e->job.stop_fd, &one, sizeof one) < 0)
        log_warning("walferry validate cannot be ended: %s", strerror(errno));
    worker_release(&e->worker);
    close(e->job.stop_fd);
    free(e->job.output);
}

/* ---- in the worker's thread ---- */

/* The agent's signals are blocked or ignored: the child gets everything as usual. */
static int
spawn(const struct examination *j, int out, pid_t *ret_pid)
{
    char *argv[] = {(char *)(uintptr_t) "walferry",
                    (char *)(uintptr_t) "validate",
                    (char *)(uintptr_t) "--local",
                    (char *)(uintptr_t) "--json",
                    (char *)(uintptr_t) "--config",
                    (char *)(uintptr_t)j->config->file,
                    (char *)(uintptr_t) "--member",
                    (char *)(uintptr_t)j->self->name,
                    NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    error = posix_spawn(ret_pid, "/proc/self/exe", &files, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* Until it has said all. Says in error what kept it from that. */
static void
read_output(struct examination *j, int fd)
{
    int64_t until_us = clock_us() + EXAMINER_LIMIT_US, left_us;

    while (j->bytes < EXAMINER_BYTES_MAX && (left_us = until_us - clock_us()) > 0) {
        struct pollfd wait_for[2] = {{.fd = fd, .events = POLLIN},
                                     {.fd = j->stop_fd, .events = POLLIN}};
        ssize_t got;

        poll(wait_for, 2, (int)(left_us / MILLISECOND_US) + 1);
        if (wait_for[1].revents != 0)
            break;
        if (wait_for[0].revents == 0)
            continue;
        got = read(fd, j->output + j->bytes, EXAMINER_BYTES_MAX - j->bytes);
        if (got == 0)
            return;
        j->bytes += got > 0 ? (size_t)got : 0;
    }
    snprintf(j->error, sizeof j->error, "walferry validate on this host took over %d s%s",
             (int)(EXAMINER_LIMIT_US / SECOND_US),
             j->bytes == EXAMINER_BYTES_MAX ? " or said too much" : "");
}

static void
job_examine(void *context)
{
    struct examination *j = context;
    int pipe_fds[2], error, status;
    pid_t pid;

    j->bytes = 0;
    j->error[0] = '\0';
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        snprintf(j->error, sizeof j->error, "cannot make a pipe: %s", strerror(errno));
        return;
    }
    error = spawn(j, pipe_fds[1], &pid);
    close(pipe_fds[1]);
    if (error != 0) {
        snprintf(j->error, sizeof j->error, "walferry validate cannot be started: %s",
                 strerror(error));
    } else {
        read_output(j, pipe_fds[0]);
        if (j->error[0] != '\0')
            kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    close(pipe_fds[0]);
    j->output[j->bytes] = '\0';
}

/* ---- in the loop ---- */

static void
answer(struct examiner *e, struct control *c)
{
    const struct examination *j = &e->job;
    json_t *report = j->error[0] == '\0' ? json_loads(j->output, 0, NULL) : NULL;

    for (size_t i = 0; i < e->clients; i++) {
        if (report != NULL)
            control_answer(c, e->client[i], json_pack("{s:O}", "report", report));
        else
            control_text(c, e->client[i], "%s",
                         j->error[0] != '\0' ? j->error
                                             : "walferry validate on this host said nothing");
        control_done(c, e->client[i], report != NULL ? 0 : 1);
    }
    json_decref(report);
    e->clients = 0;
}

void
examiner_ask(struct examiner *e, uint64_t client)
{
    if (e->job.output == NULL)
        e->job.output = malloc(EXAMINER_BYTES_MAX + 1);
    if (e->clients < CONTROL_CLIENTS_MAX)
        e->client[e->clients++] = client;
    if (!worker_busy(&e->worker) && e->job.output != NULL)
        worker_submit(&e->worker, job_examine, &e->job);
}

void
examiner_watch(const struct examiner *e, struct loop *l)
{
    loop_watch(l, worker_fd(&e->worker), POLLIN);
}

void
examiner_run(struct examiner *e, struct control *c)
{
    if (worker_done(&e->worker))
        answer(e, c);
}
