/* SPDX-License-Identifier: PostgreSQL */
/*
 * key: the keys of the pool's file, a table for [pool] and one for [member NAME]. A take_* function
 * checks one value and puts it into its field, or fails with what is wrong with the value.
 */
#include "config/parse.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/replication/relay.h"

#include <arpa/inet.h>
#include <assert.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS  "0123456789"
#define LOWER   "abcdefghijklmnopqrstuvwxyz"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define SOCKET_BYTES_MAX 107u

static bool
consists_of(const char *s, size_t length, const char *set)
{
    return length > 0 && strspn(s, set) >= length;
}

bool
key_is_name(const char *s)
{
    size_t length = strlen(s);

    return length < MEMBER_NAME_SIZE && strchr(LOWER, s[0]) != NULL &&
           consists_of(s, length, LOWER DIGITS "-");
}

static int
take_name(const char *value, void *out, size_t size)
{
    if (!key_is_name(value))
        return fail(ERR_USAGE, "'%s' is no name", value);
    snprintf(out, size, "%s", value);
    return 0;
}

/* Plain characters only: the name stands in queries and conninfos unquoted. */
static int
take_identifier(const char *value, const char *what, void *out, size_t size)
{
    if (!consists_of(value, strlen(value), LOWER DIGITS "_") || strlen(value) >= size)
        return fail(ERR_USAGE, "'%s' is no %s", value, what);
    snprintf(out, size, "%s", value);
    return 0;
}

static int
take_role(const char *value, void *out, size_t size)
{
    return take_identifier(value, "role", out, size);
}

static int
take_database(const char *value, void *out, size_t size)
{
    return take_identifier(value, "database with a plain name", out, size);
}

static const char *const synchronous_names[] = {[SYNCHRONOUS_OFF] = "off",
                                                [SYNCHRONOUS_MIRROR] = "mirror",
                                                [SYNCHRONOUS_SITE] = "site",
                                                [SYNCHRONOUS_ANY] = "any",
                                                [SYNCHRONOUS_ALL] = "all"};

const char *
synchronous_name(enum synchronous mode)
{
    return synchronous_names[mode];
}

static int
take_synchronous(const char *value, void *out, size_t size)
{
    const char *name = strcmp(value, "on") == 0 ? "site" : value;
    enum synchronous mode = SYNCHRONOUS_OFF;

    assert(size == sizeof mode);
    while (strcmp(name, synchronous_names[mode]) != 0)
        if (mode++ == SYNCHRONOUS_ALL)
            return fail(ERR_USAGE, "'%s' is nobody that commits can wait for", value);
    memcpy(out, &mode, size);
    return 0;
}

static int
take_synchronous_loss(const char *value, void *out, size_t size)
{
    bool degrades = strcmp(value, "degrade") == 0;

    if (!degrades && strcmp(value, "wait") != 0)
        return fail(ERR_USAGE, "'%s' is neither degrade nor wait", value);
    memcpy(out, &degrades, size);
    return 0;
}

static int
take_wait(const char *value, void *out, size_t size)
{
    (void)size;
    return text_take_duration(value, 600 * SECOND_US, out);
}

/* What confirms is looked at once a second. */
static int
take_synchronous_wait(const char *value, void *out, size_t size)
{
    int64_t wait_us = 0;
    int code = take_wait(value, &wait_us, sizeof wait_us);

    assert(size == sizeof wait_us);
    if (code == 0 && wait_us < 2 * SECOND_US)
        return fail(ERR_USAGE, "'%s' is too short", value);
    if (code == 0)
        memcpy(out, &wait_us, size);
    return code;
}

static int
take_keep(const char *value, void *out, size_t size)
{
    (void)size;
    return text_take_duration(value, 365 * 86400 * SECOND_US, out);
}

/* Units of 1024, as PostgreSQL's. */
static int
take_size(const char *value, void *out, size_t size)
{
    static const char *const units[] = {"MB", "GB", "TB"};
    size_t digits = strspn(value, DIGITS), i = 0;
    uint64_t number, max = UINT64_C(1000) << 40;

    while (i < sizeof units / sizeof *units && strcmp(value + digits, units[i]) != 0)
        i++;
    if (digits == 0 || i == sizeof units / sizeof *units)
        return fail(ERR_USAGE, "'%s' is no size", value);
    number = digits <= 9 ? strtoull(value, NULL, 10) : max;
    if (number == 0 || number > max >> (20 + 10 * i))
        return fail(ERR_USAGE, "'%s' is too %s", value, number == 0 ? "small" : "large");
    number <<= 20 + 10 * i;
    memcpy(out, &number, size);
    return 0;
}

