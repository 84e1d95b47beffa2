#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The outbox: while a link is down and its slot keeps too much, WAL goes into it and pg_wal stays small, whatever is
# killed meanwhile; then it is shipped from there, in order, and streaming goes on where it ends, to the byte.
. "$(dirname "$0")/lib.sh"

export DEMO_SEGMENT_MB=1 DEMO_POOL_CONF="$POOL_CONF
slot_retain_max = 6MB
feedback_keep = 8s"
start_pool
OUTBOX=$WALFERRY_DEMO/dc1/spool/outbox
fill 1
sql1 "create extension amcheck" >/dev/null
expect 30 level

step "segments are put into the outbox by hand, and gone from pg_wal"
kill_agent 2 TERM
load 4 -R 200
end_load
end=$(sql1 "select pg_switch_wal()") # more may be written behind it at once
kill_agent 1
first=$(sql1 "select pg_walfile_name(restart_lsn) from pg_replication_slots where slot_name = 'walferry_dc2_a'")
last=$(sql1 "select pg_walfile_name('$end')")
for file in "$DC1_PGDATA"/pg_wal/????????????????????????; do
    name=$(basename "$file")
    [[ $name < $first || $name > $last ]] || as cp "$file" "$OUTBOX/"
done
[ "$(ls "$OUTBOX" | grep -cE '^[0-9A-F]{24}$')" -gt 3 ] || fail "only $(ls "$OUTBOX") between $first and $last"
as cp "$DC1_SPOOL/identity" "$OUTBOX/"
sql1 "select pg_replication_slot_advance('walferry_dc2_a', '$end')" >/dev/null
sql1 "checkpoint" >/dev/null
for i in 1 2 3; do sql1 "select pg_switch_wal(); create table if not exists t(); drop table t; checkpoint" >/dev/null; done
[ ! -e "$DC1_PGDATA/pg_wal/$first" ] || fail "$first is still in pg_wal"
start_agent 1
load 5 -R 200
start_agent 2
expect 30 'says 1 "goes on from the server"'
end_load
same_rows
same_segments
outbox_is_empty() { expect 30 '[ "$(field 1 .outbox.bytes)" = 0 ]'; [ -z "$(in_outbox)" ] || fail "left over: $(in_outbox)"; }
in_outbox() { ls "$OUTBOX" | grep -E '^[0-9A-F]{24}'; }
outbox_is_empty

slot() { sql1 "select $1 from pg_replication_slots where slot_name = 'walferry_dc2_a'"; }
retained() { slot "pg_current_wal_lsn() - restart_lsn" | cut -d. -f1; }
past() { [ "$(sql1 "select '$1'::pg_lsn > '$2'::pg_lsn + $3")" = t ]; } # LSN LSN BYTES
grows() { # the outbox takes more, and the slot follows
    expect 30 'from=$(field 1 ".outbox | select(.filling) | .flushed"); [[ $from == */* ]]' # null: nothing is in it yet
    expect 30 'past "$(field 1 .outbox.flushed)" "$from" 1500000'
    expect 60 'past "$(slot restart_lsn)" "$from" 0'
}
counts_nothing() { # what is in the outbox is not at the other site
    [ "$(sql1 "select count(*) from pg_stat_replication where application_name = 'walferry_outbox'
        and (write_lsn is not null or flush_lsn is not null)")" = 0 ] || fail "the outbox confirms WAL"
}

step "the line is cut under load until the outbox is used"
expect 20 '[ "$(slot "xmin is not null")" = t ]'
demo cut
load 600 -R 300
shipped=$(field 1 .links[0].flushed.lsn)
expect 60 '[ "$(field 1 .outbox.filling)" = true ]'
grows
counts_nothing
expect 20 '[ "$(retained)" -lt 6000000 ]'
walferry 1 events | grep -q WF015 || fail "no event"
expect 30 '[ "$(slot "xmin is null")" = t ]' # no vacuum is held back for a standby that is away

