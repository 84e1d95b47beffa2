#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# run.sh: PostgreSQL's own recovery tests (src/test/recovery of the server's source package), with
# walferry's link and relay in place of streaming replication (Walferry.pm). Which pass: README.md.
#
#   tests/postgres/run.sh [NAME ...] [--kill NAME ...]   NAME: 004_timeline_switch, or how it begins
#
# Prints "ok NAME (N s)" or "not ok NAME" for each; after --kill an agent is killed each second. The source
# is fetched by apt (deb-src) into a folder of its own and removed again; where there is none it prints
# "skipped: WHY" and ends with 77.
#
# WALFERRY_POSTGRES_SOURCE: a source that is unpacked already. WALFERRY_BUILD: the folder of the binaries.
# LIMIT: seconds for each; KEEP=1: what it leaves stays. PG_TEST_EXTRA=wal_consistency_checking: for
# 027_stream_regress.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
BUILD=${WALFERRY_BUILD:-$ROOT/build/test}
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
DEFAULT="004_timeline_switch 009_twophase 025_stuck_on_old_timeline"
NAMES=${*:-$DEFAULT}
die() { echo "not ok postgres: $*"; exit 1; }
skip() { echo "skipped: $*"; exit 77; }

if [ "$(id -u)" = 0 ]; then RUN_AS=postgres; else RUN_AS=$(id -un); fi
as() { if [ "$(id -u)" = 0 ]; then runuser -u "$RUN_AS" -- "$@"; else "$@"; fi; }
BIN=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
MAJOR=$(basename "$(dirname "$BIN")")
OUT=$(mktemp -d /tmp/wf-tap-XXXXXX)
TESTS=$OUT/test # src/test of the source
trap '[ -n "${KEEP:-}" ] || rm -rf "$OUT"' EXIT
mkdir "$OUT/bin" "$OUT/lib" "$OUT/run" "$TESTS"
chmod 755 "$OUT"

fetch() { # the release's own source: the tests of a major version hardly change in it
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$OUT/lists/partial" "$OUT/source"
    echo "deb-src [signed-by=$keyring] http://deb.debian.org/debian $(. /etc/os-release && echo "$VERSION_CODENAME") main" >"$OUT/list"
    set -- timeout 300 apt-get -qq -o Dir::Etc::SourceList="$OUT/list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$OUT/lists" \
        -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any
    (cd "$OUT/source" && "$@" update && "$@" source --download-only "postgresql-$MAJOR") >"$OUT/apt" 2>&1 ||
        skip "no source of postgresql-$MAJOR: $(grep -m1 '^E: ' "$OUT/apt" || echo "apt-get does not end")"
    tar -xf "$OUT"/source/*.orig.tar.* -C "$TESTS" --strip-components=3 --wildcards '*/src/test/perl' '*/src/test/recovery' '*/src/test/regress' ||
        die "the source is not as expected"
}
if [ -z "${WALFERRY_POSTGRES_SOURCE:-}" ]; then
    fetch
else
    cp -r "$WALFERRY_POSTGRES_SOURCE"/src/test/{perl,recovery,regress} "$TESTS" || die "no tests in $WALFERRY_POSTGRES_SOURCE"
fi

run_test() { # FILE PERL-OPTION ...
    local file=$1 test; test=$(basename "$1" .pl)
    shift
    as mkdir -p "$OUT/run/$test"
    as env -C "$TESTS/recovery" WALFERRY="$OUT/bin/walferry" PATH="$BIN:$PATH" PG_REGRESS="$REGRESS" REGRESS_SHLIB="$OUT/lib/regress.so" \
        PGPORT=65432 with_icu=no TMPDIR="$OUT/run" TESTDIR="$OUT/run/$test" TESTDATADIR="$OUT/run/$test" timeout "${LIMIT:-1800}" \
        prove --exec "perl -I $TESTS/perl -I $OUT/bin $*" "$file" >"$OUT/run/$test.out" 2>&1
}

REGRESS=/bin/true
prepare_regress() { # 027 runs the server's regression tests: their driver, and their functions in C
    local headers modules
    headers=$("$BIN/pg_config" --includedir-server) modules=$("$BIN/pg_config" --pkglibdir)
    REGRESS=$modules/pgxs/src/test/regress/pg_regress
    [ -x "$REGRESS" ] || die "no $REGRESS: apt-get install postgresql-client-$MAJOR"
    [ -e "$headers/postgres.h" ] || die "no $headers/postgres.h: apt-get install postgresql-server-dev-$MAJOR"
    command -v cc >/dev/null || die "no C compiler: apt-get install gcc"
    cc -O2 -fPIC -shared -fwrapv -fno-strict-aliasing -I "$headers" -o "$OUT/lib/regress.so" "$TESTS/regress/regress.c" || die "regress.c cannot be built"
    cp "$modules"/{autoinc,refint}.so "$OUT/lib" || die "no modules: apt-get install postgresql-$MAJOR"
}

# The source may be a few releases older than the server, and some answers have changed: what the test
# gives with PostgreSQL's own streaming counts, too (the last of the ten files that pg_regress compares).
accept_own_answers() {
    local run=$OUT/run/027_stream_regress name since=$SECONDS
    PG_TEST_EXTRA= run_test "$TESTS/recovery/t/027_stream_regress.pl"
    [ -e "$run/tmp_check/regression.out" ] || { tail -n 20 "$run.out"; die "no regression tests without walferry"; }
    for name in $(sed -n 's/^\(test\)\? *\([a-z0-9_.]*\) *\.\.\. FAILED.*/\2/p' "$run/tmp_check/regression.out"); do
        cp "$run/tmp_check/results/$name.out" "$TESTS/regress/expected/${name}_9.out" || die "no answers of $name"
        echo "# $name answers otherwise than its source says, also without walferry"
    done
    echo "# 027_stream_regress without walferry ($((SECONDS - since)) s)"
    rm -rf "$run"
}

cp "$BUILD/walferry" "$BUILD/walferry-main" "$HERE/Walferry.pm" "$OUT/bin" || die "no binaries in $BUILD"
case " $NAMES" in *" 027"*) prepare_regress ;; esac
chmod -R a+rX "$OUT" && chmod 755 "$OUT"/bin/walferry*
[ "$(id -u)" != 0 ] || { mkdir -p /run/sshd && chown -R "$RUN_AS" "$OUT"; }
case " $NAMES" in *" 027"*) accept_own_answers ;; esac

bad=0 kill=
for name in $NAMES; do
    [ "$name" != --kill ] || { export WALFERRY_KILL=1; kill=" --kill"; continue; }
    for file in "$TESTS/recovery/t/$name"*.pl; do
        [ -e "$file" ] || die "no test $name"
        test=$(basename "$file" .pl) since=$SECONDS
        if run_test "$file" -MWalferry; then
            echo "ok $test$kill ($((SECONDS - since)) s)"
        else
            bad=1
            echo "not ok $test$kill ($((SECONDS - since)) s)"
            tail -n 40 "$OUT/run/$test.out" "$OUT/run/$test/tmp_check/log/regress_log_$test" 2>&1
        fi
        [ -n "${KEEP:-}" ] || rm -rf "$OUT/run/$test"
    done
done
exit $bad
