# SPDX-License-Identifier: PostgreSQL
# For scenarios that read what validate finds; sourced behind lib.sh.

# One look at the pool from member N: $report, and its exit code must be the worst of its lines.
look() { # N [OPTION ...]
    local n=$1
    shift
    walferry "$n" validate --json "$@" >"/tmp/wf-$$.validate" 2>"/tmp/wf-$$.said"
    code=$?
    report=$(jq -c 'if .members then . else {members: [.]} end' "/tmp/wf-$$.validate" 2>/dev/null) ||
        fail "validate does not print a report: $(cat "/tmp/wf-$$.said")"
    worst=$(jq '[.members[].checks[].result | {ok: 0, warn: 1, fail: 2}[.]] | max' <<<"$report")
    [ "$code" = "$worst" ] || fail "exit $code, but the worst line is $worst"
}
has() { # MEMBER RESULT CHECK REASON REMEDY: such a line is in $report
    jq -e --arg m "$1" --arg r "$2" --arg c "$3" --arg why "$4" --arg do "$5" '.members[] | select(.member == $m) |
        .checks[] | select(.result == $r and .check == $c and (.reason | test($why)) and (.remedy // "" | test($do)))' \
        <<<"$report" >/dev/null
}
sees() { look "$1" ${SCOPE:---pool} && shift && has "$@"; }
finds() { # N MEMBER RESULT CHECK REASON REMEDY: asked on N
    sees "$@" || wait_for 30 'sees '"$(printf '%q ' "$@")" || fail "no such line: $*; instead: $(bad)"
}
all_ok() { look "$1" --pool && [ "$code" = 0 ]; }
ready() { # [N ...]: from these members, or each, and nobody else's line stayed
    local n
    for n in ${*:-$(members)}; do all_ok "$n" || wait_for 60 "all_ok $n" || fail "not ready: $(bad)"; done
}
bad() { jq -c '.members[] | .member as $m | .checks[] | select(.result != "ok") | [$m, .check, .reason]' <<<"$report"; }
put() { as sh -c 'cat >"$1"' sh "$1"; } # FILE: from stdin, as its owner
variant() { # SED: what this host would say with another config
    as sh -c 'umask 077; sed "$1" "$2" >"$3"' sh "$1" "$CONFIG" "$WALFERRY_DEMO/other.ini"
}
with_variant() { # N MEMBER RESULT CHECK REASON REMEDY
    CONFIG=$WALFERRY_DEMO/other.ini SCOPE=--local finds "$@"
}
