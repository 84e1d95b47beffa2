/* SPDX-License-Identifier: PostgreSQL */
/* See pgwire.h. */
#include "shipper/replication/pgwire.h"

#include "base/fail.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define STARTUP_MIN       8
#define STARTUP_MAX       10000 /* PostgreSQL's own limit */
#define CODE_CANCEL       80877102
#define CODE_SSL          80877103
#define CODE_GSS          80877104
#define PROTOCOL_3_0      (UINT32_C(3) << 16)
#define POSTGRES_EPOCH_US INT64_C(946684800000000)
#define XLOGDATA_BYTES    (1 + 4 + 1 + 8 + 8 + 8)

/* As PostgreSQL reads a bool, any beginning of a word; a value that it refuses counts as yes. */
static bool
is_yes(const char *value)
{
    static const char *const no[] = {"false", "no", "off", "0"};

    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (value[0] != '\0' && strncasecmp(value, no[i], strlen(value)) == 0)
            return strcasecmp(value, "o") == 0;
    return true;
}

/* "-c name=value" or "--name=value", with '-' for '_' and backslashes: every name that is set is
 * found, though a value may be taken for a name. */
static bool
may_rename(const char *options)
{
    char text[STARTUP_MAX]; /* no start-up packet is longer */
    size_t n = 0;

    for (; *options != '\0'; options++)
        if (*options != '\\')
            text[n++] = (char)(*options == '-' ? '_' : tolower((unsigned char)*options));
    text[n] = '\0';
    return strstr(text, "application_name") != NULL;
}

static bool
is_option(const char *name)
{
    return strncmp(name, "_pq_.", 5) == 0;
}

static int
startup_parameters(struct reader *r, struct startup *s)
{
    s->parameters = r->at;
    s->parameters_bytes = r->left;
    for (;;) {
        const char *name = reader_string(r), *value;

        if (name == NULL)
            return fail(ERR_PEER, "the start-up packet is cut short");
        if (name[0] == '\0')
            return r->left == 0 ? 0
                                : fail(ERR_PEER, "the start-up packet has bytes behind its end");
        value = reader_string(r);
        if (value == NULL)
            return fail(ERR_PEER, "the start-up packet is cut short");
        if (is_option(name)) {
            s->options++;
            s->options_bytes += strlen(name) + 1;
        }
        if (strcmp(name, "replication") == 0) {
            s->replication = is_yes(value);
            s->database |= strcmp(value, "database") == 0;
        } else if (strcmp(name, "user") == 0) /* as for PostgreSQL the last one counts */
            snprintf(s->user, sizeof s->user, "%s", strlen(value) < sizeof s->user ? value : "");
        else if (strcmp(name, "database") == 0)
            snprintf(s->dbname, sizeof s->dbname, "%s",
                     strlen(value) < sizeof s->dbname ? value : "");
        else if (strcmp(name, "options") == 0)
            s->renames |= may_rename(value);
        else if (strcasecmp(name, "application_name") == 0) /* as all settings, in any case */
            snprintf(s->application_name, sizeof s->application_name, "%s", value);
    }
}

int
pgwire_startup(const struct buf *in, struct startup *ret_startup)
{
    struct startup s = {.kind = STARTUP_MORE};
    struct reader r;
    uint32_t length, code;

    reader_init(&r, buf_data(in), buf_used(in));
    length = reader_u32(&r);
    if (r.failed)
        goto done;
    if (length < STARTUP_MIN || length > STARTUP_MAX)
        return fail(ERR_PEER, "a start-up packet of %u bytes came", length);
    if (r.left < length - 4)
        goto done;
    r.left = length - 4;
    s.bytes = length;
    code = reader_u32(&r);
    if (code == CODE_SSL || code == CODE_GSS) {
        s.kind = STARTUP_SSL;
    } else if (code == CODE_CANCEL) {
        s.kind = STARTUP_CANCEL;
    } else if (code >> 16 == 3) {
        s.kind = STARTUP_SESSION;
        if (startup_parameters(&r, &s) < 0)
            return ERR_PEER;
        s.newer = code != PROTOCOL_3_0 || s.options > 0;
    } else {
        return fail(ERR_PEER, "protocol %u.%u is not spoken here", code >> 16, code & 65535);
    }
done:
    *ret_startup = s;
    return 0;
}

