#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# A third member whose agent is mad, or somebody with its key: it sends valid, half valid and broken frames
# of every type into both agents, and answers so to the one that dials it. What the two others ship goes on.
. "$(dirname "$0")/lib.sh"
long && SECONDS_OF_CHAOS=600 || SECONDS_OF_CHAOS=120
start_pool
expect 30 level
fill 2
D3=$WALFERRY_DEMO/dc3
as mkdir -p "$D3" "$D3/spool" "$D3/run"
cp "$WALFERRY_BUILD/chaos" "$WALFERRY_DEMO/bin/"

step "a third member, of whose host sshd is all there is"
for try in 1 2 3 4 5; do
    port=$((10000 + (RANDOM * 32768 + RANDOM) % 20000))
    as sh -c "sed 's#^Port .*#Port $port#; s#^PidFile .*#PidFile $D3/sshd.pid#; s#^AuthorizedKeysFile .*#AuthorizedKeysFile $D3/keys#' '$WALFERRY_DEMO/dc2/ssh/sshd_config' >'$D3/sshd_config'"
    as sh -c "{ printf 'restrict,command=\"$WALFERRY_DEMO/bin/chaos answer $SEED\" '; cat '$WALFERRY_DEMO/dc1/ssh/id_ed25519.pub'; } >'$D3/keys'"
    as /usr/sbin/sshd -f "$D3/sshd_config" -E "$D3/sshd.log" && wait_for 5 "[ -s '$D3/sshd.pid' ]" && break
done
BEFORE_DOWN='kill "$(cat "$D3/sshd.pid")"'
as sh -c "sed -n '/^.member dc2-a/,\$p' '$CONFIG' | sed 's/dc2/dc3/g; s#^ssh .*#ssh = $RUN_AS@127.0.0.1:$port#; /^http/d; s#^identity .*#identity = $WALFERRY_DEMO/dc2/ssh/id_ed25519#' >'$D3/section' && cat '$D3/section' >>'$CONFIG'"
for n in 1 2; do
    kill_agent $n TERM
    start_agent $n
done
expect 30 '[ "$(field 1 ".links[] | select(.to == \"dc2-a\") | .state")" = up ]'
expect 30 level
pids="$(agent_pid 1) $(agent_pid 2)"
system=$(as "$PGBIN/pg_controldata" "$DC1_PGDATA" | sed -n 's/^Database system identifier: *//p')

step "it says anything for $SECONDS_OF_CHAOS s, under load"
load $((SECONDS_OF_CHAOS - 10)) -c 2 -R 200
for n in 1 2; do
    as "$WALFERRY_DEMO/bin/chaos" dial "$WALFERRY_DEMO/dc$n/run" "dc$n-a" $((SEED + n)) $SECONDS_OF_CHAOS "$system" >"$WALFERRY_DEMO/chaos$n.log" 2>&1 &
    chaos[n]=$!
done
rounds=0
while kill -0 ${chaos[1]} 2>/dev/null; do
    walferry 1 sync dc2-a --timeout 30s >"/tmp/wf-$$.sync" 2>&1 || fail "$(cat "/tmp/wf-$$.sync")"
    rounds=$((rounds + 1))
    [ "$(agent_pid 1) $(agent_pid 2)" = "$pids" ] || fail "an agent died"
    for pid in $pids; do gone $pid && fail "an agent died"; done
    sleep 0.5
done
rm -f "/tmp/wf-$$.sync"
wait ${chaos[1]} ${chaos[2]}
end_load
for n in 1 2; do
    [ "$(sed -n 's/ sessions$//p' "$WALFERRY_DEMO/chaos$n.log")" -gt 10 ] || fail "few sessions: $(cat "$WALFERRY_DEMO/chaos$n.log")"
done
[ $rounds -gt 10 ] || fail "sync was asked $rounds times"
[ "$(sql1 "select pg_is_in_recovery()")$(sql2 "select pg_is_in_recovery()")" = ft ] || fail "roles have changed"
same_rows
pass