/* A percentage, or "10%, 16GB": the smaller one of both. */
static int
take_reserve(const char *value, void *out, size_t size)
{
    size_t digits = strspn(value, DIGITS);
    const char *behind = value + digits;
    struct reserve r = {.percent = 100, .bytes_max = UINT64_MAX};

    assert(size == sizeof r);
    if (digits == 1 || digits == 2)
        r.percent = (unsigned)strtoul(value, NULL, 10);
    if (*behind++ != '%' || r.percent > 50)
        return fail(ERR_USAGE, "'%s' is no percentage up to 50%%", value);
    if (*behind == ',') {
        behind += 1 + strspn(behind + 1, " \t");
        if (take_size(behind, &r.bytes_max, sizeof r.bytes_max) < 0)
            return ERR_USAGE;
    } else if (*behind != '\0') {
        return fail(ERR_USAGE, "'%s' has something behind its percentage", value);
    }
    memcpy(out, &r, size);
    return 0;
}

static int
take_on_full(const char *value, void *out, size_t size)
{
    bool hold = strcmp(value, "hold") == 0;

    if (!hold && strcmp(value, "release") != 0)
        return fail(ERR_USAGE, "'%s' is neither release nor hold", value);
    memcpy(out, &hold, size);
    return 0;
}

/* One spelling for each path: equal directories are equal strings. */
static int
take_path(const char *value, void *out, size_t size)
{
    size_t length = strlen(value);

    if (value[0] != '/' || length == 1)
        return fail(ERR_USAGE, "'%s' is no absolute path", value);
    if (length >= size)
        return fail(ERR_USAGE, "'%s' is too long: %zu bytes", value, length);
    if (!consists_of(value, length, LETTERS DIGITS "/._-+@:,=~%"))
        return fail(ERR_USAGE, "'%s' has a space, a quote or another special character", value);
    for (const char *part = value; part != NULL; part = strchr(part + 1, '/')) {
        size_t part_length = strcspn(part + 1, "/");

        if (part_length == 0 || (part_length <= 2 && consists_of(part + 1, part_length, ".")))
            return fail(ERR_USAGE, "'%s' has '//', '/.', '/..' or a '/' at its end", value);
    }
    snprintf(out, size, "%s", value);
    return 0;
}

static int
take_command(const char *value, void *out, size_t size)
{
    if (strlen(value) >= size)
        return fail(ERR_USAGE, "too long: %zu bytes", strlen(value));
    snprintf(out, size, "%s", value);
    return 0;
}

static bool
is_port(const char *s)
{
    size_t length = strlen(s);

    return length <= 5 && consists_of(s, length, DIGITS) && atoi(s) >= 1 && atoi(s) <= 65535;
}

bool
key_is_numeric(const char *host)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. NULL, or what is wrong with it. */
static const char *
take_place(const char *place, struct lane_target *t)
{
    bool bracket = place[0] == '[';
    const char *host = bracket ? place + 1 : place,
               *end = host + strcspn(host, bracket ? "]" : ":");
    const char *behind = bracket && *end != '\0' ? end + 1 : end;
    size_t length = (size_t)(end - host);

    if (!bracket && *end != '\0' && strchr(end + 1, ':') != NULL)
        return "has an IPv6 address without brackets";
    if (length >= sizeof t->host || host[0] == '-')
        return "has no such host";
    snprintf(t->host, sizeof t->host, "%.*s", (int)length, host);
    if (bracket ? *end != ']' || strchr(t->host, ':') == NULL || !key_is_numeric(t->host)
                : !consists_of(host, length, LETTERS DIGITS ".-_"))
        return bracket ? "has no IPv6 address in its brackets" : "has no host behind the @";
    if (behind[0] == '\0')
        snprintf(t->port, sizeof t->port, "22");
    else if (behind[0] == ':' && is_port(behind + 1))
        snprintf(t->port, sizeof t->port, "%s", behind + 1);
    else
        return "has no port from 1 to 65535 behind the host";
    return NULL;
}

