#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Events: raised once and cleared once on both sides, in log, status and history; kept over a restart
# of the agent; event_command gets the facts, is not waited for, and is ended after 10 s.
. "$(dirname "$0")/lib.sh"
history() { walferry "$1" events --json 2>/dev/null; }
count() { history "$1" | jq "[.[] | select(.id == \"$2\" and .state == \"$3\")] | length"; } # N ID STATE
active() { [ "$(field "$1" "[.events[].id] | index(\"$2\") != null")" = true ]; }            # N ID
told() { grep -qE "$1" "$WALFERRY_DEMO/dc1/told" 2>/dev/null; }                              # REGEX
quiet() { [ "$(field "$1" '[.events[] | select(.id != "WF007" and .id != "WF008")] | length')" = 0 ]; } # N; others fill this disk
again() { kill_agent "$1"; start_agent "$1"; expect 15 "[ \"\$(field $1 .pool)\" = demo ]"; }

start_pool
expect 30 level
step "nothing has happened yet, but that the agent of dc1-a was there before that of dc2-a, and that before its PostgreSQL"
for n in 1 2; do
    [ "$(history $n | jq -c 'map(select(.id != "WF003" and .id != "WF004"))')" = "[]" ] || fail "there is a history: $(walferry $n events)"
    [ "$(history $n)" != "[]" ] || [ "$(walferry $n events)" = "no event yet" ] || fail "$(walferry $n events)"
done

step "a command that is not there is a config error"
as sed -i "s|^home = .*|&\nship_warning = 3s\nevent_command = $WALFERRY_DEMO/tell|" "$CONFIG"
kill_agent 1
walferry 1 agent >"/tmp/wf-$$.out" 2>&1
[ $? = 2 ] && grep -q 'pool.ini:5: \[pool\] event_command: cannot run' "/tmp/wf-$$.out" || fail "$(cat "/tmp/wf-$$.out")"
rm -f "/tmp/wf-$$.out"

step "all is well: no event is active"
as sh -c 'cat >"$1/tell" && chmod 700 "$1/tell"' sh "$WALFERRY_DEMO/dc1" <<'END'
#!/bin/sh
echo "begin $WALFERRY_MEMBER $WALFERRY_EVENT_ID $WALFERRY_EVENT_STATE $WALFERRY_EVENT_SEVERITY $WALFERRY_POOL $WALFERRY_SITE $WALFERRY_ROLE $(env | wc -l): $WALFERRY_EVENT_TEXT" >>"${0%/dc1/tell}/dc1/told"
case $WALFERRY_EVENT_ID-$WALFERRY_MEMBER in WF001-dc1-a) echo $$ >"${0%/dc1/tell}/dc1/hangs" && exec sleep 30 ;; esac
echo "end $WALFERRY_MEMBER $WALFERRY_EVENT_ID $WALFERRY_EVENT_STATE" >>"${0%/dc1/tell}/dc1/told"
END
as sed -i "s|^event_command = .*|event_command = $WALFERRY_DEMO/dc1/tell|" "$CONFIG"
start_agent 1
again 2
expect 15 '[ "$(field 1 .links[0].state)" = up ] && quiet 1 && quiet 2'
for n in 1 2; do # a restart may have been late, too
    expect 5 "[ \$(count $n WF001 raised) = \$(count $n WF001 cleared) ]"
    eval "before$n=\$(count $n WF001 raised)"
done
as truncate -s 0 "$WALFERRY_DEMO/dc1/told"

step "the line is cut: link down and ship late, on both sides"
demo cut
for n in 1 2; do
    expect 20 "active $n WF001 && active $n WF003"
    eval "before=\$before$n"
    expect 5 "[ \$(count $n WF001 raised) = $((before + 1)) ]"
    says $n 'WF001 ship late: what .* behind \(limit 3\.?0? s\)' || fail "not in the log of dc$n-a"
    [ "$(field $n '.events[] | select(.id == "WF001") | .severity + " " + .name')" = "critical ship late" ] || fail "$(field $n .events)"
done
expect 10 'told "^begin dc1-a WF001 raised critical demo dc1 primary 1[0-9]: what dc2-a has on disk is"'
expect 10 'told "^end dc2-a WF001 raised"'

step "the agent answers while the command hangs, which is ended after 10 s; the others waited for it"
for i in 1 2 3 4 5; do
    [ "$(field 1 '.exposure_seconds > 3')" = true ] || fail "the agent does not answer"
done
expect 20 'says 1 "event_command .* was killed: it took over 10 s"'
expect 5 'told "^end dc1-a WF003 raised"'
told "^end dc1-a WF001" && fail "the command that hung has ended by itself"

step "agents restarted meanwhile do not raise them again"
again 1
again 2
expect 5 'active 1 WF001 && active 2 WF001'
[ "$(count 1 WF001 cleared)" = "$before1" ] || fail "cleared by a restart"

step "healed: cleared once"
demo heal
for n in 1 2; do
    expect 40 "! active $n WF001 && ! active $n WF003"
    eval "before=\$before$n"
    expect 5 "[ \$(count $n WF001 cleared) = $((before + 1)) ] && [ \$(count $n WF001 raised) = $((before + 1)) ]"
    says $n 'WF001 ship late is over after' || fail "not in the log of dc$n-a"
    walferry $n events | grep -qE 'WF001 ship late +cleared +after [0-9]+' || fail "$(walferry $n events)"
done
expect 15 'told "^begin dc1-a WF001 cleared"'
gone "$(cat "$WALFERRY_DEMO/dc1/hangs")" && fail "it does not hang"

step "the agent stops while a command hangs: it does not wait for it"
started=$SECONDS
kill_agent 1 TERM
[ $((SECONDS - started)) -lt 5 ] || fail "it took $((SECONDS - started)) s to stop"
expect 2 'gone "$(cat "$WALFERRY_DEMO/dc1/hangs")"'

step "the history is there without an agent"
[ "$(count 1 WF001 cleared)" = $((before1 + 1)) ] || fail "$(walferry 1 events)"
start_agent 1

step "PostgreSQL stops and starts"
pg2 -m fast stop
expect 15 'active 2 WF004'
pg2 start
expect 20 '! active 2 WF004'

step "a failover is an event on the new primary"
walferry 2 failover --yes --force </dev/null >/dev/null 2>&1 || fail "failover"
expect 15 '[ $(count 2 WF012 raised) = 1 ] && [ $(count 2 WF012 cleared) = 0 ] || [ $(count 2 WF012 cleared) = 1 ]'
history 2 | jq -e '.[] | select(.id == "WF012") | .text == "dc2-a was standby and is primary"' >/dev/null || fail "$(walferry 2 events)"
expect 20 'active 1 WF005'
pass
