/* SPDX-License-Identifier: PostgreSQL */
/*
 * http: what the agent knows, for machines and for people who only look; nothing here changes
 * anything. libmicrohttpd without threads, its epoll descriptor in the agent's loop.
 *
 *   /             the page, with /page.css and /page.js
 *   /status.json  the report (report.h), as `walferry status --json` prints it
 *   /history.json lag of the last hour, one sample a second, kept in memory
 *   /metrics      Prometheus' text format, made from the same report
 *   /primary      200 when clients should write here, else 503 and why
 *   /standby      200 when readers may come here; ?lag=10s: and it is at most that far behind
 *   /active       JSON: which site is active, since when, and how this member knows
 *   /healthz      200 while this agent has nothing to complain about
 *
 * GET and HEAD, no bodies, 8 kB for a request. A browser that was led here under another name
 * (DNS rebinding) gets 421: Host is absent, a numeric address, localhost or one of http_names.
 * Bounds: HTTP_CONNECTIONS_MAX at a time; who has not
 * said its request or not read the answer after 10 s is closed, the oldest at once when half of
 * them are taken. HTTP gets at most a fifth of the loop's time, so that no number of clients
 * keeps WAL waiting.
 */
#ifndef AGENT_WEB_HTTP_H
#define AGENT_WEB_HTTP_H

#include "monitor/lag_history.h"
#include "monitor/view.h"

#include "base/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_CONNECTIONS_MAX 64

struct MHD_Daemon;

struct http_connection {
    int fd;           /* -1: free */
    int64_t since_us; /* accepted, or the last answer is out */
    bool ended;       /* by us; MHD has not closed it yet */
};

/* Is this what Host may say? `names` as in the pool's file: separated by commas and spaces. */
bool http_is_ours(const char *host, const char *names);

struct http {
    const struct view *view;   /* borrowed */
    struct MHD_Daemon *daemon; /* NULL: off, or its address is taken */
    int fd;                    /* epoll's */
    int64_t now_us;            /* of this turn */
    int64_t rest_until_us;     /* others have their turn */
    int64_t retry_us;
    char error[256];
    struct http_connection connection[HTTP_CONNECTIONS_MAX];
    struct lag_history history;
};

/* Nothing is opened yet: http_keep does it, and again after a failure,
 * for an address that is taken is no reason to ship nothing. */
void http_init(struct http *h, const struct view *view);
void http_close(struct http *h); /* accepts a zeroed struct */

void http_watch(const struct http *h, struct loop *l);
void http_run(struct http *h, const struct loop *l, int64_t now_us);

/* Once a second: a sample for the chart, slow clients closed, the daemon opened if it is not. */
void http_keep(struct http *h, int64_t now_us);

#endif
