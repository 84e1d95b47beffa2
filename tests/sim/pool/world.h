/* SPDX-License-Identifier: PostgreSQL */
/*
 * world: what the simulation of pools is made of (pool_sim.c tells what it is for).
 *
 * WAL is what it is in truth: a branch (a server's writes from a fork on) and an LSN of it. Agents see
 * timelines, history files and LSNs only; two branches may look the same to them. A member is a host
 * with a server, a disk and, while it runs, an agent, whose judge and role changes are the real ones.
 */
#ifndef SIM_POOL_WORLD_H
#define SIM_POOL_WORLD_H

#include "daemon/agent.h"
#include "pool/quorum.h"

#define POOL_MEMBERS 6
#define BRANCHES_MAX 512
#define COMMITS_MAX  8192
#define SESSIONS_MAX 8
#define TIMELINES    256
#define RECORDS_MAX  8192
#define SEGMENT      (1u << 20)
#define WALL_US      (INT64_C(1700000000) * 1000000) /* the wall clocks', when time begins */
#define BEGINS       0x1000000                       /* the WAL of a pool */
#define THIEF        (1u << 30) /* the life of no agent: somebody dials who has a key */

struct point {
    int branch;
    lsn_t lsn;
};

struct branch {
    int parent; /* -1: the first */
    int record; /* its last long one; -1: none */
    lsn_t fork;
    timeline_t timeline;
    char *history;
    size_t history_bytes;
};

/* Other records are as short as a byte: where one of these is not, any position ends one. */
struct record {
    int before;       /* on its branch; -1: none */
    lsn_t start, end; /* torn: as far as it was written */
    bool torn;        /* it never became whole; WAL goes on behind it, or nowhere */
};

enum server_state { SERVER_DOWN, SERVER_STARTING, SERVER_STOPPING, SERVER_UP };

struct server {
    enum server_state state;
    int64_t due_us; /* starting, stopping: when it has */
    bool signal;    /* standby.signal */
    bool recovery, ran_writable, promoting;
    char names[QUORUM_SIZE];  /* synchronous_standby_names */
    struct point wal, replay; /* what it has; in recovery: what it has replayed of that */
    struct point reached;     /* by its control file */
    uint64_t life;            /* of its starts */
    bool put_back;            /* an older state: what it writes is other WAL than before */
    int record;               /* that it writes; -1: none */
};

/* What a client was told. */
struct commit {
    struct point at;
    int64_t us;      /* when it was written */
    int64_t told_us; /* when its client was told; 0: it waits */
    int member;
    bool synchronous;   /* it waited, and was confirmed */
    unsigned confirmed; /* ... by these members, a bit for each */
    bool excused;       /* given up by a DBA, or told of as lost */
};

enum message_kind {
    M_DIAL, /* of a link or of a question */
    M_DIALED,
    M_CLOSED,
    M_FRAMES, /* bytes: whole frames; of a question both ways, and HELLO, POOL of a link */
    M_ACCEPT,
    M_REFUSE,
    M_WAL,
    M_ACK,
    M_PING,
    M_PONG,
    M_DRAIN,
    M_DRAINED,
    M_BEACON,
    M_QUIET, /* of a quiet session; bytes: POOL, where the other one does not know it */
};

struct message {
    enum message_kind kind;
    int from, to;
    uint64_t session;
    bool forth;          /* from the one who dialled */
    lsn_t start;         /* WAL: its begin; ACCEPT: where to resume */
    struct point end;    /* WAL: its end; DRAINED, too */
    timeline_t timeline; /* ACCEPT */
    lsn_t received, flushed, applied;
    bool fenced, done;
    struct beacon beacon;
    int64_t sent_us, wall_us;
    enum pong_postgres word;
    enum refuse_kind refusal;
    char reason[200];
    uint8_t *bytes;
    size_t length;
};

/* A connection as the one sees it that was dialled. */
struct session {
    int member, from;
    uint64_t number;
    enum { SESSION_FREE, SESSION_DIALED, SESSION_GREETED, SESSION_LIVE } state;
    int64_t since_us;
    uint64_t life; /* of the agent that dialled */
    struct hello hello;
    char history[4096];
};

/* A link as the one sees it that ships: what is not in struct link. */
struct ship {
    struct link *link;
    uint64_t session;
    bool dialed;                /* the line of a dial is there */
    int64_t confirmed_us;       /* when the last confirmation came */
    lsn_t resumed, sent, taken; /* from there, up to here, of the WAL of the server or the spool */
    uint64_t server_life;       /* that it comes from; 0: nothing was read yet */
    int64_t drain_us;           /* the rest of a dead server is read by then; 0: not asked */
};

