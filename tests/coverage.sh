#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# coverage.sh: how many lines of each folder the unit tests and the simulation run; with WALFERRY_LONG=1 the
# scenarios too. A figure to look at: nothing here passes or fails.
#
#   tests/coverage.sh [BUILD]     a build of its own, BUILD-coverage, is made
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=$(realpath -m "${1:-build/test}")-coverage
unset CMAKE_C_COMPILER_LAUNCHER # gcov looks for the sources where they were compiled
umask 0 # the agents of the scenarios are not root, and write their counts beside ours
what="unit + sim"
mkdir -p "$BUILD"
cmake -S . -B "$BUILD" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS=--coverage >"$BUILD/build.log" 2>&1 &&
    cmake --build "$BUILD" -j "$(nproc)" >>"$BUILD/build.log" 2>&1 || { tail "$BUILD/build.log"; exit 1; }
find "$BUILD" -name '*.gcda' -delete
"$BUILD/sim" --seeds 50 >>"$BUILD/build.log" 2>&1 &
(cd "$BUILD" && ctest -j "$(nproc)" -L unit) >>"$BUILD/build.log" 2>&1
wait
if [ "${WALFERRY_LONG:-}" = 1 ]; then
    what="unit + sim + scenarios"
    ls tests/scenarios/*.sh | grep -vE '/(lib|browser)\.sh$' | WALFERRY_BUILD=$BUILD WALFERRY_LONG= xargs -P 2 -n 1 timeout 600 bash >>"$BUILD/build.log" 2>&1
fi

# gcov tells of each file "File 'path'" and "Lines executed:12.34% of 567"
find "$BUILD" -name '*.gcno' | grep -E '/(base|durable|shipper|agent|walferry-main)\.dir/|/walferry\.dir/agent/launcher' |
    (cd "$BUILD" && xargs gcov --no-output 2>/dev/null) |
    awk -F "'" -v "root=$PWD/" -v "what=$what" '
        /^File / { path = index($2, root) == 1 ? substr($2, length(root) + 1) : "" }
        /^Lines executed/ && path ~ /^(agent|shipper)\/.*\.c$/ {
            split($0, part, /[:% ]+/) # Lines executed 12.34 of 567
            folder = path
            sub(/\/[^\/]*$/, "", folder)
            lines[folder] += part[5]; run[folder] += part[3] * part[5] / 100
            all += part[5]; all_run += part[3] * part[5] / 100
            path = ""
        }
        END {
            print "lines run by " what ":"
            for (f in lines) printf "%5.1f %% of %5d  %s\n", 100 * run[f] / lines[f], lines[f], f | "sort -k5"
            close("sort -k5")
            if (all > 0) printf "%5.1f %% of %5d  all\n", 100 * all_run / all, all
        }'
