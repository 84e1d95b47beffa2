/* SPDX-License-Identifier: PostgreSQL */
/* config: what is allowed, and the place that every error names. */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libpq-fe.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "SHA256:/afK9Vg2TtUwnPUMs7mW2VAfCrCEo156GwP0JywdWQc"

/* A right config, line by line; both members are on one host. */
static const char *const good[] = {
    /* 1 */ "[pool]",
    /* 2 */ "name = chat",
    /* 3 */ "home = dc1",
    /* 4 */ "",
    /* 5 */ "[member a]",
    /* 6 */ "site = dc1",
    /* 7 */ "ssh = postgres@10.1.0.11",
    /* 8 */ ("host_key = " KEY),
    /* 9 */ "identity = /etc/id_a",
    /* 10 */ "postgres = host=/run/postgresql user=walferry",
    /* 11 */ "pgdata = /data/a",
    /* 12 */ "bindir = /pg/bin",
    /* 13 */ "spool = /spool/a",
    /* 14 */ "run = /run/a",
    /* 15 */ "",
    /* 16 */ "[member b]",
    /* 17 */ "site = dc2",
    /* 18 */ "ssh = postgres@10.1.0.11:22",
    /* 19 */ "known_hosts = /etc/known",
    /* 20 */ "identity = /etc/id_b",
    /* 21 */ "postgres = host=127.0.0.1 port=5433",
    /* 22 */ "pgdata = /data/b",
    /* 23 */ "bindir = /pg/bin",
    /* 24 */ "spool = /spool/b",
    /* 25 */ "run = /sock/b",
    /* 26 */ "keep = 2d",
};
#define GOOD_LINES ((int)(sizeof good / sizeof *good))

static char text[32768], said[65536];
static struct config c;

/* The good config with `line` replaced by `with`; NULL takes it away, 0 changes nothing. */
static size_t
make_text(int line, const char *with)
{
    size_t used = 0;

    for (int i = 1; i <= GOOD_LINES; i++) {
        const char *s = i == line ? with : good[i - 1];

        if (s != NULL)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", s);
    }
    return used;
}

/* The bytes lie at the end of an allocation, so that reading past them shows. */
static int
parse(const char *bytes, size_t length)
{
    FILE *errors = fmemopen(said, sizeof said, "w");
    char *copy = malloc(length + 1);
    int code;

    assert_non_null(errors);
    assert_non_null(copy);
    memcpy(copy + 1, bytes, length);
    said[0] = '\0';
    code = config_parse(&c, "t.ini", copy + 1, length, errors);
    fclose(errors);
    free(copy);
    assert_int_equal(code, said[0] == '\0' ? 0 : ERR_USAGE);
    return code;
}

static int
parse_with(int line, const char *with)
{
    return parse(text, make_text(line, with));
}

/* Exactly `count` lines were said, and the first begins like this. */
static void
assert_said(const char *start, int count)
{
    for (const char *s = said; *s != '\0'; s++)
        count -= *s == '\n';
    if (count != 0 || strncmp(said, start, strlen(start)) != 0)
        print_error("said:\n%swanted:\n%s\n", said, start);
    assert_int_equal(strncmp(said, start, strlen(start)), 0);
    assert_int_equal(count, 0);
}

static void
test_config_good_one_and_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse_with(0, NULL), 0);
    assert_string_equal(c.file, "t.ini");
    assert_string_equal(c.name, "chat");
    assert_string_equal(c.home, "dc1");
    assert_int_equal(c.synchronous, SYNCHRONOUS_OFF);
    assert_int_equal(c.shutdown_wait_us, 30 * SECOND_US);
    assert_true(c.downstream_max_bytes == UINT64_C(64) << 30);
    assert_int_equal(c.exposure_warning_us, 10 * SECOND_US);
    assert_int_equal(c.exposure_critical_us, 60 * SECOND_US);
    assert_int_equal(c.apply_warning_us, 60 * SECOND_US);
    assert_int_equal(c.apply_critical_us, 600 * SECOND_US);
    assert_int_equal(c.members, 2);
    assert_string_equal(c.member[0].name, "a");
    assert_int_equal(c.member[0].line, 5);
    assert_string_equal(c.member[0].target.user, "postgres");
    assert_string_equal(c.member[0].target.host, "10.1.0.11");
    assert_string_equal(c.member[0].target.port, "22");
    assert_string_equal(c.member[0].target.host_key, KEY);
    assert_string_equal(c.member[0].start, "");
    assert_int_equal(c.member[0].keep_us, 3600 * SECOND_US);
    assert_string_equal(c.member[1].target.known_hosts, "/etc/known");
    assert_int_equal(c.member[1].line, 16);
    assert_int_equal(c.member[1].keep_us, 2 * 86400 * SECOND_US);
    assert_ptr_equal(config_member(&c, "b"), &c.member[1]);
    assert_null(config_member(&c, "c"));
}

static void
test_config_reserve_is_a_share_and_perhaps_a_cap(void **state)
{
    static const char *const bad[] = {"51%",     "10",       "16GB",     "10%,",
                                      "10%, 16", "10%, 0GB", "10% 16GB", "10%, 16GB, 1GB"};
    const uint64_t gb = UINT64_C(1) << 30;

    (void)state;
    assert_int_equal(parse_with(0, NULL), 0);
    assert_int_equal(reserve_bytes(&c.pg_wal_reserve, 100 * gb), 10 * gb);
    assert_int_equal(reserve_bytes(&c.pg_wal_reserve, 2000 * gb), 16 * gb);
    assert_int_equal(parse_with(4, "pg_wal_reserve = 20%"), 0);
    assert_int_equal(reserve_bytes(&c.pg_wal_reserve, 2000 * gb), 400 * gb);
    assert_int_equal(parse_with(4, "pg_wal_reserve = 5%, 500MB"), 0);
    assert_int_equal(reserve_bytes(&c.pg_wal_reserve, 2000 * gb), 500 << 20);
    assert_int_equal(reserve_bytes(&c.pg_wal_reserve, 2 * gb), 2 * gb / 100 * 5);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[64];

        snprintf(line, sizeof line, "pg_wal_reserve = %s", bad[i]);
        assert_int_equal(parse_with(4, line), ERR_USAGE);
        assert_said("t.ini:4: [pool] pg_wal_reserve: '", 1);
    }
}

static size_t
load_example(void)
{
    char path[512];
    FILE *file;
    size_t length;

    snprintf(path, sizeof path, "%s", __FILE__);
    *strrchr(path, '/') = '\0';
    strcat(path, "/../../../../conf/pool.ini");
    file = fopen(path, "r");
    assert_non_null(file);
    length = fread(text, 1, sizeof text, file);
    fclose(file);
    assert_true(length > 500);
    return length;
}

