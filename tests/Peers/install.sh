#!/usr/bin/env bash
# tests/Peers/install.sh [DIR]: puts what the tests of this folder run against into DIR (default $LOWLEVEL_PEERS, else artifacts/peers of this tree):
#   qemu, qemu-storage-daemon   Debian 12's, 7.2
#   qemu-next                   the newest one for Debian 13 (backports); 11 or later can make any virtio device over vhost-user
#   busybox                     static, the guest's user space
#   vmlinuz, modules/           Debian 12's cloud kernel and its virtio drivers
#   spin                        Debian 12's model checker, which tests/Models needs beside a C compiler
# Everything comes from this machine's own Debian archive, or from $DEBIAN_ARCHIVE, through apt roots of its own and is only unpacked: no
# package is installed, and nobody needs to be root. A second run finds everything and does nothing; one that was interrupted goes on.
# What cannot be had is named and is no failure: the tests that need it are skipped by name.
set -uo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
dir="$(realpath -m "${1:-${LOWLEVEL_PEERS:-$here/../../artifacts/peers}}")"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "tests/Peers/install.sh: $*"; }

# The archive that this machine uses: the first of its sources whose path ends in "debian".
find_archive() {
    sed -nE 's/^URIs: *([^ ]*debian)\/?$/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]*debian)\/? .*/\2/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2> /dev/null | head -n 1
}

# make_root NAME SUITE...: an apt root of its own with these suites, which believes that nothing is installed yet. Proxies stay as they are.
make_root() {
    local root="$dir/$1/apt" suite
    shift
    mkdir -p "$root"/etc/{sources.list.d,preferences.d,apt.conf.d,trusted.gpg.d} "$root"/lib/lists/partial "$root"/cache/archives/partial
    touch "$root/status"
    for suite in "$@"; do echo "deb [signed-by=$keyring] $archive $suite main"; done > "$root/etc/sources.list"
    {
        apt-config dump | grep -E '^Acquire::(https?|Check-|ForceIPv|Retries)'
        printf '%s "%s";\n' Dir::State "$root/lib" Dir::State::status "$root/status" Dir::Cache "$root/cache" Dir::Etc "$root/etc"
        printf '%s "%s";\n' APT::Architecture amd64 Acquire::Languages none APT::Install-Recommends false APT::Sandbox::User ""
    } > "$root/apt.conf"
    export APT_CONFIG="$root/apt.conf"
    apt-get -q -o APT::Update::Error-Mode=any update
}

