#!/bin/sh
# Measures ringlet's echo_coro against other echo servers, one after another, on this machine.
# "sh benchmark.sh --help" is the manual. bench/commands does it all; this finds it a Python, and
# works with any POSIX shell on Linux.
set -u
LC_ALL=C PYTHONDONTWRITEBYTECODE=1
export LC_ALL PYTHONDONTWRITEBYTECODE

root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd) || exit 70

# A closed stream is no number for another file: else the machine's lines would go into the log.
[ -L /proc/self/fd/0 ] || exec </dev/null
[ -L /proc/self/fd/2 ] || exec 2>/dev/null
[ -L /proc/self/fd/1 ] || {
    echo "benchmark: stdout is closed: there is nowhere to print to" >&2
    exit 74
}

find_python3() {
    for python3 in "${PYTHON3:-}" /usr/bin/python3 python3; do
        "$python3" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1 </dev/null &&
            return
    done
    return 1
}

# Not for --help and --list, and not where a build directory was given.
may_install() {
    case " $* " in
    *' --help '* | *' -h '* | *' --list '*) return 1 ;;
    esac
    [ -z "${RINGLET_BUILD_DIR:-}" ]
}

if ! find_python3; then
    may_install "$@" && sh "$root/cmake/install_dependencies.sh" bench
    find_python3 || {
        echo "benchmark: Python 3.8 or later is missing: install the package python3" >&2
        exit 69
    }
fi
command=log
case ${1-} in
log) shift ;;
field) shift && set -- --field "$@" ;;
compare) shift && command=compare.py ;;
accept) shift && command=accept.py ;;
spread) shift && command=spread.py ;;
hand-over) shift && command=hand_over.py ;;
originals) shift && command=originals.py ;;
targets) shift && command=targets ;;
report) shift && command=report ;;
esac
exec "$python3" "$root/bench/commands/$command" "$@"
