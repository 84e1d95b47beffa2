/* SPDX-License-Identifier: PostgreSQL */
/*
 * host: what of the pool's file only this host can tell: users, directories, keys, processors.
 */
#include "config/parse.h"

#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

static const char *
user_name(uid_t uid, char out[SHOWN_SIZE])
{
    const struct passwd *user = getpwuid(uid);

    snprintf(out, SHOWN_SIZE, "%u", (unsigned)uid);
    if (user != NULL)
        snprintf(out, SHOWN_SIZE, "%s", user->pw_name);
    return out;
}

void
config_role(char out[ROLE_NAME_SIZE], const struct member *member)
{
    PQconninfoOption *parsed = PQconninfoParse(member->postgres, NULL);
    char name[SHOWN_SIZE];

    out[0] = '\0';
    for (const PQconninfoOption *o = parsed; o != NULL && o->keyword != NULL; o++)
        if (o->val != NULL && strcmp(o->keyword, "user") == 0)
            snprintf(out, ROLE_NAME_SIZE, "%s", o->val);
    PQconninfoFree(parsed);
    if (out[0] == '\0')
        snprintf(out, ROLE_NAME_SIZE, "%s", user_name(geteuid(), name));
}

/* No copy is here yet: seed makes one. */
static bool
is_empty(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *e;
    bool empty = dir != NULL;

    while (empty && (e = readdir(dir)) != NULL)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (dir != NULL)
        closedir(dir);
    return empty;
}

static void
check_version(struct complaints *to, const struct member *m)
{
    char path[sizeof m->pgdata + 16], text[16] = "", shown[SHOWN_SIZE];
    FILE *file;
    long major;

    snprintf(path, sizeof path, "%s/PG_VERSION", m->pgdata);
    file = fopen(path, "re");
    if (file == NULL || fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    if (file != NULL)
        fclose(file);
    text[strcspn(text, "\n")] = '\0';
    major = strtol(text, NULL, 10);
    if (text[0] == '\0' && is_empty(m->pgdata))
        return;
    if (text[0] == '\0')
        complain(to, m->line, "pgdata", "no PostgreSQL in it: cannot read %s", path);
    else if (major < POSTGRES_MAJOR_MIN || major > POSTGRES_MAJOR_MAX)
        complain(to, m->line, "pgdata", "%s has PostgreSQL %s; allowed: %d to %d", m->pgdata,
                 text_escape(shown, sizeof shown, text, strlen(text)), POSTGRES_MAJOR_MIN,
                 POSTGRES_MAJOR_MAX);
}

/* False: another user has to run this; the other checks would fail only for this user. */
static bool
check_pgdata(struct complaints *to, const struct member *m)
{
    char owner[SHOWN_SIZE], we[SHOWN_SIZE];
    struct stat st;

    if (stat(m->pgdata, &st) < 0) {
        if (errno == ENOENT)
            return true; /* as an empty directory */
        complain(to, m->line, "pgdata", "%s: %s", m->pgdata, strerror(errno));
    } else if (st.st_uid != geteuid()) {
        user_name(st.st_uid, owner);
        complain(to, m->line, "pgdata", "%s belongs to %s, this runs as %s; run as %s", m->pgdata,
                 owner, user_name(geteuid(), we), owner);
        return false;
    } else {
        check_version(to, m);
    }
    return true;
}

static void
check_identity(struct complaints *to, const struct member *m, const char *key, const char *path)
{
    char owner[SHOWN_SIZE], we[SHOWN_SIZE];
    struct stat st;

    if (stat(path, &st) < 0)
        complain(to, m->line, key, "%s: %s", path, strerror(errno));
    else if (st.st_uid != geteuid())
        complain(to, m->line, key, "%s belongs to %s; chown %s %s", path,
                 user_name(st.st_uid, owner), user_name(geteuid(), we), path);
    else if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        complain(to, m->line, key, "%s is open to others (mode %04o); chmod 600 %s", path,
                 (unsigned)st.st_mode & 07777, path);
}

static void
check_directory(struct complaints *to, const struct member *m, const char *key, const char *path,
                mode_t forbidden)
{
    char owner[SHOWN_SIZE], we[SHOWN_SIZE];
    int error = mkdir(path, 0700) < 0 ? errno : 0;
    struct stat st;

    user_name(geteuid(), we);
    if (error != 0 && error != EEXIST)
        complain(to, m->line, key, "cannot make %s: %s; make it and chown %s %s", path,
                 strerror(error), we, path);
    else if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        complain(to, m->line, key, "%s is no directory", path);
    else if (st.st_uid != geteuid())
        complain(to, m->line, key, "%s belongs to %s; chown %s %s", path,
                 user_name(st.st_uid, owner), we, path);
    else if ((st.st_mode & forbidden) != 0)
        complain(to, m->line, key, "%s is open to others (mode %04o); chmod 700 %s", path,
                 (unsigned)st.st_mode & 07777, path);
}

/* The kernel accepts a list in which one processor exists, and ignores the others in silence. */
static void
check_cpus(struct complaints *to, const struct member *m)
{
    int there = get_nprocs_conf();

    for (int i = there; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET((size_t)i, &m->cpus))
            continue;
        complain(to, m->line, "cpus", "this host has no processor %d; allowed: 0-%d", i, there - 1);
        return;
    }
}

int
config_check_local(const struct config *c, const struct member *self, FILE *errors)
{
    struct complaints to = {.file = c->file, .out = errors};
    char path[sizeof self->bindir + 16];

    complain_in(&to, self);
    if (!check_pgdata(&to, self))
        return complaints_verdict(&to);
    snprintf(path, sizeof path, "%s/pg_ctl", self->bindir);
    if (access(path, X_OK) < 0)
        complain(&to, self->line, "bindir",
                 "cannot run %s: %s; allowed: what pg_config --bindir shows", path,
                 strerror(errno));
    check_identity(&to, self, "identity", self->identity);
    if (self->tunnel_identity[0] != '\0')
        check_identity(&to, self, "tunnel_identity", self->tunnel_identity);
    check_cpus(&to, self);
    check_directory(&to, self, "spool", self->spool, 027);
    check_directory(&to, self, "run", self->run, 077);
    complain_in(&to, NULL);
    if (c->event_command[0] != '\0' && access(c->event_command, X_OK) < 0)
        complain(&to, c->event_command_line, "event_command", "cannot run %s: %s", c->event_command,
                 strerror(errno));
    for (size_t i = 0; i < c->members; i++) {
        const struct member *m = &c->member[i];

        complain_in(&to, m);
        if (m != self && m->target.known_hosts[0] != '\0' &&
            access(m->target.known_hosts, R_OK) < 0)
            complain(&to, m->line, "known_hosts", "cannot read %s: %s", m->target.known_hosts,
                     strerror(errno));
    }
    return complaints_verdict(&to);
}
