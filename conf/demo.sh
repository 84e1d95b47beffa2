#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# demo.sh: a stretched pool on this machine's loopback, to look at and to break.
#
#   demo.sh [up]             install what is missing, build, bring it up, load it, leave it running
#   demo.sh status           what both agents know
#   demo.sh agent 1|2        start the agent of dc1 or dc2, which was killed
#   demo.sh cut [--reset]    the line between the sites forwards nothing any more (--reset: refuses)
#   demo.sh heal             it forwards again
#   demo.sh wan RTT [MBIT]   a distance of RTT milliseconds, and a rate; wan 0 ends it
#   demo.sh down             end everything and remove it
#
# It lives in $WALFERRY_DEMO (default: walferry-demo-UID in the temporary folder) and writes
# $WALFERRY_DEMO/env for sh. Root drops to postgres for everything that runs. Tests also set
# WALFERRY_BUILD (a folder with walferry and wanproxy), DEMO_LOAD_SECONDS (0: no load),
# DEMO_SEGMENT_MB, DEMO_SYNCHRONOUS (on), DEMO_POOL_CONF (lines for [pool]), DEMO_MEMBER_CONF (lines for each
# [member]) and DEMO_CONF (lines for both postgresql.conf).
set -u

SOURCE=$(cd "$(dirname "$0")/.." && pwd)
DEMO=${WALFERRY_DEMO:-${TMPDIR:-/tmp}/walferry-demo-$(id -u)}
MARKER=$DEMO/.walferry-demo
LOAD=${DEMO_LOAD_SECONDS:-8}
PACKAGES="cmake gcc make pkg-config libpq-dev libssh2-1-dev libinih-dev libzstd-dev libjansson-dev libmicrohttpd-dev
    postgresql openssh-server openssh-client"

