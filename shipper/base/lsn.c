/* SPDX-License-Identifier: PostgreSQL */
#include "base/lsn.h"

#include <stdio.h>
#include <string.h>

static bool
parse_hex(const char **at, size_t digits_max, uint64_t *ret_value)
{
    const char *p = *at;
    uint64_t value = 0;

    for (; (size_t)(p - *at) < digits_max; p++) {
        unsigned digit;

        if (*p >= '0' && *p <= '9')
            digit = (unsigned)(*p - '0');
        else if (*p >= 'A' && *p <= 'F')
            digit = (unsigned)(*p - 'A') + 10;
        else if (*p >= 'a' && *p <= 'f')
            digit = (unsigned)(*p - 'a') + 10;
        else
            break;
        value = value << 4 | digit;
    }
    if (p == *at)
        return false;
    *at = p;
    *ret_value = value;
    return true;
}

static bool
parse_lsn_prefix(const char **at, lsn_t *ret_lsn)
{
    uint64_t high, low;

    if (!parse_hex(at, 8, &high) || **at != '/')
        return false;
    (*at)++;
    if (!parse_hex(at, 8, &low))
        return false;
    *ret_lsn = high << 32 | low;
    return true;
}

bool
lsn_parse(const char *text, lsn_t *ret_lsn)
{
    lsn_t lsn;

    if (!parse_lsn_prefix(&text, &lsn) || *text != '\0')
        return false;
    *ret_lsn = lsn;
    return true;
}

bool
segment_bytes_valid(uint32_t segment_bytes)
{
    return segment_bytes >= SEGMENT_BYTES_MIN && segment_bytes <= SEGMENT_BYTES_MAX &&
           (segment_bytes & (segment_bytes - 1)) == 0;
}

lsn_t
segment_start(lsn_t lsn, uint32_t segment_bytes)
{
    return lsn & ~(lsn_t)(segment_bytes - 1);
}

void
segment_name(char out[SEGMENT_NAME_SIZE], timeline_t timeline, lsn_t lsn, uint32_t segment_bytes)
{
    uint64_t number = lsn / segment_bytes;
    uint64_t per_file = (UINT64_C(1) << 32) / segment_bytes;

    snprintf(out, SEGMENT_NAME_SIZE, "%08X%08X%08X", timeline, (uint32_t)(number / per_file),
             (uint32_t)(number % per_file));
}

static bool
parse_digits(const char *text, size_t digits, uint32_t *ret_value)
{
    uint64_t value;

    for (size_t i = 0; i < digits; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'A' && text[i] <= 'F')))
            return false; /* PostgreSQL writes capitals only */
    if (!parse_hex(&text, digits, &value))
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

bool
segment_parse(const char *name, uint32_t segment_bytes, timeline_t *ret_timeline, lsn_t *ret_start)
{
    uint32_t timeline, high, low;

    if (strlen(name) != 24 || !parse_digits(name, 8, &timeline) ||
        !parse_digits(name + 8, 8, &high) || !parse_digits(name + 16, 8, &low))
        return false;
    if (timeline == 0 || low >= (UINT64_C(1) << 32) / segment_bytes)
        return false;
    *ret_timeline = timeline;
    *ret_start = ((lsn_t)high << 32) + (lsn_t)low * segment_bytes;
    return true;
}

void
history_name(char out[HISTORY_NAME_SIZE], timeline_t timeline)
{
    snprintf(out, HISTORY_NAME_SIZE, "%08X.history", timeline);
}

bool
history_parse_name(const char *name, timeline_t *ret_timeline)
{
    uint32_t timeline;

    if (strlen(name) != 16 || !parse_digits(name, 8, &timeline) || timeline == 0 ||
        strcmp(name + 8, ".history") != 0)
        return false;
    *ret_timeline = timeline;
    return true;
}

/* One step over the text: 1 with an entry, 0 at its end, -1 at a line that is no entry. */
static int
history_entry(const char **at, const char *end, timeline_t *ret_timeline, lsn_t *ret_switch)
{
    while (*at < end) {
        const char *line = *at;
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((newline != NULL ? newline : end) - line);
        char copy[64];
        const char *p = copy;
        uint64_t timeline = 0;

        *at = newline != NULL ? newline + 1 : end;
        while (length > 0 && (*line == ' ' || *line == '\t')) {
            line++;
            length--;
        }
        if (length == 0 || *line == '#')
            continue;
        if (length >= sizeof copy) /* only the reason may be long */
            length = sizeof copy - 1;
        memcpy(copy, line, length);
        copy[length] = '\0';
        while (*p >= '0' && *p <= '9' && timeline <= UINT32_MAX)
            timeline = timeline * 10 + (uint64_t)(*p++ - '0');
        if (p == copy || timeline == 0 || timeline > UINT32_MAX || (*p != '\t' && *p != ' '))
            return -1;
        while (*p == '\t' || *p == ' ')
            p++;
        if (!parse_lsn_prefix(&p, ret_switch))
            return -1;
        *ret_timeline = (timeline_t)timeline;
        return 1;
    }
    return 0;
}

bool
history_switch_point(const char *text, size_t length, timeline_t timeline, lsn_t *ret_end)
{
    const char *at = text, *end = text + length;
    timeline_t entry;
    lsn_t switch_point;

    while (history_entry(&at, end, &entry, &switch_point) == 1) {
        if (entry == timeline) {
            *ret_end = switch_point;
            return true;
        }
    }
    return false;
}

timeline_t
history_next(const char *text, size_t length, timeline_t timeline, timeline_t last)
{
    const char *at = text, *end = text + length;
    timeline_t entry;
    lsn_t switch_point;

    while (history_entry(&at, end, &entry, &switch_point) == 1)
        if (entry > timeline)
            return entry;
    return last;
}

bool
history_valid(const char *text, size_t length, timeline_t last)
{
    const char *at = text, *end = text + length;
    timeline_t entry, previous = 0;
    lsn_t switch_point, previous_switch = 0;
    int got;

    if (memchr(text, '\0', length) != NULL)
        return false;
    while ((got = history_entry(&at, end, &entry, &switch_point)) == 1) {
        if (entry <= previous || entry >= last || switch_point < previous_switch)
            return false;
        previous = entry;
        previous_switch = switch_point;
    }
    return got == 0;
}

size_t
wal_piece(lsn_t lsn, size_t n, size_t most)
{
    size_t over = (size_t)((lsn + most) % WAL_PAGE_BYTES);

    if (n <= most)
        return n;
    return over < most ? most - over : 0;
}

lsn_t
lsn_before_page_header(lsn_t lsn, uint32_t segment_bytes)
{
    lsn_t page = lsn - lsn % WAL_PAGE_BYTES;
    lsn_t header = page % segment_bytes == 0 ? 40 : 24;

    return lsn - page == header ? page : lsn;
}
