#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# What is lost is one figure, whoever tells it: dry-run, status, metrics and what the page reads, then
# failover and its receipt. It is never less than the truth, and what was not compared is not "none".
. "$(dirname "$0")/lib.sh"
OUT=/tmp/wf-$$.out
url() { [ "$1" = 1 ] && echo "http://$DC1_HTTP" || echo "http://$DC2_HTTP"; } # N
get() { curl -s -m 5 "$(url "$1")$2"; }                                      # N PATH
metric() { get "$1" /metrics | awk -v name="$2" '$1 == name { print $2 }'; } # N NAME
within() { awk -v a="$1" -v b="$2" -v c="$3" 'BEGIN { exit !(b != "" && a - 0.01 <= b && b <= c + 0.01) }'; }
failover() { walferry 2 failover "$@" </dev/null >"$OUT" 2>&1; }
told() { sed -n 's/.*loss: //p' "$OUT" | tail -1; } # by failover
since() { sed -n 's/^at most .* everything before \(.* UTC\) (.*/\1/p'; }
receipt() { walferry 2 lost --json 2>/dev/null | jq -r '.[-1].at_most'; }
# Of one side: status, page and metrics. The metric is asked between two pages.
one_figure() { # N
    local n=$1 page figure after
    page=$(get "$n" /status.json)
    [ "$(jq -c '.loss | .kind, .since' <<<"$page")" = "$(status "$n" | jq -c '.loss | .kind, .since')" ] || fail "page of dc$n: $(jq .loss <<<"$page"), status: $(field "$n" .loss)"
    [ "$(jq -r '.loss.seconds == .exposure_seconds' <<<"$page")" = true ] || fail "dc$n: $(jq '.loss, .exposure_seconds' <<<"$page")"
    figure=$(metric "$n" walferry_exposure_seconds)
    after=$(get "$n" /status.json)
    if [ "$(jq -r .loss.kind <<<"$page")" = none ]; then
        within 0 "$figure" 3 || fail "metric of dc$n: $figure"
    else
        within "$(jq .exposure_seconds <<<"$page")" "$figure" "$(jq .exposure_seconds <<<"$after")" ||
            fail "metric of dc$n: $figure, pages: $(jq .exposure_seconds <<<"$page") and $(jq .exposure_seconds <<<"$after")"
    fi
}
write() { # rows with their time, until the file is gone
    while [ -e "$OUT.writes" ]; do sql1 "insert into t values (clock_timestamp())" >/dev/null; done
}

export DEMO_SEGMENT_MB=1 DEMO_CONF="min_wal_size = 64MB"
start_pool
sql1 "create table t (at timestamptz)" >/dev/null
expect 30 level
step "the line is cut under writes"
BEFORE_DOWN='rm -f "$OUT.writes"'
touch "$OUT.writes"
write &
writer=$!
expect 60 '[ "$(sql2 "select count(*) > 20 from t")" = t ]'
demo cut
expect 20 '[ "$(field 1 ".exposure_seconds > 3")" = true ] && [ "$(field 2 ".exposure_seconds > 3")" = true ] && [ "$(field 2 .loss.bytes)" = null ]'
one_figure 1
one_figure 2
least=$(field 1 '.exposure_seconds - 3') far=$(field 2 .exposure_seconds) # the last ACKs are on the line
within "$least" "$far" "$(field 1 .exposure_seconds)" || fail "dc1: $(field 1 .loss), dc2: $far"
failover --dry-run || fail "dry-run: $(cat "$OUT")"
moment=$(field 2 .loss.since)
[ "$(told | since)" = "$moment" ] || fail "dry-run: $(cat "$OUT"); status: $(field 2 .loss)"
[ "$(field 2 .receiving.flushed.as_of)" = "$moment" ] || fail "flushed: $(field 2 .receiving.flushed)"
walferry 2 status | grep -q "would lose: at most .* everything before $moment" || fail "$(walferry 2 status | head -8)"
[ -z "$(metric 2 walferry_unshipped_bytes)" ] || fail "bytes are known: $(metric 2 walferry_unshipped_bytes)"