say() { printf '%s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

if [ "$(id -u)" = 0 ]; then RUN_AS=postgres; else RUN_AS=$(id -un); fi
case $DEMO in /*) ;; *) DEMO=$PWD/$DEMO MARKER=$PWD/$MARKER ;; esac
case ${WALFERRY_BUILD:-/} in /*) ;; *) WALFERRY_BUILD=$PWD/$WALFERRY_BUILD ;; esac
cd / # a working directory that only root may enter breaks PostgreSQL's tools

run() {
    if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi
}

# A process of its own, off the caller's terminal and pipes; it writes its own pid file or gets one.
daemon() { # LOG COMMAND ...
    local log=$1
    shift
    run setsid sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh "$log" "$@" >/dev/null 2>&1 </dev/null &
}

wait_for() { # SECONDS COMMAND ...
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        read -rt 0.1 <> <(:) || :
    done
}

missing_packages() {
    local p
    for p in $PACKAGES; do
        dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || printf '%s ' "$p"
    done
}

install_packages() {
    local missing policy=/usr/sbin/policy-rc.d made= cluster=/etc/postgresql-common/createcluster.conf none=
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "packages are missing; as root: apt-get install --no-install-recommends $missing"
    say "installing $missing"
    if [ ! -e $policy ]; then # no server starts by being installed
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
    fi
    if [ ! -e $cluster ] && [ ! -d /etc/postgresql ]; then
        mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >$cluster && none=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
            -o Dpkg::Options::=--force-confold $missing >/dev/null 2>"$DEMO.apt"
    local code=$?
    [ -z "$made" ] || rm -f $policy
    [ -z "$none" ] || [ ! -e $cluster.ucf-dist ] || mv $cluster.ucf-dist $cluster # later clusters are made as ever
    [ $code = 0 ] || { cat "$DEMO.apt" >&2; rm -f "$DEMO.apt"; die "apt-get could not install: $missing"; }
    rm -f "$DEMO.apt"
}

pg_bindir() {
    local d
    for d in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV) "$(pg_config --bindir 2>/dev/null)"; do
        [ -x "$d/initdb" ] && { printf '%s' "$d"; return; }
    done
    die "no initdb found: is postgresql installed?"
}

build() {
    local build=${WALFERRY_BUILD:-}
    if [ -z "$build" ]; then
        build=$DEMO/build
        say "building"
        cmake -S "$SOURCE" -B "$build" -DWALFERRY_TESTS=OFF >"$DEMO/build.log" 2>&1 &&
            cmake --build "$build" -j "$(nproc)" >>"$DEMO/build.log" 2>&1 ||
            { tail -20 "$DEMO/build.log" >&2; die "the build failed, see $DEMO/build.log"; }
    fi
    mkdir -p "$DEMO/bin" && cp "$build/walferry" "$build/walferry-main" "$build/wanproxy" "$DEMO/bin/" && chmod 755 "$DEMO/bin" "$DEMO/bin"/* ||
        die "no walferry in $build"
}

port() { echo $((10000 + (RANDOM * 32768 + RANDOM) % 20000)); }

start_sshd() { # N: finds a port by binding it
    local n=$1 d=$DEMO/dc$1 try lenient=
    run ssh-keygen -q -t ed25519 -N '' -C "walferry demo host dc$n" -f "$d/ssh/host" || die "ssh-keygen failed"
    # since 9.8 sshd shuts out for a while who fails, and all of loopback is one address
    ! run /usr/sbin/sshd -t -h "$d/ssh/host" -f /dev/null -o PerSourcePenalties=no 2>/dev/null || lenient="PerSourcePenalties no"
    for try in 1 2 3 4 5 6 7 8 9 10; do
        SSHD_PORT=$(port)
        run sh -c 'cat >"$1"' sh "$d/ssh/sshd_config" <<END
Port $SSHD_PORT
ListenAddress 127.0.0.1
HostKey $d/ssh/host
PidFile $d/ssh/sshd.pid
AuthorizedKeysFile $d/ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
$lenient
END
        run /usr/sbin/sshd -f "$d/ssh/sshd_config" -E "$d/sshd.log" >/dev/null 2>&1 || continue
        wait_for 5 test -s "$d/ssh/sshd.pid" && return 0
    done
    tail -3 "$d/sshd.log" >&2
    die "sshd of dc$n does not start"
}

start_proxy() { # SSHD1 SSHD2: PROXY1 and PROXY2 lead to them
    local try
    for try in 1 2 3 4 5 6 7 8 9 10; do
        PROXY1=$(port) PROXY2=$(port)
        rm -f "$DEMO/wan/socket"
        daemon "$DEMO/wan/log" "$DEMO/bin/wanproxy" "$DEMO/wan/socket" "$PROXY1:$1" "$PROXY2:$2"
        wait_for 3 test -S "$DEMO/wan/socket" && return 0
    done
    die "the line between the sites does not come up: $(tail -1 "$DEMO/wan/log")"
}

free_port() { # one that nobody listens on just now
    local p
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        p=$(port)
        (: <>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || break
    done
    echo "$p"
}

write_config() {
    local n
    HTTP1=$(free_port) HTTP2=$(free_port)
    {
        printf '[pool]\nname = demo\nhome = dc1\n'
        [ "${DEMO_SYNCHRONOUS:-}" != on ] || echo 'synchronous = on'
        [ -z "${DEMO_POOL_CONF:-}" ] || printf '%s\n' "$DEMO_POOL_CONF"
        for n in 1 2; do
            eval "local proxy=\$PROXY$n http=\$HTTP$n"
            cat <<END

[member dc$n-a]
site     = dc$n
ssh      = $RUN_AS@127.0.0.1:$proxy
host_key = $(ssh-keygen -lf "$DEMO/dc$n/ssh/host.pub" | cut -d' ' -f2)
identity = $DEMO/dc$n/ssh/id_ed25519
postgres = host=$DEMO/dc$n/sock port=5432 user=walferry
pgdata   = $DEMO/dc$n/data
bindir   = $PGBIN
start    = $PGBIN/pg_ctl -D $DEMO/dc$n/etc -l $DEMO/dc$n/postgres.log start
stop     = $PGBIN/pg_ctl -D $DEMO/dc$n/etc stop
spool    = $DEMO/dc$n/spool
run      = $DEMO/dc$n/run
http     = 127.0.0.1:$http
${DEMO_MEMBER_CONF:-}
END
        done
    } | run sh -c 'cat >"$1" && chmod 600 "$1"' sh "$DEMO/pool.ini"
}

# The same on every member in every role: primary_conninfo names the local relay, restore_command
# the local spool. Settings of this host lie outside the data directory.
write_settings() { # N
    local n=$1 d=$DEMO/dc$1
    run sh -c 'cat >"$1"' sh "$d/etc/postgresql.conf" <<END
data_directory = '$d/data'
hba_file = '$d/etc/pg_hba.conf'
ident_file = '$d/etc/pg_ident.conf'
listen_addresses = ''
unix_socket_directories = '$d/sock'
shared_buffers = 64MB
dynamic_shared_memory_type = mmap
min_wal_size = $((${DEMO_SEGMENT_MB:-16} * 2))MB
max_wal_size = $((${DEMO_SEGMENT_MB:-16} * 16))MB
wal_level = replica
hot_standby_feedback = on
log_line_prefix = '%m [%p] %a '
primary_conninfo = 'host=$d/run port=5432 user=walferry'
restore_command = '$DEMO/bin/walferry fetch --config $DEMO/pool.ini --member dc$n-a "%f" "%p" || exit 1'
recovery_target_timeline = 'latest'
wal_retrieve_retry_interval = 500ms
include_if_exists = '$d/spool/walferry.conf'
${DEMO_CONF:-}
END
    run sh -c 'printf "local all all trust\nlocal replication all trust\n" >"$1/pg_hba.conf"; : >"$1/pg_ident.conf"' sh "$d/etc"
}

pg() { # N start|stop ...
    local n=$1
    shift
    run "$PGBIN/pg_ctl" -D "$DEMO/dc$n/etc" -l "$DEMO/dc$n/postgres.log" -w "$@" >"$DEMO/pg_ctl.log" 2>&1
}

start_postgres() { # N
    pg "$1" start ||
        die "PostgreSQL of dc$1 does not start: $(cat "$DEMO/dc$1/postgres.log" "$DEMO/pg_ctl.log" 2>/dev/null | grep -E 'FATAL|PANIC|could not' | head -1)"
}

sql() { # N COMMAND
    run "$PGBIN/psql" -XAtq -h "$DEMO/dc$1/sock" -d postgres -c "$2"
}

start_agent() { # N
    daemon "$DEMO/dc$1/agent.log" "$DEMO/bin/walferry" agent --config "$DEMO/pool.ini" --member "dc$1-a"
    wait_for 10 test -s "$DEMO/dc$1/run/agent.pid" || die "the agent of dc$1-a does not start: $(tail -1 "$DEMO/dc$1/agent.log")"
}

slot_is_there() { # it keeps the WAL from here on for the copy
    [ "$(sql 1 "select count(*) from pg_replication_slots where slot_name = 'walferry_dc2_a' and restart_lsn is not null")" = 1 ]
}

level() {
    [ "$(sql 2 "select status from pg_stat_wal_receiver")" = streaming ] &&
        [ "$(sql 1 "select pg_current_wal_flush_lsn() <= flush_lsn and pg_current_wal_flush_lsn() <= replay_lsn
             from pg_stat_replication where application_name = 'walferry_dc2_a'")" = t ]
}

write_env() {
    local n
    {
        printf 'WALFERRY=%s\nPGBIN=%s\nRUN_AS=%s\nCONFIG=%s\n' "$(quote "$DEMO/bin/walferry")" "$(quote "$PGBIN")" \
            "$(quote "$RUN_AS")" "$(quote "$DEMO/pool.ini")"
        for n in 1 2; do
            printf 'DC%s_MEMBER=%s\nDC%s_PG=%s\nDC%s_PGDATA=%s\nDC%s_SPOOL=%s\nDC%s_AGENT_PID=%s\nDC%s_SSHD_PID=%s\nDC%s_HTTP=%s\n' \
                $n "'dc$n-a'" $n "$(quote "host=$DEMO/dc$n/sock port=5432 user=$RUN_AS")" $n "$(quote "$DEMO/dc$n/data")" \
                $n "$(quote "$DEMO/dc$n/spool")" $n "$(quote "$DEMO/dc$n/run/agent.pid")" \
                $n "$(quote "$DEMO/dc$n/ssh/sshd.pid")" $n "$(quote "127.0.0.1:$(eval "echo \$HTTP$n")")"
        done
    } >"$DEMO/env"
    chmod 644 "$DEMO/env"
}

mine() { # our marker is in it, and nobody else can have put it there
    [ -e "$MARKER" ] && [ ! -L "$DEMO" ] && { [ -O "$DEMO" ] || [ "$(stat -c %U "$DEMO")" = "$RUN_AS" ]; }
}

make_folders() {
    local n
    case $DEMO in *[!A-Za-z0-9_./+-]*) die "$DEMO has blanks or signs in it that config files would take apart: choose another folder in WALFERRY_DEMO" ;; esac
    [ ${#DEMO} -le 80 ] || die "$DEMO is too long for the sockets in it (80 characters): choose another folder in WALFERRY_DEMO"
    if [ -e "$DEMO" ] && ! mine; then
        die "$DEMO is there and is none of ours: choose another folder in WALFERRY_DEMO"
    fi
    [ ! -e "$DEMO" ] || { say "removing the demo that was there"; down; }
    mkdir -p "$DEMO" && : >"$MARKER" && mkdir -p "$DEMO/wan" || die "cannot make $DEMO"
    chmod 755 "$DEMO"
    for n in 1 2; do mkdir -p "$DEMO/dc$n"; done
    [ "$(id -u)" != 0 ] || { mkdir -p /run/sshd; chown -R "$RUN_AS" "$DEMO"; }
    for n in 1 2; do
        run sh -c 'umask 077; cd "$1" && mkdir ssh etc sock run spool' sh "$DEMO/dc$n" || die "$RUN_AS cannot use $DEMO"
    done
}

up() {
    local n other sshd1
    install_packages
    PGBIN=$(pg_bindir) || exit 1
    make_folders
    build
    start_sshd 1
    sshd1=$SSHD_PORT
    start_sshd 2
    start_proxy "$sshd1" "$SSHD_PORT"
    for n in 1 2; do run ssh-keygen -q -t ed25519 -N '' -C "walferry demo dc$n-a" -f "$DEMO/dc$n/ssh/id_ed25519"; done
    for n in 1 2; do
        other=$((3 - n))
        printf 'restrict,command="%s receive --config %s --member dc%s-a --from dc%s-a" %s\n' "$DEMO/bin/walferry" \
            "$DEMO/pool.ini" $n $other "$(cat "$DEMO/dc$other/ssh/id_ed25519.pub")" |
            run sh -c 'cat >"$1"' sh "$DEMO/dc$n/ssh/authorized_keys"
        write_settings $n
    done
    write_config
    write_env

    say "site dc1: PostgreSQL $("$PGBIN/postgres" --version | cut -d' ' -f3)"
    run "$PGBIN/initdb" -D "$DEMO/dc1/data" --data-checksums --locale=C.UTF-8 -E UTF8 -A trust \
        --wal-segsize="${DEMO_SEGMENT_MB:-16}" >"$DEMO/initdb.log" 2>&1 || die "initdb failed: $(tail -1 "$DEMO/initdb.log")"
    start_postgres 1
    sql 1 "create role walferry login replication; grant pg_monitor to walferry;
        grant execute on function pg_promote, pg_wal_replay_resume, pg_reload_conf to walferry;
        create role walferry_tunnel login; grant pg_monitor to walferry_tunnel;
        grant execute on function pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),
            pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) to walferry_tunnel" || die "no role"
    start_agent 1
    wait_for 20 slot_is_there || die "the agent of dc1-a makes no slot: $(tail -1 "$DEMO/dc1/agent.log")"
    say "site dc2: a copy by walferry seed"
    start_agent 2
    run "$DEMO/bin/walferry" seed --config "$DEMO/pool.ini" --member dc2-a >"$DEMO/seed.log" 2>&1 ||
        die "walferry seed: $(tail -1 "$DEMO/seed.log")"
    wait_for 30 level || die "the standby does not follow: $(tail -1 "$DEMO/dc2/agent.log")"
    load
    wait_for 60 level || die "the standby is not level after the load: $(tail -1 "$DEMO/dc2/agent.log")"
    [ "$LOAD" = 0 ] || hints
}

load() {
    [ "$LOAD" != 0 ] || return 0
    say "load for $LOAD s (pgbench):"
    run "$PGBIN/pgbench" -h "$DEMO/dc1/sock" -i -s 5 -q postgres >/dev/null 2>&1 || die "pgbench -i failed"
    run "$PGBIN/pgbench" -h "$DEMO/dc1/sock" -c 4 -T "$LOAD" postgres >"$DEMO/pgbench.log" 2>&1 &
    local bench=$!
    run timeout "$LOAD" "$DEMO/bin/walferry" status --watch --config "$DEMO/pool.ini" --member dc1-a || :
    wait $bench || die "pgbench failed: $(tail -1 "$DEMO/pgbench.log")"
    grep '^tps' "$DEMO/pgbench.log" || :
}

hints() {
    local w="runuser -u $RUN_AS -- $DEMO/bin/walferry"
    [ "$(id -u)" = 0 ] || w=$DEMO/bin/walferry
    cat <<END

The pool is up and level. Next:
  $w status --config $DEMO/pool.ini --member dc2-a
  http://127.0.0.1:$HTTP1/            the page, seen from dc1; from dc2: http://127.0.0.1:$HTTP2/
  $SOURCE/conf/demo.sh cut            the line is dead; see status again: exposure grows
  $SOURCE/conf/demo.sh heal
  $SOURCE/conf/demo.sh wan 40 100     40 ms and 100 Mbit/s between the sites
  $w failover --config $DEMO/pool.ini --member dc2-a --dry-run
  . $DEMO/env                         paths and connection strings for sh
  $SOURCE/conf/demo.sh down
END
}

ours() { mine || die "there is no demo in $DEMO"; }

gone() { ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1"/task/*/status; } # PID: ended, all its threads, reaped or not

