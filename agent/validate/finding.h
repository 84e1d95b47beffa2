/*
 * validate: is everything ready for a role change? What its files share.
 *
 * Every member judges itself (postgres.c: what PostgreSQL says; data.c: what is
 * in its databases; host.c: what the host says; ssh.c: whether it gets in at the
 * others) and tells facts: settings, versions, names. Who asks compares the facts of all members
 * (compare.c, pure). A member's report:
 *
 *   {"member", "site", "role", "checks": [{"check", "result": "ok" | "warn" | "fail", "reason",
 *    "remedy" (a command or setting to type, or null)}], "facts": {...}}
 *
 * Facts hold no secrets: no conninfo, no command of the DBA. What is unknown is absent in them.
 */
#ifndef AGENT_VALIDATE_FINDING_H
#define AGENT_VALIDATE_FINDING_H

#include "jobs/job.h"

#include <jansson.h>
#include <libpq-fe.h>

enum readiness { READY_OK, READY_WARN, READY_FAIL };

/* What is collected of one member. */
struct validation {
    const struct config *config;
    const struct member *self;
    json_t *checks, *facts; /* owned */
    json_t *status;         /* what our agent says, or NULL; owned */
    struct job job;         /* to run tools with; never opened */
    const char *check;      /* the name of the one that runs */
    /* postgres.c */
    PGconn *conn;
    json_t *settings; /* name: value */
    bool primary;
};

struct check {
    const char *name;
    void (*run)(struct validation *v);
};

/* Run a table of checks, each under its name. */
void validate_run(struct validation *v, const struct check *checks, size_t count);

/* Another line of the check that runs; its remedy, if it has one, comes right behind it. */
void validate_say(struct validation *v, enum readiness result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void validate_remedy(struct validation *v, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What PostgreSQL is asked with: NULL is this host's own database; connections end after use. */
PGconn *validate_connect(const struct validation *v, const char *database, bool replication);
PGresult *validate_ask(struct validation *v, PGconn *conn,
                       const char *query); /* NULL, and a line that says why */
const char *validate_setting(const struct validation *v, const char *name); /* "" : none */
bool validate_is(const struct validation *v, const char *name, const char *value);

/* Names for a line: the first ones, and how many there are. */
#define LIST_SIZE 300
struct list {
    char text[LIST_SIZE];
    int count;
};
void validate_list_add(struct list *l, const char *item);

/* Nothing in it is good; else it is `wrong`, with the names behind. */
void validate_say_list(struct validation *v, const struct list *l, enum readiness result,
                       const char *good, const char *wrong, const char *remedy);
void validate_rows(struct validation *v, const char *query, enum readiness result, const char *good,
                   const char *wrong, const char *remedy);

void validate_postgres(struct validation *v);
void validate_data(struct validation *v);
void validate_host(struct validation *v);
void validate_ssh(struct validation *v);

/* What is wrong with a server_version_num; NULL: nothing. */
const char *validate_version(long number);

/* One authorized_keys file: who of the others may come in by it. */
void validate_keys(struct validation *v, const char *file);

/* Reports of several members: what only shows beside another one becomes a line of the member it
 * is wrong on. One alone is compared with itself. */
void validate_compare(json_t *members);

/* Run a program as job_run does; the last line that it said. 0 or ERR_PEER. */
#define TOOL_LINE_SIZE 256
int validate_tool(struct validation *v, const char *const argv[], char ret_line[TOOL_LINE_SIZE]);

/* The worst result of a member's checks. */
enum readiness validate_worst(const json_t *member);

/* A line of a report, and its remedy; for those who have no struct validation. */
void validate_add(json_t *checks, const char *check, enum readiness result, const char *reason,
                  const char *remedy);

/* The line that authorized_keys on the host of `to` must have for the key of `from`, without the
 * key; no_tunnel: for a key that ships and has a second one beside it. Returns out. */
#define KEY_LINE_SIZE 512
const char *validate_key_line(char out[KEY_LINE_SIZE], const struct config *config, const char *to,
                              const char *from, bool no_tunnel);

#endif