/* What was last said to another member without a link, and when that one spoke. */
struct quiet_word {
    struct epoch epoch;
    size_t changes;
    int64_t came_us, heard_us; /* heard: it comes from who hears this one, too, as in a session */
};

struct dial {
    uint64_t number; /* of the question's connection */
    bool up, failed;
};

struct file {
    char name[40];
    char *text;
    size_t length;
};

struct node {
    int index;
    bool up;         /* the host */
    int64_t wall_us; /* how wrong its wall clock is */
    struct server server;
    struct server snapshot; /* an older state, kept */
    bool has_snapshot;
    /* on disk */
    struct file file[4];
    struct point spool;     /* flushed */
    bool spool_begun;       /* it is not empty */
    int history[TIMELINES]; /* of a timeline in the spool: the branch, or -1 */
    /* of the agent that runs */
    bool agent_up;
    int64_t paused_us; /* until then it does nothing (SIGSTOP) */
    int64_t slept_us;  /* how long, until it has noticed that */
    int64_t reads_us;  /* ... nor reads what has come meanwhile */
    uint64_t life;
    struct agent *a;
    struct point written;
    lsn_t next; /* of the live session's WAL */
    bool flushes;
    struct session session[SESSIONS_MAX];
    struct ship ship[POOL_MEMBERS];
    struct dial dial[POOL_MEMBERS];
    struct quiet_word quiet[POOL_MEMBERS];
    enum cut_wish cut;   /* of the spool, under way */
    lsn_t fork;          /* ... at */
    bool compared, held; /* of the live session; replay is held back */
    int64_t full_us;     /* until then the disk of its spool is full */
    int64_t starved_us;  /* until then its PostgreSQL takes no WAL */
    int64_t turn_due_us, house_us, sample_us;
    int64_t kept_us; /* when it last looked at whom commits wait for */
    bool concierge;  /* it says: clients write here */
    int64_t concierge_us;
    bool command_listens;
    int code;              /* with which it has ended; -1: it has not */
    int64_t failover_us;   /* when the last command was typed */
    struct point promised; /* fork of the last promotion */
    bool by_hand;          /* ... which was not an agent's */
    bool force, dead;      /* of the last command */
    uint64_t checked_epoch, begun_epoch;
    int64_t begun_us;   /* when that was written */
    int64_t covered_us; /* ... and what was covered then */
    bool reaches;       /* the former primary's agent, when the epoch was written */
    int64_t free_us;    /* when it last was not fenced */
    int64_t ill_us;     /* when it last was no primary that ships */
    int64_t woke_us;    /* from its last pause, or will */
    int64_t torn_since_us;
    int64_t agent_since_us, server_since_us, calm_since_us, stuck_since_us, apart_since_us;
    int64_t moved_us;           /* when its PostgreSQL had all that came */
    int64_t unfit_us, unfed_us; /* when something was wrong with it last; fed, or nobody could */
    int64_t fit_us;             /* ... and when nothing was */
    int64_t hears_us;           /* ... and when a beacon of a primary that answers came */
    struct epoch promised_to;
    struct epoch table_of; /* whose table it had last, */
    struct routes table;   /* and that */
};

/* An epoch that a failover has begun, which no DBA forced. */
struct begun {
    uint64_t number;
    int member;
};

struct postgres {
    int member;
    uint64_t life; /* of the server that it is connected to */
    enum postgres_state state;
    struct postgres_sample sample;
    bool sampled;
    struct identity identity;
    bool asked, done, failed;
    enum postgres_command command;
    int64_t due_us;
};

struct sim {
    uint64_t seed, random_state;
    int64_t now_us;
    int members, sites;
    bool faulty, trail;
    bool steady;             /* no wall clock is stepped */
    const struct node *runs; /* whose clock is read */
    struct config config;
    struct node member[POOL_MEMBERS];
    struct branch branch[BRANCHES_MAX];
    int branches;
    struct record record[RECORDS_MAX];
    int records;
    struct commit commit[COMMITS_MAX];
    int commits;
    int64_t heal_us[POOL_MEMBERS][POOL_MEMBERS]; /* that direction is cut until then */
    int64_t delay_us[POOL_MEMBERS][POOL_MEMBERS];
    int64_t line_since_us[POOL_MEMBERS][POOL_MEMBERS]; /* it was cut, or begins */
    uint64_t next_session;
    struct epoch forged[64];
    int forgeries;
    struct routes told[16]; /* tables of earlier moments */
    struct begun begun[BRANCHES_MAX];
    int begins;
    const char *broken;                         /* --break */
    const char *story;                          /* NULL: a seed */
    uint64_t faults, changes, commands, events; /* counted */
};
extern struct sim w;

