#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Two states that a DBA ends: a server that takes writes while another member is the primary, and
# that one is gone for good; and two members that claim the same epoch.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
reclaim() { walferry "$@" --reclaim </dev/null >"$OUT" 2>&1; }
refused() { reclaim "$1" failover --yes && fail "not refused: $(cat "$OUT")"; }
held() { [ "$(sql1 "select '$(field 2 .spool.flushed)'::pg_lsn >= '$1'::pg_lsn")" = t ]; } # LSN

start_pool
prepare_pool
expect 30 level
step "a standby is no server to reclaim"
refused 2
told "nothing to reclaim"
step "dc2 is promoted by hand while the primary lives: a reclaim is refused"
sql2 "select pg_promote()" >/dev/null
expect 20 '[ "$(field 2 .role)" = fenced ]'
field 2 .alarm | grep -q 'walferry failover --reclaim' || fail "the alarm names no way out: $(field 2 .alarm)"
refused 2
told "refused: the primary dc1-a is alive"
[ "$(field 2 .epoch.number)" = 1 ] || fail "an epoch was made"
sql1 "insert into one values (11, 'kept in the spool')" >/dev/null
ends=$(sql1 "select pg_current_wal_flush_lsn()")
expect 20 'held "$ends"'
step "the primary is gone for good: a plain failover tells of it, the dry run changes nothing"
kill_agent 1
kill_postgres 1
walferry 2 failover --yes </dev/null >"$OUT" 2>&1 && fail "a fenced member took over"
told "failover --reclaim"
reclaim 2 failover --dry-run || fail "dry run: $(cat "$OUT")"
told "would do: epoch 2 for dc2-a, which overrules dc1-a and its epoch 1"
[ "$(field 2 .role)" = fenced ] || fail "the dry run changed something"
reclaim 2 failover && fail "it does not ask"
step "reclaimed: what was acknowledged and is missing is told and kept"
reclaim 2 failover --yes
[ $? = 3 ] || fail "reclaim: $(cat "$OUT")"
told "loss: all that dc1-a committed"
told "done: dc2-a is the primary of epoch 2, timeline 2, forked at"
told "NOT COMPLETE: acknowledged WAL is missing"
expect 5 '[ "$(field 2 .role)" = primary ] && [ "$(field 2 .alarm)" = null ]'
sql2 "insert into one values (12, 'goes on')" >/dev/null
[ "$(sql2 "select count(*) from pg_replication_slots where slot_name = 'walferry_dc1_a'")" = 1 ] || fail "no slot for who comes back"
walferry 2 lost 2>/dev/null | grep -q "known then: all that dc1-a committed" || fail "no receipt: $(walferry 2 lost)"
reclaim 2 failover --yes
[ $? = 3 ] || fail "a second time: $(cat "$OUT")"
told "done already"
walferry 2 lost --discard --yes >"$OUT" 2>&1 || fail "lost --discard: $(cat "$OUT")"
expect 10 '[ "$(field 2 .missing)" = null ]'
step "the other one comes back after all, and is fenced; it rejoins"
pg1 start || fail "dc1 does not start"
start_agent 1
expect 20 '[ "$(field 1 .role)" = fenced ] && [ "$(field 1 .epoch.member)" = dc2-a ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
same_sides 2 1

