#!/bin/sh
# Installs the Debian or Ubuntu packages that ringlet's build, benchmark and tests need.
set -u

usage() {
    cat <<'END'
usage: cmake/install_dependencies.sh [--check | --list] [GROUP...]

Installs what is missing of the named groups with apt-get, as root or through sudo. Says nothing
and takes no time when nothing is missing. Without a group it takes build, bench and test.

groups:
  build      compiler, CMake, libraries
  bench      what benchmark.sh runs beside ringlet: Python and its servers
  field      what benchmark.sh --field and --lab run beside that: libraries, Go, Rust, Erlang, Node, Java, PyPy
  test       what the tests use beyond the build: clang, its sanitizers and tools, strace, socat, relacy,
             Chromium, and the strangers that drive the examples: curl, dig, Redis, PostgreSQL
  report     what the lab counts with, and the report draws PNG files with
  originals  what benchmark.sh originals compares the examples with; some of it starts as a service

options:
  --check    install nothing; list what is missing; exit status 1 if any of it is needed
  --list     print the packages of each group; those in [brackets] are used where they exist
  --help     print this

exit status:
  0  everything needed is there        64  wrong usage
  1  --check: something is missing     69  could not install; the message says how to do it by hand

Lists asked for go to stdout. All else goes to stderr: stdout belongs to the log of benchmark.sh.
END
}

groups_known='build bench field test report originals'
groups_by_default='build bench test'

needed_by() {
    case $1 in
    build) echo "g++ cmake make ninja-build pkg-config liburing-dev libfmt-dev doctest-dev libcli11-dev \
nlohmann-json3-dev zlib1g-dev libssl-dev libev-dev" ;;
    bench) echo "python3 python3-gevent python3-tornado python3-twisted util-linux" ;;
    field) ;;
    test) echo "python3 python3-yaml socat strace relacy-dev" ;;
    report | originals) echo "python3" ;;
    esac
}

# Used where they exist. N stands for the version of clang: see clang_version.
optional_for() {
    case $1 in
    build) echo "ccache" ;;
    bench) ;;
    field) echo "libuv1-dev libst-dev libasio-dev libboost-fiber-dev golang-go rustc cargo \
librust-tokio-dev erlang-base nodejs default-jdk-headless python3-uvloop python3-trio \
python3-eventlet pypy3" ;;
    test) echo "clang-N libclang-rt-N-dev clang-format-N clang-tidy-N mold iproute2 nftables chromium fonts-dejavu-core \
libboost-context-dev mmdebstrap curl bind9-dnsutils redis-server redis-tools postgresql libpq-dev \
libhiredis-dev libc-ares-dev libcurl4-openssl-dev libldns-dev openssl sslscan nmap nghttp2-client wrk haproxy \
nginx-light libnginx-mod-stream gdb prometheus systemd" ;;
    report) echo "chromium fonts-dejavu-core valgrind libboost-context-dev" ;;
    originals) echo "redis-server redis-tools nginx-light libnginx-mod-stream openssl wrk haproxy \
dnsmasq-base dnsperf microsocks libldns-dev" ;;
    esac
}

clang_wanted=19
clang_oldest=16

say() {
    echo "install_dependencies: $*" >&2
}

# The words of $1 that are not among the words of $2.
without() {
    for word in $1; do
        case " $2 " in
        *" $word "*) ;;
        *) printf '%s ' "$word" ;;
        esac
    done
}

installed_packages() {
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null |
        sed -n 's/^installed //p' | tr '\n' ' '
}

newest_clang_of() {
    newest=
    for package in $1; do
        number=${package#clang-}
        case $number in *[!0-9]* | '') continue ;; esac
        [ "$package" != "$number" ] && [ "$number" -ge "$clang_oldest" ] &&
            [ "$number" -gt "${newest:-0}" ] && newest=$number
    done
    echo "$newest"
}

# Prints the version of clang to use: the wanted one where it is installed or can be, else the
# newest that is not too old, else nothing.
clang_version() {
    for packages in "$installed" "$(apt-cache pkgnames clang- 2>/dev/null | tr '\n' ' ')"; do
        case " $packages " in
        *" clang-$clang_wanted "*) echo "$clang_wanted"; return ;;
        esac
    done
    newest_clang_of "$(apt-cache pkgnames clang- 2>/dev/null | tr '\n' ' ') $installed"
}

