/* SPDX-License-Identifier: PostgreSQL */
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static _Thread_local char message[FAIL_MESSAGE_MAX];

int
fail(int code, const char *format, ...)
{
    char text[FAIL_MESSAGE_MAX]; /* an argument may be the old message */
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    memcpy(message, text, sizeof message);
    return code;
}

int
fail_sys(int code, const char *format, ...)
{
    int error = errno;
    char text[FAIL_MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(code, "%s: %s", text, strerror(error));
}

int
fail_file(int code, int dir, const char *name, const char *format, ...)
{
    int error = errno;
    char text[FAIL_MESSAGE_MAX];
    struct stat about;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if ((error == EACCES || error == EPERM) &&
        fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0 && about.st_uid != geteuid())
        return fail(ERR_USAGE, "%s: it belongs to user %u, this runs as user %u; chown %u %s", text,
                    (unsigned)about.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), name);
    return fail(code, "%s: %s", text, strerror(error));
}

int
fail_in(int code, const char *format, ...)
{
    char text[FAIL_MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(code, "%s: %s", text, message);
}

const char *
fail_message(void)
{
    return message;
}
