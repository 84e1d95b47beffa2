/*
 * crew: a few threads that do plain jobs in the order they were given: buffer in, buffer out.
 *
 * A job is embedded in the caller's struct, which the caller leaves alone from crew_submit until
 * crew_done. crew_fd becomes readable when jobs are over; crew_clear makes it quiet again.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include <pthread.h>
#include <stdbool.h>

#define CREW_MAX 4

struct crew_job {
    struct crew_job *next;
    void (*run)(struct crew_job *job);
    bool done; /* private: crew_done */
};

struct crew {
    pthread_t thread[CREW_MAX];
    unsigned threads;
    pthread_mutex_t mutex;
    pthread_cond_t wake, over;
    struct crew_job *first, *last;
    int fd; /* eventfd */
    bool stop;
};

/* threads 0: as many as there are processors besides the loop's, at most CREW_MAX. With one thread
 * a job begins when the one before it is over. ERR_LOCAL. */
int crew_init(struct crew *c, unsigned threads);
void crew_release(struct crew *c); /* after the jobs that were given; accepts a zeroed struct */
int crew_fd(const struct crew *c);
void crew_clear(struct crew *c);

void crew_submit(struct crew *c, struct crew_job *job);
bool crew_done(struct crew *c, struct crew_job *job);
void crew_wait(struct crew *c, struct crew_job *job);

#endif