int
pgwire_message(const struct buf *in, struct pgwire_message *ret_message)
{
    struct pgwire_message m = {0};
    struct reader r;
    uint32_t length;

    reader_init(&r, buf_data(in), buf_used(in));
    m.type = (char)reader_u8(&r);
    length = reader_u32(&r);
    if (r.failed)
        return 0;
    if (length < 4 || length > PGWIRE_MESSAGE_MAX - 1)
        return fail(ERR_PEER, "a message of %u bytes came, at most %u are taken", length,
                    PGWIRE_MESSAGE_MAX);
    if (r.left < length - 4)
        return 0;
    m.length = length - 4;
    m.body = reader_bytes(&r, m.length);
    m.bytes = 1 + (size_t)length;
    *ret_message = m;
    return 1;
}

static uint64_t
full_xid(uint32_t xid, uint32_t epoch)
{
    return xid == 0 ? 0 : (uint64_t)epoch << 32 | xid;
}

int
pgwire_status(const uint8_t *body, size_t length, struct pgwire_status *ret_status)
{
    struct pgwire_status s = {0};
    struct reader r;
    uint8_t kind;

    reader_init(&r, body, length);
    kind = reader_u8(&r);
    if (kind == 'r') {
        s.write = reader_u64(&r);
        s.flush = reader_u64(&r);
        s.apply = reader_u64(&r);
        reader_u64(&r); /* its clock */
        s.reply_wanted = reader_u8(&r) != 0;
    } else if (kind == 'h') {
        uint32_t xmin, xmin_epoch, catalog, catalog_epoch;

        s.feedback = true;
        reader_u64(&r);
        xmin = reader_u32(&r);
        xmin_epoch = reader_u32(&r);
        catalog = reader_u32(&r);
        catalog_epoch = reader_u32(&r);
        s.xmin = full_xid(xmin, xmin_epoch);
        s.catalog_xmin = full_xid(catalog, catalog_epoch);
    } else {
        return fail(ERR_PEER, "a copy message of unknown kind %u came", kind);
    }
    if (!reader_done(&r))
        return fail(ERR_PEER, "a status message of %zu bytes came", length);
    *ret_status = s;
    return 0;
}

/* ---- commands ---- */

/* One word: a quoted identifier without its quotes, a punctuation mark, or letters up to space. */
static bool
next_word(const char **at, char out[64])
{
    const char *p = *at + strspn(*at, " \t\r\n");
    size_t n;

    if (*p == '"') {
        n = strcspn(++p, "\"");
        *at = p + n + 1;
        if (p[n] != '"')
            return false;
    } else {
        n = strcspn(p, " \t\r\n(),;\"");
        if (n == 0 && *p != '\0' && strchr("(),", *p) != NULL)
            n = 1;
        *at = p + n;
    }
    if (n == 0 || n > 63)
        return false;
    memcpy(out, p, n);
    out[n] = '\0';
    return true;
}

static bool
at_end(const char *at)
{
    at += strspn(at, " \t\r\n");
    at += *at == ';';
    return at[strspn(at, " \t\r\n")] == '\0';
}

static bool
parse_number(const char *word, timeline_t *ret_number)
{
    char *end;
    unsigned long number = strtoul(word, &end, 10);

    if (word[0] < '0' || word[0] > '9' || *end != '\0' || number == 0 || number > UINT32_MAX)
        return false;
    *ret_number = (timeline_t)number;
    return true;
}

/* [SLOT name] [PHYSICAL] X/X [TIMELINE n] */
static bool
parse_start(const char *at, struct pgwire_command *c)
{
    char word[64];

    if (!next_word(&at, word))
        return false;
    if (strcasecmp(word, "SLOT") == 0 && (!next_word(&at, c->name) || !next_word(&at, word)))
        return false;
    if (strcasecmp(word, "PHYSICAL") == 0 && !next_word(&at, word))
        return false;
    if (!lsn_parse(word, &c->lsn))
        return false;
    if (at_end(at))
        return true;
    return next_word(&at, word) && strcasecmp(word, "TIMELINE") == 0 && next_word(&at, word) &&
           parse_number(word, &c->timeline) && at_end(at);
}

/* [RESERVE_WAL] | (option [value], ...) */
static bool
parse_options(const char *at)
{
    char word[64];

    if (at_end(at))
        return true;
    if (!next_word(&at, word))
        return false;
    if (strcasecmp(word, "RESERVE_WAL") == 0)
        return at_end(at);
    if (strcmp(word, "(") != 0)
        return false;
    while (next_word(&at, word))
        if (strcmp(word, ")") == 0)
            return at_end(at);
    return false;
}

