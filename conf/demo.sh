#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# demo.sh: a stretched pool on this machine's loopback, to look at and to break.
#
#   demo.sh [up]             install what is missing, build, bring it up, load it, leave it running
#           --members N      2 to 8 members (2): dc1-a, dc2-a, dc1-b, dc2-b, ... in the folders dc1, dc2, ...
#   demo.sh status           what all agents know
#   demo.sh agent N          start the agent of the Nth member, which was killed
#   demo.sh cut [--reset]    the line between the sites forwards nothing any more (--reset: refuses)
#           dc1 dc2 | MEMBER ... the same for two sites, or a host: nothing gets from or to it
#   demo.sh heal             it forwards again
#   demo.sh kill MEMBER      its host is gone: server, agent and sshd
#   demo.sh revive MEMBER    it is back, with its server (--agent: without)
#   demo.sh bytes            "FROM TO THERE BACK" for each two members of different sites: bytes over the line
#   demo.sh wan RTT [MBIT]   a distance of RTT milliseconds, and a rate; wan 0 ends it
#   demo.sh down             end everything and remove it
#
# It lives in $WALFERRY_DEMO (default: walferry-demo-UID in the temporary folder) and writes
# $WALFERRY_DEMO/env for sh. Root drops to postgres for everything that runs. Tests also set
# WALFERRY_BUILD (a folder with walferry and wanproxy), DEMO_LOAD_SECONDS (0: no load),
# DEMO_SEGMENT_MB, DEMO_SYNCHRONOUS (on, mirror, ...), DEMO_POOL_CONF (lines for [pool]), DEMO_MEMBER_CONF (lines for each
# [member]), DEMO_CONF (lines for each postgresql.conf) and DEMO_COLD (1: the copies are made by cp, which is faster than
# walferry seed). DEMO_NEWEST=1 installs the newest minor of PostgreSQL also where there is one.
set -u

SOURCE=$(cd "$(dirname "$0")/.." && pwd)
DEMO=${WALFERRY_DEMO:-${TMPDIR:-/tmp}/walferry-demo-$EUID}
MARKER=$DEMO/.walferry-demo
MEMBERS=$(grep -cs '^DC[1-8]_MEMBER=' "$DEMO/env") || MEMBERS=2
LOAD=${DEMO_LOAD_SECONDS:-8}
PACKAGES="cmake gcc make pkg-config libpq-dev libssh2-1-dev libinih-dev libzstd-dev libjansson-dev libmicrohttpd-dev
    postgresql openssh-server openssh-client"

# The Nth member and its site: they take turns.
site() { echo "dc$((2 - $1 % 2))"; }
member() { local letters=abcd; echo "$(site "$1")-${letters:($1 - 1) / 2:1}"; }
all() { seq "$MEMBERS"; }
number() { # MEMBER
    local n
    for n in $(all); do [ "$(member "$n")" != "${1:-}" ] || { echo "$n"; return; }; done
    die "members are: $(for n in $(all); do member "$n"; done | tr '\n' ' ')"
}

