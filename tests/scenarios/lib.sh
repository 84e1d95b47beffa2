# SPDX-License-Identifier: PostgreSQL
# lib.sh: what every scenario needs; sourced by bash. A scenario reads like a story: start_pool, do
# something, wait for a state with a deadline, compare bytes and rows, pass.
#
# Set by the caller: WALFERRY_BUILD (folder of the binaries), WALFERRY_LONG=1 (full counts), DEMO_POOL_CONF
# (lines for every [pool], as "lanes = 4": with a scenario's own ones it is $POOL_CONF).

set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
NAME=$(basename "$0" .sh)
WALFERRY_BUILD=${WALFERRY_BUILD:-$ROOT/build/test}
case $WALFERRY_BUILD in /*) ;; *) WALFERRY_BUILD=$PWD/$WALFERRY_BUILD ;; esac
export WALFERRY_BUILD
cd / # psql complains of a folder that its user may not enter
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=1:detect_leaks=1} UBSAN_OPTIONS=print_stacktrace=1
SEED=${SEED:-$RANDOM}
RANDOM=$SEED
POOL_CONF=${DEMO_POOL_CONF:-}
STARTED=$SECONDS
STEP="before the first step"
PASSED=
BEFORE_DOWN= # a command: what a scenario undoes itself before its pool is removed

long() { [ "${WALFERRY_LONG:-}" = 1 ]; }
step() { STEP=$*; [ -z "${VERBOSE:-}" ] || echo "# $((SECONDS - STARTED)) s: $*"; }

fail() {
    echo "not ok $NAME: $STEP: $* (seed $SEED, $((SECONDS - STARTED)) s)"
    if [ -n "${WALFERRY_DEMO:-}" ] && [ -d "$WALFERRY_DEMO" ]; then
        for log in "$WALFERRY_DEMO"/dc?/agent.log "$WALFERRY_DEMO"/dc?/postgres.log "$WALFERRY_DEMO/dc2/sshd.log"; do
            echo "--- ${log#"$WALFERRY_DEMO/"}"
            tail -n 25 "$log" 2>/dev/null
        done
    fi
    exit 1
}

skip() { # WHY: it counts neither as passed nor as failed
    echo "skipped $NAME: $*"
    exit 0
}

check_sanitizers() {
    [ -n "${WALFERRY_DEMO:-}" ] || return 1 # a scenario without a pool
    grep -lE 'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|Assertion .* failed' \
        "$WALFERRY_DEMO"/dc?/*.log 2>/dev/null
}

pass() {
    local bad
    bad=$(check_sanitizers) && fail "a sanitizer or an assertion spoke in $bad: $(grep -hE -A12 'Sanitizer|runtime error|Assertion' $bad | head -14)"
    PASSED=1
    echo "ok $NAME ($((SECONDS - STARTED)) s)"
    exit 0
}

cleanup() {
    [ -n "${WALFERRY_DEMO:-}" ] && [ -z "${KEEP:-}" ] || return 0
    eval "$BEFORE_DOWN"
    "$ROOT/conf/demo.sh" down >/dev/null 2>&1
}
trap cleanup EXIT
trap 'exit 1' INT TERM

demo() { "$ROOT/conf/demo.sh" "$@" >"/tmp/wf-$$.out" 2>&1 || fail "demo.sh $*: $(tail -3 "/tmp/wf-$$.out")"; rm -f "/tmp/wf-$$.out"; }
# The connections into member N are swallowed: no reset, and who dials again gets through.
hold() { # N
    local link
    for link in $(awk -v to="$(its "$1" MEMBER)" '$3 == to { print $1 }' "$WALFERRY_DEMO/wan/links" | sort -u); do
        "$WALFERRY_DEMO/bin/wanproxy" ctl "$WALFERRY_DEMO/wan/socket" hold "$link" >/dev/null || fail "wanproxy hold"
    done
}

# A pool of its own, of two; further calls begin with a new one.
start_pool() { # [--members N]
    step "bringing up a pool"
    [ -z "${WALFERRY_DEMO:-}" ] || "$ROOT/conf/demo.sh" down >/dev/null 2>&1
    export WALFERRY_DEMO=/tmp/wf-$$-$RANDOM
    DEMO_LOAD_SECONDS=0 DEMO_COLD=${DEMO_COLD-1} demo up "$@"
    . "$WALFERRY_DEMO/env"
    cd /
}

as() { if [ $EUID = 0 ]; then setpriv --reuid="$RUN_AS" --regid="$RUN_AS" --init-groups -- "$@"; else "$@"; fi; }
# N is a member by its place in the demo: 1 is dc1-a, 2 dc2-a, 3 dc1-b, 4 dc2-b.
its() { local name=DC$1_$2; echo "${!name:-}"; } # N MEMBER|PG|PGDATA|SPOOL|HTTP, of the demo's env
members() { sed -n 's/^DC\([0-9]\)_MEMBER=.*/\1/p' "$WALFERRY_DEMO/env"; } # each N
sql() { "$PGBIN/psql" -XAtq "$(its "$1" PG) dbname=postgres" -c "$2" 2>&1; } # N COMMAND
pg() { local d=$WALFERRY_DEMO/dc$1; shift; as "$PGBIN/pg_ctl" -D "$d/etc" -l "$d/postgres.log" -w "$@" >/dev/null 2>&1; } # N start|stop ...
sql1() { sql 1 "$@"; }
sql2() { sql 2 "$@"; }
pg1() { pg 1 "$@"; }
pg2() { pg 2 "$@"; }
walferry() { local n=$1; shift; as "$WALFERRY" "$@" --config "$CONFIG" --member "$(its "$n" MEMBER)"; }
# As `walferry status --json` prints it, but asked for by HTTP, and jq reads the answer itself: a poll is of few processes.
field() { # N JQ-PATH
    local http line
    http=$(its "$1" HTTP)
    { exec {HTTP_FD}<>"/dev/tcp/${http/://}"; } 2>/dev/null || { walferry "$1" status --json 2>/dev/null | jq -r "$2"; return ${PIPESTATUS[0]}; }
    printf 'GET /status.json HTTP/1.0\r\n\r\n' >&$HTTP_FD
    while IFS= read -rt 5 -u $HTTP_FD line && [ "$line" != $'\r' ]; do :; done
    [ "$line" != $'\r' ] || jq -r "$2" <&$HTTP_FD
    exec {HTTP_FD}<&-
}
status() { field "$1" .; } # N

