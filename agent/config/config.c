/*
 * config: the pool's INI file. In comes text, out comes a struct config that is right as a whole,
 * or every reason why not.
 *
 * inih splits keys from values and strips comments; read_line, which feeds it, counts the lines,
 * notes the sections (inih is silent about empty ones) and refuses every line that inih would
 * mangle. A table of keys checks the values one by one; check_whole what only shows when all is
 * read: missing keys, two members in one directory, a home without members. config_check_local
 * looks at this host's files, last, when it is known which member this is.
 */
#include "config/config.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/text.h"
#include "shipper/replication/relay.h"

#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <ifaddrs.h>
#include <ini.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define DIGITS  "0123456789"
#define LOWER   "abcdefghijklmnopqrstuvwxyz"
#define LETTERS LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define SOCKET_BYTES_MAX 107u
#define SHOWN_SIZE       64

/* Where errors go, and the section they are in. */
struct complaints {
    const char *file;
    FILE *out;
    int count;
    char section[SHOWN_SIZE]; /* "[member dc1-a]"; "" before the first */
};

static void complain(struct complaints *to, int line, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
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

static void
name_section(struct complaints *to, const struct member *m)
{
    if (m == NULL)
        snprintf(to->section, sizeof to->section, "[pool]");
    else
        snprintf(to->section, sizeof to->section, "[member %s]", m->name);
}

/* ---- values: each take_* puts one into `out`, or fails with what is wrong with it ---- */

static bool
consists_of(const char *s, size_t length, const char *set)
{
    return length > 0 && strspn(s, set) >= length;
}

static bool
is_name(const char *s)
{
    size_t length = strlen(s);

    return length < MEMBER_NAME_SIZE && strchr(LOWER, s[0]) != NULL &&
           consists_of(s, length, LOWER DIGITS "-");
}

static int
take_name(const char *value, void *out, size_t size)
{
    if (!is_name(value))
        return fail(ERR_USAGE, "'%s' is no name", value);
    snprintf(out, size, "%s", value);
    return 0;
}

/* Plain characters only: a role's name stands in queries and conninfos unquoted. */
static int
take_role(const char *value, void *out, size_t size)
{
    if (!consists_of(value, strlen(value), LOWER DIGITS "_") || strlen(value) >= size)
        return fail(ERR_USAGE, "'%s' is no role", value);
    snprintf(out, size, "%s", value);
    return 0;
}

static int
take_switch(const char *value, void *out, size_t size)
{
    bool on = strcmp(value, "on") == 0;

    if (!on && strcmp(value, "off") != 0)
        return fail(ERR_USAGE, "'%s' is neither on nor off", value);
    memcpy(out, &on, size);
    return 0;
}

static int
take_wait(const char *value, void *out, size_t size)
{
    (void)size;
    return text_take_duration(value, 600 * SECOND_US, out);
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

/* Written in one way only, so that equal directories are equal strings. */
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

static bool
is_numeric(const char *host)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* HOST, HOST:PORT, [IPV6] or [IPV6]:PORT; NULL, or what is wrong. */
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
    if (bracket ? *end != ']' || strchr(t->host, ':') == NULL || !is_numeric(t->host)
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

/* 127.0.0.1:9788 or [::1]:9788: a name would have to be resolved. */
static int
take_http(const char *value, void *out, size_t size)
{
    struct http_place *place = out;
    struct lane_target t = {0};

    (void)size;
    if (take_place(value, &t) != NULL || !is_numeric(t.host) ||
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

/* The settings of a conninfo that are ours to know, in the order they are written out again. */
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
        return is_numeric(host)
                   ? 0
                   : fail(ERR_USAGE, "host=%s is neither a directory nor numeric", host);
    if (take_path(host, path, sizeof path) < 0)
        return fail_in(ERR_USAGE, "host");
    if (strlen(host) + strlen("/.s.PGSQL.") + strlen(port != NULL ? port : "5432") >
        SOCKET_BYTES_MAX)
        return fail(ERR_USAGE, "host=%s makes a socket path over %u bytes", host, SOCKET_BYTES_MAX);
    return 0;
}

/* name='value', with the quoting of conninfo strings; false when there is no room. */
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

/* A value is never shown here: there may be a password in it. */
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

#define IN(type, field) offsetof(struct type, field), sizeof(((struct type *)NULL)->field)

/* ---- how to ship: also `walferry set` ---- */

#define LANES_ALLOWED       "auto, or 1 to 8"
#define COMPRESSION_ALLOWED "auto, none, or zstd:1 to zstd:19"
#define RATE_ALLOWED                                                                               \
    "none, or bytes per second as in 20MB, with other ones at some hours as in 20MB, 2MB 08:00-18:00"

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

/* As taskset and cpuset have it: 0-1,3 */
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

int
config_set(struct link_settings *s, const char *key, const char *value)
{
    static const struct {
        const char *name;
        int (*take)(const char *value, void *out, size_t size);
        size_t offset, size;
        const char *allowed;
    } keys[] = {
        {"lanes", take_lanes, IN(link_settings, lanes), LANES_ALLOWED},
        {"compression", take_compression, IN(link_settings, compression), COMPRESSION_ALLOWED},
        {"rate_limit", take_rate, IN(link_settings, rate_limit), RATE_ALLOWED}};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i].name) != 0)
            continue;
        if (keys[i].take(value, (char *)s + keys[i].offset, keys[i].size) < 0)
            return fail(ERR_USAGE, "%s = %s: allowed is %s", key, value, keys[i].allowed);
        return 0;
    }
    return fail(ERR_USAGE, "%s cannot be set at run time; lanes, compression and rate_limit can",
                key);
}