static int
take_ssh(const char *value, void *out, size_t size)
{
    struct lane_target *t = out;
    size_t user = strcspn(value, "@");
    const char *wrong;

    (void)size;
    if (value[user] == '\0' || user >= sizeof t->user || value[0] == '-' ||
        !consists_of(value, user, LETTERS DIGITS "._-"))
        return fail(ERR_USAGE, "'%s' has no user before an @", value);
    wrong = take_place(value + user + 1, t);
    if (wrong != NULL)
        return fail(ERR_USAGE, "'%s' %s", value, wrong);
    snprintf(t->user, sizeof t->user, "%.*s", (int)user, value);
    return 0;
}

/* 127.0.0.1:9788 or [::1]:9788; no name, which would have to be resolved. */
static int
take_http(const char *value, void *out, size_t size)
{
    struct http_place *place = out;
    struct lane_target t = {0};

    (void)size;
    if (take_place(value, &t) != NULL || !key_is_numeric(t.host) ||
        strlen(t.host) >= sizeof place->host || value[strlen(value) - 1] == ']' ||
        strchr(value, ':') == NULL)
        return fail(ERR_USAGE, "'%s' is no numeric address with a port", value);
    snprintf(place->host, sizeof place->host, "%s", t.host);
    snprintf(place->port, sizeof place->port, "%s", t.port);
    return 0;
}

/* Names of hosts, with commas or spaces between. */
static int
take_http_names(const char *value, void *out, size_t size)
{
    if (!consists_of(value, strlen(value), LETTERS DIGITS "._-, ") || strlen(value) >= size)
        return fail(ERR_USAGE, "'%s' is no list of names, or too long", value);
    snprintf(out, size, "%s", value);
    return 0;
}

static int
take_host_key(const char *value, void *out, size_t size)
{
    static const char kind[] = "SHA256:";
    const char *hash = value + strlen(kind);

    if (strncmp(value, kind, strlen(kind)) != 0 || strlen(hash) != 43 ||
        !consists_of(hash, 43, LETTERS DIGITS "+/"))
        return fail(ERR_USAGE, "'%s' is no SHA256 fingerprint", value);
    snprintf(out, size, "%s", value);
    return 0;
}

/* The settings that a conninfo may have, in the order in which they are written out again. */
enum setting {
    SETTING_HOST,
    SETTING_PORT,
    SETTING_USER,
    SETTING_DBNAME,
    SETTING_PASSFILE,
    SETTINGS
};
static const char *const setting_names[SETTINGS] = {"host", "port", "user", "dbname", "passfile"};

static int
check_settings(const char *const value[SETTINGS])
{
    const char *host = value[SETTING_HOST], *port = value[SETTING_PORT];
    char path[256];

    if (host == NULL)
        return fail(ERR_USAGE, "host= is missing");
    if (port != NULL && !is_port(port))
        return fail(ERR_USAGE, "port=%s is no port from 1 to 65535", port);
    if (host[0] != '/')
        return key_is_numeric(host)
                   ? 0
                   : fail(ERR_USAGE, "host=%s is neither a directory nor numeric", host);
    if (take_path(host, path, sizeof path) < 0)
        return fail_in(ERR_USAGE, "host");
    if (strlen(host) + strlen("/.s.PGSQL.") + strlen(port != NULL ? port : "5432") >
        SOCKET_BYTES_MAX)
        return fail(ERR_USAGE, "host=%s makes a socket path over %u bytes", host, SOCKET_BYTES_MAX);
    return 0;
}

/* Append name='value', quoted as in conninfo strings. False: there is no room. */
static bool
put_setting(char *out, size_t size, const char *name, const char *value)
{
    size_t used = strlen(out), room = size - used;
    size_t at = (size_t)snprintf(out + used, room, "%s%s='", used > 0 ? " " : "", name);

    for (; *value != '\0' && at + 4 < room; value++) {
        if (*value == '\'' || *value == '\\')
            out[used + at++] = '\\';
        out[used + at++] = *value;
    }
    if (*value != '\0' || at + 2 > room)
        return false;
    memcpy(out + used + at, "'", 2);
    return true;
}

/* No message shows a value: a conninfo may hold a password. */
static int
take_settings(const PQconninfoOption *parsed, char *out, size_t size)
{
    const char *value[SETTINGS] = {[SETTING_DBNAME] = "postgres"};
    char text[512] = "";

    for (const PQconninfoOption *o = parsed; o->keyword != NULL; o++) {
        size_t i = 0;

        if (o->val == NULL)
            continue;
        while (i < SETTINGS && strcmp(o->keyword, setting_names[i]) != 0)
            i++;
        if (i == SETTINGS)
            return fail(ERR_USAGE, "%s= is not for this place", o->keyword);
        value[i] = o->val;
    }
    if (check_settings(value) < 0)
        return ERR_USAGE;
    for (size_t i = 0; i < SETTINGS; i++)
        if (value[i] != NULL && !put_setting(text, size, setting_names[i], value[i]))
            return fail(ERR_USAGE, "too long: over %zu bytes", size - 1);
    snprintf(out, size, "%s", text);
    return 0;
}

