#!/bin/bash
# The standby's PostgreSQL is down for a while: WAL goes on being received and acknowledged; then it
# catches up. Also with its agent restarted meanwhile: fetch and relay both work.
. "$(dirname "$0")/lib.sh"
start_pool
fill
step "the standby's PostgreSQL stops"
pg2 -m fast stop
load 5
end_load
sql1 "checkpoint" >/dev/null
expect 20 '[ "$(sql1 "select flush_lsn = pg_current_wal_flush_lsn() from pg_stat_replication")" = t ]'
[ "$(field 1 .links[0].standby_connected)" = false ] || fail "status says that the standby is connected"
step "the agent of the standby restarts"
kill_agent 2
start_agent 2
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
step "the standby comes back"
pg2 start
same_rows
same_segments
step "restore_command gives whole segments, and exits 1 for what is not there, without the agent"
kill_agent 2
segment=$(basename "$(ls "$DC2_SPOOL"/???????????????????????? | head -1)")
as "$WALFERRY" fetch "$segment" "/tmp/wf-$$.segment" --config "$CONFIG" --member dc2-a || fail "fetch of $segment"
cmp -s "$DC2_SPOOL/$segment" "/tmp/wf-$$.segment" || fail "fetch gave other bytes"
rm -f "/tmp/wf-$$.segment"
for absent in 0000000900000000000000FF 00000009.history nonsense ../pool.state; do
    as "$WALFERRY" fetch "$absent" "/tmp/wf-$$.segment" --config "$CONFIG" --member dc2-a 2>/dev/null
    [ $? = 1 ] || fail "fetch $absent does not exit 1"
done
pass
