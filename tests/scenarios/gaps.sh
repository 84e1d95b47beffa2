#!/bin/bash
# WAL that the other site needs and the primary has no longer: the gap is named on both sides and filled from the
# first rung of the ladder that has it, under load. After each the two sides are the same.
. "$(dirname "$0")/lib.sh"

SLOT=walferry_dc2_a
segments() { ls "$1" | grep -E '^[0-9A-F]{24}$'; }
rung() { field 1 ".gaps[0].rungs[] | select(.rung == \"$1\") | .answer"; }

# The line is dead while the slot is dropped and what the other site needs next is recycled.
make_hole() {
    local next
    expect 30 '[ "$(field 2 .spool.flushed)" != null ] && level'
    kill_agent 2 TERM
    kill_agent 1 TERM
    sql1 "select pg_drop_replication_slot('$SLOT')" >/dev/null
    next=$(basename "$(ls "$DC2_SPOOL"/*.partial)" .partial)
    for _ in 1 2 3; do sql1 "insert into t select n, md5(random()::text) from generate_series(1, 20000) n; select pg_switch_wal(); checkpoint" >/dev/null; done
    [ ! -e "$DC1_PGDATA/pg_wal/$next" ] || fail "$next is still in pg_wal"
}

closed() { # REGEX of what the log says of it
    said=$1
    expect 60 'says 1 "$said"'
    expect 60 '[ "$(field 1 ".gaps | length")" = 0 ]'
    expect 30 '[ "$(field 1 ".links[0] | .state, .reason, .source_reason" | tr "\n" " ")" = "up null null " ]'
    same_rows
}

export DEMO_SEGMENT_MB=1
export DEMO_MEMBER_CONF="fetch_command = cp /tmp/wf-$$-archive/%f \"%p\""
export DEMO_CONF="archive_mode = on
archive_command = 'cp \"%p\" /tmp/wf-$$-archive/%f'"
BEFORE_DOWN="rm -rf /tmp/wf-$$-archive"
mkdir -m 777 /tmp/wf-$$-archive
start_pool
sql1 "create table t (n int, x text)" >/dev/null
fill 1
load 20 -R 100

step "the archive is a directory"
make_hole
start_agent 1
start_agent 2
closed "gap of dc2-a: all of it is here, from the archive"

end_load
same_rows
pass