static int
take_postgres(const char *value, void *out, size_t size)
{
    PQconninfoOption *parsed = PQconninfoParse(value, NULL);
    int code;

    if (parsed == NULL)
        return fail(ERR_USAGE, "no conninfo string");
    code = take_settings(parsed, out, size);
    PQconninfoFree(parsed);
    return code;
}

static int
take_lanes(const char *value, void *out, size_t size)
{
    unsigned lanes = 0;

    assert(size == sizeof lanes);
    if (strcmp(value, "auto") != 0) {
        if (value[0] < '1' || value[0] > '0' + WINDOW_LANES || value[1] != '\0')
            return fail(ERR_USAGE, "no number of lanes");
        lanes = (unsigned)(value[0] - '0');
    }
    memcpy(out, &lanes, size);
    return 0;
}

static int
take_compression(const char *value, void *out, size_t size)
{
    int level = COMPRESSION_AUTO;

    assert(size == sizeof level);
    if (strcmp(value, "none") == 0) {
        level = CODEC_NONE;
    } else if (strcmp(value, "auto") != 0) {
        char *end = NULL;
        long number = strncmp(value, "zstd:", 5) == 0 ? strtol(value + 5, &end, 10) : 0;

        if (number < 1 || number > 19 || *end != '\0')
            return fail(ERR_USAGE, "no compression");
        level = (int)number;
    }
    memcpy(out, &level, size);
    return 0;
}

static int
take_rate(const char *value, void *out, size_t size)
{
    struct rate_plan plan;
    int code = rate_parse(&plan, value);

    assert(size == sizeof plan);
    if (code == 0)
        memcpy(out, &plan, size);
    return code;
}

static int
take_nice(const char *value, void *out, size_t size)
{
    char *end;
    long number = strtol(value, &end, 10);
    int nice = (int)number;

    assert(size == sizeof nice);
    if (end == value || *end != '\0' || number < 0 || number > 19)
        return fail(ERR_USAGE, "no nice value");
    memcpy(out, &nice, size);
    return 0;
}

static int
take_guests(const char *value, void *out, size_t size)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    unsigned guests = (unsigned)number;

    assert(size == sizeof guests);
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || number > RELAY_GUESTS_MAX)
        return fail(ERR_USAGE, "no number of guests");
    memcpy(out, &guests, size);
    return 0;
}

/* As taskset and cpuset write processors: 0-1,3 */
static int
take_cpus(const char *value, void *out, size_t size)
{
    const char *at = value;
    cpu_set_t cpus;

    assert(size == sizeof cpus);
    CPU_ZERO(&cpus);
    for (;;) {
        char *end;
        long from = strtol(at, &end, 10), to = from;

        if (end == at)
            return fail(ERR_USAGE, "no list of processors");
        at = end;
        if (*at == '-') {
            to = strtol(at + 1, &end, 10);
            if (end == at + 1)
                return fail(ERR_USAGE, "no list of processors");
            at = end;
        }
        if (from < 0 || to < from || to >= CPU_SETSIZE)
            return fail(ERR_USAGE, "no list of processors");
        for (long i = from; i <= to; i++)
            CPU_SET((size_t)i, &cpus);
        if (*at == '\0')
            break;
        if (*at++ != ',')
            return fail(ERR_USAGE, "no list of processors");
    }
    memcpy(out, &cpus, size);
    return 0;
}

#define IN(type, field) offsetof(struct type, field), sizeof(((struct type *)NULL)->field)

#define PATH_ALLOWED "an absolute path of plain characters, at most 255 bytes"
#define WAIT_ALLOWED "0s to 10min, as in 30s, 2min"
#define KEEP_ALLOWED "0s to 365d, as in 10min, 1h, 2d"
#define SIZE_ALLOWED "1MB to 1000TB, as in 500MB, 4GB"

