/* SPDX-License-Identifier: PostgreSQL */
/*
 * service: the agent's side of validate. Clients of the control socket, here or at another member,
 * get the report of `walferry validate --local --json` on this host.
 *
 * That looks at files, keys, disks and databases, which blocks: so it is a process of its own. A
 * worker thread starts it (base/spawn.h), reads at most
 * VALIDATE_SERVICE_BYTES_MAX of its output and kills it after VALIDATE_SERVICE_LIMIT_US. Only one
 * runs at a time: all who ask meanwhile get the same answer.
 */
#ifndef AGENT_VALIDATE_SERVICE_H
#define AGENT_VALIDATE_SERVICE_H

#include "config/config.h"
#include "control/control.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/loop.h"
#include "base/spawn.h"

#define VALIDATE_SERVICE_LIMIT_US  (60 * SECOND_US)
#define VALIDATE_SERVICE_BYTES_MAX (512u << 10)

struct examination {
    const struct config *config;
    const struct member *self;
    struct spawn spawn;
    char output[VALIDATE_SERVICE_BYTES_MAX];
    char error[FAIL_MESSAGE_MAX]; /* "": output is whole */
};

struct validate_service {
    struct spawn_worker runs;
    struct examination *job;
    uint64_t client[CONTROL_CLIENTS_MAX]; /* ids of those who wait */
    size_t clients;
};

int validate_service_init(struct validate_service *e, const struct config *config,
                          const struct member *self);
/* Ends the process that runs; accepts a zeroed struct. */
void validate_service_release(struct validate_service *e);

void validate_service_ask(struct validate_service *e, struct control *c, uint64_t client);
void validate_service_watch(const struct validate_service *e, struct loop *l);
void validate_service_run(struct validate_service *e, struct control *c); /* answers clients */

#endif
