#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The primary is restored to an older state on the same timeline and goes on, then the standby is promoted: the two
# have parted before the point that their histories name. A rejoin lists what was committed since the restore, and
# makes a new copy, for a rewind would leave pages of the other branch.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
prepare() { # the primary lacks what the standby has
    start_pool
    step "the primary is restored"
    prepare_pool
    local cold=$DC1_PGDATA.cold
    expect 30 level
    pg1 -m fast stop && as cp -a "$DC1_PGDATA" "$cold" && pg1 start || fail "no copy"
    sql1 "insert into two select g from generate_series(1000, 60000) g; update two set n = -n where n < 5" >/dev/null
    expect 30 level
    expect 20 '[ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
    pg1 -m immediate stop || fail "it does not stop"
    as rm -rf "$DC1_PGDATA"
    as mv "$cold" "$DC1_PGDATA"
    pg1 start || fail "it does not start"
    expect 10 'field 1 ".events[].id" | grep -q WF021'
}
comes_back() { # TABLE ROWS that only the restored one has
    failover 2
    expect 20 '[ "$(field 1 .role)" = fenced ]'
    rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
    told "the WAL of dc1-a and dc2-a differs from before the point where their timelines part"
    told "lost: exactly 1 transaction;"
    follows 1
    walferry 1 lost --json | jq -e ".[-1] | .exact and (.tables | map([.table, .inserted]) == [[\"postgres.public.$1\", $2]])" >/dev/null ||
        fail "another list: $(walferry 1 lost)"
    same_sides 2 1
    [ "$(sql1 "select count(*) from two where n >= 1000")" = 59001 ] || fail "rows are missing"
}
prepare
step "it commits a little: its WAL ends before the fork"
sql1 "insert into one values (11, 'restored')" >/dev/null
comes_back one 1
prepare
step "it commits more than the standby has"
sql1 "insert into two select g from generate_series(1000, 200000) g" >/dev/null
comes_back two 199001
rm -f "$OUT"
pass
