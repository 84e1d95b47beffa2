/* SPDX-License-Identifier: PostgreSQL */
/*
 * truth: are the agents' figures true? Ten times a second it asks all servers where they are, all
 * agents what they say, and all servers again, and compares every figure that has a truth.
 *
 *     truth NAME CONNINFO RUN SPOOL SKEW ...     five for each member; the first is the primary
 *
 * All runs on one machine: there is one monotonic clock, so the truth is exact. What is compared:
 *
 * - The lag of a position: "every commit before now - lag is there". Our own commits (markers) have
 * a time, and an LSN before which they cannot lie. Better than the truth: a marker that was over
 *   before that moment is not there, by the LSN that is told, by the end of the spool's newest
 * file, by what the standby's PostgreSQL shows. Older: the least of how much more really is there,
 * and how long it has been there.
 * - "As of" says the same in the primary's wall clock, whatever that shows.
 * - An LSN is not ahead of what is there a moment later.
 * - What a member says of another one (members) is not better than the truth of that one.
 * - Bytes behind: from there to a place where the primary was a moment ago.
 * - Slot, disk, rates, clock offset, PostgreSQL's own figures: as of a moment ago.
 *
 * A moment is the phase's limit: a beacon, a round trip, and what this machine takes to run it all.
 * null is unknown, and never wrong.
 *
 * Commands on standard input, a file that grows, a line each: "phase NAME LIMIT_MS MARKERS(0|1)",
 * "primary N", "end". A line per phase goes out: figures compared, the largest errors, unknown
 * ones, known lags that members tell of each other; exit 1 if one lied.
 */
#include "base/clock.h"
#include "base/lsn.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS_MAX 8
#define SEGMENT     (UINT64_C(16) << 20)
#define MARKERS_MAX 20000
#define MOMENTS     1200
#define TICK_US     (100 * MILLISECOND_US)
#define SKEWS       3
#define LIES_SHOWN  5 /* of a phase */

/* What a position really had: all commits before as_of_us, at at_us. */
struct series {
    struct {
        int64_t at_us, as_of_us;
    } point[MOMENTS];
    size_t count, next;
};

struct member {
    const char *name, *conninfo, *run, *spool;
    const volatile int64_t *skew; /* mapped: skew.c has it, too */
    PGconn *conn;
    int64_t dialed_us;
    int64_t skew_us[SKEWS], skewed_us; /* of its agent's wall clock, now and before; since when */
    bool in_recovery;
    int64_t turned_us; /* when that changed, or it was away */
    lsn_t flush;       /* as it was seen last */
    lsn_t left; /* where it was before its walreceiver began anew, from the start of a segment */
    int64_t left_us;
    json_t *status; /* of this tick; NULL: no agent answered */
    int64_t asked_us, answered_us;
    struct series spooled, shown;
};

/* Where a server was between begin_us and end_us. */
struct moment {
    int64_t begin_us, end_us;
    bool up, in_recovery;
    lsn_t flush, insert, replay;
    char slots[400]; /* "NAME LSN," of each */
    int64_t visible; /* newest marker */
    lsn_t spool_end;
};

struct marker {
    lsn_t before; /* its commit ends behind this */
    int64_t begin_us, end_us;
};

static struct member member[MEMBERS_MAX];
static struct moment history[MEMBERS_MAX][MOMENTS]; /* while it takes writes */
static size_t moments[MEMBERS_MAX], next_moment[MEMBERS_MAX];
static struct marker marker[MARKERS_MAX + 1]; /* [n]; the first is 1 */
static int64_t markers;
static int members, primary;
static struct {
    char name[64];
    int64_t limit_us, begun_us;
    bool with_markers;
    long compared, unknown, others, lies; /* others: known lags that members tell of each other */
    int64_t older_us, better_us, stale_us, offset_us;
    char older_what[64], better_what[64], stale_what[64];
} phase;
static long all_lies;

