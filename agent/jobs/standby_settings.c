/* SPDX-License-Identifier: PostgreSQL */
/* See standby_settings.h. */
#include "jobs/standby_settings.h"

#include "jobs/datadir.h"

#include "base/durable.h"
#include "base/fail.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTINGS_MAX 65536
#define SETTINGS     "postgresql.auto.conf"

static const char *const our_settings[] = {
    "primary_conninfo", "primary_slot_name", "restore_command", "recovery_target_timeline",
    "wal_retrieve_retry_interval",
    /* left by a restore long ago: a standby would stop at such a target */
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

/* Remove our lines from the text; returns its new length. */
static size_t
strip_ours(char *text)
{
    char *to = text, *overrides = strstr(text, STANDBY_OVERRIDES);

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
standby_settings_check(const char *pgdata)
{
    char *text = malloc(SETTINGS_MAX);
    ssize_t bytes = 0;
    int dir, code = 0;

    if (text == NULL || durable_dir(pgdata, &dir) < 0) {
        free(text);
        return fail_sys(ERR_LOCAL, "cannot open %s", pgdata);
    }
    bytes = durable_load(dir, SETTINGS, text, SETTINGS_MAX);
    if (bytes < 0 && errno != ENOENT)
        code = fail_sys(ERR_LOCAL, "cannot read %s/" SETTINGS, pgdata);
    else if (bytes > 0 && (text[bytes - 1] != '\n' || strlen(text) < (size_t)bytes))
        code = fail(ERR_LOCAL,
                    SETTINGS " of the copy is not whole: a server that is older than the minors of "
                             "November 2026 sends it so while alter system writes it; if it is "
                             "not whole on the primary, either, any alter system there mends it");
    durable_close(dir);
    free(text);
    return code;
}

int
standby_settings_program(char *out, size_t size)
{
    ssize_t got = readlink("/proc/self/exe", out, size - 1);

    if (got < 0)
        return fail_sys(ERR_LOCAL, "cannot tell which program this is");
    out[got] = '\0';
    strcpy(strrchr(out, '/') + 1, "walferry"); /* fits: walferry-main, which runs, is longer */
    if (access(out, X_OK) < 0)
        snprintf(out, size, "%s", WALFERRY_BIN);
    return 0;
}

int
standby_settings_write(const struct job *j, const char *pgdata)
{
    const struct member *m = j->self;
    char program[256], file[PATH_MAX], slot[SLOT_NAME_SIZE], *text = malloc(SETTINGS_MAX);
    size_t used;
    int dir = -1, code = standby_settings_program(program, sizeof program);
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
    config_slot_name(slot, m->name);
    used += (size_t)snprintf(
        text + used, SETTINGS_MAX - used,
        "%sprimary_conninfo = 'host=%s port=5432 user=%s dbname=%s'\n"
        "primary_slot_name = '%s'\n"
        "restore_command = '\"%s\" fetch --config \"%s\" --member %s \"%%f\" \"%%p\" || exit 1'\n"
        "recovery_target_timeline = 'latest'\n"
        "wal_retrieve_retry_interval = '500ms'\n"
        "recovery_target = ''\nrecovery_target_name = ''\nrecovery_target_time = ''\n"
        "recovery_target_xid = ''\nrecovery_target_lsn = ''\n",
        used > 0 && text[used - 1] != '\n' ? "\n" : "", m->run, j->config->slot_sync_user,
        j->config->slot_sync_database, slot, program, file, m->name);
    mode = datadir_file_mode(pgdata);
    if (durable_replace_mode(dir, SETTINGS, text, used, mode) < 0 ||
        durable_replace_mode(dir, "standby.signal", "", 0, mode) < 0)
        code = fail_sys(ERR_LOCAL, "cannot write into %s", pgdata);
out:
    durable_close(dir);
    free(text);
    return code;
}
