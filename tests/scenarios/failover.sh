#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Failover: what it refuses, what it says, what it ships first, and what the former primary does.
. "$(dirname "$0")/lib.sh"
failover() { walferry 2 failover "$@" </dev/null >"/tmp/wf-$$.said" 2>&1; }
told() { grep -q "$1" "/tmp/wf-$$.said" || fail "'$1' is not said: $(cat "/tmp/wf-$$.said")"; }

start_pool
fill 2
expect 30 level
step "refused while the primary answers"
failover --yes
[ $? = 1 ] || fail "it does not exit 1"
told "refused: the primary dc1-a answers"
step "no terminal and no --yes"
failover
[ $? = 2 ] || fail "it does not exit 2"
step "a dry run changes nothing"
before=$(cat "$WALFERRY_DEMO"/dc?/spool/pool.state | cksum)
failover --dry-run || fail "the dry run fails"
told "loss: at most"
[ "$(cat "$WALFERRY_DEMO"/dc?/spool/pool.state | cksum)" = "$before" ] || fail "the dry run wrote pool.state"
[ "$(field 2 .role)" = standby ] || fail "the dry run changed the role"
step "the standby's PostgreSQL is down"
pg2 -m fast stop
expect 10 '[ "$(field 2 .postgres.state)" != up ]'
failover --yes && fail "not refused"
told "pg_ctl -D .* start"
pg2 start
expect 20 level

step "the primary's PostgreSQL is dead, its agent lives, the line is slow: the rest is shipped first"
sql2 "select pg_wal_replay_pause()" >/dev/null
demo wan 20 2
sql1 "create table last as select n, md5(random()::text) as x from generate_series(1, 700000) n" >/dev/null
rows=$(sql1 "select count(*), md5(string_agg(x, '' order by n)) from last")
kill_postgres 1
failover --yes &
command=$!
expect 90 'grep -q "its agent lives" "/tmp/wf-$$.said"' # its answer comes behind 2 MB of each lane
mark_cpu
wait_for 4 false
calm 8 # mostly the compression of 250 kB/s
demo wan 20
wait $command || fail "failover: $(cat "/tmp/wf-$$.said")"
told "loss: none"
told "replay was paused: resumed"
told "it took"
[ "$(sql2 "select pg_is_in_recovery()")" = f ] || fail "dc2 is not writable"
[ "$(sql2 "select count(*), md5(string_agg(x, '' order by n)) from last")" = "$rows" ] || fail "rows are missing"
demo wan 0
step "the former primary has heard of it"
expect 20 '[ "$(field 1 .role)" = fenced ] && [ "$(field 1 .epoch.number)" = 2 ]'
[ "$(field 2 .role)" = primary ] || fail "dc2-a is not the primary"
step "its PostgreSQL comes back: two writable primaries, both sides say so"
pg1 start
expect 20 'field 1 .alarm | grep -q "two writable primaries"'
expect 20 'field 2 ".alarm, .links[0].reason" | grep -q "writable"'
pg1 -m fast stop

start_pool
fill 1
expect 30 level
step "the site is gone under load: agent, PostgreSQL and sshd"
# Bytes that sshd has brought and the agent of dc2 has not yet read.
unread() {
    perl -e 'for (glob "/proc/$ARGV[0]/fd/*") {
        next unless (readlink || "") =~ /^pipe:/ && sysopen(F, $_, 04000);
        my $n = pack("i", 0);
        ioctl(F, 0x541B, $n); # FIONREAD
        $n = unpack("i", $n);
        $most = $n if $n > $most;
    } print $most + 0' "$(agent_pid 2)"
}
took=$(field 2 .receiving.wire_bytes)
kill -STOP "$(agent_pid 2)"
sql1 "create table big as select gen_random_uuid() as a, gen_random_uuid() as b from generate_series(1, 400000)" >/dev/null
expect 30 '[ "$(unread)" -ge 900000 ]'
kill_agent 1
kill_postgres 1
kill "$(cat "$DC1_SSHD_PID")"
expect 20 '! pgrep -P "$(cat "$DC2_SSHD_PID")"'
unread=$(unread)
kill -CONT "$(agent_pid 2)"
expect 20 '[ "$(field 2 .receiving.state)" = down ]'
took=$(($(field 2 .receiving.wire_bytes) - took))
[ $took -ge $((unread * 99 / 100 - 131200)) ] || # but for half a frame, and beacons
    fail "of $unread bytes that had reached dc2 only $took were taken"
