#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# run.sh: the model of a role change, exhaustively, and then with one rule broken at a time, which spin has
# to find. Prints states and memory; README.md says what the searches are.
#
#   tests/model/run.sh [NAME]     NAME: only this search; its folder stays, with the trail if there is one
#
# WALFERRY_LONG=1: larger bounds as well; the last of them by bitstate, which leaves some states out.
set -u
cd "$(dirname "$0")" || exit 1
MODEL=$PWD/failover.pml
only=${1:-}
seen=0 failed=0
for tool in spin gcc; do
    command -v $tool >/dev/null || { echo "the model is not checked: $tool is not here; as root: apt-get install -y $tool"; exit 1; }
done
WORK=$(mktemp -d /tmp/wf-model-XXXXXX)
[ -n "$only" ] || trap 'rm -rf "$WORK"' EXIT

# One search, in a folder of its own: its bounds, how the verifier is built, how it is run.
search() { # NAME BOUNDS BUILD OPTIONS
    seen=1
    mkdir -p "$WORK/$1"
    (
        cd "$WORK/$1" || exit
        spin -a $2 "$MODEL" >build.log 2>&1 && ! grep Error build.log && gcc -w -DMEMLIM=4096 $3 -o pan pan.c >>build.log 2>&1 || { cat build.log; exit; }
        ./pan -m20000 $4 >pan.log 2>&1
    )
    [ -z "$only" ] || echo "$WORK/$1 has pan.log; a trail as a story: spin -t $2 -k $WORK/$1/failover.pml.trail $MODEL"
}

figures() { # NAME
    awk '/states, stored/ { states = $1 } /total actual memory usage/ { memory = $1 } /elapsed time/ { seconds = $4 }
        END { printf "%d states, %d MB, %.1f s\n", states, memory, seconds }' "$WORK/$1/pan.log"
}

wanted() { [ -z "$only" ] || [ "$only" = "$1" ]; }

# Nothing is found, and nothing was left out.
holds() { # NAME BOUNDS BUILD OPTIONS
    wanted "$1" || return 0
    search "$@"
    if grep -q 'errors: 0' "$WORK/$1/pan.log" && ! grep -qE 'search depth too small|out of memory|reached -DMEMLIM|Search not completed' "$WORK/$1/pan.log"; then
        echo "holds: $1, $(figures "$1")"
    else
        echo "FAILED: $1: $(grep -hE '^pan:[0-9]+:|too small|out of memory|not completed' "$WORK/$1/pan.log" | head -1) $(figures "$1")"
        failed=1
    fi
}

# There is an error to be found.
found() { # NAME BOUNDS [BUILD]
    wanted "$1" || return 0
    search "$1" "-D$1 $2" "-O0 -DSAFETY ${3:-}" -w22
    if grep -q '^pan:1: assertion violated' "$WORK/$1/pan.log"; then
        echo "found: $1, $(figures "$1")"
    else
        echo "FAILED: $1 is not found, $(figures "$1")"
        failed=1
    fi
}

# Every order of steps, with both changes; commits wait for ANY 1, or for nobody.
holds sync "-DWRITES=2 -DFAILOVERS=2" "-O2 -DSAFETY" -w24
holds retried_crash "-DWRITES=1 -DFAILOVERS=3 -DCUTS=0 -DCANCELS=0" "-O1 -DSAFETY" -w24
holds retried_cut "-DWRITES=1 -DFAILOVERS=3 -DCRASHES=0" "-O1 -DSAFETY" -w24
holds async "-DASYNC -DWRITES=2 -DFAILOVERS=2" "-O1 -DSAFETY" -w24
# No run is infinite: with no state marked as progress, every cycle would be an error.
holds ends "-DWRITES=1 -DFAILOVERS=2 -DCANCELS=0" "-O1 -DNP" "-l -w24"
# And refusing is not all it does.
holds succeeds "-DSTAYS_DEAD -DFAILOVERS=1 -DCANCELS=0 -DSTOPS=0" "-O0 -DSAFETY" -w22
found REACHED "-DWRITES=1 -DFAILOVERS=2 -DCANCELS=0 -DCUTS=0"

SMALL="-DWRITES=1 -DFAILOVERS=2"
found BREAK_NO_PROMISE "$SMALL"
found BREAK_PROMISES_TWO "$SMALL"
found BREAK_PROMISE_IN_MEMORY "$SMALL -DASYNC"
found BREAK_PROMISED_STARTS "$SMALL -DASYNC"
found BREAK_PROMISE_KEPT "$SMALL"
found BREAK_SILENT_IS_YES "$SMALL -DSTOPS=0"
found BREAK_ANY_ROUND "-DWRITES=1 -DFAILOVERS=3 -DCANCELS=2 -DCUTS=0" -DP_REVERSE
found BREAK_STOPPING_IS_DEAD "$SMALL"
found BREAK_PROMOTING_IS_DEAD "$SMALL -DASYNC"
found BREAK_WAITS_FOR_EVER "$SMALL -DCANCELS=0"
found BREAK_EPOCH_FIRST "$SMALL"
found BREAK_READ_BEFORE_PROMISE "$SMALL"
found BREAK_RESCUE_NOT_WAITED "$SMALL -DSTOPS=0"
found BREAK_NO_SECOND_ASK "$SMALL -DCUTS=0 -DCANCELS=0"
found BREAK_SECOND_ASK_IS_NOT_READ "$SMALL -DASYNC"
found BREAK_ACK_AFTER_PROMISE "$SMALL -DCUTS=0"
found BREAK_FENCED_ACKNOWLEDGES "$SMALL -DCUTS=0"
found BREAK_FENCED_IS_NOT_READ "$SMALL -DCUTS=0"
found BREAK_BELIEVES_CLAIM "$SMALL"
found BREAK_NO_FENCE "$SMALL -DCUTS=0"

if [ "${WALFERRY_LONG:-}" = 1 ] || [ "${only#long_}" != "$only" ]; then
    holds long_retried "-DWRITES=1 -DFAILOVERS=3" "-O2 -DSAFETY" -w24
    holds long_bitstate "-DWRITES=2 -DFAILOVERS=3" "-O2 -DSAFETY -DBITSTATE" "-w33 -k3"
fi

[ $seen = 1 ] || { echo "no search has the name $only"; exit 1; }
times >"$WORK/times"
awk 'NR == 2 { print "CPU " $1 }' "$WORK/times"
exit $failed
