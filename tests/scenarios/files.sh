#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# Site files: what a member lists comes to the other side, both ways, as versions with their modes;
# differences are shown; nothing is put in place but by command, and then what was there is kept.
. "$(dirname "$0")/lib.sh"
start_pool
expect 30 level
HBA=$WALFERRY_DEMO/dc1/etc/pg_hba.conf
KEYS=$WALFERRY_DEMO/keys
files() { # N ARGS
    local n=$1
    shift
    OUT=$(walferry "$n" files "$@" 2>&1)
}
restart() { kill_agent "$1" TERM; start_agent "$1"; }
row() { files "$1" && echo "$OUT" | grep -qE "$2"; } # N REGEX
as mkdir -m 700 "$KEYS"
as sh -c "echo secret >'$KEYS/server.key' && chmod 600 '$KEYS/server.key' && echo c1 >'$KEYS/a.conf' && echo c2 >'$KEYS/b.conf'"
ESC=$(printf '\033')
as sh -c "echo '-----BEGIN OPENSSH PRIVATE KEY-----' >'$KEYS/id' && printf 'a\033[2Jb\233c\n' >'$KEYS/with a blank' && echo c0 >'$KEYS/e${ESC}sc' && chmod 666 '$KEYS/id' '$KEYS/with a blank'"
as sh -c "printf '%s\n' '$KEYS/id' '$KEYS/with a blank' '$KEYS/e*sc' >>'$WALFERRY_DEMO/dc1/list'"
as sh -c "printf '%s\n' '# what a site needs' '$HBA   # who may log in' '$KEYS/server.key' '$KEYS/*.conf' >>'$WALFERRY_DEMO/dc1/list'"
as sh -c "echo '$KEYS/back' >'$WALFERRY_DEMO/dc2/list' && echo b1 >'$KEYS/back'"
as sed -i "/^.member dc1-a/a site_files = $WALFERRY_DEMO/dc1/list
/^.member dc2-a/a site_files = $WALFERRY_DEMO/dc2/list" "$CONFIG"
restart 1
restart 2

step "they come over, both ways, and are as here (both members live on one host)"
expect 30 'row 2 "^dc1-a +$HBA +as here .* 1 version$"'
expect 10 'row 2 "^dc1-a +$KEYS/server.key +as here"'
expect 10 'row 2 "^dc1-a +$KEYS/b.conf +as here"'
expect 10 'row 1 "^dc2-a +$KEYS/back +as here"'
[ "$(find "$WALFERRY_DEMO/dc2/spool/files/dc1-a" -name '2*Z' -perm 600 | wc -l)" -ge 1 ] || fail "modes are lost"
[ "$(stat -c %a "$WALFERRY_DEMO/dc2/spool/files")" = 700 ] || fail "others can read the keys"

