/* SPDX-License-Identifier: PostgreSQL */
/*
 * metrics: the report in Prometheus' text format
 * (https://prometheus.io/docs/instrumenting/exposition_formats/), so that a metric and the figure
 * of `walferry status` are one number. Tables say which figure is which metric; what is unknown
 * there is absent here. Units are base units, an LSN is its position in bytes. What the report does
 * not have (histograms, slots, reasons) comes from the agent's rooms.
 *
 * Label `link` is "FROM>TO", the same on both sides. A sample without it is the pool's.
 */
#ifndef AGENT_WEB_METRICS_H
#define AGENT_WEB_METRICS_H

#include "monitor/lag_history.h"
#include "monitor/view.h"

/* To be freed; NULL: no memory. */
char *metrics_text(const struct view *v, const struct lag_history *history, int64_t now_us,
                   size_t *ret_length);

#endif