step "agent and PostgreSQL of the primary are killed and restarted meanwhile"
for i in $(seq $(long && echo 6 || echo 2)); do
    kill_agent 1
    start_agent 1
    grows
    kill_postgres 1
    expect 30 'pg1 start' # its dead children may still hold the memory
    load 600 -R 300
    expect 30 '[ "$(field 1 .outbox.filling)" = true ]'
    grows
    counts_nothing
    [ "$(field 1 .links[0].flushed.lsn)" = "$shipped" ] || [ "$(field 1 .links[0].flushed.lsn)" = null ] ||
        fail "more counts as shipped than $shipped, over a cut line: $(field 1 .links[0].flushed.lsn)"
done
[ "$(ls "$DC1_PGDATA/pg_wal" | grep -cE '^[0-9A-F]{24}$')" -lt 60 ] || fail "pg_wal has grown"

step "the line is whole again: shipped in order, then the outbox is emptied"
demo heal
expect 60 '[ "$(field 1 .outbox.filling)" = false ]'
expect 30 'says 1 "goes on from the server"'
sql1 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null
end_load
same_rows
same_segments
outbox_is_empty
expect 20 '[ "$(field 1 .guard.step)" = watch ]'
expect 20 '[ "$(slot "xmin is not null")" = t ]'
sound

step "PostgreSQL dies while the outbox holds what the other site lacks: a failover gets all of it"
demo cut
load 600 -R 300
expect 60 '[ "$(field 1 .outbox.filling)" = true ]'
grows
first=$(sql1 "select pg_walfile_name('$(field 1 .links[0].flushed.lsn)'::pg_lsn + 1)")
expect 30 'sql1 checkpoint; [ ! -e "$DC1_PGDATA/pg_wal/$first" ]' # what comes first is in the outbox alone
sql1 "create table last(x text); insert into last values ('committed')" >/dev/null
kill_postgres 1
walferry 1 set rate_limit=2MB >/dev/null # the outbox is on its way still when the rest of pg_wal is asked for
demo heal
expect 30 '[ "$(field 1 .links[0].state)" = up ]'
walferry 2 failover --yes >/tmp/wf-$$.failover || fail "failover: $(cat /tmp/wf-$$.failover)"
[ "$(sql2 "select x from last")" = committed ] || fail "the last commit is lost: $(cat /tmp/wf-$$.failover)"
rm -f /tmp/wf-$$.failover
says 1 "the rest of the dead server's WAL is sent" && ! says 1 "cannot ship the rest" || fail "pg_wal was asked for before the outbox was shipped"

step "the slot of the member that is away is guarded, too"
kill_agent 1
sql2 "create table bulk as select n, repeat('x', 1000) from generate_series(1, 8000) n" >/dev/null # more than the slot may keep
as "$PGBIN/pgbench" -n -c 4 -T 600 -R 300 "$DC2_PG dbname=postgres" >/dev/null 2>&1 &
LOAD_PID=$!
expect 60 '[ "$(field 2 .outbox.filling)" = true ]'
at=$(sql2 "select pg_current_wal_lsn()")
expect 30 '[ "$(sql2 "select restart_lsn > '"'\$at'"'::pg_lsn from pg_replication_slots where slot_name = '"'walferry_dc1_a'"'")" = t ]'
[ "$(ls "$WALFERRY_DEMO/dc2/spool/outbox" | grep -c '^00000002')" -gt 2 ] || fail "the outbox has not followed to timeline 2"
sql2 "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgbench'" >/dev/null
end_load
n=0
for file in "$WALFERRY_DEMO"/dc2/spool/outbox/????????????????????????; do
    [ -e "$DC2_PGDATA/pg_wal/${file##*/}" ] || continue
    cmp -s "$file" "$DC2_PGDATA/pg_wal/${file##*/}" || fail "segment ${file##*/} of the outbox differs"
    n=$((n + 1))
done
[ $n -gt 0 ] || fail "no whole segment of the outbox to compare"
pass
