/* SPDX-License-Identifier: PostgreSQL */
/* See primary.h. */
#include "jobs/primary.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wal/spool.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FETCH_BYTES  (4u << 20)
#define SLOT_US      (20 * SECOND_US) /* for the primary's agent to make it */
#define SLOT_LOOK_MS 200

const char *
primary_door(const struct member *self, const struct member *other, char *out, size_t size)
{
    if (other == NULL)
        snprintf(out, size, "%s/tunnel", self->run);
    else
        snprintf(out, size, "%s/far/%s", self->run, other->name);
    return other == NULL ? "5432" : "5433";
}

const char *
primary_conninfo(const struct config *config, const struct member *self, const struct member *other,
                 const char *database, char *out, size_t size)
{
    char directory[256];
    const char *port = primary_door(self, other, directory, sizeof directory);

    snprintf(out, size, "host=%s port=%s user=%s dbname=%s application_name=walferry", directory,
             port, config->tunnel_user, database);
    return out;
}

static int
refuse(const PGconn *connection)
{
    char text[512];
    const char *message = PQerrorMessage(connection);

    return fail(ERR_PEER, "%s", text_escape(text, sizeof text, message, strcspn(message, "\n")));
}

static int
connect_as(const struct config *config, const struct member *self, const struct member *other,
           const char *database, bool replicates, PGconn **ret_connection)
{
    char directory[256], role[ROLE_NAME_SIZE];
    const char *const keys[] = {
        "host",        "port", "user", "dbname", "connect_timeout", "options", "application_name",
        "replication", NULL};
    const char *const values[] = {
        directory,
        primary_door(self, other, directory, sizeof directory),
        replicates ? role : config->tunnel_user,
        database,
        "15",
        "-c search_path=pg_catalog -c statement_timeout=0 -c lock_timeout=0",
        "walferry",
        replicates ? "true" : "false",
        NULL};
    PGconn *connection;
    int code;

    config_role(role, self);
    connection = PQconnectdbParams(keys, values, 0);
    if (PQstatus(connection) == CONNECTION_OK) {
        *ret_connection = connection;
        return 0;
    }
    code = refuse(connection);
    PQfinish(connection);
    return code;
}

int
primary_connect(const struct config *config, const struct member *self, const struct member *other,
                const char *database, PGconn **ret_connection)
{
    return connect_as(config, self, other, database, false, ret_connection);
}

int
primary_ask(PGconn *connection, const char *query, char *out, size_t size)
{
    PGresult *result = PQexec(connection, query);
    int code = 0;

    out[0] = '\0';
    if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) > 0)
        snprintf(out, size, "%s", PQgetvalue(result, 0, 0));
    else if (PQresultStatus(result) != PGRES_TUPLES_OK &&
             PQresultStatus(result) != PGRES_COMMAND_OK)
        code = refuse(connection);
    PQclear(result);
    return code;
}

PGresult *
primary_query(PGconn *connection, const char *query, const char *argument)
{
    PGresult *r = PQexecParams(connection, query, argument != NULL, NULL, &argument, NULL, NULL, 0);
    char shown[512];
    const char *why;

    if (PQresultStatus(r) == PGRES_TUPLES_OK)
        return r;
    why = PQresultErrorMessage(r);
    if (*why == '\0')
        why = PQerrorMessage(connection);
    fail(ERR_PEER, "the primary refuses: %s",
         text_escape(shown, sizeof shown, why, strcspn(why, "\n")));
    PQclear(r);
    return NULL;
}

int
primary_position(PGconn *connection, const char *primary, lsn_t *ret_lsn)
{
    char text[LSN_TEXT_SIZE];
    int code =
        primary_ask(connection, "select pg_catalog.pg_current_wal_flush_lsn()", text, sizeof text);

    if (code < 0)
        return code;
    return lsn_parse(text, ret_lsn) ? 0 : fail(ERR_PEER, "the position of %s is no LSN", primary);
}

