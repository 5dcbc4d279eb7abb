#!/bin/sh
# Unpacks the liburing of a newer Debian into a folder, without installing it: newer_liburing.sh FOLDER [SUITE]
#
# Prints nothing if it is already there. Exit status 1, with one line on stderr, if this is not Debian, or
# its archive cannot be reached.
set -eu

folder=$1
suite=${2-trixie}
[ -f "$folder/usr/include/liburing.h" ] && exit 0

refuse() {
    echo "newer_liburing: $*" >&2
    exit 1
}
[ "$(. /etc/os-release && echo "$ID")" = debian ] || refuse "this is no Debian"
archive=$(sh "$(dirname "$0")/debian_archive.sh") || refuse "no archive is named in /etc/apt"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $archive $suite main" >"$work/sources.list"
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o Acquire::Languages=none "$@" >"$work/output" 2>&1
}
cd "$work"
apt update || refuse "the packages of $suite cannot be listed: $(tail -n 1 output)"
apt download liburing-dev linux-libc-dev || refuse "liburing-dev of $suite cannot be had: $(tail -n 1 output)"
cd "$OLDPWD"
mkdir -p "$folder"
# Its headers need equally new kernel headers.
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$folder"
done
