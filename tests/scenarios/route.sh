#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Who feeds whom is judged by the primary and known to every member. A head that is silent is replaced, the
# old one coming back stays where it is, a DBA pins another; restarts and a failover keep it all.
. "$(dirname "$0")/lib.sh"
BEFORE_DOWN='kill "$(cat "$D3/run/agent.pid")" "$(cat "$D3/ssh/sshd.pid")"'
route() { walferry "$1" route "${@:2}" 2>&1; } # N [ARGUMENTS]
is() { route "$1" | grep -qE "^  $2: $3"; }    # N MEMBER REGEX
by_all() { is 1 "$@" && is 2 "$@" && is 3 "$@"; }
table() { route "$1" --json | jq -c '[.epoch, .number]'; }

# dc3-a is a second member of dc2.
start_pool
expect 30 level
expect 10 'is 1 dc2-a "from dc1-a, as the head of dc2 since "'
expect 10 '[ "$(route 1)" = "$(route 2)" ]'

step "a second member of the site is fed by its head"
add_third
as sed -i '/^\[member dc3-a\]/,$ s/^site .*/site = dc2/' "$CONFIG"
for n in 1 2; do kill_agent $n; start_agent $n; done
start_agent 3
expect 20 'by_all dc3-a "from dc2-a, which is the head of dc2 since "'
by_all dc1-a "the primary" || fail "$(route 3)"
[ "$(route 3 --json | jq -r '.members[] | select(.member == "dc3-a") | .from + " " + .why + " " + .site')" = "dc2-a relayed dc2" ] ||
    fail "$(route 3 --json)"

step "a head that is silent is replaced after 10 s, and one that comes back does not take its place"
began=$SECONDS
kill_agent 2 STOP
expect 14 'is 1 dc3-a "from dc1-a, as the head of dc2 since .*: the one before was silent"'
[ $((SECONDS - began)) -ge 9 ] || fail "after $((SECONDS - began)) s already"
is 1 dc2-a "from dc3-a" || fail "$(route 1)"
kill -CONT "$(agent_pid 2)"
expect 20 'by_all dc2-a "from dc3-a, which is the head of dc2 since .*[0-9] UTC$"'
by_all dc3-a "from dc1-a, as the head of dc2" || fail "$(route 1)"

step "a DBA pins the head, on the primary's host"
route 2 pin dc2-a | grep -q "type it on the host of dc1-a" || fail "$(route 2 pin dc2-a)"
route 1 pin dc9-a | grep -q "no member of that name" || fail "$(route 1 pin dc9-a)"
route 1 pin dc2-a | grep -q "^dc2-a: from dc1-a, as the head of dc2 since .*, pinned" || fail "$(route 1)"
expect 10 'by_all dc2-a "from dc1-a, as the head of dc2 since .*, pinned"'
before=$(table 1)
kill_agent 1
start_agent 1
expect 15 'is 1 dc2-a "from dc1-a, as the head of dc2 since .*, pinned"'
[ "$(table 1)" = "$before" ] || fail "a restart changed $before to $(table 1)"
route 1 unpin dc2-a | grep -q "^dc2-a: from dc1-a, as the head of dc2 since .*[0-9] UTC$" || fail "$(route 1)"
route 1 pin dc3-a >/dev/null
expect 10 'by_all dc3-a "from dc1-a, as the head of dc2 since .*, pinned"'

step "a new primary makes the table of its epoch"
kill_agent 1
kill_postgres 1
walferry 2 failover --yes --dead </dev/null >/dev/null 2>&1 || fail "failover"
expect 10 'is 2 dc2-a "the primary"'
is 2 dc3-a "from dc2-a, the primary, as all of dc2" || fail "$(route 2)"
[ "$(route 2 --json | jq -c '[.members[] | select(.pinned) | .member]')" = '["dc3-a"]' ] || fail "the pin is lost: $(route 2 --json)"
expect 15 'is 2 dc1-a "from dc2-a, as the head of dc1 since .*; it gets no WAL now"'
expect 15 '[ "$(route 3)" = "$(route 2)" ]'
[ "$(route 2 --json | jq .epoch)" = 2 ] || fail "$(route 2 --json)"
start_agent 1
expect 20 '[ "$(route 1)" = "$(route 2)" ] && is 1 dc1-a "from dc2-a, as the head of dc1 since .* UTC$"'
pass
