/* SPDX-License-Identifier: PostgreSQL */
/* See pool_file.h. */
#include "config/pool_file.h"
#include "control/show.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

/* The directory of `file`, open, and the name of the file in it. ERR_LOCAL. */
static int
open_place(const char *file, int *ret_dir, const char **ret_name)
{
    const char *slash = strrchr(file, '/');
    char path[256];

    snprintf(path, sizeof path, "%.*s", slash == NULL ? 1 : (int)(slash - file) + 1,
             slash == NULL ? "." : file);
    if (durable_dir(path, ret_dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the folder of %s", file);
    *ret_name = slash == NULL ? file : slash + 1;
    return 0;
}

ssize_t
pool_file_load(const char *file, char text[CONFIG_BYTES_MAX + 1])
{
    const char *name;
    ssize_t length;
    int dir;

    if (open_place(file, &dir, &name) < 0)
        return ERR_LOCAL;
    length = durable_load(dir, name, text, CONFIG_BYTES_MAX + 1);
    if (length < 0)
        length = fail_sys(ERR_LOCAL, "cannot read %s", file);
    durable_close(dir);
    return length;
}

/* The key of a program or place of this host that would change, or NULL: nothing that this host
 * runs, and no place that it writes to, is set from afar. */
static const char *
changed_here(const struct config *before, const struct config *after, const struct member *old,
             const struct member *new)
{
    const struct {
        const char *key, *old, *new;
    } kept[] = {
        {"start", old->start, new->start},
        {"stop", old->stop, new->stop},
        {"bindir", old->bindir, new->bindir},
        {"postgres", old->postgres, new->postgres},
        {"pgdata", old->pgdata, new->pgdata},
        {"spool", old->spool, new->spool},
        {"outbox", old->outbox, new->outbox},
        {"run", old->run, new->run},
        {"identity", old->identity, new->identity},
        {"tunnel_identity", old->tunnel_identity, new->tunnel_identity},
        {"fetch_command", old->fetch_command, new->fetch_command},
        {"site_files", old->site_files, new->site_files},
        {"http", old->http.host, new->http.host},
        {"http", old->http.port, new->http.port},
        {"http_names", old->http_names, new->http_names},
        {"event_command", before->event_command, after->event_command},
        {"tunnel_user", before->tunnel_user, after->tunnel_user},
        {"slot_sync_user", before->slot_sync_user, after->slot_sync_user},
        {"slot_sync_database", before->slot_sync_database, after->slot_sync_database},
    };

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(kept[i].old, kept[i].new) != 0)
            return kept[i].key;
    return NULL;
}

/* The key of a member's address or host key that would change, or NULL. Who stole a key on another
 * host could else have the WAL of this host sent elsewhere. */
static const char *
changed_target(const struct config *before, const struct config *after, const char **ret_member)
{
    for (size_t i = 0; i < after->members; i++) {
        const struct member *new = &after->member[i], *old = config_member(before, new->name);
        const struct lane_target *n = &new->target, *o = old != NULL ? &old->target : NULL;

        *ret_member = new->name;
        if (o == NULL || strcmp(o->user, n->user) != 0 || strcmp(o->host, n->host) != 0 ||
            strcmp(o->port, n->port) != 0)
            return "ssh";
        if (strcmp(o->host_key, n->host_key) != 0)
            return "host_key";
        if (strcmp(o->known_hosts, n->known_hosts) != 0)
            return "known_hosts";
    }
    return NULL;
}

enum unit { UNIT_BYTES, UNIT_TIME, UNIT_PERCENT, UNIT_CPUS };

/* The direction in which a limit deletes or exposes more than before. */
enum weaker_way { WEAKER_LESS = 1, WEAKER_MORE = 2, WEAKER_BOTH = 3 };

#define WEAKER_FACTOR 2 /* a smaller change is tuning */

static const char *
show_limit(enum unit unit, uint64_t value, char *out, size_t size)
{
    if (unit == UNIT_BYTES && value != UINT64_MAX)
        return text_bytes(out, size, value);
    if (unit == UNIT_TIME)
        return text_duration(out, size, (int64_t)value);
    if (unit == UNIT_BYTES)
        snprintf(out, size, "without a limit");
    else
        snprintf(out, size, "%" PRIu64 "%s", value, unit == UNIT_PERCENT ? "%" : " processors");
    return out;
}

static uint64_t
processors(const struct member *m)
{
    int some = CPU_COUNT(&m->cpus);

    return (uint64_t)(some > 0 ? some : get_nprocs());
}

/* A line of `out` for each limit that would delete, expose or be silent where it did not before. */
static void
list_weaker(const struct config *before, const struct config *after, const struct member *old,
            const struct member *new, FILE *out)
{
#define OF_POOL(field)   (uint64_t) before->field, (uint64_t)after->field
#define OF_MEMBER(field) (uint64_t) old->field, (uint64_t) new->field
    const struct {
        const char *key;
        enum unit unit;
        enum weaker_way way;
        uint64_t old, new;
    } limit[] = {
        {"slot_retain_max", UNIT_BYTES, WEAKER_LESS, OF_POOL(slot_retain_max_bytes)},
        {"outbox_max", UNIT_BYTES, WEAKER_LESS, OF_POOL(outbox_max_bytes)},
        {"downstream_max", UNIT_BYTES, WEAKER_LESS, OF_POOL(downstream_max_bytes)},
        {"pg_wal_reserve", UNIT_PERCENT, WEAKER_BOTH, OF_POOL(pg_wal_reserve.percent)},
        {"pg_wal_reserve at most", UNIT_BYTES, WEAKER_BOTH, OF_POOL(pg_wal_reserve.bytes_max)},
        {"synchronous_wait", UNIT_TIME, WEAKER_BOTH, OF_POOL(synchronous_wait_us)},
        {"exposure_warning", UNIT_TIME, WEAKER_MORE, OF_POOL(exposure_warning_us)},
        {"exposure_critical", UNIT_TIME, WEAKER_MORE, OF_POOL(exposure_critical_us)},
        {"apply_warning", UNIT_TIME, WEAKER_MORE, OF_POOL(apply_warning_us)},
        {"apply_critical", UNIT_TIME, WEAKER_MORE, OF_POOL(apply_critical_us)},
        {"ship_warning", UNIT_TIME, WEAKER_MORE, OF_POOL(ship_warning_us)},
        {"ship_critical", UNIT_TIME, WEAKER_MORE, OF_POOL(ship_critical_us)},
        {"slot_warning", UNIT_BYTES, WEAKER_MORE, OF_POOL(slot_warning_bytes)},
        {"slot_critical", UNIT_BYTES, WEAKER_MORE, OF_POOL(slot_critical_bytes)},
        {"disk_warning", UNIT_TIME, WEAKER_LESS, OF_POOL(disk_warning_us)},
        {"disk_critical", UNIT_TIME, WEAKER_LESS, OF_POOL(disk_critical_us)},
        {"keep", UNIT_TIME, WEAKER_LESS, OF_MEMBER(keep_us)},
        {"escrow_keep", UNIT_TIME, WEAKER_LESS, OF_MEMBER(escrow_keep_us)},
        {"cpus", UNIT_CPUS, WEAKER_LESS, processors(old), processors(new)},
    };
#undef OF_POOL
#undef OF_MEMBER
    static const char *const wait_for[] = {
        [SYNCHRONOUS_OFF] = "no other member any more",
        [SYNCHRONOUS_MIRROR] = "a mirror, at the primary's own site",
        [SYNCHRONOUS_SITE] = "a member of another site",
        [SYNCHRONOUS_ANY] = "any other member",
        [SYNCHRONOUS_ALL] = "all other members",
    };
    char was[32], is[32];

    for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
        bool less = limit[i].new < limit[i].old / WEAKER_FACTOR;
        bool more = limit[i].old < limit[i].new / WEAKER_FACTOR;

        if (((limit[i].way & WEAKER_LESS) && less) || ((limit[i].way & WEAKER_MORE) && more))
            fprintf(out, "%s: %s instead of %s\n", limit[i].key,
                    show_limit(limit[i].unit, limit[i].new, is, sizeof is),
                    show_limit(limit[i].unit, limit[i].old, was, sizeof was));
    }
    if (before->on_full_hold != after->on_full_hold)
        fprintf(out, "on_full: %s\n",
                after->on_full_hold ? "hold instead of release: a full pg_wal stops the primary"
                                    : "release instead of hold: a slot is let go, a new copy due");
    if (before->synchronous != after->synchronous)
        fprintf(out, "synchronous: %s instead of %s: commits wait for %s\n",
                synchronous_name(after->synchronous), synchronous_name(before->synchronous),
                wait_for[after->synchronous]);
    if (before->synchronous_degrades != after->synchronous_degrades &&
        after->synchronous != SYNCHRONOUS_OFF)
        fprintf(out, "synchronous_loss: %s\n",
                after->synchronous_degrades
                    ? "degrade instead of wait: when nobody confirms, commits go on unprotected"
                    : "wait instead of degrade: when nobody confirms, no commit returns");
}

