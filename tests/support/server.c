/* SPDX-License-Identifier: PostgreSQL */
#include "support/server.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 24
#define START_SECONDS 60

static _Noreturn void __attribute__((format(printf, 1, 2))) give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static const struct passwd *
runs_as(void)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;

    if (geteuid() == 0 && user == NULL)
        give_up("there is no user postgres to run a server as");
    return user;
}

static const char *
bindir(void)
{
    static char path[256];
    const char *given = getenv("PGBIN");
    FILE *pipe;

    if (given != NULL)
        return given;
    if (path[0] != '\0')
        return path;
    pipe = popen("pg_config --bindir", "r");
    if (pipe == NULL || fgets(path, sizeof path, pipe) == NULL)
        give_up("pg_config --bindir says nothing; set PGBIN");
    pclose(pipe);
    path[strcspn(path, "\n")] = '\0';
    return path;
}

/* Runs in the child: becomes the program, or ends. */
static _Noreturn void
become(const struct server *s, char *const argv[])
{
    const struct passwd *user = runs_as();
    int log = open(s->log, O_WRONLY | O_APPEND), null = open("/dev/null", O_RDONLY);

    if (user != NULL && (setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* a server quits at once; behind setuid, which resets it */
    if (log < 0 || null < 0 || chdir("/") < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 ||
        dup2(log, 2) < 0)
        _exit(126);
    setenv("PGHOST", s->root, 1);
    setenv("PGUSER", "postgres", 1);
    setenv("PGDATABASE", "postgres", 1);
    setenv("PGPORT", "5432", 1);
    execv(argv[0], argv); /* initdb finds the others by its own path */
    _exit(127);
}

static pid_t
spawn(const struct server *s, const char *program, va_list args)
{
    char path[512], *argv[ARGUMENTS_MAX] = {path};
    const char *argument;
    int count = 1;
    pid_t pid;

    while ((argument = va_arg(args, const char *)) != NULL && count < ARGUMENTS_MAX - 1)
        argv[count++] = strdup(argument);
    snprintf(path, sizeof path, "%s/%s", bindir(), program);
    pid = fork();
    if (pid < 0)
        give_up("cannot fork for %s", program);
    if (pid == 0)
        become(s, argv);
    for (int i = 1; i < count; i++)
        free(argv[i]);
    return pid;
}

pid_t
server_spawn(const struct server *s, const char *program, ...)
{
    va_list args;
    pid_t pid;

    va_start(args, program);
    pid = spawn(s, program, args);
    va_end(args);
    return pid;
}

bool
server_wait(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            give_up("cannot wait for %ld", (long)pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
make_folder(struct server *s)
{
    const struct passwd *user = runs_as();
    int log;

    *s = (struct server){.root = "/tmp/wf-test-XXXXXX"};
    if (mkdtemp(s->root) == NULL)
        give_up("cannot make a folder under /tmp");
    snprintf(s->pgdata, sizeof s->pgdata, "%s/data", s->root);
    snprintf(s->log, sizeof s->log, "%s/log", s->root);
    snprintf(s->conninfo, sizeof s->conninfo, "host=%s port=5432 user=postgres dbname=postgres",
             s->root);
    log = open(s->log, O_CREAT | O_WRONLY, 0600);
    if (log < 0 || (user != NULL && (fchown(log, user->pw_uid, user->pw_gid) < 0 ||
                                     chown(s->root, user->pw_uid, user->pw_gid) < 0)))
        give_up("cannot prepare %s", s->root);
    close(log);
}

static void
append(const char *folder, const char *name, const char *text)
{
    char path[96];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "a");
    if (file == NULL || fputs(text, file) == EOF || fclose(file) == EOF)
        give_up("cannot write %s", path);
}

static void
append_place(const struct server *s)
{
    char text[128];

    snprintf(text, sizeof text, "unix_socket_directories = '%s'\n", s->root);
    append(s->pgdata, "postgresql.conf", text);
}

void
server_make(struct server *s, unsigned segment_mb, const char *settings)
{
    char size[32];

    make_folder(s);
    s->segment_bytes = segment_mb << 20;
    snprintf(size, sizeof size, "--wal-segsize=%u", segment_mb);
    if (!server_wait(server_spawn(s, "initdb", "-D", s->pgdata, "-U", "postgres", "-A", "trust",
                                  "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync",
                                  size, NULL)))
        give_up("initdb failed, see %s", s->log);
    append_place(s);
    append(
        s->pgdata, "postgresql.conf",
        "listen_addresses = ''\nshared_buffers = 16MB\ndynamic_shared_memory_type = mmap\nfsync = off\n"
        "autovacuum = off\nmin_wal_size = 32MB\nlog_min_messages = info\n");
    append(s->pgdata, "postgresql.conf", settings);
}

void
server_copy(struct server *copy, const struct server *of)
{
    char place[160];

    make_folder(copy);
    copy->segment_bytes = of->segment_bytes;
    if (!server_wait(server_spawn(of, "pg_basebackup", "-D", copy->pgdata, "-c", "fast", "-X",
                                  "stream", NULL)))
        give_up("pg_basebackup failed, see %s", of->log);
    append_place(copy);
    snprintf(place, sizeof place, "primary_conninfo = '%s'\n", of->conninfo);
    append(copy->pgdata, "postgresql.conf", place);
    append(copy->pgdata, "standby.signal", "");
}

void
server_start(struct server *s)
{
    s->pid = server_spawn(s, "postgres", "-D", s->pgdata, NULL);
    for (int i = 0; i < START_SECONDS * 20; i++) {
        int status;

        if (PQping(s->conninfo) == PQPING_OK)
            return;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid)
            give_up("the server ended at its start, see %s", s->log);
        usleep(50000);
    }
    give_up("the server does not answer, see %s", s->log);
}

/* After SIGKILL its children go by themselves, the last one lets go of the socket's lock. */
void
server_stop(struct server *s, int signal)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, signal);
    kill(s->pid, SIGCONT);
    server_wait(s->pid);
    s->pid = 0;
}

