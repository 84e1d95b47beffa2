/* SPDX-License-Identifier: PostgreSQL */
/*
 * validate, by the data: what a role change does to what is in the databases, and whether this host
 * has what they need. Every database is connected to.
 *
 * A standby has the primary's data beside its own host's libraries and collations: most of what
 * would go wrong after a failover shows on it before.
 */
#include "validate/query.h"
#include "validate/subject.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
check_logical_slots(struct validation *v)
{
    validate_rows(v,
                  "select slot_name || ' (' || database || ')' from pg_replication_slots"
                  " where slot_type = 'logical' and not temporary order by 1",
                  READY_WARN, "none", "a role change does not take them along: ",
                  "make them again on the new primary and let the subscribers copy anew, or drop "
                  "them: select pg_drop_replication_slot('...')");
}

static void
check_prepared(struct validation *v)
{
    validate_rows(
        v, "select format('%L (%s)', gid, database) from pg_prepared_xacts order by prepared",
        READY_WARN, "none",
        "a role change carries them over with all their locks, until somebody ends them: ",
        "commit prepared or rollback prepared, in its database on the primary");
}

struct databases {
    struct list closed, unlogged, collations, libraries;
    char library_folder[TOOL_LINE_SIZE]; /* of "$libdir"; "": unknown */
};

/* Add an item, with the name of its database. */
static void __attribute__((format(printf, 3, 4)))
note(struct list *l, const PGconn *conn, const char *format, ...)
{
    char item[LIST_SIZE];
    size_t used;
    va_list args;

    va_start(args, format);
    vsnprintf(item, sizeof item, format, args);
    va_end(args);
    used = strlen(item);
    snprintf(item + used, sizeof item - used, " (%s)", PQdb(conn));
    validate_list_add(l, item);
}

static void
look_for_libraries(struct validation *v, PGconn *conn, struct databases *d)
{
    PGresult *rows = validate_ask(
        v, conn, "select distinct probin from pg_proc where probin is not null order by 1");

    for (int i = 0; rows != NULL && i < PQntuples(rows); i++) {
        const char *name = PQgetvalue(rows, i, 0);
        bool libdir = strncmp(name, "$libdir/", 8) == 0 || strchr(name, '/') == NULL;
        const char *suffix = strstr(name, ".so") != NULL ? "" : ".so";
        char path[600];

        if (libdir)
            snprintf(path, sizeof path, "%s/%s%s", d->library_folder,
                     name[0] == '$' ? name + 8 : name, suffix);
        else
            snprintf(path, sizeof path, "%s%s", name, suffix);
        if ((!libdir || d->library_folder[0] != '\0') && access(path, R_OK) < 0)
            note(&d->libraries, conn, "%s", path);
    }
    PQclear(rows);
}

static void
look_into(struct validation *v, PGconn *conn, struct databases *d)
{
    PGresult *rows;

    rows = validate_ask(v, conn,
                        "select count(*), min(oid::regclass::text) from pg_class"
                        " where relpersistence = 'u' and relkind in ('r', 'm')");
    if (rows != NULL && atol(PQgetvalue(rows, 0, 0)) > 0)
        note(&d->unlogged, conn, "%s, %s in all", PQgetvalue(rows, 0, 1), PQgetvalue(rows, 0, 0));
    PQclear(rows);
    rows = validate_ask(v, conn,
                        "select c.collname, count(distinct i.indexrelid) from pg_index i,"
                        " unnest(i.indcollation) k join pg_collation c on c.oid = k"
                        " where c.collversion <> pg_collation_actual_version(c.oid) group by 1");
    for (int i = 0; rows != NULL && i < PQntuples(rows); i++)
        note(&d->collations, conn, "%s behind %s indexes", PQgetvalue(rows, i, 0),
             PQgetvalue(rows, i, 1));
    PQclear(rows);
    rows = validate_ask(v, conn, "select extname from pg_extension");
    for (int i = 0; rows != NULL && i < PQntuples(rows); i++)
        json_object_set_new(json_object_get(v->facts, "extensions"), PQgetvalue(rows, i, 0),
                            json_string(PQdb(conn)));
    PQclear(rows);
    look_for_libraries(v, conn, d);
}