int
pool_file_check_folder(const char *file, FILE *errors)
{
    const char *name;
    int dir, code = open_place(file, &dir, &name);

    if (code < 0) {
        fprintf(errors, "%s\n", fail_message());
        return code;
    }
    if (faccessat(dir, ".", W_OK, AT_EACCESS) < 0) {
        fprintf(errors,
                "cannot replace %s: %s; its folder must belong to this user, and be one of the "
                "unit's ReadWritePaths\n",
                file, strerror(errno));
        code = ERR_LOCAL;
    }
    durable_close(dir);
    return code;
}

int
pool_file_check(const struct config *before, const struct member *old, const char *text,
                size_t length, bool from_afar, FILE *errors, FILE *weaker)
{
    static struct config after; /* large */
    const struct member *new = NULL;
    const char *key, *member;

    if (config_parse(&after, before->file, text, length, errors) < 0)
        return ERR_USAGE;
    if (strcmp(after.name, before->name) != 0) {
        fprintf(errors, "[pool] name: %s, but this pool is %s\n", after.name, before->name);
        return ERR_USAGE;
    }
    if (config_self(&after, old->name, &new) < 0) {
        fprintf(errors, "%s\n", fail_message());
        return ERR_USAGE;
    }
    key = from_afar ? changed_here(before, &after, old, new) : NULL;
    if (key != NULL) {
        fprintf(errors,
                "%s of %s would change: what runs on a host, and where, is changed on that host "
                "only: run walferry config push there, too\n",
                key, old->name);
        return ERR_USAGE;
    }
    key = from_afar ? changed_target(before, &after, &member) : NULL;
    if (key != NULL) {
        fprintf(errors,
                "%s of %s would change: whom a host sends its WAL to is changed on that host only: "
                "edit %s there, and restart its agent\n",
                key, member, before->file);
        return ERR_USAGE;
    }
    if (config_check_local(&after, new, errors) < 0)
        return ERR_USAGE;
    list_weaker(before, &after, old, new, weaker);
    return from_afar ? pool_file_check_folder(before->file, errors) : 0;
}