static void
test_config_http(void **state)
{
    (void)state;
    assert_int_equal(parse_with(15, "http = 127.0.0.1:9788"), 0);
    assert_string_equal(c.member[0].http.host, "127.0.0.1");
    assert_string_equal(c.member[0].http.port, "9788");
    assert_string_equal(c.member[1].http.host, "");
    assert_int_equal(parse_with(15, "http = [::1]:9788"), 0);
    assert_string_equal(c.member[0].http.host, "::1");
    make_text(15, "http = 127.0.0.1:9788");
    strcat(text, "http = 127.0.0.1:9788\n");
    parse(text, strlen(text));
    assert_said("t.ini:27: [member b] http: the address of member a on the same host; allowed: one",
                1);
}

static void
test_config_example_is_right(void **state)
{
    const struct member *a = &c.member[0], *b = &c.member[1];

    (void)state;
    parse(text, load_example());
    assert_string_equal(said, "");
    assert_string_equal(c.name, "chat");
    assert_string_equal(c.home, "dc1");
    assert_int_equal(c.synchronous, SYNCHRONOUS_OFF);
    assert_int_equal(c.shutdown_wait_us, 30 * SECOND_US);
    assert_int_equal(c.members, 2);
    assert_string_equal(a->name, "dc1-a");
    assert_string_equal(a->site, "dc1");
    assert_string_equal(a->target.user, "postgres");
    assert_string_equal(a->target.host, "10.1.0.11");
    assert_string_equal(a->target.port, "22");
    assert_string_equal(a->target.host_key, KEY);
    assert_string_equal(a->target.known_hosts, "");
    assert_string_equal(a->identity, "/etc/walferry/keys/id_ed25519");
    assert_string_equal(a->postgres,
                        "host='/var/run/postgresql' port='5432' user='walferry' dbname='postgres'");
    assert_string_equal(a->pgdata, "/var/lib/postgresql/15/main");
    assert_string_equal(a->bindir, "/usr/lib/postgresql/15/bin");
    assert_string_equal(a->start, "pg_ctlcluster 15 main start");
    assert_string_equal(a->stop, "pg_ctlcluster 15 main stop");
    assert_string_equal(a->spool, "/var/lib/walferry/chat");
    assert_string_equal(a->run, "/run/walferry/chat");
    assert_int_equal(a->keep_us, 3600 * SECOND_US);
    assert_string_equal(b->name, "dc2-a");
    assert_string_equal(b->site, "dc2");
    assert_string_equal(b->target.host, "10.2.0.11");
    assert_string_equal(b->target.host_key, "");
    assert_string_equal(b->target.known_hosts, "/etc/walferry/known_hosts");
}

static void
test_config_every_truncation(void **state)
{
    size_t length = load_example(), right = 0;

    (void)state;
    for (size_t n = 0; n <= length; n++)
        right += parse(text, n) == 0;
    assert_true(right >= 1); /* the whole, and what only lacks its last words */
    assert_true(right < 100);
}

