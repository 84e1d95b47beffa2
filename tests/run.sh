#!/bin/bash
# run.sh: every test: unit, sim, replayed fuzz, scenarios. Installs what is missing, builds with
# warnings as errors and sanitizers, prints "N passed, N failed" last. After all that the unit tests and
# some scenarios run again, with the thread sanitizer.
#
#   tests/run.sh [--long] [NAME ...]     --long: full counts; NAME: only these scenarios or ctest names
#
# WALFERRY_THREAD=1: with the thread sanitizer only, also the named ones.
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$ROOT/build/test}
PACKAGES="libcmocka-dev mandoc pgbackrest barman jq procps e2fsprogs mount perl-base curl prometheus haproxy chromium chromium-driver" # beside what the demo installs
names=()
for arg in "$@"; do
    case $arg in
    --long) export WALFERRY_LONG=1 ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) names+=("$arg") ;;
    esac
done

run_scenario() { # FILE
    local log=$OUT/$(basename "$1").log
    $WRAP timeout ${SCENARIO_SECONDS:-600} bash "$1" >"$log" 2>&1 </dev/null || echo "failed with $?" >>"$log"
    if grep -q '^ok ' "$log"; then grep '^ok ' "$log"; else cat "$log"; [ -s "$log" ] && grep -q '^not ok ' "$log" || echo "not ok $(basename "$1" .sh)"; fi
}

build() { # FOLDER SANITIZER
    cmake -S . -B "$1" -DWALFERRY_WERROR=ON -DWALFERRY_SANITIZE="$2" >"/tmp/wf-cmake.$$" 2>&1 || { cat "/tmp/wf-cmake.$$"; exit 1; }
    rm -f "/tmp/wf-cmake.$$"
    echo "building with the $2 sanitizer"
    cmake --build "$1" -j "$(nproc)" >"$1/build.log" 2>&1 || { grep -E 'error|warning' "$1/build.log" | head -40; echo "the build failed, see $1/build.log"; exit 1; }
}

run() { # FOLDER CTEST-OPTION ... -- SCENARIO ...
    local options=() name
    export WALFERRY_BUILD=$1
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    (cd "$WALFERRY_BUILD" && $WRAP ctest -j "$(nproc)" --output-on-failure --timeout 600 "${options[@]}") >"$OUT/ctest" 2>&1
    cat "$OUT/ctest"
    passed=$((passed + $(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed' "$OUT/ctest")))
    failed=$((failed + $(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*' "$OUT/ctest")))
    : >"$OUT/scenarios"
    for name; do
        [ -e "tests/scenarios/$name.sh" ] || continue
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
        { run_scenario "$ROOT/tests/scenarios/$name.sh" >"$OUT/$name.result"; cat "$OUT/$name.result"; cat "$OUT/$name.result" >>"$OUT/scenarios"; } &
    done
    wait
    passed=$((passed + $(grep -c '^ok ' "$OUT/scenarios")))
    failed=$((failed + $(grep -c '^not ok ' "$OUT/scenarios")))
    grep -hE '^ *[0-9]+/[0-9]+ Test .*\*\*\*|^not ok ' "$OUT/ctest" "$OUT/scenarios" >>"$OUT/failed"
}

chosen() { # SCENARIO ...: those of them that were asked for
    local name
    for name; do [ ${#names[@]} = 0 ] || [[ " ${names[*]} " == *" $name "* ]] && echo "$name"; done
}

"$ROOT/conf/demo.sh" install $PACKAGES || exit 1
cd "$ROOT" || exit 1
OUT=$(mktemp -d /tmp/wf-run-XXXXXX)
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
pattern=$(IFS='|'; echo "${names[*]:-}")
passed=0 failed=0 WRAP=
if [ "${WALFERRY_THREAD:-}" != 1 ]; then
    build "$BUILD" address
    run "$BUILD" ${pattern:+-R "^($pattern)\$"} -- $(chosen $(ls tests/scenarios | sed -n 's/\.sh$//p' | grep -vxE 'lib|browser'))
fi
if [ "${WALFERRY_THREAD:-}" = 1 ] || [ ${#names[@]} = 0 ]; then
    build "$BUILD-thread" thread
    # a kernel that spreads addresses widely puts them where this sanitizer has its own
    ! setarch "$(uname -m)" -R true 2>/dev/null || WRAP="setarch $(uname -m) -R"
    # the spool's test is one thread in which each call fails once: minutes here, for nothing
    run "$BUILD-thread" -L unit -E '^spool$' ${pattern:+-R "^($pattern)\$"} -- ${names[*]:-ship lanes tunnel}
fi
cut -c1-400 "$OUT/failed" # once more, beside the sum: the output before it is long
rm -rf "$OUT"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
