#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# fetch.sh [newer]: gets Debian's kernel for the virtual machine, and its headers for the module, into
# build/vm/; newer: that of Debian's backports, into build/vm-newer/. Nothing is installed: the packages
# are unpacked there, of the image only what the machine needs. What is there already is not fetched
# again, and needs no network.
#
# Leaves there: release (a kernel's release), kernel/, headers/. When they cannot be had:
# `missing`, with the reason, which the tests then give for not running; that is no failure here.
set -u
cd "$(dirname "$0")/../.." || exit 1
newer=${1:-}
vm=build/vm${newer:+-newer}
deb=$vm/tmp/deb
mkdir -p "$vm"

give_up() {
    rm -rf "$vm/tmp"
    echo "$1" >"$vm/missing"
    echo "tests/vm: $1: no virtual machine, no kernel module" >&2
    exit 0
}

# With sources of their own, apt's tools need no root, and leave the machine's alone.
backports() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ -n "$codename" ] && mkdir -p "$vm/tmp/lists/partial" "$vm/tmp/cache/archives/partial" || return 1
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $codename-backports main" >"$vm/tmp/sources.list"
    printf '%s\n' "Dir::Etc::SourceList \"$PWD/$vm/tmp/sources.list\";" 'Dir::Etc::SourceParts "/dev/null";' \
        "Dir::State::Lists \"$PWD/$vm/tmp/lists\";" "Dir::Cache \"$PWD/$vm/tmp/cache\";" >"$vm/tmp/apt.conf"
    export APT_CONFIG=$PWD/$vm/tmp/apt.conf
    apt-get update -qq >/dev/null 2>&1
}

depends() { apt-cache depends --no-recommends --no-suggests "$1" | sed -n 's/^ *Depends: //p'; }

names() {
    image=$(depends linux-image-amd64 | grep -m1 '^linux-image-')
    release=${image#linux-image-}
    [ -n "$release" ] || return 1
    headers=linux-headers-$release
    packages="$image $headers"
    for package in $(depends "$headers" | grep -E '^linux-(headers|kbuild|compiler)-'); do packages="$packages $package"; done
}

download() { mkdir -p "$deb" && (cd "$deb" && apt-get download -qq $packages >/dev/null 2>&1); }

# The makefiles of the headers name their own place by absolute paths.
unpack_headers() {
    local to=$vm/tmp/headers package at
    mkdir -p "$to"
    for package in "$deb"/linux-*.deb; do
        case $package in */linux-image-*) continue ;; esac
        dpkg-deb -x "$package" "$to" || return 1
    done
    at=$(cd "$vm" && pwd)/headers
    grep -rlE --include=Makefile --include='*.mk' '/usr/(src/linux-headers|lib/linux-kbuild)' "$to/usr/src" |
        xargs -r sed -i -E "s#/usr/(src/linux-headers|lib/linux-kbuild)#$at/usr/\1#g"
}

unpack_image() {
    local to=$vm/tmp/kernel
    mkdir -p "$to"
    dpkg-deb --fsys-tarfile "$deb"/linux-image-*.deb | tar -x -C "$to" --wildcards ./boot \
        './lib/modules/*/kernel/drivers/virtio/*' './lib/modules/*/kernel/net/9p/*' \
        './lib/modules/*/kernel/fs/9p/*' './lib/modules/*/kernel/fs/netfs/*' \
        './lib/modules/*/kernel/fs/fscache/*' './lib/modules/*/kernel/fs/overlayfs/*' 2>/dev/null
    [ -d "$to/lib/modules" ] || return 1
    find "$to/lib/modules" -name '*.ko.xz' -exec xz -d {} +
}

# the headers' makefiles hold the path of this very directory
if [ -s "$vm/release" ] && [ "$(cat "$vm/at" 2>/dev/null)" = "$PWD" ]; then
    rm -f "$vm/missing"
    exit 0
fi
[ "$(uname -m)" = x86_64 ] || give_up "the virtual machine is an x86_64 one, this is $(uname -m)"
command -v apt-get >/dev/null || give_up "Debian's kernel packages cannot be fetched without apt-get"
rm -rf "$vm/tmp" "$vm/kernel" "$vm/headers" "$vm/release"
echo "fetching the virtual machine's kernel to $vm"
[ -z "$newer" ] || backports || give_up "Debian's backports cannot be had"
if ! { names && download; }; then
    sudo=; [ "$(id -u)" = 0 ] || sudo='sudo -n'
    $sudo apt-get update -qq >/dev/null 2>&1
    { names && download; } || give_up "the packages of linux-image-amd64 and its headers cannot be downloaded"
fi
unpack_headers || give_up "the kernel's headers cannot be unpacked"
unpack_image || give_up "the kernel's package cannot be unpacked"
mv "$vm/tmp/kernel" "$vm/tmp/headers" "$vm/" && rm -rf "$vm/tmp" "$vm/missing"
echo "$PWD" >"$vm/at"
echo "$release" >"$vm/release"