void
server_remove(struct server *s)
{
    pid_t pid;

    if (s->root[0] == '\0')
        return;
    server_stop(s, SIGQUIT);
    pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", s->root, (char *)NULL);
        _exit(127);
    }
    server_wait(pid);
    *s = (struct server){0};
}

const char *
server_sql(const struct server *s, const char *format, ...)
{
    static char answer[2048];
    char sql[2048];
    PGconn *conn = PQconnectdb(s->conninfo);
    PGresult *result;
    va_list args;

    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
        give_up("%s: %s", sql, PQerrorMessage(conn));
    snprintf(answer, sizeof answer, "%s", PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(conn);
    return answer;
}

lsn_t
server_lsn(const struct server *s, const char *expression)
{
    lsn_t lsn;

    if (!lsn_parse(server_sql(s, "select %s", expression), &lsn))
        give_up("%s is no LSN", expression);
    return lsn;
}

ssize_t
server_wal(const struct server *s, timeline_t timeline, lsn_t lsn, void *out, size_t n)
{
    char name[SEGMENT_NAME_SIZE], path[128];
    lsn_t start = segment_start(lsn, s->segment_bytes);
    ssize_t got;
    int fd;

    segment_name(name, timeline, lsn, s->segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal/%s", s->pgdata, name);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    if (n > start + s->segment_bytes - lsn)
        n = (size_t)(start + s->segment_bytes - lsn);
    got = pread(fd, out, n, (off_t)(lsn - start));
    close(fd);
    return got;
}

bool
server_log_line(const struct server *s, const char *text, const char **ret_line)
{
    static char found[1024];
    char line[1024];
    FILE *file = fopen(s->log, "r");
    bool any = false;

    if (file == NULL)
        give_up("cannot read %s", s->log);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strstr(line, text) == NULL)
            continue;
        memcpy(found, line, sizeof found);
        any = true;
    }
    fclose(file);
    *ret_line = found;
    return any;
}
