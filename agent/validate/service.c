/* See service.h. */
#include "validate/service.h"

#include "base/durable.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int
validate_service_init(struct validate_service *e, const struct config *config,
                      const struct member *self)
{
    *e = (struct validate_service){.job = calloc(1, sizeof *e->job), .stop_fd = -1};
    if (e->job == NULL)
        return fail(ERR_LOCAL, "out of memory");
    e->job->config = config;
    e->job->self = self;
    e->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->stop_fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make an eventfd");
    return worker_init(&e->worker);
}

void
validate_service_release(struct validate_service *e)
{
    uint64_t one = 1;

    if (e->worker.started && write(e->stop_fd, &one, sizeof one) < 0)
        log_warning("walferry validate cannot be ended: %s", strerror(errno));
    worker_release(&e->worker);
    if (e->job != NULL && e->stop_fd >= 0)
        close(e->stop_fd);
    free(e->job);
}

/* ---- in the worker's thread ---- */

static void
examine(struct examination *j)
{
    char config[sizeof j->config->file], name[sizeof j->self->name], why[80];
    char *argv[] = {(char[]){"/proc/self/exe"},
                    (char[]){"validate"},
                    (char[]){"--local"},
                    (char[]){"--json"},
                    (char[]){"--config"},
                    config,
                    (char[]){"--member"},
                    name,
                    NULL};
    ssize_t got;

    snprintf(config, sizeof config, "%s", j->config->file);
    snprintf(name, sizeof name, "%s", j->self->name);
    j->spawn.argv = argv;
    j->spawn.environment = environ;
    spawn_run(&j->spawn);
    if (!spawn_good(&j->spawn, why, sizeof why) &&
        (j->spawn.error != 0 || !WIFEXITED(j->spawn.status))) { /* a status is its verdict */
        snprintf(j->error, sizeof j->error, "walferry validate on this host %s", why);
        return;
    }
    got = durable_read(j->spawn.stdout_fd, j->output, sizeof j->output, 0);
    j->bytes = got > 0 ? (size_t)got : 0;
}

static void
job_examine(void *context)
{
    struct examination *j = context;
    int fd = memfd_create("validate", MFD_CLOEXEC);

    if (fd < 0) {
        snprintf(j->error, sizeof j->error, "cannot keep what walferry validate says: %s",
                 strerror(errno));
        return;
    }
    j->spawn.stdout_fd = fd;
    examine(j);
    close(fd);
}

/* ---- in the loop ---- */

static void
answer(struct validate_service *e, struct control *c)
{
    const struct examination *j = e->job;
    json_t *report = j->error[0] == '\0' ? json_loadb(j->output, j->bytes, 0, NULL) : NULL;

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
validate_service_ask(struct validate_service *e, struct control *c, uint64_t client)
{
    if (e->clients == CONTROL_CLIENTS_MAX) { /* most of them have gone again */
        control_text(c, client, "too many have asked meanwhile; ask again");
        control_done(c, client, 1);
        return;
    }
    e->client[e->clients++] = client;
    if (worker_busy(&e->worker))
        return;
    e->job->error[0] = '\0';
    e->job->spawn = (struct spawn){.stop_fd = e->stop_fd, .limit_us = VALIDATE_SERVICE_LIMIT_US};
    worker_submit(&e->worker, job_examine, e->job);
}

void
validate_service_watch(const struct validate_service *e, struct loop *l)
{
    loop_watch(l, worker_fd(&e->worker), POLLIN);
}

void
validate_service_run(struct validate_service *e, struct control *c)
{
    if (worker_done(&e->worker))
        answer(e, c);
}
