#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# bench/crowd.sh: pgbench beside a thousand slow HTTP clients and garbage, and without, in one run, by
# turns. Commits wait for the other site, so that a late agent shows. A table, not a test.
#
#   tests/bench/crowd.sh [--rounds N] [--seconds N]     default 7 rounds of 10 s each way
set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD:-$ROOT/build/bench}
ROUNDS=7 LENGTH=10
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) ROUNDS=$2; shift ;;
    --seconds) LENGTH=$2; shift ;;
    *) sed -n '3,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
die() { echo "bench: $*" >&2; exit 1; }
cmake -S "$ROOT" -B "$BUILD" >/dev/null && cmake --build "$BUILD" -j "$(nproc)" >/dev/null || die "the build failed"
export WALFERRY_BUILD=$BUILD WALFERRY_DEMO=/tmp/wf-bench-$$ DEMO_LOAD_SECONDS=0 DEMO_SYNCHRONOUS=on
CROWD=
cleanup() { [ -z "$CROWD" ] || kill "$CROWD" 2>/dev/null; "$ROOT/conf/demo.sh" down; rm -f "/tmp/wf-bench-$$.out"; }
trap cleanup EXIT
"$ROOT/conf/demo.sh" up >/dev/null || die "the pool does not come up"
. "$WALFERRY_DEMO/env"
cd /
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
bench() { as "$PGBIN/pgbench" -n -c 4 -T "$LENGTH" "$DC1_PG dbname=postgres" 2>/dev/null; }
figures() { bench | awk '/^latency average/ { latency = $4 } /^tps/ { tps = $3 } END { print tps, latency }'; }
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }

as "$PGBIN/pgbench" -i -s 10 -q "$DC1_PG dbname=postgres" >/dev/null 2>&1 || die "pgbench -i"
bench >/dev/null # warm
tps=() latency=() crowded_tps=() crowded_latency=()
for round in $(seq "$ROUNDS"); do
    echo "round $round of $ROUNDS" >&2
    set -- $(figures)
    tps+=("$1") latency+=("$2")
    bash "$ROOT/tests/support/crowd.sh" "$DC1_HTTP" "$DC2_HTTP" >"/tmp/wf-bench-$$.out" 2>/dev/null &
    CROWD=$!
    until grep -q connections "/tmp/wf-bench-$$.out"; do sleep 0.1; done
    set -- $(figures)
    crowded_tps+=("$1") crowded_latency+=("$2")
    kill $CROWD
    wait $CROWD 2>/dev/null
    CROWD=
done
printf '%-28s %10s %10s %8s\n' "" crowd alone ratio
printf '%-28s %10s %10s %8s\n' "transactions a second" "$(median "${crowded_tps[@]}")" "$(median "${tps[@]}")" "$(ratio "$(median "${crowded_tps[@]}")" "$(median "${tps[@]}")")"
printf '%-28s %10s %10s %8s\n' "commit latency, ms" "$(median "${crowded_latency[@]}")" "$(median "${latency[@]}")" "$(ratio "$(median "${crowded_latency[@]}")" "$(median "${latency[@]}")")"
