#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# status --watch on a terminal: one calm screen, redrawn in place; colours only where they are wanted;
# plain lines into a pipe; what is unknown says so.
. "$(dirname "$0")/lib.sh"
escape=$(printf '\033')
watch() { # N SECONDS [NAME=VALUE ...]: what a terminal of its own gets, in SCREEN
    local n=$1 seconds=$2
    shift 2
    printf '#!/bin/sh\nexec env %s timeout %s "%s" status --watch --config "%s" --member dc%s-a\n' \
        "LC_ALL=C.UTF-8 TERM=xterm $*" "$seconds" "$WALFERRY" "$CONFIG" "$n" >"/tmp/wf-$$.watch"
    chmod 755 "/tmp/wf-$$.watch"
    SCREEN=$(as script -qec "/tmp/wf-$$.watch" /dev/null </dev/null)
    rm -f "/tmp/wf-$$.watch"
}
last() { printf '%s' "$SCREEN" | tr -d '\r' | sed "s/$escape\\[?7l$escape\\[H/\\f/g" | awk 'BEGIN { RS = "\f" } { text = $0 } END { print text }'; }
bare() { last | sed "s/$escape\\[[0-9;?]*[a-zA-Z]//g"; }

if ! script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    echo "ok watch (not run: there is no pseudo-terminal here)"
    exit 0
fi
start_pool
expect 30 level
step "a screen on both sides"
for n in 1 2; do
    watch $n 4
    bare | grep -qE "^pool demo   dc$n-a is (primary|standby)   epoch 1, primary dc1-a   PostgreSQL up" || fail "$(bare)"
    bare | grep -qE '^exposure    0\.[0-9] s +[^ ]+  max 1\.0 s$' || fail "$(bare)"
    bare | grep -qE '^link (to dc2-a|from dc1-a)   up for .*   (steady|final)   round trip' || fail "$(bare)"
    bare | grep -qE '^  flushed   [0-9A-F]+/[0-9A-F]+ +0 B   0\.[0-9] s$' || fail "$(bare)"
done
printf '%s' "$SCREEN" | grep -q "$escape\\[32m" || fail "no colour on a terminal"
[ "$(printf '%s' "$SCREEN" | grep -o "$escape\\[2J" | wc -l)" = 1 ] || fail "the screen is cleared more than once"
step "no colours where none are wanted, no UTF-8 where there is none"
for no in NO_COLOR=1 TERM=dumb; do
    watch 1 2 $no
    printf '%s' "$SCREEN" | grep -qE "$escape\\[[0-9;]*m" && fail "$no: colours"
    bare | grep -q '^exposure' || fail "$no: $(bare)"
done
watch 1 2 LC_ALL=C
printf '%s' "$SCREEN" | LC_ALL=C grep -q '[^ -~[:cntrl:]]' && fail "no ASCII: $(bare)"
step "into a pipe: plain lines"
lines=$(as timeout 3 "$WALFERRY" status --watch --config "$CONFIG" --member dc1-a | cat)
[ "$(printf '%s' "$lines" | grep -c 'exposure')" -ge 2 ] || fail "no lines: $lines"
printf '%s' "$lines" | grep -q "$escape" && fail "escapes in a pipe"
step "the line is cut: the bars grow, events are shown"
demo cut
expect 30 '[ "$(field 1 "[.events[].id] | index(\"WF001\") != null")" = true ]'
watch 1 5
bare | grep -qE '^exposure +[0-9.]+ s +[^ ]+  max 1[0-9] s$' || fail "$(bare)"
bare | grep -q '^WF001 ship late   what dc2-a has on disk is' || fail "$(bare)"
step "no agent: unknown, and why"
kill_agent 1
watch 1 3
bare | grep -q '^unknown: .*is the agent of dc1-a running?' || fail "$(bare)"
pass
