/* SPDX-License-Identifier: PostgreSQL */
/*
 * postgres: what the agent knows of the PostgreSQL beside it, over one asynchronous libpq
 * connection, and the few things it asks of it.
 *
 * A sample is taken every POSTGRES_SAMPLE_US: the clocks are read first, then one query. A server
 * that is away is dialled again twice a second. Nothing here blocks the loop; a query that takes
 * over 5 s is given up and the connection closed (the server then counts as not answering).
 *
 * The database role needs LOGIN REPLICATION, pg_monitor, and EXECUTE on pg_promote,
 * pg_wal_replay_resume and pg_reload_conf; a missing right is named with the GRANT that gives it.
 * Its search_path does not matter.
 */
#ifndef AGENT_POSTGRES_POSTGRES_H
#define AGENT_POSTGRES_POSTGRES_H

#include "base/loop.h"
#include "base/identity.h"
#include "shipper/wal/timeline.h"

#include <stdbool.h>
#include <stdint.h>

#define POSTGRES_SAMPLE_US (200 * MILLISECOND_US)
#define POSTGRES_SLOTS_MAX 16

enum postgres_state {
    POSTGRES_UNKNOWN,  /* not asked yet */
    POSTGRES_DOWN,     /* no connection: refused, no socket */
    POSTGRES_STARTING, /* 57P03: starting up, not yet accepting */
    POSTGRES_STOPPING, /* 57P01, or 57P03 "shutting down": lift limits, end the walsender in time */
    POSTGRES_UP,
};

struct postgres_slot {
    char name[64];
    bool active, lost; /* lost: wal_status is 'lost' or 'unreserved' past saving */
    bool feedback;     /* it holds back vacuum: xmin or catalog_xmin is set */
    char invalid[32];  /* PostgreSQL's word why it is lost, as "idle_timeout"; "": unknown */
    int64_t unused_us; /* since nobody uses it; -1: in use, or not known (before 17) */
    lsn_t restart_lsn;
};

struct postgres_sample {
    int64_t wall_us, mono_us; /* read before the query: a beacon's time */
    bool in_recovery;
    timeline_t timeline; /* primary: the WAL file's; else the latest that replay is known to have
                            reached, for no function tells it: its control file's, or what its
                            walreceiver asks for */
    lsn_t insert;        /* primary: pg_current_wal_insert_lsn; else 0 */
    lsn_t flush;         /* primary: pg_current_wal_flush_lsn; else pg_last_wal_receive_lsn */
    lsn_t redo;          /* of the last checkpoint: PostgreSQL itself keeps the WAL from there */
    /* of its control file: where the last checkpoint begins, and, in recovery, how far it has to
     * replay at least to be consistent */
    struct position checkpoint, recovery_end;
    lsn_t replay; /* standby: pg_last_wal_replay_lsn; else 0 */
    bool replay_paused;
    char synchronous_standby_names[320];           /* as SHOW gives it, cut */
    struct postgres_slot slot[POSTGRES_SLOTS_MAX]; /* primary: physical slots named walferry_% */
    size_t slots;
    int64_t slot_timeout_us; /* idle_replication_slot_timeout; 0: none (before 18) */
    /* what else keeps WAL: of the slots that are not ours the one furthest behind ("": none keeps
     * any), wal_keep_size, and archive_mode */
    char other_slot[64];
    lsn_t other_lsn;
    uint64_t wal_keep_bytes;
    bool archiving;
};

struct postgres; /* postgres.c */

/* application_name 'walferry' is added. NULL: no memory. */
struct postgres *postgres_new(const char *conninfo);
void postgres_free(struct postgres *p);

void postgres_watch(const struct postgres *p, struct loop *l);
/* Go on. 1: there is a new sample or state, else 0. Failures are states, see postgres_reason. */
int postgres_run(struct postgres *p, const struct loop *l, int64_t now_us);

enum postgres_state postgres_state(const struct postgres *p);
/* Why it is not UP, one sentence; "" if it is. */
const char *postgres_reason(const struct postgres *p);
/* The last sample; NULL before the first. It stays after the server went away: see its mono_us. */
const struct postgres_sample *postgres_sample(const struct postgres *p);
/* Static facts, read once per connection; system_identifier 0 before the first. */
const struct identity *postgres_identity(const struct postgres *p);

/*
 * One command at a time, sent between samples: false if one is under way. When it has ended
 * postgres_done is true once, with NULL or the error's text (valid until the next command).
 */
enum postgres_command {
    POSTGRES_PROMOTE,       /* select pg_promote(wait => false) */
    POSTGRES_REPLAY_RESUME, /* select pg_wal_replay_resume() */
    POSTGRES_RELOAD,        /* select pg_reload_conf() */
    POSTGRES_MAKE_SLOT,     /* pg_create_physical_replication_slot(argument, true), if needed */
    POSTGRES_ADVANCE_SLOT,  /* pg_replication_slot_advance(argument): "'slot', 'X/X'" */
    POSTGRES_DROP_SLOT,     /* pg_drop_replication_slot(argument); absent is fine */
    /* What the role named by the argument can become. postgres_answer is "" (no such role), or: '1'
     * the role, or a role that it is in, may replicate, else '0'; enum role_power as a digit; the
     * name of the role that has this power. */
    POSTGRES_ROLE,
    /* What a promotion needs: postgres_answer is "PRLS N M": t or f, whether the role may promote,
     * resume replay, reload, make slots; how many slots and walsenders are free */
    POSTGRES_READY,
};
enum role_power {
    POWER_NONE,
    POWER_MAKES_ROLES, /* before PostgreSQL 16: can take every role but a superuser's */
    POWER_PROGRAMS,    /* runs programs or writes files on the server */
    POWER_SUPERUSER,
};
bool postgres_ask(struct postgres *p, enum postgres_command command, const char *argument);
bool postgres_done(struct postgres *p, const char **ret_error);

/*
 * Between samples, an empty transaction that is rolled back (a commit would count as lost after a
 * failover): for its 34 bytes of WAL PostgreSQL writes out all WAL that it still holds in memory.
 * (WAL without a commit, of pruning say, may stay in memory for 15 s while the server is idle; from
 * outside it looks like a commit that did not wait.)
 */
void postgres_force_flush(struct postgres *p);

/* The first value of the last command's answer; "": null, or no row. */
const char *postgres_answer(const struct postgres *p);

#endif
