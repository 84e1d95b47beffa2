#include "poolfile.h"
#include "command.h"
#include "job.h"
#include "show.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- this host's file ---- */

/* The directory of the file and its name in it. */
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

/* The file's bytes, or -1 with the message. */
static ssize_t
load(const char *file, char text[CONFIG_BYTES_MAX + 1])
{
    const char *name;
    ssize_t length;
    int dir;

    if (open_place(file, &dir, &name) < 0)
        return -1;
    length = durable_load(dir, name, text, CONFIG_BYTES_MAX + 1);
    if (length < 0)
        fail_sys(ERR_LOCAL, "cannot read %s", file);
    durable_close(dir);
    return length;
}

/* Nothing that this host would run, and no place that it would write to, comes from afar. */
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
        {"fetch_command", old->fetch_command, new->fetch_command},
        {"site_files", old->site_files, new->site_files},
        {"http", old->http.host, new->http.host},
        {"http", old->http.port, new->http.port},
        {"event_command", before->event_command, after->event_command},
        {"tunnel_user", before->tunnel_user, after->tunnel_user},
    };

    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (strcmp(kept[i].old, kept[i].new) != 0)
            return kept[i].key;
    return NULL;
}

/* Nor where its WAL goes, or from whom it is taken: a key that was stolen over there would have it
 * sent elsewhere. */
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

/* A new file is made beside the old one: asked before any member is changed. */
static int
check_folder(const char *file, FILE *errors)
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

/* As this host would read it at the next start; every error is a line of `errors`. */
static int
check(const struct config *before, const struct member *old, const char *text, size_t length,
      bool from_afar, FILE *errors)
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
    return from_afar ? check_folder(before->file, errors) : 0;
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

