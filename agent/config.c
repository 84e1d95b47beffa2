/*
 * config: one INI file, read by inih, checked by a table of keys and then as a whole.
 *
 * inih hands over neither line numbers nor what it mangles: it splits long lines, joins indented
 * ones to the value above and lets duplicates pass. So the reader that feeds it counts the lines
 * and refuses those shapes; the handler knows the line it is called for.
 */
#include "config.h"

#include "base/clock.h"
#include "base/fail.h"
#include "base/lsn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glob.h>
#include <ifaddrs.h>
#include <ini.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <netdb.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES_MAX   200 /* inih's, without the newline */
#define FILE_BYTES_MAX   (256u << 10)
#define SOCKET_BYTES_MAX 107
#define LONGEST_SOCKET   "/.s.PGSQL.5432"
#define ERRORS_MAX       100

struct parse {
    struct config *c;
    const char *name;
    const char *at, *end; /* of the text not yet given to inih */
    int line;
    FILE *errors;
    int error_count;
    char section[80];
    struct member *member; /* NULL in [pool] and in a section that was refused */
    bool in_pool, pool_seen;
    unsigned seen;                     /* keys of the section that is being read */
    unsigned pool_keys, member_keys[MEMBERS_MAX];
};

static void complain(struct parse *p, int line, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
complain(struct parse *p, int line, const char *key, const char *format, ...)
{
    va_list args;

    if (p->error_count++ >= ERRORS_MAX || p->errors == NULL)
        return;
    fprintf(p->errors, "%s:%d: %s%s%s", p->name, line, p->section, p->section[0] != '\0' ? " " : "", key);
    fprintf(p->errors, "%s", key[0] != '\0' ? ": " : "");
    va_start(args, format);
    vfprintf(p->errors, format, args);
    va_end(args);
    fputc('\n', p->errors);
}

/* ---- values ---- */

static bool
is_name(const char *s)
{
    size_t n = strlen(s);

    return n > 0 && n < MEMBER_NAME_SIZE && s[0] >= 'a' && s[0] <= 'z' &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* Each takes a value into `out` (size bytes) and says what is allowed when it cannot. */
static const char *
take_name(const char *value, void *out, size_t size)
{
    if (!is_name(value))
        return "a name is [a-z][a-z0-9-]*, at most 31 characters";
    snprintf(out, size, "%s", value);
    return NULL;
}

static const char *
take_path(const char *value, void *out, size_t size)
{
    if (value[0] != '/')
        return "an absolute path is needed";
    if (strlen(value) >= size)
        return "the path is too long";
    if (strpbrk(value, "'\n\\") != NULL)
        return "a path without quotes and backslashes is needed";
    snprintf(out, size, "%s", value);
    while (strlen(out) > 1 && ((char *)out)[strlen(out) - 1] == '/')
        ((char *)out)[strlen(out) - 1] = '\0';
    return NULL;
}

static const char *
take_text(const char *value, void *out, size_t size)
{
    if (value[0] == '\0' || strlen(value) >= size)
        return "a command is needed, at most 255 characters";
    snprintf(out, size, "%s", value);
    return NULL;
}

static const char *
take_switch(const char *value, void *out, size_t size)
{
    bool on = strcmp(value, "on") == 0;

    if (!on && strcmp(value, "off") != 0)
        return "on or off";
    memcpy(out, &on, size);
    return NULL;
}

static bool
parse_duration(const char *value, int64_t *ret_us)
{
    static const struct {
        const char *unit;
        int64_t us;
    } units[] = {{"ms", MILLISECOND_US}, {"s", SECOND_US},          {"min", 60 * SECOND_US},
                 {"h", 3600 * SECOND_US}, {"d", 86400 * SECOND_US}};
    char *unit;
    long long number;

    if (value[0] < '0' || value[0] > '9')
        return false;
    errno = 0;
    number = strtoll(value, &unit, 10);
    while (*unit == ' ')
        unit++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(unit, units[i].unit) != 0)
            continue;
        if (errno != 0 || number > INT64_MAX / units[i].us)
            return false;
        *ret_us = number * units[i].us;
        return true;
    }
    return false;
}

static const char *
take_wait(const char *value, void *out, size_t size)
{
    int64_t us;

    if (!parse_duration(value, &us) || us > 600 * SECOND_US)
        return "a time from 0s to 10min (units ms, s, min, h, d)";
    memcpy(out, &us, size);
    return NULL;
}