struct kept {
    char oldest[64];
    size_t count;
};

static int
visit_kept(void *context, const struct durable_entry *entry)
{
    struct kept *k = context;

    if (k->count++ == 0 || strcmp(entry->name, k->oldest) < 0)
        snprintf(k->oldest, sizeof k->oldest, "%s", entry->name);
    return 0;
}

/* Copy the file that will be replaced to <spool>/config, named by the time. */
static int
keep_predecessor(const struct config *config, const struct member *self)
{
    static char text[CONFIG_BYTES_MAX + 1];
    ssize_t length = pool_file_load(config->file, text);
    struct kept kept = {.count = 0};
    time_t now = time(NULL);
    char path[300], name[64];
    struct tm tm;
    int dir, code = 0;

    if (length < 0)
        return ERR_LOCAL;
    snprintf(path, sizeof path, "%s/config", self->spool);
    if ((mkdir(path, 0700) < 0 && errno != EEXIST) || durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot make %s", path);
    strftime(name, sizeof name, "%Y%m%dT%H%M%SZ.ini", gmtime_r(&now, &tm));
    if (durable_replace(dir, name, text, (size_t)length) < 0 ||
        durable_list(dir, visit_kept, &kept) < 0 ||
        (kept.count > POOL_FILE_KEPT && durable_remove(dir, kept.oldest) < 0))
        code = fail_sys(ERR_LOCAL, "cannot keep the old file in %s", path);
    durable_close(dir);
    return code;
}

int
pool_file_install(const struct config *config, const struct member *self, const char *text,
                  size_t length)
{
    const char *name;
    int dir, code = keep_predecessor(config, self);

    if (code == 0)
        code = open_place(config->file, &dir, &name);
    if (code != 0)
        return code;
    if (durable_replace(dir, name, text, length) < 0)
        code = fail_sys(ERR_LOCAL, "cannot replace %s", config->file);
    durable_close(dir);
    return code;
}

static void
show_file(struct control *control, uint64_t client, const struct config *config)
{
    static char text[CONFIG_BYTES_MAX + 1];
    ssize_t length = pool_file_load(config->file, text);
    char running[24], on_disk[24];

    if (length < 0) {
        control_text(control, client, "%s", fail_message());
        control_done(control, client, 1);
        return;
    }
    snprintf(running, sizeof running, "%016" PRIx64, config->digest);
    snprintf(on_disk, sizeof on_disk, "%016" PRIx64, config_digest(text, (size_t)length));
    control_answer(control, client,
                   json_pack("{s:s s:s s:s s:s%}", "file", config->file, "running", running,
                             "on_disk", on_disk, "content", text, (size_t)length));
    control_done(control, client, 0);
}

/* Answer with each line of `text`, at `key`. */
static void
answer_lines(struct control *control, uint64_t client, const char *key, const char *text)
{
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1)
        control_answer(control, client, json_pack("{s:s%}", key, text, (size_t)(end - text)));
}

