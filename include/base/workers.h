/* SPDX-License-Identifier: PostgreSQL */
/*
 * workers: a few threads that do plain jobs, begun in the order they were given: buffer in, buffer
 * out.
 *
 * A job is embedded in the caller's struct, which the caller leaves alone from workers_submit until
 * workers_done. workers_fd becomes readable when jobs are over; workers_clear makes it quiet again.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <pthread.h>
#include <stdbool.h>

#define WORKERS_MAX 4

struct workers_job {
    struct workers_job *next;
    void (*run)(struct workers_job *job);
    unsigned worker; /* which thread runs it, from 0 on: for what a thread keeps for itself */
    bool done;       /* private: workers_done */
};

struct workers {
    pthread_t thread[WORKERS_MAX];
    unsigned threads, began;
    pthread_mutex_t mutex;
    pthread_cond_t wake, over;
    struct workers_job *first, *last;
    int fd; /* eventfd */
    bool stop;
};

/* threads 0: one for each processor but the loop's, at most WORKERS_MAX. With one thread a job
 * begins when the job before it is over. ERR_LOCAL. */
int workers_init(struct workers *c, unsigned threads);
void workers_release(struct workers *c); /* after the submitted jobs; accepts a zeroed struct */
int workers_fd(const struct workers *c);
void workers_clear(struct workers *c);

void workers_submit(struct workers *c, struct workers_job *job);
bool workers_done(struct workers *c, struct workers_job *job);
void workers_wait(struct workers *c, struct workers_job *job);

#endif
