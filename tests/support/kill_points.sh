# SPDX-License-Identifier: PostgreSQL
# kill_points.sh: for scenarios that kill at the points of base/kill_point.h; sourced behind lib.sh. Who is started
# with WALFERRY_STOP_AT=POINT,... in its environment stops there.
use_points() { # what is started from now on has them
    [ -x "$WALFERRY_BUILD/walferry-points" ] || fail "the build has no walferry-points: cmake -DWALFERRY_KILL_POINTS=ON"
    install -m 755 "$WALFERRY_BUILD/walferry-points" "$WALFERRY_DEMO/bin/walferry-main"
}
stands() { # POINT FILE ...: PID is the process that has stopped there, as it says in one of the files
    PID=$(sed -n "s/.*stopped at $1, process \([0-9]*\)$/\1/p" "${@:2}" 2>/dev/null | tail -1)
    [ -n "$PID" ] && grep -qs '^State:[[:space:]]*T' "/proc/$PID/status"
}