static int
take_file(struct control *control, uint64_t client, const json_t *request,
          const struct config *config, const struct member *self, FILE *errors, FILE *weaker)
{
    const char *text = show_word(request, "text", NULL);
    size_t length = json_string_length(json_object_get(request, "text"));
    bool install_too = strcmp(show_word(request, "do", ""), "install") == 0;
    int code = text == NULL ? fail(ERR_USAGE, "a pool's file is wanted")
                            : pool_file_check(config, self, text, length, true, errors, weaker);

    if (code < 0 || !install_too)
        return code;
    if (ftell(weaker) > 0 && !json_is_true(json_object_get(request, "weaker"))) {
        fprintf(errors, "its limits would be weaker than before, and nobody has consented to it\n");
        return ERR_USAGE;
    }
    code = pool_file_install(config, self, text, length);
    if (code == 0)
        log_info("%s was replaced by walferry config push; the agent's next start takes it up",
                 config->file);
    else
        control_text(control, client, "%s", fail_message());
    return code;
}

void
pool_file_answer(struct control *control, uint64_t client, const json_t *request,
                 const struct config *config, const struct member *self)
{
    char *said[2] = {NULL, NULL};
    size_t size[2];
    FILE *errors, *weaker;
    int code = ERR_LOCAL;

    if (strcmp(show_word(request, "do", ""), "show") == 0) {
        show_file(control, client, config);
        return;
    }
    errors = open_memstream(&said[0], &size[0]);
    weaker = open_memstream(&said[1], &size[1]);
    if (errors != NULL && weaker != NULL)
        code = take_file(control, client, request, config, self, errors, weaker);
    if (errors != NULL)
        fclose(errors);
    if (weaker != NULL)
        fclose(weaker);
    answer_lines(control, client, "text", said[0] != NULL ? said[0] : "out of memory\n");
    if (strcmp(show_word(request, "do", ""), "check") == 0)
        answer_lines(control, client, "weaker", said[1] != NULL ? said[1] : "");
    free(said[0]);
    free(said[1]);
    control_done(control, client, code == 0 ? 0 : 1);
}
