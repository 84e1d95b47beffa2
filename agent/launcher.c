/* SPDX-License-Identifier: PostgreSQL */
/*
 * launcher: the program `walferry`. A recovering PostgreSQL starts `walferry fetch` for every
 * segment, and a program that links libpq, libssh2, an HTTP server and their libraries needs longer
 * to start than to copy 16 MB. So a plain fetch is done here, with next to no library. Everything
 * else is done by the main program, walferry-main, beside this one or in libexec, which replaces
 * this process (exec).
 *
 * Plain is `walferry fetch --config FILE --member NAME SEGMENT TARGET`, with a spool for NAME in
 * FILE, and without an error. The config is not checked here: the agent has checked it, and the
 * main program names a line that is not understood.
 */
#include "commands/restore_command.h"

#include "base/fail.h"
#include "shipper/wal/spool.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct wanted {
    char section[64]; /* "member NAME" */
    char spool[256], run[256];
};

static int
take_key(void *context, const char *section, const char *key, const char *value)
{
    struct wanted *w = context;

    if (key == NULL || strcmp(section, w->section) != 0 || strlen(value) >= sizeof w->spool)
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
