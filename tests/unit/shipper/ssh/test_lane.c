/* SPDX-License-Identifier: PostgreSQL */
/*
 * lane: against a real sshd on loopback, with its own keys, configuration and port, run by an
 * unprivileged user (postgres when root starts the test). Each key is bound to a command, so a test
 * chooses the far end's behaviour by its identity. A small relay between both ends gives the cases
 * that a healthy sshd does not: silence or a cut after any number of bytes.
 */
#include "unit/unit.h"

#include "base/clock.h"
#include "base/fail.h"
#include "shipper/ssh/lane.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libssh2.h>
#include <netdb.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB        (1u << 20)
#define NO_LIMIT  UINT64_MAX
#define SSHD_PATH "/usr/sbin/sshd"

#define give_up(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

void __lsan_disable(void) __attribute__((weak)); /* there under the address sanitizer */
void __lsan_enable(void) __attribute__((weak));

static struct site {
    char dir[64];
    char user[64];
    char host_key[64]; /* of the ed25519 key */
    char host_key_ecdsa[64];
    pid_t sshd;
    int port;
} site;

static void __attribute__((format(printf, 1, 2))) shell(const char *format, ...)
{
    char command[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (system(command) != 0)
        give_up("failed: %s", command);
}

static void
read_text(const char *command, char *out, size_t size)
{
    FILE *pipe = popen(command, "re");

    assert_non_null(pipe);
    assert_non_null(fgets(out, (int)size, pipe));
    out[strcspn(out, "\n")] = '\0';
    assert_int_equal(pclose(pipe), 0);
}

/* A socket on a free port that ephemeral ones do not take; listening when asked. */
static int
bind_port(bool listening, int *ret_port)
{
    int on = 1;

    for (int i = 0; i < 1000; i++) {
        int port = 20000 + (int)((unsigned)(clock_us() + i * 7919 + getpid()) % 12000);
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && (!listening || listen(fd, 8) == 0)) {
            *ret_port = port;
            return fd;
        }
        close(fd);
    }
    give_up("no free port");
    return -1;
}