/* ---- keys ---- */

struct key {
    const char *name;
    bool required;
    int (*take)(const char *value, void *out, size_t size);
    size_t offset, size;
    const char *allowed;
};

#define NAME_ALLOWED "small letters, digits and -, a letter first, at most 31"
#define PATH_ALLOWED "an absolute path of plain characters, at most 255 bytes"

enum pool_key {
    POOL_NAME,
    POOL_HOME,
    POOL_SYNCHRONOUS,
    POOL_SHUTDOWN_WAIT,
    POOL_LANES,
    POOL_COMPRESSION,
    POOL_RATE_LIMIT,
    POOL_EXPOSURE_WARNING,
    POOL_EXPOSURE_CRITICAL,
    POOL_APPLY_WARNING,
    POOL_APPLY_CRITICAL,
    POOL_SHIP_WARNING,
    POOL_SHIP_CRITICAL,
    POOL_SLOT_WARNING,
    POOL_SLOT_CRITICAL,
    POOL_DISK_WARNING,
    POOL_DISK_CRITICAL,
    POOL_FETCH_LIMIT,
    POOL_EVENT_COMMAND,
    POOL_SLOT_RETAIN_MAX,
    POOL_OUTBOX_MAX,
    POOL_PG_WAL_RESERVE,
    POOL_ON_FULL,
    POOL_FEEDBACK_KEEP,
    POOL_RELAY_GUESTS,
    POOL_TUNNEL_USER,
    POOL_KEYS
};

static const struct key pool_keys[POOL_KEYS] = {
    [POOL_NAME] = {"name", true, take_name, IN(config, name), NAME_ALLOWED},
    [POOL_HOME] = {"home", true, take_name, IN(config, home), "the site of a member"},
    [POOL_SYNCHRONOUS] = {"synchronous", false, take_switch, IN(config, synchronous), "on, off"},
    [POOL_SHUTDOWN_WAIT] = {"shutdown_wait", false, take_wait, IN(config, shutdown_wait_us),
                            "0s to 10min, as in 30s, 2min"},
    [POOL_LANES] = {"lanes", false, take_lanes, IN(config, shipping.lanes), LANES_ALLOWED},
    [POOL_COMPRESSION] = {"compression", false, take_compression, IN(config, shipping.compression),
                          COMPRESSION_ALLOWED},
    [POOL_RATE_LIMIT] = {"rate_limit", false, take_rate, IN(config, shipping.rate_limit),
                         RATE_ALLOWED},
    [POOL_EXPOSURE_WARNING] = {"exposure_warning", false, take_wait,
                               IN(config, exposure_warning_us), "0s to 10min, as in 30s, 2min"},
    [POOL_EXPOSURE_CRITICAL] = {"exposure_critical", false, take_wait,
                                IN(config, exposure_critical_us), "0s to 10min, as in 30s, 2min"},
    [POOL_APPLY_WARNING] = {"apply_warning", false, take_wait, IN(config, apply_warning_us),
                            "0s to 10min, as in 30s, 2min"},
    [POOL_APPLY_CRITICAL] = {"apply_critical", false, take_wait, IN(config, apply_critical_us),
                             "0s to 10min, as in 30s, 2min"},
    [POOL_SHIP_WARNING] = {"ship_warning", false, take_wait, IN(config, ship_warning_us),
                           "0s to 10min, as in 30s, 2min"},
    [POOL_SHIP_CRITICAL] = {"ship_critical", false, take_wait, IN(config, ship_critical_us),
                            "0s to 10min, as in 30s, 2min"},
    [POOL_SLOT_WARNING] = {"slot_warning", false, take_size, IN(config, slot_warning_bytes),
                           "1MB to 1000TB, as in 500MB, 4GB"},
    [POOL_SLOT_CRITICAL] = {"slot_critical", false, take_size, IN(config, slot_critical_bytes),
                            "1MB to 1000TB, as in 500MB, 4GB"},
    [POOL_DISK_WARNING] = {"disk_warning", false, take_keep, IN(config, disk_warning_us),
                           "0s to 365d, as in 10min, 1h, 2d"},
    [POOL_DISK_CRITICAL] = {"disk_critical", false, take_keep, IN(config, disk_critical_us),
                            "0s to 365d, as in 10min, 1h, 2d"},
    [POOL_FETCH_LIMIT] = {"fetch_limit", false, take_size, IN(config, fetch_limit_bytes),
                          "1MB to 1000TB, as in 500MB, 4GB"},
    [POOL_EVENT_COMMAND] = {"event_command", false, take_path, IN(config, event_command),
                            PATH_ALLOWED},
    [POOL_SLOT_RETAIN_MAX] = {"slot_retain_max", false, take_size,
                              IN(config, slot_retain_max_bytes), "1MB to 1000TB, as in 500MB, 4GB"},
    [POOL_OUTBOX_MAX] = {"outbox_max", false, take_size, IN(config, outbox_max_bytes),
                         "1MB to 1000TB, as in 500MB, 4GB"},
    [POOL_PG_WAL_RESERVE] = {"pg_wal_reserve", false, take_reserve, IN(config, pg_wal_reserve),
                             "0% to 50%, or the smaller one of that and a size, as in 10%, 16GB"},
    [POOL_ON_FULL] = {"on_full", false, take_on_full, IN(config, on_full_hold), "release, hold"},
    [POOL_FEEDBACK_KEEP] = {"feedback_keep", false, take_keep, IN(config, feedback_keep_us),
                            "0s to 365d, as in 10min, 1h, 2d"},
    [POOL_RELAY_GUESTS] = {"relay_guests", false, take_guests, IN(config, relay_guests), "0 to 32"},
    [POOL_TUNNEL_USER] = {"tunnel_user", false, take_role, IN(config, tunnel_user),
                          "small letters, digits and '_', at most 63, as in walferry_tunnel"},
};