static const char *
take_keep(const char *value, void *out, size_t size)
{
    int64_t us;

    if (!parse_duration(value, &us) || us > INT64_C(366) * 86400 * SECOND_US)
        return "a time from 0s to 366d (units ms, s, min, h, d)";
    memcpy(out, &us, size);
    return NULL;
}

/* user@host[:port]; an IPv6 address stands in brackets */
static const char *
take_ssh(const char *value, void *out, size_t size)
{
    static const char wrong[] = "user@host or user@host:port is needed, an IPv6 address in brackets";
    struct lane_target *t = out;
    const char *at = strchr(value, '@'), *host = at + 1, *end, *port = "22";
    char *rest;

    (void)size;
    if (at == NULL || at == value || (size_t)(at - value) >= sizeof t->user ||
        strcspn(value, " \t:/[]") < (size_t)(at - value))
        return wrong;
    if (*host == '[') {
        host++;
        end = strchr(host, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return wrong;
        if (end[1] == ':')
            port = end + 2;
    } else {
        end = host + strcspn(host, ":");
        if (*end == ':')
            port = end + 1;
    }
    if (end == host || (size_t)(end - host) >= sizeof t->host || strcspn(host, " \t/@") < (size_t)(end - host) ||
        strtol(port, &rest, 10) < 1 || strtol(port, NULL, 10) > 65535 || *rest != '\0' || port[0] < '0' || port[0] > '9')
        return wrong;
    snprintf(t->user, sizeof t->user, "%.*s", (int)(at - value), value);
    snprintf(t->host, sizeof t->host, "%.*s", (int)(end - host), host);
    snprintf(t->port, sizeof t->port, "%ld", strtol(port, NULL, 10));
    return NULL;
}

static const char *
take_host_key(const char *value, void *out, size_t size)
{
    size_t n = strlen(value);

    if (strncmp(value, "SHA256:", 7) != 0 || n != 50 ||
        strspn(value + 7, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") != 43)
        return "a fingerprint as ssh-keygen -lf HOSTKEY.pub prints it is needed: SHA256: and 43 characters";
    snprintf(out, size, "%s", value);
    return NULL;
}

static bool
is_numeric_address(const char *host)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static const char *
take_postgres(const char *value, void *out, size_t size)
{
    static const char wrong[] = "host=SOCKETDIR or a numeric address, port=, user=, and perhaps dbname= and passfile= are "
                                "allowed, nothing else: names are not resolved here";
    PQconninfoOption *options = PQconninfoParse(value, NULL);
    bool host = false, dbname = false, bad = options == NULL;

    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val == NULL)
            continue;
        if (strcmp(o->keyword, "host") == 0)
            host = o->val[0] == '/' || is_numeric_address(o->val);
        else if (strcmp(o->keyword, "dbname") == 0)
            dbname = strpbrk(o->val, "= :/") == NULL;
        else if (strcmp(o->keyword, "port") != 0 && strcmp(o->keyword, "user") != 0 &&
                 strcmp(o->keyword, "passfile") != 0)
            bad = true;
    }
    PQconninfoFree(options);
    if (bad || !host || strlen(value) + sizeof " dbname=postgres" > size)
        return wrong;
    snprintf(out, size, "%s%s", value, dbname ? "" : " dbname=postgres");
    return NULL;
}

/* ---- keys ---- */

struct key {
    const char *name;
    const char *(*take)(const char *value, void *out, size_t size);
    size_t offset, size;
    bool required;
    bool empty_allowed;
};

#define POOL_KEY(name, take, field, required)   {name, take, offsetof(struct config, field), sizeof((struct config *)0)->field, required, false}
#define MEMBER_KEY(name, take, field, required) {name, take, offsetof(struct member, field), sizeof((struct member *)0)->field, required, false}

static const struct key pool_keys[] = {
    POOL_KEY("name", take_name, name, true),
    POOL_KEY("home", take_name, home, true),
    POOL_KEY("synchronous", take_switch, synchronous, false),
    POOL_KEY("shutdown_wait", take_wait, shutdown_wait_us, false),
};

static const struct key member_keys[] = {
    MEMBER_KEY("site", take_name, site, true),
    MEMBER_KEY("ssh", take_ssh, target, true),
    MEMBER_KEY("host_key", take_host_key, target.host_key, false),
    MEMBER_KEY("known_hosts", take_path, target.known_hosts, false),
    MEMBER_KEY("identity", take_path, identity, true),
    MEMBER_KEY("postgres", take_postgres, postgres, true),
    MEMBER_KEY("pgdata", take_path, pgdata, true),
    MEMBER_KEY("bindir", take_path, bindir, true),
    MEMBER_KEY("start", take_text, start, false),
    MEMBER_KEY("stop", take_text, stop, false),
    MEMBER_KEY("spool", take_path, spool, true),
    MEMBER_KEY("run", take_path, run, true),
    MEMBER_KEY("keep", take_keep, keep_us, false),
};

#define POOL_KEYS   (sizeof pool_keys / sizeof *pool_keys)
#define MEMBER_KEYS (sizeof member_keys / sizeof *member_keys)

static void
list_keys(const struct key *keys, size_t count, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", keys[i].name);
}

static void
begin_section(struct parse *p, const char *section)
{
    static const char member_prefix[] = "member ";
    const char *name = section + sizeof member_prefix - 1;

    snprintf(p->section, sizeof p->section, "[%s]", section);
    p->member = NULL;
    p->in_pool = strcmp(section, "pool") == 0;
    if (p->in_pool) {
        if (p->pool_seen)
            complain(p, p->line, "", "the section stands twice");
        p->pool_seen = true;
        return;
    }
    if (strncmp(section, member_prefix, sizeof member_prefix - 1) != 0) {
        complain(p, p->line, "", "unknown section; [pool] and [member NAME] are allowed");
        return;
    }
    if (!is_name(name)) {
        complain(p, p->line, "", "a member's name is [a-z][a-z0-9-]*, at most 31 characters");
        return;
    }
    if (config_member(p->c, name) != NULL) {
        complain(p, p->line, "", "the section stands twice");
        return;
    }
    if (p->c->members == MEMBERS_MAX) {
        complain(p, p->line, "", "more than %d members", MEMBERS_MAX);
        return;
    }
    p->member = &p->c->member[p->c->members++];
    snprintf(p->member->name, sizeof p->member->name, "%s", name);
    p->member->line = p->line;
    p->member->keep_us = 3600 * SECOND_US;
}

static void
take_key(struct parse *p, const char *name, const char *value)
{
    const struct key *keys = p->in_pool ? pool_keys : member_keys;
    size_t count = p->in_pool ? POOL_KEYS : MEMBER_KEYS, i = 0;
    unsigned *seen = p->in_pool ? &p->pool_keys : p->member != NULL ? &p->member_keys[p->member - p->c->member] : NULL;
    char *base = p->in_pool ? (char *)p->c : (char *)p->member;
    const char *allowed;
    char names[256];

    if (seen == NULL)
        return; /* its section was refused: one error is enough */
    while (i < count && strcmp(keys[i].name, name) != 0)
        i++;
    if (i == count) {
        list_keys(keys, count, names, sizeof names);
        complain(p, p->line, name, "unknown key; allowed are %s", names);
        return;
    }
    if ((*seen & 1u << i) != 0) {
        complain(p, p->line, name, "stands twice in this section");
        return;
    }
    *seen |= 1u << i;
    allowed = keys[i].take(value, base + keys[i].offset, keys[i].size);
    if (allowed != NULL)
        complain(p, p->line, name, "'%s' is not allowed: %s", value, allowed);
}

static int
handle(void *context, const char *section, const char *name, const char *value)
{
    struct parse *p = context;
    char shown[80];

    snprintf(shown, sizeof shown, "[%s]", section);
    if (section[0] == '\0') {
        p->section[0] = '\0';
        complain(p, p->line, name, "stands before the first section");
        return 1;
    }
    if (name == NULL)
        return 1;
    take_key(p, name, value);
    return 1;
}

/* A section's head, which inih does not report: "[pool]" or "[member x]". */
static void
look_for_section(struct parse *p, const char *line, size_t length)
{
    const char *close = memchr(line, ']', length);
    char section[64];

    if (length == 0 || line[0] != '[' || close == NULL)
        return;
    snprintf(section, sizeof section, "%.*s", (int)(close - line - 1), line + 1);
    begin_section(p, section);
}

/* inih's reader, in fgets's shape. Shapes that inih would mangle are refused and given as empty. */
static char *
next_line(char *out, int size, void *context)
{
    struct parse *p = context;
    const char *newline, *line = p->at;
    size_t length;

    if (p->at >= p->end)
        return NULL;
    newline = memchr(p->at, '\n', (size_t)(p->end - p->at));
    length = (size_t)((newline != NULL ? newline : p->end) - line);
    p->at = newline != NULL ? newline + 1 : p->end;
    p->line++;
    if (length > 0 && line[length - 1] == '\r')
        length--;
    out[0] = '\n';
    out[1] = '\0';
    if (memchr(line, '\0', length) != NULL) {
        complain(p, p->line, "", "the line has a 0 byte in it");
    } else if (length >= LINE_BYTES_MAX - 2 || length + 2 > (size_t)size) {
        complain(p, p->line, "", "the line has over %d characters", LINE_BYTES_MAX - 3);
    } else if (length > 0 && (line[0] == ' ' || line[0] == '\t') && strspn(line, " \t\r") < length) {
        complain(p, p->line, "", "the line is indented; a key starts at the line's beginning");
    } else {
        look_for_section(p, line, length);
        memcpy(out, line, length);
        out[length] = '\n';
        out[length + 1] = '\0';
    }
    return out;
}

/* ---- the whole ---- */

static void
check_missing(struct parse *p, int line, const struct key *keys, size_t count, unsigned seen)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].required && (seen & 1u << i) == 0)
            complain(p, line, keys[i].name, "is missing");
}

