#include "show.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdio.h>

const char *
show_word(const json_t *json, const char *key, const char *missing)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL ? text : missing;
}

const char *
show_seconds(const json_t *value, char *out, size_t size)
{
    if (!json_is_number(value))
        snprintf(out, size, "unknown");
    else
        text_duration(out, size, (int64_t)(json_number_value(value) * (double)SECOND_US));
    return out;
}

const char *
show_bytes(const json_t *value, char *out, size_t size)
{
    if (!json_is_number(value) || json_number_value(value) < 0)
        snprintf(out, size, "unknown");
    else
        text_bytes(out, size, (uint64_t)json_number_value(value));
    return out;
}

void
show_line(void *context, json_t *line)
{
    const char *text = show_word(line, "text", NULL);

    (void)context;
    if (text != NULL)
        printf("%s\n", text);
    fflush(stdout);
}