step "a mode that lets others write, or read a key, does not come along; nothing moves a terminal"
expect 10 'row 2 "^dc1-a +$KEYS/with a blank +as here +0644 "'
expect 10 'row 2 "^dc1-a +$KEYS/id +as here +0600 "'
expect 10 'row 2 "^dc1-a +$KEYS/e[?]sc +as here"'
BLANK="$KEYS/with a blank"
[ "$(as script -qec "'$WALFERRY' files show dc1-a '$BLANK' --config '$CONFIG' --member dc2-a" /dev/null </dev/null | tr -d '\r')" = 'a?[2Jb?c' ] || fail "shown: $(walferry 2 files show dc1-a "$BLANK" | od -c)"
walferry 2 files show dc1-a "$BLANK" | cmp - "$BLANK" || fail "a program gets other bytes"
as sh -c "echo >'$BLANK' && touch -r '$KEYS/id' '$BLANK'"
files 2 apply dc1-a "$BLANK" --dry-run
grep -q '^+a?\[2Jb?c$' <<<"$OUT" && grep -q '^mode 0644$' <<<"$OUT" || fail "$OUT"
files 2 apply dc1-a "$BLANK@$(as ls "$WALFERRY_DEMO/dc2/spool/files/dc1-a/${BLANK//\//%2F}" | head -1)" --yes || fail "$OUT"
[ "$(stat -c %a "$BLANK")" = 644 ] || fail "mode $(stat -c %a "$BLANK")"
as sh -c ": >'$WALFERRY_DEMO/dc1/list'; rm '$KEYS/id' '$BLANK'"
as sh -c "printf '%s\n' '$HBA   # who may log in' '$KEYS/server.key' '$KEYS/*.conf' >'$WALFERRY_DEMO/dc1/list'"
as rm -r "$WALFERRY_DEMO"/dc2/spool/files/dc1-a/*id "$WALFERRY_DEMO"/dc2/spool/files/dc1-a/*blank "$WALFERRY_DEMO"/dc2/spool/files/dc1-a/*sc

step "a change comes as a version; one that only differs here is shown and not touched"
as sh -c "echo '# a line' >>'$HBA'"
expect 20 'row 2 "^dc1-a +$HBA +as here .* 2 versions$"'
as sh -c "echo rotten >'$KEYS/a.conf.new' && touch -r '$KEYS/a.conf' '$KEYS/a.conf.new' && chmod --reference='$KEYS/a.conf' '$KEYS/a.conf.new' && cut -c 1-2 '$KEYS/a.conf.new' >'$KEYS/a.conf' && touch -r '$KEYS/a.conf.new' '$KEYS/a.conf'"
expect 10 'row 2 "^dc1-a +$KEYS/a.conf +differs"'
files 2 diff dc1-a "$KEYS/a.conf" && fail "no difference: $OUT"
echo "$OUT" | grep -q '^+c1' || fail "$OUT"
files 2 show dc1-a "$KEYS/a.conf"
[ "$OUT" = c1 ] || fail "$OUT"
expect 40 '[ "$(field 2 .site_files_differ)" = 1 ]'
walferry 2 status | grep -q "^site files: 1 of the others differ" || fail "status is silent"

step "put in place by command only, the old one kept"
files 2 apply dc1-a "$KEYS/a.conf" </dev/null
[ $? = 2 ] || fail "no consent: $OUT"
files 2 apply dc1-a "$KEYS/a.conf" --dry-run || fail "$OUT"
[ "$(cat "$KEYS/a.conf")" = ro ] || fail "--dry-run wrote"
files 2 apply dc1-a "$KEYS/a.conf" --yes || fail "$OUT"
[ "$(cat "$KEYS/a.conf")" = c1 ] || fail "not in place"
row 2 "^dc2-a +$KEYS/a.conf +replaced" || fail "the old one is not kept: $OUT"
files 2 show dc2-a "$KEYS/a.conf"
[ "$OUT" = ro ] || fail "another one is kept: $OUT"
rm "$KEYS/server.key"
files 2 apply dc1-a "$KEYS/server.key" --yes || fail "$OUT"
[ "$(stat -c %a "$KEYS/server.key")$(cat "$KEYS/server.key")" = 600secret ] || fail "mode or content"
files 2 show dc1-a /nothing && fail "$OUT"

step "at most ten versions; over a restart nothing comes twice"
before=$(ls "$WALFERRY_DEMO"/dc2/spool/files/dc1-a/*pg_hba.conf | wc -l)
restart 1
expect 30 level
for n in 3 4 5 6 7 8 9 10 11; do
    as sh -c "echo $n >>'$HBA'"
    newest() { as sh -c "cmp -s '$HBA' \"\$(ls '$WALFERRY_DEMO'/dc2/spool/files/dc1-a/*pg_hba.conf/2* | tail -1)\""; }
    expect 20 newest
done
[ "$before" = 2 ] || fail "$before versions before"
[ "$(ls "$WALFERRY_DEMO"/dc2/spool/files/dc1-a/*pg_hba.conf | wc -l)" = 10 ] || fail "not ten versions"

step "a file system that hangs (the list is a pipe that nobody writes) holds up no WAL"
LIST=$WALFERRY_DEMO/dc1/list
as sh -c "cp '$LIST' '$LIST.old' && mkfifo '$LIST.pipe' && ln '$LIST.pipe' '$LIST.new' && mv '$LIST.new' '$LIST'"
until=$((SECONDS + 5)) # two looks
while [ $SECONDS -lt $until ]; do
    sql1 "select pg_logical_emit_message(true, 'a', 'b')" >/dev/null
    expect 3 level
done
as mv "$LIST.old" "$LIST"
as timeout 10 sh -c ": >'$LIST.pipe'" || fail "the agent did not look at all"

step "a member fills no directory without end"
as sh -c "cd '$WALFERRY_DEMO/dc2/spool/files/dc1-a' && seq -f '%%2Fold%g' 124 | xargs mkdir" # with the four it has: 128
as sh -c "echo c3 >'$KEYS/c.conf' && echo c4 >'$KEYS/d.conf' && echo 12 >>'$HBA'"
expect 20 'says 2 "conf and maybe more of dc1-a are not kept: 128 files"'
expect 20 newest # what it has goes on
ls "$WALFERRY_DEMO"/dc2/spool/files/dc1-a | grep -q '[cd].conf$' && fail "kept all the same"
[ "$(grep -c "128 files" "$WALFERRY_DEMO/dc2/agent.log")" = 1 ] || fail "said more than once"
pass
