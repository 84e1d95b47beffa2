/* SPDX-License-Identifier: PostgreSQL */
/*
 * await: until a server answers a question with true. Cheap enough to stand beside what it times:
 * one connection, one short query every few milliseconds; no server, or an error, is "not yet".
 *
 *   await CONNINFO SECONDS QUERY     exit 0: it answered t; 1: not within SECONDS, the reason on
 * stderr
 */
#include "base/clock.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_US (5 * MILLISECOND_US)

static bool
holds(PGconn *conn, const char *query)
{
    PGresult *r = PQexec(conn, query);
    bool yes = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0 &&
               strcmp(PQgetvalue(r, 0, 0), "t") == 0;

    PQclear(r);
    return yes;
}

int
main(int argc, char **argv)
{
    PGconn *conn = NULL;
    int64_t until_us;
    bool good = false;

    if (argc != 4) {
        fprintf(stderr, "usage: await CONNINFO SECONDS QUERY\n");
        return 2;
    }
    until_us = clock_us() + atol(argv[2]) * SECOND_US;
    while (!good && clock_us() < until_us) {
        if (conn == NULL)
            conn = PQconnectdb(argv[1]);
        good = PQstatus(conn) == CONNECTION_OK && holds(conn, argv[3]);
        if (!good)
            usleep((useconds_t)PAUSE_US);
        if (PQstatus(conn) != CONNECTION_OK && clock_us() < until_us) {
            PQfinish(conn);
            conn = NULL;
        }
    }
    if (!good)
        fprintf(stderr, "not within %s s: %s %s\n", argv[2], argv[3],
                conn != NULL ? PQerrorMessage(conn) : "");
    PQfinish(conn);
    return good ? 0 : 1;
}
