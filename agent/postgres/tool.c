/* SPDX-License-Identifier: PostgreSQL */
/* See tool.h. */
#include "postgres/tool.h"

#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_BYTES     600
#define ARGS_MAX       128
#define LINE_BYTES     (64u << 10) /* of a tool, at first */
#define LINE_BYTES_MAX (1u << 30)  /* a record of WAL is no longer */
#define PATH_BYTES     512

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

    if (length == 0 || strchr(shown, '%') != NULL) /* progress gives no reason */
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
become(const char *path, const char *const argv[], int output, bool tool, int lock, pid_t parent)
{
    char *copy[ARGS_MAX + 1];
    size_t n = 0;
    int null = open("/dev/null", O_RDONLY);

    for (; argv[n] != NULL && n < ARGS_MAX; n++)
        copy[n] = strdup(argv[n]);
    copy[n] = NULL;
    copy[0] = strdup(path); /* PostgreSQL's programs look for each other beside it */
    /* a tool must not outlive this process, and holds the lock that keeps other commands from its
     * directory as long as it runs. A server must outlive this process, and hold no lock */
    if (tool && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
                 (lock >= 0 && fcntl(lock, F_SETFD, 0) < 0)))
        _exit(127);
    if (null < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        _exit(127);
    execv(path, copy);
    dprintf(2, "cannot run %s: %s\n", path, strerror(errno));
    _exit(127);
}

static int
spawn(const char *path, const char *const argv[], int output, bool tool, int lock, pid_t *ret_pid)
{
    pid_t parent = getpid(), pid;

    fflush(stdout);
    pid = fork();
    if (pid < 0)
        return fail_sys(ERR_LOCAL, "cannot start %s", path);
    if (pid == 0)
        become(path, argv, output, tool, lock, parent);
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

/* Take the complete lines of text; returns the bytes that they were. */
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

/* A line may have megabytes: pg_waldump prints a commit that drops thousands of tables in one.
 * True: a line was too long to be read. */
static bool
read_lines(int fd, struct tail *t, void (*each)(void *context, const char *line), void *context)
{
    size_t used = 0, room = LINE_BYTES, taken;
    char *text = malloc(room), *more;
    bool cut = false;
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
            cut = true;
        }
    }
    if (text == NULL)
        return cut;
    text[used] = '\0';
    take_line(text, t, each, context);
    free(text);
    return cut;
}

int
tool_run(const char *bindir, int lock, const char *const argv[],
         void (*each)(void *context, const char *line), void *context)
{
    char path[PATH_BYTES];
    struct tail t = {.used = 0};
    int ends[2], status, code;
    bool cut = false;
    pid_t pid;

    snprintf(path, sizeof path, "%s%s%s", argv[0][0] == '/' ? "" : bindir,
             argv[0][0] == '/' ? "" : "/", argv[0]);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_sys(ERR_LOCAL, "cannot start %s", path);
    code = spawn(path, argv, ends[1], true, lock, &pid);
    close(ends[1]);
    if (code == 0) {
        cut = read_lines(ends[0], &t, each, context);
        code = reap(pid, &status);
        if (code == 0)
            code = judge_end(status, strrchr(path, '/') + 1, &t);
    }
    close(ends[0]);
    return code < 0 ? code : cut;
}

int
tool_start(const char *path, const char *const argv[], const char *name, int output)
{
    struct tail t = {.used = 0};
    char last[1024] = "";
    int status, code;
    uint64_t bytes;
    pid_t pid;

    code = spawn(path, argv, output, false, -1, &pid);
    if (code == 0)
        code = reap(pid, &status);
    if (code == 0 && durable_size(output, &bytes) == 0)
        (void)!durable_read(output, last, sizeof last - 1,
                            bytes >= sizeof last ? bytes - (sizeof last - 1) : 0);
    for (char *save, *line = strtok_r(last, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save))
        tail_add(&t, line);
    return code == 0 ? judge_end(status, name, &t) : code;
}
