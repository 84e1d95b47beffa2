/* SPDX-License-Identifier: PostgreSQL */
/*
 * config: `walferry config`, the pool's file on each member: compared, shown, replaced. The agents
 * are asked, the other members' through the tunnel.
 */
#include "commands/command.h"
#include "config/pool_file.h"
#include "control/show.h"
#include "jobs/consent.h"

#include "base/fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct answer {
    const char *member;
    json_t *file; /* the answer to show; NULL: none */
    int weaker;   /* limits that the answer to check named */
};

static void
keep_file(void *context, json_t *line)
{
    struct answer *a = context;

    if (json_object_get(line, "content") != NULL) {
        json_decref(a->file);
        a->file = json_incref(line);
    } else if (json_object_get(line, "weaker") != NULL) {
        a->weaker++;
        printf("%s: %s\n", a->member, show_word(line, "weaker", "?"));
    } else {
        fprintf(stderr, "%s: %s\n", a->member, show_word(line, "text", "?"));
    }
}

/* 0, 1 refused (printed), or a negative code: that agent is out of reach (printed). */
static int
ask(const struct member *self, const struct member *member, const char *what, const char *text,
    struct answer *a)
{
    char path[UNIX_SOCKET_PATH_SIZE];
    int code;

    *a = (struct answer){.member = member->name};
    snprintf(path, sizeof path, "%s%s%s", self->run, member == self ? "" : "/far/",
             member == self ? "" : member->name);
    code = control_ask(
        path,
        json_pack("{s:s s:s s:s* s:b}", "command", "config", "do", what, "text", text, "weaker", 1),
        keep_file, a);
    if (code < 0)
        fprintf(stderr, "%s: its agent is out of reach: %s\n", member->name, fail_message());
    return code;
}

/* Print which files differ. Exit 1: some do, or a member is out of reach. */
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

/* Check the new file for this host. Count of weaker limits or a negative code, both printed. */
static int
check_here(const struct config *config, const struct member *self, const char *text, size_t length)
{
    char *said = NULL;
    size_t size;
    FILE *weaker = open_memstream(&said, &size);
    int code = weaker == NULL ? ERR_LOCAL
                              : pool_file_check(config, self, text, length, false, stderr, weaker);
    int count = 0;

    if (weaker != NULL)
        fclose(weaker);
    for (char *line = said, *end; code == 0 && line != NULL && (end = strchr(line, '\n')) != NULL;
         line = end + 1, count++)
        printf("%s: %.*s\n", self->name, (int)(end - line), line);
    free(said);
    return code < 0 ? code : count;
}

/* May the file go to all members that are reached? 0, or the exit code (printed). */
static int
ask_all(const struct config *config, const struct member *self, const struct options *options,
        const char *text, int weaker, bool reached[MEMBERS_MAX])
{
    int wrong = 0;

    for (size_t i = 0; i < config->members; i++) {
        const struct member *m = &config->member[i];
        struct answer a = {.weaker = 0};
        int code = m == self ? 0 : ask(self, m, "check", text, &a);

        reached[i] = code == 0;
        weaker += a.weaker;
        wrong += code > 0 || (code < 0 && !options->force);
    }
    if (wrong > 0) {
        fprintf(stderr, "walferry config: nothing was changed%s\n",
                options->force ? "" : "; --force leaves out who is out of reach");
        return 1;
    }
    if (weaker > 0 && options->yes && !options->force) {
        fprintf(stderr, "walferry config: nothing was changed: these limits delete, expose or hide "
                        "more than before, and --yes alone does not consent to that: leave it out "
                        "to be asked, or add --force\n");
        return 1;
    }
    return 0;
}

/* Send the file to every member, or, when one refuses it, to none. */
static int
push(const struct config *config, const struct member *self, const struct options *options)
{
    static char text[CONFIG_BYTES_MAX + 1];
    const char *file = options->arg_count > 1 ? options->args[1] : config->file;
    bool elsewhere = options->arg_count > 1, reached[MEMBERS_MAX] = {false};
    ssize_t length = pool_file_load(file, text);
    struct answer a;
    int weaker, failed;

    if (length < 0) {
        fprintf(stderr, "walferry config: %s\n", fail_message());
        return 1;
    }
    weaker = check_here(config, self, text, (size_t)length);
    if (weaker < 0)
        return 2;
    if (elsewhere && pool_file_check_folder(config->file, stderr) < 0)
        return 1;
    failed = ask_all(config, self, options, text, weaker, reached);
    if (failed != 0)
        return failed;
    if (elsewhere)
        show_diff(config->file, file, text, (size_t)length);
    failed = consent("config", self, options->yes, "This takes the place of the pool's file.");
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
    if (elsewhere && pool_file_install(config, self, text, (size_t)length) < 0) {
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
