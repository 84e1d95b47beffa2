/* SPDX-License-Identifier: PostgreSQL */
/*
 * text: values as people read them, and text from elsewhere made safe to show.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Copy `length` bytes into out (size bytes, always terminated), every byte outside printable ASCII
 * and every backslash written \xNN; cut with "..." when it does not fit. Returns out.
 */
const char *text_escape(char *out, size_t size, const void *bytes, size_t length);

/*
 * In place, for a terminal: control characters (but newline and tab; those of C1, too) and bytes
 * that are no UTF-8 become '?'; the rest stays as it is. Returns text.
 */
char *text_make_safe(char *text, size_t length);

/* "0 B", "512 kB", "1.4 GB" (units of 1024, PostgreSQL's names); unit room: 16 bytes. Returns out.
 */
const char *text_bytes(char *out, size_t size, uint64_t bytes);

/* "0.2 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"; room: 24 bytes. Returns out. */
const char *text_duration(char *out, size_t size, int64_t duration_us);

/* A duration read: a whole number with ms, s, min, h or d, as in "10min". 0; ERR_USAGE (the message
 * names the text): it is no duration, or more than max_us. */
int text_take_duration(const char *text, int64_t max_us, int64_t *ret_us);

/* "2026-11-21 05:05:48.123 UTC" from microseconds since 1970; room: 32 bytes. Returns out. */
const char *text_time(char *out, size_t size, int64_t wall_us);

#endif
