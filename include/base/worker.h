/* SPDX-License-Identifier: PostgreSQL */
/*
 * worker: one thread that does one plain job at a time for the loop.
 *
 * For blocking calls (a flush, a name to be resolved): the job borrows its data, which the loop
 * leaves alone until worker_done. worker_fd becomes readable when the job is over.
 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include <pthread.h>
#include <stdbool.h>

struct worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    void (*run)(void *job);
    void *job;
    int fd; /* eventfd */
    bool started, busy, stop;
};

int worker_init(struct worker *w);     /* ERR_LOCAL */
void worker_release(struct worker *w); /* waits for the running job; accepts a zeroed struct */
int worker_fd(const struct worker *w);
bool worker_busy(const struct worker *w); /* a job was submitted and worker_done has not said so */
void worker_submit(struct worker *w, void (*run)(void *job),
                   void *job);      /* asserts it is not busy */
bool worker_done(struct worker *w); /* true once, when the submitted job has ended */

#endif