say() { printf '%s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }
quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

if [ $EUID = 0 ]; then RUN_AS=postgres; else RUN_AS=$(id -un); fi
case $DEMO in /*) ;; *) DEMO=$PWD/$DEMO MARKER=$PWD/$MARKER ;; esac
case ${WALFERRY_BUILD:-/} in /*) ;; *) WALFERRY_BUILD=$PWD/$WALFERRY_BUILD ;; esac
cd / # a working directory that only root may enter breaks PostgreSQL's tools

run() {
    if [ $EUID = 0 ]; then setpriv --reuid="$RUN_AS" --regid="$RUN_AS" --init-groups -- "$@"; else "$@"; fi
}

# A process of its own, off the caller's terminal and pipes; it writes its own pid file or gets one.
daemon() { # LOG COMMAND ...
    local log=$1
    shift
    run setsid sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh "$log" "$@" >/dev/null 2>&1 </dev/null &
}

wait_for() { # SECONDS COMMAND ...
    local deadline=$((SECONDS + $1)) never
    shift
    ! "$@" >/dev/null 2>&1 || return 0
    exec {never}<> <(:) # to wait on, without a process
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { exec {never}>&-; return 1; }
        read -rt 0.1 -u $never || :
    done
    exec {never}>&-
}

missing_packages() {
    local p there
    there=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $PACKAGES 2>/dev/null)
    for p in $PACKAGES; do [[ $'\n'$there$'\n' == *$'\n'"installed $p"$'\n'* ]] || printf '%s ' "$p"; done
}

outdated_packages() { # PostgreSQL's, of which there is a newer minor
    local all
    [ $EUID = 0 ] || return 0
    all=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'postgresql-*' 'libpq*' 2>/dev/null | awk '$1 == "ii" { print $2 }')
    [ -n "$all" ] || return 0
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null || say "which minor of PostgreSQL is the newest is unknown: apt-get update fails" >&2
    apt-get -s install --only-upgrade --no-install-recommends $all 2>/dev/null | awk '$1 == "Inst" { printf "%s ", $2 }'
}

install_packages() {
    local missing policy=/usr/sbin/policy-rc.d made= cluster=/etc/postgresql-common/createcluster.conf none=
    missing=$(missing_packages)
    [ -z "${DEMO_NEWEST:-}" ] || missing+=$(outdated_packages)
    [ -n "$missing" ] || return 0
    [ $EUID = 0 ] || die "packages are missing; as root: apt-get install --no-install-recommends $missing"
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

run_sshd() { # N
    local d=$DEMO/dc$1
    run /usr/sbin/sshd -f "$d/ssh/sshd_config" -E "$d/sshd.log" >/dev/null 2>&1 && wait_for 5 test -s "$d/ssh/sshd.pid"
}

start_sshd() { # N: finds a port by binding it
    local n=$1 d=$DEMO/dc$1 try lenient=
    run ssh-keygen -q -t ed25519 -N '' -C "walferry demo host dc$n" -f "$d/ssh/host" || die "ssh-keygen failed"
    # since 9.8 sshd shuts out for a while who fails, and all of loopback is one address
    ! run /usr/sbin/sshd -t -h "$d/ssh/host" -f /dev/null -o PerSourcePenalties=no 2>/dev/null || lenient="PerSourcePenalties no"
    for try in 1 2 3 4 5 6 7 8 9 10; do
        SSHD[n]=$(port)
        run sh -c 'cat >"$1"' sh "$d/ssh/sshd_config" <<END
Port ${SSHD[n]}
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
        run_sshd "$n" && return 0
    done
    tail -3 "$d/sshd.log" >&2
    die "sshd of dc$n does not start"
}

# Who dials whom, "LINK FROM TO": with more than two members the line tells by the process who dials, and
# links inside a site (near) have no distance.
write_links() {
    local from to
    for to in $(all); do
        for from in $(all); do
            [ "$from" != "$to" ] || continue
            [ "$MEMBERS" = 2 ] && printf '%s %s %s %s\n' "${PROXY[to]}" "$(member "$from")" "$(member "$to")" "${SSHD[to]}" ||
                printf '%s:%s %s %s %s%s\n' "${PROXY[to]}" "$(member "$from")" "$(member "$from")" "$(member "$to")" \
                    "${SSHD[to]}" "$([ "$(site "$from")" != "$(site "$to")" ] || echo ' near')"
        done
    done >"$DEMO/wan/links"
}

start_proxy() { # PROXY[n] leads to the sshd of each member
    local try n
    for try in 1 2 3 4 5 6 7 8 9 10; do
        for n in $(all); do PROXY[n]=$(port); done
        write_links
        rm -f "$DEMO/wan/socket"
        daemon "$DEMO/wan/log" "$DEMO/bin/wanproxy" "$DEMO/wan/socket" $(
            awk '{ split($1, link, ":"); print link[1] ":" $4 (link[2] ? ":" link[2] : "") ($5 ? ":" $5 : "") }' "$DEMO/wan/links"
        )
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
    for n in $(all); do HTTP[n]=$(free_port); done
    {
        printf '[pool]\nname = demo\nhome = dc1\n'
        [ -z "${DEMO_SYNCHRONOUS:-}" ] || echo "synchronous = $DEMO_SYNCHRONOUS"
        [ -z "${DEMO_POOL_CONF:-}" ] || printf '%s\n' "$DEMO_POOL_CONF"
        for n in $(all); do
            cat <<END

[member $(member "$n")]
site     = $(site "$n")
ssh      = $RUN_AS@127.0.0.1:${PROXY[n]}
host_key = $(ssh-keygen -lf "$DEMO/dc$n/ssh/host.pub" | cut -d' ' -f2)
identity = $DEMO/dc$n/ssh/id_ed25519
postgres = host=$DEMO/dc$n/sock port=5432 user=walferry
pgdata   = $DEMO/dc$n/data
bindir   = $PGBIN
start    = $PGBIN/pg_ctl -D $DEMO/dc$n/etc -l $DEMO/dc$n/postgres.log start
stop     = $PGBIN/pg_ctl -D $DEMO/dc$n/etc stop
spool    = $DEMO/dc$n/spool
run      = $DEMO/dc$n/run
http     = 127.0.0.1:${HTTP[n]}
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
restore_command = '$DEMO/bin/walferry fetch --config $DEMO/pool.ini --member $(member "$n") "%f" "%p" || exit 1'
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
    daemon "$DEMO/dc$1/agent.log" "$DEMO/bin/walferry" agent --config "$DEMO/pool.ini" --member "$(member "$1")"
    wait_for 10 test -s "$DEMO/dc$1/run/agent.pid" || die "the agent of $(member "$1") does not start: $(tail -1 "$DEMO/dc$1/agent.log")"
}

slots_are_there() { # they keep the WAL from here on for the copies
    [ "$(sql 1 "select count(*) from pg_replication_slots where slot_name like 'walferry_%' and restart_lsn is not null")" = $((MEMBERS - 1)) ]
}

level() { # [N]: that one; without: all
    local n
    for n in ${1:-$(seq 2 "$MEMBERS")}; do
        [ "$(sql "$n" "select status from pg_stat_wal_receiver")" = streaming ] &&
            [ "$(sql "$n" "select pg_last_wal_replay_lsn() >= '$(sql 1 "select pg_current_wal_flush_lsn()")'::pg_lsn")" = t ] || return 1
    done
}

write_env() {
    local n
    {
        printf 'WALFERRY=%s\nPGBIN=%s\nRUN_AS=%s\nCONFIG=%s\n' "$(quote "$DEMO/bin/walferry")" "$(quote "$PGBIN")" \
            "$(quote "$RUN_AS")" "$(quote "$DEMO/pool.ini")"
        for n in $(all); do
            printf 'DC%s_MEMBER=%s\nDC%s_PG=%s\nDC%s_PGDATA=%s\nDC%s_SPOOL=%s\nDC%s_AGENT_PID=%s\nDC%s_SSHD_PID=%s\nDC%s_HTTP=%s\n' \
                $n "'$(member "$n")'" $n "$(quote "host=$DEMO/dc$n/sock port=5432 user=$RUN_AS")" $n "$(quote "$DEMO/dc$n/data")" \
                $n "$(quote "$DEMO/dc$n/spool")" $n "$(quote "$DEMO/dc$n/run/agent.pid")" \
                $n "$(quote "$DEMO/dc$n/ssh/sshd.pid")" $n "$(quote "127.0.0.1:${HTTP[n]}")"
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
    for n in $(all); do mkdir -p "$DEMO/dc$n"; done
    [ $EUID != 0 ] || { mkdir -p /run/sshd; chown -R "$RUN_AS" "$DEMO"; }
    for n in $(all); do
        run sh -c 'umask 077; cd "$1" && mkdir ssh etc sock run spool' sh "$DEMO/dc$n" || die "$RUN_AS cannot use $DEMO"
    done
}

copy_cold() { # of dc1 to all others, which are up then
    local n
    pg 1 stop || die "PostgreSQL of dc1 does not stop"
    for n in $(seq 2 "$MEMBERS"); do
        run sh -c 'cp -a "$1/dc1/data" "$1/dc$2/data" && : >"$1/dc$2/data/standby.signal"' sh "$DEMO" "$n" || die "no copy for dc$n"
    done
    for n in $(all); do start_postgres "$n"; done
    for n in $(seq 2 "$MEMBERS"); do start_agent "$n"; done
}

up() {
    local n from
    install_packages
    PGBIN=$(pg_bindir) || exit 1
    make_folders
    build
    for n in $(all); do start_sshd "$n"; done
    start_proxy
    for n in $(all); do run ssh-keygen -q -t ed25519 -N '' -C "walferry demo $(member "$n")" -f "$DEMO/dc$n/ssh/id_ed25519"; done
    for n in $(all); do
        for from in $(all); do
            [ "$from" = "$n" ] || printf 'restrict,command="%s receive --config %s --member %s --from %s" %s\n' "$DEMO/bin/walferry" \
                "$DEMO/pool.ini" "$(member "$n")" "$(member "$from")" "$(cat "$DEMO/dc$from/ssh/id_ed25519.pub")"
        done | run sh -c 'cat >"$1"' sh "$DEMO/dc$n/ssh/authorized_keys"
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
    [ -z "${DEMO_COLD:-}" ] || copy_cold
    start_agent 1
    wait_for 20 slots_are_there || die "the agent of dc1-a makes no slot: $(tail -1 "$DEMO/dc1/agent.log")"
    for n in $([ -n "${DEMO_COLD:-}" ] || seq 2 "$MEMBERS"); do
        say "site $(site "$n"): a copy by walferry seed"
        start_agent "$n"
        run "$DEMO/bin/walferry" seed --config "$DEMO/pool.ini" --member "$(member "$n")" >"$DEMO/seed.log" 2>&1 ||
            die "walferry seed: $(tail -1 "$DEMO/seed.log")"
        wait_for 30 level "$n" || die "$(member "$n") does not follow: $(tail -1 "$DEMO/dc$n/agent.log")"
    done
    load
    wait_for 60 level || die "the standbys are not level after the load: $(tail -qn 1 "$DEMO"/dc[2-8]/agent.log)"
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
    [ $EUID = 0 ] || w=$DEMO/bin/walferry
    cat <<END

The pool is up and level. Next:
  $w status --config $DEMO/pool.ini --member dc2-a
  http://127.0.0.1:${HTTP[1]}/            the page, seen from dc1; from dc2: http://127.0.0.1:${HTTP[2]}/
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

process() { # PIDFILE: that one, if its command line has our folder in it
    local pid
    pid=$(head -1 "$1" 2>/dev/null) && [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$DEMO" && echo "$pid"
}

end_process() { # PIDFILE
    local pid
    pid=$(process "$1") || return 0
    run kill "$pid" 2>/dev/null || return 0
    wait_for 5 gone "$pid" || run kill -9 "$pid" 2>/dev/null || :
}

children() { sed -n "s/^\([0-9]*\) (.*) [A-Za-z] $1 .*/\1/p" /proc/[0-9]*/stat 2>/dev/null; } # PID

kill_tree() { # PID: stopped first, so that it starts none meanwhile
    local child
    run kill -STOP "$1" 2>/dev/null || return 0
    for child in $(children "$1"); do kill_tree "$child"; done
    run kill -9 "$1" 2>/dev/null
    wait_for 5 gone "$1"
}

# As a host that is gone. A process may be dead and not reaped yet: its server would take it for alive.
kill_host() { # N
    local d=$DEMO/dc$1 file pid
    for file in run/agent.pid data/postmaster.pid ssh/sshd.pid; do
        ! pid=$(process "$d/$file") || kill_tree "$pid" || die "$d/$file: it does not end"
    done
    rm -f "$d/data/postmaster.pid" "$d/ssh/sshd.pid" "$d/run/agent.pid" "$d/sock/.s.PGSQL.5432.lock"
}

revive_host() { # N [--agent]
    PGBIN=$(pg_bindir) || exit 1
    run_sshd "$1" || die "sshd of $(member "$1") does not start: $(tail -1 "$DEMO/dc$1/sshd.log")"
    start_agent "$1"
    [ "${2:-}" = --agent ] || start_postgres "$1"
}

links() { # [SITE SITE | MEMBER]: those between the sites, those from and to the member
    case $# in
    0) return ;;
    1) number "$1" >/dev/null && awk -v m="$1" '$2 == m || $3 == m { print $1 }' "$DEMO/wan/links" ;;
    2) [ "$1 $2" = "dc1 dc2" ] || [ "$1 $2" = "dc2 dc1" ] || die "cut [--reset] [dc1 dc2 | MEMBER]"; return ;;
    *) die "cut [--reset] [dc1 dc2 | MEMBER]" ;;
    esac
}

