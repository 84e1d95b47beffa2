#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# How the page looks, of two and of four members: all is well, the line between the sites is cut, exposed,
# after a failover; and of eight, which are the real answer about four with copies of the second members.
# Each at the width of a phone and of a screen, light and dark: support/page_look.js says what is wrong.
# SHOTS=folder keeps the screenshots.
. "$(dirname "$0")/lib.sh"
. "$HERE/browser.sh"
is() { [ "$(shown "$1")" = "$2" ]; } # ID TEXT
primary() { script "return [...document.querySelectorAll('.member.primary b')].map(b => b.textContent).join(', ')"; }
first() { script "return document.querySelector('.site h2 span').textContent"; } # the site
applied() { curl -s -m 5 "http://$(its "$1" HTTP)/history.json" | jq -e ".applied_seconds[-1] $2" >/dev/null; } # N CONDITION
quiet() { # reading the console empties it
    local said
    said=$(console | head -3)
    [ -z "$said" ] || fail "the console says: $said"
}
broken() { script "return [...document.querySelectorAll('.strait .route.down .ends')].map(e => e.textContent).join(', ')"; }
# The page gets this answer of member N from now on (again: the last one), so that it stands still until the next visit.
freeze() { # N|again VERDICT [JQ-FILTER]
    [ "$1" = again ] || TOLD=$(status "$1")
    script "const real = fetch, told = $(jq -c "${3:-.}" <<<"$TOLD"); window.polls = 0;
        window.fetch = (path, how) => path === 'status.json' ? (polls++, Promise.resolve(new Response(JSON.stringify(told)))) : real(path, how)" >/dev/null
    wait_for 10 '[ "$(script "return polls > 1")" = true ]' && is verdict "$2"
}
look() { # NAME VERDICT PRIMARY: what eyes and ears have to find first; of the page that stands still
    local w c wrong said cut
    cut=$(broken)
    [ "$(primary)" = "$3" ] || fail "$1: the primary is $(primary)"
    case $2 in *broken) [ -n "$cut" ] || fail "$1: no link is shown as broken" ;; Safe) [ -z "$cut" ] || fail "$1: broken: $cut" ;; esac
    said=$(spoken)
    for w in "$2" "$3" primary exposure ${cut:+broken "$cut"}; do grep -qF -- "$w" <<<"$said" || fail "$1: '$w' is not said to a screen reader"; done
    for w in 360 1280; do
        for c in light dark; do
            scheme $c
            width $w 800
            wrong=$(driver execute/sync "$(jq -nc --rawfile s "$ROOT/tests/support/page_look.js" '{script: $s, args: []}')" | jq -c .value)
            [ "$wrong" = "[]" ] || fail "$1 at $w, $c: $wrong"
            [ -z "${SHOTS:-}" ] || { width $w "$(script 'return Math.max(800, document.documentElement.scrollHeight)')" && sleep 0.5 && screenshot "$SHOTS/$1-$w-$c.png"; }
        done
    done
}
tells() { freeze again "$@" || fail "$(shown verdict), not $1"; } # VERDICT JQ-FILTER
EIGHT='def more(key): map(., (select(.[key] | endswith("-b")) | .[key] |= sub("b$"; ("c", "d"))));
    .members |= more("name") | .routes.members |= more("member") | .links |= more("to")'
EXPOSED='.exposure_seconds = .limits.exposure_warning_seconds + 5'
FOUR_SITES='.pool = "w" * 31 | .members |= map(if .name | endswith("-b") then .site += "-far-away-in-the-islands" else . end)'
NO_PRIMARY='.role = "promoting" | .members[0].role = "former primary" | .routes.members |= map(if .member == "dc1-a" then .from = "dc2-a" else . end)'
export DEMO_POOL_CONF="$POOL_CONF
exposure_warning = 60s
exposure_critical = 5min" # longer than a look takes
write() { sql1 "insert into pgbench_history (aid) select n from generate_series(1, 10000) n"; }
BEFORE_DOWN=close_browser

