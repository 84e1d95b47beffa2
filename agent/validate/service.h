/*
 * validate's service: `walferry validate --local --json` on this host, for those who ask over the
 * control socket, from here or from afar.
 *
 * It looks at files, keys, disks and databases, which blocks: so it is a process of its own,
 * started by a worker thread (spawn.h) that reads at most VALIDATE_SERVICE_BYTES_MAX of its output
 * and kills it after VALIDATE_SERVICE_LIMIT_US. One runs at a time: a client that asks meanwhile
 * gets the same answer.
 */
#ifndef AGENT_VALIDATE_SERVICE_H
#define AGENT_VALIDATE_SERVICE_H

#include "config/config.h"
#include "control/control.h"
#include "base/spawn.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/loop.h"

#define VALIDATE_SERVICE_LIMIT_US  (60 * SECOND_US)
#define VALIDATE_SERVICE_BYTES_MAX (512u << 10)

struct examination {
    const struct config *config;
    const struct member *self;
    struct spawn spawn;
    char output[VALIDATE_SERVICE_BYTES_MAX];
    char error[FAIL_MESSAGE_MAX]; /* "" : output is whole */
};

struct validate_service {
    struct spawn_worker runs;
    struct examination *job;
    uint64_t client[CONTROL_CLIENTS_MAX]; /* who waits */
    size_t clients;
};

int validate_service_init(struct validate_service *e, const struct config *config,
                          const struct member *self);
void validate_service_release(
    struct validate_service *e); /* ends the one that runs; accepts a zeroed struct */

void validate_service_ask(struct validate_service *e, struct control *c, uint64_t client);
void validate_service_watch(const struct validate_service *e, struct loop *l);
void validate_service_run(struct validate_service *e,
                          struct control *c); /* answers those who wait */

#endif
