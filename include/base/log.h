/* SPDX-License-Identifier: PostgreSQL */
/*
 * log: one line per event on stderr, for the journal and for a terminal.
 *
 * Shape: "<time> <level> <member>: <text>", time in UTC with milliseconds; under systemd
 * (JOURNAL_STREAM is set) "<N>text" with syslog's level instead, the journal has the time.
 * Lines are cut at LOG_LINE_MAX and control characters are escaped: a peer cannot forge a line.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 2048

enum log_level {
    LOG_LEVEL_ERROR = 3, /* syslog's numbers */
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_INFO = 6,
};

/* name is shown in each line; borrowed for life, NULL for none. */
void log_init(const char *name);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For attempts that are made again and again: a text that was logged before is no news within a
 * minute of the last news. Zeroed: nothing was logged. */
struct log_memory {
    uint64_t said[8];
    unsigned count;
    int64_t last_us;
};
bool log_news(struct log_memory *m, const char *text, int64_t now_us);

#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)

#endif
