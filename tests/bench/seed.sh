#!/bin/bash
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
    -*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- 0 40 0-100 40-100
export WALFERRY_DEMO=/tmp/wf-seed-$$ DEMO_LOAD_SECONDS=0 DEMO_CONF="max_wal_size = 4GB
max_wal_senders = 20
autovacuum = off"
demo() { "$ROOT/conf/demo.sh" "$@" >/dev/null || die "demo.sh $*"; }
TUNNEL=
cleanup() {
    [ -z "$TUNNEL" ] || kill "$TUNNEL" 2>/dev/null
    "$ROOT/conf/demo.sh" down >/dev/null
}
trap cleanup EXIT
trap 'exit 1' INT TERM
demo up
. "$WALFERRY_DEMO/env"
cd /
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
sql() { as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" -c "$1"; }
as "$PGBIN/pgbench" -i -q -s $((MB / 30)) "$DC1_PG dbname=postgres" >/dev/null 2>&1 || die "pgbench -i"
sql "create table random as select n, (select string_agg(md5(random()::text || n), '') from generate_series(1, 30)) as x
    from generate_series(1, $((MB * 500))) n; checkpoint"
megabytes=$(sql "select sum(pg_tablespace_size(oid)) / 1000000 from pg_tablespace")

seconds() { # COMMAND ...
    local from=$EPOCHREALTIME
    "$@" >"$WALFERRY_DEMO/out" 2>&1 || { tail -3 "$WALFERRY_DEMO/out" >&2; die "$1 $2 failed"; }
    awk -v a="$from" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }'
}
# Through the same line as the agents, with the cipher that is fastest for it.
PROXY=$(awk -F: '/^ssh /{print $NF; exit}' "$CONFIG")
KEY=$WALFERRY_DEMO/dc2/ssh/id_ed25519
as sh -c 'cat "$1.pub" >>"$2"' sh "$KEY" "$WALFERRY_DEMO/dc1/ssh/plain_keys"
as sed -i "s#^AuthorizedKeysFile .*#& $WALFERRY_DEMO/dc1/ssh/plain_keys#" "$WALFERRY_DEMO/dc1/ssh/sshd_config"
