#!/bin/sh
# Runs a command in a Debian 13 root, with this source at the same path: debian13.sh ROOT COMMAND...
#
# Creates the root if it does not exist, and installs what the build and the tests need with the project's own
# script. Exit status 69, with one line on stderr, if that is impossible: it needs root rights and mmdebstrap.
set -eu

root=$1
shift
source=$(cd "$(dirname "$0")/../.." && pwd)

refuse() {
    echo "debian13: $*" >&2
    exit 69
}

# Mounts are in their own namespace, so they end with the command.
# shellcheck disable=SC2016  # expanded by the inner shell
inside() {
    unshare --mount sh -c '
        set -eu
        root=$1 source=$2
        shift 2
        mkdir -p "$root$source"
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        mount -t proc proc "$root/proc"
        mount --bind "$source" "$root$source"
        exec chroot "$root" sh -c "cd \"\$0\" && exec \"\$@\"" "$source" "$@"
    ' sh "$root" "$source" "$@"
}

if [ ! -e "$root/ready" ]; then
    [ "$(id -u)" = 0 ] || refuse "only root can make a root of Debian 13"
    command -v mmdebstrap >/dev/null || refuse "mmdebstrap is missing: cmake/install_dependencies.sh test"
    unshare --mount true 2>/dev/null || refuse "this root may not mount"
    archive=$(sh "$source/tests/support/debian_archive.sh") || refuse "no archive is named in /etc/apt"
    rm -rf "$root"
    mkdir -p "$(dirname "$root")"
    mmdebstrap --quiet --variant=minbase --include=ca-certificates trixie "$root" "$archive" >&2 ||
        refuse "mmdebstrap could not make the root"
    # Programs in the root use this machine's host names and archive.
    cp /etc/hosts /etc/resolv.conf "$root/etc" 2>/dev/null || true
    touch "$root/ready"
fi
# More may be needed by now.
needed=$(sh "$source/cmake/install_dependencies.sh" --list build test)
if [ "$needed" != "$(cat "$root/ready")" ]; then
    inside sh cmake/install_dependencies.sh build test >&2 || refuse "its packages could not be installed"
    echo "$needed" >"$root/ready"
fi
inside "$@"