static int
connect_port(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static void
stop(pid_t pid)
{
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A child that does not outlive a test that is killed. */
static pid_t
fork_child(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    return pid;
}

static pid_t
start_sshd(const char *option, int *ret_port)
{
    for (int attempt = 0; attempt < 20; attempt++) {
        char port_option[32], config[96], log[96];
        int fd = bind_port(false, ret_port);
        pid_t pid;

        snprintf(port_option, sizeof port_option, "Port=%d", *ret_port);
        snprintf(config, sizeof config, "%s/sshd_config", site.dir);
        snprintf(log, sizeof log, "%s/sshd.log", site.dir);
        close(fd);
        pid = fork_child();
        if (pid == 0) {
            execl(SSHD_PATH, SSHD_PATH, "-D", "-f", config, "-E", log, "-o", port_option, "-o",
                  option, (char *)NULL);
            _exit(127);
        }
        for (int i = 0; i < 500 && waitpid(pid, NULL, WNOHANG) == 0; i++) {
            fd = connect_port(*ret_port);
            if (fd >= 0) {
                close(fd);
                return pid;
            }
            usleep(10000);
        }
    }
    give_up("sshd does not start, see %s/sshd.log", site.dir);
    return -1;
}

static void
make_key(const char *name, const char *type, const char *more, const char *command)
{
    shell("ssh-keygen -q -t %s %s -N '' -C test -f %s/%s", type, more, site.dir, name);
    if (command != NULL)
        shell("(printf '%%s' 'restrict,command=\"%s\" '; cat %s/%s.pub) >> %s/authorized_keys",
              command, site.dir, name, site.dir);
}

static void
become_ordinary_user(void)
{
    struct passwd *user = getuid() == 0 ? getpwnam("postgres") : getpwuid(getuid());

    assert_non_null(user);
    snprintf(site.user, sizeof site.user, "%s", user->pw_name);
    if (getuid() != 0)
        return;
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(setgid(user->pw_gid), 0);
    assert_int_equal(setuid(user->pw_uid), 0);
    assert_int_equal(chdir("/"), 0);
}

static int
set_up(void **state)
{
    char command[256];

    (void)state;
    become_ordinary_user();
    signal(SIGPIPE, SIG_IGN);
    snprintf(site.dir, sizeof site.dir, "/tmp/lane-XXXXXX");
    assert_non_null(mkdtemp(site.dir));
    shell("ssh-keygen -q -t ed25519 -N '' -f %s/host_ed25519", site.dir);
    shell("ssh-keygen -q -t ecdsa -N '' -f %s/host_ecdsa", site.dir);
    snprintf(command, sizeof command, "ssh-keygen -lf %s/host_ed25519.pub | cut -d' ' -f2",
             site.dir);
    read_text(command, site.host_key, sizeof site.host_key);
    snprintf(command, sizeof command, "ssh-keygen -lf %s/host_ecdsa.pub | cut -d' ' -f2", site.dir);
    read_text(command, site.host_key_ecdsa, sizeof site.host_key_ecdsa);
    make_key("cat", "ed25519", "", "cat");
    make_key("ecdsa", "ecdsa", "-b 384", "cat");
    make_key("ecdsa_pem", "ecdsa", "-m PEM", "cat");
    make_key("sink", "ed25519", "", "cat >/dev/null");
    make_key("stuck", "ed25519", "", "exec sleep 4");
    make_key("broken", "ed25519", "", "echo no room on disk >&2; exit 3");
    make_key("killed", "ed25519", "", "kill -TERM $$");
    make_key("noisy", "ed25519", "", "head -c 5000000 /dev/zero >&2; cat");
    make_key("rsa", "rsa", "-b 2048", "cat");
    make_key("rsa_pem", "rsa", "-b 2048 -m PEM", "cat");
    make_key("stranger", "ed25519", "", NULL);
    shell(
        "printf '%%s\\n' ListenAddress=127.0.0.1 StrictModes=no UsePAM=no PidFile=none LogLevel=VERBOSE "
        "PasswordAuthentication=no HostKey=%s/host_ed25519 HostKey=%s/host_ecdsa "
        "AuthorizedKeysFile=%s/authorized_keys MaxStartups=100 >%s/sshd_config",
        site.dir, site.dir, site.dir, site.dir);
    shell("cd %s; if " SSHD_PATH
          " -t -f sshd_config -o PerSourcePenalties=no 2>/dev/null; then " /* since 9.8 */
          "echo PerSourcePenalties=no >>sshd_config; fi",
          site.dir);
    site.sshd = start_sshd("Compression=no", &site.port);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    stop(site.sshd);
    shell("rm -r %s", site.dir);
    return 0;
}

static struct lane_target
target_of(const char *key)
{
    struct lane_target t = {.host = "127.0.0.1"};

    snprintf(t.user, sizeof t.user, "%s", site.user);
    snprintf(t.port, sizeof t.port, "%d", site.port);
    snprintf(t.host_key, sizeof t.host_key, "%s", site.host_key);
    snprintf(t.identity, sizeof t.identity, "%s/%s", site.dir, key);
    return t;
}

static int
turn(struct lane *l, int64_t wait_us)
{
    struct loop loop;

    loop_begin(&loop);
    lane_watch(l, &loop);
    loop_due(&loop, clock_us() + wait_us);
    assert_int_equal(loop_wait(&loop), 0);
    return lane_run(l, &loop, clock_us());
}

static int
bring_up(struct lane *l)
{
    int code = lane_open(l, clock_us());

    while (code == 0 && l->state != LANE_UP)
        code = turn(l, SECOND_US);
    return code;
}

static void
assert_up(const struct lane_target *t)
{
    struct lane l;
    int code;

    assert_int_equal(lane_init(&l, t), 0);
    code = bring_up(&l);
    if (code != 0)
        give_up("not up: %s", fail_message());
    lane_release(&l);
}

static void
assert_says(const char *word)
{
    if (strstr(fail_message(), word) == NULL)
        give_up("\"%s\" does not say \"%s\"", fail_message(), word);
}

static void
assert_refused(const struct lane_target *t, int expected, const char *word)
{
    struct lane l;

    assert_int_equal(lane_init(&l, t), 0);
    assert_int_equal(bring_up(&l), expected);
    assert_says(word);
    lane_close(&l); /* the reason is still told behind it */
    assert_says(word);
    assert_int_equal(l.state, LANE_DOWN);
    lane_release(&l);
}

/* Runs until the lane ends; its output stays in l->in. */
static int
run_out(struct lane *l)
{
    int64_t until_us = clock_us() + 10 * SECOND_US;
    int code = 0;

    while (code == 0 && clock_us() < until_us)
        code = turn(l, SECOND_US);
    return code;
}

static uint8_t
pattern(uint64_t at)
{
    return (uint8_t)((at / 8 + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 8 * (at % 8));
}

static void
fill_out(struct lane *l, uint64_t *sent, uint64_t total)
{
    size_t n = buf_room(&l->out) < total - *sent ? buf_room(&l->out) : total - *sent;
    uint8_t *at = buf_reserve(&l->out, n);

    for (size_t i = 0; i < n; i++)
        at[i] = pattern(*sent + i);
    buf_commit(&l->out, n);
    *sent += n;
}

static void
check_in(struct lane *l, uint64_t *got)
{
    const uint8_t *bytes = buf_data(&l->in);
    size_t n = buf_used(&l->in);

    for (size_t i = 0; i < n; i++)
        if (bytes[i] != pattern(*got + i))
            give_up("byte %llu came back wrong", (unsigned long long)(*got + i));
    buf_consume(&l->in, n);
    *got += n;
}

static void
round_trip(const struct lane_target *t, uint64_t total)
{
    uint64_t sent = 0, got = 0;
    struct lane l;

    assert_int_equal(lane_init(&l, t), 0);
    assert_int_equal(bring_up(&l), 0);
    while (got < total) {
        fill_out(&l, &sent, total);
        if (turn(&l, 5 * SECOND_US) != 0)
            give_up("after %llu bytes: %s", (unsigned long long)got, fail_message());
        assert_true(clock_us() - l.progress_us < 4 * SECOND_US);
        check_in(&l, &got);
    }
    assert_int_equal(l.bytes_out, total);
    assert_int_equal(l.bytes_in, total);
    lane_release(&l);
}

static void
forgive_leaks(bool on)
{
    if (on && __lsan_disable != NULL)
        __lsan_disable();
    if (!on && __lsan_enable != NULL)
        __lsan_enable();
}

static void
test_lane_brings_50_mb_back_unchanged(void **state)
{
    struct lane_target t = target_of("cat");

    (void)state;
    round_trip(&t, 50 * (uint64_t)MB);
}

static void
test_lane_loses_nothing_across_rekeys(void **state)
{
    int port;
    pid_t pid = start_sshd("RekeyLimit=4M", &port);
    struct lane_target t = target_of("cat");

    (void)state;
    snprintf(t.port, sizeof t.port, "%d", port);
    forgive_leaks(true); /* libssh2 forgets the host key's 51 bytes at each new one */
    for (int i = 0; i < 3; i++)
        round_trip(&t, 50 * (uint64_t)MB);
    forgive_leaks(false);
    stop(pid);
}

static void
test_lane_takes_ecdsa_keys_in_both_formats(void **state)
{
    struct lane_target openssh = target_of("ecdsa"), pem = target_of("ecdsa_pem");

    (void)state;
    forgive_leaks(true); /* libssh2 1.10 forgets 72 bytes at each ecdsa signature */
    round_trip(&openssh, 1000);
    round_trip(&pem, 1000);
    forgive_leaks(false);
}

static void
test_lane_comes_up_again_after_close(void **state)
{
    struct lane_target t = target_of("cat");
    struct lane l;

    (void)state;
    assert_int_equal(lane_init(&l, &t), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bring_up(&l), 0);
        buf_put_string(&l.out, "hello");
        while (buf_used(&l.in) < 6)
            assert_int_equal(turn(&l, SECOND_US), 0);
        assert_string_equal((const char *)buf_data(&l.in), "hello");
        buf_put_string(&l.out, "lost");
        lane_close(&l);
        assert_int_equal(buf_used(&l.in) + buf_used(&l.out), 0);
    }
    lane_release(&l);
}

static void
test_lane_resolves_a_name_and_tries_every_address(void **state)
{
    struct lane_target t = target_of("cat");

    (void)state;
    snprintf(t.host, sizeof t.host,
             "localhost"); /* ::1 first on most machines, where nobody listens */
    assert_up(&t);
}

static int slow_names[2]; /* a pipe: while its other end is open, no name is found */

/* In libc's place, which it calls: a resolver that does not answer. */
int
getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
            struct addrinfo **ret_found)
{
    int (*libc)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    char byte;

    memcpy(&libc, &symbol, sizeof libc);
    if (strcmp(host, "slow.invalid") == 0 && (hints->ai_flags & AI_NUMERICHOST) == 0)
        (void)!read(slow_names[0], &byte, 1);
    return libc(host, port, hints, ret_found);
}

static void
test_lane_settles_when_its_lookup_is_over(void **state)
{
    struct lane_target t = target_of("cat");
    struct lane l;

    (void)state;
    snprintf(t.host, sizeof t.host, "slow.invalid");
    assert_int_equal(pipe2(slow_names, O_CLOEXEC), 0);
    assert_int_equal(lane_init(&l, &t), 0);
    assert_true(lane_settled(&l));
    assert_int_equal(lane_open(&l, clock_us()), 0);
    assert_int_equal(l.state, LANE_RESOLVING);
    lane_close(&l);
    assert_false(lane_settled(&l));
    close(slow_names[1]);
    for (int i = 0; i < 1000 && !lane_settled(&l); i++)
        poll(NULL, 0, 20);
    assert_true(lane_settled(&l));
    lane_release(&l);
    close(slow_names[0]);
}

static void
test_lane_refuses_a_bad_name(void **state)
{
    struct lane_target t = target_of("cat");

    (void)state;
    snprintf(t.host, sizeof t.host, "no..such..host");
    assert_refused(&t, ERR_PEER, "no..such..host was not found");
}

static void
test_lane_refuses_another_host_key_and_names_both(void **state)
{
    struct lane_target t = target_of("cat");

    (void)state;
    t.host_key[10] = t.host_key[10] == 'a' ? 'b' : 'a';
    assert_refused(&t, ERR_PEER, t.host_key);
    assert_says(site.host_key);
    assert_says("reinstalled");
}

static void
test_lane_accepts_any_of_the_hosts_keys_when_pinned(void **state)
{
    struct lane_target t = target_of("cat");

    (void)state;
    snprintf(t.host_key, sizeof t.host_key, "%s", site.host_key_ecdsa);
    assert_up(&t);
    snprintf(t.host_key + strlen(t.host_key), 2, "="); /* padded, as some tools write it */
    assert_up(&t);
}

static struct lane_target
target_known_by(const char *file)
{
    struct lane_target t = target_of("cat");

    t.host_key[0] = '\0';
    snprintf(t.known_hosts, sizeof t.known_hosts, "%s/%s", site.dir, file);
    return t;
}

static void
test_lane_known_hosts_good(void **state)
{
    struct lane_target t = target_known_by("known");

    (void)state;
    shell("(echo '# comment'; echo; echo '@cert-authority * ssh-ed25519 AAAA'; echo 'nonsense'; "
          "printf '[127.0.0.1]:%d '; cat %s/host_ed25519.pub) > %s/known",
          site.port, site.dir, site.dir);
    assert_up(&t);
    shell("(printf '[127.0.0.1]:%d '; cat %s/host_ecdsa.pub) > %s/known", site.port, site.dir,
          site.dir);
    assert_up(&t);
    shell("ssh-keygen -H -f %s/known >/dev/null 2>&1", site.dir);
    assert_up(&t);
}

static void
test_lane_known_hosts_bad(void **state)
{
    struct lane_target t = target_known_by("unknown");

    (void)state;
    assert_refused(&t, ERR_USAGE, "cannot read known_hosts");
    shell("(printf '10.9.8.7 '; cat %s/host_ed25519.pub) > %s/unknown", site.dir, site.dir);
    assert_refused(&t, ERR_PEER, "is not in known_hosts");
    assert_says(site.host_key);
    shell("(printf '[127.0.0.1]:%d '; cat %s/stranger.pub) > %s/unknown", site.port, site.dir,
          site.dir);
    assert_refused(&t, ERR_PEER, "shows another host key than known_hosts");
    shell("(printf '@revoked [127.0.0.1]:%d '; cat %s/host_ed25519.pub) > %s/unknown", site.port,
          site.dir, site.dir);
    assert_refused(&t, ERR_USAGE, "@revoked");
}

static void
test_lane_refused_key_names_user_and_file(void **state)
{
    struct lane_target t = target_of("stranger");

    (void)state;
    assert_refused(&t, ERR_PEER, "does not accept key");
    assert_says(t.identity);
    assert_says(site.user);
    assert_says("authorized_keys");
}

static void
test_lane_rsa_key_needs_libssh2_1_11(void **state)
{
    struct lane_target openssh = target_of("rsa"), pem = target_of("rsa_pem");

    (void)state;
    if (libssh2_version(0x010b00) != NULL) {
        assert_up(&openssh);
        assert_up(&pem);
        return;
    }
    assert_refused(&openssh, ERR_PEER, "use an ed25519 or ecdsa key");
    assert_refused(&pem, ERR_PEER, "use an ed25519 or ecdsa key");
}

static void
test_lane_no_common_algorithm_names_our_offers(void **state)
{
    struct lane_target t = target_of("cat");
    int port;
    pid_t pid = start_sshd("Ciphers=3des-cbc", &port);

    (void)state;
    snprintf(t.port, sizeof t.port, "%d", port);
    assert_refused(&t, ERR_PEER, "no common algorithms");
    assert_says("aes128-ctr");
    assert_says("hmac-sha2-256");
    assert_says("ssh-ed25519");
    stop(pid);
}

static void
test_lane_has_no_key_exchange_by_sha1(void **state)
{
    static const char *const old[] = {
        "KexAlgorithms=diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1",
        "KexAlgorithms=diffie-hellman-group14-sha256", "KexAlgorithms=ecdh-sha2-nistp384"};

    (void)state;
    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        struct lane_target t = target_of("cat");
        int port;
        pid_t pid = start_sshd(old[i], &port);

        snprintf(t.port, sizeof t.port, "%d", port);
        if (i > 0) {
            assert_up(&t);
        } else {
            assert_refused(&t, ERR_PEER, "no common algorithms");
            assert_says("KexAlgorithms curve25519-sha256,");
        }
        stop(pid);
    }
}

