/* SPDX-License-Identifier: PostgreSQL */
#include "base/text.h"

#include "base/clock.h"
#include "base/fail.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool
plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '\\';
}

const char *
text_escape(char *out, size_t size, const void *bytes, size_t length)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *in = bytes;
    size_t whole = 0, used = 0, limit, i;

    for (i = 0; i < length; i++)
        whole += plain(in[i]) ? 1 : 4;
    limit = whole < size ? whole : size > 4 ? size - 4 : 0; /* room for "..." and the 0 */
    for (i = 0; i < length && used + (plain(in[i]) ? 1 : 4) <= limit; i++) {
        if (plain(in[i])) {
            out[used++] = (char)in[i];
        } else {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = hex[in[i] >> 4];
            out[used++] = hex[in[i] & 15];
        }
    }
    if (i < length && used + 3 < size) {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    out[used] = '\0';
    return out;
}

/* How many bytes the UTF-8 character at `in` has; 0: no UTF-8, or a control character. */
static size_t
shown_bytes(const unsigned char *in, size_t left)
{
    size_t n = in[0] < 0x80 ? 1 : in[0] < 0xc2 ? 0 : in[0] < 0xe0 ? 2 : in[0] < 0xf0 ? 3 : 4;

    if (n <= 1)
        return (in[0] >= ' ' && in[0] < 0x7f) || in[0] == '\n' || in[0] == '\t' ? n : 0;
    if (in[0] > 0xf4 || n > left || (in[0] == 0xc2 && in[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

char *
text_make_safe(char *text, size_t length)
{
    for (size_t i = 0, n; i<length; i += n> 0 ? n : 1) {
        n = shown_bytes((const unsigned char *)text + i, length - i);
        if (n == 0)
            text[i] = '?';
    }
    return text;
}

const char *
text_bytes(char *out, size_t size, uint64_t bytes)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    int i = 0;

    while (value >= 1024 && i < 6) {
        value /= 1024;
        i++;
    }
    if (i == 0 || value >= 100)
        snprintf(out, size, "%.0f %s", value, unit[i]);
    else
        snprintf(out, size, "%.1f %s", value, unit[i]);
    return out;
}

const char *
text_duration(char *out, size_t size, int64_t duration_us)
{
    int64_t seconds = duration_us / SECOND_US;

    if (seconds < 10)
        snprintf(out, size, "%.1f s", (double)duration_us / (double)SECOND_US);
    else if (seconds < 60)
        snprintf(out, size, "%" PRId64 " s", seconds);
    else if (seconds < 3600)
        snprintf(out, size, "%" PRId64 " min %" PRId64 " s", seconds / 60, seconds % 60);
    else if (seconds < 86400)
        snprintf(out, size, "%" PRId64 " h %" PRId64 " min", seconds / 3600, seconds / 60 % 60);
    else
        snprintf(out, size, "%" PRId64 " d %" PRId64 " h", seconds / 86400, seconds / 3600 % 24);
    return out;
}

const char *
text_time(char *out, size_t size, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / SECOND_US);
    struct tm tm;
    char day[24];

    if (gmtime_r(&seconds, &tm) == NULL || strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(out, size, "(no time)");
    else
        snprintf(out, size, "%s.%03d UTC", day, (int)(wall_us % SECOND_US / MILLISECOND_US));
    return out;
}

int
text_take_duration(const char *text, int64_t max_us, int64_t *ret_us)
{
    static const struct {
        const char *name;
        int64_t us;
    } units[] = {
        {"ms", MILLISECOND_US},  {"s", SECOND_US},         {"min", 60 * SECOND_US},
        {"h", 3600 * SECOND_US}, {"d", 86400 * SECOND_US},
    };
    size_t digits = strspn(text, "0123456789"), i = 0;
    int64_t number;

    while (i < sizeof units / sizeof *units && strcmp(text + digits, units[i].name) != 0)
        i++;
    if (digits == 0 || i == sizeof units / sizeof *units)
        return fail(ERR_USAGE, "'%s' is no duration", text);
    number = digits <= 9 ? strtoll(text, NULL, 10) : INT64_MAX;
    if (number > max_us / units[i].us)
        return fail(ERR_USAGE, "'%s' is too long", text);
    *ret_us = number * units[i].us;
    return 0;
}