/* One change to the good config gives exactly one error, which begins like this. */
static const struct {
    int line;
    const char *with, *error;
} bad[] = {
    /* lines */
    {4, "what", "t.ini:4: [pool]: not understood; allowed: [section], key = value, ; comment"},
    {4, "what: ever", "t.ini:4: [pool]: not understood; allowed: "},
    {4, "what ; = ever", "t.ini:4: [pool]: not understood; allowed: "},
    {4, " home = dc2", "t.ini:4: [pool]: the line begins with a space; allowed: "},
    {4, "\tdc2", "t.ini:4: [pool]: the line begins with a space; allowed: "},
    {4, "name\001 = x", "t.ini:4: [pool]: a control character; allowed: "},
    {4, "[]", "t.ini:4: []: unknown section; allowed: [pool], [member NAME]"},
    {4, "[pools]", "t.ini:4: [pools]: unknown section; allowed: [pool], [member NAME]"},
    {4, "[members x]", "t.ini:4: [members x]: unknown section; allowed: "},
    {4, "[member]", "t.ini:4: [member]: unknown section; allowed: "},
    {4, "[x]\nname = y", "t.ini:4: [x]: unknown section; allowed: "},
    {4, "[\303\244]", "t.ini:4: [\\xc3\\xa4]: unknown section; allowed: "},
    {4, "[member ]",
     "t.ini:4: [member ]: no name of a member; allowed: small letters, digits and -"},
    {4, "[member A]", "t.ini:4: [member A]: no name of a member; allowed: "},
    {4, "[member 1a]", "t.ini:4: [member 1a]: no name of a member; allowed: "},
    {4, "[member a_b]", "t.ini:4: [member a_b]: no name of a member; allowed: "},
    {4, "[member abcdefghijklmnopqrstuvwxyz012345]",
     "t.ini:4: [member abcdefghijklmnopqrstuvwxyz012345]: no name of a member; allowed: "},
    {4, "[pool", "t.ini:4: a section's line has ']' at its end"},
    {4, "[pool] name = x", "t.ini:4: a section's line has ']' at its end"},
    {4, "[pool]\nname = x", "t.ini:4: [pool]: stands twice, first on line 1; allowed: once"},
    {15, "[member a]\nsite = x",
     "t.ini:15: [member a]: stands twice, first on line 5; allowed: once"},
    {1, "name = x\n[pool]\n", "t.ini:1: a key before the first section; allowed: "},
    /* keys in general */
    {4, "http = 127.0.0.1:9788",
     "t.ini:4: [pool] http: unknown key; allowed: name, home, synchronous, synchronous_loss"},
    {15, "htp = 127.0.0.1:9788",
     "t.ini:15: [member a] htp: unknown key; allowed: site, ssh, host_key, "},
    {15, "Site = dc1", "t.ini:15: [member a] Site: unknown key; allowed: "},
    {15, "\303\244 = dc1", "t.ini:15: [member a] \\xc3\\xa4: unknown key; allowed: "},
    {15, "site = dc2", "t.ini:15: [member a] site: stands twice, first on line 6; allowed: once"},
    {4, "name = other", "t.ini:4: [pool] name: stands twice, first on line 2; allowed: once"},
    {15, "start =", "t.ini:15: [member a] start: no value; allowed: a command"},
    {15, "stop = ; later", "t.ini:15: [member a] stop: no value; allowed: a command"},
    {15, "start = x # y",
     "t.ini:15: [member a] start: ' #' in the value (a comment behind a value begins with ' ;')"},
    {15, "start = \303\244",
     "t.ini:15: [member a] start: a character outside ASCII; allowed: a command"},
    /* [pool] */
    {2, NULL, "t.ini:1: [pool] name: missing; allowed: small letters"},
    {3, NULL, "t.ini:1: [pool] home: missing; allowed: the site of a member"},
    {2, "name = Chat", "t.ini:2: [pool] name: 'Chat' is no name; allowed: small letters"},
    {3, "home = dc_1", "t.ini:3: [pool] home: 'dc_1' is no name; allowed: the site of a member"},
    {3, "home = dc3", "t.ini:3: [pool] home: no member is at 'dc3'; allowed: the site of a member"},
    {4, "downstream_max = 1000kB",
     "t.ini:4: [pool] downstream_max: '1000kB' is no size; allowed: 1MB to 1000TB"},
    {4, "relay_guests = 33", "t.ini:4: [pool] relay_guests: no number of guests; allowed: 0 to 32"},
    {4, "tunnel_user = walferry-tunnel; drop",
     "t.ini:4: [pool] tunnel_user: 'walferry-tunnel; drop' is no role; allowed: small letters, digits and"},
    {4, "slot_sync_user = A", "t.ini:4: [pool] slot_sync_user: 'A' is no role; allowed: small"},
    {4, "slot_sync_database = my-app",
     "t.ini:4: [pool] slot_sync_database: 'my-app' is no database with a plain name; allowed: small"},
    {4, "synchronous = yes",
     "t.ini:4: [pool] synchronous: 'yes' is nobody that commits can wait for; allowed: off, mirror, "},
    {4, "synchronous_loss = on",
     "t.ini:4: [pool] synchronous_loss: 'on' is neither degrade nor wait; allowed: degrade, wait"},
    {4, "synchronous_wait = 1s",
     "t.ini:4: [pool] synchronous_wait: '1s' is too short; allowed: 2s to 10min"},
    {4, "synchronous_wait = 11min",
     "t.ini:4: [pool] synchronous_wait: '11min' is too long; allowed: 2s to 10min"},
    {4, "shutdown_wait = 30",
     "t.ini:4: [pool] shutdown_wait: '30' is no duration; allowed: 0s to 10min"},
    {4, "shutdown_wait = 11min",
     "t.ini:4: [pool] shutdown_wait: '11min' is too long; allowed: 0s to 10min"},
    {17, "site = dc1",
     "t.ini:1: [pool]: all members are at dc1; allowed: members at two sites or more"},
    /* [member] */
    {6, NULL, "t.ini:5: [member a] site: missing; allowed: "},
    {7, NULL, "t.ini:5: [member a] ssh: missing; allowed: user@host"},
    {8, NULL, "t.ini:5: [member a] host_key: missing; allowed: one of host_key and known_hosts"},
    {9, NULL, "t.ini:5: [member a] identity: missing; allowed: an absolute path"},
    {21, NULL, "t.ini:16: [member b] postgres: missing; allowed: host="},
    {22, NULL, "t.ini:16: [member b] pgdata: missing; allowed: an absolute path"},
    {23, NULL, "t.ini:16: [member b] bindir: missing; allowed: an absolute path"},
    {24, NULL, "t.ini:16: [member b] spool: missing; allowed: an absolute path"},
    {25, NULL, "t.ini:16: [member b] run: missing; allowed: an absolute path"},
    {6, "site = 1dc", "t.ini:6: [member a] site: '1dc' is no name; allowed: "},
    {7, "ssh = 10.1.0.11",
     "t.ini:7: [member a] ssh: '10.1.0.11' has no user before an @; allowed: user@host"},
    {7, "ssh = @10.1.0.11",
     "t.ini:7: [member a] ssh: '@10.1.0.11' has no user before an @; allowed: "},
    {7, "ssh = -l@x", "t.ini:7: [member a] ssh: '-l@x' has no user before an @; allowed: "},
    {7, "ssh = a b@x", "t.ini:7: [member a] ssh: 'a b@x' has no user before an @; allowed: "},
    {7, "ssh = p@", "t.ini:7: [member a] ssh: 'p@' has no host behind the @; allowed: "},
    {7, "ssh = p@:22", "t.ini:7: [member a] ssh: 'p@:22' has no host behind the @; allowed: "},
    {7, "ssh = p@a/b", "t.ini:7: [member a] ssh: 'p@a/b' has no host behind the @; allowed: "},
    {7, "ssh = p@-x", "t.ini:7: [member a] ssh: 'p@-x' has no such host; allowed: "},
    {7, "ssh = p@x:",
     "t.ini:7: [member a] ssh: 'p@x:' has no port from 1 to 65535 behind the host; allowed: "},
    {7, "ssh = p@x:0", "t.ini:7: [member a] ssh: 'p@x:0' has no port from 1 to 65535"},
    {7, "ssh = p@x:65536", "t.ini:7: [member a] ssh: 'p@x:65536' has no port from 1 to 65535"},
    {7, "ssh = p@x:22x", "t.ini:7: [member a] ssh: 'p@x:22x' has no port from 1 to 65535"},
    {7, "ssh = p@::1", "t.ini:7: [member a] ssh: 'p@::1' has an IPv6 address without brackets"},
    {7, "ssh = p@[::1", "t.ini:7: [member a] ssh: 'p@[::1' has no IPv6 address in its brackets"},
    {7, "ssh = p@[10.1.0.1]",
     "t.ini:7: [member a] ssh: 'p@[10.1.0.1]' has no IPv6 address in its brackets"},
    {7, "ssh = p@[::1]22", "t.ini:7: [member a] ssh: 'p@[::1]22' has no port from 1 to 65535"},
    {8, "host_key = MD5:00",
     "t.ini:8: [member a] host_key: 'MD5:00' is no SHA256 fingerprint; allowed: SHA256:"},
    {8, "host_key = " KEY "=",
     "t.ini:8: [member a] host_key: '" KEY "=' is no SHA256 fingerprint; allowed: "},
    {15, "known_hosts = /etc/known",
     "t.ini:15: [member a] known_hosts: host_key is there, too; allowed: one of them"},
    {19, "known_hosts = known",
     "t.ini:19: [member b] known_hosts: 'known' is no absolute path; allowed: "},
    {9, "identity = id", "t.ini:9: [member a] identity: 'id' is no absolute path; allowed: "},
    {9, "identity = ~/id", "t.ini:9: [member a] identity: '~/id' is no absolute path; allowed: "},
    {11, "pgdata = data", "t.ini:11: [member a] pgdata: 'data' is no absolute path; allowed: "},
    {11, "pgdata = /", "t.ini:11: [member a] pgdata: '/' is no absolute path; allowed: "},
    {11, "pgdata = /da'ta",
     "t.ini:11: [member a] pgdata: '/da'ta' has a space, a quote or another special"},
    {11, "pgdata = /da ta",
     "t.ini:11: [member a] pgdata: '/da ta' has a space, a quote or another special"},
    {11, "pgdata = /data/",
     "t.ini:11: [member a] pgdata: '/data/' has '//', '/.', '/..' or a '/' at its end"},
    {11, "pgdata = //data", "t.ini:11: [member a] pgdata: '//data' has '//'"},
    {11, "pgdata = /x/../data", "t.ini:11: [member a] pgdata: '/x/../data' has '//'"},
    {11, "pgdata = /x/.", "t.ini:11: [member a] pgdata: '/x/.' has '//'"},
    {12, "bindir = bin", "t.ini:12: [member a] bindir: 'bin' is no absolute path; allowed: "},
    {13, "spool = spool", "t.ini:13: [member a] spool: 'spool' is no absolute path; allowed: "},
    {14, "run = run", "t.ini:14: [member a] run: 'run' is no absolute path; allowed: "},
    {14, "run = /run/67890123456789012345678901234567890123456789012345678901234",
     "t.ini:14: [member a] run: '/run/67890123456789012345678901234567890123456789012345678901234' "
     "is too long: 64"},
    {14, "run = /run/postgresql",
     "t.ini:14: [member a] run: the socket directory of PostgreSQL; allowed: "},
    {15, "http = localhost:9788",
     "t.ini:15: [member a] http: 'localhost:9788' is no numeric address with a port; allowed: "},
    {15, "http = 127.0.0.1", "t.ini:15: [member a] http: '127.0.0.1' is no numeric address with"},
    {15, "http = ::1", "t.ini:15: [member a] http: '::1' is no numeric address with a port"},
    {15, "http = [::1]", "t.ini:15: [member a] http: '[::1]' is no numeric address with a port"},
    {15, "http = 9788", "t.ini:15: [member a] http: '9788' is no numeric address with a port"},
    {15, "http = 127.0.0.1:0", "t.ini:15: [member a] http: '127.0.0.1:0' is no numeric address"},
    {15, "http = 127.0.0.1:65536", "t.ini:15: [member a] http: '127.0.0.1:65536' is no numeric"},
    {15, "http = 127.1:80", "t.ini:15: [member a] http: '127.1:80' is no numeric address with"},
    {15, "keep = 1", "t.ini:15: [member a] keep: '1' is no duration; allowed: 0s to 365d"},
    {15, "keep = h", "t.ini:15: [member a] keep: 'h' is no duration; allowed: "},
    {15, "keep = -1h", "t.ini:15: [member a] keep: '-1h' is no duration; allowed: "},
    {15, "keep = 1 h", "t.ini:15: [member a] keep: '1 h' is no duration; allowed: "},
    {15, "keep = 1w", "t.ini:15: [member a] keep: '1w' is no duration; allowed: "},
    {15, "keep = 366d", "t.ini:15: [member a] keep: '366d' is too long; allowed: "},
    {15, "keep = 99999999999999999999s",
     "t.ini:15: [member a] keep: '99999999999999999999s' is too long; allowed: "},
    /* postgres: a value may hold a password, so it is not shown */
    {10, "postgres = nonsense",
     "t.ini:10: [member a] postgres: no conninfo string; allowed: host="},
    {10, "postgres = user=x", "t.ini:10: [member a] postgres: host= is missing; allowed: "},
    {10, "postgres = host=db.example",
     "t.ini:10: [member a] postgres: host=db.example is neither a directory nor numeric"},
    {10, "postgres = host=10.0.0.1,10.0.0.2",
     "t.ini:10: [member a] postgres: host=10.0.0.1,10.0.0.2 is neither a dir"},
    {10, "postgres = host=/a/../b", "t.ini:10: [member a] postgres: host: '/a/../b' has '//'"},
    {10, "postgres = host=/a port=x",
     "t.ini:10: [member a] postgres: port=x is no port from 1 to 65535; allowed: "},
    {10, "postgres = host=/a password=secret",
     "t.ini:10: [member a] postgres: password= is not for this place; allowed: "},
    {10, "postgres = host=/a hostaddr=10.0.0.1",
     "t.ini:10: [member a] postgres: hostaddr= is not for this place"},
    {10, "postgres = host=/a replication=true",
     "t.ini:10: [member a] postgres: replication= is not for this place"},
    {10, "postgres = host=/a service=x",
     "t.ini:10: [member a] postgres: service= is not for this place"},
    {10,
     "postgres = "
     "host=/"
     "23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123"
     "4",
     "t.ini:10: [member a] postgres: "
     "host=/234567890123456789012345678901234567890123456789012345678901234567890123456"
     "789012345678901234 makes a socket path over 107 bytes"},
    /* two directories on one host */
    {22, "pgdata = /data/a",
     "t.ini:22: [member b] pgdata: the same directory as pgdata of member a on the same host"},
    {24, "spool = /spool/a",
     "t.ini:24: [member b] spool: the same directory as spool of member a on the same host"},
    {25, "run = /run/a",
     "t.ini:25: [member b] run: the same directory as run of member a on the same host"},
    {25, "run = /spool/b",
     "t.ini:25: [member b] run: the same directory as spool of member b on the same host"},
    {24, "spool = /data/b/spool",
     "t.ini:24: [member b] spool: inside of pgdata of member b on the same host"},
    {24, "spool = /data/a/spool",
     "t.ini:24: [member b] spool: inside of pgdata of member a on the same host"},
    {22, "pgdata = /run", "t.ini:22: [member b] pgdata: around run of member a on the same host"},
};

