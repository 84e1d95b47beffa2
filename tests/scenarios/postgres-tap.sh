#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# PostgreSQL's own recovery tests with walferry in place of streaming replication (tests/postgres): three
# of them; all that make sense with `tests/run.sh postgres-tap` or --long.
. "$(dirname "$0")/lib.sh"
tests= all=
if long || [ "${WALFERRY_TAP:-}" = all ]; then
    all=1 tests="001 004 005 007 008 009 010 012 015 016 021 025 026 027 028 030 032 033 043 --kill 009 027"
    export PG_TEST_EXTRA=wal_consistency_checking
fi
"$ROOT/tests/postgres/run.sh" $tests >"/tmp/wf-$$.tap" 2>&1
code=$?
sed 's/^/# /' "/tmp/wf-$$.tap"
bad=$(sed -n 's/^not ok //p' "/tmp/wf-$$.tap" | tr '\n' ' ')
skipped=$(sed -n 's/^skipped: //p' "/tmp/wf-$$.tap")
rm -f "/tmp/wf-$$.tap"
[ -z "$skipped" ] || [ -n "$all" ] || skip "$skipped"
[ $code = 0 ] || fail "${bad:-${skipped:-run.sh ended with $code}}"
echo "ok $NAME ($((SECONDS - STARTED)) s)" # no pool, no logs of it to look at
