/* SPDX-License-Identifier: PostgreSQL */
/*
 * query: what the subjects ask PostgreSQL and its tools with, and lists of what they find.
 */
#ifndef AGENT_VALIDATE_QUERY_H
#define AGENT_VALIDATE_QUERY_H

#include "validate/finding.h"

/* A connection to a database of this host, NULL: the config's. To be ended with PQfinish. */
PGconn *validate_connect(const struct validation *v, const char *database, bool replication);

/* Rows, or NULL and a line that says why there are none. */
PGresult *validate_ask(struct validation *v, PGconn *conn, const char *query);

const char *validate_setting(const struct validation *v, const char *name); /* "": none */
bool validate_is(const struct validation *v, const char *name, const char *value);

/* Names for a line: the first ones, and how many there are. */
#define LIST_SIZE 300
struct list {
    char text[LIST_SIZE];
    int count;
};
void validate_list_add(struct list *l, const char *item);

/* A line for a list: `good` if it is empty, else `wrong` and the names, with the remedy. */
void validate_say_list(struct validation *v, const struct list *l, enum readiness result,
                       const char *good, const char *wrong, const char *remedy);

/* The same for the first column of a query's rows. */
void validate_rows(struct validation *v, const char *query, enum readiness result, const char *good,
                   const char *wrong, const char *remedy);

/* Run a program as job_run does, and give the last line that it printed. 0 or ERR_PEER. */
#define TOOL_LINE_SIZE 256
int validate_tool(struct validation *v, const char *const argv[], char ret_line[TOOL_LINE_SIZE]);

#endif
