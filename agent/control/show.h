/* SPDX-License-Identifier: PostgreSQL */
/*
 * show: what the agent's JSON looks like to a person. What is not known, or is of another kind, is
 * "unknown".
 */
#ifndef AGENT_CONTROL_SHOW_H
#define AGENT_CONTROL_SHOW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The text at key, else `missing`; borrowed. */
const char *show_word(const json_t *json, const char *key, const char *missing);

/* Seconds as a duration, bytes in their unit; value may be NULL. Room: 32 bytes. Returns out. */
const char *show_seconds(const json_t *value, char *out, size_t size);
const char *show_bytes(const json_t *value, char *out, size_t size);

/* Does this one of the links of a status rest, because another member feeds its far side? */
bool show_rests(const json_t *link);

/* Of a status: the stream that is not up, else the one whose standby has applied least; borrowed. NULL: it
 * has none. `*ret_direction`: its key of the member at the other end. */
const json_t *show_worst_stream(const json_t *status, const char **ret_direction);

/* ... and of all the pool the standby that has applied least, one of unknown lag before all others;
 * borrowed. NULL: there is none. */
const json_t *show_worst_standby(const json_t *status);

/* For control_ask: print the text of a line of progress. */
void show_line(void *context, json_t *line);

/* The same of a dry run before a question; context: bool, set when it is done already. */
void show_plan(void *already, json_t *line);

/* diff -u of a file here and a text (at most what a pipe takes, 64 kB) from elsewhere, made safe
 * for a terminal. 0 the same, 1 different, 2 it cannot be run. */
int show_diff(const char *file, const char *label, const char *text, size_t length);

#endif
