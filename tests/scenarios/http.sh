#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What the agents tell over HTTP: metrics that Prometheus likes and that are what status says, before,
# during and after a cut; nothing can be changed; and a crowd of slow clients that disturbs nobody.
. "$(dirname "$0")/lib.sh"
status() { walferry "$1" status --json 2>/dev/null; } # N; not what is tested here
url() { [ "$1" = 1 ] && echo "http://$DC1_HTTP" || echo "http://$DC2_HTTP"; } # N
get() { curl -s -m 5 "$(url "$1")$2"; }                                      # N PATH
code() { curl -s -m 5 -o /dev/null -w '%{http_code}' "${@:3}" "$(url "$1")$2"; } # N PATH [OPTION ...]
metric() { get "$1" /metrics | awk -v name="$2" '$1 == name { print $2 }'; } # N NAME{LABELS}
absent() { ! get "$1" /metrics | grep -qF "$2"; }
position() { awk -v lsn="$1" 'BEGIN { split(lsn, p, "/"); printf "%.0f", hex(p[1]) * 4294967296 + hex(p[2]) }
    function hex(s, i, n) { for (i = 1; i <= length(s); i++) n = n * 16 + index("0123456789ABCDEF", substr(s, i, 1)) - 1; return n }'; }
near() { awk -v a="$1" -v b="$2" -v by="$3" 'BEGIN { exit !(a != "" && b != "" && a - b < by && b - a < by) }'; }

# Every figure that stands still is the same number; ages differ by what passes between two questions.
same_as_status() { # N LINK JQ-PATH-OF-THE-LINK
    local n=$1 link=$2 of=$3 name stage
    for stage in received flushed applied; do
        [ "$(metric $n "walferry_lsn_bytes{link=\"$link\",position=\"$stage\"}")" = "$(position "$(field $n "$of.$stage.lsn")")" ] || return 1
        [ "$(metric $n "walferry_behind_bytes{link=\"$link\",position=\"$stage\"}")" = "$(field $n "$of.$stage.behind_bytes // \"\"")" ] || return 1
        near "$(metric $n "walferry_lag_seconds{link=\"$link\",position=\"$stage\"}")" "$(field $n "$of.$stage.lag_seconds")" 1 || return 1
    done
    for name in wal_bytes wire_bytes; do
        [ "$(metric $n "walferry_link_${name}_total{link=\"$link\"}")" = "$(field $n "$of.$name")" ] || return 1
    done
    [ "$(metric $n walferry_epoch)" = "$(field $n .epoch.number)" ] &&
        [ "$(metric $n "walferry_role{role=\"$(field $n .role)\"}")" = 1 ] &&
        [ "$(get $n /metrics | grep -c '^walferry_role{.* 1$')" = 1 ] &&
        [ "$(metric $n "walferry_link_up{link=\"$link\"}")" = "$([ "$(field $n "$of.state")" = up ] && echo 1 || echo 0)" ] &&
        near "$(metric $n walferry_exposure_seconds)" "$(field $n .exposure_seconds)" 1
}
clean() { # N: promtool has nothing to say
    get "$1" /metrics | promtool check metrics >"/tmp/wf-$$.out" 2>&1 && [ ! -s "/tmp/wf-$$.out" ] ||
        fail "promtool, member $1: $(head -3 "/tmp/wf-$$.out")"
}

export DEMO_MEMBER_CONF="http_names = status.example, db"
start_pool
fill 2
expect 30 level
step "both members tell the same numbers as status"
expect 10 'same_as_status 1 "dc1-a>dc2-a" ".links[0]"'
expect 10 'same_as_status 2 "dc1-a>dc2-a" .receiving'
clean 1
clean 2
[ "$(get 1 /metrics | grep '^walferry' | head -1 | cut -d' ' -f1)" = walferry_exposure_seconds ] || fail "the first sample is not the pool's exposure"
[ "$(get 1 /status.json | jq -Sc 'paths' | sort -u | cksum)" = "$(status 1 | jq -Sc 'paths' | sort -u | cksum)" ] || fail "status.json is not status --json"
[ "$(metric 2 walferry_spool_flush_seconds_count)" -gt 0 ] || fail "no flush was counted"
[ "$(metric 1 'walferry_commit_wait_seconds_count{link="dc1-a>dc2-a"}')" -gt 0 ] || fail "no wait was counted"
retained=$(metric 1 'walferry_slot_retained_bytes{slot="walferry_dc2_a"}')
[ -n "$retained" ] || fail "nothing is told of the slot"
[ "$(metric 2 walferry_time_to_apply_seconds)" = 0 ] || expect 10 '[ "$(metric 2 walferry_time_to_apply_seconds | cut -c1)" = 0 ]'

step "GET and HEAD, and nothing else"
for path in / /page.css /page.js /metrics /status.json /history.json /active /healthz; do
    [ "$(code 1 $path)" = 200 ] && [ "$(code 1 $path -I)" = 200 ] || fail "$path"
done
before=$(status 1 | jq -c '[.epoch, .role, (.members | map(.name, .role))]')
for method in POST PUT DELETE PATCH OPTIONS; do
    [ "$(code 1 /status.json -X $method)" = 405 ] || fail "$method is not refused"
done
[ "$(code 1 /metrics -X POST --data-binary @/bin/ls -H Expect:)" = 405 ] || fail "a body is not refused"
for path in /nothing /../etc/passwd //; do [ "$(code 1 $path --path-as-is)" = 404 ] || fail "$path is served"; done
[ "$(code 1 "/$(printf '%09000d' 0)")" != 200 ] || fail "a request of 9000 bytes"
[ "$(status 1 | jq -c '[.epoch, .role, (.members | map(.name, .role))]')" = "$before" ] || fail "something changed"

step "asked by its address, not by a name that is not its own"
for host in "Host:" "Host: localhost" "Host: [::1]:80" "Host: 10.9.8.7" "Host: Status.example"; do
    [ "$(code 1 /status.json -H "$host")" = 200 ] || fail "$host is refused: $(code 1 /status.json -H "$host")"
done
[ "$(code 1 /primary -0 -H Host:)" = 200 ] || fail "HTTP 1.0 without Host, as HAProxy asks"
for host in evil.example "127.0.0.1.evil.example:$(echo "$DC1_HTTP" | cut -d: -f2)" status; do
    for path in / /status.json /metrics /nothing; do [ "$(code 1 $path -H "Host: $host")" = 421 ] || fail "$host, $path: $(code 1 $path -H "Host: $host")"; done
done
[ "$(printf 'GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n' | timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"; cat >&3; head -1 <&3' "${DC1_HTTP%:*}" "${DC1_HTTP#*:}" | cut -d' ' -f2)" != 200 ] ||
    fail "a second Host is not looked at"

step "a cut: exposure grows on both sides, what is unknown is absent"
demo cut
expect 20 '[ "$(metric 1 "walferry_link_up{link=\"dc1-a>dc2-a\"}")" = 0 ]'
for n in 1 2; do near "$(metric $n walferry_exposure_seconds)" "$(field $n .exposure_seconds)" 1 || fail "member $n: exposure"; done
near "$(metric 1 walferry_exposure_seconds)" "$(metric 2 walferry_exposure_seconds)" 1 || fail "the two sides differ"
awk -v e="$(metric 1 walferry_exposure_seconds)" 'BEGIN { exit !(e > 4) }' || fail "exposure does not grow"
[ "$(field 2 .receiving.flushed.behind_bytes)" = null ] || fail "a standby that is cut off knows how far behind it is"
absent 2 'walferry_behind_bytes{' || fail "an unknown figure is shown"
absent 2 'walferry_unshipped_bytes' || fail "an unknown figure is shown"
[ "$(metric 1 'walferry_link_disconnects_total{link="dc1-a>dc2-a",reason="silent"}')" = 1 ] || fail "the reason is not counted"
clean 1
clean 2
demo heal
expect 20 '[ "$(metric 1 "walferry_link_up{link=\"dc1-a>dc2-a\"}")" = 1 ]'
expect 10 'get 1 /history.json | jq -e ".exposure_seconds | map(select(. != null)) | max > 4"'

step "replay is paused: the time to apply is unknown, then it is known"
sql2 "select pg_wal_replay_pause()" >/dev/null
sql1 "create table paused as select n from generate_series(1, 100000) n" >/dev/null
expect 20 'absent 2 walferry_time_to_apply_seconds'
sql2 "select pg_wal_replay_resume()" >/dev/null
expect 20 '[ "$(metric 2 walferry_time_to_apply_seconds)" = 0.000 ]'

step "a thousand slow connections and garbage while pgbench runs"
# Short runs by turns, alone and in the crowd, beside other tests: a rough guard; tests/bench/crowd.sh measures.
tps() { load "$1" -N; wait "$LOAD_PID"; sed -n 's/^tps = \([0-9]*\).*/\1/p' "/tmp/wf-$$.bench"; }
long && seconds=10 || seconds=4
alone=0 crowded=0
for round in 1 2 3; do
    alone=$((alone + $(tps $seconds)))
    bash "$ROOT/tests/support/crowd.sh" "$DC1_HTTP" "$DC2_HTTP" >"/tmp/wf-$$.crowd" 2>/dev/null &
    crowd=$!
    expect 20 'grep -q "1000 connections" "/tmp/wf-$$.crowd"'
    crowded=$((crowded + $(tps $seconds)))
    for n in 1 2; do [ "$(code $n /healthz)" = 200 ] || fail "member $n does not answer in the crowd"; done
    kill $crowd
    wait $crowd 2>/dev/null
done
rm -f "/tmp/wf-$$".*
[ -z "${VERBOSE:-}" ] || echo "# transactions in the crowd and alone: $crowded, $alone"
[ $((crowded * 2)) -gt $alone ] || fail "in the crowd $crowded transactions a second, alone $alone"
[ "$(field 1 .links[0].connections_lost)" = 1 ] || fail "the link did not live through it"
same_rows
step "the address is taken: told, shipping goes on, served when it is free"
kill_agent 2 TERM
perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalAddr => $ARGV[0], ReuseAddr => 1) or exit 1; sleep 60' "$DC2_HTTP" &
holder=$!
expect 5 '(: <>"/dev/tcp/${DC2_HTTP%:*}/${DC2_HTTP#*:}")'
start_agent 2
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
expect 10 'says 2 "nothing is served at http = $DC2_HTTP"'
kill $holder
expect 15 '[ "$(code 2 /healthz)" = 200 ]'
pass