/* pool_sim.c */
uint64_t draw(void);
bool chance(uint64_t one_in);
int64_t between(int64_t low_us, int64_t high_us);
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void make_pool(uint64_t seed, int members, int sites, enum synchronous mode);
void run_until(int64_t until_us);
void get_well(void); /* calm, and the DBA does what alarms name */
void end_pool(void);
int64_t wall_of(const struct node *m);
void broke(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
bool is_broken(const char *name);
enum due_kind {
    EVENT_TURN,
    EVENT_SERVER,
    EVENT_FLUSH,
    EVENT_CUT,
    EVENT_MESSAGE,
    EVENT_FAULT,
    EVENT_AGENT,
    EVENT_START,
    EVENT_CRASH
};
void later(int64_t due_us, enum due_kind kind, int member, uint64_t life, struct message *message);

/* server.c: truth */
int branch_new(struct point from, timeline_t timeline);
struct point normal(struct point p);
struct point whole_of(struct point p); /* up to the end of its last whole record */
bool point_in(struct point a, struct point b);
struct point common(struct point a, struct point b);
bool parts_by_bytes(struct point a, struct point b); /* on one timeline: positions do not tell */
void server_begin(struct node *m, bool crashed);
void server_stop(struct node *m);
void server_crash(struct node *m);
void server_run(struct node *m);
void server_follow(struct node *m);
void server_write(struct node *m);
void server_write_long(struct node *m);
void server_promote(struct node *m);
void server_reload(struct node *m);
bool server_waits_for(const struct node *m, int by);
bool server_is_confirmed(const struct node *m, const struct commit *c);
timeline_t timeline_of(struct point p);

/* line.c */
void message_free(struct message *x);
void post(struct message x, const uint8_t *bytes, size_t length);
void deliver(struct message *x);
void ships_run(struct node *m);
void quiet_say(struct node *m);
bool is_feeding(const struct node *m, int to); /* ... in the session that lives there */
void send_forth(struct node *m, int to, struct message x, const uint8_t *bytes, size_t length);
void ship_run(struct node *m, int to, const struct hello *hello, const char *stop_reason);
void ship_drop(struct node *m, int to, bool told, int64_t rest_us, const char *why);
void session_end(struct node *m, struct session *s, bool told, const char *why);
void incoming_tick(struct node *m);
void acknowledge(struct node *m);
struct session *live_session(const struct node *m);
void lines_reset(int a, int b, bool both);

/* What is mirrored here changes the pool first. */
static inline int
who_save_pool(struct who *who)
{
    return who_set_pool(who, &who->pool, &who->pool);
}

/* member.c */
struct node *member_of_spool(const struct spool *s);
void agent_start(struct node *m);
void agent_kill(struct node *m);
void agent_pause(struct node *m, int64_t us);
bool agent_works(const struct node *m); /* it is there, and not paused */
void agent_turn(struct node *m);
void agent_soon(struct node *m);
void spool_set(struct node *m, struct point p);
void spool_cut(struct node *m);
void spool_fails(struct node *m);

/* dba.c */
void dba_failover(struct node *m, bool force, bool dead);
void dba_reclaim(struct node *m, bool force);
void dba_cancel(struct node *m);
void dba_interrupt(struct node *m); /* Ctrl-C */
void dba_rejoin(struct node *m);
void dba_offline(struct node *m);
void dba_resolve(struct node *m, const char *primary);
void dba_calm(void);
bool dba_healthy(void);

void excuse_all_but(struct point kept);

/* faults.c */
void cut(int a, int b, int64_t us);
void split(const char *site, int64_t us, bool out, bool in); /* from all others */
void pin(struct node *m, bool pinned);                       /* typed on the host of the primary */
void tell_old_table(struct node *m);
void forge(struct node *m, struct node *as, bool ships); /* somebody with its key */
void put_back(struct node *m);
void fault(void);
void fault_in_failover(struct node *m);
void thief_answers(struct node *m, const struct session *s, const struct message *x);
void heal(void);

/* stories.c */
int stories_tell(const char *name); /* all: NULL; how many there are */
int stories_try(void);              /* each alone, and without its rule: exit code */

/* check.c */
void check_member(struct node *m);
void check_pool(void);
void check_told(const struct node *m, const struct commit *c);
void check_let_go(const struct node *m, const struct commit *c);
void check_hears(struct node *m, const struct beacon *b);
void check_confirmed(const struct node *m, struct node *by);

#endif