start_pool
prepare_pool
expect 30 level
step "a deposed primary is reclaimed, for the one that took over is gone for good; the agent is killed at the last step"
demo cut
failover 2
demo heal
expect 20 '[ "$(field 1 .role)" = fenced ]'
expect 20 '[ "$(as jq ".changes[1].timeline" "$DC1_SPOOL/pool.state")" = 2 ]' # nothing is left to learn
kill_agent 1
agent_that_dies 1 6 # five steps of the journal, then its end; a table of routes may be written, too
expect 20 '[ "$(field 1 .role)" = fenced ] && [ "$(field 1 .postgres.state)" = up ]'
kill_agent 2
kill_postgres 2
pid=$(agent_pid 1)
reclaim 1 failover --yes && fail "it is not killed: $(cat "$OUT")"
expect 10 "gone $pid"
died_at=$(as jq .step "$DC1_SPOOL/pool.state")
[[ $died_at =~ [45] ]] || fail "killed at another step: $(as cat "$DC1_SPOOL/pool.state")"
step "the next agent finishes it alone, behind the last step"
start_agent 1
expect 10 '[ "$(field 1 .failover_step)" != null ]'
[ $died_at = 5 ] || reclaim 1 failover --yes || fail "it does not go on: $(cat "$OUT")"
expect 20 'says 1 "done: dc1-a is the primary of epoch 3, timeline 1"'
expect 5 '[ "$(field 1 .role)" = primary ] && [ "$(field 1 .alarm)" = null ]'
sql1 "insert into one values (13, 'again the primary')" >/dev/null
step "the one that took over comes back: it believes the older timeline's epoch"
pg2 start || fail "dc2 does not start"
start_agent 2
expect 20 '[ "$(field 2 .role)" = fenced ] && [ "$(field 2 .epoch.number) $(field 2 .epoch.member)" = "3 dc1-a" ]'
[ "$(field 1 .role)" = primary ] && [ "$(field 1 .alarm)" = null ] || fail "dc1: $(field 1 .alarm)"
step "it rejoins and takes over again: another timeline 2 than before"
rejoin 2 --yes || fail "rejoin: $(cat "$OUT")"
follows 2
sql1 "insert into one values (14, 'behind the first fork')" >/dev/null
expect 20 level
kill_postgres 1
failover 2
expect 10 '[ "$(field 2 .role) $(field 2 .postgres.timeline)" = "primary 2" ]'
says 2 "has whole records behind" && fail "it judges by the timeline of before: $(grep "whole records" "$WALFERRY_DEMO/dc2/agent.log")"
sql2 "insert into one values (15, 'behind the second')" >/dev/null
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
same_sides 2 1

start_pool
prepare_pool
expect 30 level
step "the spool of dc2 begins anew, behind WAL that its PostgreSQL needs and nobody has any more"
pg2 -m fast stop
for n in 2 1; do kill_agent $n TERM; done
sql1 "select pg_drop_replication_slot('walferry_dc2_a')" >/dev/null
needs=$(sql1 "select pg_walfile_name(pg_current_wal_lsn())")
for n in 1 2 3; do sql1 "insert into one values (20 + $n, 'lost'); select pg_switch_wal(); checkpoint" >/dev/null; done
expect 10 '[ ! -e "$DC1_PGDATA/pg_wal/$needs" ]'
as sh -c 'rm -rf "$1"/*' sh "$DC2_SPOOL"
for n in 1 2; do start_agent $n; done
expect 30 '[ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
pg2 start || fail "dc2 does not start"
expect 60 'field 2 .receiving.reason | grep -qE "PostgreSQL here needs WAL from|is gone from the primary"'
kill_agent 1
kill_postgres 1
walferry 2 failover --yes --force </dev/null >"$OUT" 2>&1 && fail "a hole is overruled: $(cat "$OUT")"
told "refused: PostgreSQL here needs WAL from .* walferry failover --reclaim"
step "it goes on from where it stands, by the DBA's word"
reclaim 2 failover --dry-run || fail "dry run: $(cat "$OUT")"
told "loss: all that was committed in the pool behind $(sql2 "select pg_last_wal_replay_lsn()") of timeline 1"
reclaim 2 failover --yes
[ $? = 3 ] || fail "reclaim: $(cat "$OUT")"
told "done: dc2-a is the primary of epoch 2, timeline 2"
[ "$(sql2 "insert into one values (30, 'goes on'); select count(*) from one where n > 20")" = 1 ] || fail "it takes no row"

start_pool
prepare_pool
expect 30 level
step "both claim epoch 2: each says so"
demo cut
failover 2
kill_agent 1
as cp "$DC1_SPOOL/pool.state" "$DC1_SPOOL/pool.state.old"
as sh -c 'jq ".changes += [.changes[-1] | .number = 2 | .parent = {number: 1, member: \"dc1-a\"}]" "$1.old" >"$1"; rm "$1.old"' sh "$DC1_SPOOL/pool.state"
start_agent 1
demo heal
for n in 1 2; do expect 20 "field $n .alarm | grep -q 'two primaries: .* of epoch 2 .*walferry resolve'"; done
step "one of them says the common epoch: the alarm of the other one is over, without a restart"
agent=$(agent_pid 2)
kill_agent 1
pg1 -m fast stop
as rm "$DC1_SPOOL/pool.state"
start_agent 1
expect 30 '[ "$(field 2 .alarm)" = null ]'
expect 20 '[ "$(field 1 .epoch.member)" = dc2-a ] && [ "$(field 1 .role)" = fenced ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
follows 1
[ "$(agent_pid 2)" = "$agent" ] || fail "the agent of dc2 was restarted"
same_sides 2 1
rm -f "$OUT"
pass