start_agent() { # N
    as setsid sh -c 'log=$1; shift; exec "$@" >>"$log" 2>&1 </dev/null' sh "$WALFERRY_DEMO/dc$1/agent.log" \
        "$WALFERRY" agent --config "$CONFIG" --member "$(its "$1" MEMBER)" >/dev/null 2>&1 </dev/null &
    disown
}
gone() { ! grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/${1:-none}"/task/*/status; } # PID ("": of no process): ended, all its threads, reaped or not
agent_pid() { cat "$WALFERRY_DEMO/dc$1/run/agent.pid" 2>/dev/null; }
# N: its agent has seen that its server takes writes; else it may hear first of another primary, and is fenced
sees_writable() { expect 20 "[ \"\$(field $1 '.postgres | .state, .in_recovery' | paste -sd,)\" = up,false ]"; }
agent_runs() { ! gone "$(agent_pid "$1")"; } # N; kill -0 calls a zombie alive
# What an agent takes of a core: mark_cpu, ..., calm PERCENT (sanitizers take two to four times as much).
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$(agent_pid "$1")/stat"; } # N: hundredths of a second
mark_cpu() { CPU_MARK="$(date +%s%N) $(for n in $(members); do cpu_ticks "$n"; done | tr '\n' ' ')"; }
calm() {
    local n ran marks share
    read -ra marks <<<"$CPU_MARK"
    ran=$(($(date +%s%N) - marks[0]))
    for n in $(members); do
        share=$((($(cpu_ticks $n) - marks[n]) * 1000000000 / ran))
        [ $share -le "$1" ] || fail "the agent of dc$n takes $share % of a core, in $((ran / 1000000)) ms"
    done
}
kill_agent() { # N [SIGNAL]
    local pid
    pid=$(agent_pid "$1")
    kill "-${2:-9}" "$pid" 2>/dev/null
    wait_for 10 "gone $pid"
}
kill_postgres() { # N: the postmaster and all its children, as a host that is gone
    local data pid
    data=$(its "$1" PGDATA)
    pid=$(head -1 "$data/postmaster.pid")
    kill -STOP "$pid" 2>/dev/null
    pkill -9 -P "$pid" 2>/dev/null
    kill -9 "$pid" 2>/dev/null
    wait_for 10 "gone $pid"
    rm -f "$data/postmaster.pid" "$WALFERRY_DEMO/dc$1/sock/.s.PGSQL.5432.lock" # it may be dead and not reaped yet
}

# wait_for SECONDS COMMAND: polls ten times a second, later less often, for a poll is some processes; false after the deadline.
exec {NEVER}<> <(:) # to wait on, without a process
wait_for() {
    local deadline=$((SECONDS + $1)) polls=0 # which the command sees, too
    until eval "$2" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        polls=$((polls + 1))
        read -rt 0.$((polls < 10 ? 1 : polls < 30 ? 3 : 5)) -u $NEVER || :
    done
}
expect() { wait_for "$1" "$2" || fail "did not happen within $1 s: $2"; } # SECONDS COMMAND
says() { grep -qE "$2" "$WALFERRY_DEMO/dc$1/agent.log"; }                 # N REGEX, in the agent's log

# Everything that the primary has is applied on the standby.
level() { # [STANDBY [PRIMARY]]: 2 and 1
    local at
    at=$(sql "${2:-1}" "select pg_current_wal_flush_lsn()")
    [ "$(sql "${1:-2}" "select pg_last_wal_replay_lsn() >= '$at'::pg_lsn")" = t ]
}

# A member of a third site, with a sshd and keys of its own and no data directory. The caller starts the
# agents; $CONFIG.two is the pool's file without it.
add_third() {
    local d=$WALFERRY_DEMO/dc3 port n
    bound() { printf 'restrict,command="%s receive --config %s --member dc%s-a --from dc%s-a" %s\n' "$WALFERRY" "$CONFIG" "$1" "$2" "$(cat "$WALFERRY_DEMO/dc$2/ssh/id_ed25519.pub")"; }
    as sh -c 'umask 077; mkdir "$1" && cd "$1" && mkdir ssh spool run' sh "$d"
    for n in host id_ed25519; do as ssh-keygen -q -t ed25519 -N '' -f "$d/ssh/$n"; done
    { bound 3 1; bound 3 2; } | as sh -c 'cat >"$1"' sh "$d/ssh/authorized_keys"
    for n in 1 2; do bound $n 3 | as sh -c 'cat >>"$1"' sh "$WALFERRY_DEMO/dc$n/ssh/authorized_keys"; done
    for _ in 1 2 3 4 5; do
        port=$((10000 + RANDOM % 20000))
        sed "s|/dc2/|/dc3/|; s/^Port .*/Port $port/" "$WALFERRY_DEMO/dc2/ssh/sshd_config" | as sh -c 'cat >"$1"' sh "$d/ssh/sshd_config"
        as /usr/sbin/sshd -f "$d/ssh/sshd_config" -E "$d/sshd.log" && wait_for 5 'test -s "$WALFERRY_DEMO/dc3/ssh/sshd.pid"' && break
    done
    as cp "$CONFIG" "$CONFIG.two"
    sed -n '/^\[member dc2-a\]/,$p' "$CONFIG.two" | sed "s/dc2/dc3/g; /^http/d; s/^ssh .*/ssh = $RUN_AS@127.0.0.1:$port/
        s|^host_key .*|host_key = $(ssh-keygen -lf "$d/ssh/host.pub" | cut -d' ' -f2)|" | as sh -c 'cat >>"$1"' sh "$CONFIG"
    D3=$d D3_PORT=$port DC3_MEMBER=dc3-a
}

load() { # SECONDS [pgbench options]: in the background
    local seconds=$1
    shift
    as "$PGBIN/pgbench" -n -c 4 -T "$seconds" "$@" "$DC1_PG dbname=postgres" >"/tmp/wf-$$.bench" 2>&1 &
    LOAD_PID=$!
}
end_load() { wait "$LOAD_PID" 2>/dev/null; rm -f "/tmp/wf-$$.bench"; }
fill() { as "$PGBIN/pgbench" -i -s "${1:-5}" -q "$DC1_PG dbname=postgres" >/dev/null 2>&1 || fail "pgbench -i"; }

# The keys that newer pg_dumps draw by chance are no difference, nor is where a tablespace lies. A standby may
# cancel a dump (recovery conflicts): it is made again.
dump() { # CONNINFO FILE
    local try
    for try in 1 2 3; do
        as "$PGBIN/pg_dumpall" -d "$1 dbname=postgres" 2>"$2.err" | grep -vE '^\\(un)?restrict |LOCATION' >"$2"
        [ "${PIPESTATUS[0]}" != 0 ] || return 0
    done
    fail "pg_dumpall: $(cat "$2.err")"
}
same_dumps() { # CONNINFO CONNINFO
    dump "$1" "/tmp/wf-$$.1"
    dump "$2" "/tmp/wf-$$.2"
    cmp -s "/tmp/wf-$$.1" "/tmp/wf-$$.2" ||
        fail "the two sides hold different rows: $(diff "/tmp/wf-$$.1" "/tmp/wf-$$.2" | head -20)"
    rm -f "/tmp/wf-$$".[12] "/tmp/wf-$$".[12].err
}
same_rows() { # [STANDBY [PRIMARY]]: 2 and 1
    expect 60 "level ${1:-2} ${2:-1}"
    same_dumps "$(its "${2:-1}" PG)" "$(its "${1:-2}" PG)"
    ! grep -qE 'incorrect resource manager data checksum' "$WALFERRY_DEMO/dc${1:-2}/postgres.log" ||
        fail "the standby was served a record that it took for broken"
}

# Heaps and indexes of all members hold together. The extension amcheck has to be there.
sound() { # OPTIONS
    local n
    [ -x "$PGBIN/pg_amcheck" ] || return 0 # before PostgreSQL 14
    for n in $(members); do
        as "$PGBIN/pg_amcheck" "$@" -h "$WALFERRY_DEMO/dc$n/sock" -d postgres >"/tmp/wf-$$.amcheck" 2>&1 ||
            fail "pg_amcheck of dc$n: $(head -5 "/tmp/wf-$$.amcheck")"
    done
    rm -f "/tmp/wf-$$.amcheck"
}

# Every whole segment of the spool is the primary's, byte for byte, and there is at least one.
same_segments() { # [STANDBY [PRIMARY]]: 2 and 1
    local spool pg_wal segment n=${1:-2}
    spool=$(its "$n" SPOOL) pg_wal=$(its "${2:-1}" PGDATA)/pg_wal
    common() { ls "$spool" "$pg_wal" | grep -xE '[0-9A-F]{24}' | sort | uniq -d; } # others are recycled there
    sql "${2:-1}" "select pg_switch_wal()" >/dev/null
    expect 30 "[ \"\$(field $n .receiving.flushed.behind_bytes)\" = 0 ] && [ -n \"\$(common)\" ]"
    for segment in $(common); do
        cmp -s "$spool/$segment" "$pg_wal/$segment" || [ ! -e "$spool/$segment" ] || [ ! -e "$pg_wal/$segment" ] || fail "segment $segment differs"
    done
}