enum member_key {
    MEMBER_SITE,
    MEMBER_SSH,
    MEMBER_HOST_KEY,
    MEMBER_KNOWN_HOSTS,
    MEMBER_IDENTITY,
    MEMBER_TUNNEL_IDENTITY,
    MEMBER_POSTGRES,
    MEMBER_PGDATA,
    MEMBER_BINDIR,
    MEMBER_START,
    MEMBER_STOP,
    MEMBER_SPOOL,
    MEMBER_OUTBOX,
    MEMBER_RUN,
    MEMBER_KEEP,
    MEMBER_FETCH_COMMAND,
    MEMBER_ESCROW_KEEP,
    MEMBER_SITE_FILES,
    MEMBER_HTTP,
    MEMBER_HTTP_NAMES,
    MEMBER_NICE,
    MEMBER_CPUS,
    MEMBER_KEYS,
};

static const struct key member_keys[MEMBER_KEYS] = {
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

/* ---- reading ---- */

struct parse {
    struct complaints to;
    struct config *c;
    const char *at, *end; /* the text that inih has not seen */
    int line;
    int pool_line;          /* 0: no [pool] yet */
    bool sections, refused; /* one was seen; one was refused */
    int pool_key_line[POOL_KEYS], member_key_line[MEMBERS_MAX][MEMBER_KEYS]; /* 0: not there */
    /* the section that is being read; keys is NULL in one that was refused */
    const struct key *keys;
    size_t key_count;
    void *into;
    int *key_line;
};

static void
begin_pool(struct parse *p)
{
    if (p->pool_line != 0) {
        complain(&p->to, p->line, NULL, "stands twice, first on line %d; allowed: once",
                 p->pool_line);
        return;
    }
    p->pool_line = p->line;
    p->keys = pool_keys;
    p->key_count = POOL_KEYS;
    p->into = p->c;
    p->key_line = p->pool_key_line;
}

static void
begin_member(struct parse *p, const char *name)
{
    const struct member *before = config_member(p->c, name);
    struct member *m;

    if (!is_name(name)) {
        complain(&p->to, p->line, NULL, "no name of a member; allowed: " NAME_ALLOWED);
        return;
    }
    if (before != NULL) {
        complain(&p->to, p->line, NULL, "stands twice, first on line %d; allowed: once",
                 before->line);
        return;
    }
    if (p->c->members == MEMBERS_MAX) {
        complain(&p->to, p->line, NULL, "one member too many; allowed: %d", MEMBERS_MAX);
        return;
    }
    p->key_line = p->member_key_line[p->c->members];
    m = &p->c->member[p->c->members++];
    m->line = p->line;
    m->keep_us = 3600 * SECOND_US;
    m->escrow_keep_us = 30 * 86400 * SECOND_US;
    memcpy(m->name, name, strlen(name) + 1); /* is_name saw to its length */
    p->keys = member_keys;
    p->key_count = MEMBER_KEYS;
    p->into = m;
}

/* A line that begins with '['. It leaves p->keys NULL if it complained. */
static void
begin_section(struct parse *p, const char *line)
{
    size_t length = strcspn(line, "]"), word = strlen("[member");
    const char *behind = line[length] != '\0' ? line + length + 1 : line + length;
    char name[SHOWN_SIZE];

    behind += strspn(behind, " \t");
    if (line[length] == '\0' || (*behind != '\0' && *behind != ';')) {
        complain(&p->to, p->line, NULL,
                 "a section's line has ']' at its end, and perhaps a ';' comment");
        return;
    }
    text_escape(p->to.section, sizeof p->to.section, line, length + 1);
    if (strncmp(line, "[pool]", length + 1) == 0) {
        begin_pool(p);
    } else if (strncmp(line, "[member", word) == 0 && strspn(line + word, " \t") > 0) {
        word += strspn(line + word, " \t");
        snprintf(name, sizeof name, "%.*s", (int)(length - word), line + word);
        begin_member(p, name);
    } else {
        complain(&p->to, p->line, NULL, "unknown section; allowed: [pool], [member NAME]");
    }
}

/* What makes a line one that inih would take for something else; NULL: it is as it seems. */
static const char *
line_fault(const char *line, size_t length)
{
    size_t blank = strspn(line, " \t");

    if (strlen(line) != length)
        return "a 0 byte; allowed: text";
    for (size_t i = 0; i < length; i++)
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == '\177')
            return "a control character; allowed: text";
    if (blank == length || line[blank] == ';' || line[blank] == '#')
        return NULL;
    if (blank > 0)
        return "the line begins with a space; allowed: every key and section at the line's start";
    if (line[0] != '[' && line[strcspn(line, "=:;")] != '=')
        return "not understood; allowed: [section], key = value, ; comment";
    return NULL;
}