static bool
has_key(const struct parse *p, size_t member, const char *name)
{
    for (size_t i = 0; i < MEMBER_KEYS; i++)
        if (strcmp(member_keys[i].name, name) == 0)
            return (p->member_keys[member] & 1u << i) != 0;
    return false;
}

static void
check_member(struct parse *p, size_t index)
{
    struct member *m = &p->c->member[index];

    snprintf(p->section, sizeof p->section, "[member %s]", m->name);
    check_missing(p, m->line, member_keys, MEMBER_KEYS, p->member_keys[index]);
    if (has_key(p, index, "host_key") == has_key(p, index, "known_hosts"))
        complain(p, m->line, "host_key", "exactly one of host_key and known_hosts is needed");
    if (strlen(m->run) + strlen(LONGEST_SOCKET) > SOCKET_BYTES_MAX || strlen(m->run) >= sizeof m->run - 1)
        complain(p, m->line, "run", "the path is too long for sockets in it");
    for (size_t i = 0; i < index; i++) {
        const struct member *other = &p->c->member[i];

        if (m->run[0] != '\0' && strcmp(m->run, other->run) == 0 && strcmp(m->target.host, other->target.host) == 0)
            complain(p, m->line, "run", "is also that of member %s on the same host", other->name);
        if (m->spool[0] != '\0' && strcmp(m->spool, other->spool) == 0 &&
            strcmp(m->target.host, other->target.host) == 0)
            complain(p, m->line, "spool", "is also that of member %s on the same host", other->name);
        if (m->pgdata[0] != '\0' && strcmp(m->pgdata, other->pgdata) == 0 &&
            strcmp(m->target.host, other->target.host) == 0)
            complain(p, m->line, "pgdata", "is also that of member %s on the same host", other->name);
    }
}

