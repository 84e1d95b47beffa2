#include "files/site_files.h"
#include "commands/command.h"
#include "jobs/job.h"
#include "control/show.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US    (2 * SECOND_US)
#define COMPARE_US (15 * SECOND_US)
#define NAME_SIZE  (3 * SITE_PATH_MAX) /* each '/' takes three */

/* ---- names ---- */

/* False when the name would be too long for a file system, or empty. */
static bool
escape(const char *path, char out[NAME_SIZE])
{
    size_t n = 0;

    for (; *path != '\0' && n + 4 < NAME_SIZE; path++)
        if (*path == '/' || *path == '%')
            n += (size_t)sprintf(out + n, "%%%02X", (unsigned char)*path);
        else
            out[n++] = *path;
    out[n] = '\0';
    return *path == '\0' && n > 0 && n <= NAME_MAX;
}

static void
unescape(const char *name, char out[SITE_PATH_MAX])
{
    size_t n = 0;

    for (; *name != '\0' && n + 1 < SITE_PATH_MAX; n++, name++) {
        out[n] = *name;
        if (strncmp(name, "%2F", 3) == 0 || strncmp(name, "%25", 3) == 0) {
            out[n] = name[2] == 'F' ? '/' : '%';
            name += 2;
        }
    }
    out[n] = '\0';
}

/* What a file of elsewhere may have here: nobody but its owner writes it or reads a key. */
static mode_t
safe_mode(mode_t mode, const char *bytes, size_t length)
{
    static const char key[] = "PRIVATE KEY-----";

    return mode & (memmem(bytes, length, key, sizeof key - 1) != NULL ? 0600 : 0755);
}

static int
open_store(const struct member *self, const char *member, const char *name, bool make, int *ret_dir)
{
    const char *part[] = {"/files", "/", member, "/", name};
    char path[1024] = "";
    size_t n = (size_t)snprintf(path, sizeof path, "%s", self->spool);

    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        n += (size_t)snprintf(path + n, sizeof path - n, "%s", part[i]);
        if (n >= sizeof path)
            return fail(ERR_LOCAL, "%.100s... is too long", path);
        if (make && i % 2 == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
            return fail_sys(ERR_LOCAL, "cannot make %s", path);
    }
    return durable_dir(path, ret_dir) < 0 ? fail_sys(ERR_LOCAL, "cannot open %s", path) : 0;
}

struct versions {
    char oldest[64], newest[64];
    size_t count;
};

static int
visit_version(void *context, const struct durable_entry *entry)
{
    struct versions *v = context;

    if (strlen(entry->name) >= sizeof v->newest || strstr(entry->name, ".tmp") != NULL)
        return 0;
    if (v->count == 0 || strcmp(entry->name, v->oldest) < 0)
        strcpy(v->oldest, entry->name);
    if (v->count++ == 0 || strcmp(entry->name, v->newest) > 0)
        strcpy(v->newest, entry->name);
    return 0;
}

/* A whole small file. -1 with errno. */
static ssize_t
load_path(const char *path, char out[SITE_BYTES_MAX + 1])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = -1;

    if (fd >= 0) {
        got = durable_read(fd, out, SITE_BYTES_MAX + 1, 0);
        close(fd);
    }
    if (got > SITE_BYTES_MAX) {
        errno = EFBIG;
        return -1;
    }
    return got;
}

/* ---- the worker's half ---- */

enum likeness { ALIKE, DIFFERENT, NOT_HERE };

/* The newest version beside the file of that path on this host. */
static enum likeness
compare(int dir, const char *version, const char *path)
{
    static _Thread_local char kept[SITE_BYTES_MAX + 1], here[SITE_BYTES_MAX + 1];
    ssize_t kept_bytes = durable_load(dir, version, kept, sizeof kept);
    ssize_t here_bytes = load_path(path, here);

    if (here_bytes < 0)
        return errno == ENOENT ? NOT_HERE : DIFFERENT;
    return kept_bytes == here_bytes && memcmp(kept, here, (size_t)here_bytes) == 0 ? ALIKE
                                                                                   : DIFFERENT;
}

