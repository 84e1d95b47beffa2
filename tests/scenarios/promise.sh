#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Before a failover every other member promises to keep out of the way. A promise outlives its
# member's restart and ends with the failover that it was given to, however that ends.
. "$(dirname "$0")/lib.sh"
BEFORE_DOWN='kill "$(cat "$D3/run/agent.pid")" "$(cat "$D3/ssh/sshd.pid")"'
SAID=/tmp/wf-$$.said
failover() { walferry 2 failover "$@" </dev/null >"$SAID" 2>&1; }
begin() { : >"$SAID"; failover "$@" & command=$!; }
told() { grep -q "$1" "$SAID" || fail "'$1' is not said: $(cat "$SAID")"; }
promised() { [ "$(as jq -r '.promised | "\(.number) \(.member)"' "$WALFERRY_DEMO/dc$1/spool/pool.state")" = "$2" ]; } # N "NUMBER MEMBER"
free() { promised "$1" "null null"; }
untouched() { [ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "it is $(field 2 .role), epoch $(field 2 .epoch.number)"; }
rescue_begins() { # of 2 MB that are slow
    sql1 "drop table if exists last" >/dev/null
    expect 60 level
    demo wan 20 4
    sql1 "create table last as select n, md5(random()::text) || md5(random()::text) as x from generate_series(1, 200000) n" >/dev/null
    kill_postgres 1
    begin --yes
    expect 60 'grep -q "shipping what is left" "$SAID"'
    promised 1 "2 dc2-a" || fail "a rescue without a promise: $(cat "$WALFERRY_DEMO/dc1/spool/pool.state")"
}

start_pool
expect 30 level
walferry 1 set lanes=1 >/dev/null || fail "lanes"
step "a living primary gives none"
failover --yes && fail "deposed a living primary"
free 1 || fail "a living primary has promised"

step "its server comes back meanwhile: nothing is shipped, the failover is refused, then all is as before"
rescue_begins
pg1 start || fail "PostgreSQL of dc1 does not start"
expect 60 '! kill -0 $command'
wait $command && fail "promoted beside a living primary: $(cat "$SAID")"
told "refused: the primary dc1-a answers"
expect 10 'free 1'
demo wan 0
expect 60 level
untouched

step "the promise outlives its agent, and who was killed while it asked asks no more"
rescue_begins
kill_agent 1
promised 1 "2 dc2-a" || fail "it is not on disk"
kill_agent 2
start_agent 1
expect 10 '[ -n "$(agent_pid 1)" ] && status 1'
promised 1 "2 dc2-a" || fail "gone with a restart"
pg1 start || fail "PostgreSQL of dc1 does not start"
expect 20 'field 1 .alarm | grep -q "epoch 2 is promised to dc2-a: nothing is shipped"'
curl -s -m 5 "http://$DC1_HTTP/primary" | grep -q "epoch 2 is promised to dc2-a" || fail "clients are sent to it: $(curl -s "http://$DC1_HTTP/primary")"
walferry 1 status 2>&1 | grep -q "^promised: epoch 2 to dc2-a" || fail "status: $(walferry 1 status 2>&1)"
start_agent 2
expect 20 'free 1'
expect 10 '[ "$(field 1 .alarm)" = null ]'
expect 15 '[ "$(curl -s -m 5 -o /dev/null -w "%{http_code}" "http://$DC1_HTTP/primary")" = 200 ]'
demo wan 0
expect 60 level
untouched

step "nobody can be asked any more: by a DBA's word"
rescue_begins
kill_agent 2
pg1 start || fail "PostgreSQL of dc1 does not start"
expect 20 'field 1 .alarm | grep -q "walferry failover --break-promise dc2-a on this host"'
walferry 1 failover --cancel >"$SAID" 2>&1 && fail "a cancel ends what somebody else has begun: $(cat "$SAID")"
told "walferry failover --break-promise dc2-a"
promised 1 "2 dc2-a" || fail "a cancel has given it up"
walferry 1 failover --break-promise dc3-a >"$SAID" 2>&1 && fail "to nobody: $(cat "$SAID")"
walferry 1 failover --break-promise dc2-a >"$SAID" 2>&1 || fail "--break-promise: $(cat "$SAID")"
told "what dc1-a had promised to dc2-a for epoch 2 is given up"
free 1 || fail "it is still there"
expect 10 '[ "$(field 1 .alarm)" = null ]'
start_agent 2
demo wan 0
expect 60 level
untouched

step "a member of a third site; its PostgreSQL plays no part"
add_third
for n in 1 2; do kill_agent $n TERM; done
for n in 1 2 3; do start_agent $n; done
expect 30 '[ "$(field 3 .receiving.state)" = up ] && level'

step "the primary is out of reach and goes on committing to the third: the third says so"
as sh -c 'sed "/^\[member dc2-a/,/^\[member dc3-a/s/^\(ssh .*\):.*/\1:$3/" "$1" >"$2"' sh "$CONFIG" "$CONFIG.three" \
    "$(sed -n 's/^Port //p' "$WALFERRY_DEMO/dc2/ssh/sshd_config")" # it has a way to dc2 of its own
kill_agent 3 TERM
CONFIG=$CONFIG.three start_agent 3
expect 30 '[ "$(field 3 .receiving.state)" = up ]'
sql1 "create table goes_on (n int)" >/dev/null
demo cut
expect 30 '[ "$(field 2 .receiving.state)" = down ]'
begin --yes
while kill -0 $command 2>/dev/null; do sql1 "insert into goes_on values (1)" >/dev/null || fail "the primary takes no writes"; done
wait $command && fail "deposed a living primary: $(cat "$SAID")"
told "refused by dc3-a: dc3-a gets WAL of the primary dc1-a, which answers"
for n in 1 3; do free $n || fail "dc$n-a has promised"; done
untouched
demo heal
expect 60 level
[ "$(sql1 "select count(*) > 0 from goes_on")" = t ] && [ "$(sql2 "select count(*) from goes_on")" = "$(sql1 "select count(*) from goes_on")" ] || fail "rows are missing"

step "it has to promise, too: without its agent there is no failover"
kill_agent 3 TERM
kill_postgres 1
failover --yes && fail "promoted without it: $(cat "$SAID")"
told "refused: dc3-a has not promised"
expect 10 'free 1'
untouched

step "who has stolen a key gets none: the member itself is asked, and asks for nothing"
start_agent 3
expect 30 '[ "$(field 3 .receiving.state)" = up ]'
install -m 644 "$ROOT/tests/support/thief.pl" "$WALFERRY_DEMO/"
ask() { as timeout 60 perl "$WALFERRY_DEMO/thief.pl" "$WALFERRY_DEMO/dc2/ssh/id_ed25519" "$RUN_AS" "$D3_PORT" demo dc2-a dc3-a promise 7 "$1" 2>&1; }
dialled() { grep -c "Accepted publickey" "$WALFERRY_DEMO/dc2/sshd.log"; }
[ "$(ask 1)" = refuse ] || fail "of an epoch that is there: $(ask 1)"
before=$(dialled)
[ -z "$(ask 2)" ] || fail "a thief is answered: $(ask 2)"
expect 10 '[ "$(dialled)" -gt "$before" ]'
[ -z "$(ask 2)" ] || fail "a thief is answered: $(ask 2)"
free 3 || fail "a thief got a promise"

step "it promises, and says so before the epoch is there"
failover --yes || fail "failover: $(cat "$SAID")"
says 3 "epoch 2 is promised to dc2-a" || fail "dc3-a was not asked: $(tail -5 "$D3/agent.log")"
expect 20 '[ "$(field 3 .epoch.number) $(field 1 .epoch.number)" = "2 2" ]'
for n in 1 3; do expect 10 "free $n"; done
rm -f "$SAID"
pass