static void
check_whole(struct parse *p)
{
    bool home = false;

    snprintf(p->section, sizeof p->section, "[pool]");
    if (!p->pool_seen)
        complain(p, p->line, "", "the section is missing");
    else
        check_missing(p, p->line, pool_keys, POOL_KEYS, p->pool_keys);
    for (size_t i = 0; i < p->c->members; i++) {
        check_member(p, i);
        home |= strcmp(p->c->member[i].site, p->c->home) == 0;
    }
    snprintf(p->section, sizeof p->section, "[pool]");
    if (p->c->members < 2)
        complain(p, p->line, "", "a pool needs at least two members, in sections [member NAME]");
    else if (!home && p->c->home[0] != '\0')
        complain(p, p->line, "home", "no member is at the site %s", p->c->home);
}

static uint64_t
digest(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a: equal or not, no more is asked */

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return hash;
}

int
config_parse(struct config *c, const char *name, const char *text, size_t length, FILE *errors)
{
    struct parse p = {.c = c, .name = name, .at = text, .end = text + length, .errors = errors};
    int bad;

    *c = (struct config){.shutdown_wait_us = 30 * SECOND_US, .digest = digest(text, length)};
    snprintf(c->file, sizeof c->file, "%s", name);
    bad = ini_parse_stream(next_line, &p, handle, &p);
    if (bad > 0)
        complain(&p, bad, "", "not understood; 'key = value' and '[section]' are allowed");
    check_whole(&p);
    if (p.error_count > 0)
        return fail(ERR_USAGE, "%s has %d error%s", name, p.error_count, p.error_count == 1 ? "" : "s");
    return 0;
}