static bool
accept_line(struct parse *p, const char *line, size_t length)
{
    const char *fault = line_fault(line, length);
    bool section = line[strspn(line, " \t")] == '[';

    if (section) {
        p->sections = true;
        p->keys = NULL;
        p->to.section[0] = '\0';
    }
    if (fault != NULL)
        complain(&p->to, p->line, NULL, "%s", fault);
    else if (section)
        begin_section(p, line);
    if (section && p->keys == NULL)
        p->refused = true;
    return fault == NULL && !(section && p->keys == NULL);
}

/* inih's reader, like fgets: a newline ends each line, or a newer inih takes a long one for cut and
 * the next for its rest. A refused line reaches inih as an empty one. */
static char *
read_line(char *out, int size, void *context)
{
    struct parse *p = context;
    size_t left = (size_t)(p->end - p->at), length;
    const char *newline;

    if (left == 0)
        return NULL;
    newline = memchr(p->at, '\n', left);
    length = newline != NULL ? (size_t)(newline - p->at) : left;
    p->line++;
    assert(size > CONFIG_LINE_MAX + 1);
    if (length > CONFIG_LINE_MAX) {
        complain(&p->to, p->line, NULL, "the line has %zu bytes; allowed: %d", length,
                 CONFIG_LINE_MAX);
        length = 0;
    }
    memcpy(out, p->at, length);
    if (length > 0 && out[length - 1] == '\r')
        length--;
    out[length] = '\0';
    if (!accept_line(p, out, length))
        length = 0;
    memcpy(out + length, "\n", 2);
    p->at = newline != NULL ? newline + 1 : p->end;
    return out;
}

static const char *
value_fault(const char *value)
{
    if (value[0] == '\0')
        return "no value";
    for (const char *s = value; *s != '\0'; s++)
        if ((unsigned char)*s >= 0x7f)
            return "a character outside ASCII";
    return strstr(value, " #") != NULL
               ? "' #' in the value (a comment behind a value begins with ' ;')"
               : NULL;
}

static void
unknown_key(struct parse *p, const char *name)
{
    char shown[SHOWN_SIZE], names[1024];
    size_t used = 0;

    for (size_t i = 0; i < p->key_count; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 p->keys[i].name);
    text_escape(shown, sizeof shown, name, strlen(name));
    complain(&p->to, p->line, shown, "unknown key; allowed: %s", names);
}

