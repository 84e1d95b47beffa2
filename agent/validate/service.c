/* SPDX-License-Identifier: PostgreSQL */
/* See service.h. */
#include "validate/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int
validate_service_init(struct validate_service *e, const struct config *config,
                      const struct member *self)
{
    *e = (struct validate_service){.job = calloc(1, sizeof *e->job)};
    if (e->job == NULL)
        return fail(ERR_LOCAL, "out of memory");
    e->job->config = config;
    e->job->self = self;
    return spawn_worker_init(&e->runs);
}

void
validate_service_release(struct validate_service *e)
{
    spawn_worker_release(&e->runs, "walferry validate");
    free(e->job);
}

/* In the worker's thread, as job_examine. */
static void
job_examine(void *context)
{
    struct examination *j = context;
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

    snprintf(config, sizeof config, "%s", j->config->file);
    snprintf(name, sizeof name, "%s", j->self->name);
    j->spawn.argv = argv;
    j->spawn.environment = environ;
    spawn_run(&j->spawn);
    if (!spawn_good(&j->spawn, why, sizeof why) &&
        (j->spawn.error != 0 || !WIFEXITED(j->spawn.status))) /* an exit status is the verdict */
        snprintf(j->error, sizeof j->error, "walferry validate on this host %s", why);
}

static void
answer(struct validate_service *e, struct control *c)
{
    const struct examination *j = e->job;
    json_t *report =
        j->error[0] == '\0' ? json_loadb(j->output, j->spawn.stdout_used, 0, NULL) : NULL;

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
    if (e->clients == CONTROL_CLIENTS_MAX) { /* most of the clients have gone by now */
        control_text(c, client, "too many have asked meanwhile; ask again");
        control_done(c, client, 1);
        return;
    }
    e->client[e->clients++] = client;
    if (worker_busy(&e->runs.worker))
        return;
    e->job->error[0] = '\0';
    e->job->spawn = (struct spawn){.stop_fd = e->runs.stop_fd,
                                   .limit_us = VALIDATE_SERVICE_LIMIT_US,
                                   .stdout_bytes = e->job->output,
                                   .stdout_max = sizeof e->job->output};
    worker_submit(&e->runs.worker, job_examine, e->job);
}

void
validate_service_watch(const struct validate_service *e, struct loop *l)
{
    loop_watch(l, worker_fd(&e->runs.worker), POLLIN);
}

void
validate_service_run(struct validate_service *e, struct control *c)
{
    if (worker_done(&e->runs.worker))
        answer(e, c);
}