/* name [TEMPORARY] PHYSICAL ..., or LOGICAL and anything, which is not served */
static bool
parse_create(const char *at, struct pgwire_command *c)
{
    char word[64];

    if (!next_word(&at, c->name) || !next_word(&at, word))
        return false;
    c->temporary = strcasecmp(word, "TEMPORARY") == 0;
    if (c->temporary && !next_word(&at, word))
        return false;
    c->physical = strcasecmp(word, "PHYSICAL") == 0;
    return c->physical ? parse_options(at) : strcasecmp(word, "LOGICAL") == 0;
}

/* name [WAIT] */
static bool
parse_drop(const char *at, struct pgwire_command *c)
{
    char word[64];

    if (!next_word(&at, c->name))
        return false;
    return at_end(at) || (next_word(&at, word) && strcasecmp(word, "WAIT") == 0 && at_end(at));
}

static const struct {
    const char *word;
    enum pgwire_verb verb;
} verbs[] = {
    {"IDENTIFY_SYSTEM", VERB_IDENTIFY_SYSTEM},   {"SHOW", VERB_SHOW},
    {"TIMELINE_HISTORY", VERB_TIMELINE_HISTORY}, {"START_REPLICATION", VERB_START_REPLICATION},
    {"READ_REPLICATION_SLOT", VERB_READ_SLOT},   {"CREATE_REPLICATION_SLOT", VERB_CREATE_SLOT},
    {"DROP_REPLICATION_SLOT", VERB_DROP_SLOT}};

bool
pgwire_parse(const char *text, struct pgwire_command *ret_command)
{
    struct pgwire_command *c = ret_command;
    char word[64];

    *c = (struct pgwire_command){0};
    if (!next_word(&text, word))
        return false;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcasecmp(word, verbs[i].word) == 0)
            c->verb = verbs[i].verb;
    switch (c->verb) {
    case VERB_UNKNOWN:
        return false;
    case VERB_IDENTIFY_SYSTEM:
        return at_end(text);
    case VERB_SHOW:
    case VERB_READ_SLOT:
        return next_word(&text, c->name) && at_end(text);
    case VERB_TIMELINE_HISTORY:
        return next_word(&text, word) && parse_number(word, &c->timeline) && at_end(text);
    case VERB_START_REPLICATION:
        return parse_start(text, c);
    case VERB_CREATE_SLOT:
        return parse_create(text, c);
    case VERB_DROP_SLOT:
        return parse_drop(text, c);
    }
    return false;
}

/* ---- encoding ---- */

static bool
begin(struct buf *out, char type, size_t body)
{
    if (buf_reserve(out, 5 + body) == NULL)
        return false;
    buf_put_u8(out, (uint8_t)type);
    buf_put_u32(out, (uint32_t)(4 + body));
    return true;
}

int
pgwire_put_ready(struct buf *out)
{
    if (!begin(out, 'Z', 1))
        return ERR_AGAIN;
    buf_put_u8(out, 'I');
    return 0;
}

int
pgwire_put_empty(struct buf *out)
{
    return begin(out, 'I', 0) ? 0 : ERR_AGAIN;
}

int
pgwire_put_negotiate(struct buf *out, const struct startup *s)
{
    struct reader r;
    const char *name;

    if (!begin(out, 'v', 8 + s->options_bytes))
        return ERR_AGAIN;
    buf_put_u32(out, PROTOCOL_3_0);
    buf_put_u32(out, s->options);
    reader_init(&r, s->parameters, s->parameters_bytes);
    while ((name = reader_string(&r)) != NULL && name[0] != '\0') {
        reader_string(&r); /* its value */
        if (is_option(name))
            buf_put_string(out, name);
    }
    return 0;
}

static void
put_parameter(struct buf *out, const char *name, const char *value)
{
    begin(out, 'S', strlen(name) + strlen(value) + 2);
    buf_put_string(out, name);
    buf_put_string(out, value);
}

int
pgwire_put_authentication(struct buf *out, const char *server_version, uint32_t backend)
{
    if (buf_reserve(out, 512 + strlen(server_version)) == NULL)
        return ERR_AGAIN;
    begin(out, 'R', 4);
    buf_put_u32(out, 0); /* ok: the socket's peer was checked */
    put_parameter(out, "server_version", server_version);
    put_parameter(out, "server_encoding", "UTF8");
    put_parameter(out, "client_encoding", "UTF8");
    put_parameter(out, "integer_datetimes", "on");
    put_parameter(out, "standard_conforming_strings", "on");
    put_parameter(out, "default_transaction_read_only", "off");
    put_parameter(out, "in_hot_standby", "on");
    begin(out, 'K', 8);
    buf_put_u32(out, backend);
    buf_put_u32(out, 0); /* there is nothing to cancel */
    return pgwire_put_ready(out);
}