/* inih's handler. Always 1: what is wrong has been said here. */
static int
take_key(void *context, const char *section, const char *name, const char *value)
{
    struct parse *p = context;
    const struct key *key;
    const char *fault;
    size_t i = 0;

    (void)section; /* inih's is cut at 49 bytes; ours is not */
    if (p->keys == NULL) {
        if (!p->sections)
            complain(&p->to, p->line, NULL,
                     "a key before the first section; allowed: [pool] or [member NAME] first");
        return 1;
    }
    while (i < p->key_count && strcmp(p->keys[i].name, name) != 0)
        i++;
    if (i == p->key_count) {
        unknown_key(p, name);
        return 1;
    }
    key = &p->keys[i];
    fault = value_fault(value);
    if (p->key_line[i] != 0)
        complain(&p->to, p->line, key->name, "stands twice, first on line %d; allowed: once",
                 p->key_line[i]);
    else if (fault != NULL)
        complain(&p->to, p->line, key->name, "%s; allowed: %s", fault, key->allowed);
    else if (key->take(value, (char *)p->into + key->offset, key->size) < 0)
        complain(&p->to, p->line, key->name, "%s; allowed: %s", fail_message(), key->allowed);
    if (p->key_line[i] == 0)
        p->key_line[i] = p->line;
    return 1;
}

/* ---- the whole ---- */

static void
check_missing(struct parse *p, int line, const struct key *keys, size_t count, const int *key_line)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].required && key_line[i] == 0)
            complain(&p->to, line, keys[i].name, "missing; allowed: %s", keys[i].allowed);
}

static void
check_pin(struct parse *p, const struct member *m, const int *key_line)
{
    int host_key = key_line[MEMBER_HOST_KEY], known_hosts = key_line[MEMBER_KNOWN_HOSTS];

    if (host_key == 0 && known_hosts == 0)
        complain(&p->to, m->line, "host_key", "missing; allowed: one of host_key and known_hosts");
    else if (host_key != 0 && known_hosts != 0)
        complain(&p->to, known_hosts, "known_hosts",
                 "host_key is there, too; allowed: one of them");
}

/* The relay has a socket in `run` under PostgreSQL's name for its own. */
static void
check_run(struct parse *p, const struct member *m, const int *key_line)
{
    char host[128];

    snprintf(host, sizeof host, "host='%s'", m->run);
    if (m->run[0] != '\0' && strncmp(m->postgres, host, strlen(host)) == 0)
        complain(&p->to, key_line[MEMBER_RUN], "run",
                 "the socket directory of PostgreSQL; allowed: a directory for walferry alone");
}

static bool
same_host(const struct member *a, const struct member *b)
{
    return a == b ||
           (a->target.host[0] != '\0' && strcasecmp(a->target.host, b->target.host) == 0 &&
            strcmp(a->target.port, b->target.port) == 0);
}

static bool
is_inside(const char *path, const char *outer)
{
    size_t length = strlen(outer);

    return length > 0 && strncmp(path, outer, length) == 0 && path[length] == '/';
}

/* Two directories on one host: never the same one, and none in a pgdata, which a rejoin rewrites.
 */
static const char *
clash(const char *a, bool a_pgdata, const char *b, bool b_pgdata)
{
    if (a[0] == '\0' || b[0] == '\0')
        return NULL;
    if (strcmp(a, b) == 0)
        return "the same directory as";
    if (b_pgdata && is_inside(a, b))
        return "inside of";
    return a_pgdata && is_inside(b, a) ? "around" : NULL;
}

static void
check_directories(struct parse *p, size_t index, size_t other_index)
{
    static const enum member_key directories[] = {MEMBER_PGDATA, MEMBER_SPOOL, MEMBER_RUN,
                                                  MEMBER_OUTBOX};
    const size_t count = sizeof directories / sizeof *directories;
    const struct member *m = &p->c->member[index], *other = &p->c->member[other_index];

    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < (m == other ? i : count); j++) {
            const struct key *mine = &member_keys[directories[i]],
                             *theirs = &member_keys[directories[j]];
            const char *how = clash((const char *)m + mine->offset, i == 0,
                                    (const char *)other + theirs->offset, j == 0);

            if (how != NULL)
                complain(&p->to, p->member_key_line[index][directories[i]], mine->name,
                         "%s %s of member %s on the same host; allowed: a directory of its own",
                         how, theirs->name, other->name);
        }
}

/* Each member of a loopback pool its own; on hosts of their own the same one is usual. */
static void
check_http(struct parse *p, size_t index)
{
    const struct member *m = &p->c->member[index];

    for (size_t i = 0; i < index; i++) {
        const struct member *other = &p->c->member[i];

        if (m->http.host[0] != '\0' && strcasecmp(m->target.host, other->target.host) == 0 &&
            strcmp(m->http.host, other->http.host) == 0 &&
            strcmp(m->http.port, other->http.port) == 0)
            complain(&p->to, p->member_key_line[index][MEMBER_HTTP], "http",
                     "the address of member %s on the same host; allowed: one of its own",
                     other->name);
    }
}

