# SPDX-License-Identifier: PostgreSQL
# truth.sh: a pool whose figures are compared with the truth by truth.c, ten times a second; sourced behind lib.sh.
# Older by a beacon and a round trip is allowed, and what this machine takes for them; better than the truth never is.
long && seconds=20 || seconds=3
MOMENT=${MOMENT:-1000}     # ms
OTHERS_UNKNOWN='cut|killed|frozen|failover' # phases in which members may know nothing of each other
OUT=/tmp/wf-$$.truth
BEFORE_DOWN='[ -z "${TRUTH_PID:-}" ] || as kill $TRUTH_PID; rm -f "$OUT" "$OUT.in"'

skew() { perl -e 'print pack("q", $ARGV[0] * 1e6)' -- "$2" | as dd of="$WALFERRY_DEMO/dc$1/skew" conv=notrunc status=none; } # N SECONDS
start_skewed() { # N: an agent whose wall clock is ours to set
    ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 LD_PRELOAD=$WALFERRY_DEMO/bin/skew.so \
        WALFERRY_SKEW=$WALFERRY_DEMO/dc$1/skew start_agent "$1"
    expect 15 "[ \"\$(field $1 .pool)\" = demo ]"
}
phase() { # NAME [LIMIT_MS [MARKERS]]
    step "$1"
    kill -0 $TRUTH_PID 2>/dev/null || fail "truth is gone: $(tail -3 "$OUT")"
    echo "phase $1 ${2:-$MOMENT} ${3:-1}" >>"$OUT.in"
}
begin_truth() { # every agent begins anew
    local n told=()
    install -m 755 "$WALFERRY_BUILD/skew.so" "$WALFERRY_BUILD/truth" "$WALFERRY_DEMO/bin/" || fail "the build has no truth"
    sql1 "create table truth (n bigint)" >/dev/null
    for n in $(members); do
        expect 30 "[ $n = 1 ] || level $n"
        as truncate -s 8 "$WALFERRY_DEMO/dc$n/skew"
        kill_agent $n
        start_skewed $n
        told+=("$(its $n MEMBER)" "$(its $n PG) dbname=postgres" "$WALFERRY_DEMO/dc$n/run" "$(its $n SPOOL)" "$WALFERRY_DEMO/dc$n/skew")
    done
    level_again
    : >"$OUT.in"
    as env LD_PRELOAD= "$WALFERRY_DEMO/bin/truth" "${told[@]}" <"$OUT.in" >"$OUT" 2>&1 &
    TRUTH_PID=$!
}
end_truth() {
    local code
    echo end >>"$OUT.in"
    wait $TRUTH_PID
    code=$?
    TRUTH_PID=
    sed 's/^/# /' "$OUT"
    [ $code = 0 ] || fail "$(grep -m 5 LIE "$OUT")"
    [ "$(awk '$2 ~ /^[0-9]+$/ && $2 < 30' "$OUT" | grep -c figures)" = 0 ] || fail "a phase has next to nothing to compare"
    [ "$(members | wc -l)" = 2 ] || [ "$(grep figures "$OUT" | grep -vE "^[^ ]*($OTHERS_UNKNOWN)" | grep -c ', 0 of others')" = 0 ] || fail "nobody tells a lag of another member"
}
