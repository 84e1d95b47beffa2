/* SPDX-License-Identifier: PostgreSQL */
/* See query.h. */
#include "validate/query.h"

#include <stdio.h>
#include <string.h>

PGconn *
validate_connect(const struct validation *v, const char *database, bool replication)
{
    /* the later one counts, an empty one does not */
    const char *const names[] = {
        "dbname",          "dbname",  "connect_timeout", "application_name",
        "client_encoding", "options", "replication",     NULL};
    const char *const values[] = {
        v->self->postgres,           database, "5",
        "walferry_validate",         "UTF8",   "-c statement_timeout=10s -c search_path=pg_catalog",
        replication ? "true" : NULL, NULL};

    return PQconnectdbParams(names, values, 1);
}

PGresult *
validate_ask(struct validation *v, PGconn *conn, const char *query)
{
    PGresult *result = PQexec(conn, query);

    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        return result;
    validate_say(v, READY_FAIL, "cannot be asked in database %s: %s", PQdb(conn),
                 PQerrorMessage(conn));
    validate_remedy(v, "grant pg_monitor to %s", PQuser(conn));
    PQclear(result);
    return NULL;
}

const char *
validate_setting(const struct validation *v, const char *name)
{
    const char *value = json_string_value(json_object_get(v->settings, name));

    return value != NULL ? value : "";
}

bool
validate_is(const struct validation *v, const char *name, const char *value)
{
    return strcmp(validate_setting(v, name), value) == 0;
}

void
validate_list_add(struct list *l, const char *item)
{
    size_t used = strlen(l->text);

    l->count++;
    if (used + strlen(item) + strlen(", , ...") < sizeof l->text)
        snprintf(l->text + used, sizeof l->text - used, "%s%s", used > 0 ? ", " : "", item);
    else if (used < 5 || strcmp(l->text + used - 5, ", ...") != 0)
        snprintf(l->text + used, sizeof l->text - used, ", ...");
}

void
validate_say_list(struct validation *v, const struct list *l, enum readiness result,
                  const char *good, const char *wrong, const char *remedy)
{
    validate_say(v, l->count > 0 ? result : READY_OK, "%s%s", l->count > 0 ? wrong : good, l->text);
    if (l->count > 0)
        validate_remedy(v, "%s", remedy);
}

void
validate_rows(struct validation *v, const char *query, enum readiness result, const char *good,
              const char *wrong, const char *remedy)
{
    PGresult *rows = validate_ask(v, v->conn, query);
    struct list list = {0};

    for (int i = 0; i < PQntuples(rows); i++)
        validate_list_add(&list, PQgetvalue(rows, i, 0));
    if (rows != NULL)
        validate_say_list(v, &list, result, good, wrong, remedy);
    PQclear(rows);
}

static void
keep_line(void *context, const char *line)
{
    if (line[0] != '\0')
        snprintf(context, TOOL_LINE_SIZE, "%s", line);
}

int
validate_tool(struct validation *v, const char *const argv[], char ret_line[TOOL_LINE_SIZE])
{
    ret_line[0] = '\0';
    return job_run(&v->job, argv, keep_line, ret_line);
}
