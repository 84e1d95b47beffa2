#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Every figure of four agents against the truth of four servers (tests/support/truth.c), while dc2-b is fed by the head
# of its site: lag at the end of two hops is never better than the truth, and no older than a beacon for each hop, under
# cuts, with the head frozen, killed, replaced and there again; it is older for some seconds after a re-route or a
# failover. What each says of the others is no better than the truth.
. "$(dirname "$0")/lib.sh"
MOMENT=3500 # four agents and four servers answer one after another; a beacon for each of two hops
. "$ROOT/tests/support/truth.sh"
fed() { [ "$(field "$1" ".receiving | [.state, .from, (.flushed.lag_seconds // 99) < 1, (.applied.lag_seconds // 99) < 1] | @csv")" = "\"up\",\"$2\",true,true" ]; } # N FROM
level_again() { # [HEAD OTHER]: of dc2
    expect 40 "fed 3 dc1-a"
    expect 40 "fed ${1:-2} dc1-a"
    expect 40 "fed ${2:-4} $(its "${1:-2}" MEMBER)"
}

start_pool --members 4
fill 2
begin_truth

phase idle $MOMENT 0
sleep $seconds
phase commits
sleep $seconds
if long; then
    phase distance $((MOMENT + 200))
    demo wan 100 20
    sleep $seconds
    demo wan 0
fi
phase load
load 600 -c 2 -R 200
sleep $seconds

phase sites-cut
demo cut dc1 dc2
sleep $((seconds * 2))
phase healed
demo heal
level_again
phase head-cut-off
demo cut dc2-a
sleep $seconds
phase head-joined-again
demo heal
level_again
if long; then
    phase fed-member-cut-off
    demo cut dc2-b
    sleep $seconds
    phase fed-member-joined-again
    demo heal
    level_again
fi

phase PostgreSQL-of-the-head-stopped
pg 2 -m fast stop || fail "it does not stop"
sleep $seconds
phase PostgreSQL-of-the-head-started
pg 2 start || fail "it does not start"
level_again
if long; then
    phase apply-paused-at-the-end
    sql 4 "select pg_wal_replay_pause()" >/dev/null
    sleep $seconds
    phase apply-resumed-at-the-end
    sql 4 "select pg_wal_replay_resume()" >/dev/null
    level_again
fi

phase agent-of-the-head-killed
sleep 2 # what outlives the agent is saved once a second
kill_agent 2
sleep 2
start_skewed 2
level_again
phase clocks-of-the-head-and-the-fed-member-are-wrong
skew 2 3600
skew 4 -3600
sleep $seconds
phase head-frozen-and-replaced
kill -STOP "$(agent_pid 2)"
expect 40 'fed 4 dc1-a'
phase re-routed
sleep $seconds
phase former-head-goes-on 6000 # its place in the primary's figures is old until it is heard again
kill -CONT "$(agent_pid 2)"
level_again 4 2
phase fed-by-the-other-one
sleep $seconds
skew 2 0
skew 4 0

phase failover-to-the-end-of-the-chain
demo kill dc1-a
walferry 2 failover --yes --dead </dev/null >/dev/null 2>&1 || fail "failover"
echo "primary 2" >>"$OUT.in"
end_load
phase the-new-primary 15000 # as old as the last epoch until who ships is confirmed
expect 30 'fed 4 dc2-a && fed 3 dc2-a'
sleep $seconds
end_truth
pass