static void lie(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
lie(const char *format, ...)
{
    va_list args;

    all_lies++;
    if (phase.lies++ >= LIES_SHOWN)
        return;
    printf("LIE in %s after %.1f s: ", phase.name,
           (double)(clock_us() - phase.begun_us) / SECOND_US);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static void largest(int64_t *most_us, char what[64], int64_t error_us, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void
largest(int64_t *most_us, char what[64], int64_t error_us, const char *format, ...)
{
    va_list args;

    if (error_us <= *most_us)
        return;
    *most_us = error_us;
    va_start(args, format);
    vsnprintf(what, 64, format, args);
    va_end(args);
}

/* ---- the servers ---- */

static PGresult *
ask(struct member *s, const char *query)
{
    PGresult *r;

    if (s->conn == NULL) {
        if (clock_us() - s->dialed_us < SECOND_US / 2)
            return NULL;
        s->dialed_us = clock_us();
        s->conn = PQconnectdb(s->conninfo);
    }
    r = PQstatus(s->conn) == CONNECTION_OK ? PQexec(s->conn, query) : NULL;
    if (r != NULL && PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) == 1)
        return r;
    PQclear(r);
    PQfinish(s->conn);
    s->conn = NULL;
    return NULL;
}

static lsn_t
lsn_of(const char *text)
{
    lsn_t lsn = LSN_UNKNOWN;

    if (text != NULL)
        lsn_parse(text, &lsn);
    return lsn;
}

/* The end of the newest segment file of the spool; what is written there is received. */
static lsn_t
spool_end(const struct member *s)
{
    DIR *dir = opendir(s->spool);
    char newest[32] = "", path[400];
    unsigned long long high, low;
    struct dirent *entry;
    lsn_t end = LSN_UNKNOWN;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strspn(entry->d_name, "0123456789ABCDEF") == 24 &&
            (entry->d_name[24] == '\0' || strcmp(entry->d_name + 24, ".partial") == 0) &&
            strncmp(entry->d_name, newest, 24) > 0)
            snprintf(newest, sizeof newest, "%.24s", entry->d_name);
    if (dir != NULL)
        closedir(dir);
    if (newest[0] == '\0' || sscanf(newest + 8, "%8llX%8llX", &high, &low) != 2)
        return LSN_UNKNOWN;
    for (int partial = 1; partial >= 0 && end == LSN_UNKNOWN;
         partial--) { /* it may be renamed now */
        int fd;

        snprintf(path, sizeof path, "%s/%s%s", s->spool, newest, partial ? ".partial" : "");
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        end = (high << 32) + low * SEGMENT + (uint64_t)lseek(fd, 0, SEEK_END);
        close(fd);
    }
    return end;
}

static struct moment
look(int n)
{
    static const char query[] =
        "select pg_is_in_recovery(),"
        " case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end,"
        " case when not pg_is_in_recovery() then pg_current_wal_insert_lsn() end, pg_last_wal_replay_lsn(),"
        " (select coalesce(max(n), 0) from truth),"
        " (select string_agg(slot_name || ' ' || restart_lsn, ',') from pg_replication_slots where"
        " slot_name like 'walferry%')";
    struct moment m = {.begin_us = clock_us(), .visible = -1};
    PGresult *r = ask(&member[n], query);

    if (r != NULL) {
        m.up = true;
        m.in_recovery = PQgetvalue(r, 0, 0)[0] == 't';
        m.flush = lsn_of(PQgetvalue(r, 0, 1));
        m.insert = lsn_of(PQgetvalue(r, 0, 2));
        m.replay = m.in_recovery ? lsn_of(PQgetvalue(r, 0, 3)) : LSN_UNKNOWN;
        m.visible = strtoll(PQgetvalue(r, 0, 4), NULL, 10);
        snprintf(m.slots, sizeof m.slots, "%s", PQgetvalue(r, 0, 5));
    }
    PQclear(r);
    m.spool_end = spool_end(&member[n]);
    m.end_us = clock_us();
    return m;
}

static void
remember(int n, const struct moment *m)
{
    if (!m->up || m->in_recovery)
        return;
    history[n][next_moment[n]] = *m;
    next_moment[n] = (next_moment[n] + 1) % MOMENTS;
    if (moments[n] < MOMENTS)
        moments[n]++;
}

static const struct moment *
past(int n, size_t i) /* 0: the newest */
{
    return &history[n][(next_moment[n] + MOMENTS - 1 - i) % MOMENTS];
}

static void
put_marker(void)
{
    struct marker *m = &marker[markers + 1];
    char query[160];
    PGresult *r;

    if (markers == MARKERS_MAX)
        return;
    m->begin_us = clock_us();
    snprintf(query, sizeof query,
             "insert into truth values (%" PRId64 ") returning pg_current_wal_insert_lsn()",
             markers + 1);
    r = ask(&member[primary], query);
    m->end_us = clock_us();
    if (r == NULL)
        return;
    m->before = lsn_of(PQgetvalue(r, 0, 0));
    markers++;
    PQclear(r);
}

/* ---- the agents ---- */

static void
ask_agent(struct member *s)
{
    static const char request[] = "{\"command\":\"status\"}\n";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 2};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FILE *stream;
    char *line = NULL;
    size_t size = 0;

    json_decref(s->status);
    s->status = NULL;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/control", s->run);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    s->asked_us = clock_us();
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 &&
        (stream = fdopen(fd, "r")) != NULL) {
        if (getline(&line, &size, stream) > 0)
            s->status = json_loads(line, 0, NULL);
        fclose(stream);
    } else {
        close(fd);
    }
    free(line);
    s->answered_us = clock_us();
}