static void
say_databases(struct validation *v, const struct databases *d, int count)
{
    v->check = "databases";
    validate_say(v, d->closed.count > 0 ? READY_WARN : READY_OK, "%d looked into%s%s",
                 count - d->closed.count, d->closed.count > 0 ? ", not into " : "", d->closed.text);
    if (d->closed.count > 0)
        validate_remedy(v, "grant connect on database ... to %s, and a line in pg_hba.conf",
                        PQuser(v->conn));
    v->check = "unlogged tables";
    validate_say_list(v, &d->unlogged, READY_WARN, "none", "empty after a role change: ",
                      "alter table ... set logged, if their rows matter");
    v->check = "collations";
    validate_say_list(
        v, &d->collations, READY_FAIL, "every index was built with this host's collation versions",
        "this host sorts otherwise than the one that built the indexes: ",
        "bring all members to one release of the OS; after a role change: reindex, then alter "
        "database ... refresh collation version (alter collation ...)");
    v->check = "libraries";
    validate_say_list(
        v, &d->libraries, READY_FAIL,
        d->library_folder[0] != '\0' ? "what functions need is here"
                                     : "unknown for $libdir: there is no pg_config in bindir",
        "functions need files that are not here: ", "install the extension's package on this host");
}

static void
check_databases(struct validation *v)
{
    PGresult *rows = validate_ask(v, v->conn,
                                  atol(validate_setting(v, "server_version_num")) >= 150000
                                      ? "select datname, datcollversion is distinct from"
                                        " pg_database_collation_actual_version(oid), datcollate"
                                        " from pg_database where datallowconn order by 1"
                                      : "select datname, false, datcollate from pg_database"
                                        " where datallowconn order by 1");
    const char *const pg_config[] = {"pg_config", "--pkglibdir", NULL};
    struct databases d = {0};

    if (rows == NULL)
        return;
    if (validate_tool(v, pg_config, d.library_folder) < 0)
        d.library_folder[0] = '\0';
    json_object_set_new(v->facts, "extensions", json_object());
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *name = PQgetvalue(rows, i, 0), *collate = PQgetvalue(rows, i, 2);
        PGconn *conn = validate_connect(v, name, false);

        if (strcmp(collate, "POSIX") != 0 && collate[0] != 'C')
            json_object_set_new(v->facts, "sorts_by", json_string(collate));
        if (PQgetvalue(rows, i, 1)[0] == 't')
            note(&d.collations, conn, "the default");
        if (PQstatus(conn) == CONNECTION_OK)
            look_into(v, conn, &d);
        else
            validate_list_add(&d.closed, name);
        PQfinish(conn);
    }
    say_databases(v, &d, PQntuples(rows));
    PQclear(rows);
}

static void
check_tablespaces(struct validation *v)
{
    PGresult *rows = validate_ask(v, v->conn,
                                  "select spcname, pg_tablespace_location(oid) from pg_tablespace"
                                  " where spcname not in ('pg_default', 'pg_global') order by 1");
    json_t *known = json_object();
    bool right = true;

    for (int i = 0; rows != NULL && i < PQntuples(rows); i++) {
        const char *name = PQgetvalue(rows, i, 0), *path = PQgetvalue(rows, i, 1);
        struct stat st;

        json_object_set_new(known, name, json_string(path));
        if (path[0] != '/' || (stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
                               st.st_uid == geteuid() && access(path, W_OK | X_OK) == 0))
            continue;
        right = false;
        validate_say(v, READY_FAIL, "tablespace %s: %s is no directory of ours here", name, path);
        validate_remedy(v, "install -d -m 700 -o %s %s, on this host", v->self->target.user, path);
    }
    if (rows != NULL && right)
        validate_say(v, READY_OK, "%d besides the default", PQntuples(rows));
    if (rows != NULL)
        json_object_set(v->facts, "tablespaces", known);
    json_decref(known);
    PQclear(rows);
}

static void
tell_available(struct validation *v)
{
    PGresult *rows = validate_ask(v, v->conn, "select name from pg_available_extensions");
    json_t *available = json_object();

    for (int i = 0; rows != NULL && i < PQntuples(rows); i++)
        json_object_set_new(available, PQgetvalue(rows, i, 0), json_true());
    if (rows != NULL)
        json_object_set(v->facts, "available", available);
    json_decref(available);
    PQclear(rows);
}

void
validate_data(struct validation *v)
{
    static const struct check checks[] = {
        {"logical slots", check_logical_slots}, {"prepared", check_prepared},
        {"databases", check_databases},         {"tablespaces", check_tablespaces},
        {"extensions", tell_available},
    };

    validate_run(v, checks, sizeof checks / sizeof *checks);
}