static void
test_lane_hardened_server_needs_libssh2_1_11(void **state)
{
    static const char *const hardened[] = {"Ciphers=aes256-gcm@openssh.com",
                                           "Ciphers=chacha20-poly1305@openssh.com",
                                           "MACs=hmac-sha2-256-etm@openssh.com"};

    (void)state;
    for (size_t i = 0; i < sizeof hardened / sizeof *hardened; i++) {
        struct lane_target t = target_of("cat");
        int port;
        pid_t pid = start_sshd(hardened[i], &port);

        snprintf(t.port, sizeof t.port, "%d", port);
        if (libssh2_version(0x010b00) != NULL) {
            forgive_leaks(true); /* libssh2 1.11 forgets 96 bytes at each GCM session */
            round_trip(&t, 3 * MB);
            forgive_leaks(false);
        } else {
            assert_refused(&t, ERR_PEER, "libssh2 1.11");
        }
        stop(pid);
    }
}

static void
test_lane_connection_refused(void **state)
{
    struct lane_target t = target_of("cat");
    int port, fd = bind_port(false, &port); /* bound, so nobody else listens there either */

    (void)state;
    snprintf(t.port, sizeof t.port, "%d", port);
    assert_refused(&t, ERR_PEER, "refuses connections");
    close(fd);
}

