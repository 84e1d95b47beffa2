#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Four members: commits wait for the mirror alone, the other site, any other member or all, as the pool's file says.
# The primary's host dies under a writer, the right member takes over, and nothing that was acknowledged is missing.
. "$(dirname "$0")/lib.sh"
. "$ROOT/tests/support/rejoin.sh"
long && rounds=20 || rounds=1
declare -A NAMES=([mirror]=walferry_dc1_b [site]="ANY 1 (walferry_dc2_a, walferry_dc2_b)"
    [any]="ANY 1 (walferry_dc2_a, walferry_dc1_b, walferry_dc2_b)" [all]="ANY 2 (walferry_dc2_a, walferry_dc1_b)") # dc2-a is the head of its site
ACKED=/tmp/wf-$$.acked
BEFORE_DOWN='rm -f /tmp/wf-$$.*'
names() { sql "${1:-1}" "show synchronous_standby_names"; }
write() { # N [SECONDS]: a commit; false: it has not returned by then
    timeout "${2:-20}" bash -c "$(declare -f as); RUN_AS=$RUN_AS; as $PGBIN/psql -XAtq '$(its "$1" PG) dbname=postgres' -c 'insert into t values (default)'" >/dev/null 2>&1
}
acked() { grep -cE '^[0-9]+$' "$ACKED"; }
more() { local now; now=$(acked); expect 30 "[ \$(acked) -gt $((now + $1)) ]"; } # ROWS
start_writer() { # it records only what was acknowledged
    : >"$ACKED"
    for _ in $(seq 1 200000); do echo "insert into t values (default) returning n;"; done |
        as "$PGBIN/psql" -XAtq "$DC1_PG dbname=postgres" >"$ACKED" 2>/dev/null &
    writer=$!
}
has() { # N: how far its disk has it, as a number that sort compares
    local lsn
    lsn=$(field "$1" .spool.flushed)
    printf '%08X%08X %s\n' "0x${lsn%/*}" "0x${lsn#*/}" "$1"
}
most() { local n; for n in "$@"; do has "$n"; done | sort -r | sed -n '1s/.* //p'; } # N...
start_mode() { # MODE [LINE-OF-THE-POOL'S-FILE]
    DEMO_SYNCHRONOUS=$1 DEMO_POOL_CONF="${2:-}${POOL_CONF:+
$POOL_CONF}" start_pool --members 4
    sql1 "create table t (n bigint generated always as identity primary key)" >/dev/null
    expect 60 "[ \"\$(names)\" = '${NAMES[$1]}' ]"
}
# Who cannot confirm is away while rows are acknowledged; then the primary's host is gone, too.
round() { # MODE MEMBERS-AWAY...
    local mode=$1 n to lost
    shift
    step "$mode: the primary's host dies under a writer, ${*:-nobody} is cut off"
    start_writer
    more 50
    [ $# = 0 ] || demo cut "$@"
    more 50
    sleep 0.$((RANDOM % 9 + 1)) # the moment is what is random here
    demo kill dc1-a
    wait $writer 2>/dev/null
    [ $# = 0 ] || demo heal
    case $mode in
    mirror) to=3 ;;
    site) to=$(most 2 4) ;;
    any) to=$(most 2 3 4) ;;
    all) to=$((RANDOM % 3 + 2)) ;;
    esac
    step "$mode: dc$to takes over and has all of $(acked) acknowledged rows"
    walferry "$to" failover --yes --dead </dev/null >"$OUT" 2>&1 || fail "failover: $(cat "$OUT")"
    write "$to" || fail "the new primary does not take a commit: $(names "$to")"
    sql "$to" "select n from t" | sort >"/tmp/wf-$$.there"
    lost=$(grep -E '^[0-9]+$' "$ACKED" | sort | comm -23 - "/tmp/wf-$$.there" | wc -l)
    [ "$lost" = 0 ] || fail "$lost acknowledged rows of $(acked) are lost"
}