# Puts clang's version into the optional packages, or drops them and says so.
name_clang() {
    case $optional in *clang-N*) ;; *) return ;; esac
    clang=$(clang_version)
    if [ -n "$clang" ]; then
        optional=$(echo "$optional" | sed "s/-N/-$clang/g")
    elif ! have_package_lists; then # what there is cannot be known before apt-get update
        clang=$clang_wanted
        optional=$(echo "$optional" | sed "s/-N/-$clang/g")
    else
        optional=$(echo "$optional" | sed 's/[^ ]*-N[^ ]*//g')
        say "no clang from $clang_oldest on is available: the tests that need it will be skipped"
    fi
}

# The words of $1 that apt can install.
installable() {
    for package in $1; do
        apt-cache policy "$package" 2>/dev/null | grep -q '^  Candidate: [^(]' &&
            printf '%s ' "$package"
    done
}

have_package_lists() {
    [ -n "$(apt-cache pkgnames libc6 2>/dev/null | head -n 1)" ] &&
        ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1
}

# Runs apt-get as root, quietly; its output is shown only when it fails.
apt() {
    # shellcheck disable=SC2086 # $as_root is a command and its arguments, or nothing
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" \
        >"$output" 2>&1 </dev/null || {
        cat "$output" >&2
        return 1
    }
}

find_root() {
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    elif command -v sudo >/dev/null && [ -t 0 ] && [ -t 2 ]; then
        as_root=sudo
        sudo -v # asks for the password here, where it can be seen
    else
        return 1
    fi
}

action=install
groups=
for argument; do
    case $argument in
    --check | --list) action=${argument#--} ;;
    --help | -h) usage; exit 0 ;;
    -*) say "unknown option $argument; --help lists the options"; exit 64 ;;
    *)
        case " $groups_known " in
        *" $argument "*) groups="$groups $argument" ;;
        *) say "unknown group $argument; the groups are: $groups_known"; exit 64 ;;
        esac
        ;;
    esac
done
groups=${groups:-$groups_by_default}

if [ "$action" = list ]; then
    for group in $groups; do
        echo "$group: $(needed_by "$group")" "$(optional_for "$group" | sed 's/[^ ][^ ]*/[&]/g')"
    done | sed "s/-N/-$clang_wanted/g; s/ *$//"
    exit 0
fi

needed=''
optional=''
for group in $groups; do
    needed="$needed $(without "$(needed_by "$group")" "$needed")"
    optional="$optional $(without "$(optional_for "$group")" "$optional")"
done

installed=$(installed_packages)
needed=$(without "$needed" "$installed")
case " $installed " in # the wanted clang is there: no need to ask apt
*" clang-$clang_wanted "*) optional=$(echo "$optional" | sed "s/-N/-$clang_wanted/g") ;;
esac
optional=$(without "$optional" "$installed")

[ -z "$needed$optional" ] && exit 0

if [ "$action" = check ]; then
    name_clang
    [ -n "$needed" ] && echo "missing: ${needed% }"
    optional=$(without "$optional" "$installed")
    [ -n "$optional" ] && echo "missing, but optional: ${optional% }"
    [ -z "$needed" ]
    exit
fi

# What somebody else has to type: all of it at once, with what is optional as far as it exists.
by_hand() {
    name_clang
    have_package_lists && optional=$(installable "$optional")
    echo "    apt-get update && apt-get install --no-install-recommends $(echo $needed $optional)" >&2
}
if ! command -v apt-get >/dev/null; then
    [ -z "$needed" ] && exit 0
    say "apt-get is not here; install what Debian calls: ${needed% }"
    exit 69
fi

# What is optional asks for a download only where the lists of packages say that it exists.
if [ -z "$needed" ] && have_package_lists; then
    name_clang
    optional=$(installable "$(without "$optional" "$installed")")
    [ -z "$optional" ] && exit 0
fi

if ! find_root; then
    [ -z "$needed" ] && exit 0
    say "neither root nor sudo without a password; as root, run:"
    by_hand
    exit 69
fi

output=$(mktemp) || exit 69
trap 'rm -f "$output"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! apt update; then
    say "apt-get update failed; going on with the lists of packages that are here"
fi
name_clang
optional=$(installable "$(without "$optional" "$installed")")

# shellcheck disable=SC2086 # lists of words
if [ -n "$needed" ]; then
    say "installing ${needed% }"
    if ! apt install -y --no-install-recommends $needed; then
        say "could not install everything; as root, run:"
        by_hand
        exit 69
    fi
fi

# shellcheck disable=SC2086
if [ -n "$optional" ]; then
    say "installing ${optional% }"
    apt install -y --no-install-recommends $optional ||
        say "could not install ${optional% }: what needs it will be skipped"
fi
