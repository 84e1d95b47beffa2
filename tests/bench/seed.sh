#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# bench/seed.sh: walferry seed beside plain pg_basebackup over ssh -L, in one run, both with the WAL
# that they need. A benchmark, not a test: it prints a table with the ratio.
#
#   tests/bench/seed.sh [--mb N] [--rounds N] [RTT[-MBIT] ...]     default: 500, 1, "0 40 0-100 40-100"
#
# Copy: until the copy is on disk here, without verifying and starting, which pg_basebackup does not
# do; whole: walferry seed until the standby follows. Rates are of the database's bytes. Its rows are
# half pgbench's (filler), half random text: the first flatter compression, the second do not.
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
MB=500 ROUNDS=1
die() { echo "bench: $*" >&2; exit 1; }
while [ $# -gt 0 ]; do
    case $1 in
    --mb) MB=$2; shift ;;
    --rounds) ROUNDS=$2; shift ;;
    -*) sed -n '3,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- 0 40 0-100 40-100
export WALFERRY_DEMO=/tmp/wf-seed-$$ DEMO_LOAD_SECONDS=0 DEMO_CONF="max_wal_size = 4GB
max_wal_senders = 20
autovacuum = off"
demo() { "$ROOT/conf/demo.sh" "$@" >/dev/null || die "demo.sh $*"; }
cleanup() {
    pkill -f "^ssh -N .*$WALFERRY_DEMO/peer/key" 2>/dev/null
    "$ROOT/conf/demo.sh" down >/dev/null
}
trap cleanup EXIT
trap 'exit 1' INT TERM
demo up
. "$WALFERRY_DEMO/env"
cd /
[ "$(id -u)" != 0 ] || chmod 777 "$WALFERRY_DEMO"
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
sql() { as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" -c "$1"; }
as "$PGBIN/pgbench" -i -q -s $((MB / 30)) "$DC1_PG dbname=postgres" >/dev/null 2>&1 || die "pgbench -i"
sql "create table random as select n, md5(random()::text) || md5(random()::text) || md5(random()::text) || md5(random()::text) as x
    from generate_series(1, $((MB * 3000))) n; checkpoint"
megabytes=$(sql "select round(sum(pg_tablespace_size(oid)) / 1000000.0, 1) from pg_tablespace")

seconds() { # COMMAND ...
    local from=$EPOCHREALTIME
    "$@" >"$WALFERRY_DEMO/out" 2>&1 || { tail -3 "$WALFERRY_DEMO/out" >&2; die "$1 $2 failed"; }
    awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}
# The peer goes through the same line, with the cipher that is fastest for it, and a key of its own.
PEER=$WALFERRY_DEMO/peer
as mkdir "$PEER"
as ssh-keygen -q -t ed25519 -N '' -f "$PEER/key"
as sh -c 'cat "$1" >>"$2"' sh "$PEER/key.pub" "$WALFERRY_DEMO/dc1/ssh/authorized_keys"
port=$(sed -n '/^\[member dc1-a\]/,/^ssh /s/^ssh .*://p' "$CONFIG")
as ssh -N -c aes128-gcm@openssh.com -i "$PEER/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ExitOnForwardFailure=yes -L "$PEER/.s.PGSQL.5432:$WALFERRY_DEMO/dc1/sock/.s.PGSQL.5432" "$RUN_AS@127.0.0.1" &
for _ in $(seq 100); do [ ! -S "$PEER/.s.PGSQL.5432" ] || break; sleep 0.1; done
[ -S "$PEER/.s.PGSQL.5432" ] || die "no tunnel by ssh"

peer() {
    rm -rf "$PEER/copy"
    seconds as "$PGBIN/pg_basebackup" -h "$PEER" -D "$PEER/copy" -c fast >"$WALFERRY_DEMO/peer.s"
    awk -v mb="$megabytes" '{ printf "%.1f\n", mb / $1 }' "$WALFERRY_DEMO/peer.s"
}
ours() { # its own figure is in MB of 1024
    local whole
    whole=$(seconds as "$WALFERRY" seed --config "$CONFIG" --member dc2-a --replace --yes)
    sed -n 's/.*copy [^(]*(\([0-9.]*\) MB\/s).*/\1/p' "$WALFERRY_DEMO/out" |
        awk -v whole="$whole" '{ printf "%.1f %.1f\n", $1 * 1.048576, whole }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

printf '%s MB, %s round(s)\n%-12s %18s %18s %8s %22s\n' "$megabytes" "$ROUNDS" "ms[-Mbit/s]" "walferry, MB/s" "ssh -L, MB/s" ratio "until it follows, s"
for line in "$@"; do
    mbit=
    case $line in *-*) mbit=${line#*-} ;; esac
    demo wan "${line%-*}" $mbit
    : >"$WALFERRY_DEMO/ours"
    : >"$WALFERRY_DEMO/theirs"
    for _ in $(seq "$ROUNDS"); do
        ours >>"$WALFERRY_DEMO/ours" || exit 1
        peer >>"$WALFERRY_DEMO/theirs" || exit 1
    done
    a=$(median <"$WALFERRY_DEMO/ours") b=$(median <"$WALFERRY_DEMO/theirs") w=$(cut -d' ' -f2 "$WALFERRY_DEMO/ours" | median)
    printf '%-12s %18s %18s %8s %22s\n' "$line" "$a" "$b" "$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f", a / b }')" "$w"
done
