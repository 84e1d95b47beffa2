/* See job.h. */
#include "jobs/job.h"

#include "jobs/consent.h"
#include "jobs/datadir.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/wal/hold.h"
#include "shipper/wal/pgwal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_FILE       "job.out" /* of start and stop */
#define JOURNAL_BYTES_MAX 65536
#define SETTINGS_MAX      65536
#define SETTINGS          "postgresql.auto.conf"
#define TAIL_BYTES        600
#define PLAIN_US          (10 * SECOND_US) /* between lines of progress without a terminal */
#define TERMINAL_US       (200 * MILLISECOND_US)
#define ARGS_MAX          128
#define LINE_BYTES        (64u << 10) /* of a tool, at first */
#define LINE_BYTES_MAX    (1u << 30)  /* a record of WAL is no longer */
#define BAR_CELLS         24
#define STOP_LOOK_MS      250
#define STOP_SAY_US       (60 * SECOND_US)

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

static void
print_progress(struct job *j, uint64_t done_bytes, uint64_t total_bytes)
{
    char done[24], total[24], rate[24], left[32] = "";
    double seconds = (double)(j->shown_us - j->begun_us) / (double)SECOND_US;
    double per_second = seconds > 0.5 ? (double)(done_bytes - j->first) / seconds : 0;

    if (total_bytes < done_bytes)
        total_bytes = done_bytes; /* it grew meanwhile */
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

/* The last lines of what a program said, for the message if it fails. */
struct tail {
    char text[TAIL_BYTES + 1];
    size_t used;
};

static void
tail_add(struct tail *t, const char *line)
{
    char shown[256];
    size_t length;

    line += strspn(line, " \t");
    length = strlen(text_escape(shown, sizeof shown, line, strlen(line)));

    if (length == 0 || strchr(shown, '%') != NULL) /* progress: no reason is in it */
        return;
    while (t->used + length + 3 > TAIL_BYTES) { /* the oldest line goes */
        const char *next = strstr(t->text, " | ");
        size_t gone = next != NULL ? (size_t)(next + 3 - t->text) : t->used;

        memmove(t->text, t->text + gone, t->used - gone + 1);
        t->used -= gone;
    }
    t->used += (size_t)snprintf(t->text + t->used, sizeof t->text - t->used, "%s%s",
                                t->used > 0 ? " | " : "", shown);
}

static void
become(struct job *j, const char *path, const char *const argv[], int output, bool tool,
       pid_t parent)
{
    char *copy[ARGS_MAX + 1];
    size_t n = 0;
    int null = open("/dev/null", O_RDONLY);

    for (; argv[n] != NULL && n < ARGS_MAX; n++)
        copy[n] = strdup(argv[n]);
    copy[n] = NULL;
    copy[0] = strdup(path); /* PostgreSQL's programs look for each other beside it */
    /* a tool must not outlive us, nor the lock that keeps others from its directory: it shares
     * both. A server that is started here must outlive us, and hold no lock. */
    if (tool && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
                 (j->lock >= 0 && fcntl(j->lock, F_SETFD, 0) < 0)))
        _exit(127);
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(127);
    execv(path, copy);
    dprintf(2, "cannot run %s: %s\n", path, strerror(errno));
    _exit(127);
}

static int
spawn(struct job *j, const char *path, const char *const argv[], int output, bool tool,
      pid_t *ret_pid)
{
    pid_t parent = getpid(), pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0)
        return fail_sys(ERR_LOCAL, "cannot start %s", path);
    if (pid == 0)
        become(j, path, argv, output, tool, parent);
    *ret_pid = pid;
    return 0;
}

