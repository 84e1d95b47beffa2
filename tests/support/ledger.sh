# SPDX-License-Identifier: PostgreSQL
# ledger.sh: clients that write where they are sent, and what they were told; sourced behind lib.sh.
#
# Each member has one, who writes while /primary of its agent is 200: transactions of one to three rows, and a
# sum of them in another table. $LEDGER/said.N is what the client of member N saw (its side):
#
#   try NUMBER                          it was sent
#   ack NUMBER ROWS XID TIMELINE TIME   COMMIT has returned; TIME (of this machine) is before that
#   end TIME                            of a session, which ends at its first fault
is_primary() ( # N
    http=$(its "$1" HTTP)
    { exec 3<>"/dev/tcp/${http/://}"; } 2>/dev/null && printf 'GET /primary HTTP/1.0

' >&3 && read -rt 2 -u 3 line && [[ $line == *' 200 '* ]]
)

make_ledger() {
    LEDGER=$WALFERRY_DEMO/ledger
    mkdir -p "$LEDGER"
    : >"$LEDGER/lost"
    for n in $(members); do : >"$LEDGER/said.$n"; done
    sql1 "create table ledger (side int, number int, part int, primary key (side, number, part));
        create table sums (side int primary key, rows bigint); insert into sums select n, 0 from unnest(array[$(members | paste -sd,)]) n" >/dev/null
}

batch() { # SIDE FIRST
    awk -v side="$1" -v first="$2" 'BEGIN { for (n = first; n < first + 20; n++) {
        printf "\\echo try %d\n", n
        printf "with a as (insert into ledger select %d, %d, generate_series(1, %d) returning 1),", side, n, n % 3 + 1
        printf " b as (update sums set rows = rows + %d where side = %d)", n % 3 + 1, side
        printf " select $$ack$$, %d, (select count(*) from a), pg_current_xact_id(), substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), extract(epoch from clock_timestamp());\n", n
    } }'
}
client() { # SIDE
    local first=1 to
    to=$(its "$1" PG)
    while kill -0 $$ 2>/dev/null && [ ! -e "$LEDGER/stop" ]; do
        if [ -e "$LEDGER/rest" ]; then
            : >"$LEDGER/rests.$1"
        elif is_primary "$1"; then
            batch "$1" $first | "$PGBIN/psql" -XAtq -F ' ' -v ON_ERROR_STOP=1 "$to dbname=postgres connect_timeout=5" 2>/dev/null
            echo "end $(date +%s.%N)"
            first=$((first + 20))
        fi >>"$LEDGER/said.$1"
        sleep 0.1
    done
}
clients_begin() { for n in $(members); do client $n & done; }
clients_rest() {
    rm -f "$LEDGER"/rests.?
    : >"$LEDGER/rest"
    expect 30 '[ $(ls "$LEDGER"/rests.? | wc -l) = $(members | wc -l) ]'
}
clients_go() { rm -f "$LEDGER/rest"; }
clients_end() { : >"$LEDGER/stop"; }
acks() { grep -c '^ack' "$LEDGER/said.$1"; } # SIDE

# "SIDE NUMBER ROWS XID TIME": COMMIT had returned by then.
acknowledged() {
    awk '/^(ack|end)/ && held != "" { print held, $NF; held = "" }
        /^ack/ { held = substr(FILENAME, length(FILENAME)) " " $2 " " $3 " " $4 }' "$LEDGER"/said.? | sort
}
# How many of SIDE had no answer and are not there.
unanswered() {
    awk -v side="$1" 'NR == FNR { there[$1 " " $2] = 1; next }
        /^try/ { open = $2 } /^ack/ { open = 0 } /^end/ { n += open != 0 && !((side " " open) in there); open = 0 }
        END { print n + 0 }' "$LEDGER/there" "$LEDGER/said.$1"
}