int
primary_slot(PGconn *connection, const char *primary, const char *slot, lsn_t *ret_restart)
{
    int64_t until_us = clock_us() + SLOT_US;

    for (;;) {
        PGresult *r = primary_query(connection,
                                    "select coalesce(restart_lsn::text, '') "
                                    "from pg_catalog.pg_replication_slots where slot_name = $1 "
                                    "and wal_status <> 'lost'",
                                    slot);
        bool good = PQntuples(r) == 1 && lsn_parse(PQgetvalue(r, 0, 0), ret_restart);

        if (r == NULL)
            return ERR_PEER;
        PQclear(r);
        if (good)
            return 0;
        if (clock_us() >= until_us)
            return fail(ERR_PEER,
                        "%s has no slot %s that keeps WAL for this member, and its agent makes "
                        "none: walferry status there tells why",
                        primary, slot);
        poll(NULL, 0, SLOT_LOOK_MS);
    }
}

int
primary_checkpoint(const struct config *config, const struct member *self,
                   const struct member *other)
{
    PGconn *connection;
    PGresult *result;
    int code = connect_as(config, self, other, "postgres", true, &connection);

    if (code < 0)
        return code;
    result = PQexec(connection, PQserverVersion(connection) >= 150000
                                    ? "BASE_BACKUP (LABEL 'walferry rejoin', CHECKPOINT 'fast', "
                                      "WAIT false, MANIFEST 'no')"
                                    : "BASE_BACKUP LABEL 'walferry rejoin' FAST NOWAIT");
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COPY_OUT)
        code = refuse(connection);
    PQclear(result);
    PQfinish(connection);
    return code < 0 ? fail_in(code, "no checkpoint there") : 0;
}

/* 0: its value is the piece; ERR_AGAIN there is no such file. */
static int
ask_piece(PGconn *connection, const char *name, uint64_t at, size_t n, PGresult **ret_result)
{
    char query[200];
    PGresult *result;
    int code = 0;

    snprintf(query, sizeof query, "select pg_read_binary_file('pg_wal/%s', %" PRIu64 ", %zu, true)",
             name, at, n);
    result = PQexecParams(connection, query, 0, NULL, NULL, NULL, NULL, 1);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
        code = refuse(connection);
    else if (PQgetisnull(result, 0, 0))
        code = ERR_AGAIN;
    if (code == 0)
        *ret_result = result;
    else
        PQclear(result);
    return code;
}

int
primary_read(PGconn *connection, const char *name, uint64_t at, void *out, size_t n)
{
    PGresult *result;
    int code = ask_piece(connection, name, at, n, &result), length;

    if (code < 0)
        return code;
    length = PQgetlength(result, 0, 0);
    if ((size_t)length > n)
        length = (int)n;
    memcpy(out, PQgetvalue(result, 0, 0), (size_t)length);
    PQclear(result);
    return length;
}

/* 1 a piece was written, 0 the file ends here, ERR_AGAIN there is no such file. */
static int
fetch_piece(PGconn *connection, const char *name, uint64_t at, int fd)
{
    PGresult *result;
    int code = ask_piece(connection, name, at, FETCH_BYTES, &result), length;

    if (code < 0)
        return code;
    length = PQgetlength(result, 0, 0);
    code = length > 0;
    if (durable_write(fd, PQgetvalue(result, 0, 0), (size_t)length, at) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write what came of %s", name);
    PQclear(result);
    return code;
}

int
primary_fetch(PGconn *connection, const char *name, const char *target)
{
    char temporary[1024];
    uint64_t at = 0;
    int fd, code;

    snprintf(temporary, sizeof temporary, "%s.walferry", target);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_sys(ERR_LOCAL, "cannot make %s", temporary);
    while ((code = fetch_piece(connection, name, at, fd)) > 0)
        at += FETCH_BYTES;
    if (code == 0 && (fchmod(fd, spool_target_mode(target)) < 0 || durable_data(fd) < 0))
        code = fail_sys(ERR_LOCAL, "cannot flush %s", temporary);
    close(fd);
    if (code == 0 && rename(temporary, target) < 0)
        code = fail_sys(ERR_LOCAL, "cannot finish %s", target);
    if (code < 0)
        unlink(temporary);
    return code;
}
