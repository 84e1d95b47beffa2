/* SPDX-License-Identifier: PostgreSQL */
/* See rewind.h. */
#include "jobs/rewind.h"

#include "jobs/datadir.h"
#include "jobs/escrow.h"
#include "jobs/primary.h"
#include "jobs/settings.h"
#include "jobs/standby_settings.h"
#include "postgres/control_file.h"

#include "base/durable.h"
#include "base/fail.h"
#include "base/kill_point.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETTINGS   "postgresql.auto.conf"
#define ZERO_BYTES (64u << 10)

/* ---- what pg_rewind takes ---- */

/* pg_rewind gives up at a directory that it may not read, as lost+found where a file system is
 * mounted. */
static int
check_readable(const char *path)
{
    char at[PATH_MAX];
    DIR *dir = opendir(path);
    const struct dirent *e;
    struct stat about;
    int code = 0;

    while (dir != NULL && code == 0 && (e = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), e->d_name, &about, 0) == 0 && S_ISDIR(about.st_mode) &&
            faccessat(dirfd(dir), e->d_name, R_OK | X_OK, AT_EACCESS) < 0)
            code = fail(ERR_USAGE,
                        "refused: %s/%s cannot be read, and pg_rewind reads all directories; let "
                        "the owner of the data directory read it, or remove it",
                        realpath(path, at) != NULL ? at : path, e->d_name);
    if (dir != NULL)
        closedir(dir);
    return code;
}