# unpack NAME PACKAGE...: these packages with all that they need, unpacked into $dir/NAME/root. What is there stays until the new one is whole.
unpack() {
    local part="$dir/$1" package
    shift
    rm -rf "$part/new"
    mkdir -p "$part/new"
    apt-get -q -y -d install "$@" || return
    for package in "$part"/apt/cache/archives/*.deb; do dpkg -x "$package" "$part/new" || return; done
    rm -rf "$part/root"
    mv "$part/new" "$part/root"
}

# starter FILE NAME PROGRAM ARGUMENTS: a script that runs a program of that root with the root's own loader, libraries and modules.
starter() {
    local file="$dir/$1" name="$2" program="$3" arguments="${4:-}" loader
    loader="$(cd "$dir/$name/root" && find . -name ld-linux-x86-64.so.2 -type f | head -n 1)"
    [ -n "$loader" ] || return
    cat > "$file.new" <<EOS
#!/bin/sh
root="\${0%/*}/$name/root"
lib="\$root/usr/lib/x86_64-linux-gnu"
export QEMU_MODULE_DIR="\$lib/qemu"
exec "\$root/$loader" --library-path "\$lib:\$root/lib/x86_64-linux-gnu" "\$root/usr/bin/$program" $arguments "\$@"
EOS
    chmod +x "$file.new" && "$file.new" --version > /dev/null && mv "$file.new" "$file"
}

firmware='-L "$root/usr/share/qemu" -L "$root/usr/share/seabios"'

get_stock() {
    make_root stock bookworm && unpack stock qemu-system-x86 qemu-system-common qemu-utils busybox-static || return
    starter qemu-storage-daemon stock qemu-storage-daemon && starter qemu stock qemu-system-x86_64 "$firmware" || return
    cp "$dir"/stock/root/bin/busybox "$dir/busybox" || return
    get_kernel
}

# The package that linux-image-cloud-amd64 stands for; of it only the kernel and the drivers of virtio devices.
get_kernel() {
    local package
    package="$(apt-cache depends linux-image-cloud-amd64 | sed -nE 's/^ *Depends: (linux-image-[0-9][^ ]*)$/\1/p' | head -n 1)"
    [ -n "$package" ] || return
    rm -rf "$dir/kernel" && mkdir -p "$dir/kernel" && (cd "$dir/kernel" && apt-get -q download "$package") || return
    dpkg --fsys-tarfile "$dir"/kernel/*.deb | tar -x -C "$dir/kernel" --wildcards './boot/vmlinuz-*' '*/drivers/virtio/*' '*/drivers/char/hw_random/*' \
        '*/drivers/block/virtio*' || return
    find "$dir/kernel" -name '*.ko.xz' -exec xz -d {} +
    rm -rf "$dir/modules" && mkdir "$dir/modules" && find "$dir/kernel" -name '*.ko' -exec cp -t "$dir/modules" {} + || return
    cp "$dir"/kernel/boot/vmlinuz-* "$dir/vmlinuz"
}

get_next() {
    local backports=trixie-backports
    make_root next trixie "$backports" \
        && unpack next {qemu-system-x86,qemu-system-common,qemu-system-data,seabios}/"$backports" \
        && starter qemu-next next qemu-system-x86_64 "$firmware"
}

# Spin alone: of what it stands on it needs the C library, which is here, and a C compiler, which its users look for.
get_models() {
    make_root models bookworm && (cd "$dir/models" && apt-get -q download spin && dpkg -x spin_*.deb root) || return
    "$dir/models/root/usr/bin/spin" -V > /dev/null && cp "$dir/models/root/usr/bin/spin" "$dir/spin"
}

# part NAME FILE WHAT: makes what is not there yet, or was made by another version of this script; all that it prints is kept in NAME.log.
part() {
    local name="$1" file="$2" what="$3"
    if [ -x "$dir/$file" ] && cmp -s "$0" "$dir/$name.done"; then
        say "$what: there"
    elif [ -z "$missing" ] && "get_$name" > "$dir/$name.log" 2>&1; then
        rm -rf "$dir/$name/apt" "$dir/kernel"
        cp "$0" "$dir/$name.done"
        say "$what: unpacked"
    else
        say "$what: could not be had: ${missing:-$(grep -m 1 '^E:' "$dir/$name.log" || tail -n 1 "$dir/$name.log") (all of it: $dir/$name.log)}"
        [ ! -x "$dir/$file" ] || say "$what: what an earlier run has made stays in use"
    fi
}

mkdir -p "$dir" || { say "no folder $dir"; exit 0; }

# One run at a time, where several clones share the folder.
if command -v flock > /dev/null; then exec 9> "$dir/lock" && flock 9; fi

archive="${DEBIAN_ARCHIVE:-$(find_archive)}"
missing=""
for tool in apt-get dpkg tar; do command -v "$tool" > /dev/null || missing="this machine has no $tool"; done
[ "$(uname -m)" = x86_64 ] || missing="these are programs for x86-64"
[ -e "$keyring" ] || missing="there is no $keyring (package debian-archive-keyring)"
[ -n "$archive" ] || missing="there is no Debian archive among this machine's package sources, and DEBIAN_ARCHIVE is not set"
part stock qemu "QEMU 7.2 with its storage daemon, busybox and a kernel"
part next qemu-next "QEMU from backports"
part models spin "the model checker spin"
exit 0