int
config_load(struct config *c, const char *file, FILE *errors)
{
    static char text[FILE_BYTES_MAX];
    FILE *stream = fopen(file, "re");
    struct stat st;
    size_t length;

    if (stream == NULL || fstat(fileno(stream), &st) < 0) {
        fail_sys(ERR_USAGE, "cannot read the pool's file %s", file);
        fprintf(errors, "%s\n", fail_message());
        if (stream != NULL)
            fclose(stream);
        return ERR_USAGE;
    }
    length = fread(text, 1, sizeof text, stream);
    fclose(stream);
    if ((st.st_mode & 022) != 0 || (st.st_uid != 0 && st.st_uid != geteuid())) {
        fprintf(errors, "%s: may be written by others (mode %04o, owner %u): chown it to root or yourself, chmod go-w\n",
                file, (unsigned)(st.st_mode & 07777), (unsigned)st.st_uid);
        return fail(ERR_USAGE, "%s may be written by others", file);
    }
    if (length == sizeof text) {
        fprintf(errors, "%s: over %u bytes\n", file, FILE_BYTES_MAX);
        return fail(ERR_USAGE, "%s is too long", file);
    }
    return config_parse(c, file, text, length, errors);
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
    glob_t found;
    int code = 0;

    if (named != NULL) {
        snprintf(out, size, "%s", named);
        return 0;
    }
    if (glob("/etc/walferry/*.ini", 0, NULL, &found) != 0)
        return fail(ERR_USAGE, "no pool's file: give --config FILE, set WALFERRY_CONFIG, or put one into /etc/walferry");
    if (found.gl_pathc == 1)
        snprintf(out, size, "%s", found.gl_pathv[0]);
    else
        code = fail(ERR_USAGE, "/etc/walferry has %zu pools (%s, %s, ...): choose with --config", found.gl_pathc,
                    found.gl_pathv[0], found.gl_pathv[1]);
    globfree(&found);
    return code;
}

