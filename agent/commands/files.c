/* SPDX-License-Identifier: PostgreSQL */
/*
 * files: `walferry files`, the files outside the WAL that other members sent: listed, shown, put in
 * place here.
 */
#include "commands/command.h"
#include "control/show.h"
#include "files/store.h"
#include "jobs/consent.h"

#include "base/clock.h"
#include "base/durable.h"
#include "base/fail.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct choice {
    const struct member *self;
    const char *member, *path;
    int dir; /* of the wanted file; -1: not found */
    struct store_versions versions;
    size_t shown;
};

static void
list_one(void *context, const char *member, const char *path, int dir,
         const struct store_versions *v)
{
    static const char *const likeness[] = {"as here", "differs", "not here"};
    struct choice *c = context;
    struct stat st;
    char when[40] = "?", shown[SITE_FILE_PATH_MAX];
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
                                              : likeness[store_compare(dir, v->newest, path)],
           (unsigned)mode, when, v->count, v->count == 1 ? "" : "s");
}

static void
choose(void *context, const char *member, const char *path, int dir, const struct store_versions *v)
{
    struct choice *c = context;

    if (strcmp(c->member, member) != 0 || strcmp(c->path, path) != 0)
        return;
    c->versions = *v;
    c->dir = dup(dir);
}

/* Find PATH[@VERSION] and load its bytes. Their count, or -1 (printed). */
static ssize_t
load_choice(struct choice *c, const struct config *config, char *path,
            char bytes[SITE_FILE_BYTES_MAX + 1])
{
    char *version = strrchr(path, '@');
    ssize_t length;

    if (version != NULL)
        *version++ = '\0';
    c->path = path;
    c->dir = -1;
    store_each(config, c->self, choose, c);
    if (c->dir < 0) {
        fprintf(stderr, "walferry files: no %s of %s is kept here; walferry files lists what is\n",
                path, c->member);
        return -1;
    }
    if (version != NULL)
        snprintf(c->versions.newest, sizeof c->versions.newest, "%s", version);
    length = strchr(c->versions.newest, '/') != NULL
                 ? -1
                 : durable_load(c->dir, c->versions.newest, bytes, SITE_FILE_BYTES_MAX + 1);
    if (length < 0)
        fprintf(stderr, "walferry files: no version %s of it: ls %s/files/%s\n", c->versions.newest,
                c->self->spool, c->member);
    return length;
}

static int
apply(struct choice *c, const char *bytes, size_t length, const struct options *options)
{
    int code = show_diff(c->path, c->versions.newest, bytes, length);
    mode_t mode = 0;

    if (store_mode(c->self, c->member, c->dir, c->versions.newest, bytes, length, &mode) < 0) {
        fprintf(stderr, "walferry files: %s\n", fail_message());
        return 1;
    }
    if (code == 0)
        printf("%s is so already\n", c->path);
    else if (code == 1)
        printf("mode %04o\n", (unsigned)mode);
    if (code != 1 || options->dry_run)
        return code == 2 ? 1 : 0;
    code = consent("files", c->self, options->yes, "This takes the place of the file here.");
    if (code != 0)
        return code;
    if (store_put_in_place(c->self, c->path, bytes, length, mode) < 0) {
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

/* A terminal gets only safe characters, a file or a program every byte. */
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
    static char bytes[SITE_FILE_BYTES_MAX + 1];
    struct choice c = {.self = self, .dir = -1};
    const char *what = options->arg_count > 0 ? options->args[0] : NULL;
    char path[SITE_FILE_PATH_MAX + 64];
    ssize_t length;
    int code = 2;

    if (options->arg_count == 0) {
        store_each(config, self, list_one, &c);
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
        code = apply(&c, bytes, (size_t)length, options);
    durable_close(c.dir);
    return code;
}