/* Whether that file of `from` is kept already, or there is room for another one. */
static bool
has_place(const struct member *self, const char *from, const char *escaped)
{
    char path[1024];
    const struct dirent *entry;
    size_t count = 0;
    bool kept = false;
    DIR *dir;

    snprintf(path, sizeof path, "%s/files/%s", self->spool, from);
    dir = opendir(path);
    while (dir != NULL && !kept && (entry = readdir(dir)) != NULL) {
        kept = strcmp(entry->d_name, escaped) == 0;
        count += entry->d_name[0] == '%';
    }
    if (dir != NULL)
        closedir(dir);
    return kept || count < SITE_KEPT_MAX;
}

/* One more version, unless the newest one is the same; the oldest one goes when there are too many.
 */
static int
keep(const struct member *self, const char *from, const char *path, const uint8_t *bytes,
     size_t length, uint32_t mode, int64_t modified_us)
{
    static _Thread_local char newest[SITE_BYTES_MAX + 1];
    struct timespec times[2] = {
        {.tv_nsec = UTIME_NOW},
        {.tv_sec = modified_us / SECOND_US, .tv_nsec = modified_us % SECOND_US * 1000}};
    struct versions v = {.count = 0};
    int64_t now_us = clock_wall_us();
    time_t now = (time_t)(now_us / SECOND_US);
    char escaped[NAME_SIZE], name[64];
    struct tm tm;
    size_t n;
    int dir, code;

    if (!escape(path, escaped))
        return fail(ERR_USAGE, "%s: its path is too long", path);
    if (from != self->name && !has_place(self, from, escaped))
        return fail(ERR_AGAIN,
                    "%s and maybe more of %s are not kept: %d files of it are kept already; remove "
                    "what is not wanted from %s/files/%s",
                    path, from, SITE_KEPT_MAX, self->spool, from);
    code = open_store(self, from, escaped, true, &dir);
    if (code < 0)
        return code;
    durable_list(dir, visit_version, &v);
    if (v.count > 0 && durable_load(dir, v.newest, newest, sizeof newest) == (ssize_t)length &&
        memcmp(newest, bytes, length) == 0)
        goto out;
    n = strftime(name, sizeof name, "%Y%m%dT%H%M%S", gmtime_r(&now, &tm));
    snprintf(name + n, sizeof name - n, ".%06dZ", (int)(now_us % SECOND_US));
    if (durable_replace(dir, name, bytes, length) < 0 || fchmodat(dir, name, mode, 0) < 0 ||
        utimensat(dir, name, times, 0) < 0)
        code = fail_sys(ERR_LOCAL, "cannot keep %s of %s", path, from);
    else
        log_info("%s of %s has changed: kept as %s", path, from, name);
    if (code == 0 && v.count >= SITE_VERSIONS)
        durable_remove(dir, v.oldest);
out:
    durable_close(dir);
    return code;
}

/* Every file that is kept here, of every other member; each() says whether to go on. */
static void
each_kept(const struct config *config, const struct member *self,
          void (*each)(void *context, const char *member, const char *path, int dir,
                       const struct versions *v),
          void *context)
{
    for (size_t i = 0; i < config->members; i++) {
        char path[1024], plain[SITE_PATH_MAX];
        const char *member = config->member[i].name;
        struct dirent **entry;
        int count;

        snprintf(path, sizeof path, "%s/files/%s", self->spool, member);
        count = scandir(path, &entry, NULL, alphasort);
        for (int k = 0; k < count; k++) {
            struct versions v = {.count = 0};
            int dir;

            if (entry[k]->d_name[0] == '%' &&
                open_store(self, member, entry[k]->d_name, false, &dir) == 0) {
                durable_list(dir, visit_version, &v);
                unescape(entry[k]->d_name, plain);
                if (v.count > 0)
                    each(context, member, plain, dir, &v);
                durable_close(dir);
            }
            free(entry[k]);
        }
        if (count >= 0)
            free(entry);
    }
}

