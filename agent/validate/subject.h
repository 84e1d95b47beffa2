/* SPDX-License-Identifier: PostgreSQL */
/*
 * subject: what is looked at, one file each (validate.h). Each writes its lines and facts into the
 * struct validation.
 */
#ifndef AGENT_VALIDATE_SUBJECT_H
#define AGENT_VALIDATE_SUBJECT_H

#include "validate/finding.h"

void validate_postgres(struct validation *v); /* opens v->conn, or leaves it NULL */
void validate_data(struct validation *v);     /* needs v->conn */
void validate_host(struct validation *v);
void validate_ssh(struct validation *v);

/* Compare the reports of several members: a difference becomes a line of the member that has to be
 * changed. One report alone is compared with itself. Pure. */
void validate_compare(json_t *members);

/* Why this server_version_num is not supported, or NULL. */
const char *validate_version(long number);

/* Settings that let a slot go, or make logical slots wait. Of v->conn it asks only for what the
 * settings do not tell. */
void validate_slot_settings(struct validation *v);

/* Check an authorized_keys file: which of the other members may come in by it. */
void validate_keys(struct validation *v, const char *file);

#endif
