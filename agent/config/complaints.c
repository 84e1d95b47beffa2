/* SPDX-License-Identifier: PostgreSQL */
/* See parse.h. */
#include "config/parse.h"

#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>

void
complain(struct complaints *to, int line, const char *key, const char *format, ...)
{
    va_list args;

    to->count++;
    fprintf(to->out, "%s:%d:", to->file, line);
    if (to->section[0] != '\0')
        fprintf(to->out, " %s", to->section);
    if (key != NULL)
        fprintf(to->out, " %s", key);
    if (to->section[0] != '\0' || key != NULL)
        fputc(':', to->out);
    fputc(' ', to->out);
    va_start(args, format);
    vfprintf(to->out, format, args);
    va_end(args);
    fputc('\n', to->out);
}

void
complain_in(struct complaints *to, const struct member *m)
{
    if (m == NULL)
        snprintf(to->section, sizeof to->section, "[pool]");
    else
        snprintf(to->section, sizeof to->section, "[member %s]", m->name);
}

int
complaints_verdict(const struct complaints *to)
{
    if (to->count == 0)
        return 0;
    return fail(ERR_USAGE, "%s: %d error%s, nothing is started", to->file, to->count,
                to->count == 1 ? "" : "s");
}
