/* SPDX-License-Identifier: PostgreSQL */
/*
 * report: everything this agent knows, as one JSON object; `walferry status` prints it. What is not
 * known is null, never 0. Times are seconds with fractions, sizes bytes, LSNs PostgreSQL's text.
 */
#ifndef AGENT_MONITOR_REPORT_H
#define AGENT_MONITOR_REPORT_H

#include "monitor/view.h"

#include <jansson.h>

/* As the report and the metrics have it. */
const char *report_postgres_state(enum postgres_state state);
const char *report_link_state(enum link_state state);

json_t *report_json(const struct view *v, int64_t now_us); /* a new reference */

#endif
