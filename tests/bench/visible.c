/* SPDX-License-Identifier: PostgreSQL */
/*
 * visible: commit to visible, in microseconds: insert a number on the primary, ask the standby for
 * it until it is there. visible PRIMARY STANDBY ROUNDS; prints "median p99".
 */
#include "base/clock.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

static PGconn *
dial(const char *conninfo)
{
    PGconn *conn = PQconnectdb(conninfo);

    if (PQstatus(conn) != CONNECTION_OK) {
        fprintf(stderr, "visible: %s", PQerrorMessage(conn));
        exit(1);
    }
    return conn;
}

static long
ask(PGconn *conn, const char *query)
{
    PGresult *r = PQexec(conn, query);
    long value = PQntuples(r) > 0 ? atol(PQgetvalue(r, 0, 0)) : 0;

    if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
        value = -1;
    PQclear(r);
    return value;
}

static int
compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int
main(int argc, char **argv)
{
    int rounds = argc == 4 ? atoi(argv[3]) : 0;
    int64_t *took_us = calloc((size_t)rounds + 1, sizeof *took_us);
    PGconn *primary, *standby;

    if (rounds < 1 || took_us == NULL) {
        fprintf(stderr, "usage: visible PRIMARY STANDBY ROUNDS\n");
        return 2;
    }
    setenv("PGOPTIONS", "-c client_min_messages=warning", 1);
    primary = dial(argv[1]);
    standby = dial(argv[2]);
    ask(primary, "create table if not exists visible (n int primary key)");
    ask(primary, "truncate visible");
    while (ask(standby, "select count(*) from visible") != 0)
        ;
    for (int i = 0; i < rounds; i++) {
        char insert[64], look[64];
        int64_t begin_us;

        snprintf(insert, sizeof insert, "insert into visible values (%d)", i);
        snprintf(look, sizeof look, "select 1 from visible where n = %d", i);
        begin_us = clock_us();
        ask(primary, insert);
        while (ask(standby, look) != 1)
            if (clock_us() - begin_us > 30 * SECOND_US)
                return 1;
        took_us[i] = clock_us() - begin_us;
    }
    qsort(took_us, (size_t)rounds, sizeof *took_us, compare);
    printf("%lld %lld\n", (long long)took_us[rounds / 2], (long long)took_us[rounds * 99 / 100]);
    PQfinish(primary);
    PQfinish(standby);
    free(took_us);
    return 0;
}
