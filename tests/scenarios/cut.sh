#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The line is cut under load and heals; the primary shuts down fast while it is cut, and while a slow
# line still has a backlog to carry.
. "$(dirname "$0")/lib.sh"
long && seconds=30 || seconds=16
start_pool
fill
step "cut for $seconds s under load"
load $((seconds + 4))
demo cut
cut_at=$SECONDS
expect 16 '[ "$(field 1 .links[0].state)" != up ]' # 5 s; 15 s if the proxy's kernel took bytes until then
wait_for $seconds "[ \$((SECONDS - $cut_at)) -ge $seconds ]"
for n in 1 2; do
    lag=$(field $n .exposure_seconds)
    awk -v lag="$lag" -v s="$seconds" 'BEGIN { exit !(lag > s - 3 && lag < s + 5) }' || fail "member $n tells an exposure of $lag s after a cut of $seconds s"
done
[ -n "$(field 1 .links[0].reason)" ] && [ "$(field 1 .links[0].reason)" != null ] || fail "no reason is told"
demo heal
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
end_load
same_rows
same_segments

step "fast shutdown while the line is cut"
demo cut
started=$SECONDS
pg1 -m fast stop || fail "the primary did not stop"
[ $((SECONDS - started)) -lt 45 ] || fail "the shutdown took $((SECONDS - started)) s"
demo heal
pg1 start || fail "the primary does not start"
same_rows

step "fast shutdown with a backlog on a line of 1 Mbit/s"
kill_agent 1 TERM
as sed -i 's/^home = .*/&\nshutdown_wait = 8s/' "$CONFIG"
start_agent 1
expect 20 '[ "$(field 1 .links[0].state)" = up ]'
demo wan 20 1
sql1 "create table big as select md5(random()::text) || md5(random()::text) as x from generate_series(1, 150000)" >/dev/null
started=$SECONDS
pg1 -m fast stop || fail "the primary did not stop with a backlog"
[ $((SECONDS - started)) -lt 30 ] || fail "the shutdown took $((SECONDS - started)) s"
says 1 'stay unshipped' || fail "nothing is said of what stays unshipped"
demo wan 0
step "... whose rest is not shipped: the agent sleeps"
expect 20 '[ "$(field 1 .links[0].flushed.lsn)" = "$(field 1 .links[0].received.lsn)" ]'
mark_cpu
wait_for 4 false
calm 20
step "... nor does one that has not seen its PostgreSQL yet"
kill_agent 1 TERM
start_agent 1
expect 10 '[ "$(field 1 .role)" = primary ]'
mark_cpu
wait_for 3 false
calm 20
pg1 start || fail "the primary does not start"
same_rows
pass
