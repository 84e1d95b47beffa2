#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# run.sh: the tests: tidy, unit, sim, replayed fuzz, scenarios. Installs what is missing, builds with
# warnings as errors and sanitizers, prints "N passed, N failed, N skipped" last. Most scenarios run as a user has
# the program, without sanitizers. The unit tests run twice, with the thread sanitizer, too.
#
#   tests/run.sh [--long] [NAME ...]     --long: all, with full counts and with sanitizers, and the lines that tests run
#                                        are counted; NAME: only these scenarios or ctest names, with sanitizers, or
#                                        tidy, or postgres-tap: PostgreSQL's own recovery tests
#
# WALFERRY_THREAD=1: with the thread sanitizer only, also the named ones. RUN_MINUTES=N: what has not begun by then
# is skipped, and told as skipped.
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$ROOT/build/test}
PACKAGES="libcmocka-dev mandoc pgbackrest barman libipc-run-perl jq procps e2fsprogs mount perl-base curl prometheus haproxy chromium chromium-driver
    clang clang-format clang-tidy spin" # beside what the demo installs
# A run of an hour has not the time for all: of what takes long, and shows again what others show or seldom changes, it
# has a third, in turn with the commits.
IN_TURNS="chaos_four forked four gaps lanes neighbour older_standby page_looks synchronous_modes truth_four validate_four"
# With the address sanitizer each time: what abuses the program, and between them each of its commands.
SANITIZED="chaos chaos_roles claims concierge config cut damaged failover full_disk guests kills lanes outbox reroute ship tiny_frames torn tunnel"
names=()
for arg in "$@"; do
    case $arg in
    --long) export WALFERRY_LONG=1 SCENARIO_SECONDS=${SCENARIO_SECONDS:-3600} ;;
    -*) sed -n '3,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) names+=("$arg") ;;
    esac
done
[[ " ${names[*]:-} " != *" postgres-tap "* ]] || export WALFERRY_TAP=all SCENARIO_SECONDS=${SCENARIO_SECONDS:-7200}
[ -z "${WALFERRY_TAP:-}${WALFERRY_LONG:-}" ] || PACKAGES+=" postgresql-server-dev-all" # 027 of those

run_scenario() { # FILE
    local log=$OUT/$(basename "$1").log since=$SECONDS
    [ -z "$PLAIN" ] || [[ " $SANITIZED " == *" $(basename "$1" .sh) "* ]] || export WALFERRY_BUILD=$PLAIN
    $WRAP timeout ${SCENARIO_SECONDS:-900} bash "$1" >"$log" 2>&1 </dev/null || echo "failed with $?" >>"$log"
    if grep -qE '^(ok|skipped) ' "$log"; then grep -E '^(ok|skipped) ' "$log"; else cat "$log"; [ -s "$log" ] && grep -q '^not ok ' "$log" || echo "not ok $(basename "$1" .sh)"; fi
    echo "$((SECONDS - since)) $(basename "$1" .sh)$AGAIN" >>"$OUT/times"
}

build() { # FOLDER SANITIZER [TARGET]
    cmake -S . -B "$1" -DWALFERRY_WERROR=ON -DWALFERRY_SANITIZE="$2" >"/tmp/wf-cmake.$$" 2>&1 || { cat "/tmp/wf-cmake.$$"; exit 1; }
    rm -f "/tmp/wf-cmake.$$"
    echo "building with ${2:-no} sanitizer"
    cmake --build "$1" -j "$(nproc)" --target "${3:-all}" >"$1/build.log" 2>&1 || { grep -E 'error|warning' "$1/build.log" | head -40; echo "the build failed, see $1/build.log"; exit 1; }
}

