/* SPDX-License-Identifier: PostgreSQL */
/* See control_file.h. */
#include "postgres/control_file.h"

#include "postgres/tool.h"

#include "base/durable.h"
#include "base/fail.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KNOWN_FROM               1300 /* pg_control_version */
#define KNOWN_TO                 1899
#define VERSION_AT               8
#define STATE_AT                 16
#define CHECKPOINT_AT            32
#define TIMELINE_AT              48
#define RECOVERY_END_AT          136
#define RECOVERY_END_TIMELINE_AT 144
#define CONTROL_BYTES            148

/* Of enum DBState: the server that wrote this took writes. */
#define DB_SHUTDOWNED        1
#define DB_SHUTDOWNING       3
#define DB_IN_CRASH_RECOVERY 4
#define DB_IN_PRODUCTION     6

static bool
says(const char *line, const char *key, const char **ret_value)
{
    size_t length = strlen(key);

    if (strncmp(line, key, length) != 0 || line[length] != ':')
        return false;
    *ret_value = line + length + 1 + strspn(line + length + 1, " ");
    return true;
}

static void
take_control(void *context, const char *line)
{
    struct control_file *c = context;
    const char *value;

    if (says(line, "Database system identifier", &value))
        c->system_identifier = strtoull(value, NULL, 10);
    else if (says(line, "Database cluster state", &value))
        c->shut_down = strncmp(value, "shut down", 9) == 0;
    else if (says(line, "Bytes per WAL segment", &value))
        c->segment_bytes = (uint32_t)strtoul(value, NULL, 10);
    else if (says(line, "Latest checkpoint location", &value))
        lsn_parse(value, &c->checkpoint);
    else if (says(line, "Latest checkpoint's REDO location", &value))
        lsn_parse(value, &c->redo);
    else if (says(line, "Minimum recovery ending location", &value))
        lsn_parse(value, &c->recovery_end);
    else if (says(line, "Latest checkpoint's TimeLineID", &value))
        c->checkpoint_timeline = (timeline_t)strtoul(value, NULL, 10);
    else if (says(line, "Min recovery ending loc's timeline", &value))
        c->recovery_timeline = (timeline_t)strtoul(value, NULL, 10);
    else if (says(line, "Latest checkpoint's NextXID", &value))
        c->next_xid = (uint32_t)strtoul(value + strcspn(value, ":") + 1, NULL, 10);
    else if (says(line, "Latest checkpoint's full_page_writes", &value))
        c->full_page_writes = strncmp(value, "on", 2) == 0;
    else if (says(line, "wal_log_hints setting", &value))
        c->hints = strncmp(value, "on", 2) == 0;
    else if (says(line, "Data page checksum version", &value))
        c->checksums = value[0] != '0';
    else if (strstr(line, "alculated CRC checksum does not match") != NULL) /* a warning */
        c->torn = true;
}

int
control_file_read(const char *bindir, const char *pgdata, struct control_file *ret)
{
    const char *const argv[] = {"pg_controldata", pgdata, NULL};
    struct control_file c = {0};
    int code = tool_run(bindir, -1, argv, take_control, &c);

    if (code < 0)
        return code;
    c.timeline =
        c.recovery_timeline > c.checkpoint_timeline ? c.recovery_timeline : c.checkpoint_timeline;
    if (c.system_identifier == 0 || c.timeline == 0 || !segment_bytes_valid(c.segment_bytes))
        return fail(ERR_LOCAL, "pg_controldata of %s says nothing that is understood", pgdata);
    *ret = c;
    return 0;
}

lsn_t
control_file_reached(const struct control_file *c)
{
    return c->recovery_end > c->checkpoint ? c->recovery_end : c->checkpoint;
}

static uint32_t
u32_at(const uint8_t *bytes, size_t at)
{
    uint32_t value; /* in this machine's byte order */

    memcpy(&value, bytes + at, sizeof value);
    return value;
}

static struct position
position_at(const uint8_t *bytes, size_t lsn_at, size_t timeline_at)
{
    struct position p = {.timeline = u32_at(bytes, timeline_at)};

    memcpy(&p.lsn, bytes + lsn_at, sizeof p.lsn);
    return p;
}

int
control_file_start(const char *pgdata, struct control_start *ret_start)
{
    uint8_t control[CONTROL_BYTES];
    uint32_t version, state;
    int dir, fd = -1, code = 0;

    if (durable_dir(pgdata, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the data directory %s", pgdata);
    if (durable_open(dir, "global/pg_control", DURABLE_READ, &fd) < 0 ||
        durable_read(fd, control, sizeof control, 0) != (ssize_t)sizeof control) {
        code = fail(ERR_LOCAL, "cannot read %s/global/pg_control", pgdata);
        goto out;
    }
    version = u32_at(control, VERSION_AT);
    state = u32_at(control, STATE_AT);
    if (version < KNOWN_FROM || version > KNOWN_TO) {
        code = fail(ERR_LOCAL, "%s/global/pg_control has version %u, which is not known", pgdata,
                    version);
        goto out;
    }
    *ret_start = (struct control_start){
        .opens_writable = faccessat(dir, "standby.signal", F_OK, 0) < 0,
        .ran_writable = (state == DB_SHUTDOWNED || state == DB_SHUTDOWNING ||
                         state == DB_IN_CRASH_RECOVERY || state == DB_IN_PRODUCTION) &&
                        faccessat(dir, "backup_label", F_OK, 0) < 0,
        .timeline = u32_at(control, TIMELINE_AT),
        .checkpoint = position_at(control, CHECKPOINT_AT, TIMELINE_AT),
        .recovery_end = position_at(control, RECOVERY_END_AT, RECOVERY_END_TIMELINE_AT)};
    if (ret_start->recovery_end.timeline > ret_start->timeline)
        ret_start->timeline = ret_start->recovery_end.timeline;
out:
    durable_close(fd);
    durable_close(dir);
    return code;
}

int
control_file_identity(const char *pgdata, struct identity *ret_identity)
{
    struct identity i = {0};
    char version[16];
    int dir, fd, code = 0;

    if (durable_dir(pgdata, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the data directory %s", pgdata);
    if (durable_open(dir, "global/pg_control", DURABLE_READ, &fd) < 0) {
        code = fail_sys(ERR_LOCAL, "cannot open %s/global/pg_control", pgdata);
        durable_close(dir);
        return code;
    }
    /* ControlFileData begins with the system identifier, in this machine's byte order */
    if (durable_read(fd, &i.system_identifier, sizeof i.system_identifier, 0) !=
        (ssize_t)sizeof i.system_identifier)
        code = fail(ERR_LOCAL, "%s/global/pg_control is too short", pgdata);
    if (code == 0 && durable_load(dir, "PG_VERSION", version, sizeof version) < 0)
        code = fail_sys(ERR_LOCAL, "cannot read %s/PG_VERSION", pgdata);
    durable_close(fd);
    durable_close(dir);
    if (code < 0)
        return code;
    i.postgres_major = (uint16_t)strtoul(version, NULL, 10);
    *ret_identity = i;
    return 0;
}
