/* SPDX-License-Identifier: PostgreSQL */
/* See checkpoint.h. */
#include "postgres/checkpoint.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE_US (300 * SECOND_US) /* a checkpoint may have much to write */

static void
ignore(void *context, const PGresult *notice)
{
    (void)context;
    (void)notice;
}

void
checkpoint_close(struct checkpoint *c)
{
    PQfinish(c->conn);
    *c = (struct checkpoint){0};
}

static void
give_up(struct checkpoint *c, const char *message)
{
    char text[300];

    log_warning("no checkpoint: %s",
                text_escape(text, sizeof text, message, strcspn(message, "\n")));
    checkpoint_close(c);
}

void
checkpoint_ask(struct checkpoint *c, const char *conninfo, int64_t now_us)
{
    char text[600];

    if (c->conn != NULL)
        return;
    snprintf(text, sizeof text, "%s replication=true application_name=walferry_checkpoint",
             conninfo);
    c->conn = PQconnectStart(text);
    c->polling = PGRES_POLLING_WRITING;
    c->asked = false;
    c->since_us = now_us;
    if (c->conn != NULL)
        PQsetNoticeReceiver(c->conn, ignore, NULL);
    if (PQstatus(c->conn) == CONNECTION_BAD)
        give_up(c, PQerrorMessage(c->conn));
}

void
checkpoint_watch(const struct checkpoint *c, struct loop *l)
{
    if (c->conn == NULL)
        return;
    loop_watch(l, PQsocket(c->conn),
               !c->asked && c->polling == PGRES_POLLING_WRITING ? POLLOUT : POLLIN);
    loop_due(l, c->since_us + PATIENCE_US);
}

static void
connect_step(struct checkpoint *c)
{
    c->polling = PQconnectPoll(c->conn);
    if (c->polling == PGRES_POLLING_FAILED) {
        give_up(c, PQerrorMessage(c->conn));
        return;
    }
    if (c->polling != PGRES_POLLING_OK)
        return;
    c->asked = PQsendQuery(c->conn, PQserverVersion(c->conn) >= 150000
                                        ? "BASE_BACKUP (LABEL 'walferry', CHECKPOINT 'fast', "
                                          "WAIT false, MANIFEST 'no')"
                                        : "BASE_BACKUP LABEL 'walferry' FAST NOWAIT") == 1;
    if (!c->asked)
        give_up(c, PQerrorMessage(c->conn));
}

void
checkpoint_run(struct checkpoint *c, const struct loop *l, int64_t now_us)
{
    PGresult *result;

    if (c->conn == NULL)
        return;
    if (now_us - c->since_us >= PATIENCE_US) {
        give_up(c, "it takes longer than 5 min");
        return;
    }
    if (loop_ready(l, PQsocket(c->conn)) == 0)
        return;
    if (!c->asked) {
        connect_step(c);
        return;
    }
    if (PQconsumeInput(c->conn) == 1 && PQisBusy(c->conn))
        return;
    result = PQgetResult(c->conn); /* the backup's start: the checkpoint is over */
    if (PQresultStatus(result) == PGRES_FATAL_ERROR)
        give_up(c, PQresultErrorMessage(result));
    PQclear(result);
    checkpoint_close(c);
}
