/* SPDX-License-Identifier: PostgreSQL */
/*
 * parse: what the files of this folder share while a pool's file is read and checked: the keys, the
 * file as it was read so far, and the complaints about it.
 */
#ifndef AGENT_CONFIG_PARSE_H
#define AGENT_CONFIG_PARSE_H

#include "config/config.h"

#define SHOWN_SIZE 64 /* of a text that a message shows */

/* Where errors go, and the section that they are in. */
struct complaints {
    const char *file;
    FILE *out;
    int count;
    char section[SHOWN_SIZE]; /* "[member dc1-a]"; "" before the first */
};

/* Write one error: "FILE:LINE: [section] key: what is wrong; what is allowed". key may be NULL. */
void complain(struct complaints *to, int line, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The section of the next errors: that of a member, or [pool] for NULL. */
void complain_in(struct complaints *to, const struct member *m);

/* 0 if there was no error, else ERR_USAGE with how many there were. */
int complaints_verdict(const struct complaints *to);

struct key {
    const char *name;
    bool required;
    /* Check the value and put it into its field, or fail with what is wrong with the value. */
    int (*take)(const char *value, void *out, size_t size);
    size_t offset, size; /* of the field in struct config or struct member */
    const char *allowed; /* for messages */
};

enum pool_key {
    POOL_NAME,
    POOL_HOME,
    POOL_SYNCHRONOUS,
    POOL_SYNCHRONOUS_LOSS,
    POOL_SYNCHRONOUS_WAIT,
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
    POOL_DOWNSTREAM_MAX,
    POOL_PG_WAL_RESERVE,
    POOL_ON_FULL,
    POOL_FEEDBACK_KEEP,
    POOL_RELAY_GUESTS,
    POOL_TUNNEL_USER,
    POOL_SLOT_SYNC_USER,
    POOL_SLOT_SYNC_DATABASE,
    POOL_KEYS
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

extern const struct key pool_keys[POOL_KEYS], member_keys[MEMBER_KEYS];

#define NAME_ALLOWED "small letters, digits and -, a letter first, at most 31"
bool key_is_name(const char *s);
bool key_is_numeric(const char *host); /* an address, no name */

/* A file that is being read. */
struct parse {
    struct complaints to;
    struct config *c;
    const char *at, *end; /* the text that inih has not seen yet */
    int line;
    int pool_line; /* of [pool]; 0: not read yet */
    bool sections; /* a section was read */
    bool refused;  /* a section was refused */
    /* the line of each key; 0: not in the file */
    int pool_key_line[POOL_KEYS], member_key_line[MEMBERS_MAX][MEMBER_KEYS];
    /* the section that is being read; keys is NULL in a refused one */
    const struct key *keys;
    size_t key_count;
    void *into;
    int *key_line;
};

/* Complain about all that shows only when the whole file is read (check.c). */
void check_whole(struct parse *p);

#endif
