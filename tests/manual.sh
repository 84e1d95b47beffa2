#!/bin/sh
# SPDX-License-Identifier: PostgreSQL
# manual.sh: conf/man and the program tell the same. Every command, option, key, event, metric,
# variable and HTTP path of the program is in its page, and the pages have no other; mandoc finds
# nothing to say. What is in only one of the two is named, and the exit status is 1.
#
#   tests/manual.sh PROGRAM
#
# From the program come its commands (help), which options each of them takes (it is asked, with a
# pool's file that is not there), and the keys (its answer to an unknown one); events, metrics,
# variables and paths come from the tables in the sources.
set -u
LC_ALL=C ASAN_OPTIONS=detect_leaks=0 # the program is asked 600 times, and a search for leaks is half of each
export LC_ALL ASAN_OPTIONS
PROGRAM=$1
cd "$(dirname "$0")/.." || exit 1
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
failed=0

say() { echo "manual: $*"; failed=1; }

# What a page names (standard input) against what the program has ($T/WHAT).
compare() { # WHAT PAGE
    sort -u >"$T/page"
    sort -u -o "$T/$1" "$T/$1"
    [ -s "$T/$1" ] || say "no $1 found in the program"
    comm -23 "$T/$1" "$T/page" >"$T/missing"
    comm -13 "$T/$1" "$T/page" >"$T/unknown"
    while read -r line; do say "$2 lacks the $1 '$line'"; done <"$T/missing"
    while read -r line; do say "$2 has '$line', which is no $1 of the program"; done <"$T/unknown"
}

# The items of a section: what stands behind ".It MACRO", names between " , " one a line.
items() { # PAGE SECTION MACRO
    awk -v section="$2" -v macro="$3" '
        /^\.Sh / { in_it = section == "" || substr($0, 5) == section }
        in_it && $1 == ".It" && $2 == macro { sub(/^\.It [A-Z][a-z] /, ""); gsub(/ , /, "\n"); print }' "conf/man/$1"
}

# ---- commands and options ----

"$PROGRAM" help | awk '/^  [a-z]/ { print $1 }' >"$T/command"
items walferry.1 COMMANDS Ic | awk '{ print $1 }' | compare command walferry.1

: >"$T/option"
for option in $(grep -ohE '\{"--[a-z-]+"' agent/main.c agent/commands/*.c | tr -d '{"'); do
    while read -r command; do
        "$PROGRAM" "$command" "$option" 1 --config "$T/none" 2>&1 | grep -q 'no such option here' ||
            echo "$command $option" >>"$T/option"
    done <"$T/command"
done
# Of the section OPTIONS every command takes each, but those that its first lines name.
awk -v commands="$(tr '\n' ' ' <"$T/command")" '
    /^\.Sh / { section = $2; depth = 0 }
    /^\.Bl / { depth++ }
    /^\.El/ { depth-- }
    section == "COMMANDS" && depth == 1 && /^\.It Ic / { command = $3 }
    section == "COMMANDS" && depth == 2 && /^\.It Fl / { print command " -" $3 }
    section == "OPTIONS" && depth == 0 && /^\.Ic / { but[$2] = 1 }
    section == "OPTIONS" && /^\.It Fl / {
        count = split(commands, name, " ")
        for (i = 1; i <= count; i++) if (!(name[i] in but)) print name[i] " -" $3
    }' conf/man/walferry.1 | compare option walferry.1

# Command lines in the text: "walferry COMMAND --OPTION ..." in a macro, a block or backquotes.
grep -ohE '(^\.(Dl|Ic|Ql) "?|^.*-- |command="|`|^    )walferry [a-z]+[^`"]*' conf/man/* README.md |
    sed 's/.*walferry /walferry /' |
    awk '{ print $2; for (i = 3; i <= NF; i++) if ($i ~ /^--[a-z]/) { sub(/=.*/, "", $i); print $2 " " $i } }' |
    sort -u >"$T/used"
sort -u "$T/command" "$T/option" | comm -13 - "$T/used" >"$T/unknown"
while read -r line; do say "the text has 'walferry $line', which the program has not"; done <"$T/unknown"

# ---- keys ----

printf '[pool]\nno_such_key = 1\n[member a]\nno_such_key = 1\n' >"$T/pool.ini"
chmod 600 "$T/pool.ini"
"$PROGRAM" status --config "$T/pool.ini" 2>&1 | awk '/unknown key; allowed: / {
    section = / \[pool\] / ? "[pool]" : "[member]"
    sub(/.*allowed: /, "")
    count = split($0, key, ", ")
    for (i = 1; i <= count; i++) print section " " key[i] }' >"$T/key"
{
    items walferry.ini.5 POOL Ic | sed 's/^/[pool] /'
    items walferry.ini.5 MEMBER Ic | sed 's/^/[member] /'
} | compare key walferry.ini.5
awk '/^\[/ { section = $1 == "[pool]" ? $1 : "[member]" }
    { sub(/^; */, "") }
    /^[a-z_]+ *=/ { sub(/ *=.*/, ""); print section " " $0 }' conf/pool.ini | compare key conf/pool.ini

# ---- events, variables ----

grep -ohE '\{"WF[0-9]+", "[^"]+", "[a-z]+"' agent/monitor/*.c | sed 's/[{"]//g; s/, / /; s/, / Pq /' >"$T/event"
items walferry-events.7 EVENTS Sy | compare event walferry-events.7

grep -rohE --include='*.c' '(FACT|getenv)\("WALFERRY_[A-Z_]+"' agent | sed 's/.*("//; s/"//' >"$T/variable"
{
    items walferry.1 ENVIRONMENT Ev
    items walferry-events.7 ENVIRONMENT Ev | grep -v '^PATH$'
} | compare variable "walferry.1 or walferry-events.7"

# ---- metrics, paths ----

cat agent/web/*.c | tr -s '\n ' ' ' >"$T/web" # a call may be broken over lines
grep -oE '"walferry_[a-z_]+[{"]' "$T/web" | tr -d '"{' >"$T/metric"
items walferry-metrics.7 METRICS Ic | awk '{ print $1 }' | compare metric walferry-metrics.7
{
    grep -oE '"walferry_[a-z_]+", "(gauge|counter|histogram)"' "$T/web" | sed 's/"//g; s/, / Pq /'
    grep -oE 'put_pool_and_links\( ?&o, "walferry_[a-z_]+"' "$T/web" | sed 's/.*, "//; s/"/ Pq gauge/'
} >"$T/type"
items walferry-metrics.7 METRICS Ic | compare type walferry-metrics.7

grep -ohE '\{"/[a-z.]*", [a-z_]+' agent/web/*.c | sed 's/^{"//; s/".*//' | grep -v '^/page\.' >"$T/path"
items walferry-metrics.7 DESCRIPTION Pa | sed 's/?.*//' | compare path walferry-metrics.7

# ---- mandoc ----

mandoc -T lint conf/man/* >"$T/lint" 2>&1 || [ -s "$T/lint" ] || say "mandoc does not run"
while read -r line; do
    case $line in *'not found: Xr '*) # it looks among the installed ones; ours lie here
        set -- ${line##*Xr }
        [ ! -e "conf/man/$1.$2" ] || continue ;;
    esac
    say "$line"
done <"$T/lint"

exit $failed