static void
test_config_every_error_names_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse_with(bad[i].line, bad[i].with), ERR_USAGE);
        assert_said(bad[i].error, 1);
        assert_null(strstr(said, "secret"));
    }
}

static void
test_config_all_errors_are_shown(void **state)
{
    static const char many[] =
        "[pool]\nname = Chat\nnme = chat\n[member a]\nsite = dc1\nkeep = 5\n  keep = 6\n"
        "[member b]\nkeep = 1h\n[member b]\nsite = x\n[zoo]\nx = y\n";
    static const char *const wanted[] = {
        "t.ini:2: [pool] name: 'Chat'",       "t.ini:3: [pool] nme: unknown key",
        "t.ini:6: [member a] keep: '5'",      "t.ini:7: [member a]: the line begins with a space",
        "t.ini:10: [member b]: stands twice", "t.ini:12: [zoo]: unknown section",
        "t.ini:1: [pool] home: missing",      "t.ini:4: [member a] ssh: missing",
        "t.ini:4: [member a] run: missing",   "t.ini:8: [member b] site: missing",
        "t.ini:8: [member b] spool: missing", "t.ini:8: [member b] host_key: missing",
    };

    (void)state;
    assert_int_equal(parse(many, strlen(many)), ERR_USAGE);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_non_null(strstr(said, wanted[i]));
    assert_said(wanted[0], 24);
    assert_string_equal(fail_message(), "t.ini: 24 errors, nothing is started");
}

