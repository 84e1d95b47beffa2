/* SPDX-License-Identifier: PostgreSQL */
/*
 * fail: the one idiom for errors.
 *
 * A function that can fail returns 0 (or a count) or one of these negative codes. The code says
 * what the caller must do; the message, written once where it is first known, says what happened.
 * Callers in between only pass the code on; the loop logs fail_message() once and reacts.
 *
 * The message is kept per thread, at most FAIL_MESSAGE_MAX bytes, one line, for the DBA: what
 * happened, to which object, what to do next. Text that came from a peer goes through text_escape.
 */
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

#define FAIL_MESSAGE_MAX 1024

/* Not -1: that is the other style, of durable.h and the system's calls, where errno says why. */
enum fail_code {
    ERR_AGAIN = -2, /* nothing wrong: come back when poll says so */
    ERR_PEER = -3,  /* the other side is gone or broke the protocol: drop the session, dial again */
    ERR_LOCAL = -4, /* our disk, permission or space: stop accepting, stay alive, retry later */
    ERR_CORRUPT = -5, /* what we hold contradicts itself: refuse, name it, wait for the operator */
    ERR_USAGE = -6,   /* bad arguments or config: exit 2 at start, never later */
};

/* Write the message; returns code, so that `return fail(ERR_PEER, ...)` reads as it should. */
int fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with ": strerror(errno)" behind it. */
int fail_sys(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a file in the directory `dir`. If access fails because the file belongs to another
 * user, the message says that and how to give it back, and the code is ERR_USAGE: trying again
 * changes nothing. */
int fail_file(int code, int dir, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Put "text: " before the last message; returns code. */
int fail_in(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* This thread's last message; "" before the first. Valid until the next fail on this thread. */
const char *fail_message(void);

#endif