# Nothing that was acknowledged is missing on the primary but what $LEDGER/lost has; MISSING is how many more are,
# $LEDGER/missing names them. Each transaction is there as a whole.
count_missing() { # PRIMARY
    sql "$1" "select side, number, count(*) from ledger group by 1, 2" | tr '|' ' ' >"$LEDGER/there"
    [ -s "$LEDGER/there" ] || fail "dc$1 has no row: $(sql "$1" "select count(*) from ledger")"
    acknowledged >"$LEDGER/acknowledged"
    awk 'NR == FNR { there[$0] = 1; next } !(($1 " " $2 " " $3) in there)' "$LEDGER/there" "$LEDGER/acknowledged" |
        comm -23 - "$LEDGER/lost" >"$LEDGER/missing"
    MISSING=$(wc -l <"$LEDGER/missing")
    [ "$(sql "$1" "select count(*) from sums s where rows <> (select count(*) from ledger l where l.side = s.side)")" = 0 ] ||
        fail "half of a transaction is there: $(sql "$1" "select side, rows, (select count(*) from ledger l where l.side = s.side) from sums s")"
}
# What FORMER's rejoin of that epoch has listed is what is missing, beside what nobody was answered; and it is no
# more than what was known at the failover.
receipt_is_exact() { # PRIMARY FORMER EPOCH
    local of=".[] | select(.epoch == $3)" extra said before
    walferry "$2" lost --json 2>/dev/null >"$LEDGER/receipts.$2" && walferry "$1" lost --json 2>/dev/null >"$LEDGER/receipts.$1" || fail "lost --json"
    jq -e "[$of] | length > 0 and all(.exact)" "$LEDGER/receipts.$2" >/dev/null || fail "no exact receipt of epoch $3: $(jq -c "$of | del(.listed)" "$LEDGER/receipts.$2")"
    jq -e "[$of] | length > 0 and all(.exact)" "$LEDGER/receipts.$1" >/dev/null || fail "dc$1 does not have it: $(jq -c "$of | del(.listed)" "$LEDGER/receipts.$1")"
    jq -e "$of | (.listed | length) == .transactions and
        ([.listed[].tables[] | select(.table == \"postgres.public.ledger\") | .inserted] | add) == ([.tables[] | select(.table == \"postgres.public.ledger\") | .inserted] | add) and
        ([.tables[] | select(.table == \"postgres.public.sums\") | .updated] | add // 0) == ([.listed[].tables[] | select(.table == \"postgres.public.ledger\")] | length)" \
        "$LEDGER/receipts.$2" >/dev/null || fail "the receipt's sums: $(jq -c "$of | del(.listed)" "$LEDGER/receipts.$2")"
    jq -r "$of | .listed[] | .xid as \$xid | .tables[] | select(.table == \"postgres.public.ledger\") | \"\(\$xid) \(.inserted)\"" \
        "$LEDGER/receipts.$2" | sort -u >"$LEDGER/listed"
    ! grep -v "^$2 " "$LEDGER/missing" | grep -q . || fail "rows of the other side are missing: $(grep -v "^$2 " "$LEDGER/missing" | head -5)"
    awk '{ print $4, $3 }' "$LEDGER/missing" | sort >"$LEDGER/owed"
    [ -z "$(comm -23 "$LEDGER/owed" "$LEDGER/listed")" ] ||
        fail "acknowledged, missing and in no receipt (xid rows): $(comm -23 "$LEDGER/owed" "$LEDGER/listed" | wc -l): $(comm -23 "$LEDGER/owed" "$LEDGER/listed" | head -5 | paste -sd,)"
    extra=$(comm -13 "$LEDGER/owed" "$LEDGER/listed" | wc -l)
    EXTRA[$2]=$((${EXTRA[$2]:-0} + extra))
    [ ${EXTRA[$2]} -le "$(unanswered "$2")" ] || fail "listed and not missing: $(comm -13 "$LEDGER/owed" "$LEDGER/listed" | head -5 | paste -sd,)"
    said=$(jq -r "[$of | .at_most // empty][0]" "$LEDGER/receipts.$1")
    case $said in
    none\;*) [ ! -s "$LEDGER/listed" ] || fail "the failover said \"$said\", $(wc -l <"$LEDGER/listed") are lost: $(head -5 "$LEDGER/missing")" ;;
    "at most what was committed"*)
        before=$(date -d "$(sed 's/.*everything before \([^(]*\) (.*/\1/' <<<"$said")" +%s.%N) || fail "no time in: $said"
        [ -z "$(awk -v t="$before" '$5 < t' "$LEDGER/missing")" ] || fail "the failover said \"$said\", older ones are missing: $(awk -v t="$before" '$5 < t' "$LEDGER/missing" | head -5)"
        ;;
    "all that $(its "$2" MEMBER) committed"*) ;; # of a reclaim
    *) fail "what the failover cost is not known: $said" ;;
    esac
    sort -o "$LEDGER/lost" "$LEDGER/lost" "$LEDGER/missing"
}
declare -A EXTRA # SIDE: transactions that were listed and had no answer