static void
test_lane_silent_listener_times_out(void **state)
{
    struct lane_target t = target_of("cat");
    int port, fd = bind_port(true, &port);
    int64_t start_us = clock_us();
    struct lane l;

    (void)state;
    snprintf(t.port, sizeof t.port, "%d", port);
    assert_refused(&t, ERR_PEER, "does not answer as an SSH server within 5 s");
    assert_int_in_range(clock_us() - start_us, LANE_CONNECT_US, LANE_CONNECT_US + SECOND_US);
    close(fd);
    assert_int_equal(lane_init(&l, &t), 0); /* closed while it waits, too */
    assert_int_equal(lane_open(&l, clock_us()), 0);
    lane_release(&l);
}

static void
test_lane_server_that_is_none(void **state)
{
    struct lane_target t = target_of("cat");
    int port, fd = bind_port(true, &port);
    pid_t pid = fork_child();

    (void)state;
    if (pid == 0) {
        int client = accept(fd, NULL, NULL);
        static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";

        if (write(client, text, sizeof text - 1) > 0)
            shutdown(client, SHUT_WR);
        pause();
        _exit(0);
    }
    snprintf(t.port, sizeof t.port, "%d", port);
    assert_refused(&t, ERR_PEER, "SSH server");
    stop(pid);
    close(fd);
}