static void
check_member(struct parse *p, size_t index)
{
    const struct member *m = &p->c->member[index];
    const int *key_line = p->member_key_line[index];

    name_section(&p->to, m);
    check_missing(p, m->line, member_keys, MEMBER_KEYS, key_line);
    check_pin(p, m, key_line);
    check_run(p, m, key_line);
    for (size_t i = 0; i <= index; i++)
        if (same_host(m, &p->c->member[i]))
            check_directories(p, index, i);
    check_http(p, index);
}

static void
check_sites(struct parse *p)
{
    const struct config *c = p->c;
    bool home = false, two = false;
    int line = p->pool_line > 0 ? p->pool_line : 1;

    if (p->refused)
        return; /* a member may be missing because of that */
    for (size_t i = 0; i < c->members; i++) {
        if (c->member[i].site[0] == '\0')
            return; /* already complained about */
        home = home || strcmp(c->member[i].site, c->home) == 0;
        two = two || strcmp(c->member[i].site, c->member[0].site) != 0;
    }
    if (c->members < 2)
        complain(&p->to, line, NULL, "members: %zu; allowed: 2 to %d sections [member NAME]",
                 c->members, MEMBERS_MAX);
    else if (!two)
        complain(&p->to, line, NULL, "all members are at %s; allowed: members at two sites or more",
                 c->member[0].site);
    if (c->members > 0 && c->home[0] != '\0' && !home)
        complain(&p->to, p->pool_key_line[POOL_HOME], "home",
                 "no member is at '%s'; allowed: the site of a member", c->home);
}

static void
check_whole(struct parse *p)
{
    name_section(&p->to, NULL);
    if (p->pool_line == 0)
        complain(&p->to, 1, NULL, "missing; allowed: once");
    else
        check_missing(p, p->pool_line, pool_keys, POOL_KEYS, p->pool_key_line);
    check_sites(p);
    for (size_t i = 0; i < p->c->members; i++)
        check_member(p, i);
}

uint64_t
config_digest(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a: it only has to notice a difference */

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return hash;
}

static int
verdict(const struct complaints *to)
{
    if (to->count == 0)
        return 0;
    return fail(ERR_USAGE, "%s: %d error%s, nothing is started", to->file, to->count,
                to->count == 1 ? "" : "s");
}

int
config_parse(struct config *c, const char *name, const char *text, size_t length, FILE *errors)
{
    static const char mark[] = "\xef\xbb\xbf"; /* some editors begin a file with it */
    size_t skip = length >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    struct parse p = {
        .to = {.file = name, .out = errors}, .c = c, .at = text + skip, .end = text + length};
    int line;

    *c = (struct config){.shutdown_wait_us = 30 * SECOND_US,
                         .shipping = {.compression = COMPRESSION_AUTO},
                         .exposure_warning_us = 10 * SECOND_US,
                         .exposure_critical_us = 60 * SECOND_US,
                         .apply_warning_us = 60 * SECOND_US,
                         .apply_critical_us = 600 * SECOND_US,
                         .ship_warning_us = 10 * SECOND_US,
                         .ship_critical_us = 60 * SECOND_US,
                         .slot_warning_bytes = UINT64_C(4) << 30,
                         .slot_critical_bytes = UINT64_C(16) << 30,
                         .fetch_limit_bytes = UINT64_C(16) << 30,
                         .disk_warning_us = 3600 * SECOND_US,
                         .disk_critical_us = 600 * SECOND_US,
                         .slot_retain_max_bytes = UINT64_C(8) << 30,
                         .outbox_max_bytes = UINT64_C(64) << 30,
                         .pg_wal_reserve = {10, UINT64_C(16) << 30},
                         .feedback_keep_us = 300 * SECOND_US,
                         .relay_guests = 8,
                         .tunnel_user = "walferry_tunnel",
                         .digest = config_digest(text, length)};
    snprintf(c->file, sizeof c->file, "%s", name);
    line = ini_parse_stream(read_line, &p, take_key, &p);
    if (line != 0)
        complain(&p.to, line > 0 ? line : 1, NULL,
                 "not understood; allowed: [section], key = value, ; comment");
    c->event_command_line = p.pool_key_line[POOL_EVENT_COMMAND];
    check_whole(&p);
    for (size_t i = 0; i < c->members; i++)
        if (p.member_key_line[i][MEMBER_OUTBOX] == 0)
            snprintf(c->member[i].outbox, sizeof c->member[i].outbox, "%s/outbox",
                     c->member[i].spool);
    return verdict(&p.to);
}

/* ---- the file ---- */

static bool
is_guarded(const struct stat *st)
{
    return S_ISREG(st->st_mode) && (st->st_mode & 022) == 0 &&
           (st->st_uid == 0 || st->st_uid == geteuid());
}