static void
test_config_empty_one(void **state)
{
    (void)state;
    assert_int_equal(parse("", 0), ERR_USAGE);
    assert_string_equal(said,
                        "t.ini:1: [pool]: missing; allowed: once\n"
                        "t.ini:1: [pool]: members: 0; allowed: 2 to 8 sections [member NAME]\n");
}

static void
test_config_one_member_is_too_few(void **state)
{
    size_t length = make_text(0, NULL);

    (void)state;
    *strstr(text, "[member b]") = '\0';
    length = strlen(text);
    assert_int_equal(parse(text, length), ERR_USAGE);
    assert_string_equal(said,
                        "t.ini:1: [pool]: members: 1; allowed: 2 to 8 sections [member NAME]\n");
}

static void
test_config_nine_members_are_too_many(void **state)
{
    size_t used = make_text(0, NULL);

    (void)state;
    for (int m = 'c'; m <= 'i'; m++)
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "[member %c]\nsite = dc2\nssh = p@%c\nknown_hosts = /k\nidentity = /i\npostgres = "
            "host=::1\npgdata = /d\nbindir = /b\nspool = /s\nrun = /r\n",
            m, m);
    assert_int_equal(parse(text, used), ERR_USAGE);
    assert_string_equal(said, "t.ini:87: [member i]: one member too many; allowed: 8\n");
    assert_int_equal(c.members, 8);
}

static void
test_config_five_sites_are_too_many(void **state)
{
    size_t used = make_text(0, NULL);

    (void)state;
    for (int m = 'c'; m <= 'h'; m++)
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "[member %c]\nsite = dc%d\nssh = p@%c\nknown_hosts = /k\nidentity = /i\npostgres = "
            "host=::1\npgdata = /d\nbindir = /b\nspool = /s\nrun = /r\n",
            m, m < 'g' ? m - 'c' + 2 : 5, m);
    assert_int_equal(parse(text, used), ERR_USAGE);
    assert_string_equal(said, "t.ini:58: [member f] site: 'dc5' is one site too many; allowed: 4 "
                              "sites\n");
    assert_int_equal(c.members, 8);
}

static void
test_config_longest_line(void **state)
{
    char line[201];

    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line, "start = ", 8);
    line[CONFIG_LINE_MAX] = '\0';
    assert_int_equal(parse_with(15, line), 0);
    assert_int_equal(strlen(c.member[0].start), CONFIG_LINE_MAX - 8);
    line[CONFIG_LINE_MAX] = 'x';
    line[CONFIG_LINE_MAX + 1] = '\0';
    assert_int_equal(parse_with(15, line), ERR_USAGE);
    assert_string_equal(said, "t.ini:15: [member a]: the line has 199 bytes; allowed: 198\n");
}

static void
test_config_zero_byte(void **state)
{
    size_t length = make_text(0, NULL);

    (void)state;
    text[strlen("[pool]\nname")] = '\0';
    assert_int_equal(parse(text, length), ERR_USAGE);
    assert_said("t.ini:2: [pool]: a 0 byte; allowed: text\n", 2);
}

static void
test_config_what_editors_leave(void **state)
{
    size_t length = make_text(4, "   ; indented comment\n# another\n\t\n;\303\244"), used = 3;
    char other[4096] = "\xef\xbb\xbf";

    (void)state;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            other[used++] = '\r';
        other[used++] = text[i];
    }
    assert_int_equal(parse(other, used), 0);
    assert_string_equal(c.name, "chat");
    assert_int_equal(c.member[0].line, 8);
}

static void
test_config_inline_comments(void **state)
{
    (void)state;
    assert_int_equal(parse_with(15, "start = run it ; not this ; nor this"), 0);
    assert_string_equal(c.member[0].start, "run it");
    assert_int_equal(parse_with(15, "start = one;two # three"), ERR_USAGE);
    assert_int_equal(parse_with(15, "start = one;two"), 0);
    assert_string_equal(c.member[0].start, "one;two");
    assert_int_equal(parse_with(5, "[member a]   ; the first"), 0);
    assert_int_equal(parse_with(5, "[member \t a]"), 0);
    assert_string_equal(c.member[0].name, "a");
}

static void
test_config_durations(void **state)
{
    static const struct {
        const char *line;
        int64_t seconds;
    } good_ones[] = {
        {"keep = 0s", 0},    {"keep = 90s", 90},        {"keep = 10min", 600},
        {"keep = 1h", 3600}, {"keep = 365d", 31536000}, {"keep=31536000s", 31536000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof good_ones / sizeof *good_ones; i++) {
        assert_int_equal(parse_with(15, good_ones[i].line), 0);
        assert_int_equal(c.member[0].keep_us, good_ones[i].seconds * SECOND_US);
    }
    assert_int_equal(parse_with(4, "synchronous = on\nshutdown_wait = 0s"), 0);
    assert_int_equal(c.synchronous, SYNCHRONOUS_SITE);
    assert_int_equal(c.shutdown_wait_us, 0);
    assert_int_equal(c.synchronous_wait_us, 5 * SECOND_US);
    assert_false(c.synchronous_degrades);
    assert_int_equal(parse_with(4, "synchronous_loss = degrade\nsynchronous_wait = 2s"), 0);
    assert_int_equal(c.synchronous_wait_us, 2 * SECOND_US);
    assert_true(c.synchronous_degrades);
    assert_int_equal(parse_with(4, "shutdown_wait = 10min"), 0);
    assert_int_equal(c.shutdown_wait_us, 600 * SECOND_US);
}

/* Every mode is one for whichever member is the primary. */
static void
test_config_synchronous(void **state)
{
    static const struct {
        const char *line;
        enum synchronous mode;
    } modes[] = {{"synchronous = off", SYNCHRONOUS_OFF},
                 {"synchronous = on", SYNCHRONOUS_SITE},
                 {"synchronous = site", SYNCHRONOUS_SITE},
                 {"synchronous = any", SYNCHRONOUS_ANY},
                 {"synchronous = all", SYNCHRONOUS_ALL}};
    size_t used;

    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(parse_with(4, modes[i].line), 0);
        assert_int_equal(c.synchronous, modes[i].mode);
    }
    parse_with(4, "synchronous = mirror");
    assert_said("t.ini:4: [pool] synchronous: mirror, but a is alone at dc1: as the primary it "
                "would have no mirror; allowed: two members or more at each site, or site,",
                2);
    used = make_text(4, "synchronous = mirror");
    for (int i = 1; i <= 2; i++) {
        used += (size_t)snprintf(
            text + used, sizeof text - used,
            "[member x%d]\nsite = dc%d\nssh = p@x%d\nhost_key = " KEY
            "\nidentity = /i\npostgres = host=/p\npgdata = /d\nbindir = /b\nspool = /s\nrun = /r\n",
            i, i, i);
        parse(text, used);
        if (i == 1)
            assert_said("t.ini:4: [pool] synchronous: mirror, but b is alone at dc2: ", 1);
    }
    assert_string_equal(said, "");
    assert_int_equal(c.synchronous, SYNCHRONOUS_MIRROR);
}

