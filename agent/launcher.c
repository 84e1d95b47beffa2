/* SPDX-License-Identifier: PostgreSQL */
/*
 * launcher: the program `walferry`. A recovering PostgreSQL starts `walferry fetch` for every
 * segment, and a program that links libpq, libssh2, an HTTP server and their libraries needs longer
 * to start than to copy 16 MB; sshd starts `walferry receive` for every lane, and it stays while
 * the lane does. So both are done here where they are plain, with next to no library. Everything
 * else is done by the main program, walferry-main, beside this one or in libexec, which replaces
 * this process (exec).
 *
 * Plain is `walferry fetch --config FILE --member NAME SEGMENT TARGET`, with a spool for NAME in
 * FILE, and the line that `walferry validate` prints for authorized_keys, with a member of that
 * name in FILE and an agent that listens; each without an error. The config is not checked here:
 * the agent has checked it, and the main program names a line that is not understood.
 */
#include "commands/receive_session.h"
#include "commands/restore_command.h"

#include "base/fail.h"
#include "shipper/wal/spool.h"

#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct wanted {
    char section[64], other[64]; /* "member NAME"; of receive also that of --from */
    char spool[256], run[256], pool[64];
    bool has_other;
};

static int
take_key(void *context, const char *section, const char *key, const char *value)
{
    struct wanted *w = context;

    if (key == NULL || strlen(value) >= sizeof w->spool)
        return 1;
    w->has_other |= strcmp(section, w->other) == 0;
    if (strcmp(section, "pool") == 0 && strcmp(key, "name") == 0 && strlen(value) < sizeof w->pool)
        strcpy(w->pool, value);
    if (strcmp(section, w->section) != 0)
        return 1;
    if (strcmp(key, "spool") == 0)
        strcpy(w->spool, value);
    if (strcmp(key, "run") == 0)
        strcpy(w->run, value);
    return 1;
}

/* 0: copied. 1: there is no such file. -1: the main program has to do it. */
static int
plain_fetch(int argc, char **argv)
{
    struct wanted w = {.spool = "", .run = ""};
    int code;

    if (argc != 8 || strcmp(argv[1], "fetch") != 0 || strcmp(argv[2], "--config") != 0 ||
        strcmp(argv[4], "--member") != 0 || argv[6][0] == '-' || argv[7][0] == '-' ||
        strlen(argv[5]) + sizeof "member " > sizeof w.section)
        return -1;
    sprintf(w.section, "member %s", argv[5]);
    if (ini_parse(argv[3], take_key, &w) != 0 || w.spool[0] != '/')
        return -1;
    if (restore_offered(w.run, w.spool, argv[6]))
        return 1;
    code = spool_fetch(w.spool, argv[6], argv[7]);
    return code == 0 ? 0 : code == ERR_AGAIN ? 1 : -1;
}

/* The session's exit code. -1: the main program has to do it, or to say why not. */
static int
plain_receive(int argc, char **argv)
{
    struct wanted w = {.spool = "", .run = ""};
    bool no_tunnel = argc > 2 && strcmp(argv[2], "--no-tunnel") == 0;

    argv += no_tunnel;
    argc -= no_tunnel;
    if (argc != 8 || strcmp(argv[2], "--config") != 0 || strcmp(argv[4], "--member") != 0 ||
        strcmp(argv[6], "--from") != 0 || strlen(argv[5]) + sizeof "member " > sizeof w.section ||
        strlen(argv[7]) + sizeof "member " > sizeof w.other ||
        getenv("SSH_ORIGINAL_COMMAND") == NULL)
        return -1;
    sprintf(w.section, "member %s", argv[5]);
    sprintf(w.other, "member %s", argv[7]);
    if (ini_parse(argv[3], take_key, &w) != 0 || w.run[0] != '/' || w.pool[0] == '\0' ||
        !w.has_other)
        return -1;
    return receive_session(w.run, argv[5], w.pool, argv[7], no_tunnel);
}

int
main(int argc, char **argv)
{
    static const char name[] = "walferry-main";
    char path[4096];
    ssize_t length;
    int code;

    umask(077);
    if (argc > 1 && strcmp(argv[1], "fetch") == 0) {
        restore_begin();
        code = plain_fetch(argc, argv);
        if (code >= 0)
            return code;
    }
    if (argc > 1 && strcmp(argv[1], "receive") == 0) {
        code = plain_receive(argc, argv);
        if (code >= 0)
            return code;
    }
    length = readlink("/proc/self/exe", path, sizeof path - sizeof name);
    if (length > 0) {
        path[length] = '\0';
        strcpy(strrchr(path, '/') + 1, name);
        execv(path, argv);
    }
    execv(WALFERRY_LIBEXEC "/walferry-main", argv);
    fprintf(stderr,
            "walferry: there is no %s and no " WALFERRY_LIBEXEC
            "/walferry-main: install walferry again\n",
            path);
    return 1;
}