const struct key pool_keys[POOL_KEYS] = {
    [POOL_NAME] = {"name", true, take_name, IN(config, name), NAME_ALLOWED},
    [POOL_HOME] = {"home", true, take_name, IN(config, home), "the site of a member"},
    [POOL_SYNCHRONOUS] = {"synchronous", false, take_synchronous, IN(config, synchronous),
                          "off, mirror, site (on is the same), any, all"},
    [POOL_SYNCHRONOUS_LOSS] = {"synchronous_loss", false, take_synchronous_loss,
                               IN(config, synchronous_degrades), "degrade, wait"},
    [POOL_SYNCHRONOUS_WAIT] = {"synchronous_wait", false, take_synchronous_wait,
                               IN(config, synchronous_wait_us), "2s to 10min, as in 5s"},
    [POOL_SHUTDOWN_WAIT] = {"shutdown_wait", false, take_wait, IN(config, shutdown_wait_us),
                            WAIT_ALLOWED},
    [POOL_LANES] = {"lanes", false, take_lanes, IN(config, shipping.lanes), "auto, or 1 to 8"},
    [POOL_COMPRESSION] = {"compression", false, take_compression, IN(config, shipping.compression),
                          "auto, none, or zstd:1 to zstd:19"},
    [POOL_RATE_LIMIT] =
        {"rate_limit", false, take_rate, IN(config, shipping.rate_limit),
         "none, or bytes per second as in 20MB, with other ones at some hours as in "
         "20MB, 2MB 08:00-18:00"},
    [POOL_EXPOSURE_WARNING] = {"exposure_warning", false, take_wait,
                               IN(config, exposure_warning_us), WAIT_ALLOWED},
    [POOL_EXPOSURE_CRITICAL] = {"exposure_critical", false, take_wait,
                                IN(config, exposure_critical_us), WAIT_ALLOWED},
    [POOL_APPLY_WARNING] = {"apply_warning", false, take_wait, IN(config, apply_warning_us),
                            WAIT_ALLOWED},
    [POOL_APPLY_CRITICAL] = {"apply_critical", false, take_wait, IN(config, apply_critical_us),
                             WAIT_ALLOWED},
    [POOL_SHIP_WARNING] = {"ship_warning", false, take_wait, IN(config, ship_warning_us),
                           WAIT_ALLOWED},
    [POOL_SHIP_CRITICAL] = {"ship_critical", false, take_wait, IN(config, ship_critical_us),
                            WAIT_ALLOWED},
    [POOL_SLOT_WARNING] = {"slot_warning", false, take_size, IN(config, slot_warning_bytes),
                           SIZE_ALLOWED},
    [POOL_SLOT_CRITICAL] = {"slot_critical", false, take_size, IN(config, slot_critical_bytes),
                            SIZE_ALLOWED},
    [POOL_DISK_WARNING] = {"disk_warning", false, take_keep, IN(config, disk_warning_us),
                           KEEP_ALLOWED},
    [POOL_DISK_CRITICAL] = {"disk_critical", false, take_keep, IN(config, disk_critical_us),
                            KEEP_ALLOWED},
    [POOL_FETCH_LIMIT] = {"fetch_limit", false, take_size, IN(config, fetch_limit_bytes),
                          SIZE_ALLOWED},
    [POOL_EVENT_COMMAND] = {"event_command", false, take_path, IN(config, event_command),
                            PATH_ALLOWED},
    [POOL_SLOT_RETAIN_MAX] = {"slot_retain_max", false, take_size,
                              IN(config, slot_retain_max_bytes), SIZE_ALLOWED},
    [POOL_OUTBOX_MAX] = {"outbox_max", false, take_size, IN(config, outbox_max_bytes),
                         SIZE_ALLOWED},
    [POOL_DOWNSTREAM_MAX] = {"downstream_max", false, take_size, IN(config, downstream_max_bytes),
                             SIZE_ALLOWED},
    [POOL_PG_WAL_RESERVE] = {"pg_wal_reserve", false, take_reserve, IN(config, pg_wal_reserve),
                             "0% to 50%, or the smaller one of that and a size, as in 10%, 16GB"},
    [POOL_ON_FULL] = {"on_full", false, take_on_full, IN(config, on_full_hold), "release, hold"},
    [POOL_FEEDBACK_KEEP] = {"feedback_keep", false, take_keep, IN(config, feedback_keep_us),
                            KEEP_ALLOWED},
    [POOL_RELAY_GUESTS] = {"relay_guests", false, take_guests, IN(config, relay_guests), "0 to 32"},
    [POOL_TUNNEL_USER] = {"tunnel_user", false, take_role, IN(config, tunnel_user),
                          "small letters, digits and '_', at most 63, as in walferry_tunnel"},
    [POOL_SLOT_SYNC_USER] = {"slot_sync_user", false, take_role, IN(config, slot_sync_user),
                             "small letters, digits and '_', at most 63, as in walferry_sync"},
    [POOL_SLOT_SYNC_DATABASE] = {"slot_sync_database", false, take_database,
                                 IN(config, slot_sync_database),
                                 "small letters, digits and '_', at most 63, as in postgres"},
};

