#!/bin/bash
# SPDX-License-Identifier: PostgreSQL
# platforms.sh: unit tests and all scenarios on each Debian that we say we run on, each in a folder
# of its own made by debootstrap. As root. What passed is not run again: kill it, start it again.
#
#   tests/platforms.sh [--again] [--only NAME] ... [PLATFORM ...]
#
# PLATFORM: debian12, debian13, testing (default: all). --only: "unit", or a scenario; --again: also
# what passed. The folders lie in $WALFERRY_PLATFORMS (/var/tmp/walferry-platforms); beside each
# PLATFORM is PLATFORM.results with one file for each test: its first line names the commit, its last
# line is "ok ...", "skipped ..." or "not ok ...". A folder that was broken off half-made, or is to be
# brought up to date, is removed by hand.
set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
FOLDERS=${WALFERRY_PLATFORMS:-/var/tmp/walferry-platforms}
platforms=() only=() again=

usage() { sed -n '3,12s/^# \{0,1\}//p' "$0"; exit 2; }
die() { echo "platforms: $*" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
    --again) again=1 ;;
    --only) [ $# -gt 1 ] || usage; only+=("$2") && shift ;;
    debian12 | debian13 | testing) platforms+=("$1") ;;
    *) usage ;;
    esac
    shift
done
[ ${#platforms[@]} -gt 0 ] || platforms=(debian12 debian13 testing)
[ "$(id -u)" = 0 ] || die "debootstrap and chroot need root"
for tool in debootstrap unshare chroot flock; do command -v $tool >/dev/null || die "$tool is not here: apt-get install debootstrap util-linux"; done

suite() { case $1 in debian12) echo bookworm ;; debian13) echo trixie ;; *) echo testing ;; esac }

# Mounts and processes of its own: both are gone when the command ends, however it ends.
inside() { # PLATFORM COMMAND ...
    unshare --mount --pid --fork --kill-child bash -c '
        root=$1 && shift && mount --make-rprivate / &&
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount -t tmpfs -o mode=755 tmpfs "$root/run" &&
        mkdir "$root/run/sshd" && mkdir -m 1777 "$root/run/lock" &&
        exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            ${WALFERRY_LONG:+WALFERRY_LONG=1} "$@"' bash "$FOLDERS/$1" "${@:2}" </dev/null
}

