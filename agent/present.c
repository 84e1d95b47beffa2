/* See present.h. */
#include "present.h"

#include "base/fail.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

const char *
present_conninfo(const struct config *config, const struct member *self, const char *database,
                 char *out, size_t size)
{
    snprintf(out, size, "host=%s/tunnel port=5432 user=%s dbname=%s application_name=walferry",
             self->run, config->tunnel_user, database);
    return out;
}

static int
refuse(const PGconn *connection)
{
    char text[512];
    const char *message = PQerrorMessage(connection);

    return fail(ERR_PEER, "%s", text_escape(text, sizeof text, message, strcspn(message, "\n")));
}

int
present_connect(const struct config *config, const struct member *self, const char *database,
                PGconn **ret_connection)
{
    char directory[128];
    const char *const keys[] = {
        "host", "port", "user", "dbname", "connect_timeout", "options", "application_name", NULL};
    const char *const values[] = {directory,  "5432", config->tunnel_user,
                                  database,   "15",   "-c search_path=pg_catalog",
                                  "walferry", NULL};
    PGconn *connection;
    int code;

    snprintf(directory, sizeof directory, "%s/tunnel", self->run);
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
present_ask(PGconn *connection, const char *query, char *out, size_t size)
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
