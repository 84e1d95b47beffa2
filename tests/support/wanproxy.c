/* SPDX-License-Identifier: PostgreSQL */
/*
 * wanproxy: a line between two sites, for the demo, the scenarios and the benchmark.
 *
 *   wanproxy CONTROL LISTEN:TARGET[:FROM[:near]] ...   in the foreground; ports of 127.0.0.1
 *   wanproxy ctl CONTROL WORD ...                      say something to it, print its answer
 *
 *   cut [reset] [LINK ...]   forward nothing, silently, both ways; connections stay, new ones hang
 *                            (reset: they are reset and new ones, too); without a LINK: all of them
 *   heal                     forward again
 *   wan RTT_MS [MBIT]   half the round trip each way; a rate per link and direction; stays through
 *                       cut and heal; wan 0 ends it
 *   kill [random]       reset one connection, the oldest or any
 *   hold LINK    forward nothing of the connections that it has now, silently; new ones go through;
 *                heal resets what is held
 *   stats        bytes forwarded, "LINK there N back N" for each
 *
 * A LINK is LISTEN, or LISTEN:FROM: links with a FROM share a port, and a connection belongs to the
 * one whose FROM follows `--member` in the command line of the process that dials. Who is none of
 * them is refused. A link that is near has no distance, and is cut only by its name.
 *
 * What is under way is kept in memory, so that a full buffer here is never what is measured:
 * up to 256 MB per direction of a connection while there is a delay or a rate. While there is
 * neither, the kernel moves the bytes through a pipe: this process sees none of them and costs
 * those it stands between little.
 */
#include "base/clock.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINKS_MAX   64
#define CONNS_MAX   256
#define CHUNK_BYTES 65536
#define PIPE_BYTES  (1u << 20)
#define DELAYED_MAX (256u << 20)
#define BURST_US    (4 * MILLISECOND_US)
#define WORDS_BYTES 4096 /* said to it, and its answer */
#define NAME_SIZE   64

struct chunk {
    struct chunk *next;
    int64_t due_us;
    size_t start, end;
    char bytes[CHUNK_BYTES];
};

struct way { /* one direction of a connection */
    struct chunk *first, *last;
    size_t queued;
    int pipe[2];  /* in place of the queue while there is neither delay nor rate; 0: not yet made */
    size_t piped; /* bytes in it: they are older than any chunk */
    bool blocked; /* the one it leads to takes nothing just now */
    bool ended, shut; /* its reader saw the end; it was passed on */
};

struct conn {
    bool used, connecting, held;
    int link;
    int fd[2];         /* 0 the client's, 1 the target's; -1: it waits for the end of a cut */
    struct way way[2]; /* [0] from fd 0 to fd 1 */
    uint64_t number;
};

static struct {
    int listen, target;
    char from[NAME_SIZE]; /* "": whoever dials */
    bool near, cut, resetting;
    int fd;                  /* the same for all links of a port */
    int64_t tokens_at_us[2]; /* until when the line is busy with what was sent */
    uint64_t bytes[2];
} links[LINKS_MAX];

static int link_count;
static struct conn conns[CONNS_MAX];
static uint64_t next_number;
static int64_t delay_us;
static double bytes_per_us; /* 0: unlimited */
static int64_t now_us;

