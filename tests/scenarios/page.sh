#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# The page in a real browser: what it shows is what status says, a cut is seen at once, and what a
# peer writes stays text. SHOTS=folder keeps screenshots of it.
. "$(dirname "$0")/lib.sh"
. "$HERE/browser.sh"
shot() { [ -z "${SHOTS:-}" ] || { sleep 0.6; screenshot "$SHOTS/$1.png"; }; }
is() { [ "$(shown "$1")" = "$2" ]; } # ID TEXT
cells() { script "return [...document.querySelectorAll('#positions tr:nth-child($1) td')].map(td => td.textContent).join('|')"; }
figures() { status "$1" | jq -r '[.links[]?, .receiving // empty] | .[0] | [.received, .flushed, .applied] | .[] | "\(.lsn)|\(.behind_bytes)"'; }
drawn() { # the same from the page
    script "return [...document.querySelectorAll('#positions tr')].map(r => r.children[2].textContent + '|' + r.children[3].textContent.replace(' B', '')).join('\n')"
}
quiet() { # reading the console empties it
    local said
    said=$(console | head -3)
    [ -z "$said" ] || fail "the console says: $said"
}

start_pool
fill 1
expect 30 level
BEFORE_DOWN=close_browser
open_browser
width 1100 1250

for n in 1 2; do
    step "member $n: the page says what status says"
    url=$([ $n = 1 ] && echo "$DC1_HTTP" || echo "$DC2_HTTP")
    visit "http://$url/"
    expect 10 'is verdict Safe'
    is pool demo && is member "dc$n-a" || fail "the page is of $(shown pool) and $(shown member)"
    expect 10 '[ "$(drawn)" = "$(figures $n)" ]'
    [ "$(script 'return document.querySelectorAll("#positions tr").length')" = 3 ] || fail "no three positions"
    [ "$(script "return [...document.querySelectorAll('.member')].map(card => card.querySelector('b').textContent + ' ' + card.querySelector('.role').textContent).join(', ')")" = \
        "$(field $n '[.members[] | .name + " " + .role] | join(", ")')" ] || fail "other members or roles than status"
    script 'return document.getElementById("facts").textContent' | grep -q "$(field $n .system_identifier)" || fail "another cluster"
    shown=$(shown exposure)
    awk -v shown="${shown% s}" -v told="$(field $n .exposure_seconds)" 'BEGIN { exit !(shown - told < 1 && told - shown < 1) }' ||
        fail "exposure $shown, status tells $(field $n .exposure_seconds)"
    expect 10 'script "return document.querySelectorAll(\"#chart svg path.line\").length" | grep -q 2'
    quiet
    shot "light$n"
done
step "the smallest phone"
width 320 1500
[ "$(script 'return document.documentElement.scrollWidth <= innerWidth')" = true ] || fail "the page is wider than 320 pixels"
width 1100 1250

for n in 1 2; do
    step "member $n: a cut is seen within 2 s"
    url=$([ $n = 1 ] && echo "$DC1_HTTP" || echo "$DC2_HTTP")
    visit "http://$url/"
    expect 10 'is verdict Safe'
    demo cut
    begun=$(date +%s%N)
    until [ "$(script 'return document.body.dataset.mood + document.querySelector(".route").className')" != "goodroute up" ]; do
        [ $((($(date +%s%N) - begun) / 1000000)) -lt 2000 ] || fail "not within 2 s"
    done
    is verdict Safe && fail "a cut pool is called safe"
    seen=$((($(date +%s%N) - begun) / 1000000))
    [ -z "${VERBOSE:-}" ] || echo "# seen after $seen ms"
    [ $n = 2 ] || expect 10 'shown exposure | grep -qE "^[4-9]\.[0-9] s"'
    shot "cut$n"
    demo heal
    expect 20 'is verdict Safe'
    quiet
done

step "markup in a GOODBYE reason is text"
reason='<img src=x onerror="document.title=1"><b>bye</b>'
frame=$(printf '\\0\\0\\0\\%03o\\015%s\\0' $((${#reason} + 2)) "$(printf %s "$reason" | sed 's/"/\\042/g')")
printf '#!/bin/sh\nprintf '"'%s'"'\nexec sleep 5\n' "$frame" >"/tmp/wf-$$.out"
as sh -c 'cat >"$1" && chmod 700 "$1"' sh "$WALFERRY_DEMO/dc2/bye" <"/tmp/wf-$$.out"
rm -f "/tmp/wf-$$.out"
as sed -i 's|command="[^"]*"|command="'"$WALFERRY_DEMO"'/dc2/bye"|' "$WALFERRY_DEMO/dc2/ssh/authorized_keys"
visit "http://$DC1_HTTP/"
expect 10 'is verdict Safe'
kill_agent 2
expect 20 'field 1 ".links[0].reason" | grep -qF "$reason"'
expect 10 'script "return document.getElementById(\"map\").textContent" | grep -qF "$reason"'
[ "$(script 'return document.querySelectorAll("#map img, #map .why *").length')" = 0 ] || fail "it became markup"
shot goodbye
quiet

step "an agent that is gone is said to be gone"
kill_agent 1
expect 10 'is verdict "This agent does not answer"'
start_agent 1
expect 10 '! is verdict "This agent does not answer"'
pass
