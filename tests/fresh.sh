#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# fresh.sh [COMMAND...]: runs the README's test command, or COMMAND, in a clone of HEAD on a Debian that has
# git and make besides what every Debian has. What is missing from `make deps`, and only happens to be
# installed here, shows there. Needs root, the network, debootstrap and 5 GB in TMPDIR; leaves nothing.
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || set -- make test
command -v debootstrap >/dev/null || { echo "fresh.sh: debootstrap is not installed" >&2; exit 77; }
[ "$(id -u)" = 0 ] || { echo "fresh.sh: needs root" >&2; exit 77; }

root=$(mktemp -d "${TMPDIR:-/var/tmp}/introspect-fresh.XXXXXX")
# the mounts below end with their namespace; if one were left all the same, what is behind it is not removed
trap 'rm -rf --one-file-system "$root"' EXIT
log=$root.log
if ! debootstrap --variant=minbase --include=git,make bookworm "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$log" 2>&1; then
    tail -n 3 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
chmod 755 "$root"
git clone -q "$project" "$root/root/introspect"

# shellcheck disable=SC2016 # these are that shell's own
unshare -m sh -euc '
    root=$1; shift
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    exec chroot "$root" env -i HOME=/root \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        sh -c "cd /root/introspect && exec \"\$@\"" sh "$@"
' sh "$root" "$@"