for count in 2 4; do
    start_pool --members $count
    fill 1
    for n in $(members | tail -n +2); do expect 60 "level $n"; done
    open_browser

    step "$count members: all is well"
    visit "http://$DC1_HTTP/"
    expect 60 'write && script "return document.querySelector(\".strait .route\").textContent" | grep -q "/s of WAL"'
    expect 30 'freeze 1 Safe'
    look $count-well Safe dc1-a
    [ "$(script 'return document.querySelector(".strait .ends").textContent')" = "dc1-a → dc2-a" ] || fail "another route"
    for stop in status.json metrics active healthz; do
        press_tab
        [ "$(script 'return document.activeElement.textContent')" = $stop ] || fail "the keyboard is at $(script 'return document.activeElement.outerHTML'), not $stop"
    done
    if [ $count = 4 ]; then
        tells Safe "$EIGHT"
        look 8-well Safe dc1-a
        tells Safe "$FOUR_SITES"
        look 4-sites Safe dc1-a
        step "what else an agent may tell"
        tells "Failover under way" "$NO_PRIMARY" # the table leads into the first site
        [ "$(first)" = dc1 ] || fail "without a primary $(first) is first"
        tells "Failover under way" "$NO_PRIMARY"' | .epoch.member = "dc2-a"'
        [ "$(first)" = dc2 ] || fail "the epoch is of dc2-a, and $(first) is first"
        tells Safe '.routes = null'
        tells "Safe, but dc2-a is behind" '.links[].flushed.lag_seconds = 99'
        tells "Safe, but dc2-a is not heard" '.links[].heard_seconds_ago = null'
        tells "Commits are missing" '.missing = "commits that were acknowledged"'
        tells "Slot let go" '.events = [{id: "WF016", name: "slot let go", severity: "critical", text: "the other site lacks WAL", since: "now"}]'
        tells Unknown '.exposure_seconds = null'
        script 'return document.getElementById("chart").getAttribute("aria-label")' | grep -q 'now unknown, worst [0-9]' || fail "the chart is not said"
        tells "This page cannot draw the answer" '.members = null'
        console >/dev/null # tells of that
        visit "http://$DC3_HTTP/"
        expect 30 'freeze 3 "All follow"'
        look 4-mirror "All follow" dc1-a
    fi

    step "$count members: the line between the sites is cut"
    visit "http://$DC1_HTTP/"
    expect 30 'is verdict Safe'
    demo cut dc1 dc2
    expect 60 'is verdict "Link broken" && [ -n "$(broken)" ]' # the line, not only what lies behind it
    freeze 1 "Link broken" || fail "$(shown verdict)"
    look $count-cut "Link broken" dc1-a
    [ $count = 2 ] || { tells "Link broken" "$EIGHT" && look 8-cut "Link broken" dc1-a; }
    tells "Exposed, link broken" "$EXPOSED"
    look $count-exposed "Exposed, link broken" dc1-a
    if [ $count = 4 ]; then
        applied 1 '> 5' || fail "what the mirror has applied counts as applied on another site"
        applied 3 '== null' || fail "a mirror tells what it has applied as another site's"
        tells "Exposed, link broken" "$EIGHT | $EXPOSED"
        look 8-exposed "Exposed, link broken" dc1-a
        visit "http://$DC2_HTTP/"
        expect 30 'freeze 2 "Exposed, link broken" "$EXPOSED"'
        look 4-exposed-there "Exposed, link broken" dc1-a
    fi
    demo heal
    expect 60 'level 2 && [ "$(field 2 ".exposure_seconds < 3")" = true ]'

    step "$count members: after a failover"
    quiet
    demo kill dc1-a
    walferry 2 failover --yes --dead </dev/null >/dev/null 2>&1 || fail "failover: $(field 2 .alarm)"
    visit "http://$DC2_HTTP/"
    console >/dev/null # the page of the dead agent asked in vain
    [ $count = 4 ] && verdict="Safe, but dc1-a is cut off" || verdict="Link broken"
    expect 40 'freeze 2 "$verdict"'
    look $count-failover "$verdict" dc2-a
    quiet
    if [ $count = 2 ]; then
        visit "http://$DC2_HTTP/"
        expect 30 'is verdict "$verdict"'
        kill_agent 2
        expect 20 'is verdict "This agent does not answer"'
        look 2-lost "This agent does not answer" dc2-a
    fi
    close_browser
done
pass
