#!/bin/sh
# SPDX-License-Identifier: PostgreSQL
# order.sh: who may know whom. The list below is the architecture: a file includes and calls only files of
# rooms further down, or of its own room; and the files of a room form no circle. That a part of a room
# includes the header of the file that calls it is none.
#
#   tests/order.sh BUILD     the includes are read in the sources, the calls in the object files of BUILD
#
# An arrow that breaks the order is printed with all that it is made of.
set -u
cd "$(dirname "$0")/.." || exit 1

ROOMS='
agent                 main and launcher: the command line
agent/commands        one file per command: arguments, questions, printing
agent/daemon          open, one loop, close; owns the rooms below
agent/web             http, metrics, the page
agent/handover        the hands of role changes
agent/monitor         report, conditions, events
agent/validate        readiness; runs jobs of PostgreSQL, like a command
agent/retention       WAL that must not get lost nor fill a disk
agent/tunnel          byte pipes to the other site
agent/links           the side of the daemon of the links of shipper
agent/files           site files
agent/jobs            seed, rejoin and their parts: in the process of the command
agent/postgres        PostgreSQL on this host, asked without waiting
agent/pool            who is primary
agent/config          the file of the pool
agent/control         the Unix socket, asked and answered
shipper/tunnel        carries a connection that the receiver was handed, or one of its own by ssh
shipper/sender        WAL out: from replication or the spool, by ssh
shipper/receiver      WAL in, to the spool
shipper/replication   the protocol of PostgreSQL, both halves
shipper/ssh           connections to other sites
shipper/wire          frames
shipper/wal           segments on disk
shipper/base          bytes, files, errors, threads, sockets
'

# Arrows that break the order and are known: FROM TO, where * is any file. One that is not needed any more
# fails the test.
KNOWN='
'

# Lines of facts: room, known, source FILE, include FILE WHAT, define FILE SYMBOL, use FILE SYMBOL.
{
    echo "$ROOMS" | awk 'NF { print "room", $1 }'
    echo "$KNOWN" | awk 'NF { print "known", $1, $2 }'
    find agent shipper include -name '*.[ch]' | sed 's/^/source /'
    find agent shipper include -name '*.[ch]' -exec grep -H '^ *# *include "' {} + | sed 's/\([^:]*\):.*"\(.*\)".*/include \1 \2/'
    find "$1" -path '*.dir/agent/*.o' -o -path '*.dir/shipper/*.o' | while read -r object; do
        source=${object#*.dir/} source=${source%.o}
        [ ! -e "$source" ] || nm -g "$object" | awk -v "source=$source" 'NF > 1 { print $(NF - 1) == "U" ? "use" : "define", source, $NF }'
    done
} | awk '
function name(path) { sub(/^include\/base/, "shipper/base", path); sub(/^include\//, "", path); return path }
function room(file) { sub(/\/[^\/]*$/, "", file); return file }
function arrow(a, b, how) {
    if (a == b || (a, b, how) in seen) return
    seen[a, b, how] = 1
    if (!((a, b) in why)) { from[++n] = a; to[n] = b }
    why[a, b] = why[a, b] " " how
}
function included(file, what,   at, k) { # which file is meant
    split(room(file) "/ include/ agent/ shipper/", at, " ")
    for (k = 1; k <= 4; k++) if ((at[k] what) in source) return at[k] what
}
function excuse(i,   k) { # the first line of KNOWN that knows arrow i, or 0
    for (k = 1; k <= nknown; k++)
        if ((known_from[k] == "*" || known_from[k] == from[i]) && (known_to[k] == "*" || known_to[k] == to[i])) return k
    return 0
}
function leads(file, goal, known,   i) { # a way inside the room, along arrows without an excuse and those of this one
    if (file == goal) return 1
    if (file in been) return 0
    been[file] = 1
    for (i = 1; i <= n; i++)
        if (from[i] == file && room(to[i]) == room(file) && (excused[i] == 0 || excused[i] == known) && leads(to[i], goal, known)) return 1
    return 0
}
function wrong(i, known) { # with arrow i
    if (room(from[i]) != room(to[i])) return place[room(from[i])] < place[room(to[i])] ? "" : "up"
    split("", been)
    return leads(to[i], from[i], known) ? "in a circle" : ""
}
function say(what) { print what; bad = 1 }
$1 == "room" { place[$2] = ++rooms }
$1 == "known" { known_from[++nknown] = $2; known_to[nknown] = $3 }
$1 == "source" { source[$2]; if (!(room(name($2)) in place)) say($2 ": its room has no place in ROOMS") }
$1 == "include" { if ((path = included($2, $3)) == "") say($2 ": where is " $3 "?"); else arrow(name($2), name(path), "#include") }
$1 == "define" { home[$3] = name($2); defined = 1 }
$1 == "use" { user[++users] = name($2); used[users] = $3 }
END {
    if (!defined) say("no object files: build first")
    for (i = 1; i <= users; i++) if (used[i] in home) arrow(user[i], home[used[i]], used[i])
    for (i = 1; i <= n; i++) excused[i] = excuse(i)
    for (i = 1; i <= n; i++) {
        if (excused[i]) needed[excused[i]] += wrong(i, excused[i]) != ""
        else if ((how = wrong(i, 0)) != "") say(from[i] " -> " to[i] ", " how ":" why[from[i], to[i]])
    }
    for (k = 1; k <= nknown; k++) if (!needed[k]) say("no longer needed in KNOWN: " known_from[k] " " known_to[k])
    print n " arrows between files in " rooms " rooms"
    exit bad
}'