/* A server that says one line and hangs up, at each dial. */
static pid_t
start_refuser(const char *line, int *ret_port, int *ret_fd)
{
    int fd = bind_port(true, ret_port);
    pid_t pid = fork_child();

    *ret_fd = fd;
    if (pid != 0)
        return pid;
    for (;;) {
        int client = accept(fd, NULL, NULL);
        char banner[256];

        if (write(client, line, strlen(line)) > 0) /* read what came: closing is no reset then */
            shutdown(client, SHUT_WR);
        while (read(client, banner, sizeof banner) > 0)
            ;
        close(client);
    }
}

static void
test_lane_that_is_turned_away(void **state)
{
    static const struct {
        const char *line, *word;
    } cases[] = {
        {"Exceeded MaxStartups\r\n", "at once than its MaxStartups allows"},
        {"Not allowed at this time\r\n", "turns us away for a while: failed logins from here"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lane_target t = target_of("cat");
        int port, fd;
        pid_t pid = start_refuser(cases[i].line, &port, &fd);

        snprintf(t.port, sizeof t.port, "%d", port);
        assert_refused(&t, ERR_PEER, cases[i].word);
        stop(pid);
        close(fd);
    }
}

/* Dialled again and again with a wrong key, each time the reason is that key. */
static void
test_lane_wrong_key_stays_the_reason(void **state)
{
    struct lane_target t = target_of("stranger");
    char first[FAIL_MESSAGE_MAX];
    struct lane l;
    int port, fd;
    pid_t pid = start_refuser("Not allowed at this time\r\n", &port, &fd);

    (void)state;
    assert_int_equal(lane_init(&l, &t), 0);
    for (int i = 0; i < 4; i++) { /* one sshd, as the lane sees it */
        snprintf(t.port, sizeof t.port, "%d", i % 2 == 0 ? site.port : port);
        assert_int_equal(bring_up(&l), ERR_PEER);
        assert_says("does not accept key");
        if (i == 1)
            snprintf(first, sizeof first, "%s", strstr(fail_message(), "does not"));
        if (i > 0)
            assert_says(first);
        lane_close(&l);
    }
    assert_non_null(strstr(first, "PerSourcePenalties"));
    t = target_of("cat"); /* the key is right now: nothing of it is remembered */
    assert_int_equal(bring_up(&l), 0);
    lane_close(&l);
    snprintf(t.port, sizeof t.port, "%d", port);
    assert_int_equal(bring_up(&l), ERR_PEER);
    assert_says("or too many at once");
    lane_release(&l);
    stop(pid);
    close(fd);
}

static void
write_file(const char *name, const char *text, mode_t mode)
{
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/%s", site.dir, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void
test_lane_refuses_identities_it_cannot_use(void **state)
{
    static const struct {
        const char *name, *word;
    } bad[] = {
        {"missing", "cannot open identity"},
        {"open", "can be read by others (mode 0644)"},
        {"cat.pub.private", "is a public key"},
        {"locked", "passphrase"},
        {"locked_pem", "passphrase"},
        {"locked_pkcs8", "passphrase"},
        {"garbage", "is not a private key"},
        {"empty", "is not a private key"},
        {"cut", "is damaged"},
    };

    (void)state;
    shell("cd %s && cp cat open && chmod 644 open", site.dir);
    shell("cd %s && cp cat.pub cat.pub.private && chmod 600 cat.pub.private", site.dir);
    shell("cd %s && ssh-keygen -q -t ed25519 -N secret -f locked", site.dir);
    shell("cd %s && ssh-keygen -q -t ecdsa -m PEM -N secret -f locked_pem", site.dir);
    shell("cd %s && ssh-keygen -q -t ecdsa -m PKCS8 -N secret -f locked_pkcs8", site.dir);
    write_file("garbage", "hello\n", 0600);
    write_file("empty", "", 0600);
    write_file("cut", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n", 0600);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct lane_target t = target_of(bad[i].name);

        assert_refused(&t, ERR_USAGE, bad[i].word);
        assert_says(t.identity);
    }
}

static void
test_lane_tells_exit_status_and_stderr(void **state)
{
    static const struct {
        const char *name, *word;
    } ends[] = {{"broken", "ended with status 3: no room on disk"}, {"killed", "signal TERM"}};

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct lane_target t = target_of(ends[i].name);
        struct lane l;
        int code;

        assert_int_equal(lane_init(&l, &t), 0);
        code = bring_up(&l); /* the command may end as fast as that */
        if (code == 0)
            code = run_out(&l);
        assert_int_equal(code, ERR_PEER);
        assert_says(ends[i].word);
        lane_release(&l);
    }
}

static void
test_lane_stderr_never_fills_the_window(void **state)
{
    struct lane_target t = target_of("noisy"); /* 5 MB of stderr, the window has 2 */

    (void)state;
    round_trip(&t, 100000);
}

static void
kill_children(pid_t parent)
{
    char path[64];
    FILE *file;
    int pid;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    file = fopen(path, "re");
    while (file != NULL && fscanf(file, "%d", &pid) == 1) {
        kill_children(pid);
        kill(pid, SIGKILL);
    }
    if (file != NULL)
        fclose(file);
}

static void
test_lane_notices_a_killed_sshd(void **state)
{
    struct lane_target t = target_of("cat");
    uint64_t sent = 0, got = 0;
    struct lane l;
    int code = 0;

    (void)state;
    assert_int_equal(lane_init(&l, &t), 0);
    assert_int_equal(bring_up(&l), 0);
    for (bool cut = false; code == 0;) {
        fill_out(&l, &sent, 100 * (uint64_t)MB);
        code = turn(&l, 5 * SECOND_US);
        check_in(&l, &got);
        if (got > 3 * MB && !cut) {
            kill_children(site.sshd);
            cut = true;
        }
        assert_true(got < 90 * (uint64_t)MB);
    }
    assert_int_equal(code, ERR_PEER);
    if (strstr(fail_message(), "killed by signal KILL") ==
        NULL) /* its sshd may have said so still */
        assert_says("was lost");
    lane_release(&l);
}

static int
turns_in(struct lane *l, int64_t duration_us)
{
    int64_t until_us = clock_us() + duration_us;
    int turns = 0;

    for (; clock_us() < until_us; turns++)
        assert_int_equal(turn(l, until_us - clock_us()), 0);
    return turns;
}

static void
test_lane_idle_or_stalled_does_not_spin(void **state)
{
    struct lane_target idle = target_of("cat"), stuck = target_of("stuck");
    uint64_t sent = 0;
    struct lane l;

    (void)state;
    assert_int_equal(lane_init(&l, &idle), 0);
    assert_int_equal(bring_up(&l), 0);
    turns_in(&l, SECOND_US / 5);
    assert_int_in_range(turns_in(&l, SECOND_US / 2), 1, 5);
    while (buf_room(&l.in) >=
           LANE_READ_BYTES) { /* a full `in`: more is on its way, and nobody takes it */
        fill_out(&l, &sent, 20 * MB);
        assert_int_equal(turn(&l, SECOND_US), 0);
    }
    turns_in(&l, SECOND_US / 2);
    assert_int_in_range(turns_in(&l, SECOND_US / 2), 1, 5);
    lane_release(&l);

    sent = 0;
    assert_int_equal(lane_init(&l, &stuck), 0);
    assert_int_equal(bring_up(&l), 0);
    for (int i = 0; i < 8; i++) { /* more than the kernel takes */
        fill_out(&l, &sent, 20 * MB);
        turns_in(&l, SECOND_US / 10);
    }
    assert_true(buf_used(&l.out) > LANE_OUT_BYTES / 4);
    assert_int_in_range(turns_in(&l, SECOND_US / 2), 1, 5);
    lane_release(&l);
}

/* One connection each; passes at most down bytes from sshd and up bytes to it, then cuts or is
 * silent. */
static pid_t
start_relay(uint64_t down, uint64_t up, bool cut, int *ret_port)
{
    int listener = bind_port(true, ret_port);
    pid_t pid = fork_child();
    uint8_t bytes[4096];
    int client, server;

    if (pid != 0) {
        close(listener);
        return pid;
    }
    client = accept(listener, NULL, NULL);
    server = connect_port(site.port);
    for (;;) {
        struct pollfd p[] = {{.fd = server, .events = down > 0 ? POLLIN : 0},
                             {.fd = client, .events = up > 0 ? POLLIN : 0}};
        int from;
        uint64_t *left;
        ssize_t n;

        if ((down == 0 || up == 0) && cut)
            _exit(0);
        if (down == 0 || up == 0) {
            pause(); /* silence in both directions */
            _exit(0);
        }
        poll(p, 2, -1);
        from = p[0].revents != 0 ? 0 : 1;
        left = from == 0 ? &down : &up;
        n = read(p[from].fd, bytes, *left < sizeof bytes ? (size_t)*left : sizeof bytes);
        if (n <= 0 || write(p[1 - from].fd, bytes, (size_t)n) != n)
            _exit(0);
        *left -= (uint64_t)n;
    }
}

static void
test_lane_survives_silence_and_cuts_at_any_byte(void **state)
{
    bool last = false;

    (void)state;
    for (uint64_t down = 1; !last; down += 113) {
        bool cut = (down & 1) != 0;
        struct lane_target t = target_of("cat");
        struct lane l;
        int port, code = 0;
        pid_t pid = start_relay(down, NO_LIMIT, cut, &port);
        int64_t progress_us;

        snprintf(t.port, sizeof t.port, "%d", port);
        assert_int_equal(lane_init(&l, &t), 0);
        assert_int_equal(lane_open(&l, clock_us()), 0);
        do {
            progress_us = l.progress_us;
            code = turn(&l, cut ? SECOND_US : SECOND_US / 20);
        } while (code == 0 && l.state != LANE_UP &&
                 (cut || l.progress_us != progress_us || l.state == LANE_CONNECTING));
        if (l.state == LANE_UP)
            last = true; /* that was all it takes to get up */
        else if (cut)
            assert_int_equal(code, ERR_PEER);
        else
            assert_int_equal(lane_run(&l, &(struct loop){0}, clock_us() + LANE_CONNECT_US),
                             ERR_PEER);
        lane_close(&l);
        lane_release(&l);
        stop(pid);
    }
}

static void
test_lane_closes_at_once_with_a_packet_half_sent(void **state)
{
    struct lane_target t = target_of("sink");
    uint64_t sent = 0;
    struct lane l;
    int port, unacknowledged;
    pid_t pid = start_relay(NO_LIMIT, 100000, false, &port);
    int64_t start_us;

    (void)state;
    snprintf(t.port, sizeof t.port, "%d", port);
    assert_int_equal(lane_init(&l, &t), 0);
    assert_int_equal(lane_unacknowledged(&l), -1);
    assert_int_equal(bring_up(&l), 0);
    for (int i = 0; i < 3; i++) { /* until the kernel takes no more */
        fill_out(&l, &sent, 30 * (uint64_t)MB);
        turns_in(&l, SECOND_US / 5);
    }
    unacknowledged = lane_unacknowledged(&l);
    assert_true(unacknowledged > 0);
    start_us = l.progress_us;
    assert_int_in_range(turns_in(&l, SECOND_US / 2), 1, 5);
    assert_int_equal(lane_unacknowledged(&l), unacknowledged);
    assert_int_equal(l.progress_us, start_us);
    start_us = clock_us();
    lane_close(&l);
    assert_true(clock_us() - start_us < SECOND_US / 10);
    lane_release(&l);
    stop(pid);
}

static void
test_lane_unacknowledged_moves_progress(void **state)
{
    struct lane_target t = target_of("sink");
    uint64_t sent = 0;
    struct lane l;
    int64_t before_us;

    (void)state;
    assert_int_equal(lane_init(&l, &t), 0);
    assert_int_equal(bring_up(&l), 0);
    fill_out(&l, &sent, MB);
    while (buf_used(&l.out) > 0 || lane_unacknowledged(&l) > 0)
        assert_int_equal(turn(&l, SECOND_US / 100), 0);
    before_us = l.progress_us;
    fill_out(&l, &sent, MB + 100);
    while (buf_used(&l.out) > 0 || lane_unacknowledged(&l) > 0)
        assert_int_equal(turn(&l, SECOND_US / 100), 0);
    assert_true(l.progress_us > before_us);
    lane_release(&l);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lane_brings_50_mb_back_unchanged),
        cmocka_unit_test(test_lane_loses_nothing_across_rekeys),
        cmocka_unit_test(test_lane_takes_ecdsa_keys_in_both_formats),
        cmocka_unit_test(test_lane_comes_up_again_after_close),
        cmocka_unit_test(test_lane_resolves_a_name_and_tries_every_address),
        cmocka_unit_test(test_lane_settles_when_its_lookup_is_over),
        cmocka_unit_test(test_lane_refuses_a_bad_name),
        cmocka_unit_test(test_lane_refuses_another_host_key_and_names_both),
        cmocka_unit_test(test_lane_accepts_any_of_the_hosts_keys_when_pinned),
        cmocka_unit_test(test_lane_known_hosts_good),
        cmocka_unit_test(test_lane_known_hosts_bad),
        cmocka_unit_test(test_lane_refused_key_names_user_and_file),
        cmocka_unit_test(test_lane_rsa_key_needs_libssh2_1_11),
        cmocka_unit_test(test_lane_no_common_algorithm_names_our_offers),
        cmocka_unit_test(test_lane_has_no_key_exchange_by_sha1),
        cmocka_unit_test(test_lane_hardened_server_needs_libssh2_1_11),
        cmocka_unit_test(test_lane_connection_refused),
        cmocka_unit_test(test_lane_silent_listener_times_out),
        cmocka_unit_test(test_lane_server_that_is_none),
        cmocka_unit_test(test_lane_that_is_turned_away),
        cmocka_unit_test(test_lane_wrong_key_stays_the_reason),
        cmocka_unit_test(test_lane_refuses_identities_it_cannot_use),
        cmocka_unit_test(test_lane_tells_exit_status_and_stderr),
        cmocka_unit_test(test_lane_stderr_never_fills_the_window),
        cmocka_unit_test(test_lane_notices_a_killed_sshd),
        cmocka_unit_test(test_lane_idle_or_stalled_does_not_spin),
        cmocka_unit_test(test_lane_survives_silence_and_cuts_at_any_byte),
        cmocka_unit_test(test_lane_closes_at_once_with_a_packet_half_sent),
        cmocka_unit_test(test_lane_unacknowledged_moves_progress),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
