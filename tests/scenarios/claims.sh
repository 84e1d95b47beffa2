#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Who has stolen a key says that another member is the primary: of a huge epoch, and of the next one
# with a fitting timeline and history. Nobody yields, shipping goes on, every agent can start again. Or that
# a primary is dead and has left nothing: no loss is called none for that.
. "$(dirname "$0")/lib.sh"
install_thief() { install -m 644 "$ROOT/tests/support/thief.pl" "$WALFERRY_DEMO/"; }
thief() { # N ...: at the agent of dc N, with the key of the other member
    local n=$1 other=$((3 - $1))
    shift
    as timeout 60 perl "$WALFERRY_DEMO/thief.pl" "$WALFERRY_DEMO/dc$other/ssh/id_ed25519" "$RUN_AS" \
        "$(sed -n 's/^Port //p' "$WALFERRY_DEMO/dc$n/ssh/sshd_config")" demo "dc$other-a" "dc$n-a" "$@" 2>&1
}
claim() { local n=$1; shift; thief "$n" hello "$SYSTEM" 7 "$@"; } # N EPOCH TIMELINE [HISTORY]
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "http://$([ "$1" = 1 ] && echo "$DC1_HTTP" || echo "$DC2_HTTP")/primary"; } # N
event() { field "$1" ".events[] | select(.id == \"$2\") | .text"; } # N ID
unmoved() {
    for n in 1 2; do [ "$(field $n '.epoch | "\(.number) \(.member)"')" = "1 dc1-a" ] || fail "dc$n-a is in another epoch: $(field $n .epoch)"; done
    [ "$(field 1 .role) $(field 2 .role)" = "primary standby" ] || fail "roles: $(field 1 .role), $(field 2 .role)"
    sql1 "create table if not exists t (n int)" >/dev/null
    sql1 "insert into t values (1)" >/dev/null
    expect 30 level
}

start_pool
install_thief
expect 30 level
SYSTEM=$(field 1 .system_identifier)
history=$WALFERRY_DEMO/history
fits() { printf '1\t%s\tno recovery target specified\n' "$(sql1 "select pg_current_wal_flush_lsn()")" | as tee "$history" >/dev/null; }
fits

step "a huge number: the primary stays what it is, and its agent starts again"
for number in 9223372036854775807 9007199254740991; do
    claim 1 $number 2 "$history" >/dev/null
    unmoved
done
[ "$(code 1)" = 200 ] || fail "/primary of dc1: $(code 1)"
kill_agent 1 TERM
start_agent 1
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
unmoved

step "a believable one: its member is asked, and somebody hears of it"
said=$(claim 1 2 2 "$history")
[[ $said == *"dc1-a asks dc2-a back"* ]] || fail "dc1-a answers: $said"
expect 10 'event 1 WF019 | grep -q "key of dc2-a claims epoch 2"'
unmoved
[ "$(code 1)" = 200 ] || fail "/primary of dc1: $(code 1)"
[ "$(field 1 .alarm)" = null ] || fail "alarm: $(field 1 .alarm)"

step "at the standby, while the primary's agent is down: it stays a standby of epoch 1"
kill_agent 1
expect 20 '[ "$(field 2 .receiving.state)" = down ]'
fits
said=$(claim 2 2 2 "$history")
[[ $said == *"dc2-a asks dc1-a back"* ]] || fail "dc2-a answers: $said"
expect 20 'field 2 .alarm | grep -q "dc1-a claims to be the primary of epoch 2.*walferry resolve --primary dc1-a"'
[ "$(field 2 .epoch.number)" = 1 ] || fail "dc2-a is in epoch $(field 2 .epoch.number)"
start_agent 1
expect 20 '[ "$(field 2 .alarm)" = null ]'
expect 20 'event 2 WF019 | grep -q "key of dc1-a"'
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
unmoved

step "who cannot be asked: clients are sent nowhere, PostgreSQL is left alone, shipping would go on"
kill_agent 2
claim 1 2 2 "$history" >/dev/null
expect 20 'field 1 .alarm | grep -q "dc2-a claims to be the primary of epoch 2"'
[ "$(code 1)" = 503 ] || fail "/primary of dc1: $(code 1)"
[ "$(sql1 "insert into t values (2) returning n")" = 2 ] || fail "PostgreSQL takes no writes"
[ "$(field 1 .role) $(field 1 .links[0].state)" != "primary stopped" ] || fail "the link is stopped"
start_agent 2
expect 20 '[ "$(code 1)" = 200 ]'
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
unmoved

step "an older agent is told why it is refused"
said=$(WALFERRY_PROTOCOL=4 claim 1 1 1)
[[ $said == *"protocol 4 is spoken there, 5 here"* ]] || fail "it is told: $said"
same_rows

step "with the key of a dead primary whose host is away: what it says counts for nothing"
failover() { walferry 2 failover "$@" </dev/null >"$said" 2>&1; }
said=$WALFERRY_DEMO/failover.out
kill_agent 1
expect 20 '[ "$(field 2 .receiving.state)" = down ]'
sql1 "insert into t select generate_series(100, 1099)" >/dev/null # dc2 has not got them
kill_postgres 1
kill "$(cat "$DC1_SSHD_PID")"
thief 2 dies "$SYSTEM" 99 >"$WALFERRY_DEMO/thief.out" &
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
expect 20 'field 2 .receiving.reason | grep -q "PostgreSQL of the primary is down"'
failover --dry-run
grep "loss: none" "$said" && fail "dry run: $(cat "$said")"
failover --yes && fail "not refused: $(cat "$said")"
grep -q "with the key of dc1-a is up, and dc1-a is not reached to say whether it is its own" "$said" || fail "failover: $(cat "$said")"
[ "$(field 2 '.role + " " + (.epoch.number | tostring)')" = "standby 1" ] || fail "something was spent"

step "its own agent is there again: the session ends, and what was left behind is shipped"
as /usr/sbin/sshd -f "$WALFERRY_DEMO/dc1/ssh/sshd_config" -E "$WALFERRY_DEMO/dc1/sshd.log"
start_agent 1
expect 20 'event 2 WF019 | grep -q "with the key of dc1-a ships here"'
expect 20 'grep -q "it ends: dc1-a, asked itself, knows nothing of this session" "$WALFERRY_DEMO/thief.out"'
[ "$(thief 2 hello "$SYSTEM" 100)" != accepted ] || fail "it comes again"
failover --yes || fail "failover: $(cat "$said")"
grep -q "loss: none" "$said" || fail "failover: $(cat "$said")"
[ "$(sql2 "select count(*) from t where n >= 100")" = 1000 ] || fail "rows are missing: $(cat "$said")"
pass