step "the primary dies: failover says it, its receipt keeps it"
rm "$OUT.writes"
wait $writer
sql1 "select at from t where at < '$moment' order by at" >"$OUT.before"
kill_agent 1
kill_postgres 1
failover --yes || fail "failover: $(cat "$OUT")"
[ "$(told | since)" = "$moment" ] || fail "failover: $(cat "$OUT"), it was $moment"
[ "$(receipt)" = "$(told)" ] || fail "receipt: $(receipt), failover: $(told)"
[ "$(field 2 .epoch.loss)" = "$(told)" ] || fail "status: $(field 2 .epoch), failover: $(told)"
[ "$(get 2 /status.json | jq -r .epoch.loss)" = "$(told)" ] || fail "page: $(get 2 /status.json | jq .epoch), failover: $(told)"
walferry 2 lost 2>/dev/null | grep -qF "$(told)" || fail "lost: $(walferry 2 lost 2>&1), failover: $(told)"
[ -s "$OUT.before" ] && sql2 "select at from t where at < '$moment' order by at" | cmp -s - "$OUT.before" || fail "rows from before $moment are missing"
step "of the new primary nothing is known yet"
[ "$(field 2 '.loss | .kind, .seconds, .bytes' | tr '\n' ' ')" = "unknown null null " ] || fail "$(field 2 .loss)"
[ "$(get 2 /status.json | jq .exposure_seconds)" = null ] || fail "page: $(get 2 /status.json | jq .loss)"
[ -z "$(metric 2 walferry_exposure_seconds)" ] || fail "metric: $(metric 2 walferry_exposure_seconds)"

start_pool
sql1 "create table t (at timestamptz)" >/dev/null
expect 30 level
step "dead, and all that it had was shipped: none, on both sides"
kill_postgres 1
walferry 1 sync --timeout 20s >"$OUT" 2>&1 || fail "sync: $(cat "$OUT")"
expect 10 '[ "$(field 1 .loss.kind) $(field 2 .loss.kind)" = "none none" ]'
one_figure 1
one_figure 2
[ "$(field 2 '.exposure_seconds < 3')" = true ] || fail "$(field 2 .loss)"
failover --dry-run || fail "dry-run: $(cat "$OUT")"
[ "$(told)" = "none; everything that dc1-a had in pg_wal is here" ] || fail "dry-run: $(cat "$OUT")"
[ "$(field 2 .loss.text)" = "$(told)" ] || fail "status: $(field 2 .loss), dry-run: $(told)"
step "it was started again meanwhile"
pg1 start
sql1 "create table last (n int)" >/dev/null
expect 10 '[ "$(field 1 .loss.kind) $(field 2 .loss.kind)" = "at most at most" ]'
expect 30 level
step "it is restored to an older state, commits and dies: nothing is compared, nothing is promised"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sql1 "insert into t values (now()); select pg_switch_wal()" >/dev/null; done
expect 30 level
expect 30 '[ "$(field 1 ".links[0].slot.retained_bytes < 1048576")" = true ]'
sql1 checkpoint >/dev/null # segments for later WAL are made ahead
pg1 -m fast stop && as cp -a "$DC1_PGDATA" "$DC1_PGDATA.cold" && pg1 start || fail "no copy"
sql1 "insert into t select now() from generate_series(1, 60000)" >/dev/null
expect 30 'level && [ "$(field 2 ".exposure_seconds < 2")" = true ]'
pg1 -m immediate stop
restored=$(date +%s%3N)
as mv "$DC1_PGDATA" "$DC1_PGDATA.good" && as mv "$DC1_PGDATA.cold" "$DC1_PGDATA" && pg1 start || fail "it does not start"
expect 20 'field 2 .loss.text | grep -q "restored to an older state"'
sql1 "create table mine (n int)" >/dev/null
kill_postgres 1
kill_agent 1 # it forgets what it saw
start_agent 1
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
failover --yes && fail "it is promoted: $(cat "$OUT")"
told | grep -q '^at most' && grep -q 'cannot ship the rest: .* restored to an older state' "$OUT" || fail "$(cat "$OUT")"
[ "$(date -d "$(told | since)" +%s%3N)" -le "$restored" ] || fail "it was restored at $restored: $(told)"
step "what it was before is put back: all of that is here"
kill_agent 1
as rm -rf "$DC1_PGDATA" && as mv "$DC1_PGDATA.good" "$DC1_PGDATA" || fail "not put back"
start_agent 1
expect 20 '[ "$(field 2 .receiving.state)" = up ]'
failover --yes || fail "failover: $(cat "$OUT")"
[ "$(told)" = "none; everything that dc1-a had in pg_wal is here" ] && [ "$(receipt)" = "$(told)" ] || fail "receipt: $(receipt); $(cat "$OUT")"
[ "$(sql2 "select count(*) from t")" = 60020 ] && [ "$(sql2 "select to_regclass('last')")" = last ] || fail "rows are missing"
rm -f "$OUT"*
pass