const struct key member_keys[MEMBER_KEYS] = {
    [MEMBER_SITE] = {"site", true, take_name, IN(member, site), NAME_ALLOWED},
    [MEMBER_SSH] = {"ssh", true, take_ssh, IN(member, target),
                    "user@host or user@host:port, an IPv6 address in brackets"},
    [MEMBER_HOST_KEY] = {"host_key", false, take_host_key, IN(member, target.host_key),
                         "SHA256: and 43 characters, as ssh-keygen -lf shows them"},
    [MEMBER_KNOWN_HOSTS] = {"known_hosts", false, take_path, IN(member, target.known_hosts),
                            PATH_ALLOWED},
    [MEMBER_IDENTITY] = {"identity", true, take_path, IN(member, identity), PATH_ALLOWED},
    [MEMBER_TUNNEL_IDENTITY] = {"tunnel_identity", false, take_path, IN(member, tunnel_identity),
                                PATH_ALLOWED},
    [MEMBER_POSTGRES] =
        {"postgres", true, take_postgres, IN(member, postgres),
         "host=SOCKET_DIRECTORY or host=NUMERIC_ADDRESS, and port=, user=, dbname=, "
         "passfile=, at most 255 bytes"},
    [MEMBER_PGDATA] = {"pgdata", true, take_path, IN(member, pgdata), PATH_ALLOWED},
    [MEMBER_BINDIR] = {"bindir", true, take_path, IN(member, bindir), PATH_ALLOWED},
    [MEMBER_START] = {"start", false, take_command, IN(member, start), "a command"},
    [MEMBER_STOP] = {"stop", false, take_command, IN(member, stop), "a command"},
    [MEMBER_SPOOL] = {"spool", true, take_path, IN(member, spool), PATH_ALLOWED},
    [MEMBER_OUTBOX] = {"outbox", false, take_path, IN(member, outbox), PATH_ALLOWED},
    [MEMBER_RUN] = {"run", true, take_path, IN(member, run),
                    "an absolute path of plain characters, at most 63 bytes: sockets are in it"},
    [MEMBER_NICE] = {"nice", false, take_nice, IN(member, nice), "0 to 19"},
    [MEMBER_CPUS] = {"cpus", false, take_cpus, IN(member, cpus), "processors, as in 0-1,3"},
    [MEMBER_KEEP] = {"keep", false, take_keep, IN(member, keep_us),
                     "0s to 365d, as in 90s, 10min, 1h, 2d"},
    [MEMBER_FETCH_COMMAND] = {"fetch_command", false, take_command, IN(member, fetch_command),
                              "a shell command with %f and %p, as a restore_command"},
    [MEMBER_ESCROW_KEEP] = {"escrow_keep", false, take_keep, IN(member, escrow_keep_us),
                            "0s to 365d, as in 1h, 30d"},
    [MEMBER_SITE_FILES] = {"site_files", false, take_path, IN(member, site_files), PATH_ALLOWED},
    [MEMBER_HTTP_NAMES] = {"http_names", false, take_http_names, IN(member, http_names),
                           "names of hosts, as in db1.example.org, status"},
    [MEMBER_HTTP] = {"http", false, take_http, IN(member, http),
                     "a numeric address and a port, as in 127.0.0.1:9788"},
};

int
config_set(struct link_settings *s, const char *name, const char *value)
{
    static const enum pool_key settable[] = {POOL_LANES, POOL_COMPRESSION, POOL_RATE_LIMIT};

    for (size_t i = 0; i < sizeof settable / sizeof *settable; i++) {
        const struct key *key = &pool_keys[settable[i]];
        size_t offset = key->offset - offsetof(struct config, shipping);

        if (strcmp(name, key->name) != 0)
            continue;
        if (key->take(value, (char *)s + offset, key->size) < 0)
            return fail(ERR_USAGE, "%s = %s: allowed is %s", name, value, key->allowed);
        return 0;
    }
    return fail(ERR_USAGE, "%s cannot be set at run time; lanes, compression and rate_limit can",
                name);
}
