#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# tidy.sh: what keeps the sources tidy: clang-format, clang's warnings, clang-tidy. A part prints its
# findings and then "ok NAME" or "not ok NAME". Other versions find and format otherwise: clang 14 of
# Debian 12 is the one that counts, and without it nothing is looked at.
#
#   tests/tidy.sh [BUILD [FILE ...]]     only these files
set -u
cd "$(dirname "$0")/.." || exit 1
BUILD=$(realpath -m "${1:-build/test}")-clang
[ $# = 0 ] || shift
command -v clang-14 clang-format-14 clang-tidy-14 >/dev/null || { echo "tidy: not looked at, clang 14 is not here"; exit 0; }
[ $# -gt 0 ] || set -- $(find agent shipper include tests -name '*.[ch]' | sort)
failed=0

part() { # NAME COMMAND ...
    local name=$1 since=$SECONDS
    shift
    if "$@"; then echo "ok $name ($((SECONDS - since)) s)"; else echo "not ok $name"; failed=1; fi
}

format() { clang-format-14 --dry-run --Werror "$@" 2>&1 | grep -A1 ': error:'; [ "${PIPESTATUS[0]}" = 0 ]; }

# What clang warns of, too. Each file once: in a second turn in one process clang-tidy 14 takes every va_list for
# uninitialized.
tidy() {
    mkdir -p "$BUILD/once"
    cmake -S . -B "$BUILD" -DCMAKE_C_COMPILER=clang-14 -DCMAKE_BUILD_TYPE=None -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >"$BUILD/build.log" 2>&1 ||
        { tail "$BUILD/build.log"; return 1; }
    jq 'unique_by(.file)' "$BUILD/compile_commands.json" >"$BUILD/once/compile_commands.json" || return 1
    printf '%s\n' "$@" | grep '\.c$' | xargs -P "$(nproc)" -n 1 sh -c '
        case $1 in */base/fail.c) set -- "$1" ;; *) set -- "$1" --extra-arg=-include --extra-arg="$PWD/tests/support/analyzer.h" ;; esac
        clang-tidy-14 --quiet --warnings-as-errors="*" -p "$0" "$@" 2>/dev/null' "$BUILD/once"
}

part clang-format format "$@"
part clang-tidy tidy "$@"
exit $failed