sources() { # SUITE: from where this machine gets its packages
    local mirror security=
    mirror=$(apt-cache policy | grep -oE 'https?://[^ ]+/debian ' | head -1)
    mirror=${mirror:-http://deb.debian.org/debian}
    echo "deb $mirror $1 main"
    [ "$1" = testing ] || echo "deb $mirror $1-updates main"
    echo "deb ${mirror% }-security $1-security main"
}

make_folder() { # PLATFORM: nothing, or all of it
    local folder=$FOLDERS/$1 suite key=/usr/share/keyrings/debian-archive-keyring.gpg
    suite=$(suite "$1")
    [ ! -e "$folder/made" ] || return 0
    [ ! -e "$folder" ] || die "$folder was broken off half-made: remove it"
    echo "making $folder ($suite)"
    sources "$suite" >"$FOLDERS/$1.sources"
    debootstrap --variant=minbase --keyring=$key "$suite" "$folder" "$(awk '{ print $2; exit }' "$FOLDERS/$1.sources")" >"$FOLDERS/$1.log" 2>&1 ||
        { tail -5 "$FOLDERS/$1.log"; die "debootstrap failed, see $FOLDERS/$1.log"; }
    mv "$FOLDERS/$1.sources" "$folder/etc/apt/sources.list"
    [ "$1" != testing ] || echo 'Acquire::Check-Valid-Until "false";' >"$folder/etc/apt/apt.conf.d/90expired"
    printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
    chmod 755 "$folder/usr/sbin/policy-rc.d"
    cp /etc/resolv.conf "$folder/etc/resolv.conf"
    touch "$folder/made"
}

copy_tree() { # PLATFORM: as it is now, so that nobody's next line of code gets in between
    rm -rf "$FOLDERS/$1/walferry" && mkdir "$FOLDERS/$1/walferry"
    { git -C "$ROOT" ls-files -z 2>/dev/null || (cd "$ROOT" && find . -type f -not -path './build/*' -print0); } |
        tar -C "$ROOT" --null -T - -cf - | tar -C "$FOLDERS/$1/walferry" -xf -
}

build() { # PLATFORM
    inside "$1" bash -c 'cd /walferry && eval "$(grep -A1 ^PACKAGES= tests/run.sh)" &&
        conf/demo.sh install $(printf "%s\n" $PACKAGES | grep -vE "^clang") &&
        cmake -S . -B /build -DWALFERRY_WERROR=ON -DWALFERRY_SANITIZE=address && cmake --build /build -j "$(nproc)"' >"$FOLDERS/$1.log" 2>&1 ||
        { grep -E 'error|warning' "$FOLDERS/$1.log" | head -20; tail -3 "$FOLDERS/$1.log"; die "$1 does not build, see $FOLDERS/$1.log"; }
}

run_one() { # PLATFORM TEST
    local log=$FOLDERS/$1.results/$2 since=$SECONDS command
    [ -n "$again" ] || ! tail -n 1 "$log" 2>/dev/null | grep -qE '^(ok|skipped) ' || return 0
    echo "# $TREE $(date -u +%FT%TZ)" >"$log"
    if [ "$2" = unit ]; then
        command='cd /build && ctest -j "$(nproc)" -L unit --output-on-failure --timeout 600 && echo "ok unit"'
    else
        command="cd /walferry && WALFERRY_BUILD=/build timeout ${SCENARIO_SECONDS:-900} bash tests/scenarios/$2.sh"
    fi
    inside "$1" bash -c "$command" >>"$log" 2>&1 ||
        echo "not ok $2 ($((SECONDS - since)) s): $(grep -m1 '^not ok ' "$log" | cut -c 1-200)" >>"$log"
    echo "$1: $(tail -n 1 "$log")"
}

run_platform() { # PLATFORM
    local name lock
    mkdir -p "$FOLDERS/$1.results"
    exec {lock}>"$FOLDERS/$1.lock" && flock -n "$lock" || die "another one runs in $FOLDERS/$1"
    make_folder "$1"
    rm -rf "$FOLDERS/$1"/tmp/wf-* # of a run that was killed
    copy_tree "$1"
    build "$1"
    for name in unit $(ls "$ROOT/tests/scenarios" | sed -n 's/\.sh$//p' | grep -vxE 'lib|browser'); do
        [ ${#only[@]} = 0 ] || [[ " ${only[*]} " == *" $name "* ]] || continue
        run_one "$1" "$name"
    done
    return 0
}

versions() { # PLATFORM: what was tested
    inside "$1" dpkg-query -W -f '${Package} ${Version}\n' 'postgresql-[0-9]*' 'libssh2-1*' openssh-server 'libcmocka0*' 2>/dev/null |
        awk '$1 !~ /client|doc/ && NF == 2 { printf "%s%s %s", n++ ? ", " : "", $1, $2 }'
}

table() {
    local platform results
    printf '%-10s %6s %6s %7s  %s\n' platform passed failed skipped "with"
    for platform in "${platforms[@]}"; do
        results=$(tail -qn 1 "$FOLDERS/$platform.results"/* 2>/dev/null)
        printf '%-10s %6d %6d %7d  %s\n' "$platform" "$(grep -c '^ok ' <<<"$results")" "$(grep -c '^not ok ' <<<"$results")" \
            "$(grep -c '^skipped ' <<<"$results")" "$(versions "$platform")"
        echo "           of $(head -qn 1 "$FOLDERS/$platform.results"/* 2>/dev/null | awk '$1 == "#" { print $2 }' | sort | uniq -c | awk '{ printf "%s%s (%s)", n++ ? ", " : "", $2, $1 }')"
        grep '^not ok ' <<<"$results" | cut -c 1-200 | sed 's/^/    /'
        ! grep -q '^not ok ' <<<"$results" || bad=1
    done
}

mkdir -p "$FOLDERS" || die "cannot make $FOLDERS"
TREE=$(git -C "$ROOT" describe --always --dirty 2>/dev/null) || TREE=unknown
bad=0
for platform in "${platforms[@]}"; do (run_platform "$platform") || bad=1; done
table
exit $bad
