#!/bin/bash
# run.sh: every test: unit, sim, replayed fuzz, scenarios. Installs what is missing, builds with
# warnings as errors and sanitizers, prints "N passed, N failed" last.
#
#   tests/run.sh [--long] [NAME ...]     --long: full counts; NAME: only these scenarios or ctest names
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$ROOT/build/test}
PACKAGES="libcmocka-dev pgbackrest barman jq procps e2fsprogs mount perl-base curl prometheus haproxy chromium chromium-driver" # beside what the demo installs
names=()
for arg in "$@"; do
    case $arg in
    --long) export WALFERRY_LONG=1 ;;
    -*) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) names+=("$arg") ;;
    esac
done

run_scenario() { # FILE
    local log=$OUT/$(basename "$1").log
    timeout ${SCENARIO_SECONDS:-600} bash "$1" >"$log" 2>&1 </dev/null || echo "failed with $?" >>"$log"
    if grep -q '^ok ' "$log"; then grep '^ok ' "$log"; else cat "$log"; [ -s "$log" ] && grep -q '^not ok ' "$log" || echo "not ok $(basename "$1" .sh)"; fi
}

"$ROOT/conf/demo.sh" install $PACKAGES || exit 1
cd "$ROOT" || exit 1
cmake -S . -B "$BUILD" -DWALFERRY_WERROR=ON -DWALFERRY_SANITIZE=address >"/tmp/wf-cmake.$$" 2>&1 || { cat "/tmp/wf-cmake.$$"; exit 1; }
rm -f "/tmp/wf-cmake.$$"
echo "building with sanitizers"
cmake --build "$BUILD" -j "$(nproc)" >"$BUILD/build.log" 2>&1 || { grep -E 'error|warning' "$BUILD/build.log" | head -40; echo "the build failed, see $BUILD/build.log"; exit 1; }
OUT=$(mktemp -d /tmp/wf-run-XXXXXX)
export WALFERRY_BUILD=$BUILD
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

pattern=$(IFS='|'; echo "${names[*]:-}")
(cd "$BUILD" && ctest -j "$(nproc)" --output-on-failure --timeout 300 ${pattern:+-R "^($pattern)\$"}) >"$OUT/ctest" 2>&1
cat "$OUT/ctest"
passed=$(grep -cE '^ *[0-9]+/[0-9]+ Test .* Passed' "$OUT/ctest")
failed=$(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*' "$OUT/ctest")

: >"$OUT/scenarios"
for file in tests/scenarios/*.sh; do
    name=$(basename "$file" .sh)
    [ "$name" != lib ] && [ "$name" != browser ] || continue
    [ ${#names[@]} = 0 ] || [[ " ${names[*]} " == *" $name "* ]] || continue
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
    { run_scenario "$ROOT/$file" >"$OUT/$name.result"; cat "$OUT/$name.result"; cat "$OUT/$name.result" >>"$OUT/scenarios"; } &
done
wait
passed=$((passed + $(grep -c '^ok ' "$OUT/scenarios")))
failed=$((failed + $(grep -c '^not ok ' "$OUT/scenarios")))
rm -rf "$OUT"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
