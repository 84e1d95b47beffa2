/* SPDX-License-Identifier: PostgreSQL */
/*
 * config: reading the pool's INI file. In comes text, out comes a struct config that is right as a
 * whole, or every reason why not.
 *
 * inih splits keys from values and strips comments. read_line feeds inih: it counts the lines,
 * notes the sections (inih is silent about empty ones) and refuses every line that inih would
 * mangle. The tables of key.c check each value, check_whole the file as a whole.
 */
#include "config/parse.h"

#include "base/fail.h"
#include "base/clock.h"
#include "base/text.h"

#include <assert.h>
#include <glob.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

    if (!key_is_name(name)) {
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
    memcpy(m->name, name, strlen(name) + 1); /* key_is_name has checked its length */
    p->keys = member_keys;
    p->key_count = MEMBER_KEYS;
    p->into = m;
}

/* A line that begins with '['. p->keys stays NULL when the section is refused. */
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

/* Why inih would misread this line, or NULL. */
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

/* inih's reader, like fgets. Each line gets its newline: without it a newer inih takes a long line
 * for the first part of one and joins the next line to it. A refused line becomes an empty line. */
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

/* inih's handler. Always 1 (go on): errors are written here. */
static int
take_key(void *context, const char *section, const char *name, const char *value)
{
    struct parse *p = context;
    const struct key *key;
    const char *fault;
    size_t i = 0;

    (void)section; /* inih cuts it at 49 bytes; begin_section has read it whole */
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

uint64_t
config_digest(const char *text, size_t length)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a: a change has to show, nothing more */

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return hash;
}

int
config_parse(struct config *c, const char *name, const char *text, size_t length, FILE *errors)
{
    static const char mark[] = "\xef\xbb\xbf"; /* the byte order mark that some editors write */
    size_t skip = length >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    struct parse p = {
        .to = {.file = name, .out = errors}, .c = c, .at = text + skip, .end = text + length};
    int line;

    *c = (struct config){.synchronous_wait_us = 5 * SECOND_US,
                         .shutdown_wait_us = 30 * SECOND_US,
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
                         .downstream_max_bytes = UINT64_C(64) << 30,
                         .pg_wal_reserve = {10, UINT64_C(16) << 30},
                         .feedback_keep_us = 300 * SECOND_US,
                         .relay_guests = 8,
                         .tunnel_user = "walferry_tunnel",
                         .slot_sync_database = "postgres",
                         .digest = config_digest(text, length)};
    snprintf(c->file, sizeof c->file, "%s", name);
    line = ini_parse_stream(read_line, &p, take_key, &p);
    if (line != 0)
        complain(&p.to, line > 0 ? line : 1, NULL,
                 "not understood; allowed: [section], key = value, ; comment");
    c->event_command_line = p.pool_key_line[POOL_EVENT_COMMAND];
    if (p.pool_key_line[POOL_SLOT_SYNC_USER] == 0)
        memcpy(c->slot_sync_user, c->tunnel_user, sizeof c->slot_sync_user);
    check_whole(&p);
    for (size_t i = 0; i < c->members; i++)
        if (p.member_key_line[i][MEMBER_OUTBOX] == 0)
            snprintf(c->member[i].outbox, sizeof c->member[i].outbox, "%s/outbox",
                     c->member[i].spool);
    return complaints_verdict(&p.to);
}

static bool
is_guarded(const struct stat *st)
{
    return S_ISREG(st->st_mode) && (st->st_mode & 022) == 0 &&
           (st->st_uid == 0 || st->st_uid == geteuid());
}

/* Count of bytes, at most size - 1, or ERR_USAGE. */
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

int
config_find_all(const char *option, glob_t *ret_found)
{
    const char *named = option != NULL ? option : getenv("WALFERRY_CONFIG"), *end;
    char pattern[sizeof((struct config *)0)->file];
    struct stat st;
    int length;

    if (named == NULL)
        named = "/etc/walferry";
    end = strrchr(named, '/');
    if (stat(named, &st) == 0 && S_ISDIR(st.st_mode))
        length = snprintf(pattern, sizeof pattern, "%s/*.ini", named);
    else if (end != NULL)
        length = snprintf(pattern, sizeof pattern, "%.*s/*.ini", (int)(end - named), named);
    else
        length = snprintf(pattern, sizeof pattern, "*.ini");
    if ((size_t)length >= sizeof pattern)
        return fail(ERR_USAGE, "the name of the config is too long: %s", named);
    if (glob(pattern, 0, NULL, ret_found) == 0)
        return 0;
    globfree(ret_found);
    return fail(ERR_USAGE, "no config: there is no %s", pattern);
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
