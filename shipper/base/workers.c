/* SPDX-License-Identifier: PostgreSQL */
/* See workers.h. */
#include "base/workers.h"

#include "base/fail.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *
work(void *context)
{
    struct workers *c = context;
    unsigned self;

    pthread_mutex_lock(&c->mutex);
    self = c->began++;
    for (;;) {
        struct workers_job *job;
        uint64_t one = 1;

        while (c->first == NULL && !c->stop)
            pthread_cond_wait(&c->wake, &c->mutex);
        job = c->first;
        if (job == NULL)
            break;
        c->first = job->next;
        pthread_mutex_unlock(&c->mutex);
        job->worker = self;
        job->run(job);
        pthread_mutex_lock(&c->mutex);
        job->done = true;
        pthread_cond_broadcast(&c->over);
        pthread_mutex_unlock(&c->mutex);       /* unlock first: the woken thread needs the mutex */
        (void)!write(c->fd, &one, sizeof one); /* if it fails, it is readable already */
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static unsigned
threads_wanted(void)
{
    cpu_set_t ours;
    int processors = sched_getaffinity(0, sizeof ours, &ours) == 0 ? CPU_COUNT(&ours) : 1;

    if (processors < 3)
        return 1;
    return processors - 1 < WORKERS_MAX ? (unsigned)processors - 1 : WORKERS_MAX;
}

int
workers_init(struct workers *c, unsigned threads)
{
    unsigned wanted = threads > 0 ? threads : threads_wanted();
    sigset_t all, before;
    int error = 0;

    *c = (struct workers){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (c->fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make an eventfd");
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->wake, NULL);
    pthread_cond_init(&c->over, NULL);
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (error == 0 && c->threads < wanted) {
        error = pthread_create(&c->thread[c->threads], NULL, work, c);
        c->threads += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    if (c->threads == 0) {
        fail_sys(ERR_LOCAL, "cannot start a worker thread");
        close(c->fd);
        *c = (struct workers){0};
        return ERR_LOCAL;
    }
    return 0;
}

void
workers_release(struct workers *c)
{
    if (c->threads == 0)
        return;
    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->mutex);
    for (unsigned i = 0; i < c->threads; i++)
        pthread_join(c->thread[i], NULL);
    pthread_mutex_destroy(&c->mutex);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->over);
    close(c->fd);
    *c = (struct workers){0};
}

int
workers_fd(const struct workers *c)
{
    return c->threads > 0 ? c->fd : -1;
}

void
workers_clear(struct workers *c)
{
    uint64_t count;

    (void)!read(c->fd, &count, sizeof count);
}

void
workers_submit(struct workers *c, struct workers_job *job)
{
    job->next = NULL;
    job->done = false;
    pthread_mutex_lock(&c->mutex);
    if (c->first == NULL)
        c->first = job;
    else
        c->last->next = job;
    c->last = job;
    pthread_mutex_unlock(&c->mutex);
    pthread_cond_signal(&c->wake);
}

bool
workers_done(struct workers *c, struct workers_job *job)
{
    bool done;

    pthread_mutex_lock(&c->mutex);
    done = job->done;
    pthread_mutex_unlock(&c->mutex);
    return done;
}

void
workers_wait(struct workers *c, struct workers_job *job)
{
    pthread_mutex_lock(&c->mutex);
    while (!job->done)
        pthread_cond_wait(&c->over, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}