static void
count_different(void *context, const char *member, const char *path, int dir,
                const struct versions *v)
{
    struct site_job *j = context;

    if (strcmp(member, j->site->self->name) != 0)
        j->differ += compare(dir, v->newest, path) != ALIKE;
}

static bool
same_file(const struct site_file *f, const struct stat *st)
{
    return f->version != 0 && f->bytes == st->st_size && f->mode == (st->st_mode & 0777) &&
           f->modified.tv_sec == st->st_mtim.tv_sec && f->modified.tv_nsec == st->st_mtim.tv_nsec;
}

static void
read_content(struct site_file *f)
{
    static _Thread_local char bytes[SITE_BYTES_MAX + 1];
    ssize_t length = load_path(f->path, bytes);

    free(f->content);
    f->content = length < 0 ? NULL : malloc((size_t)length + 1);
    f->length = length < 0 ? 0 : (size_t)length;
    if (f->content != NULL)
        memcpy(f->content, bytes, f->length);
    else
        log_warning("%s is not sent: %s", f->path, strerror(errno));
}

static void
look_at(struct site *s, const char *path)
{
    struct site_file *f = NULL;
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    for (size_t i = 0; i < s->seen_files && f == NULL; i++)
        if (strcmp(s->seen[i].path, path) == 0)
            f = &s->seen[i];
    if (f == NULL) {
        char escaped[NAME_SIZE];

        if (s->seen_files == SITE_FILES_MAX || strlen(path) >= SITE_PATH_MAX ||
            !escape(path, escaped) || st.st_size > SITE_BYTES_MAX) {
            if (!s->left_out_said)
                log_warning(
                    "%s and maybe more of %s are not sent: at most %d files of %d kB, their "
                    "paths at most %d bytes",
                    path, s->self->site_files, SITE_FILES_MAX, SITE_BYTES_MAX >> 10,
                    SITE_PATH_MAX - 1);
            s->left_out_said = true;
            return;
        }
        f = &s->seen[s->seen_files++];
        strcpy(f->path, path);
    }
    if (same_file(f, &st))
        return;
    f->modified = st.st_mtim;
    f->bytes = st.st_size;
    f->mode = st.st_mode & 0777;
    f->version++;
    read_content(f);
}

