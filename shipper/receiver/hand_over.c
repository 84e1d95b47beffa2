/* SPDX-License-Identifier: PostgreSQL */
/*
 * Both halves of what `walferry receive` and the agent have to say to each other (unix(7),
 * SCM_RIGHTS).
 */
#include "hand_over.h"

#include "base/fail.h"
#include "base/unix_socket.h"
#include "shipper/receiver/inlet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The bytes beside the descriptors: the member that the key is bound to, with zeros behind it, and
 * one 0 more if it is bound with --no-tunnel. */
#define WORD_BYTES (MEMBER_NAME_SIZE + 1)

int
inlet_hand_over(const char *run, const char *from, bool no_tunnel)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int) * 2)];
    } control = {0};
    char word[WORD_BYTES] = "", path[128], byte;
    struct iovec io = {.iov_base = word, .iov_len = MEMBER_NAME_SIZE + no_tunnel};
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    const int fds[2] = {STDIN_FILENO, STDOUT_FILENO};
    int code, fd;

    snprintf(word, MEMBER_NAME_SIZE, "%s", from);
    snprintf(path, sizeof path, "%s/inlet", run);
    code = unix_socket_connect(path, &fd);
    if (code < 0)
        return code;
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof fds), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
    if (sendmsg(fd, &m, MSG_NOSIGNAL) < 0) {
        code = fail_sys(ERR_PEER, "the agent on %s does not take the session", path);
        close(fd);
        return code;
    }
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    while (read(fd, &byte, 1) > 0 || errno == EINTR)
        errno = 0;
    close(fd);
    return 0;
}

int
hand_over_take(int socket, char from[MEMBER_NAME_SIZE], bool *ret_no_tunnel, int *ret_in,
               int *ret_out)
{
    union {
        struct cmsghdr header; /* aligns the bytes */
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
    } control;
    char word[WORD_BYTES];
    struct iovec io = {.iov_base = word, .iov_len = sizeof word};
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    int fds[8];
    size_t count = 0;

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? ERR_AGAIN
                                                 : fail_sys(ERR_PEER, "walferry receive is gone");
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t k = 0; k < n && count < 8; k++)
            memcpy(&fds[count++], CMSG_DATA(c) + k * sizeof(int), sizeof(int));
    }
    if (got == 0 && count == 0)
        return 0;
    if (got < MEMBER_NAME_SIZE || count != 2 || word[MEMBER_NAME_SIZE - 1] != '\0' ||
        (m.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0) {
        for (size_t k = 0; k < count; k++)
            close(fds[k]);
        return fail(ERR_PEER, "a process that is no walferry receive connected to the inlet");
    }
    memcpy(from, word, MEMBER_NAME_SIZE);
    *ret_no_tunnel = got == WORD_BYTES;
    *ret_in = fds[0];
    *ret_out = fds[1];
    return 1;
}
