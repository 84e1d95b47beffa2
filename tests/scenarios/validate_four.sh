#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Four members are ready for a role change to any of them, though only some have a link. What is amiss between two that
# have none is found all the same, and a member that another one feeds is judged by its route.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/validate.sh"
all_ok() { look "$1" --pool && [ -z "$(bad | grep -v '"version"')" ]; } # an older minor is not the subject
BEFORE_DOWN='rm -f "/tmp/wf-$$.validate" "/tmp/wf-$$.said"'

export DEMO_POOL_CONF="$POOL_CONF
disk_warning = 0s
disk_critical = 0s" # what else fills this machine's disk is not the subject
start_pool --members 4
for n in 2 3 4; do expect 60 "level $n"; done

step "a healthy pool, from the primary and from a fed member"
ready 1 4
[ "$(jq -r '[.members[].member] | join(" ")' <<<"$report")" = "dc1-a dc2-a dc1-b dc2-b" ] || fail "not all members: $report"
has dc1-a ok links '^dc2-b is fed from dc2-a, which is the head of dc2 since' '' || fail "the fed member: $report"
for n in $(members); do
    has "$(its "$n" MEMBER)" ok slots 'the other members need' '' || fail "slots of dc$n: $report"
    for other in $(members | grep -v "$n"); do
        has "$(its "$n" MEMBER)" ok ssh "to $(its "$other" MEMBER): .*its agent answers" '' || fail "not dialled from dc$n to dc$other: $report"
    done
done

step "slots for all others, on who may be the primary one day"
sql 4 "select pg_create_physical_replication_slot('filler_' || n) from generate_series(1, 8) n" >/dev/null
finds 1 dc2-b fail slots 'the other members need [1-3] more' 'max_replication_slots = 1[1-3]'
sql 4 "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'filler_%'" >/dev/null

step "a key that no link uses now, between a far member and the mirror"
keys=$WALFERRY_DEMO/dc3/ssh/authorized_keys
bound=$(cat "$keys")
grep -v 'from dc2-b' <<<"$bound" | put "$keys"
finds 2 dc2-b fail ssh 'to dc1-b: .*does not accept key' 'on the host of dc1-b, .*--member dc1-b --from dc2-b'
sed '/from dc2-b/s/ receive / receive --no-tunnel /' <<<"$bound" | put "$keys"
finds 2 dc2-b warn ssh 'to dc1-b: .*leads to no tunnel.*with dc2-b as its primary or head dc1-b could neither seed nor rejoin; and a failover here could take no WAL from dc1-b' 'receive --config .* --member dc1-b --from dc2-b'
put "$keys" <<<"$bound"

step "a fed member that is late"
variant '/^\[pool\]/a ship_warning = 0s'
with_variant 1 dc1-a warn links '^dc2-b is fed from dc2-a, .*; on disk .* behind' 'walferry route; walferry status, on the hosts of dc2-b and dc2-a'

step "a fed member's agent is down"
kill_agent 4
finds 1 dc1-a fail links '^dc2-b is fed from .*; it (gets no WAL now|is not heard)' 'walferry route; walferry status, on the hosts of dc2-b and '
start_agent 4
ready 1
pass