static void
look(struct site *s)
{
    FILE *list = fopen(s->self->site_files, "re");
    char line[SITE_PATH_MAX + 2];

    if (list == NULL) {
        if (!s->left_out_said)
            log_warning("site_files: cannot read %s: %s", s->self->site_files, strerror(errno));
        s->left_out_said = true;
        return;
    }
    while (fgets(line, sizeof line, list) != NULL) {
        glob_t found;

        line[strcspn(line, "#\r\n")] = '\0';
        for (size_t n = strlen(line); n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'); n--)
            line[n - 1] = '\0';
        if (line[0] != '/' || glob(line, 0, NULL, &found) != 0)
            continue;
        for (size_t i = 0; i < found.gl_pathc; i++)
            look_at(s, found.gl_pathv[i]);
        globfree(&found);
    }
    fclose(list);
}

static void
run_job(void *job)
{
    struct site_job *j = job;
    int code;

    if (j->look) {
        look(j->site);
        return;
    }
    code = j->bytes == NULL
               ? 0
               : keep(j->site->self, j->from, j->path, j->bytes, j->length,
                      safe_mode(j->mode, (const char *)j->bytes, j->length), j->modified_us);

    if (code < 0 && !(code == ERR_AGAIN && j->site->full_said))
        log_warning("%s", fail_message());
    j->site->full_said |= code == ERR_AGAIN;
    j->differ = 0;
    each_kept(j->site->config, j->site->self, count_different, j);
}

/* ---- the loop's half ---- */

int
site_init(struct site *s, const struct config *config, const struct member *self)
{
    *s = (struct site){.config = config, .self = self};
    return worker_init(&s->worker);
}

void
site_release(struct site *s)
{
    worker_release(&s->worker);
    free(s->running.bytes);
    for (size_t i = 0; i < s->queued; i++)
        free(s->queue[i].bytes);
    for (size_t i = 0; i < SITE_FILES_MAX; i++) {
        free(s->file[i].content);
        free(s->seen[i].content);
    }
}

void
site_watch(const struct site *s, struct loop *l)
{
    loop_watch(l, worker_fd(&s->worker), POLLIN);
}

static void
start_job(struct site *s)
{
    if (worker_busy(&s->worker) || s->queued == 0)
        return;
    s->running = s->queue[0];
    memmove(&s->queue[0], &s->queue[1], --s->queued * sizeof s->queue[0]);
    worker_submit(&s->worker, run_job, &s->running);
}

/* What has changed, its content handed over. */
static void
take_seen(struct site *s)
{
    for (s->files = 0; s->files < s->seen_files; s->files++) {
        struct site_file *f = &s->file[s->files], *seen = &s->seen[s->files];

        if (f->version == seen->version)
            continue;
        free(f->content);
        *f = *seen;
        seen->content = NULL;
    }
}

void
site_run(struct site *s, int64_t now_us)
{
    if (worker_done(&s->worker)) {
        if (s->running.look) {
            take_seen(s);
            s->look_us = now_us + LOOK_US;
        } else {
            s->differ = s->running.differ;
        }
        free(s->running.bytes);
        s->running.bytes = NULL;
    }
    if (s->self->site_files[0] != '\0' && now_us >= s->look_us && s->queued < SITE_QUEUE_MAX) {
        s->queue[s->queued++] = (struct site_job){.site = s, .look = true};
        s->look_us = NEVER_US;
    }
    if (now_us >= s->compare_us && s->queued == 0) {
        s->queue[s->queued++] = (struct site_job){.site = s};
        s->compare_us = now_us + COMPARE_US;
    }
    start_job(s);
}

void
site_send(struct site *s, size_t peer, int64_t session,
          int (*put)(void *link, const struct frame *f), void *link)
{
    struct site_peer *p = &s->peer[peer];

    if (p->session != session) {
        memset(p->sent, 0, sizeof p->sent);
        p->session = session;
    }
    for (size_t i = 0; i < s->files; i++) {
        const struct site_file *f = &s->file[i];
        struct frame frame = {.type = FRAME_FILE};

        if (p->sent[i] == f->version)
            continue;
        if (f->content == NULL) {
            p->sent[i] = f->version;
            continue;
        }
        frame.file.path = f->path;
        frame.file.mode = f->mode;
        frame.file.modified_us =
            (int64_t)f->modified.tv_sec * SECOND_US + f->modified.tv_nsec / 1000;
        frame.file.bytes = f->content;
        frame.file.length = f->length;
        if (put(link, &frame) < 0)
            return; /* no room now */
        p->sent[i] = f->version;
    }
}

struct site_peer *
site_peer(struct site *s, size_t peer, const char *member)
{
    s->peer[peer].site = s;
    s->peer[peer].member = member;
    return &s->peer[peer];
}

void
site_take(void *peer, const struct frame *f)
{
    struct site *s = ((struct site_peer *)peer)->site;
    const char *from = ((struct site_peer *)peer)->member;
    struct site_job j = {.site = s,
                         .modified_us = f->file.modified_us,
                         .mode = f->file.mode,
                         .length = f->file.length};

    if (f->file.path[0] != '/' || strlen(f->file.path) >= sizeof j.path)
        return;
    j.bytes = malloc(f->file.length + 1);
    if (s->queued == SITE_QUEUE_MAX || j.bytes == NULL) {
        log_warning("%s of %s is not kept: too many at once", f->file.path, from);
        free(j.bytes);
        return;
    }
    memcpy(j.bytes, f->file.bytes, f->file.length);
    snprintf(j.from, sizeof j.from, "%s", from);
    snprintf(j.path, sizeof j.path, "%s", f->file.path);
    s->queue[s->queued++] = j;
    start_job(s);
}

/* ---- the command ---- */

struct choice {
    const struct member *self;
    const char *member, *path;
    int dir; /* of the one that was asked for; -1: not found */
    struct versions versions;
    size_t shown;
};

static void
list_one(void *context, const char *member, const char *path, int dir, const struct versions *v)
{
    static const char *const likeness[] = {"as here", "differs", "not here"};
    struct choice *c = context;
    struct stat st;
    char when[40] = "?", shown[SITE_PATH_MAX];
    mode_t mode = 0;

    if (c->member != NULL &&
        (strcmp(c->member, member) != 0 || (c->path != NULL && strcmp(c->path, path) != 0)))
        return;
    c->shown++;
    if (fstatat(dir, v->newest, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        text_time(when, sizeof when, (int64_t)st.st_mtim.tv_sec * SECOND_US);
        mode = st.st_mode & 0777;
    }
    snprintf(shown, sizeof shown, "%s", path);
    printf("%-12s %-52s %-8s %04o %.19s UTC  %zu version%s\n", member,
           text_make_safe(shown, strlen(shown)),
           strcmp(member, c->self->name) == 0 ? "replaced"
                                              : likeness[compare(dir, v->newest, path)],
           (unsigned)mode, when, v->count, v->count == 1 ? "" : "s");
}

static void
choose(void *context, const char *member, const char *path, int dir, const struct versions *v)
{
    struct choice *c = context;

    if (strcmp(c->member, member) != 0 || strcmp(c->path, path) != 0)
        return;
    c->versions = *v;
    c->dir = dup(dir);
}

/* Of PATH[@VERSION] the version and its bytes; the length, or -1 (said). */
static ssize_t
load_choice(struct choice *c, const struct config *config, char *path,
            char bytes[SITE_BYTES_MAX + 1])
{
    char *version = strrchr(path, '@');
    ssize_t length;

    if (version != NULL)
        *version++ = '\0';
    c->path = path;
    c->dir = -1;
    each_kept(config, c->self, choose, c);
    if (c->dir < 0) {
        fprintf(stderr, "walferry files: no %s of %s is kept here; walferry files lists what is\n",
                path, c->member);
        return -1;
    }
    if (version != NULL)
        snprintf(c->versions.newest, sizeof c->versions.newest, "%s", version);
    length = strchr(c->versions.newest, '/') != NULL
                 ? -1
                 : durable_load(c->dir, c->versions.newest, bytes, SITE_BYTES_MAX + 1);
    if (length < 0)
        fprintf(stderr, "walferry files: no version %s of it: ls %s/files/%s\n", c->versions.newest,
                c->self->spool, c->member);
    return length;
}

/* The mode that the chosen version gets here: its own, if it is this host's. ERR_LOCAL. */
static int
chosen_mode(const struct choice *c, const char *bytes, size_t length, mode_t *ret_mode)
{
    struct stat st;

    if (fstatat(c->dir, c->versions.newest, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_sys(ERR_LOCAL, "cannot look at version %s", c->versions.newest);
    *ret_mode = strcmp(c->member, c->self->name) == 0 ? st.st_mode & 0777
                                                      : safe_mode(st.st_mode, bytes, length);
    return 0;
}

/* The version's bytes take the place of the file here, whose own are kept first. */
static int
put_in_place(const struct choice *c, const char *bytes, size_t length, mode_t mode)
{
    static char here[SITE_BYTES_MAX + 1];
    char folder[SITE_PATH_MAX];
    struct stat old;
    const char *name = strrchr(c->path, '/') + 1;
    ssize_t here_bytes = load_path(c->path, here);
    int dir, code = 0;

    snprintf(folder, sizeof folder, "%.*s", (int)(name - c->path), c->path);
    if (here_bytes < 0 && errno != ENOENT)
        return fail_sys(ERR_LOCAL, "%s cannot be kept before it is replaced", c->path);
    if (here_bytes >= 0 && stat(c->path, &old) == 0)
        code = keep(c->self, c->self->name, c->path, (const uint8_t *)here, (size_t)here_bytes,
                    old.st_mode & 0777, (int64_t)old.st_mtim.tv_sec * SECOND_US);
    if (code < 0)
        return code;
    if (durable_dir(folder, &dir) < 0)
        return fail_sys(ERR_LOCAL, "cannot open the folder %s", folder);
    if (durable_replace(dir, name, bytes, length) < 0 || fchmodat(dir, name, mode, 0) < 0)
        code = fail_sys(ERR_LOCAL, "cannot replace %s", c->path);
    durable_close(dir);
    return code;
}

static int
apply(const struct config *config, struct choice *c, const char *bytes, size_t length,
      const struct options *options)
{
    struct job job = {.name = "files", .config = config, .self = c->self, .dir = -1, .lock = -1};
    int code = show_diff(c->path, c->versions.newest, bytes, length);
    mode_t mode = 0;

    if (chosen_mode(c, bytes, length, &mode) < 0) {
        fprintf(stderr, "walferry files: %s\n", fail_message());
        return 1;
    }
    if (code == 0)
        printf("%s is so already\n", c->path);
    else if (code == 1)
        printf("mode %04o\n", (unsigned)mode);
    if (code != 1 || options->dry_run)
        return code == 2 ? 1 : 0;
    code = job_consent(&job, options->yes, "This takes the place of the file here.");
    if (code != 0)
        return code;
    if (put_in_place(c, bytes, length, mode) < 0) {
        fprintf(stderr,
                "walferry files: %s; or as its owner: cp %s/files/... (see walferry files)\n",
                fail_message(), c->self->spool);
        return 1;
    }
    printf("%s is replaced; the one before is kept under %s. PostgreSQL takes up its own files at "
           "a reload or restart\n",
           c->path, c->self->name);
    return 0;
}

/* To a terminal only what is safe there; to a file or a program every byte. */
static int
show(char *bytes, size_t length)
{
    if (isatty(STDOUT_FILENO) == 1)
        text_make_safe(bytes, length);
    return fwrite(bytes, 1, length, stdout) == length ? 0 : 1;
}

int
command_files(const struct config *config, const struct member *self, const struct options *options)
{
    static char bytes[SITE_BYTES_MAX + 1];
    struct choice c = {.self = self, .dir = -1};
    const char *what = options->arg_count > 0 ? options->args[0] : NULL;
    char path[SITE_PATH_MAX + 64];
    ssize_t length;
    int code = 2;

    if (options->arg_count == 0) {
        each_kept(config, self, list_one, &c);
        if (c.shown == 0)
            printf("nothing is kept here yet: site_files of the other members lists what they "
                   "send\n");
        return 0;
    }
    if (options->arg_count != 3 || options->args[2][0] != '/' ||
        strlen(options->args[2]) >= sizeof path ||
        (strcmp(what, "show") != 0 && strcmp(what, "diff") != 0 && strcmp(what, "apply") != 0)) {
        fprintf(stderr, "walferry files: allowed: nothing, or show, diff or apply, a MEMBER and a "
                        "/PATH or /PATH@VERSION\n");
        return 2;
    }
    c.member = options->args[1];
    snprintf(path, sizeof path, "%s", options->args[2]);
    length = load_choice(&c, config, path, bytes);
    if (length < 0)
        code = 1;
    else if (strcmp(what, "show") == 0)
        code = show(bytes, (size_t)length);
    else if (strcmp(what, "diff") == 0)
        code = show_diff(c.path, c.versions.newest, bytes, (size_t)length);
    else
        code = apply(config, &c, bytes, (size_t)length, options);
    durable_close(c.dir);
    return code;
}
