/* SPDX-License-Identifier: PostgreSQL */
/* See job.h. */
#include "jobs/job.h"

#include "jobs/consent.h"
#include "jobs/datadir.h"
#include "postgres/tool.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wal/hold.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOURNAL_BYTES_MAX 65536
#define PLAIN_US          (10 * SECOND_US) /* between lines of progress without a terminal */
#define TERMINAL_US       (200 * MILLISECOND_US)
#define RENEW_US          (60 * SECOND_US) /* the hold */
#define BAR_CELLS         24

/* ---- life, journal ---- */

int
job_open(struct job *j, const char *name, const struct config *config, const struct member *self)
{
    *j = (struct job){.name = name,
                      .config = config,
                      .self = self,
                      .dir = -1,
                      .lock = -1,
                      .terminal = isatty(STDOUT_FILENO) == 1};
    setenv("LC_ALL", "C", 1); /* the tools' lines are read */
    if (durable_dir(self->spool, &j->dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the spool %s", self->spool);
    if (durable_lock(j->dir, HOLD_LOCK_FILE, &j->lock) == 0)
        return 0;
    return errno == EWOULDBLOCK
               ? fail(ERR_LOCAL,
                      "another long command runs on %s (it holds %s/" HOLD_LOCK_FILE
                      "): wait until it ends",
                      self->name, self->spool)
               : fail_file(ERR_LOCAL, j->dir, HOLD_LOCK_FILE, "cannot lock %s/" HOLD_LOCK_FILE,
                           self->spool);
}

void
job_close(struct job *j)
{
    durable_close(j->lock);
    durable_close(j->dir);
    j->lock = j->dir = -1;
}

static const char *
journal_name(const struct job *j, char out[32])
{
    snprintf(out, 32, "%s.job", j->name);
    return out;
}

int
job_load(const struct job *j, json_t **ret_journal)
{
    char name[32], *text = malloc(JOURNAL_BYTES_MAX);
    ssize_t got;
    int code = 0;

    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory");
    got = durable_load(j->dir, journal_name(j, name), text, JOURNAL_BYTES_MAX);
    if (got < 0)
        code = errno == ENOENT
                   ? ERR_AGAIN
                   : fail_file(ERR_LOCAL, j->dir, name, "cannot read %s/%s", j->self->spool, name);
    else if ((*ret_journal = json_loads(text, 0, NULL)) == NULL)
        code =
            fail(ERR_CORRUPT, "%s/%s is not one of walferry's; move it away", j->self->spool, name);
    free(text);
    return code;
}

int
job_save(const struct job *j, const json_t *journal)
{
    char name[32], *text = json_dumps(journal, JSON_INDENT(1));
    int code = 0;

    if (text == NULL)
        return fail(ERR_LOCAL, "out of memory");
    if (durable_replace(j->dir, journal_name(j, name), text, strlen(text)) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write %s/%s", j->self->spool, name);
    free(text);
    return code;
}

int
job_forget(const struct job *j)
{
    char name[32];

    if (durable_remove(j->dir, journal_name(j, name)) < 0)
        return fail_sys(ERR_LOCAL, "cannot remove %s/%s", j->self->spool, name);
    return 0;
}

int
job_renew_hold(struct job *j, lsn_t from)
{
    int64_t now_us = clock_us();

    if (from == LSN_UNKNOWN || (j->renewed_us != 0 && now_us - j->renewed_us < RENEW_US))
        return 0;
    j->renewed_us = now_us;
    return hold_set(j->dir, from);
}

/* ---- talk ---- */

static void
end_line(struct job *j)
{
    if (j->line_open)
        printf("\n");
    j->line_open = false;
    j->what = NULL;
}

void
job_say(struct job *j, const char *format, ...)
{
    va_list args;

    end_line(j);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}

int
job_fail(const struct job *j)
{
    fprintf(stderr, "walferry %s: %s\n", j->name, fail_message());
    return 1;
}

static void
print_progress(struct job *j, uint64_t done_bytes, uint64_t total_bytes)
{
    char done[24], total[24], rate[24], left[32] = "";
    double seconds = (double)(j->shown_us - j->begun_us) / (double)SECOND_US;
    double per_second = seconds > 0.5 ? (double)(done_bytes - j->first) / seconds : 0;

    if (total_bytes < done_bytes)
        total_bytes = done_bytes; /* the source grew meanwhile */
    if (j->terminal && total_bytes > 0) {
        char bar[BAR_CELLS + 1];
        size_t cells = (size_t)((double)done_bytes / (double)total_bytes * BAR_CELLS);

        memset(bar, '.', BAR_CELLS);
        memset(bar, '#', cells);
        bar[BAR_CELLS] = '\0';
        printf("\r[%s] ", bar);
    }
    printf("%s: ", j->what);
    if (total_bytes > 0)
        printf("%d %%, ", (int)(100.0 * (double)done_bytes / (double)total_bytes));
    printf("%s", text_bytes(done, sizeof done, done_bytes));
    if (total_bytes > 0)
        printf(" of %s", text_bytes(total, sizeof total, total_bytes));
    if (per_second >= 1)
        printf(", %s/s", text_bytes(rate, sizeof rate, (uint64_t)per_second));
    if (per_second >= 1 && total_bytes > 0)
        printf(", %s left", text_duration(left, sizeof left,
                                          (int64_t)((double)(total_bytes - done_bytes) /
                                                    per_second * (double)SECOND_US)));
    printf(j->terminal ? "\033[K" : "\n");
    j->line_open = j->terminal;
    fflush(stdout);
}

void
job_progress(struct job *j, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
    int64_t now_us = clock_us();

    if (j->what != what) {
        end_line(j);
        j->what = what;
        j->begun_us = now_us;
        j->shown_us = 0;
        j->first = done_bytes;
    }
    if (now_us - j->shown_us < (j->terminal ? TERMINAL_US : PLAIN_US))
        return;
    j->shown_us = now_us;
    print_progress(j, done_bytes, total_bytes);
}

int
job_consent(struct job *j, bool yes, const char *question)
{
    if (!yes)
        end_line(j);
    return consent(j->name, j->self, yes, question);
}

/* ---- tools ---- */

int
job_run(struct job *j, const char *const argv[], void (*each)(void *context, const char *line),
        void *context)
{
    int code = tool_run(j->self->bindir, j->lock, argv, each, context);

    j->cut |= code > 0;
    return code < 0 ? code : 0;
}
