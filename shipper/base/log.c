#include "base/log.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_name;

void
log_init(const char *name)
{
    log_name = name;
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
