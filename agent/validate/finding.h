/* SPDX-License-Identifier: PostgreSQL */
/*
 * finding: the lines of a member's report (validate.h), and what is collected while it is written.
 */
#ifndef AGENT_VALIDATE_FINDING_H
#define AGENT_VALIDATE_FINDING_H

#include "jobs/job.h"

#include <jansson.h>
#include <libpq-fe.h>

enum readiness { READY_OK, READY_WARN, READY_FAIL };
extern const char *const readiness_name[]; /* "ok", "warn", "fail" */

/* What is collected of one member. */
struct validation {
    const struct config *config;
    const struct member *self;
    json_t *checks, *facts; /* owned */
    json_t *status;         /* of this host's agent, or NULL; owned */
    struct job job;         /* to run tools with; never opened */
    const char *check;      /* the name of the running check */
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

/* Add a line to the running check; its remedy, if it has one, is added right behind it. */
void validate_say(struct validation *v, enum readiness result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void validate_remedy(struct validation *v, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Add a line with its remedy (NULL: none) to a report, without a struct validation. */
#define VALIDATE_REASON_SIZE 1400
void validate_add(json_t *checks, const char *check, enum readiness result, const char *reason,
                  const char *remedy);

/* The result of one line, and the worst of a member's report. An unknown word is READY_FAIL. */
enum readiness validate_result(const json_t *check);
enum readiness validate_worst(const json_t *member);

#endif