wan() { run "$DEMO/bin/wanproxy" ctl "$DEMO/wan/socket" "$@"; }

down() {
    local n pid
    if ! mine; then
        [ ! -e "$DEMO" ] || die "$DEMO is none of ours"
        return 0
    fi
    PGBIN=$(pg_bindir 2>/dev/null) || PGBIN=
    for n in 1 2 3 4 5 6 7 8; do
        [ -d "$DEMO/dc$n" ] || continue
        [ -z "$PGBIN" ] || [ ! -s "$DEMO/dc$n/data/postmaster.pid" ] || pg $n -m immediate stop || :
        end_process "$DEMO/dc$n/run/agent.pid"
        end_process "$DEMO/dc$n/ssh/sshd.pid"
    done
    for pid in $(grep -slxzF -e "$DEMO/bin/wanproxy" -e "$DEMO/bin/walferry" /proc/[0-9]*/cmdline); do # the line, and who still runs
        pid=${pid#/proc/} pid=${pid%/cmdline}
        [ "$pid" = $$ ] || run kill "$pid" 2>/dev/null || :
    done
    rm -rf "$DEMO"
}

case ${1:-up} in
install) shift; PACKAGES="$PACKAGES $*"; install_packages ;; # also what the tests need
up)
    case "${2:-} ${3:-}" in ' ') MEMBERS=2 ;; '--members '[2-8]) MEMBERS=$3 ;; *) die "up [--members 2..8]" ;; esac
    up
    ;;
