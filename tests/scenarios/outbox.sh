#!/bin/bash
# The outbox: WAL that PostgreSQL keeps no longer is shipped from it, in order, then streaming goes on where it
# ends, to the byte.
. "$(dirname "$0")/lib.sh"

export DEMO_SEGMENT_MB=1
start_pool
OUTBOX=$WALFERRY_DEMO/dc1/spool/outbox
fill 1
expect 30 level

step "segments are put into the outbox by hand, and gone from pg_wal"
kill_agent 2 TERM
load 4 -R 200
end_load
sql1 "select pg_switch_wal()" >/dev/null
kill_agent 1
first=$(sql1 "select pg_walfile_name(restart_lsn) from pg_replication_slots where slot_name = 'walferry_dc2_a'")
end=$(sql1 "select pg_current_wal_lsn()") # a segment's start
last=$(sql1 "select pg_walfile_name(pg_current_wal_lsn())")
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
pass