static const json_t *
at(const json_t *json, const char *key)
{
    return json_object_get(json, key);
}

static lsn_t
lsn_at(const json_t *json, const char *key)
{
    return lsn_of(json_string_value(at(json, key)));
}

/* ---- the comparison ---- */

/* True when there is something to compare. */
static bool
known(const json_t *json)
{
    bool is = json != NULL && !json_is_null(json);

    if (is)
        phase.compared++;
    else
        phase.unknown++;
    return is;
}

static int64_t
us_of(const json_t *seconds)
{
    return (int64_t)(json_number_value(seconds) * (double)SECOND_US);
}

/* The oldest marker that is not there; 0: none is missing. */
static int64_t
first_missing(lsn_t end, int64_t visible)
{
    int64_t n = markers;

    if (visible >= 0)
        return visible < markers ? visible + 1 : 0;
    while (n > 0 && marker[n].before >= end)
        n--;
    return n < markers ? n + 1 : 0;
}

static void
add_point(struct series *t, int64_t at_us, int64_t missing)
{
    t->point[t->next].at_us = at_us;
    t->point[t->next].as_of_us =
        missing > 0 && marker[missing].begin_us < at_us ? marker[missing].begin_us : at_us;
    t->next = (t->next + 1) % MOMENTS;
    if (t->count < MOMENTS)
        t->count++;
}

/* By how much `told_us` is older than the truth, and for how long it was by so much: what is less, where that is most.
 * What was on its way (or not saved) then is no more. */
static int64_t
older_by(const struct series *t, int64_t told_us, int64_t asked_us, int64_t on_its_way_us)
{
    int64_t most_us = 0;

    for (size_t i = 1; i <= t->count; i++) {
        size_t k = (t->next + MOMENTS - i) % MOMENTS;
        int64_t by_us = t->point[k].as_of_us - told_us, since_us = asked_us - t->point[k].at_us;

        if (since_us < 0)
            continue;
        if (by_us <= on_its_way_us)
            break;
        if (by_us > since_us)
            by_us = since_us;
        if (by_us > most_us)
            most_us = by_us;
    }
    return most_us;
}

