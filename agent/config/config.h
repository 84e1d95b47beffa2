/*
 * config: the pool's one INI file, the same on every member, checked whole before anything starts.
 *
 * Keys and defaults: conf/pool.ini is the commented example of every key. All errors are found in
 * one pass, each one line "FILE:LINE: [section] key: what is wrong; what is allowed". Refused: an
 * unknown or duplicate section or key, a value out of range, a missing key, an indented line (inih
 * would continue the value above), a line over CONFIG_LINE_MAX bytes, a socket path that would pass
 * 107 bytes, two directories on one host that are the same or lie in a pgdata, a file that group or
 * others may write, fewer than 2 or more than MEMBERS_MAX members, members all at one site.
 */
#ifndef AGENT_CONFIG_CONFIG_H
#define AGENT_CONFIG_CONFIG_H

#include "config/reserve.h"

#include "base/identity.h"
#include "shipper/ssh/lane.h"
#include "shipper/sender/link.h"

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MEMBERS_MAX      8
#define CONFIG_BYTES_MAX (64u << 10) /* of the file */
#define CONFIG_LINE_MAX  198         /* bytes: what every inih takes, with its newline */

struct http_place {
    char host[46]; /* numeric */
    char port[8];
};

struct member {
    char name[MEMBER_NAME_SIZE];
    char site[MEMBER_NAME_SIZE];
    struct lane_target
        target; /* from ssh, host_key, known_hosts; identity is config_self's to fill */
    struct lane_target tunnel_target; /* the same, with the key for tunnels; config_self's */
    char identity[256];               /* this member's own private key, for dialing out */
    char tunnel_identity[256];        /* ... for tunnels to PostgreSQL and relays; "": identity */
    char postgres[256]; /* conninfo, name='value' ...: host is a socket directory or a numeric
                           address */
    char pgdata[256];
    char bindir[256];
    char start[256], stop[256]; /* "" : pg_ctl on pgdata */
    char spool[256];
    char outbox[264]; /* default: outbox in the spool */
    char run[64];
    int64_t keep_us;
    int64_t escrow_keep_us; /* what a rejoin kept is removed after that; default 30 days */
    char site_files[256];   /* the list of files that the other site keeps; "" : none */
    struct http_place http; /* host "" : nothing is served */
    char http_names[256]; /* by which it may be asked, besides addresses; commas and spaces between
                           */
    int nice;             /* of the agent: 0 to 19 */
    cpu_set_t cpus;       /* that the agent may use; none set: all */
    int line;             /* of its section, for messages */
    char fetch_command[256]; /* a segment of the WAL archive; "": there is none */
};

struct config {
    char file[256];
    char name[MEMBER_NAME_SIZE]; /* pool */
    char home[MEMBER_NAME_SIZE]; /* site */
    bool synchronous;            /* the agent owns synchronous_standby_names; default no */
    int64_t shutdown_wait_us;    /* default 30 s */
    /* check's limits; default 10 s, 1 min, 1 min, 10 min */
    int64_t exposure_warning_us, exposure_critical_us, apply_warning_us, apply_critical_us;
    struct link_settings shipping; /* default: all automatic, no limit */
    /* ... and of the events; default 10 s, 1 min; 4 GB, 16 GB; full in 1 h, 10 min */
    int64_t ship_warning_us, ship_critical_us;
    uint64_t slot_warning_bytes, slot_critical_bytes;
    int64_t disk_warning_us, disk_critical_us;
    /* the guard of pg_wal; default 8 GB, 64 GB, 10 % or 16 GB, release, 5 min */
    uint64_t slot_retain_max_bytes, outbox_max_bytes;
    struct reserve pg_wal_reserve;
    bool on_full_hold;
    int64_t feedback_keep_us;   /* a standby away for longer holds back no vacuum */
    char event_command[256];    /* absolute; "" : none */
    uint64_t fetch_limit_bytes; /* of a gap, got without asking; default 16 GB */
    unsigned relay_guests;      /* places; default 8 */
    int event_command_line;
    char tunnel_user[64]; /* the database role that tunnels lead to; default walferry_tunnel */
    uint64_t digest;      /* FNV-1a of the file's bytes: agents compare it */
    struct member member[MEMBERS_MAX];
    size_t members;
};

/* Read and check; every error goes to `errors` as one line. 0 or ERR_USAGE (message: how many). */
int config_load(struct config *c, const char *file, FILE *errors);

/* The same from memory (tests, fuzz): `name` stands for the file; no permission checks. */
int config_parse(struct config *c, const char *name, const char *text, size_t length, FILE *errors);

uint64_t config_digest(const char *text, size_t length);

/* One of lanes, compression, rate_limit, as the file has it. ERR_USAGE names what is allowed. */
int config_set(struct link_settings *s, const char *key, const char *value);

const struct member *config_member(const struct config *c, const char *name); /* NULL: unknown */

/* Which file: option, else WALFERRY_CONFIG, else the only *.ini in /etc/walferry. ERR_USAGE. */
int config_find(const char *option, char *out, size_t size);

/* Which member we are: option, else WALFERRY_MEMBER, else the one whose ssh host is an address or
 * the name of this machine (a loopback address: if it is the only one in the file). ERR_USAGE lists
 * the candidates. Every target gets our identity, for it is us who dials. */
int config_self(struct config *c, const char *option, const struct member **ret_member);

/*
 * What only this host can tell: pgdata is ours, PostgreSQL 13 to 17, the tools are there, the
 * identity is private, the processors of `cpus` exist, run and spool are ours (made 0700 if
 * missing), known_hosts of the others can be read. Errors as in config_load, with the line of the
 * section. 0 or ERR_USAGE.
 */
int config_check_local(const struct config *c, const struct member *self, FILE *errors);

/* "walferry_" and the member's name with '-' as '_': slot and application_name of the link to it.
 */
#define SLOT_NAME_SIZE 48
void config_slot_name(char out[SLOT_NAME_SIZE], const char *member);

/* The database role of a member's agent: `user` of its `postgres`, else this process's user. */
#define ROLE_NAME_SIZE 64
void config_role(char out[ROLE_NAME_SIZE], const struct member *member);

#endif