/* The file that is replaced goes to <spool>/config, named by the time. */
static int
keep_predecessor(const struct config *config, const struct member *self)
{
    static char text[CONFIG_BYTES_MAX + 1];
    ssize_t length = load(config->file, text);
    struct kept kept = {.count = 0};
    time_t now = time(NULL);
    char path[300], name[64];
    struct tm tm;
    int dir, code;

    if (length < 0)
        return ERR_LOCAL;
    snprintf(path, sizeof path, "%s/config", self->spool);
    if ((mkdir(path, 0700) < 0 && errno != EEXIST) || durable_dir(path, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot make %s", path);
    strftime(name, sizeof name, "%Y%m%dT%H%M%SZ.ini", gmtime_r(&now, &tm));
    code = durable_replace(dir, name, text, (size_t)length);
    if (code == 0)
        code = durable_list(dir, visit_kept, &kept);
    if (code == 0 && kept.count > POOLFILE_KEPT)
        code = durable_remove(dir, kept.oldest);
    if (code < 0)
        code = fail_sys(ERR_LOCAL, "cannot keep the old file in %s", path);
    durable_close(dir);
    return code;
}

static int
install(const struct config *config, const struct member *self, const char *text, size_t length)
{
    const char *name;
    int dir, code = keep_predecessor(config, self);

    if (code == 0)
        code = open_place(config->file, &dir, &name);
    if (code < 0)
        return code;
    if (durable_replace(dir, name, text, length) < 0)
        code = fail_sys(ERR_LOCAL, "cannot replace %s", config->file);
    durable_close(dir);
    return code;
}

/* ---- the agent's half ---- */

static void
show_file(struct control *control, uint64_t client, const struct config *config)
{
    static char text[CONFIG_BYTES_MAX + 1];
    ssize_t length = load(config->file, text);
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

void
poolfile_answer(struct control *control, uint64_t client, const json_t *request,
                const struct config *config, const struct member *self)
{
    const char *what = show_word(request, "do", ""), *text = show_word(request, "text", NULL);
    size_t length = json_string_length(json_object_get(request, "text")), size = 0;
    char *errors = NULL;
    FILE *out;
    int code;

    if (strcmp(what, "show") == 0) {
        show_file(control, client, config);
        return;
    }
    out = open_memstream(&errors, &size);
    code = out == NULL || text == NULL ? fail(ERR_USAGE, "a pool's file is wanted")
                                       : check(config, self, text, length, true, out);
    if (out != NULL)
        fclose(out);
    if (code == 0 && strcmp(what, "install") == 0) {
        code = install(config, self, text, length);
        if (code == 0)
            log_info("%s was replaced by walferry config push; the agent's next start takes it up",
                     config->file);
        else
            control_text(control, client, "%s", fail_message());
    }
    for (char *line = errors, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
         line = end + 1)
        control_text(control, client, "%.*s", (int)(end - line), line);
    free(errors);
    control_done(control, client, code == 0 ? 0 : 1);
}

/* ---- the command ---- */

struct answer {
    const char *member;
    json_t *file; /* what show gave; NULL: nothing */
};

static void
keep_file(void *context, json_t *line)
{
    struct answer *a = context;

    if (json_object_get(line, "content") != NULL) {
        json_decref(a->file);
        a->file = json_incref(line);
    } else {
        fprintf(stderr, "%s: %s\n", a->member, show_word(line, "text", "?"));
    }
}

/* 0, 1 refused (said), or ERR_PEER: that agent is out of reach. */
static int
ask(const struct member *self, const struct member *member, const char *what, const char *text,
    struct answer *a)
{
    char path[LOCAL_PATH_SIZE];
    int code;

    *a = (struct answer){.member = member->name};
    snprintf(path, sizeof path, "%s%s%s", self->run, member == self ? "" : "/far/",
             member == self ? "" : member->name);
    code = control_ask(path,
                       json_pack("{s:s s:s s:s*}", "command", "config", "do", what, "text", text),
                       keep_file, a);
    if (code < 0)
        fprintf(stderr, "%s: its agent is out of reach: %s\n", member->name, fail_message());
    return code;
}

/* Who differs from whom. Exit 1 when somebody does or is out of reach. */
static int
compare(const struct config *config, const struct member *self)
{
    char first[24] = "";
    bool differ = false;

    for (size_t i = 0; i < config->members; i++) {
        struct answer a;
        const char *running, *on_disk;

        if (ask(self, &config->member[i], "show", NULL, &a) != 0) {
            differ = true;
            continue;
        }
        running = show_word(a.file, "running", "?");
        on_disk = show_word(a.file, "on_disk", "?");
        if (first[0] == '\0')
            snprintf(first, sizeof first, "%s", on_disk);
        printf("%-16s %s %s", a.member, on_disk, show_word(a.file, "file", "?"));
        if (strcmp(running, on_disk) != 0)
            printf("; the agent runs with another one: restart it");
        if (strcmp(first, on_disk) != 0)
            printf("; differs: walferry config diff %s", a.member);
        putchar('\n');
        differ = differ || strcmp(running, on_disk) != 0 || strcmp(first, on_disk) != 0;
        json_decref(a.file);
    }
    return differ ? 1 : 0;
}

static int
show_other(const struct config *config, const struct member *self, const char *name, bool diff)
{
    const struct member *member = config_member(config, name);
    struct answer a;
    int code;

    if (member == NULL) {
        fprintf(stderr, "walferry config: %s has no member %s\n", config->file, name);
        return 2;
    }
    code = ask(self, member, "show", NULL, &a);
    if (code == 0 && diff)
        code = show_diff(config->file, name, show_word(a.file, "content", ""),
                         json_string_length(json_object_get(a.file, "content")));
    else if (code == 0)
        fputs(show_word(a.file, "content", ""), stdout);
    json_decref(a.file);
    return code == 0 ? 0 : 1;
}

/* To every member, or, when one refuses it, to none. */
static int
push(const struct config *config, const struct member *self, const struct options *options)
{
    static char text[CONFIG_BYTES_MAX + 1];
    const char *file = options->arg_count > 1 ? options->args[1] : config->file;
    bool elsewhere = options->arg_count > 1, reached[MEMBERS_MAX] = {false};
    ssize_t length = load(file, text);
    struct job job = {.name = "config", .config = config, .self = self, .dir = -1, .lock = -1};
    struct answer a;
    int wrong = 0, failed;

    if (length < 0) {
        fprintf(stderr, "walferry config: %s\n", fail_message());
        return 1;
    }
    if (check(config, self, text, (size_t)length, false, stderr) < 0)
        return 2;
    if (elsewhere && check_folder(config->file, stderr) < 0)
        return 1;
    for (size_t i = 0; i < config->members; i++) {
        const struct member *m = &config->member[i];
        int code = m == self ? 0 : ask(self, m, "check", text, &a);

        reached[i] = code == 0;
        wrong += code > 0 || (code < 0 && !options->force);
    }
    if (wrong > 0) {
        fprintf(stderr, "walferry config: nothing was changed%s\n",
                options->force ? "" : "; --force leaves out who is out of reach");
        return 1;
    }
    if (elsewhere)
        show_diff(config->file, file, text, (size_t)length);
    failed = job_consent(&job, options->yes, "This takes the place of the pool's file.");
    if (failed != 0)
        return failed;
    for (size_t i = 0; i < config->members; i++) {
        const struct member *m = &config->member[i];

        if (m == self || !reached[i])
            continue;
        if (ask(self, m, "install", text, &a) == 0)
            printf("%s: replaced\n", m->name);
        else
            failed++;
    }
    if (elsewhere && install(config, self, text, (size_t)length) < 0) {
        fprintf(stderr, "%s: %s\n", self->name, fail_message());
        failed++;
    } else if (elsewhere) {
        printf("%s: replaced\n", self->name);
    }
    printf("the old ones are kept in config/ of each spool; to take the new one up, on each host: "
           "systemctl restart walferry@%s\n",
           config->name);
    return failed > 0 ? 1 : 0;
}

int
command_config(const struct config *config, const struct member *self,
               const struct options *options)
{
    const char *what = options->arg_count > 0 ? options->args[0] : NULL;

    if (what == NULL)
        return compare(config, self);
    if (strcmp(what, "push") == 0)
        return push(config, self, options);
    if (options->arg_count == 2 && (strcmp(what, "show") == 0 || strcmp(what, "diff") == 0))
        return show_other(config, self, options->args[1], strcmp(what, "diff") == 0);
    fprintf(stderr, "walferry config: allowed: nothing, show MEMBER, diff MEMBER, push [FILE]\n");
    return 2;
}