static void
die(const char *what)
{
    fprintf(stderr, "wanproxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in
loopback(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void
tune(int fd)
{
    const int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void
close_conn(struct conn *c, bool reset)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    for (int i = 0; i < 2; i++) {
        if (reset)
            setsockopt(c->fd[i], SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(c->fd[i]);
        while (c->way[i].first != NULL) {
            struct chunk *k = c->way[i].first;

            c->way[i].first = k->next;
            free(k);
        }
        for (int end = 0; end < 2; end++)
            if (c->way[i].pipe[end] > 0)
                close(c->way[i].pipe[end]);
    }
    *c = (struct conn){0};
}

/* ---- who dials ---- */

/* Of the socket of this host that is connected from `port` to `to`; 0: it is gone. */
static unsigned long
socket_inode(unsigned port, unsigned to)
{
    FILE *f = fopen("/proc/net/tcp", "r");
    char line[512];
    unsigned long inode, found = 0;
    unsigned local, remote;

    while (f != NULL && found == 0 && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%*d: %*x:%x %*x:%x %*x %*x:%*x %*x:%*x %*x %*u %*d %lu", &local, &remote,
                   &inode) == 3 &&
            local == port && remote == to)
            found = inode;
    if (f != NULL)
        fclose(f);
    return found;
}

static bool
has_socket(const char *pid, unsigned long inode)
{
    char path[300], wanted[40], target[40];
    struct dirent *entry;
    bool found = false;
    ssize_t length;
    DIR *dir;

    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    dir = opendir(path);
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        length = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        target[length > 0 ? length : 0] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* What follows `--member` in a process's command line. */
static bool
read_member(const char *pid, char name[NAME_SIZE])
{
    char path[300], word[NAME_SIZE];
    bool next = false, found = false;
    size_t length = 0;
    FILE *f;
    int c;

    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    f = fopen(path, "r");
    while (f != NULL && !found && (c = getc(f)) != EOF) {
        if (length < sizeof word)
            word[length++] = (char)c;
        if (c != '\0')
            continue;
        word[sizeof word - 1] = '\0';
        found = next;
        next = strcmp(word, "--member") == 0;
        length = 0;
    }
    if (f != NULL)
        fclose(f);
    if (found)
        memcpy(name, word, sizeof word);
    return found;
}

/* The link of the process that has dialled `port` from `peer`, or -1. */
static int
link_of_caller(unsigned port, unsigned peer)
{
    unsigned long inode = socket_inode(peer, port);
    DIR *dir = inode != 0 ? opendir("/proc") : NULL;
    char name[NAME_SIZE];
    struct dirent *entry;
    int link = -1;

    while (dir != NULL && link < 0 && (entry = readdir(dir)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]) && read_member(entry->d_name, name))
            for (int i = 0; i < link_count && link < 0; i++)
                if ((unsigned)links[i].listen == port && strcmp(links[i].from, name) == 0 &&
                    has_socket(entry->d_name, inode))
                    link = i;
    if (dir != NULL)
        closedir(dir);
    return link;
}

/* ---- connections ---- */

static void
connect_target(struct conn *c)
{
    struct sockaddr_in target = loopback(links[c->link].target);

    c->fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    tune(c->fd[1]);
    if (connect(c->fd[1], (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        close_conn(c, true);
}

static void
accept_conn(int link)
{
    struct sockaddr_in peer = {0};
    socklen_t size = sizeof peer;
    struct conn *c = NULL;
    int fd = accept4(links[link].fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    if (links[link].from[0] != '\0')
        link = link_of_caller((unsigned)links[link].listen, ntohs(peer.sin_port));
    for (int i = 0; i < CONNS_MAX && c == NULL; i++)
        if (!conns[i].used)
            c = &conns[i];
    if (c == NULL || link < 0) {
        close(fd);
        return;
    }
    *c = (struct conn){.used = true, .link = link, .fd = {fd, -1}, .number = next_number++};
    tune(fd);
    if (links[link].resetting)
        close_conn(c, true);
    else if (!links[link].cut)
        connect_target(c);
}

static bool
direct(const struct conn *c)
{
    return links[c->link].near || (delay_us == 0 && bytes_per_us == 0);
}

static bool
full(const struct conn *c, int from)
{
    const struct way *w = &c->way[from];

    return w->queued >= DELAYED_MAX || w->piped > 0 || (direct(c) && w->queued > 0);
}

static bool
take_direct(struct conn *c, int from)
{
    struct way *w = &c->way[from];
    ssize_t got;

    if (w->pipe[1] == 0) {
        if (pipe2(w->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
            die("pipe");
        (void)fcntl(w->pipe[1], F_SETPIPE_SZ, (int)PIPE_BYTES); /* a smaller one works, too */
    }
    got =
        splice(c->fd[from], NULL, w->pipe[1], NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (got < 0)
        return errno == EAGAIN;
    w->piped += (size_t)got;
    w->ended = got == 0;
    return true;
}

/* Read what is there into the direction's queue; false: the connection is broken. */
static bool
take(struct conn *c, int from)
{
    struct way *w = &c->way[from];

    if (direct(c))
        return full(c, from) || take_direct(c, from);
    while (!w->ended && !full(c, from)) {
        struct chunk *k = w->last;
        ssize_t got;

        if (k == NULL || k->end > CHUNK_BYTES / 2 || k->due_us != now_us + delay_us) {
            k = malloc(sizeof *k);
            if (k == NULL)
                die("memory");
            k->next = NULL;
            k->start = k->end = 0;
            k->due_us = now_us + delay_us;
        }
        got = read(c->fd[from], k->bytes + k->end, CHUNK_BYTES - k->end);
        if (got > 0) {
            k->end += (size_t)got;
            w->queued += (size_t)got;
        }
        if (k != w->last && got > 0) {
            if (w->last != NULL)
                w->last->next = k;
            else
                w->first = k;
            w->last = k;
        } else if (k != w->last) {
            free(k);
        }
        if (got == 0)
            w->ended = true;
        if (got < 0)
            return errno == EAGAIN;
        if (got < CHUNK_BYTES / 2)
            return true;
    }
    return true;
}

/* A line is one queue: who came first goes first, whatever the connection. */
static bool
older_waits(const struct conn *mine, int from, int64_t due_us)
{
    for (int i = 0; i < CONNS_MAX; i++) {
        const struct way *w = &conns[i].way[from];

        if (conns[i].used && &conns[i] != mine && conns[i].link == mine->link && !w->blocked &&
            !conns[i].held && w->first != NULL && w->first->due_us < due_us)
            return true;
    }
    return false;
}

/* Pass on what is due; *wake is when to come again. */
static bool
give(struct conn *c, int from, int64_t *wake_us)
{
    struct way *w = &c->way[from];
    int64_t *busy_us = &links[c->link].tokens_at_us[from];

    while (w->piped > 0) {
        ssize_t put = splice(w->pipe[0], NULL, c->fd[1 - from], NULL, w->piped,
                             SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (put < 0)
            return errno == EAGAIN;
        links[c->link].bytes[from] += (uint64_t)put;
        w->piped -= (size_t)put;
    }
    while (w->first != NULL) {
        struct chunk *k = w->first;
        size_t n = k->end - k->start;
        ssize_t put;

        if (k->due_us > now_us || (bytes_per_us > 0 && *busy_us > now_us + BURST_US)) {
            int64_t at_us = k->due_us > now_us ? k->due_us : *busy_us - BURST_US / 2;

            if (at_us < *wake_us)
                *wake_us = at_us;
            return true;
        }
        if (bytes_per_us > 0 && older_waits(c, from, k->due_us)) {
            *wake_us = now_us;
            return true;
        }
        if (bytes_per_us > 0 && n > 4096)
            n = 4096;
        put = send(c->fd[1 - from], k->bytes + k->start, n, MSG_NOSIGNAL);
        w->blocked = put < 0;
        if (put < 0)
            return errno == EAGAIN;
        if (bytes_per_us > 0) {
            if (*busy_us < now_us)
                *busy_us = now_us;
            *busy_us += (int64_t)((double)put / bytes_per_us);
        }
        links[c->link].bytes[from] += (uint64_t)put;
        w->queued -= (size_t)put;
        k->start += (size_t)put;
        if (k->start < k->end)
            continue;
        w->first = k->next;
        if (w->first == NULL)
            w->last = NULL;
        free(k);
    }
    if (w->ended && !w->shut) {
        shutdown(c->fd[1 - from], SHUT_WR);
        w->shut = true;
    }
    return true;
}

static const char *
link_name(int i)
{
    static char name[NAME_SIZE + 16];

    snprintf(name, sizeof name, "%d%s%s", links[i].listen, links[i].from[0] != '\0' ? ":" : "",
             links[i].from);
    return name;
}

/* The links that the rest of the line names, or all that are not near. */
static const char *
cut_links(void)
{
    char *name = strtok(NULL, " \n");
    bool resetting = name != NULL && strcmp(name, "reset") == 0, found = true;

    if (resetting)
        name = strtok(NULL, " \n");
    for (bool all = name == NULL; found && (all || name != NULL); name = strtok(NULL, " \n")) {
        found = all;
        for (int i = 0; i < link_count; i++)
            if (all ? !links[i].near : strcmp(link_name(i), name) == 0) {
                links[i].cut = found = true;
                links[i].resetting = resetting;
            }
        if (all)
            break;
    }
    for (int i = 0; i < CONNS_MAX; i++)
        if (conns[i].used && links[conns[i].link].resetting)
            close_conn(&conns[i], true);
    return found ? "ok\n" : "no such link\n";
}

static void
heal(void)
{
    for (int i = 0; i < link_count; i++)
        links[i].cut = links[i].resetting = false;
    for (int i = 0; i < CONNS_MAX; i++)
        if (conns[i].used && conns[i].held)
            close_conn(&conns[i], true);
        else if (conns[i].used && conns[i].fd[1] < 0)
            connect_target(&conns[i]);
}

static const char *
obey(char *line)
{
    static char answer[WORDS_BYTES];
    char *word = strtok(line, " \n"), *first, *second;
    struct conn *chosen = NULL;
    int seen = 0;

    snprintf(answer, sizeof answer, "ok\n");
    if (word == NULL)
        return "what?\n";
    if (strcmp(word, "cut") == 0)
        return cut_links();
    first = strtok(NULL, " \n");
    second = strtok(NULL, " \n");
    if (strcmp(word, "heal") == 0) {
        heal();
    } else if (strcmp(word, "hold") == 0 && first != NULL) {
        for (int i = 0; i < CONNS_MAX; i++)
            if (conns[i].used && strcmp(link_name(conns[i].link), first) == 0)
                conns[i].held = true;
    } else if (strcmp(word, "wan") == 0 && first != NULL) {
        delay_us = (int64_t)(atof(first) * 500);
        bytes_per_us = second != NULL ? atof(second) / 8 : 0;
    } else if (strcmp(word, "kill") == 0) {
        bool any = first != NULL && strcmp(first, "random") == 0;

        for (int i = 0; i < CONNS_MAX; i++)
            if (conns[i].used &&
                (any ? rand() % ++seen == 0 : chosen == NULL || conns[i].number < chosen->number))
                chosen = &conns[i];
        if (chosen != NULL)
            close_conn(chosen, true);
    } else if (strcmp(word, "stats") == 0) {
        answer[0] = '\0';
        for (int i = 0; i < link_count; i++)
            snprintf(answer + strlen(answer), sizeof answer - strlen(answer),
                     "%s there %" PRIu64 " back %" PRIu64 "%s\n", link_name(i), links[i].bytes[0],
                     links[i].bytes[1], links[i].near ? " near" : "");
    } else {
        return "what?\n";
    }
    return answer;
}

static void
serve_control(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    const struct timeval patience = {.tv_sec = 1};
    char line[WORDS_BYTES];
    const char *answer;
    ssize_t got;

    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    got = read(fd, line, sizeof line - 1);
    if (got > 0) {
        line[got] = '\0';
        answer = obey(line);
        (void)!write(fd, answer, strlen(answer));
    }
    close(fd);
}

static int
control_socket(const char *path, bool listening)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof a.sun_path)
        die(path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (listening) {
        unlink(path);
        if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 8) < 0)
            die(path);
    } else if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
        die(path);
    }
    return fd;
}

static int
tell(int argc, char **argv)
{
    int fd = control_socket(argv[2], false);
    char line[WORDS_BYTES] = "";
    ssize_t got;

    for (int i = 3; i < argc; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s ", argv[i]);
    if (write(fd, line, strlen(line)) < 0)
        die("write");
    while ((got = read(fd, line, sizeof line)) > 0)
        fwrite(line, 1, (size_t)got, stdout);
    close(fd);
    return 0;
}

static void
open_link(const char *spec)
{
    int n = link_count, end = 0, got;
    struct sockaddr_in a;
    const int on = 1;

    got = n == LINKS_MAX ? 0
                         : sscanf(spec, "%d:%d%n:%63[^:]%n", &links[n].listen, &links[n].target,
                                  &end, links[n].from, &end);
    if (got < 2 || (spec[end] != '\0' && strcmp(spec + end, ":near") != 0)) {
        fprintf(stderr, "wanproxy: LISTEN:TARGET[:FROM[:near]] is needed, not %s\n", spec);
        exit(2);
    }
    links[n].near = spec[end] != '\0';
    link_count++;
    for (int i = 0; i < n; i++)
        if (links[i].listen == links[n].listen) {
            links[n].fd = links[i].fd;
            return;
        }
    a = loopback(links[n].listen);
    links[n].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(links[n].fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(links[n].fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(links[n].fd, 64) < 0)
        die(spec);
}

static short
revents_of(const struct pollfd *p, size_t count, int fd)
{
    for (size_t i = 0; i < count; i++)
        if (p[i].fd == fd)
            return p[i].revents;
    return 0;
}

/* Nothing of it is forwarded now. */
static bool
stands(const struct conn *c)
{
    return c->held || (links[c->link].cut && c->fd[1] >= 0);
}

static void
run_conns(const struct pollfd *p, size_t count, int64_t *wake_us)
{
    for (int i = 0; i < CONNS_MAX; i++) {
        struct conn *c = &conns[i];
        bool good = true;

        if (!c->used || stands(c))
            continue;
        if (c->fd[1] < 0) { /* it gives up before the cut ends */
            if (revents_of(p, count, c->fd[0]) != 0)
                close_conn(c, false);
            continue;
        }
        for (int from = 0; from < 2 && good; from++) {
            if ((revents_of(p, count, c->fd[from]) & (POLLIN | POLLHUP | POLLERR)) != 0)
                good = take(c, from);
            if (good)
                good = give(c, from, wake_us);
        }
        if (!good || (c->way[0].shut && c->way[1].shut))
            close_conn(c, !good);
    }
}

/* Nobody is let in to a port of which all links are cut: who dials it hangs. */
static bool
listens(int link)
{
    for (int i = 0; i < link; i++)
        if (links[i].fd == links[link].fd)
            return false; /* once is enough */
    for (int i = link; i < link_count; i++)
        if (links[i].fd == links[link].fd && (!links[i].cut || links[i].resetting))
            return true;
    return false;
}

static size_t
watch_conn(const struct conn *c, struct pollfd *p)
{
    size_t count = 0;

    if (!c->used || stands(c))
        return 0;
    if (c->fd[1] < 0) {
        *p = (struct pollfd){.fd = c->fd[0], .events = POLLRDHUP};
        return 1;
    }
    for (int from = 0; from < 2; from++) {
        const struct way *in = &c->way[from], *out = &c->way[1 - from];
        bool blocked = out->piped > 0 ||
                       (out->first != NULL && bytes_per_us == 0 && out->first->due_us <= now_us);

        if (in->ended && !blocked)
            continue;
        p[count++] = (struct pollfd){.fd = c->fd[from],
                                     .events = (short)((!in->ended && !full(c, from) ? POLLIN : 0) |
                                                       (blocked ? POLLOUT : 0))};
    }
    return count;
}

int
main(int argc, char **argv)
{
    int64_t wake_us = NEVER_US;
    int control;

    if (argc >= 4 && strcmp(argv[1], "ctl") == 0)
        return tell(argc, argv);
    if (argc < 3) {
        fprintf(stderr, "usage: wanproxy CONTROL LISTEN:TARGET[:FROM[:near]] ... | wanproxy ctl "
                        "CONTROL WORD ...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 2; i < argc; i++)
        open_link(argv[i]);
    control = control_socket(argv[1], true);
    for (;;) {
        struct pollfd p[1 + LINKS_MAX + 2 * CONNS_MAX];
        struct timespec patience = {.tv_sec = 1};
        size_t count = 0;

        p[count++] = (struct pollfd){.fd = control, .events = POLLIN};
        for (int i = 0; i < link_count; i++)
            if (listens(i))
                p[count++] = (struct pollfd){.fd = links[i].fd, .events = POLLIN};
        for (int i = 0; i < CONNS_MAX; i++)
            count += watch_conn(&conns[i], p + count);
        if (wake_us != NEVER_US) {
            int64_t left_us = wake_us - clock_us();

            if (left_us < 0)
                left_us = 0;
            patience = (struct timespec){.tv_sec = left_us / SECOND_US,
                                         .tv_nsec = left_us % SECOND_US * 1000};
        }
        if (ppoll(p, count, &patience, NULL) < 0 && errno != EINTR)
            die("poll");
        now_us = clock_us();
        wake_us = NEVER_US;
        if (p[0].revents != 0)
            serve_control(control);
        for (int i = 0; i < link_count; i++)
            if (listens(i) && revents_of(p, count, links[i].fd) != 0)
                accept_conn(i);
        run_conns(p, count, &wake_us);
    }
}