/* Is `host` this machine: one of its addresses, or its name? */
static bool
is_this_machine(const char *host)
{
    struct ifaddrs *addresses, *a;
    char name[256], text[64];
    bool found = gethostname(name, sizeof name) == 0 && strcmp(name, host) == 0;

    if (found || getifaddrs(&addresses) < 0)
        return found;
    for (a = addresses; a != NULL && !found; a = a->ifa_next) {
        socklen_t size = a->ifa_addr == NULL                    ? 0
                         : a->ifa_addr->sa_family == AF_INET  ? sizeof(struct sockaddr_in)
                         : a->ifa_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                              : 0;

        found = size > 0 && getnameinfo(a->ifa_addr, size, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0 &&
                strcmp(text, host) == 0;
    }
    freeifaddrs(addresses);
    return found;
}

/* The local member dials with its own key: every target gets it. */
static void
set_identity(const struct config *c, const struct member *self)
{
    struct config *mine = (struct config *)(uintptr_t)c;

    for (size_t i = 0; i < mine->members; i++)
        snprintf(mine->member[i].target.identity, sizeof mine->member[i].target.identity, "%s", self->identity);
}

int
config_self(const struct config *c, const char *option, const struct member **ret_member)
{
    const char *named = option != NULL ? option : getenv("WALFERRY_MEMBER");
    const struct member *self = NULL;
    char names[MEMBERS_MAX * (MEMBER_NAME_SIZE + 2)] = "";
    size_t here = 0;

    for (size_t i = 0; i < c->members; i++) {
        const struct member *m = &c->member[i];
        bool match = named != NULL ? strcmp(m->name, named) == 0 : is_this_machine(m->target.host);

        if (match) {
            self = m;
            here++;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", m->name);
    }
    if (named != NULL && self == NULL)
        return fail(ERR_USAGE, "%s is no member of %s; its members are %s", named, c->file, names);
    if (here != 1)
        return fail(ERR_USAGE, "%s of the members' ssh hosts in %s is this machine: choose with --member (%s)",
                    here == 0 ? "none" : "more than one", c->file, names);
    set_identity(c, self);
    *ret_member = self;
    return 0;
}

void
config_slot_name(char out[SLOT_NAME_SIZE], const char *member)
{
    snprintf(out, SLOT_NAME_SIZE, "walferry_%s", member);
    for (char *p = out; *p != '\0'; p++)
        if (*p == '-')
            *p = '_';
}

/* ---- this host ---- */

static void
local_error(FILE *errors, int *count, const struct config *c, const struct member *m, const char *key, const char *what)
{
    fprintf(errors, "%s:%d: [member %s] %s: %s\n", c->file, m->line, m->name, key, what);
    ++*count;
}

static const char *
check_directory(const char *path, mode_t forbidden, char *out, size_t size)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        snprintf(out, size, "%s is not there and cannot be made: %s", path, strerror(errno));
    else if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        snprintf(out, size, "%s is no directory", path);
    else if (st.st_uid != geteuid())
        snprintf(out, size, "%s belongs to another user (%u); chown it to the owner of pgdata", path, (unsigned)st.st_uid);
    else if ((st.st_mode & forbidden) != 0)
        snprintf(out, size, "%s is open to others (mode %04o): chmod 700 %s", path, (unsigned)(st.st_mode & 07777), path);
    else
        return NULL;
    return out;
}

static const char *
check_pgdata(const struct member *m, char *out, size_t size)
{
    char path[300], version[16] = "";
    struct passwd *owner;
    struct stat st;
    FILE *file;
    long major;

    if (stat(m->pgdata, &st) < 0 || !S_ISDIR(st.st_mode)) {
        snprintf(out, size, "%s is no data directory of PostgreSQL", m->pgdata);
        return out;
    }
    if (st.st_uid != geteuid()) {
        owner = getpwuid(st.st_uid);
        snprintf(out, size, "%s belongs to %s, and the agent and its commands have to run as that user", m->pgdata,
                 owner != NULL ? owner->pw_name : "another user");
        return out;
    }
    snprintf(path, sizeof path, "%s/PG_VERSION", m->pgdata);
    file = fopen(path, "re");
    if (file != NULL && fgets(version, sizeof version, file) == NULL)
        version[0] = '\0';
    if (file != NULL)
        fclose(file);
    major = strtol(version, NULL, 10);
    if (major >= 13 && major <= 17)
        return NULL;
    snprintf(out, size, "%s has PG_VERSION '%.*s'; PostgreSQL 13 to 17 are served", m->pgdata,
             (int)strcspn(version, "\n"), version);
    return out;
}

int
config_check_local(const struct config *c, const struct member *self, FILE *errors)
{
    char what[700], path[300];
    struct stat st;
    int count = 0;

    if (check_pgdata(self, what, sizeof what) != NULL)
        local_error(errors, &count, c, self, "pgdata", what);
    snprintf(path, sizeof path, "%s/pg_ctl", self->bindir);
    if (access(path, X_OK) < 0) {
        snprintf(what, sizeof what, "%s is not there: bindir is the folder of pg_ctl and initdb", path);
        local_error(errors, &count, c, self, "bindir", what);
    }
    if (stat(self->identity, &st) < 0 || access(self->identity, R_OK) < 0) {
        snprintf(what, sizeof what, "%s cannot be read: %s", self->identity, strerror(errno));
        local_error(errors, &count, c, self, "identity", what);
    } else if ((st.st_mode & 077) != 0) {
        snprintf(what, sizeof what, "%s may be read or written by others (mode %04o): chmod 600 %s", self->identity,
                 (unsigned)(st.st_mode & 07777), self->identity);
        local_error(errors, &count, c, self, "identity", what);
    }
    if (check_directory(self->run, 077, what, sizeof what) != NULL)
        local_error(errors, &count, c, self, "run", what);
    if (check_directory(self->spool, 027, what, sizeof what) != NULL)
        local_error(errors, &count, c, self, "spool", what);
    return count == 0 ? 0 : fail(ERR_USAGE, "%d error%s in what %s says of this host", count, count == 1 ? "" : "s", c->file);
}