/* How many bytes it has, at most size - 1. */
static int
read_file(const char *file, char *text, size_t size, struct stat *ret_st)
{
    FILE *stream = fopen(file, "re");
    size_t length;
    bool failed;

    if (stream == NULL)
        return fail_sys(ERR_USAGE, "%s: cannot be read", file);
    length = fread(text, 1, size, stream);
    failed = ferror(stream) || fstat(fileno(stream), ret_st) < 0;
    if (failed)
        fail_sys(ERR_USAGE, "%s: cannot be read", file);
    fclose(stream);
    if (!failed && (length == size || strlen(file) >= sizeof((struct config *)NULL)->file))
        return fail(ERR_USAGE, "%s: too long; allowed: %zu bytes, and 255 in the name", file,
                    size - 1);
    return failed ? ERR_USAGE : (int)length;
}

int
config_load(struct config *c, const char *file, FILE *errors)
{
    char text[CONFIG_BYTES_MAX + 1];
    struct stat st;
    int length = read_file(file, text, sizeof text, &st), code;

    if (length < 0) {
        fprintf(errors, "%s\n", fail_message());
        return length;
    }
    code = config_parse(c, file, text, (size_t)length, errors);
    if (is_guarded(&st))
        return code;
    if (st.st_uid != 0 && st.st_uid != geteuid())
        fail(
            ERR_USAGE,
            "%s: belongs to user %u, who may write it; allowed: a file of root or of who runs this "
            "(user %u): run as its user, or chown root %s",
            file, (unsigned)st.st_uid, (unsigned)geteuid(), file);
    else if (!S_ISREG(st.st_mode))
        fail(ERR_USAGE, "%s: is no file", file);
    else
        fail(ERR_USAGE, "%s: others may write it (mode %04o); chmod go-w %s", file,
             (unsigned)st.st_mode & 07777, file);
    fprintf(errors, "%s\n", fail_message());
    return ERR_USAGE;
}

const struct member *
config_member(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->members; i++)
        if (strcmp(c->member[i].name, name) == 0)
            return &c->member[i];
    return NULL;
}

int
config_find(const char *option, char *out, size_t size)
{
    const char *named = option != NULL ? option : getenv("WALFERRY_CONFIG");
    glob_t found = {0};
    int code = 0;

    if (named == NULL) {
        glob("/etc/walferry/*.ini", 0, NULL, &found);
        if (found.gl_pathc == 0)
            code = fail(ERR_USAGE, "no config: there is no /etc/walferry/*.ini; give --config FILE "
                                   "or set WALFERRY_CONFIG");
        else if (found.gl_pathc > 1)
            code = fail(
                ERR_USAGE,
                "%zu configs in /etc/walferry, %s and %s among them; choose with --config FILE",
                found.gl_pathc, found.gl_pathv[0], found.gl_pathv[1]);
        else
            named = found.gl_pathv[0];
    }
    if (code == 0 && (size_t)snprintf(out, size, "%s", named) >= size)
        code = fail(ERR_USAGE, "the name of the config is too long: %s", named);
    globfree(&found);
    return code;
}

/* ---- which member this is ---- */

static bool
is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return memcmp(&v6, &in6addr_loopback, sizeof v6) == 0;
    return strcasecmp(host, "localhost") == 0;
}

static bool
has_address(const struct ifaddrs *addresses, const char *host)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    unsigned char bytes[16];
    int family = inet_pton(AF_INET, host, bytes) == 1    ? AF_INET
                 : inet_pton(AF_INET6, host, bytes) == 1 ? AF_INET6
                                                         : 0;

    for (const struct ifaddrs *a = addresses; family != 0 && a != NULL; a = a->ifa_next) {
        if (a->ifa_addr == NULL || a->ifa_addr->sa_family != family)
            continue;
        memcpy(&v4, a->ifa_addr, sizeof v4); /* both begin alike, and v6 is the longer one */
        if (family == AF_INET && memcmp(&v4.sin_addr, bytes, 4) == 0)
            return true;
        if (family != AF_INET6)
            continue;
        memcpy(&v6, a->ifa_addr, sizeof v6);
        if (memcmp(&v6.sin6_addr, bytes, 16) == 0)
            return true;
    }
    return false;
}

/* The members whose ssh host is this machine, by address or by `name`; a loopback host is one only
 * when it is the only one, for it is everybody's. */
static size_t
find_here(const struct config *c, const struct ifaddrs *addresses, const char *name,
          const struct member *here[MEMBERS_MAX])
{
    size_t count = 0, loopbacks = 0;

    for (size_t i = 0; i < c->members; i++)
        loopbacks += is_loopback(c->member[i].target.host);
    for (size_t i = 0; i < c->members; i++) {
        const char *host = c->member[i].target.host;

        if (is_loopback(host) ? loopbacks == 1
                              : strcasecmp(host, name) == 0 || has_address(addresses, host))
            here[count++] = &c->member[i];
    }
    return count;
}

