#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# WAL that is nearly nothing on the wire: a segment with one record in it is 128 frames of some 60 bytes. More of
# them than may be under way wait for a standby's agent that was stopped: the primary's agent waits with them,
# whatever the rate limit, and loses none when its server dies meanwhile.
. "$(dirname "$0")/lib.sh"
long && segments=150 || segments=36 # 33 are as many frames as may be under way

pile_up() {
    primary=$(agent_pid 1) standby=$(agent_pid 2)
    kill -STOP "$standby"
    sql1 "do \$\$ begin
              for i in 1..$segments loop
                  perform pg_logical_emit_message(false, 'tiny', i::text);
                  perform pg_switch_wal();
              end loop;
          end \$\$" | grep . && fail "the segments were not made"
}
alive() { ! gone "$primary" || fail "the primary's agent ended: $(tail -1 "$WALFERRY_DEMO/dc1/agent.log")"; }

export DEMO_CONF="wal_keep_size = 4GB"
start_pool
step "$segments nearly empty segments at once"
pile_up
kill -CONT "$standby"
wait_for 60 "level || gone $primary"
alive
same_segments

step "the same with a rate limit"
walferry 1 set compression=auto >/dev/null || fail "set compression" # uncompressed they are no tiny ones
walferry 1 set rate_limit=100kB >/dev/null || fail "set rate_limit"
pile_up
kill -CONT "$standby"
wait_for 60 "level || gone $primary"
alive
same_rows
same_segments

step "the server dies: what it has left is shipped, to the last row"
pile_up
sql1 "create table last_words as select 7 as n" >/dev/null
kill_postgres 1
kill -CONT "$standby"
walferry 2 failover --yes </dev/null >"/tmp/wf-$$.out" 2>&1 || fail "failover: $(cat "/tmp/wf-$$.out")"
rm -f "/tmp/wf-$$.out"
alive
[ "$(sql2 "select n from last_words")" = 7 ] || fail "the last row is lost"
pass
