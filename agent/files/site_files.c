/* SPDX-License-Identifier: PostgreSQL */
/* See site_files.h. run_job and what stands before it run in the worker's thread, the rest in the
 * loop. */
#include "files/site_files.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US    (2 * SECOND_US)
#define COMPARE_US (15 * SECOND_US)

static void
count_different(void *context, const char *member, const char *path, int dir,
                const struct store_versions *v)
{
    struct site_files_job *j = context;

    if (strcmp(member, j->site->self->name) != 0)
        j->differ += store_compare(dir, v->newest, path) != ALIKE;
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
    static _Thread_local char bytes[SITE_FILE_BYTES_MAX + 1];
    ssize_t length = store_load_path(f->path, bytes);

    free(f->content);
    f->content = length < 0 ? NULL : malloc((size_t)length + 1);
    f->length = length < 0 ? 0 : (size_t)length;
    if (f->content != NULL)
        memcpy(f->content, bytes, f->length);
    else
        log_warning("%s is not sent: %s", f->path, strerror(errno));
}

static void
look_at(struct site_files *s, const char *path)
{
    struct site_file *f = NULL;
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    for (size_t i = 0; i < s->seen_files && f == NULL; i++)
        if (strcmp(s->seen[i].path, path) == 0)
            f = &s->seen[i];
    if (f == NULL) {
        char escaped[SITE_FILE_NAME_SIZE];

        if (s->seen_files == SITE_FILES_MAX || strlen(path) >= SITE_FILE_PATH_MAX ||
            !store_name(path, escaped) || st.st_size > SITE_FILE_BYTES_MAX) {
            if (!s->left_out_said)
                log_warning(
                    "%s and maybe more of %s are not sent: at most %d files of %d kB, their "
                    "paths at most %d bytes",
                    path, s->self->site_files, SITE_FILES_MAX, SITE_FILE_BYTES_MAX >> 10,
                    SITE_FILE_PATH_MAX - 1);
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
look(struct site_files *s)
{
    FILE *list = fopen(s->self->site_files, "re");
    char line[SITE_FILE_PATH_MAX + 2];

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
    struct site_files_job *j = job;
    int code;

    if (j->look) {
        look(j->site);
        return;
    }
    code = j->bytes == NULL
               ? 0
               : store_keep(j->site->self, j->from, j->path, j->bytes, j->length,
                            store_safe_mode(j->mode, (const char *)j->bytes, j->length),
                            j->modified_us);

    if (code < 0 && !(code == ERR_AGAIN && j->site->full_said))
        log_warning("%s", fail_message());
    j->site->full_said |= code == ERR_AGAIN;
    j->differ = 0;
    store_each(j->site->config, j->site->self, count_different, j);
}

int
site_files_init(struct site_files *s, const struct config *config, const struct member *self)
{
    *s = (struct site_files){.config = config, .self = self};
    return worker_init(&s->worker);
}

void
site_files_release(struct site_files *s)
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
site_files_watch(const struct site_files *s, struct loop *l)
{
    loop_watch(l, worker_fd(&s->worker), POLLIN);
}

static void
start_job(struct site_files *s)
{
    if (worker_busy(&s->worker) || s->queued == 0)
        return;
    s->running = s->queue[0];
    memmove(&s->queue[0], &s->queue[1], --s->queued * sizeof s->queue[0]);
    worker_submit(&s->worker, run_job, &s->running);
}

/* Take over from the worker what has changed. */
static void
take_seen(struct site_files *s)
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
site_files_run(struct site_files *s, int64_t now_us)
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
    if (s->self->site_files[0] != '\0' && now_us >= s->look_us &&
        s->queued < SITE_FILES_QUEUE_MAX) {
        s->queue[s->queued++] = (struct site_files_job){.site = s, .look = true};
        s->look_us = NEVER_US;
    }
    if (now_us >= s->compare_us && s->queued == 0) {
        s->queue[s->queued++] = (struct site_files_job){.site = s};
        s->compare_us = now_us + COMPARE_US;
    }
    start_job(s);
}

void
site_files_send(struct site_files *s, size_t peer, int64_t session,
                int (*put)(void *link, const struct frame *f), void *link)
{
    struct site_files_peer *p = &s->peer[peer];

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

struct site_files_peer *
site_files_peer(struct site_files *s, size_t peer, const char *member)
{
    s->peer[peer].site = s;
    s->peer[peer].member = member;
    return &s->peer[peer];
}

void
site_files_take(void *peer, const struct frame *f)
{
    struct site_files *s = ((struct site_files_peer *)peer)->site;
    const char *from = ((struct site_files_peer *)peer)->member;
    struct site_files_job j = {.site = s,
                               .modified_us = f->file.modified_us,
                               .mode = f->file.mode,
                               .length = f->file.length};

    if (f->file.path[0] != '/' || strlen(f->file.path) >= sizeof j.path)
        return;
    j.bytes = malloc(f->file.length + 1);
    if (s->queued == SITE_FILES_QUEUE_MAX || j.bytes == NULL) {
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