static void
test_config_ssh(void **state)
{
    const struct lane_target *t = &c.member[0].target;

    (void)state;
    assert_int_equal(parse_with(7, "ssh = pg.x-1@db1.example.com:2222"), 0);
    assert_string_equal(t->user, "pg.x-1");
    assert_string_equal(t->host, "db1.example.com");
    assert_string_equal(t->port, "2222");
    assert_int_equal(parse_with(7, "ssh = p@[fd00::1]:65535"), 0);
    assert_string_equal(t->host, "fd00::1");
    assert_string_equal(t->port, "65535");
    assert_int_equal(parse_with(7, "ssh = p@[fd00::1]"), 0);
    assert_string_equal(t->port, "22");
}

static const char *
setting(const char *conninfo, const char *keyword, char out[128])
{
    PQconninfoOption *parsed = PQconninfoParse(conninfo, NULL);

    assert_non_null(parsed);
    out[0] = '\0';
    for (const PQconninfoOption *o = parsed; o->keyword != NULL; o++)
        if (o->val != NULL && strcmp(o->keyword, keyword) == 0)
            snprintf(out, 128, "%s", o->val);
    PQconninfoFree(parsed);
    return out;
}

static void
test_config_postgres_is_written_again(void **state)
{
    const char *conninfo = c.member[0].postgres;
    char out[128];

    (void)state;
    assert_int_equal(
        parse_with(10, "postgres = postgresql://o%27r@[::1]:5433/a%5Cb?passfile=/p%20p"), 0);
    assert_string_equal(setting(conninfo, "host", out), "::1");
    assert_string_equal(setting(conninfo, "port", out), "5433");
    assert_string_equal(setting(conninfo, "user", out), "o'r");
    assert_string_equal(setting(conninfo, "dbname", out), "a\\b");
    assert_string_equal(setting(conninfo, "passfile", out), "/p p");
    assert_int_equal(parse_with(10, "postgres = host=10.0.0.1"), 0);
    assert_string_equal(conninfo, "host='10.0.0.1' dbname='postgres'");
}

static void
test_config_postgres_too_long(void **state)
{
    char line[200] = "postgres = host=/a user='";
    size_t used = strlen(line);

    (void)state;
    while (used < CONFIG_LINE_MAX - 4) {
        memcpy(line + used, "\\'", 2); /* two bytes again when it is written */
        used += 2;
    }
    memcpy(line + used, "'", 2);
    assert_int_equal(parse_with(10, line), 0);
    memset(line, '\0', sizeof line);
    used = (size_t)snprintf(line, sizeof line, "postgres = postgresql:///?host=/a&user=");
    for (; used < CONFIG_LINE_MAX; used++)
        line[used] = '\'';
    assert_int_equal(parse_with(10, line), ERR_USAGE);
    assert_said("t.ini:10: [member a] postgres: too long: over 255 bytes; allowed: ", 1);
}

static void
test_config_same_directories_elsewhere(void **state)
{
    (void)state;
    make_text(18, "ssh = postgres@10.1.0.11:2222\nkeep = 1h");
    *strstr(text, "keep = 2d") = '\0';
    memcpy(strstr(text, "/data/b"), "/data/a", 7);
    memcpy(strstr(text, "/spool/b"), "/spool/a", 8);
    memcpy(strstr(text, "= /sock/b"), "=  /run/a", 9);
    assert_int_equal(parse(text, strlen(text)), 0);
}

static void
test_config_digest_tells_files_apart(void **state)
{
    uint64_t one;

    (void)state;
    parse_with(0, NULL);
    one = c.digest;
    parse_with(4, "");
    assert_int_equal(c.digest, one);
    parse_with(4, ";");
    assert_int_not_equal(c.digest, one);
}

static void
test_config_slot_names(void **state)
{
    char name[SLOT_NAME_SIZE];

    (void)state;
    config_slot_name(name, "dc2-a");
    assert_string_equal(name, "walferry_dc2_a");
    config_slot_name(name, "abcdefghijklmnopqrstuvwxyz01234");
    assert_string_equal(name, "walferry_abcdefghijklmnopqrstuvwxyz01234");
}

/* ---- which member, which file ---- */

static int
self_of(const char *ssh_a, const char *ssh_b, const char *option, const struct member **ret)
{
    char a[300], b[2048];

    snprintf(a, sizeof a, "ssh = p@%s", ssh_a);
    make_text(7, a);
    snprintf(b, sizeof b, "%.*sssh = p@%s\n%s",
             (int)(strstr(text, "ssh = postgres@10.1.0.11:22") - text), text, ssh_b,
             strstr(text, "known_hosts"));
    assert_int_equal(parse(b, strlen(b)), 0);
    return config_self(&c, option, ret);
}

static void
test_config_self_by_name(void **state)
{
    const struct member *self = NULL;

    (void)state;
    unsetenv("WALFERRY_MEMBER");
    parse_with(0, NULL);
    assert_int_equal(config_self(&c, "b", &self), 0);
    assert_string_equal(self->name, "b");
    assert_string_equal(c.member[0].target.identity, "/etc/id_b"); /* it is b who dials a */
    setenv("WALFERRY_MEMBER", "a", 1);
    assert_int_equal(config_self(&c, NULL, &self), 0);
    assert_string_equal(self->name, "a");
    assert_int_equal(config_self(&c, "x\n", &self), ERR_USAGE);
    assert_string_equal(
        fail_message(),
        "'x\\x0a' is no member of t.ini; choose with --member or WALFERRY_MEMBER: a, b");
    unsetenv("WALFERRY_MEMBER");
}

static void
test_config_self_by_machine(void **state)
{
    const struct member *self = NULL;
    char name[128];

    (void)state;
    unsetenv("WALFERRY_MEMBER");
    assert_int_equal(gethostname(name, sizeof name), 0);
    assert_int_equal(self_of("198.51.100.1", name, NULL, &self), 0);
    assert_string_equal(self->name, "b");
    assert_int_equal(self_of("127.0.0.1", "198.51.100.1", NULL, &self), 0);
    assert_string_equal(self->name, "a");
    assert_int_equal(self_of("198.51.100.1", "[::1]:2222", NULL, &self), 0);
    assert_string_equal(self->name, "b");
    assert_int_equal(self_of("127.0.0.1:22", "localhost:2222", NULL, &self), ERR_USAGE);
    assert_string_equal(
        fail_message(),
        "this machine is the ssh host of no member of t.ini; choose with --member or "
        "WALFERRY_MEMBER: a, b");
    assert_int_equal(self_of("127.0.0.1", name, NULL, &self), ERR_USAGE);
    assert_string_equal(
        fail_message(),
        "this machine is the ssh host of several members of t.ini; choose with --member "
        "or WALFERRY_MEMBER: a, b");
    assert_int_equal(self_of("198.51.100.1", "198.51.100.2", NULL, &self), ERR_USAGE);
}

