#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# crowd.sh ADDRESS:PORT ...: a thousand HTTP clients, by turns to each address, that say a byte of
# their request a second and never end it, and some that talk garbage; until it is killed. Says
# "1000 connections" when all were made.
ulimit -n 2048 || exit 1
trap '' PIPE
fd=() made=0
connect() { # I
    local to=${places[$1 % ${#places[@]}]}
    { exec {fd[$1]}<>"/dev/tcp/${to%:*}/${to##*:}"; } 2>/dev/null || return
    printf 'GET /metrics HTTP/1.1\r\nX: ' >&"${fd[$1]}"
    made=$((made + 1))
}
places=("$@")
for ((i = 0; i < 1000; i++)); do connect $i; done
echo "$made connections"
while sleep 1; do
    again=0
    for ((i = 0; i < 1000; i++)); do # who was turned away comes again, a hundred a second
        printf a >&"${fd[i]}" && continue
        [ $((again++)) -lt 100 ] || continue
        exec {fd[i]}>&-
        connect $i
    done
    for to in "$@"; do head -c 3000 /dev/urandom >"/dev/tcp/${to%:*}/${to##*:}"; done
done 2>/dev/null
