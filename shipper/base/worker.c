/* SPDX-License-Identifier: PostgreSQL */
#include "base/worker.h"

#include "base/fail.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *
work(void *context)
{
    struct worker *w = context;

    pthread_mutex_lock(&w->mutex);
    for (;;) {
        uint64_t one = 1;

        while (w->run == NULL && !w->stop)
            pthread_cond_wait(&w->wake, &w->mutex);
        if (w->run == NULL)
            break;
        pthread_mutex_unlock(&w->mutex);
        w->run(w->job);
        pthread_mutex_lock(&w->mutex);
        w->run = NULL;
        pthread_mutex_unlock(&w->mutex); /* unlock first: the woken thread needs the mutex */
        if (write(w->fd, &one, sizeof one) < 0)
            assert(errno == EAGAIN); /* EAGAIN: the eventfd is readable already */
        pthread_mutex_lock(&w->mutex);
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

int
worker_init(struct worker *w)
{
    sigset_t all, before;
    int error;

    *w = (struct worker){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (w->fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make an eventfd");
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->wake, NULL);
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&w->thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        close(w->fd);
        return fail_sys(ERR_LOCAL, "cannot start a worker thread");
    }
    w->started = true;
    return 0;
}

void
worker_release(struct worker *w)
{
    if (w == NULL || !w->started)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->wake);
    close(w->fd);
    *w = (struct worker){0};
}

int
worker_fd(const struct worker *w)
{
    return w->started ? w->fd : -1;
}

bool
worker_busy(const struct worker *w)
{
    return w->busy;
}

void
worker_submit(struct worker *w, void (*run)(void *job), void *job)
{
    assert(w->started && !w->busy);
    w->busy = true;
    pthread_mutex_lock(&w->mutex);
    w->run = run;
    w->job = job;
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_signal(&w->wake);
}

bool
worker_done(struct worker *w)
{
    uint64_t ended;

    if (!w->busy || read(w->fd, &ended, sizeof ended) != (ssize_t)sizeof ended)
        return false;
    w->busy = false;
    return true;
}