end_process() { # PIDFILE WORD: only a process whose command line has our folder in it
    local pid
    pid=$(head -1 "$1" 2>/dev/null) || return 0
    [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$DEMO" || return 0
    run kill "$pid" 2>/dev/null || return 0
    wait_for 5 gone "$pid" || run kill -9 "$pid" 2>/dev/null || :
}

down() {
    local n pid
    if ! mine; then
        [ ! -e "$DEMO" ] || die "$DEMO is none of ours"
        return 0
    fi
    PGBIN=$(pg_bindir 2>/dev/null) || PGBIN=
    for n in 1 2; do
        [ -z "$PGBIN" ] || [ ! -s "$DEMO/dc$n/data/postmaster.pid" ] || pg $n -m immediate stop || :
        end_process "$DEMO/dc$n/run/agent.pid"
        end_process "$DEMO/dc$n/ssh/sshd.pid"
    done
    for pid in /proc/[0-9]*; do # the line, and sessions of sshd that are still there
        tr '\0' ' ' 2>/dev/null <"$pid/cmdline" | grep -qE "^(sshd: )?$DEMO/bin/wanproxy |^$DEMO/bin/(walferry|wanproxy) " || continue
        run kill "${pid#/proc/}" 2>/dev/null || :
    done
    rm -rf "$DEMO"
}

case ${1:-up} in
install) shift; PACKAGES="$PACKAGES $*"; install_packages ;; # also what the tests need
up) up ;;
down) down ;;
agent)
    ours
    case ${2:-} in 1 | 2) start_agent "$2" ;; *) die "agent 1|2" ;; esac
    ;;
status)
    ours
    for n in 1 2; do run "$DEMO/bin/walferry" status --config "$DEMO/pool.ini" --member "dc$n-a" || :; echo; done
    ;;
cut)
    ours
    case ${2:-} in '') ;; --reset) set -- cut reset ;; *) die "cut [--reset]" ;; esac
    run "$DEMO/bin/wanproxy" ctl "$DEMO/wan/socket" cut ${2:-}
    ;;
heal) ours; run "$DEMO/bin/wanproxy" ctl "$DEMO/wan/socket" heal ;;
wan)
    ours
    case ${2:-} in '' | *[!0-9.]*) die "wan RTT_MS [MBIT]" ;; esac
    case ${3:-1} in *[!0-9.]*) die "wan RTT_MS [MBIT]" ;; esac
    run "$DEMO/bin/wanproxy" ctl "$DEMO/wan/socket" wan "$2" ${3:-}
    ;;
*)
    sed -n '3,/^set/s/^# \{0,1\}//p' "$SOURCE/conf/demo.sh"
    exit 2
    ;;
esac