tally() { # FILE ...: what passed, failed and was skipped by the words of ctest and of our scripts
    local bad='^ *[0-9]+/[0-9]+ Test .*\*\*\*([^S]|S[^k])|^not ok ' skip='^ *[0-9]+/[0-9]+ Test .*\*\*\*Skipped|^skipped '
    passed=$((passed + $(cat "$@" | grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed|^ok ')))
    failed=$((failed + $(cat "$@" | grep -cE "$bad")))
    skipped=$((skipped + $(cat "$@" | grep -cE "$skip")))
    grep -hE "$bad|$skip" "$@" >>"$OUT/told"
    return 0
}

run() { # FOLDER CTEST-OPTION ... -- SCENARIO ...
    local options=() name
    export WALFERRY_BUILD=$1
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    (cd "$WALFERRY_BUILD" && $WRAP ctest -j "$(nproc)" --output-on-failure --timeout 900 "${options[@]}") >"$OUT/ctest" 2>&1
    cat "$OUT/ctest"
    sed -nE "s,^ *[0-9]+/[0-9]+ Test +#[0-9]+: ([^ ]+) .* ([0-9.]+) sec.*,\2 \1$AGAIN,p" "$OUT/ctest" >>"$OUT/times"
    : >"$OUT/scenarios"
    for name; do
        [ -e "tests/scenarios/$name.sh" ] || continue
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done # three are faster by a seventh, and each is nearer to its deadlines
        if late; then echo "skipped $name: the $RUN_MINUTES minutes of this run are over" | tee -a "$OUT/scenarios"; continue; fi
        { run_scenario "$ROOT/tests/scenarios/$name.sh" >"$OUT/$name.result"; cat "$OUT/$name.result"; cat "$OUT/$name.result" >>"$OUT/scenarios"; } &
    done
    wait
    tally "$OUT/ctest" "$OUT/scenarios"
}

late() { [ -n "${RUN_MINUTES:-}" ] && [ $SECONDS -ge $((RUN_MINUTES * 60)) ]; }

turn() { # NAME ...: those whose turn it is
    local name at=0
    for name; do [ -z "${WALFERRY_LONG:-}${names[*]:-}" ] && [ $((at++ % 3)) != $((COMMITS % 3)) ] || echo "$name"; done
}

rotated() { # NAME ...: another one is the first each time, and so are the last, for which the time may not do
    local at=$(($# ? COMMITS * 7 % $# : 0))
    echo "${@:at + 1}" "${@:1:at}"
}

chosen() { # SCENARIO ...: those of them that were asked for
    local name
    for name; do [ ${#names[@]} = 0 ] || [[ " ${names[*]} " == *" $name "* ]] && echo "$name"; done
}

"$ROOT/conf/demo.sh" install $PACKAGES || exit 1
unset DEMO_NEWEST # a pool that comes up would ask again which minor is the newest
cd "$ROOT" || exit 1
! command -v ccache >/dev/null || export CMAKE_C_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
OUT=$(mktemp -d /tmp/wf-run-XXXXXX)
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
pattern=$(IFS='|'; echo "${names[*]:-}")
passed=0 failed=0 skipped=0 WRAP= AGAIN= PLAIN=
COMMITS=$(git rev-list --count HEAD 2>/dev/null) || COMMITS=0
: >"$OUT/told"
if [ "${WALFERRY_THREAD:-}" != 1 ]; then
    [ -z "$(chosen tidy)" ] || tests/tidy.sh "$BUILD" | tee "$OUT/tidy" # "ok NAME (SECONDS s)"
    [ ! -e "$OUT/tidy" ] || { tally "$OUT/tidy" && sed -n 's/^ok \(.*\) (\(.*\) s)$/\2 \1/p' "$OUT/tidy" >>"$OUT/times"; }
    build "$BUILD" address
    [ -n "${WALFERRY_LONG:-}" ] || [ ${#names[@]} != 0 ] || { PLAIN=$BUILD-plain && build "$PLAIN" "" programs; }
fi
if [ "${WALFERRY_THREAD:-}" = 1 ] || [ ${#names[@]} = 0 ]; then
    build "$BUILD-thread" thread
    AGAIN=" (thread)"
    export TSAN_OPTIONS=ignore_noninstrumented_modules=1 # what a library does among its own threads is not ours
    # a kernel that spreads addresses widely puts them where this sanitizer has its own
    ! setarch "$(uname -m)" -R true 2>/dev/null || WRAP="setarch $(uname -m) -R"
    # the spool's test is one thread in which each call fails once: minutes here, for nothing
    PLAIN= run "$BUILD-thread" -L unit -E '^spool$' ${pattern:+-R "^($pattern)\$"} -- ${names[*]:-${WALFERRY_LONG:+ship lanes tunnel}}
    WRAP= AGAIN=
fi
if [ "${WALFERRY_THREAD:-}" != 1 ]; then
    scenarios=$(ls tests/scenarios | sed -n 's/\.sh$//p' | grep -vxE "lib|browser|${IN_TURNS// /|}")
    [ -n "${WALFERRY_LONG:-}${names[*]:-}" ] || echo "in turn with other runs: $(turn $IN_TURNS | paste -sd' ') of $IN_TURNS"
    run "$BUILD" $([ -n "$(turn model)" ] || printf '%s ' -E '^model$') ${pattern:+-R "^($pattern)\$"} -- $(rotated $(chosen $scenarios $(turn $IN_TURNS)))
fi
[ -z "${WALFERRY_LONG:-}" ] || [ ${#names[@]} != 0 ] || tests/coverage.sh "$BUILD"
[ ! -s "$OUT/times" ] || { echo "the slowest, in seconds:"; sort -rn "$OUT/times" | head -10; }
cut -c1-400 "$OUT/told" # once more, beside the sum: the output before it is long
rm -rf "$OUT"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
