/* SPDX-License-Identifier: PostgreSQL */
/*
 * config: the pool's one INI file, the same on every member, checked whole before anything starts.
 *
 *   config.c   reads the file: sections, lines, keys
 *   key.c      the keys, and what each of them takes; conf/pool.ini is the commented example
 *   check.c    what shows only when the whole file is read
 *   member.c   which member this process is
 *   host.c     what only this host can tell
 *
 * All errors are found in one pass, each one line "FILE:LINE: [section] key: what is wrong; what is
 * allowed". Refused: an unknown or duplicate section or key, a value out of range, a missing key,
 * an indented line (inih would continue the value above), a line over CONFIG_LINE_MAX bytes, a
 * socket path over 107 bytes, two directories on one host that are the same or lie in a pgdata, a
 * file that group or others may write, fewer than 2 or more than MEMBERS_MAX members, members all
 * at one site or at more than SITES_MAX.
 */
#ifndef AGENT_CONFIG_CONFIG_H
#define AGENT_CONFIG_CONFIG_H

#include "config/reserve.h"

#include "base/identity.h"
#include "shipper/ssh/lane.h"
#include "shipper/sender/link.h"

#include <sched.h>
#include <glob.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MEMBERS_MAX      8
#define SITES_MAX        4
#define CONFIG_BYTES_MAX (64u << 10) /* of the file */
#define CONFIG_LINE_MAX  198         /* bytes: what every inih takes, with its newline */

/* Whom commits wait for (pool/quorum.h). */
enum synchronous {
    SYNCHRONOUS_OFF,
    SYNCHRONOUS_MIRROR, /* any mirror */
    SYNCHRONOUS_SITE,   /* any member of another site */
    SYNCHRONOUS_ANY,    /* either */
    SYNCHRONOUS_ALL,
};
const char *synchronous_name(enum synchronous mode);

struct http_place {
    char host[46]; /* numeric */
    char port[8];
};

/* Defaults of optional keys are in begin_member (config.c). */
struct member {
    char name[MEMBER_NAME_SIZE];
    char site[MEMBER_NAME_SIZE];
    struct lane_target target;        /* from ssh, host_key, known_hosts; see config_self */
    struct lane_target tunnel_target; /* the same with the key for tunnels; set by config_self */
    char identity[256];               /* the private key with which this member dials */
    char tunnel_identity[256];        /* its key for tunnels; "": identity */
    char postgres[256];               /* conninfo; host is a directory or a numeric address */
    char pgdata[256];
    char bindir[256];
    char start[256], stop[256]; /* "": pg_ctl on pgdata */
    char spool[256];
    char outbox[264]; /* default: outbox in the spool */
    char run[64];
    int64_t keep_us;
    int64_t escrow_keep_us; /* how long the escrow of a rejoin is kept */
    char site_files[256];   /* the list of files that the other site keeps; "": none */
    struct http_place http; /* host "": nothing is served */
    char http_names[256];   /* Host: headers allowed besides addresses; commas and spaces between */
    int nice;               /* of the agent: 0 to 19 */
    cpu_set_t cpus;         /* that the agent may use; none set: all */
    int line;               /* of its section, for messages */
    char fetch_command[256]; /* gets a segment from the WAL archive; "": there is no archive */
};

/* Defaults of optional keys are in config_parse. */
struct config {
    char file[256];
    char name[MEMBER_NAME_SIZE];  /* of the pool */
    char home[MEMBER_NAME_SIZE];  /* site */
    enum synchronous synchronous; /* but off: the agent owns synchronous_standby_names */
    bool synchronous_degrades;    /* commits go on when they have waited for synchronous_wait_us */
    int64_t synchronous_wait_us;
    int64_t shutdown_wait_us;
    struct link_settings shipping;
    /* limits of check and of the events */
    int64_t exposure_warning_us, exposure_critical_us;
    int64_t apply_warning_us, apply_critical_us;
    int64_t ship_warning_us, ship_critical_us;
    uint64_t slot_warning_bytes, slot_critical_bytes;
    int64_t disk_warning_us, disk_critical_us; /* full in less */
    /* the disk guard */
    uint64_t slot_retain_max_bytes, outbox_max_bytes;
    uint64_t downstream_max_bytes; /* that a spool keeps for a member which is fed from it */
    struct reserve pg_wal_reserve;
    bool on_full_hold;
    int64_t feedback_keep_us;   /* a standby that is away for longer holds back no vacuum */
    char event_command[256];    /* absolute; "": none */
    int event_command_line;     /* for messages */
    uint64_t fetch_limit_bytes; /* larger gaps are filled only with consent */
    unsigned relay_guests;      /* at most */
    char tunnel_user[64];       /* the database role that tunnels lead to */
    /* as whom, and where, a standby's slot synchronization asks the primary; the file's, or that of
     * tunnels */
    char slot_sync_user[64], slot_sync_database[64];
    uint64_t digest; /* of the file's bytes: agents compare it */
    struct member member[MEMBERS_MAX];
    size_t members;
};

/* Read and check; every error goes to `errors` as one line. 0 or ERR_USAGE (message: how many). */
int config_load(struct config *c, const char *file, FILE *errors);

/* The same from memory (tests, fuzz): `name` stands for the file; no permission checks. */
int config_parse(struct config *c, const char *name, const char *text, size_t length, FILE *errors);

uint64_t config_digest(const char *text, size_t length); /* FNV-1a */

/* Set lanes, compression or rate_limit to a value as in the file. ERR_USAGE: what is allowed. */
int config_set(struct link_settings *s, const char *key, const char *value);

const struct member *config_member(const struct config *c, const char *name); /* NULL: unknown */

/* All *.ini of the folder of `option` (a file in it, or the folder), else of WALFERRY_CONFIG's, else of
 * /etc/walferry, in the order of their names; globfree is the caller's. ERR_USAGE: there is none. */
int config_find_all(const char *option, glob_t *ret_found);

/* Which file: option, else WALFERRY_CONFIG, else the only *.ini in /etc/walferry. ERR_USAGE. */
int config_find(const char *option, char *out, size_t size);

/*
 * Which member this process is: option, else WALFERRY_MEMBER, else the member whose ssh host is an
 * address or the name of this machine (a loopback address: if no other member has one). ERR_USAGE
 * lists the candidates. The identity of this member goes into every target: this member dials.
 */
int config_self(struct config *c, const char *option, const struct member **ret_member);

/*
 * What only this host can tell: pgdata is ours, a PostgreSQL that works with us, the tools are
 * there, the identity is private, the processors of `cpus` exist, run and spool are ours (made 0700
 * if missing), known_hosts of the others can be read. Errors as in config_load, with the line of
 * the section. 0 or ERR_USAGE.
 */
int config_check_local(const struct config *c, const struct member *self, FILE *errors);

/* Slot and application_name of the link to a member: "walferry_" and its name, '-' as '_'. */
#define SLOT_NAME_SIZE 48
void config_slot_name(char out[SLOT_NAME_SIZE], const char *member);

/*
 * How the line of authorized_keys on the host of `to` must begin for the key of `from`; no_tunnel:
 * a key that only ships and asks. Returns out.
 */
#define KEY_LINE_SIZE 512
const char *config_key_line(char out[KEY_LINE_SIZE], const struct config *config, const char *to,
                            const char *from, bool no_tunnel);

/* The database role of a member's agent: `user` of its `postgres`, else this process's user. */
#define ROLE_NAME_SIZE 64
void config_role(char out[ROLE_NAME_SIZE], const struct member *member);

#endif