start_mode mirror
step "mirror: the other site is cut off, and commits wait for it no more than before"
demo cut dc1 dc2
write 1 || fail "a commit waits for the other site"
expect 30 '[ "$(field 1 ".exposure_seconds > 5")" = true ]'
[ "$(names)" = walferry_dc1_b ] || fail "commits wait for $(names)"
[ "$(field 1 '[.links[] | select(.commits_wait) | .to] | join(" ")')" = dc1-b ] || fail "links: $(field 1 .links)"
walferry 1 status | grep -qx "commits wait for: walferry_dc1_b" || fail "status: $(walferry 1 status)"
demo heal

step "synchronous_loss = wait: the mirror's host is gone, and no commit returns before it is back"
demo kill dc1-b
write 1 12 && fail "a commit returned that only the primary has"
[ "$(names)" = walferry_dc1_b ] || fail "commits wait for '$(names)'"
expect 5 'field 1 ".events[] | .id + \" \" + .text" | grep -qx "WF023 synchronous = mirror, and commits hang: nothing is confirmed by dc1-b"'
walferry 1 check >"$OUT"
[ $? = 2 ] && grep -q "commits hang: nothing is confirmed by dc1-b" "$OUT" || fail "check: $(cat "$OUT")"
write 1 60 &
late=$!
demo revive dc1-b
expect 30 "! kill -0 $late"
wait $late || fail "the commit that waited has failed"
expect 20 '[ "$(field 1 "[.events[] | select(.id == \"WF023\")] | length")" = 0 ]'

step "degrade: commits go on within synchronous_wait, with an alarm; they wait again when it has caught up"
as sed -i 's/^synchronous .*/&\nsynchronous_loss = degrade/' "$CONFIG"
for n in $(members); do kill_agent "$n" TERM; start_agent "$n"; done
expect 30 '[ "$(field 1 ".links[] | select(.to == \"dc1-b\") | .state")" = up ]'
[ "$(names)" = walferry_dc1_b ] || fail "commits wait for '$(names)'"
write 1 || fail "a commit does not return"
lives=$(date +%s%N)
demo kill dc1-b
gone=$(date +%s%N)
write 1 15 || fail "commits do not go on: $(names)"
now=$(date +%s%N)
[ $(((now - lives) / 1000000)) -gt 2000 ] && [ $(((now - gone) / 1000000)) -lt 8000 ] ||
    fail "they went on $(((now - lives) / 1000000)) ms after it lived, $(((now - gone) / 1000000)) ms after it was gone"
[ -z "$(names)" ] || fail "commits wait for '$(names)'"
expect 20 'field 1 ".events[].text" | grep -q "synchronous = mirror, but commits do not wait for a mirror"'
for _ in 1 2 3; do write 1 2 || fail "a commit waits"; done
demo revive dc1-b
expect 30 '[ "$(names)" = walferry_dc1_b ]'
expect 20 '[ "$(field 1 "[.events[] | select(.id == \"WF013\")] | length")" = 0 ]'
round mirror dc1 dc2

step "the former primary is a standby: promoted by hand, it would wait for nobody"
demo revive dc1-a --agent
expect 20 '[ "$(field 1 .role)" = fenced ]'
rejoin 1 --yes || fail "rejoin: $(cat "$OUT")"
expect 30 '[ "$(field 1 .role)" = standby ] && [ "$(sql1 "select pg_is_in_recovery()")" = t ]'
expect 20 '[ -z "$(names 1)" ]'
expect 30 '[ "$(names 3)" = walferry_dc1_a ]'

start_mode all "synchronous_loss = degrade"
step "all, degrade: one of them is gone, and commits go on waiting for the other"
demo kill dc1-b
write 1 15 || fail "commits do not go on: $(names)"
[ "$(names)" = walferry_dc2_a ] || fail "commits wait for '$(names)'"
expect 20 'field 1 ".events[].text" | grep -q "synchronous = all, but commits do not wait for dc1-b"'
demo revive dc1-b
expect 30 '[ "$(names)" = "${NAMES[all]}" ]'
round all

for n in $(seq $rounds); do
    for mode in mirror site any all; do
        [ $n = 1 ] && [[ $mode =~ mirror|all ]] && continue # above
        start_mode $mode
        case $mode in
        mirror) round mirror dc1 dc2 ;;
        site) round site dc1-b ;;
        any) round any "dc$((RANDOM % 2 + 1))-b" ;;
        all) round all ;;
        esac
    done
done
pass