int
pgwire_put_error(struct buf *out, const char *severity, const char *sqlstate, const char *message)
{
    size_t body = 2 * (strlen(severity) + 2) + strlen(sqlstate) + 2 + strlen(message) + 2 + 1;

    if (!begin(out, 'E', body))
        return ERR_AGAIN;
    buf_put_u8(out, 'S');
    buf_put_string(out, severity);
    buf_put_u8(out, 'V');
    buf_put_string(out, severity);
    buf_put_u8(out, 'C');
    buf_put_string(out, sqlstate);
    buf_put_u8(out, 'M');
    buf_put_string(out, message);
    buf_put_u8(out, 0);
    return 0;
}

int
pgwire_put_complete(struct buf *out, const char *tag)
{
    if (!begin(out, 'C', strlen(tag) + 1))
        return ERR_AGAIN;
    buf_put_string(out, tag);
    return 0;
}

int
pgwire_put_copy_both(struct buf *out)
{
    if (!begin(out, 'W', 3))
        return ERR_AGAIN;
    buf_put_u8(out, 0);
    buf_put_u16(out, 0);
    return 0;
}

int
pgwire_put_copy_done(struct buf *out)
{
    return begin(out, 'c', 0) ? 0 : ERR_AGAIN;
}

int
pgwire_put_keepalive(struct buf *out, lsn_t end, int64_t wall_us, bool reply_wanted)
{
    if (!begin(out, 'd', 18))
        return ERR_AGAIN;
    buf_put_u8(out, 'k');
    buf_put_u64(out, end);
    buf_put_u64(out, (uint64_t)(wall_us - POSTGRES_EPOCH_US));
    buf_put_u8(out, reply_wanted);
    return 0;
}

static size_t
value_bytes(const struct pgwire_column *c)
{
    return c->value == NULL ? 0 : c->length > 0 ? c->length : strlen(c->value);
}

int
pgwire_put_row(struct buf *out, const struct pgwire_column *columns, size_t count)
{
    size_t description = 2, row = 2;

    for (size_t i = 0; i < count; i++) {
        description += strlen(columns[i].name) + 1 + 18;
        row += 4 + value_bytes(&columns[i]);
    }
    if (buf_reserve(out, 10 + description + row) == NULL)
        return ERR_AGAIN;
    begin(out, 'T', description);
    buf_put_u16(out, (uint16_t)count);
    for (size_t i = 0; i < count; i++) {
        buf_put_string(out, columns[i].name);
        buf_put_u32(out, 0); /* no table */
        buf_put_u16(out, 0);
        buf_put_u32(out, columns[i].oid);
        buf_put_u16(out, columns[i].oid == OID_TEXT ? 0xFFFF : columns[i].oid == OID_INT8 ? 8 : 4);
        buf_put_u32(out, 0xFFFFFFFF);
        buf_put_u16(out, 0); /* text */
    }
    begin(out, 'D', row);
    buf_put_u16(out, (uint16_t)count);
    for (size_t i = 0; i < count; i++) {
        size_t n = value_bytes(&columns[i]);

        buf_put_u32(out, columns[i].value == NULL ? 0xFFFFFFFF : (uint32_t)n);
        if (n > 0)
            buf_put_bytes(out, columns[i].value, n);
    }
    return 0;
}

bool
pgwire_reserve_wal(struct buf *out, size_t n, uint8_t **ret_wal)
{
    uint8_t *at = buf_reserve(out, XLOGDATA_BYTES + n);

    if (at == NULL)
        return false;
    *ret_wal = at + XLOGDATA_BYTES;
    return true;
}

void
pgwire_commit_wal(struct buf *out, size_t n, lsn_t start, lsn_t end, int64_t wall_us)
{
    begin(out, 'd', XLOGDATA_BYTES - 5 + n); /* fits where it was reserved: nothing moves */
    buf_put_u8(out, 'w');
    buf_put_u64(out, start);
    buf_put_u64(out, end);
    buf_put_u64(out, (uint64_t)(wall_us - POSTGRES_EPOCH_US));
    buf_commit(out, n);
}