/* `missing` is the first commit that is not there a moment later; `truth` may be NULL. */
static void
check_lag(const struct member *s, const char *who, const char *what, const json_t *lag,
          int64_t missing, const struct series *truth, int64_t slack_us)
{
    int64_t told_us, older_us;

    if (!known(lag))
        return;
    told_us = s->asked_us - us_of(lag);
    if (missing > 0) {
        int64_t better_us = told_us - marker[missing].end_us - slack_us;

        largest(&phase.better_us, phase.better_what, better_us, "%s %s", who, what);
        if (better_us > 0)
            lie("%s %s: %.3f s behind, but a commit of %.3f s ago is not there", who, what,
                json_number_value(lag), (double)(s->asked_us - marker[missing].end_us) / SECOND_US);
    }
    if (truth == NULL)
        return;
    largest(&phase.older_us, phase.older_what, older_by(truth, told_us, s->asked_us, 0), "%s %s",
            who, what);
    older_us = older_by(truth, told_us, s->asked_us, phase.limit_us / 2);
    if (older_us > phase.limit_us)
        lie("%s %s: %.3f s behind, but since %.3f s ago more is there", who, what,
            json_number_value(lag), (double)older_us / SECOND_US);
}

/* "As of" is the same moment on the primary's wall clock. */
static void
check_as_of(const struct member *s, const char *who, const char *what, const json_t *position)
{
    const char *text = json_string_value(at(position, "as_of"));
    const struct member *p = &member[primary];
    struct tm tm = {0};
    int ms = 0;
    int64_t told_us, now_us = clock_wall_us() - (clock_us() - s->asked_us), off_us = INT64_MAX;

    if (text == NULL || !known(at(position, "lag_seconds")))
        return;
    if (sscanf(text, "%d-%d-%d %d:%d:%d.%d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &ms) != 7) {
        lie("%s %s: as of '%s'", who, what, text);
        return;
    }
    tm.tm_year -= 1900;
    tm.tm_mon--;
    told_us = (int64_t)timegm(&tm) * SECOND_US + ms * MILLISECOND_US;
    told_us -= now_us - us_of(at(position, "lag_seconds"));
    for (size_t i = 0; i < SKEWS; i++) /* a beacon may be from before a step, and the one before */
        if (llabs(told_us - p->skew_us[i]) < off_us)
            off_us = llabs(told_us - p->skew_us[i]);
    if (off_us > phase.limit_us)
        lie("%s %s: as of %s, and %.3f s behind: %.3f s apart", who, what, text,
            json_number_value(at(position, "lag_seconds")), (double)off_us / SECOND_US);
}

/* A place where server n was, a primary or a former one: how long ago did it leave it? */
static void
check_place(const struct member *s, const char *who, const char *what, int n, lsn_t place,
            lsn_t insert_after)
{
    int64_t left_us = s->asked_us;

    for (size_t i = 0; i < moments[n] && past(n, i)->flush > place; i++)
        left_us = past(n, i)->end_us;
    largest(&phase.stale_us, phase.stale_what, s->asked_us - left_us, "%s %s", who, what);
    if (s->asked_us - left_us > phase.limit_us)
        lie("%s %s: %s at %X/%X, which it left %.3f s ago", who, what, member[n].name,
            LSN_ARGS(place), (double)(s->asked_us - left_us) / SECOND_US);
    if (insert_after != LSN_UNKNOWN && place > insert_after)
        lie("%s %s: %s at %X/%X, it is only at %X/%X", who, what, member[n].name, LSN_ARGS(place),
            LSN_ARGS(insert_after));
}

static void
check_ahead(const char *who, const char *what, lsn_t told, lsn_t really)
{
    if (told == LSN_UNKNOWN || really == LSN_UNKNOWN)
        return;
    phase.compared++;
    if (told > really)
        lie("%s %s: told %X/%X, really %X/%X", who, what, LSN_ARGS(told), LSN_ARGS(really));
}

static void
check_position(const struct member *s, const char *who, const char *what, const json_t *position,
               lsn_t end, int64_t visible, const struct series *truth, const struct moment *p_after,
               int64_t slack_us)
{
    const json_t *behind = at(position, "behind_bytes"), *lag = at(position, "lag_seconds");
    lsn_t lsn = lsn_at(position, "lsn");

    check_ahead(who, what, lsn, end);
    if (end != LSN_UNKNOWN || visible >= 0)
        check_lag(s, who, what, lag, first_missing(end, visible), truth, slack_us);
    if (lsn != LSN_UNKNOWN) /* and by its own word */
        check_lag(s, who, what, lag, first_missing(lsn, -1), NULL, slack_us);
    check_as_of(s, who, what, position);
    if (known(behind))
        check_place(s, who, what, primary, lsn + (uint64_t)json_integer_value(behind),
                    p_after->insert);
}

/* The steepest and the flattest that the primary went, over windows of the agent's sort. */
static void
check_rate(const struct member *s, const char *who, const json_t *rate)
{
    double least = 1e18, most = 0, told = json_number_value(rate);

    if (!known(rate) || moments[primary] < 2 ||
        s->asked_us - past(primary, moments[primary] - 1)->end_us < 12 * SECOND_US)
        return;
    for (size_t i = 0;
         i < moments[primary] && s->asked_us - past(primary, i)->end_us < 5 * SECOND_US; i++)
        for (size_t k = i + 1;
             k < moments[primary] && s->asked_us - past(primary, k)->end_us < 15 * SECOND_US; k++) {
            double span = (double)(past(primary, i)->end_us - past(primary, k)->end_us) / SECOND_US,
                   per_second;

            if (span < 2.5)
                continue;
            per_second = (double)(past(primary, i)->flush - past(primary, k)->flush) / span;
            least = per_second < least ? per_second : least;
            most = per_second > most ? per_second : most;
        }
    if (told < least * 0.9 - 16384 || told > most * 1.1 + 16384)
        lie("%s: %.0f bytes/s are made, really %.0f to %.0f", who, told, least, most);
}

static void
check_shipping(const struct member *s, const char *who, const json_t *shipping,
               const json_t *flushed)
{
    const char *state = json_string_value(at(shipping, "state"));

    if (!known(at(shipping, "state")))
        return;
    if (strcmp(state, "final") == 0)
        check_place(s, who, "final", primary, lsn_at(flushed, "lsn"), LSN_UNKNOWN);
    if ((strcmp(state, "final") == 0 || strcmp(state, "steady") == 0) &&
        !(json_number_value(at(flushed, "lag_seconds")) < 2))
        lie("%s: %s, and %.3f s behind", who, state, json_number_value(at(flushed, "lag_seconds")));
    check_rate(s, who, at(shipping, "produced_bytes_per_second"));
}

static void
check_offset(const struct member *s, const struct member *far, const char *who,
             const json_t *stream)
{
    const json_t *offset = at(stream, "clock_offset_seconds");
    int64_t since_us = s->skewed_us > far->skewed_us ? s->skewed_us : far->skewed_us, error_us;

    if (!known(offset) || clock_us() - since_us < 3 * SECOND_US ||
        strcmp(json_string_value(at(stream, "state")), "up") != 0)
        return;
    error_us = llabs(us_of(offset) - (far->skew_us[0] - s->skew_us[0]));
    if (error_us > phase.offset_us)
        phase.offset_us = error_us;
    if (error_us > us_of(at(stream, "round_trip_seconds")) + 100 * MILLISECOND_US)
        lie("%s: the clocks are %.3f s apart, told %.3f s", who,
            (double)(far->skew_us[0] - s->skew_us[0]) / SECOND_US, json_number_value(offset));
}

/* Where the slot begins; LSN_UNKNOWN: it is not there. */
static lsn_t
restart_of(const struct moment *m, const char *slot)
{
    size_t length = slot != NULL ? strlen(slot) : 0;
    const char *found = length > 0 ? strstr(m->slots, slot) : NULL;
    char lsn[LSN_TEXT_SIZE];

    if (found == NULL || found[length] != ' ')
        return LSN_UNKNOWN;
    found += length + 1;
    snprintf(lsn, sizeof lsn, "%.*s", (int)strcspn(found, ","), found);
    return lsn_of(lsn);
}

/* What it retains is as of its server's last sample: one that is made anew may begin earlier since. */
static void
check_slot(const struct member *s, const json_t *slot, const struct moment *b,
           const struct moment *a)
{
    const char *name = json_string_value(at(slot, "name"));
    lsn_t began = restart_of(a, name);

    if (restart_of(b, name) == LSN_UNKNOWN || began == LSN_UNKNOWN ||
        !known(at(slot, "retained_bytes")))
        return;
    for (size_t i = 0;
         i < moments[primary] && s->asked_us - past(primary, i)->end_us < 2 * SECOND_US; i++) {
        lsn_t then = restart_of(past(primary, i), name);

        if (then != LSN_UNKNOWN && then > began)
            began = then;
    }
    check_place(s, s->name, "slot", primary,
                began + (uint64_t)json_integer_value(at(slot, "retained_bytes")), LSN_UNKNOWN);
}

/* Of a link that ends at member n; the other end of its session is `far`. */
static void
check_stream(const struct member *s, int n, const struct member *far, const json_t *stream,
             const struct moment *before, const struct moment *after)
{
    const struct moment *a = &after[n], *p = &after[primary];
    const char *who = s->name;
    int64_t slack_us = us_of(at(stream, "round_trip_seconds")) / 2 + 5 * MILLISECOND_US;

    check_position(s, who, "received", at(stream, "received"), a->spool_end, -1, &member[n].spooled,
                   p, slack_us);
    check_position(s, who, "flushed", at(stream, "flushed"), a->spool_end, -1, &member[n].spooled,
                   p, slack_us);
    check_position(s, who, "applied", at(stream, "applied"), a->replay, a->visible,
                   &member[n].shown, p, slack_us);
    check_shipping(s, who, at(stream, "shipping"), at(stream, "flushed"));
    if (far != NULL)
        check_offset(s, far, who, stream);
    check_ahead(who, "primary", lsn_at(stream, "primary"), p->insert);
    check_slot(s, at(stream, "slot"), &before[primary], p);
}

static void
check_exposure(const struct member *s, int n, const struct moment *after)
{
    check_lag(s, s->name, "exposure", at(s->status, "exposure_seconds"),
              first_missing(after[n].spool_end, -1), &member[n].spooled, 5 * MILLISECOND_US);
}

/* Of different sites: a member's name begins with its site's. */
static bool
far_apart(const struct member *a, const struct member *b)
{
    return strncmp(a->name, b->name, strcspn(a->name, "-")) != 0;
}

static int
number_of(const char *name)
{
    int n = members - 1;

    while (n >= 0 && (name == NULL || strcmp(member[n].name, name) != 0))
        n--;
    return n;
}

/* What it says of the others: never better than the truth of that one. */
static void
check_members(const struct member *s, const struct moment *after)
{
    const json_t *told;
    size_t i;

    json_array_foreach (at(s->status, "members"), i, told) {
        int n = number_of(json_string_value(at(told, "name")));
        const struct moment *a;
        char who[40];

        if (n < 0 || n == primary || strcmp(json_string_value(at(told, "role")), "standby") != 0)
            continue;
        a = &after[n];
        phase.others += n != s - member && json_is_number(at(told, "flushed_lag_seconds"));
        snprintf(who, sizeof who, "%s of %s", s->name, member[n].name);
        check_ahead(who, "received", lsn_at(told, "received"), a->spool_end);
        check_ahead(who, "flushed", lsn_at(told, "flushed"), a->spool_end);
        check_ahead(who, "applied", lsn_at(told, "applied"), a->replay);
        check_lag(s, who, "flushed", at(told, "flushed_lag_seconds"),
                  first_missing(a->spool_end, -1), NULL, 5 * MILLISECOND_US);
        if (a->replay != LSN_UNKNOWN || a->visible >= 0)
            check_lag(s, who, "applied", at(told, "applied_lag_seconds"),
                      first_missing(a->replay, a->visible), NULL, 5 * MILLISECOND_US);
    }
}

static void
check_postgres(const struct member *s, const char *who, const struct moment *b,
               const struct moment *a)
{
    const json_t *postgres = at(s->status, "postgres");
    const char *state = json_string_value(at(postgres, "state"));

    if (!b->up || !a->up || state == NULL || strcmp(state, "up") != 0)
        return;
    phase.compared++;
    if (s->asked_us - s->turned_us > phase.limit_us &&
        json_is_true(at(postgres, "in_recovery")) != a->in_recovery)
        lie("%s: in recovery: told %d, really %d", who, json_is_true(at(postgres, "in_recovery")),
            a->in_recovery);
    check_ahead(who, "postgres insert", lsn_at(postgres, "insert"), a->insert);
    check_ahead(who, "postgres flush", lsn_at(postgres, "flush"),
                s->asked_us - s->left_us < phase.limit_us && s->left > a->flush ? s->left
                                                                                : a->flush);
    check_ahead(who, "postgres replay", lsn_at(postgres, "replay"), a->replay);
    if (!a->in_recovery && !b->in_recovery)
        check_place(s, who, "postgres flush", (int)(s - member), lsn_at(postgres, "flush"),
                    a->insert);
}

static void
check_disk(const struct member *s, const char *who)
{
    const json_t *told = at(at(s->status, "spool"), "free_bytes");
    static int64_t low[MEMBERS_MAX][30], high; /* of 3 s */
    static size_t tick[MEMBERS_MAX];
    size_t n = (size_t)(s - member);
    struct statvfs fs;
    int64_t least = INT64_MAX;

    if (statvfs(s->spool, &fs) < 0)
        return;
    low[n][tick[n]++ % 30] = (int64_t)(fs.f_bavail * fs.f_frsize);
    high = 0;
    for (size_t i = 0; i < 30 && i < tick[n]; i++) {
        least = low[n][i] < least ? low[n][i] : least;
        high = low[n][i] > high ? low[n][i] : high;
    }
    if (tick[n] >= 30 && known(told) &&
        (json_integer_value(told) < least - (64 << 20) ||
         json_integer_value(told) > high + (64 << 20)))
        lie("%s: %lld bytes of the spool are free, really %lld to %lld", who,
            (long long)json_integer_value(told), (long long)least, (long long)high);
}

static void
check_primary(const struct member *s, const struct moment *before, const struct moment *after)
{
    const json_t *link;
    int best = -1;
    size_t i;

    json_array_foreach (at(s->status, "links"), i, link) {
        int n = number_of(json_string_value(at(link, "to")));

        if (n < 0)
            continue;
        check_stream(s, n, &member[n], link, before, after);
        if (far_apart(&member[n], s) && (best < 0 || after[n].spool_end > after[best].spool_end))
            best = n;
    }
    if (best >= 0)
        check_exposure(s, best, after);
}

static void
check_member(int n, const struct moment *before, const struct moment *after)
{
    const struct member *s = &member[n];
    const char *role = json_string_value(at(s->status, "role"));
    const json_t *receiving = at(s->status, "receiving");
    int from = number_of(json_string_value(at(receiving, "from")));

    if (role == NULL)
        return;
    check_postgres(s, s->name, &before[n], &after[n]);
    check_disk(s, s->name);
    check_members(s, after);
    if (n == primary && strcmp(role, "primary") == 0) {
        check_primary(s, before, after);
    } else if (n != primary && strcmp(role, "standby") == 0) {
        check_stream(s, n, from >= 0 ? &member[from] : NULL, receiving, before, after);
        check_exposure(s, n, after);
    }
}

static void
learn(int n, const struct moment *m)
{
    if (!m->up || m->in_recovery != member[n].in_recovery)
        member[n].turned_us = m->end_us;
    member[n].in_recovery = m->in_recovery;
    if (m->flush != LSN_UNKNOWN && m->flush < member[n].flush) {
        member[n].left = member[n].flush;
        member[n].left_us = m->end_us;
    }
    member[n].flush = m->flush;
    remember(n, m);
    if (n == primary)
        return;
    if (m->spool_end != LSN_UNKNOWN)
        add_point(&member[n].spooled, m->end_us, first_missing(m->spool_end, -1));
    if (m->visible >= 0)
        add_point(&member[n].shown, m->end_us, first_missing(LSN_UNKNOWN, m->visible));
}

static void
tick(void)
{
    struct moment before[MEMBERS_MAX], after[MEMBERS_MAX];

    for (int n = 0; n < members; n++) {
        if (member[n].skew_us[0] != *member[n].skew) {
            memmove(member[n].skew_us + 1, member[n].skew_us,
                    sizeof member[n].skew_us - sizeof member[n].skew_us[0]);
            member[n].skew_us[0] = *member[n].skew;
            member[n].skewed_us = clock_us();
        }
        before[n] = look(n);
        learn(n, &before[n]);
    }
    for (int n = 0; n < members; n++)
        ask_agent(&member[n]);
    for (int n = 0; n < members; n++) {
        after[n] = look(n);
        learn(n, &after[n]);
    }
    for (int n = 0; n < members; n++)
        check_member(n, before, after);
    if (phase.with_markers)
        put_marker();
}

/* ---- phases ---- */

static void
end_phase(void)
{
    if (phase.name[0] == '\0')
        return;
    printf(
        "%-34s %6ld figures, %5ld unknown; older at most %.3f s (%s), better %.3f s%s%s, primary's place %.3f s "
        "(%s), clocks %.3f s, %ld of others%s\n",
        phase.name, phase.compared, phase.unknown, (double)phase.older_us / SECOND_US,
        phase.older_what, (double)phase.better_us / SECOND_US, phase.better_us > 0 ? " " : "",
        phase.better_what, (double)phase.stale_us / SECOND_US, phase.stale_what,
        (double)phase.offset_us / SECOND_US, phase.others, phase.lies > 0 ? "  LIES" : "");
    fflush(stdout);
}

/* It is the primary now: what it does not have is lost, and none of our truth. */
static void
change_primary(int n)
{
    struct moment m;

    primary = n;
    for (int i = 0; i < members; i++)
        member[i].spooled.count = member[i].shown.count = 0;
    m = look(primary);
    if (m.visible >= 0 && m.visible < markers)
        markers = m.visible;
}

static bool
obey(const char *line)
{
    long limit_ms, number;
    int with_markers;
    char name[64];

    if (sscanf(line, "phase %63s %ld %d", name, &limit_ms, &with_markers) == 3) {
        end_phase();
        memset(&phase, 0, sizeof phase);
        memcpy(phase.name, name, sizeof name);
        phase.limit_us = limit_ms * MILLISECOND_US;
        phase.with_markers = with_markers != 0;
        phase.begun_us = clock_us();
    } else if (sscanf(line, "primary %ld", &number) == 1) {
        change_primary((int)number - 1);
    } else {
        end_phase();
        return false;
    }
    return true;
}

/* False when the last command came. */
static bool
obey_all(void)
{
    char text[1024], *line = text;
    ssize_t got = read(STDIN_FILENO, text, sizeof text - 1);

    text[got > 0 ? got : 0] = '\0';
    while (*line != '\0') {
        char *end = strchr(line, '\n');

        if (end != NULL)
            *end = '\0';
        if (!obey(line))
            return false;
        line = end != NULL ? end + 1 : strchr(line, '\0');
    }
    return true;
}

static const volatile int64_t *
map_skew(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);

    close(fd);
    if (map == MAP_FAILED)
        exit(2);
    return map;
}

int
main(int argc, char **argv)
{
    int64_t due_us = clock_us();

    members = (argc - 1) / 5;
    if (members < 2 || members > MEMBERS_MAX || argc != 1 + 5 * members)
        return 2;
    for (int n = 0; n < members; n++, argv += 5)
        member[n] = (struct member){.name = argv[1],
                                    .conninfo = argv[2],
                                    .run = argv[3],
                                    .spool = argv[4],
                                    .skew = map_skew(argv[5])};
    while (obey_all()) {
        if (phase.name[0] != '\0')
            tick();
        due_us += TICK_US;
        if (due_us < clock_us())
            due_us = clock_us();
        poll(NULL, 0, (int)((due_us - clock_us()) / MILLISECOND_US));
    }
    for (int n = 0; n < members; n++) {
        json_decref(member[n].status);
        PQfinish(member[n].conn);
    }
    printf("%ld lies\n", all_lies);
    return all_lies == 0 ? 0 : 1;
}