static int
reap(pid_t pid, int *ret_status)
{
    while (waitpid(pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return fail_sys(ERR_LOCAL, "cannot wait for a program");
    return 0;
}

static int
judge_end(int status, const char *what, const struct tail *t)
{
    if (WIFSIGNALED(status))
        return fail(ERR_PEER, "%s was ended by signal %d: %s", what, WTERMSIG(status), t->text);
    if (WEXITSTATUS(status) != 0)
        return fail(ERR_PEER, "%s ended with status %d: %s", what, WEXITSTATUS(status), t->text);
    return 0;
}

static void
take_line(const char *line, struct tail *t, void (*each)(void *context, const char *line),
          void *context)
{
    tail_add(t, line);
    if (each != NULL)
        each(context, line);
}

/* The whole lines of text are taken; returns how many bytes they were. */
static size_t
take_lines(char *text, size_t used, size_t seen, struct tail *t,
           void (*each)(void *context, const char *line), void *context)
{
    char *line = text, *end;

    text[used] = '\0';
    for (char *from = text + seen; (end = strpbrk(from, "\r\n")) != NULL; from = line) {
        *end = '\0';
        take_line(line, t, each, context);
        line = end + 1;
    }
    return (size_t)(line - text);
}

/* pg_waldump tells a commit that drops thousands of tables in one line of megabytes. */
static void
read_lines(struct job *j, int fd, struct tail *t, void (*each)(void *context, const char *line),
           void *context)
{
    size_t used = 0, room = LINE_BYTES, taken;
    char *text = malloc(room), *more;
    ssize_t got;

    while (text != NULL && (got = read(fd, text + used, room - 1 - used)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        taken = take_lines(text, used + (size_t)got, used, t, each, context);
        used += (size_t)got - taken;
        memmove(text, text + taken, used);
        if (used < room - 1)
            continue;
        if (room < LINE_BYTES_MAX && (more = realloc(text, 2 * room)) != NULL) {
            text = more;
            room *= 2;
        } else {
            used = 0;
            j->cut = true;
        }
    }
    if (text == NULL)
        return;
    text[used] = '\0';
    take_line(text, t, each, context);
    free(text);
}

int
job_run(struct job *j, const char *const argv[], void (*each)(void *context, const char *line),
        void *context)
{
    char path[sizeof j->self->bindir + 64];
    struct tail t = {.used = 0};
    int ends[2], status, code;
    pid_t pid;

    snprintf(path, sizeof path, "%s%s%s", argv[0][0] == '/' ? "" : j->self->bindir,
             argv[0][0] == '/' ? "" : "/", argv[0]);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_sys(ERR_LOCAL, "cannot start %s", path);
    code = spawn(j, path, argv, ends[1], true, &pid);
    close(ends[1]);
    if (code == 0) {
        read_lines(j, ends[0], &t, each, context);
        code = reap(pid, &status);
        if (code == 0)
            code = judge_end(status, strrchr(path, '/') + 1, &t);
    }
    close(ends[0]);
    return code;
}

/* ---- the server ---- */

int
job_postgres_runs(const struct job *j)
{
    if (access(j->self->pgdata, F_OK) < 0)
        return 0; /* nothing there, nothing runs on it */
    return pgwal_postmaster_alive(j->self->pgdata);
}

void
job_postmaster_line(const struct job *j, int n, char *out, size_t size)
{
    char path[sizeof j->self->pgdata + 16], line[PATH_MAX] = "";
    FILE *file;

    snprintf(path, sizeof path, "%s/postmaster.pid", j->self->pgdata);
    file = fopen(path, "re");
    while (file != NULL && n > 0 && fgets(line, sizeof line, file) != NULL)
        n--;
    if (file != NULL)
        fclose(file);
    snprintf(out, size, "%.*s", n == 0 ? (int)strcspn(line, " \n") : 0, line);
}

const char *
job_postgres_log(const struct job *j, char *out, size_t size)
{
    if (j->self->start[0] == '\0')
        snprintf(out, size, "%s/postgres.log", j->self->spool);
    else
        snprintf(out, size, "its log (it is started by: %s)", j->self->start);
    return out;
}

/*
 * The configured command, by the shell as its writer expects, or pg_ctl. Its output goes to a file:
 * a server that it leaves behind would hold a pipe open for ever.
 */
static int
command_server(struct job *j, const char *configured, const char *word)
{
    const char *const by_shell[] = {"sh", "-c", configured, NULL};
    char pg_ctl[sizeof j->self->bindir + 16], log[sizeof j->self->spool + 16], last[1024] = "";
    const char *const by_pg_ctl[] = {"pg_ctl", "-D", j->self->pgdata, "-w", "-t", "60", "-l", log,
                                     word,     NULL};
    struct tail t = {.used = 0};
    int output, status, code;
    uint64_t bytes;
    pid_t pid;

    snprintf(pg_ctl, sizeof pg_ctl, "%s/pg_ctl", j->self->bindir);
    snprintf(log, sizeof log, "%s/postgres.log", j->self->spool);
    if (durable_open(j->dir, OUTPUT_FILE, DURABLE_CREATE, &output) < 0 ||
        durable_truncate(output, 0) < 0)
        return fail_sys(ERR_LOCAL, "cannot write %s/" OUTPUT_FILE, j->self->spool);
    code = configured[0] != '\0' ? spawn(j, "/bin/sh", by_shell, output, false, &pid)
                                 : spawn(j, pg_ctl, by_pg_ctl, output, false, &pid);
    if (code == 0)
        code = reap(pid, &status);
    if (code == 0 && durable_size(output, &bytes) == 0)
        (void)!durable_read(output, last, sizeof last - 1,
                            bytes >= sizeof last ? bytes - (sizeof last - 1) : 0);
    for (char *save, *line = strtok_r(last, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save))
        tail_add(&t, line);
    if (code == 0)
        code = judge_end(status, configured[0] != '\0' ? configured : pg_ctl, &t);
    durable_close(output);
    return code;
}

int
job_start_postgres(struct job *j)
{
    int runs = job_postgres_runs(j), code;
    char log[400];

    if (runs != 0)
        return runs < 0 ? runs : 0;
    code = command_server(j, j->self->start, "start");
    /* it may have given up waiting for a server that has much to replay */
    return code == 0 || job_postgres_runs(j) == 1
               ? 0
               : fail_in(ERR_LOCAL, "PostgreSQL does not start, see %s",
                         job_postgres_log(j, log, sizeof log));
}

static bool
is_stopping(const struct job *j)
{
    char word[16];

    job_postmaster_line(j, 8, word, sizeof word);
    return strcmp(word, "stopping") == 0 && job_postgres_runs(j) == 1;
}

/* It archives and sends what it has, for longer than its command waits. */
static void
wait_for_end(struct job *j)
{
    int64_t said_us = 0;

    for (; is_stopping(j); poll(NULL, 0, STOP_LOOK_MS)) {
        if (said_us != 0 && clock_us() - said_us < STOP_SAY_US)
            continue;
        said_us = clock_us();
        job_say(j,
                "PostgreSQL is still stopping: its archiver has much to do, or fails (see its "
                "log, and %s/pg_wal/archive_status/*.ready). To end it at once: "
                "%s/pg_ctl stop -m immediate -D %s",
                j->self->pgdata, j->self->bindir, j->self->pgdata);
    }
}

int
job_stop_postgres(struct job *j)
{
    int runs = job_postgres_runs(j), code;

    if (runs <= 0)
        return runs;
    code = command_server(j, j->self->stop, "stop");
    wait_for_end(j);
    if (job_postgres_runs(j) == 0)
        return 0;
    if (code == 0)
        fail(ERR_LOCAL, "it still runs after: %s",
             j->self->stop[0] != '\0' ? j->self->stop : "pg_ctl stop");
    return fail_in(ERR_LOCAL, "PostgreSQL does not stop");
}

/* ---- settings ---- */

static const char *const our_settings[] = {
    "primary_conninfo", "restore_command", "recovery_target_timeline",
    "wal_retrieve_retry_interval",
    /* of a restore of long ago: a standby would end there */
    "recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid",
    "recovery_target_lsn"};

static bool
is_ours(const char *line)
{
    line += strspn(line, " \t");
    for (size_t i = 0; i < sizeof our_settings / sizeof *our_settings; i++) {
        size_t length = strlen(our_settings[i]);

        if (strncmp(line, our_settings[i], length) == 0 && strchr(" \t=", line[length]) != NULL)
            return true;
    }
    return false;
}

/* The text without our lines. */
static size_t
strip_ours(char *text)
{
    char *to = text, *overrides = strstr(text, JOB_OVERRIDES);

    if (overrides != NULL)
        *overrides = '\0';
    for (char *line = text, *next; *line != '\0'; line = next) {
        size_t length = strcspn(line, "\n");

        length += line[length] == '\n';
        next = line + length;
        if (is_ours(line))
            continue;
        memmove(to, line, length);
        to += length;
    }
    *to = '\0';
    return (size_t)(to - text);
}

int
job_program(char *out, size_t size)
{
    ssize_t got = readlink("/proc/self/exe", out, size - 1);

    if (got < 0)
        return fail_sys(ERR_LOCAL, "cannot tell which program this is");
    out[got] = '\0';
    strcpy(strrchr(out, '/') + 1, "walferry"); /* the main program's name is longer */
    if (access(out, X_OK) < 0)
        snprintf(out, size, "%s", WALFERRY_BIN);
    return 0;
}

int
job_write_settings(const struct job *j, const char *pgdata)
{
    const struct member *m = j->self;
    char program[256], file[PATH_MAX], *text = malloc(SETTINGS_MAX);
    size_t used;
    int dir = -1, code = job_program(program, sizeof program);
    mode_t mode;

    if (code == 0 && (text == NULL || realpath(j->config->file, file) == NULL))
        code = fail_sys(ERR_LOCAL, "cannot make the settings");
    if (code == 0 && durable_dir(pgdata, &dir) < 0)
        code = fail_sys(ERR_LOCAL, "cannot open %s", pgdata);
    if (code < 0)
        goto out;
    text[0] = '\0';
    if (durable_load(dir, SETTINGS, text, SETTINGS_MAX - 2048) < 0 && errno != ENOENT) {
        code = fail_sys(ERR_LOCAL, "cannot read %s/" SETTINGS, pgdata);
        goto out;
    }
    used = strip_ours(text);
    used += (size_t)snprintf(
        text + used, SETTINGS_MAX - used,
        "%sprimary_conninfo = 'host=%s port=5432 user=walferry'\n"
        "restore_command = '\"%s\" fetch --config \"%s\" --member %s \"%%f\" \"%%p\" || exit 1'\n"
        "recovery_target_timeline = 'latest'\n"
        "wal_retrieve_retry_interval = '500ms'\n"
        "recovery_target = ''\nrecovery_target_name = ''\nrecovery_target_time = ''\n"
        "recovery_target_xid = ''\nrecovery_target_lsn = ''\n",
        used > 0 && text[used - 1] != '\n' ? "\n" : "", m->run, program, file, m->name);
    mode = datadir_file_mode(pgdata);
    if (durable_replace_mode(dir, SETTINGS, text, used, mode) < 0 ||
        durable_replace_mode(dir, "standby.signal", "", 0, mode) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write into %s", pgdata);
out:
    durable_close(dir);
    free(text);
    return code;
}
