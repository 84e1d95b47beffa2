/* SPDX-License-Identifier: PostgreSQL */
#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPEAT_US (60 * SECOND_US)

static const char *log_name;

void
log_init(const char *name)
{
    log_name = name;
}

bool
log_news(struct log_memory *m, const char *text, int64_t now_us)
{
    uint64_t hash = UINT64_C(0xCBF29CE484222325); /* FNV-1a */
    bool known = false;

    for (; *text != '\0'; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001B3);
    for (unsigned i = 0; i < 8 && i < m->count; i++)
        known |= m->said[i] == hash;
    if (known && now_us - m->last_us < REPEAT_US)
        return false;
    if (!known)
        m->said[m->count++ % 8] = hash;
    m->last_us = now_us;
    return true;
}

void
log_write(enum log_level level, const char *format, ...)
{
    char text[LOG_LINE_MAX], safe[LOG_LINE_MAX], line[LOG_LINE_MAX + 128], when[32];
    const char *word = level == LOG_LEVEL_ERROR     ? "ERROR"
                       : level == LOG_LEVEL_WARNING ? "WARNING"
                                                    : "INFO";
    va_list args;
    int length;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text_escape(safe, sizeof safe, text, strlen(text));
    if (getenv("JOURNAL_STREAM") != NULL)
        length = snprintf(line, sizeof line, "<%d>%s\n", (int)level, safe);
    else
        length = snprintf(line, sizeof line, "%s %s%s%s: %s\n",
                          text_time(when, sizeof when, clock_wall_us()), word,
                          log_name != NULL ? " " : "", log_name != NULL ? log_name : "", safe);
    /* one write, so that lines of several processes do not mix; a lost log line is no failure */
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        return;
}
