#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# bench/tunnel.sh: what a copy through the tunnel costs and what it gives, in one run, by turns: the
# link's lag under pgbench with and without a copy at full speed, and the copy's rate beside
# `ssh -L`. A table, not a test.
#
#   tests/bench/tunnel.sh [--rounds N] [--seconds N] [--mb N] [LINE ...]
#
# default 3 rounds of 15 s, a database of 300 MB, half of it random, and the lines 0 40 40-100
# (round trip in ms, Mbit/s); --mb 0: what pgbench makes alone, compressible
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build/bench}
ROUNDS=3 LENGTH=15 MB=300 LINES=()
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) ROUNDS=$2; shift ;;
    --seconds) LENGTH=$2; shift ;;
    --mb) MB=$2; shift ;;
    [0-9]*) LINES+=("$1") ;;
    *) sed -n '3,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
[ ${#LINES[@]} -gt 0 ] || LINES=(0 40 40-100)
die() { echo "bench: $*" >&2; exit 1; }
cmake -S "$ROOT" -B "$BUILD" >/dev/null && cmake --build "$BUILD" -j "$(nproc)" >/dev/null || die "the build failed"
export WALFERRY_BUILD=$BUILD WALFERRY_DEMO=/tmp/wf-bench-$$ DEMO_LOAD_SECONDS=0
export DEMO_CONF="max_wal_size = 8GB
checkpoint_timeout = 1h"
pids=()
cleanup() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
    "$ROOT/conf/demo.sh" down
}
trap cleanup EXIT
trap 'exit 1' INT TERM
"$ROOT/conf/demo.sh" up >/dev/null || die "the pool does not come up"
. "$WALFERRY_DEMO/env"
cd /
D=$WALFERRY_DEMO
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
sql() { as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" -c "$1"; }
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.2f", a / b; else print "-" }'; }
wait_for() { # SECONDS COMMAND
    local deadline=$((SECONDS + $1))
    until eval "$2" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

# ---- the peer: ssh -L with a key of its own

as ssh-keygen -q -t ed25519 -N '' -f "$D/peer" && as sh -c "cat '$D/peer.pub' >>'$D/dc1/ssh/authorized_keys'"
as mkdir "$D/fwd"
forward() { # the same line, the cipher that is fastest
    local port
    port=$(sed -n "/^\[member dc1-a\]/,/^ssh /s/^ssh .*://p" "$CONFIG")
    rm -f "$D/fwd/.s.PGSQL.5432"
    as ssh -N -c aes128-gcm@openssh.com -i "$D/peer" -p "$port" -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ExitOnForwardFailure=yes \
        -L "$D/fwd/.s.PGSQL.5432:$D/dc1/sock/.s.PGSQL.5432" "$RUN_AS@127.0.0.1" >/dev/null 2>&1 </dev/null &
    pids+=($!)
    wait_for 20 "test -S $D/fwd/.s.PGSQL.5432" || die "no ssh -L"
}
OURS="host=$D/dc2/run/tunnel port=5432 user=walferry"
THEIRS="host=$D/fwd port=5432 user=walferry"
copy() { as "$PGBIN/pg_basebackup" -d "$1" -D - -Ft -X none -c fast --no-manifest 2>/dev/null; }
rate() { # CONNINFO: MB/s of what pg_basebackup writes
    local begin=${EPOCHREALTIME/./} bytes
    bytes=$(copy "$1" | wc -c)
    awk -v b="$bytes" -v us=$((${EPOCHREALTIME/./} - begin)) 'BEGIN { printf "%.1f", b / us }'
}

# ---- the link's lag, asked for twenty times a second: "P50 P99" in ms

lag() {
    as perl -MIO::Socket::UNIX -MTime::HiRes=time,sleep -e '
        my ($path, $seconds) = @ARGV; my ($end, @lag) = (time + $seconds);
        while (time < $end) {
            my $s = IO::Socket::UNIX->new(Peer => $path) or die "$path: $!";
            print $s "{\"command\":\"status\"}\n"; $s->flush;
            my $text = join "", <$s>;
            push @lag, $1 * 1000 if $text =~ /"flushed":\{[^}]*"lag_seconds":([0-9.e-]+)/;
            sleep 0.05;
        }
        @lag = sort { $a <=> $b } @lag; die "no lag is known\n" unless @lag;
        printf "%.0f %.0f\n", $lag[$#lag * 0.5], $lag[$#lag * 0.99];' "$D/dc1/run/control" "$LENGTH" || die "no lag"
}
under_load() { # lag, with pgbench running
    as "$PGBIN/pgbench" -n -c 4 -R "${LOAD_TPS:-300}" -T $((LENGTH + 2)) "$DC1_PG dbname=postgres" >/dev/null 2>&1 &
    local load=$!
    sleep 1
    lag
    wait $load
}
copying() { while :; do copy "$OURS" >/dev/null; done; }

as "$PGBIN/pgbench" -i -s $((MB / 30 + 10)) -q "$DC1_PG dbname=postgres" >/dev/null 2>&1 || die "pgbench -i"
[ "$MB" = 0 ] || sql "create table random as select gen_random_uuid() a, gen_random_uuid() b, gen_random_uuid() c
    from generate_series(1, $((MB / 2 * 11000)))"
sql "checkpoint"
wait_for 120 '[ "$(as "$WALFERRY" status --json --config "$CONFIG" --member dc1-a | jq ".links[0].flushed.behind_bytes == 0")" = true ]' || die "not level"
forward
copy "$OURS" >/dev/null # warm
echo "pg_basebackup of $(sql "select pg_size_pretty(sum(pg_database_size(oid))) from pg_database"); pgbench at ${LOAD_TPS:-300} TPS; medians of $ROUNDS"
printf '%-10s %14s %14s %7s   %16s %16s %7s %7s\n' line "tunnel, MB/s" "ssh -L, MB/s" ratio "lag p50/p99, ms" "with a copy" p50 p99
for line in "${LINES[@]}"; do
    "$ROOT/conf/demo.sh" wan ${line/-/ } >/dev/null
    ours=() theirs=() p50=() p99=() p50c=() p99c=()
    for round in $(seq "$ROUNDS"); do
        ours+=("$(rate "$OURS")") theirs+=("$(rate "$THEIRS")")
        set -- $(under_load) && p50+=("$1") p99+=("$2")
        copying & copier=$!
        set -- $(under_load) && p50c+=("$1") p99c+=("$2")
        kill $copier; wait $copier 2>/dev/null
        for p in $(pgrep -f "^$PGBIN/pg_basebackup -d $OURS"); do kill "$p"; done 2>/dev/null
        sleep 1
    done
    a=$(median "${ours[@]}") b=$(median "${theirs[@]}") c=$(median "${p50[@]}") d=$(median "${p99[@]}") e=$(median "${p50c[@]}") f=$(median "${p99c[@]}")
    printf '%-10s %14s %14s %7s   %16s %16s %7s %7s\n' "$line" "$a" "$b" "$(ratio "$a" "$b")" "$c/$d" "$e/$f" "$(ratio "$e" "$c")" "$(ratio "$f" "$d")"
done