down) down ;;
agent)
    ours
    case ${2:-} in [1-"$MEMBERS"]) start_agent "$2" ;; *) die "agent 1..$MEMBERS" ;; esac
    ;;
status)
    ours
    for n in $(all); do run "$DEMO/bin/walferry" status --config "$DEMO/pool.ini" --member "$(member "$n")" || :; echo; done
    ;;
cut)
    ours
    shift
    reset=
    [ "${1:-}" != --reset ] || { reset=reset; shift; }
    chosen=$(links "$@") || exit 1
    wan cut $reset $chosen
    ;;
heal) ours; wan heal ;;
kill) ours; n=$(number "${2:-}") || exit 1; kill_host "$n" ;;
revive) ours; n=$(number "${2:-}") || exit 1; revive_host "$n" "${3:-}" ;;
bytes)
    ours
    wan stats | awk 'NR == FNR { there[$1] = $3; back[$1] = $5; next } $5 != "near" { print $2, $3, there[$1], back[$1] }' - "$DEMO/wan/links"
    ;;
wan)
    ours
    case ${2:-} in '' | *[!0-9.]*) die "wan RTT_MS [MBIT]" ;; esac
    case ${3:-1} in *[!0-9.]*) die "wan RTT_MS [MBIT]" ;; esac
    wan wan "$2" ${3:-}
    ;;
*)
    sed -n '3,/^set/s/^# \{0,1\}//p' "$SOURCE/conf/demo.sh"
    exit 2
    ;;
esac