static size_t
look_around(const struct config *c, const struct member *here[MEMBERS_MAX])
{
    struct addrinfo hints = {.ai_flags = AI_CANONNAME, .ai_socktype = SOCK_STREAM}, *full;
    struct ifaddrs *addresses = NULL;
    char name[256] = "";
    bool names = false;
    size_t count;

    if (getifaddrs(&addresses) < 0)
        addresses = NULL;
    if (gethostname(name, sizeof name - 1) < 0)
        name[0] = '\0';
    count = find_here(c, addresses, name, here);
    for (size_t i = 0; i < c->members; i++)
        names = names || !is_numeric(c->member[i].target.host);
    if (count == 0 && names &&
        getaddrinfo(name, NULL, &hints, &full) == 0) { /* may ask a name server: last */
        if (full->ai_canonname != NULL)
            count = find_here(c, addresses, full->ai_canonname, here);
        freeaddrinfo(full);
    }
    freeifaddrs(addresses);
    return count;
}

static int
choose(const char *what, const struct config *c, const struct member *const *some, size_t count)
{
    char names[MEMBERS_MAX * (MEMBER_NAME_SIZE + 2)] = "";
    size_t used = 0;

    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 some[i]->name);
    return fail(ERR_USAGE, "%s of %s; choose with --member or WALFERRY_MEMBER: %s", what, c->file,
                names);
}

int
config_self(struct config *c, const char *option, const struct member **ret_member)
{
    const char *named = option != NULL ? option : getenv("WALFERRY_MEMBER");
    const struct member *here[MEMBERS_MAX], *all[MEMBERS_MAX];
    char shown[SHOWN_SIZE], what[SHOWN_SIZE + 32];
    size_t count;

    for (size_t i = 0; i < c->members; i++)
        all[i] = &c->member[i];
    if (named != NULL) {
        here[0] = config_member(c, named);
        snprintf(what, sizeof what, "'%s' is no member",
                 text_escape(shown, sizeof shown, named, strlen(named)));
        if (here[0] == NULL)
            return choose(what, c, all, c->members);
    } else {
        count = look_around(c, here);
        if (count == 0)
            return choose("this machine is the ssh host of no member", c, all, c->members);
        if (count > 1)
            return choose("this machine is the ssh host of several members", c, here, count);
    }
    for (size_t i = 0; i < c->members; i++) {
        struct member *m = &c->member[i];

        memcpy(m->target.identity, here[0]->identity, sizeof here[0]->identity);
        m->tunnel_target = m->target;
        if (here[0]->tunnel_identity[0] != '\0')
            memcpy(m->tunnel_target.identity, here[0]->tunnel_identity,
                   sizeof here[0]->tunnel_identity);
    }
    *ret_member = here[0];
    return 0;
}

void
config_slot_name(char out[SLOT_NAME_SIZE], const char *member)
{
    snprintf(out, SLOT_NAME_SIZE, "walferry_%s", member);
    for (char *s = out; *s != '\0'; s++)
        if (*s == '-')
            *s = '_';
}

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

/* ---- this host ---- */

/* A member that has no copy yet: seed makes it. */
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
    else if (major < 13 || major > 17)
        complain(to, m->line, "pgdata", "%s has PostgreSQL %s; allowed: 13 to 17", m->pgdata,
                 text_escape(shown, sizeof shown, text, strlen(text)));
}

/* False: another user is to run this, for whom nothing else is wrong. */
static bool
check_pgdata(struct complaints *to, const struct member *m)
{
    char owner[SHOWN_SIZE], we[SHOWN_SIZE];
    struct stat st;

    if (stat(m->pgdata, &st) < 0) {
        if (errno == ENOENT)
            return true; /* as an empty one */
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

/* The kernel takes a list that names some processor of the host, and forgets the others. */
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

    name_section(&to, self);
    if (!check_pgdata(&to, self))
        return verdict(&to);
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
    name_section(&to, NULL);
    if (c->event_command[0] != '\0' && access(c->event_command, X_OK) < 0)
        complain(&to, c->event_command_line, "event_command", "cannot run %s: %s", c->event_command,
                 strerror(errno));
    for (size_t i = 0; i < c->members; i++) {
        const struct member *m = &c->member[i];

        name_section(&to, m);
        if (m != self && m->target.known_hosts[0] != '\0' &&
            access(m->target.known_hosts, R_OK) < 0)
            complain(&to, m->line, "known_hosts", "cannot read %s: %s", m->target.known_hosts,
                     strerror(errno));
    }
    return verdict(&to);
}