static void
test_config_self_by_address(void **state)
{
    const struct member *self = NULL;
    struct ifaddrs *addresses;
    char text_of[128], host[160];

    (void)state;
    assert_int_equal(getifaddrs(&addresses), 0);
    for (const struct ifaddrs *a = addresses; a != NULL; a = a->ifa_next) {
        int family = a->ifa_addr != NULL ? a->ifa_addr->sa_family : AF_UNSPEC;
        socklen_t size =
            family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

        if ((family != AF_INET && family != AF_INET6) || (a->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        assert_int_equal(
            getnameinfo(a->ifa_addr, size, text_of, sizeof text_of, NULL, 0, NI_NUMERICHOST), 0);
        if (strchr(text_of, '%') != NULL)
            continue; /* link-local: no address to reach a member by */
        snprintf(host, sizeof host, "%s%s%s:2222", family == AF_INET6 ? "[" : "", text_of,
                 family == AF_INET6 ? "]" : "");
        assert_int_equal(self_of("198.51.100.1", host, NULL, &self), 0);
        assert_string_equal(self->name, "b");
    }
    freeifaddrs(addresses);
}

static void
test_config_find(void **state)
{
    char out[256], tight[8];

    (void)state;
    setenv("WALFERRY_CONFIG", "/x/env.ini", 1);
    assert_int_equal(config_find("/x/option.ini", out, sizeof out), 0);
    assert_string_equal(out, "/x/option.ini");
    assert_int_equal(config_find(NULL, out, sizeof out), 0);
    assert_string_equal(out, "/x/env.ini");
    assert_int_equal(config_find(NULL, tight, sizeof tight), ERR_USAGE);
    unsetenv("WALFERRY_CONFIG");
}

/* ---- files ---- */

static char root[] = "/tmp/walferry-config-XXXXXX";

static const char *
in_root(const char *name)
{
    static char path[4][64];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", root, name);
    return path[turn];
}

static void
put(const char *name, const char *content, mode_t mode)
{
    FILE *file = fopen(in_root(name), "w");

    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    assert_int_equal(chmod(in_root(name), mode), 0);
}

static int
load(const char *name)
{
    FILE *errors = fmemopen(said, sizeof said, "w");
    int code;

    said[0] = '\0';
    code = config_load(&c, in_root(name), errors);
    fclose(errors);
    return code;
}

static void
finds(const char *option, const char *first, const char *last)
{
    glob_t found;

    assert_int_equal(config_find_all(option, &found), 0);
    assert_int_equal(found.gl_pathc, 2);
    assert_string_equal(found.gl_pathv[0], first);
    assert_string_equal(found.gl_pathv[1], last);
    globfree(&found);
}

static void
test_config_find_all(void **state)
{
    char folder[64], a[96], b[96];
    glob_t found;

    (void)state;
    snprintf(folder, sizeof folder, "%s/pools", root);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(config_find_all(folder, &found), ERR_USAGE);
    put("pools/mail.ini", "", 0600);
    put("pools/chat.ini", "", 0600);
    put("pools/chat.old", "", 0600);
    snprintf(a, sizeof a, "%s/chat.ini", folder);
    snprintf(b, sizeof b, "%s/mail.ini", folder);
    finds(folder, a, b);
    finds(b, a, b);
    setenv("WALFERRY_CONFIG", a, 1);
    finds(NULL, a, b);
    unsetenv("WALFERRY_CONFIG");
    unlink(a);
    unlink(b);
    unlink(in_root("pools/chat.old"));
    assert_int_equal(rmdir(folder), 0);
}

static void
test_config_file_must_be_guarded(void **state)
{
    static const mode_t open_modes[] = {0666, 0664, 0646, 0620};
    char wanted[128];

    (void)state;
    make_text(0, NULL);
    put("t.ini", text, 0644);
    assert_int_equal(load("t.ini"), 0);
    assert_string_equal(c.file, in_root("t.ini"));
    for (size_t i = 0; i < sizeof open_modes / sizeof *open_modes; i++) {
        put("t.ini", text, open_modes[i]);
        assert_int_equal(load("t.ini"), ERR_USAGE);
        snprintf(wanted, sizeof wanted, "%s: others may write it (mode %04o); chmod go-w",
                 in_root("t.ini"), (unsigned)open_modes[i]);
        assert_non_null(strstr(said, wanted));
    }
    put("t.ini", text, 0600);
    if (geteuid() == 0) { /* only root can give a file away */
        assert_int_equal(chown(in_root("t.ini"), 65534, 65534), 0);
        assert_int_equal(load("t.ini"), ERR_USAGE);
        assert_non_null(strstr(said, "belongs to user 65534, who may write it"));
    }
}

static void
test_config_file_unreadable(void **state)
{
    static char large[70000];

    (void)state;
    assert_int_equal(load("absent.ini"), ERR_USAGE);
    assert_non_null(strstr(said, "absent.ini: cannot be read: No such file"));
    assert_int_equal(load("."), ERR_USAGE);
    assert_non_null(strstr(said, "cannot be read: Is a directory"));
    memset(large, '\n', sizeof large - 1);
    put("large.ini", large, 0644);
    assert_int_equal(load("large.ini"), ERR_USAGE);
    assert_non_null(strstr(said, "large.ini: too long; allowed: 65536 bytes"));
}

static void
local_setup(void)
{
    struct member *m = &c.member[0];

    assert_int_equal(parse_with(0, NULL), 0);
    snprintf(m->pgdata, sizeof m->pgdata, "%s", in_root("data"));
    snprintf(m->bindir, sizeof m->bindir, "%s", in_root("bin"));
    snprintf(m->identity, sizeof m->identity, "%s", in_root("id"));
    snprintf(m->spool, sizeof m->spool, "%s", in_root("spool"));
    snprintf(m->run, sizeof m->run, "%s", in_root("run"));
    snprintf(c.member[1].target.known_hosts, sizeof c.member[1].target.known_hosts, "%s",
             in_root("known"));
    assert_true(mkdir(in_root("data"), 0700) == 0 || errno == EEXIST);
    assert_true(mkdir(in_root("bin"), 0755) == 0 || errno == EEXIST);
    put("data/PG_VERSION", "15\n", 0600);
    put("bin/pg_ctl", "", 0755);
    put("id", "key", 0600);
    put("known", "", 0644);
    rmdir(in_root("spool"));
    rmdir(in_root("run"));
}

/* One error that begins so, behind "file:line: "; NULL: none. */
static void
check_local(const char *wanted)
{
    FILE *errors = fmemopen(said, sizeof said, "w");
    char start[128];
    int code;

    said[0] = '\0';
    code = config_check_local(&c, &c.member[0], errors);
    fclose(errors);
    snprintf(start, sizeof start, "%s%s", wanted != NULL ? "t.ini:" : "",
             wanted != NULL ? wanted : "");
    assert_said(start, wanted != NULL);
    assert_int_equal(code, wanted != NULL ? ERR_USAGE : 0);
}

static void
test_config_local_makes_directories(void **state)
{
    struct stat st;

    (void)state;
    local_setup();
    check_local(NULL);
    assert_int_equal(stat(in_root("run"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(in_root("spool"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    check_local(NULL);
}

static void
test_config_local_versions(void **state)
{
    (void)state;
    local_setup();
    put("data/PG_VERSION", "13\n", 0600);
    check_local(NULL);
    put("data/PG_VERSION", "18\n", 0600);
    check_local(NULL);
    put("data/PG_VERSION", "19\n", 0600);
    check_local("5: [member a] pgdata: ");
    put("data/PG_VERSION", "9.6\n", 0600);
    check_local("5: [member a] pgdata: ");
    put("data/PG_VERSION", "", 0600);
    check_local("5: [member a] pgdata: no PostgreSQL in it");
    unlink(in_root("data/PG_VERSION"));
    check_local(NULL); /* a member that has no copy yet */
    put("data/notes", "", 0600);
    check_local("5: [member a] pgdata: no PostgreSQL in it");
    unlink(in_root("data/notes"));
}

static void
test_config_local_wrong_files(void **state)
{
    (void)state;
    local_setup();
    put("id", "key", 0640);
    check_local("5: [member a] identity: ");
    assert_non_null(strstr(said, "is open to others (mode 0640); chmod 600 "));
    unlink(in_root("id"));
    check_local("5: [member a] identity: ");
    local_setup();
    chmod(in_root("bin/pg_ctl"), 0644);
    check_local("5: [member a] bindir: cannot run ");
    local_setup();
    unlink(in_root("known"));
    check_local("16: [member b] known_hosts: cannot read ");
}

static void
test_config_local_wrong_directories(void **state)
{
    struct member *m = &c.member[0];

    (void)state;
    local_setup();
    check_local(NULL);
    chmod(in_root("run"), 0750);
    check_local("5: [member a] run: ");
    assert_non_null(strstr(said, "is open to others (mode 0750); chmod 700 "));
    chmod(in_root("run"), 0700);
    chmod(in_root("spool"), 0750);
    check_local(NULL);
    chmod(in_root("spool"), 0755);
    check_local("5: [member a] spool: ");
    chmod(in_root("spool"), 0700);
    snprintf(m->run, sizeof m->run, "%s", in_root("no/run"));
    check_local("5: [member a] run: cannot make ");
    assert_non_null(strstr(said, "/no/run: No such file"));
    snprintf(m->run, sizeof m->run, "%s", in_root("id"));
    check_local("5: [member a] run: ");
    assert_non_null(strstr(said, "is no directory"));
}

static void
test_config_local_other_owner(void **state)
{
    static const char *const mine[] = {"data", "id", "spool", "run"};
    static const char *const wanted[] = {"5: [member a] pgdata: ", "5: [member a] identity: ",
                                         "5: [member a] spool: ", "5: [member a] run: "};

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can give a file away */
    local_setup();
    check_local(NULL);
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++) {
        assert_int_equal(chown(in_root(mine[i]), 65534, 65534), 0);
        check_local(wanted[i]);
        assert_int_equal(chown(in_root(mine[i]), 0, 0), 0);
    }
    assert_int_equal(chown(in_root("data"), 65534, 65534), 0);
    check_local("5: [member a] pgdata: ");
    assert_non_null(strstr(said, "belongs to nobody, this runs as root; run as nobody"));
    assert_int_equal(chown(in_root("data"), 0, 0), 0);
}

static int
setup(void **state)
{
    (void)state;
    umask(0);
    return mkdtemp(root) == NULL;
}

static int
teardown(void **state)
{
    static const char *const files[] = {"t.ini",      "large.ini", "data/PG_VERSION",
                                        "bin/pg_ctl", "id",        "known"};
    static const char *const directories[] = {"data", "bin", "spool", "run"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(in_root(files[i]));
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        rmdir(in_root(directories[i]));
    return rmdir(root);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_good_one_and_defaults),
        cmocka_unit_test(test_config_http),
        cmocka_unit_test(test_config_reserve_is_a_share_and_perhaps_a_cap),
        cmocka_unit_test(test_config_example_is_right),
        cmocka_unit_test(test_config_every_truncation),
        cmocka_unit_test(test_config_every_error_names_its_place),
        cmocka_unit_test(test_config_all_errors_are_shown),
        cmocka_unit_test(test_config_empty_one),
        cmocka_unit_test(test_config_one_member_is_too_few),
        cmocka_unit_test(test_config_nine_members_are_too_many),
        cmocka_unit_test(test_config_five_sites_are_too_many),
        cmocka_unit_test(test_config_longest_line),
        cmocka_unit_test(test_config_zero_byte),
        cmocka_unit_test(test_config_what_editors_leave),
        cmocka_unit_test(test_config_inline_comments),
        cmocka_unit_test(test_config_durations),
        cmocka_unit_test(test_config_synchronous),
        cmocka_unit_test(test_config_ssh),
        cmocka_unit_test(test_config_postgres_is_written_again),
        cmocka_unit_test(test_config_postgres_too_long),
        cmocka_unit_test(test_config_same_directories_elsewhere),
        cmocka_unit_test(test_config_digest_tells_files_apart),
        cmocka_unit_test(test_config_slot_names),
        cmocka_unit_test(test_config_self_by_name),
        cmocka_unit_test(test_config_self_by_machine),
        cmocka_unit_test(test_config_self_by_address),
        cmocka_unit_test(test_config_find),
        cmocka_unit_test(test_config_find_all),
        cmocka_unit_test(test_config_file_must_be_guarded),
        cmocka_unit_test(test_config_file_unreadable),
        cmocka_unit_test(test_config_local_makes_directories),
        cmocka_unit_test(test_config_local_versions),
        cmocka_unit_test(test_config_local_wrong_files),
        cmocka_unit_test(test_config_local_wrong_directories),
        cmocka_unit_test(test_config_local_other_owner),
    };

    return cmocka_run_group_tests_name("config", tests, setup, teardown);
}
