/* SPDX-License-Identifier: PostgreSQL */
/*
 * reply: what is asked over HTTP, and the answer as it is made.
 */
#ifndef AGENT_WEB_REPLY_H
#define AGENT_WEB_REPLY_H

#include "monitor/lag_history.h"
#include "monitor/view.h"

#include <jansson.h>

struct request {
    const struct view *view;
    const struct lag_history *history;
    int64_t now_us;
    const char *lag; /* argument of the URL; NULL: not given */
};

struct reply {
    unsigned status;
    const char *type;
    char *body; /* to be freed when `owned` */
    size_t length;
    bool owned;
};

void reply_text(struct reply *r, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void reply_json(struct reply *r, json_t *json); /* takes over the reference */
void reply_file(struct reply *r, const char *type, const char *bytes); /* borrowed for life */

#endif
