/* SPDX-License-Identifier: PostgreSQL */
/* See rate.h. */
#include "shipper/sender/rate.h"

#include "base/clock.h"
#include "base/fail.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RATE_MIN INT64_C(1000)
#define RATE_MAX INT64_C(100000000000)
#define PLAN_US  SECOND_US

static const char *
skip(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

static bool
take_bytes(const char **at, uint64_t *ret_bytes)
{
    static const struct {
        const char *name;
        double unit;
    } units[] = {{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"", 1}};
    char *end;
    double number;

    if (!isdigit((unsigned char)**at))
        return false;
    number = strtod(*at, &end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strncmp(end, units[i].name, strlen(units[i].name)) != 0)
            continue;
        number *= units[i].unit;
        *at = end + strlen(units[i].name);
        break;
    }
    if (!(number >= (double)RATE_MIN && number <= (double)RATE_MAX))
        return false;
    *ret_bytes = (uint64_t)number;
    return true;
}

static bool
take_hours(const char **at, int *ret_from, int *ret_to)
{
    int from_hour, from_minute, to_hour, to_minute, length = 0;

    if (sscanf(*at, "%2d:%2d-%2d:%2d%n", &from_hour, &from_minute, &to_hour, &to_minute, &length) !=
            4 ||
        from_hour > 23 || from_minute > 59 || to_hour > 24 || to_minute > 59 || from_hour < 0 ||
        from_minute < 0 || to_hour < 0 || to_minute < 0)
        return false;
    *ret_from = from_hour * 60 + from_minute;
    *ret_to = to_hour * 60 + to_minute;
    *at += length;
    return true;
}

int
rate_parse(struct rate_plan *p, const char *text)
{
    const char *at = skip(text);

    *p = (struct rate_plan){0};
    if (strcmp(at, "none") == 0)
        return 0;
    for (;;) {
        uint64_t bytes;
        bool good = take_bytes(&at, &bytes);

        at = skip(at);
        if (good && (*at == '\0' || *at == ',')) {
            p->otherwise = bytes;
        } else if (good && p->spans < RATE_SPANS) {
            good = take_hours(&at, &p->span[p->spans].from, &p->span[p->spans].to);
            p->span[p->spans++].bytes = bytes;
            at = skip(at);
        } else {
            good = false;
        }
        if (!good || (*at != '\0' && *at != ','))
            return fail(ERR_USAGE, "none, or bytes per second as in 20MB, with hours as in 20MB, "
                                   "2MB 08:00-18:00");
        if (*at == '\0')
            return 0;
        at = skip(at + 1);
    }
}

static void
put_bytes(char *out, size_t size, uint64_t bytes)
{
    if (bytes % 1000000 == 0)
        snprintf(out, size, "%" PRIu64 "MB", bytes / 1000000);
    else if (bytes % 1000 == 0)
        snprintf(out, size, "%" PRIu64 "kB", bytes / 1000);
    else
        snprintf(out, size, "%" PRIu64, bytes);
}

char *
rate_text(const struct rate_plan *p, char *out, size_t size)
{
    char bytes[24];

    put_bytes(bytes, sizeof bytes, p->otherwise);
    snprintf(out, size, "%s", p->otherwise != 0 ? bytes : p->spans == 0 ? "none" : "");
    for (unsigned i = 0; i < p->spans; i++) {
        size_t used = strlen(out);

        put_bytes(bytes, sizeof bytes, p->span[i].bytes);
        snprintf(out + used, size - used, "%s%s %02d:%02d-%02d:%02d", used > 0 ? ", " : "", bytes,
                 p->span[i].from / 60, p->span[i].from % 60, p->span[i].to / 60,
                 p->span[i].to % 60);
    }
    return out;
}

static uint64_t
planned(const struct rate_plan *p, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / SECOND_US);
    struct tm local;
    int minute;

    if (p->spans == 0 || localtime_r(&seconds, &local) == NULL)
        return p->otherwise;
    minute = local.tm_hour * 60 + local.tm_min;
    for (unsigned i = 0; i < p->spans; i++) {
        int from = p->span[i].from, to = p->span[i].to;

        if (from <= to ? minute >= from && minute < to : minute >= from || minute < to)
            return p->span[i].bytes;
    }
    return p->otherwise;
}

int64_t
rate_allowance(struct rate *r, int64_t now_us, int64_t wall_us)
{
    double most;

    if (r->planned_us == 0 || now_us - r->planned_us >= PLAN_US) {
        r->now = planned(&r->plan, wall_us);
        r->planned_us = now_us;
    }
    if (r->now == 0) {
        r->tokens = 0;
        r->at_us = now_us;
        return INT64_MAX;
    }
    most = (double)r->now * RATE_BURST_US / (double)SECOND_US;
    r->tokens += (double)r->now * (double)(now_us - r->at_us) / (double)SECOND_US;
    if (r->tokens > most)
        r->tokens = most;
    r->at_us = now_us;
    return (int64_t)r->tokens;
}

void
rate_used(struct rate *r, uint64_t bytes)
{
    if (r->now != 0)
        r->tokens -= (double)bytes;
}

int64_t
rate_due_us(const struct rate *r)
{
    if (r->now == 0 || r->tokens >= 1)
        return NEVER_US;
    return r->at_us + (int64_t)((1 - r->tokens) / (double)r->now * (double)SECOND_US) + 1;
}