static int
check_directories(const char *pgdata)
{
    char spaces[300], path[600];
    DIR *dir;
    const struct dirent *e;
    int code = check_readable(pgdata);

    snprintf(path, sizeof path, "%s/pg_wal", pgdata);
    if (code == 0)
        code = check_readable(path);
    snprintf(spaces, sizeof spaces, "%s/pg_tblspc", pgdata);
    dir = opendir(spaces);
    while (dir != NULL && code == 0 && (e = readdir(dir)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", spaces, e->d_name);
        if (e->d_name[0] != '.')
            code = check_readable(path);
    }
    if (dir != NULL)
        closedir(dir);
    return code;
}

int
rewind_check_place(const char *pgdata)
{
    int code = settings_refuse_links(pgdata);

    return code == 0 ? check_directories(pgdata) : code;
}

int
rewind_check(struct divergence *p)
{
    char text[64];
    int code;

    if (!p->control.checksums && !p->control.hints)
        return fail(ERR_LOCAL,
                    "%s has neither data checksums nor wal_log_hints: it cannot be rewound",
                    p->job->self->pgdata);
    if (p->our.timeline == p->their.timeline) /* no tool can tell the two apart */
        return fail(ERR_LOCAL,
                    "%s and %s are on two timelines of one number, %u: it cannot be "
                    "rewound",
                    p->job->self->name, p->primary, p->their.timeline);
    if (p->unlike)
        return fail(
            ERR_LOCAL,
            "the WAL of %s and %s differs from before the point where their timelines part: "
            "it cannot be rewound",
            p->job->self->name, p->primary);
    if (!p->control.full_page_writes)
        return fail(ERR_LOCAL, "full_page_writes was off here: it cannot be rewound");
    code = primary_ask(p->connection, "show full_page_writes", text, sizeof text);
    if (code == 0 && strcmp(text, "on") != 0)
        return fail(ERR_LOCAL, "full_page_writes is off on %s: nothing can be rewound to it",
                    p->primary);
    return code;
}

/* ---- settings for recovery and pg_rewind ---- */

/* The configuration file that the server here was started with. (postmaster.opts names it;
 * pg_rewind removes that file, so it is kept with the settings.) */
static void
find_config(const char *pgdata, char *out, size_t size)
{
    char text[4096] = "", *from, *end;
    int dir;

    snprintf(out, size, "%s/postgresql.conf", pgdata);
    if (durable_dir(pgdata, &dir) < 0)
        return;
    if (durable_load(dir, "postmaster.opts", text, sizeof text) < 0)
        text[0] = '\0';
    durable_close(dir);
    if ((from = strstr(text, "config_file=")) != NULL)
        from += strlen("config_file=");
    else if ((from = strstr(text, "\"-D\" \"")) != NULL)
        from += strlen("\"-D\" \"");
    if (from == NULL || (end = strchr(from, '"')) == NULL)
        return;
    *end = '\0';
    snprintf(out, size, "%s%s", from,
             strstr(from, ".conf") != NULL && from[-1] == '=' ? "" : "/postgresql.conf");
}

/*
 * What single-user recovery and pg_rewind read on top of the server's own configuration: no WAL is
 * removed, and WAL that is no longer here comes from escrow, the spool, or the present primary.
 * These lines go into postgresql.auto.conf, which is read last; the settings come back from escrow
 * later. In PostgreSQL 13 pg_rewind only reads a configuration in the data directory: one that
 * includes the server's is put there. Returns the major version.
 */
static int
write_overrides(const struct divergence *p, const char *escrow, char *ret_config, size_t size)
{
    const struct member *m = p->job->self;
    char program[256], text[65536], include[600];
    struct identity identity;
    ssize_t got;
    int dir, code = standby_settings_program(program, sizeof program);

    if (code == 0)
        code = escrow_return_settings(escrow, m->pgdata);
    if (code == 0)
        code = control_file_identity(m->pgdata, &identity);
    if (code != 0)
        return code;
    find_config(m->pgdata, ret_config, size);
    if (durable_dir(m->pgdata, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", m->pgdata);
    got = durable_load(dir, SETTINGS, text, sizeof text - 2048);
    if (got < 0 && errno == ENOENT)
        got = 0;
    if (got >= 0)
        snprintf(text + got, sizeof text - (size_t)got,
                 "%s" STANDBY_OVERRIDES "\n"
                 "listen_addresses = ''\nunix_socket_directories = ''\n" /* no server, no clients */
                 "restore_command = 'cp \"%s/%%f\" \"%%p\" 2>/dev/null || \"%s\" fetch --config "
                 "\"%s\" --member %s --from %s \"%%f\" \"%%p\" || exit 1'\n"
                 "wal_keep_size = '1000TB'\n"
                 "max_slot_wal_keep_size = -1\n",
                 got > 0 ? "\n" : "", escrow, program, p->job->config->file, m->name, p->primary);
    snprintf(include, sizeof include, "include '%s'\n", ret_config);
    if (got < 0 || durable_replace(dir, SETTINGS, text, strlen(text)) < 0 ||
        (identity.postgres_major < 14 && strncmp(ret_config, m->pgdata, strlen(m->pgdata)) != 0 &&
         durable_replace(dir, "postgresql.conf", include, strlen(include)) < 0))
        code = fail_sys(ERR_LOCAL, "cannot write the settings in %s", m->pgdata);
    durable_close(dir);
    return code < 0 ? code : identity.postgres_major;
}

static int
remove_file(const char *pgdata, const char *name)
{
    int dir, code = 0;

    if (durable_dir(pgdata, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", pgdata);
    if (durable_remove(dir, name) < 0)
        code = fail_sys(ERR_LOCAL, "cannot remove %s/%s", pgdata, name);
    durable_close(dir);
    return code;
}

/* ---- recovery, pg_rewind ---- */

/* Crash recovery. (pg_rewind would do it, but with a configuration in the data directory only.) */
static int
recover(struct divergence *p, const char *escrow)
{
    const char *pgdata = p->job->self->pgdata;
    char config[512], option[600];
    const char *const argv[] = {"postgres", "--single", "-D",        pgdata,
                                "-c",       option,     "template1", NULL};
    int code = write_overrides(p, escrow, config, sizeof config);

    if (code < 0)
        return code;
    snprintf(option, sizeof option, "config_file=%s", config);
    job_say(p->job, "crash recovery, in single-user mode");
    if (remove_file(pgdata, "standby.signal") < 0 || remove_file(pgdata, "recovery.signal") < 0 ||
        datadir_forbid_start(pgdata, false) < 0)
        return ERR_LOCAL;
    KILL_POINT("rejoin:6");
    code = job_run(p->job, argv, NULL, NULL);
    if (datadir_forbid_start(pgdata, true) < 0)
        return ERR_LOCAL;
    if (code == 0)
        code = divergence_control(p);
    if (code == 0 && !p->control.shut_down)
        code = fail(ERR_LOCAL, "it did not end in a clean state");
    if (code == 0)
        code = divergence_end(p, false);
    return code < 0 ? fail_in(code, "crash recovery failed") : code;
}

int
rewind_recover(struct divergence *p, const char *escrow)
{
    /* before PostgreSQL 16 pg_rewind takes the checkpoint's timeline for that of the data */
    bool whole = p->control.shut_down && p->control.checkpoint_timeline == p->control.timeline;
    int code = whole ? 0 : recover(p, escrow);

    if (code == 0)
        code = escrow_keep(escrow, p->job->self->pgdata, p->control.segment_bytes, p->fork, p->end);
    KILL_POINT("rejoin:7");
    return code < 0 ? code : 0;
}

struct rewinding {
    struct job *job;
    bool not_required;
};

static void
take_rewind(void *context, const char *line)
{
    struct rewinding *w = context;
    unsigned long done_kb, all_kb;

    if (strstr(line, "no rewind required") != NULL)
        w->not_required = true;
    if (sscanf(line, "%lu/%lu kB", &done_kb, &all_kb) != 2)
        return;
    job_progress(w->job, "rewinding", (uint64_t)done_kb << 10, (uint64_t)all_kb << 10);
}

static int
run_rewind(struct divergence *p, const char *escrow, const struct member *from)
{
    char conninfo[400], source[512], config[512] = "", option[600];
    const char *const argv[] = {"pg_rewind",
                                "-D",
                                p->job->self->pgdata,
                                source,
                                "--progress",
                                "--restore-target-wal",
                                "--no-ensure-shutdown",
                                option,
                                NULL};
    struct rewinding w = {.job = p->job};
    int code;

    snprintf(source, sizeof source, "--source-server=%s",
             primary_conninfo(p->job->config, p->job->self, from, "postgres", conninfo,
                              sizeof conninfo));
    code = write_overrides(p, escrow, config, sizeof config);
    snprintf(option, sizeof option, "--config-file=%s", config);
    if (code > 0 && code < 14)
        snprintf(option, sizeof option, "--progress");
    KILL_POINT("rejoin:8");
    if (code > 0)
        code = job_run(p->job, argv, take_rewind, &w);
    KILL_POINT("rejoin:9");
    if (code == 0 && w.not_required)
        code = fail(ERR_PEER, "pg_rewind says that no rewind is required, but the WAL here goes on "
                              "behind the fork");
    return code;
}

/* pg_rewind believes the control file of its source, which is behind after a promotion. */
static int
ready_giver(struct divergence *p, struct giver *giver)
{
    const struct job *j = p->job;
    char timeline[16];
    int code;

    if (giver->member == NULL)
        return primary_checkpoint(j->config, j->self, NULL);
    code = giver_ready(giver, p->connection, p->primary);
    if (code == 0)
        code = primary_ask(giver->connection, "select timeline_id from pg_control_checkpoint()",
                           timeline, sizeof timeline);
    if (code == 0 && strtoul(timeline, NULL, 10) != p->their.timeline)
        code = fail(ERR_PEER, "its last restartpoint is of timeline %s, not of %u", timeline,
                    p->their.timeline);
    return code;
}

/*
 * pg_rewind leaves the segment in which the two part, for the records before that point. A server
 * that finds no later timeline's copy of it yet would replay what stands behind it, too, and never
 * come back: these bytes become zeros, as where the primary's WAL of that timeline ends. (They are
 * in escrow.)
 */
static int
cut_wal(const struct divergence *p)
{
    static const uint8_t zeros[ZERO_BYTES];
    uint32_t segment_bytes = p->control.segment_bytes;
    uint64_t at = p->fork - segment_start(p->fork, segment_bytes);
    char path[300], name[SEGMENT_NAME_SIZE];
    int dir, fd = -1, code = 0;
    lsn_t end;

    if (!history_switch_point(p->theirs, strlen(p->theirs), p->timeline, &end) || end != p->fork)
        return 0; /* their WAL of that timeline goes on */
    segment_name(name, p->timeline, p->fork, segment_bytes);
    snprintf(path, sizeof path, "%s/pg_wal", p->job->self->pgdata);
    if (durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open %s", path);
    if (durable_open(dir, name, DURABLE_WRITE, &fd) < 0) {
        code = errno == ENOENT ? 0 : fail_sys(ERR_LOCAL, "cannot open %s/%s", path, name);
    } else {
        for (size_t n; code == 0 && at < segment_bytes; at += n) {
            n = segment_bytes - at < ZERO_BYTES ? (size_t)(segment_bytes - at) : ZERO_BYTES;
            code = durable_write(fd, zeros, n, at);
        }
        if (code < 0 || durable_data(fd) < 0)
            code = fail_sys(ERR_LOCAL, "cannot write %s/%s", path, name);
    }
    durable_close(fd);
    durable_close(dir);
    return code;
}

int
rewind_run(struct divergence *p, const char *escrow, struct giver *giver)
{
    const char *const sync[] = {"initdb", "--sync-only", "-D", p->job->self->pgdata, NULL};
    int code;

    if (p->control.recovery_timeline == p->their.timeline) { /* an earlier pg_rewind is done */
        code = job_run(p->job, sync, NULL, NULL);
        return code == 0 ? cut_wal(p) : code;
    }
    code = divergence_connect(p);
    if (code == 0)
        code = escrow_return(escrow, p->job->self->pgdata);
    if (code >= 0)
        code = ready_giver(p, giver);
    if (code == 0)
        code = run_rewind(p, escrow, giver->member);
    return code == 0 ? cut_wal(p) : code;
}