failover --yes || fail "failover: $(cat "/tmp/wf-$$.said")"
told "does not answer"
told "loss: at most"
sql2 "create table after_it (n int)" >/dev/null && sql2 "insert into after_it values (1)" >/dev/null || fail "dc2 takes no writes"
[ "$(sql2 "select count(*) from pg_replication_slots where slot_name = 'walferry_dc1_a'")" = 1 ] || fail "no slot for who comes back"
step "the former primary's agent starts and meets the higher epoch"
pg1 start
start_agent 1
expect 30 '[ "$(field 1 .role)" = fenced ]'
says 1 'dc2-a is the primary' || fail "it does not say so"
[ "$(field 1 '.links[0].state')" = stopped ] || fail "it still ships"
step "started again, it tells of no time before that"
kill_agent 1 TERM
start_agent 1
expect 30 '[ "$(field 1 .role)" = fenced ]'
[ "$(field 1 '.links[0].since_seconds | floor')" -le "$(ps -o etimes= -p "$(agent_pid 1)")" ] ||
    fail "it was stopped before there was an agent: for $(field 1 '.links[0].since_seconds') s"

start_pool
step "the agent is killed in the middle of a failover: the same command goes on"
expect 30 level
sql1 "create table t as select 1" >/dev/null
kill_agent 1
kill_postgres 1
receiver=$(pgrep -f "walreceiver" -P "$(head -1 "$DC2_PGDATA/postmaster.pid")")
as kill -STOP "$(head -1 "$DC2_PGDATA/postmaster.pid")"
(failover --yes) &
expect 20 '[ "$(field 2 .failover_step)" != 0 ]'
kill_agent 2
start_agent 2
expect 20 'field 2 .alarm | grep -q "run walferry failover again"'
as kill -CONT "$(head -1 "$DC2_PGDATA/postmaster.pid")" # it may have been told to promote, and goes on alone
expect 20 '[ "$(field 2 .postgres.state)" = up ]'
failover --yes || fail "the second run: $(cat "/tmp/wf-$$.said")"
[ "$(sql2 "select pg_is_in_recovery()")" = f ] && [ "$(field 2 .role)" = primary ] || fail "dc2-a is not the primary"

start_pool
step "forced while the primary answers; it is told what took its time: its PostgreSQL flushes"
expect 30 level
receiver=$(pgrep -f "walreceiver" -P "$(head -1 "$DC2_PGDATA/postmaster.pid")")
as kill -STOP "$receiver"
sql1 "create table more as select gen_random_uuid() as a, gen_random_uuid() as b from generate_series(1, 400000)" >/dev/null
expect 20 '[ "$(field 2 .receiving.flushed.behind_bytes)" = 0 ]'
(failover --yes --force; echo $? >"/tmp/wf-$$.code") &
expect 20 'grep -q "waiting until the PostgreSQL of dc2-a has flushed" "/tmp/wf-$$.said"'
[ "$(field 2 .role)" = standby ] || fail "it does not wait for PostgreSQL"
as kill -CONT "$receiver"
wait $!
[ "$(cat "/tmp/wf-$$.code")" = 0 ] || fail "failover: $(cat "/tmp/wf-$$.said")"
told "it took .* prepare [2-9]\.[0-9] s"
rm -f "/tmp/wf-$$.code"
expect 20 '[ "$(field 1 .role)" = fenced ]'
expect 20 'field 1 .alarm | grep -q "two writable primaries"'
rm -f "/tmp/wf-$$.said"
pass
