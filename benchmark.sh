#!/bin/sh
# Measures ringlet's echo_coro against other echo servers, one after another, on this machine.
# "sh benchmark.sh --help" is the manual. Works with any POSIX shell on Linux.
# shellcheck disable=SC3045 # every sh on Linux knows ulimit -n
set -u
LC_ALL=C
export LC_ALL

root=$(cd "$(dirname "$0")" && pwd) || exit 70

usage() {
    cat <<'END'
usage: sh benchmark.sh [options] > benchmark.log

Installs what is missing, builds ringlet, starts one echo server after another, runs the load
client echo_bench against each, and writes the log to stdout: the server's command, a line per
run, an empty line. Everything else (the machine, progress, trouble) goes to stderr. First come
the servers that create no coroutine per connection, then those that do.

  ./echo_coro --port 3200
  Throughput: 90512.77 [reqests/sec], errors: 0
  ...

what to run:
  --field              the rows of the field too: what a user would take instead of ringlet
                       (docs/benchmarks.md). Installs and builds more, for Go, Rust, Java and others
  --lab                not the log: what a coroutine per connection costs here, step by step, and the
                       field, as a page with pictures (bench/lab --help). Half an hour the first time;
                       after Ctrl-C the same command goes on
  --quick              the same, roughly, in two minutes
  --only ROW,ROW...    only these rows, of the field too; --list --field shows their names
  --runs N             N runs of the client per row (5)
  --full               the load of the classic logs: -t 2000 -c 5 -e 1000 instead of
                       -t 100 -c 5 -e 200. Ten million echoes a run: a row takes many minutes
  --client-options 'OPTIONS'
                       the load in echo_bench's own words, instead of the above
  --time-limit SECONDS a run that takes longer has failed (60; with --full 3600)
  --port-offset N      add N to every port, where the usual ones are taken
  --list               print the rows, their ports and whether each can run here; run nothing
  --help               print this

environment:
  RINGLET_BUILD_DIR    take the programs from this build directory as they are; nothing is
                       installed or built then
  PYTHON3, PYTHON2     the interpreters (/usr/bin/python3, which sees the system's packages, and
                       python2 on PATH)

What it does to be fair: every server gets the same client, the same message (bench/message.json),
the same TCP congestion control (cubic, or reno), TCP_NODELAY and a backlog of 4096. Server and
client each have a CPU of their own where two are allowed. Setting the congestion control needs
root; the old value is put back at the end. Throughput on a shared machine can differ by a factor
of three between two runs: bench/server_cpu.py compares two servers by their CPU time per echo.
Of two measurements on one machine, the second waits until the first has ended.

A row that cannot run here says what to install, and the run goes on. A row that failed says why
instead of giving numbers; a run with errors shows them in its line. Ctrl-C stops the servers too.

exit status:
  0  every row ran, or could not run here       69  a port is taken, or the client is missing
  1  at least one row failed or had errors      70  the build failed
  64 wrong usage                                130, 143  stopped by Ctrl-C, by SIGTERM
END
}

# The rows of the classic log, and those of the field, in the order of the log.
#   kind     callback   no coroutine per connection
#            coroutine  one coroutine, or a greenlet, per connection
#            thread     one light thread with a stack of its own per connection
#   runner   program: the server itself; NAME=VALUE: the same, with that in its environment; else
#            the interpreter of a source
#   server   a program in the build directory, or a source in bench/peers (x is x_echo.py)
#   package  what to install where the row cannot run
#
# row          port kind      runner          server                package
classic_rows='
libev          3100 callback  program         bench/libev_echo      libev-dev
epoll2         3900 callback  python2         epoll                 python2
epoll3         4000 callback  python3         epoll                 python3
twisted2       3600 callback  python2         twisted               python-twisted
twisted3       3700 callback  python3         twisted               python3-twisted
echo_coro      3200 coroutine program         src/server/echo_coro  -
gevent2        3250 coroutine python2         gevent                python-gevent
gevent3        3300 coroutine python3         gevent                python3-gevent
tornado2       3400 coroutine python2         tornado               python-tornado
tornado3       3500 coroutine python3         tornado               python3-tornado
asyncio3       3800 coroutine python3         asyncio               python3
'
field_rows='
epoll          3005 callback  program         bench/epoll_echo      -
uring          3010 callback  program         bench/uring_echo      -
libev_uring    3015 callback  LIBEV_FLAGS=128 bench/libev_echo      libev-dev
libuv          3020 callback  program         bench/libuv_echo      libuv1-dev
node           3025 callback  node            node_echo.js          nodejs
java           3030 callback  java            java_echo.java        default-jdk-headless
pypy_epoll     3035 callback  pypy3           epoll                 pypy3
asio_epoll     3040 coroutine program         bench/asio_epoll_echo libasio-dev
asio_uring     3045 coroutine program         bench/asio_uring_echo libasio-dev
tokio          3050 coroutine program         bench/tokio_echo      librust-tokio-dev
uvloop         3055 coroutine python3         uvloop                python3-uvloop
trio           3060 coroutine python3         trio                  python3-trio
eventlet       3065 coroutine python3         eventlet              python3-eventlet
pypy_asyncio   3070 coroutine pypy3           asyncio               pypy3
st             3075 thread    program         bench/st_echo         libst-dev
fiber          3080 thread    program         bench/fiber_echo      libboost-fiber-dev
go             3085 thread    program         bench/go_echo         golang-go
erlang         3090 thread    escript         erlang_echo.escript   erlang-base
'
java_options='-XX:+UseSerialGC -Djava.net.preferIPv4Stack=true'

names_of() {
    echo "$1" | sed -n 's/ .*//p' | tr '\n' ' '
}
classic_names=$(names_of "$classic_rows")
field_names=$(names_of "$field_rows")
row_names="$classic_names$field_names"

start_seconds_limit=20
stop_seconds_limit=3
client_load='-t 100 -c 5 -e 200'
time_limit=
runs=5
only=
default_names=$classic_names
port_offset=0
action=run
quick='' lab_group=''

say() {
    echo "benchmark: $*" >&2
}

wrong_usage() {
    say "$*; --help explains the options"
    exit 64
}

number() { # OPTION VALUE SMALLEST LARGEST
    case $2 in
    '' | *[!0-9]* | 0?* | ???????*) ;;
    *) [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] && return ;;
    esac
    wrong_usage "$1 takes a number from $3 to $4, not '$2'"
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --only | --runs | --client-options | --time-limit | --port-offset)
            [ $# -ge 2 ] || wrong_usage "$1 needs a value"
            option=$1 value=$2
            shift
            ;;
        --*=*) option=${1%%=*} value=${1#*=} ;;
        *) option=$1 value= ;;
        esac
        shift
        case $option in
        --only) only="$only $(echo "$value" | tr ',' ' ')" ;;
        --runs) number "$option" "$value" 1 1000 && runs=$value ;;
        --field) default_names=$row_names ;;
        --full) client_load='-t 2000 -c 5 -e 1000' time_limit=${time_limit:-3600} ;;
        --client-options) client_load=$value ;;
        --time-limit) number "$option" "$value" 1 100000 && time_limit=$value ;;
        --port-offset) number "$option" "$value" 0 61535 && port_offset=$value ;;
        --lab) action=lab lab_group=report default_names=$row_names ;;
        --quick) action=lab lab_group=report quick=--quick default_names=$row_names ;;
        --list) action=list ;;
        --commands) action=commands ;;
        --help | -h) usage && exit 0 ;;
        *) wrong_usage "unknown option '$option'" ;;
        esac
    done

    time_limit=${time_limit:-60}
    for name in $only; do
        case " $row_names " in
        *" $name "*) ;;
        *) wrong_usage "no row is called '$name'; the rows are: ${row_names# }" ;;
        esac
    done
    selected='' field_group=''
    for name in $row_names; do
        case " ${only:-$default_names} " in
        *" $name "*)
            selected="$selected $name"
            is_of_the_field "$name" && field_group=field
            ;;
        esac
    done
}

is_of_the_field() {
    case " $field_names " in
    *" $1 "*) ;;
    *) return 1 ;;
    esac
}

# ---- rows ---------------------------------------------------------------------------------------

# Sets what is known about a row: port kind runner server package directory program arguments
# heading.
find_row() {
    # shellcheck disable=SC2046 # the words of one line of the table
    set -- $(echo "$classic_rows$field_rows" | sed -n "s/^$1 //p")
    port=$(($1 + port_offset)) kind=$2 runner=$3 server=$4 package=$5
    directory=$root/bench/peers
    program=$runner
    case $runner in
    program | *=*)
        directory=$build/$(dirname "$server")
        program=./$(basename "$server")
        arguments=$port
        [ "$server" = src/server/echo_coro ] && arguments="--port $port"
        heading="$program $arguments"
        [ "$runner" = program ] && return
        heading="$runner $heading"
        arguments="$runner $program $arguments"
        program='env'
        return
        ;;
    python2) program=$python2 arguments="${server}_echo.py $port" ;;
    python3) program=$python3 arguments="${server}_echo.py $port" ;;
    pypy3) arguments="${server}_echo.py $port" ;;
    java) arguments="$java_options $server $port" ;;
    *) arguments="$server $port" ;;
    esac
    heading="$runner $arguments"
}

# Prints why the row that was found cannot run here, or nothing.
why_not() {
    case $runner in
    program | *=*)
        [ -x "$build/$server" ] && return
        hint=" (install the package $package)"
        [ "$package" = - ] && hint=
        echo "$(basename "$server") is not built$hint"
        ;;
    python2)
        if ! python_can "$python2" 'import sys; sys.exit(sys.version_info[0] != 2)'; then
            echo "Python 2 is missing (install the package python2 where the system still has it," \
                "or set PYTHON2)"
        elif ! python_can "$python2" "$(import_of "$server")"; then
            echo "Python 2 has no $server (install the package $package where the system" \
                "still has it, or set PYTHON2)"
        fi
        ;;
    python3)
        if ! python_can "$python3" 'import sys; sys.exit(sys.version_info < (3, 8))'; then
            echo "Python 3.8 or later is missing (install the package python3, or set PYTHON3)"
        elif ! python_can "$python3" "$(import_of "$server")"; then
            echo "Python 3 has no $server (install the package $package)"
        fi
        ;;
    *)
        needed=$runner
        [ "$runner" = java ] && needed=javac # it runs a source only where there is a compiler
        command -v "$needed" >/dev/null || echo "$needed is missing (install the package $package)"
        ;;
    esac
}

is_built_here() {
    case $runner in
    program | *=*) ;;
    *) return 1 ;;
    esac
}

import_of() {
    case $1 in
    epoll) echo 'import select; select.epoll' ;;
    twisted) echo 'import twisted.internet, zope.interface' ;;
    *) echo "import $1" ;;
    esac
}

# A command called python2 can be a wrapper without a Python behind it: only running it tells.
python_can() {
    "$1" -c "$2" >/dev/null 2>&1 </dev/null
}

list_rows() {
    printf '%-12s %-5s %s\n' row port 'can it run here?'
    for name in $selected; do
        find_row "$name"
        answer=$(why_not)
        if [ -n "$answer" ] && is_built_here && [ -z "${RINGLET_BUILD_DIR:-}" ]; then
            answer="yes, after the build ($answer)"
        elif [ -n "$answer" ]; then
            answer="no: $answer"
        elif port_is_open "$port"; then
            answer="no: another program listens on port $port"
        else
            answer="yes"
        fi
        printf '%-12s %-5s %s\n' "$name" "$port" "$answer"
    done
}

# For other programs: name, kind, why it cannot run, and the command, with {port}, between tabs.
print_commands() {
    for name in $selected; do
        find_row "$name"
        printf '%s\t%s\t%s\t%s\n' "$name" "$kind" "$(why_not)" \
            "env --chdir=$directory $program ${arguments%"$port"}{port}"
    done
}

# ---- ports and processes ------------------------------------------------------------------------

# Does anybody listen on 127.0.0.1 and this port? The kernel accepts for a listening socket, so
# nothing needs to connect, and no server sees a connection that is not the client's.
port_is_open() {
    awk -v port="$(printf ':%04X' "$1")" '
        $4 == "0A" && $2 ~ port "$" &&
            $2 ~ /^(0+|0100007F|7F000001|0+FFFF00000100007F):/ { found = 1 }
        END { exit !found }
    ' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Is this process still running, and one that we started?
is_running() {
    [ -n "$1" ] && awk -v self="$$" '
        $1 == "State:" && $2 !~ /[ZX]/ { living = 1 }
        $1 == "PPid:" && $2 == self { ours = 1 }
        END { exit !(living && ours) }
    ' "/proc/$1/status" 2>/dev/null
}

# Ends a process that we started, and returns when it is gone. Asks twice: the second SIGTERM tells
# echo_coro to stop at once.
stop() {
    for stop_signal in TERM TERM KILL; do
        is_running "$1" || break
        kill -s "$stop_signal" "$1" 2>/dev/null
        tries=$((stop_seconds_limit * 20))
        while is_running "$1" && [ "$tries" -gt 0 ]; do
            sleep 0.05
            tries=$((tries - 1))
        done
    done
    if [ -n "$1" ]; then
        wait "$1" 2>/dev/null
    fi
}

server_pid=
client_pid=
scratch=
congestion_file=/proc/sys/net/ipv4/tcp_congestion_control
congestion_before=

clean_up() {
    exit_status=$?
    trap - EXIT
    trap '' INT TERM HUP PIPE
    show_progress ''
    stop "$client_pid"
    stop "$server_pid"
    stop "${!:-}" # started, but its number not yet noted
    if [ -n "$congestion_before" ]; then
        { echo "$congestion_before" >"$congestion_file"; } 2>/dev/null
    fi
    if [ -n "$scratch" ]; then
        rm -rf "$scratch"
    fi
    exit "$exit_status"
}

# One line that is written over, for people who watch.
show_progress() {
    if [ -t 2 ]; then
        printf '\r\033[K%s' "$1" >&2
    fi
}

# ---- preparation --------------------------------------------------------------------------------

build_programs() {
    # shellcheck disable=SC2086 # words, or nothing
    sh "$root/cmake/install_dependencies.sh" build bench $field_group $lab_group ||
        say "going on with what is installed"
    command -v cmake >/dev/null || {
        say "cmake is missing: install the package cmake"
        exit 69
    }
    say "building in build/release"
    cd "$root" || exit 70
    if ! cmake --preset release >"$scratch/build" 2>&1 ||
        ! cmake --build --preset release --target echo_coro echo_bench >>"$scratch/build" 2>&1; then
        cat "$scratch/build" >&2
        say "the build failed"
        exit 70
    fi
    cmake --build --preset release --target libev_echo >"$scratch/build" 2>&1 || {
        tail -n 20 "$scratch/build" >&2
        say "libev_echo could not be built: its row is left out"
    }
    [ "$action" = lab ] && build_the_ladder
    [ -z "$field_group" ] && return
    # Ninja's -k 0: one that cannot be built does not keep the others from it.
    cmake --build --preset release --target field_peers -- -k 0 >"$scratch/build" 2>&1 || {
        tail -n 20 "$scratch/build" >&2
        say "not all of the field could be built: some of its rows are left out"
    }
}

build_the_ladder() {
    cmake --build --preset release --target ladder uring_echo epoll_echo >"$scratch/build" 2>&1 || {
        cat "$scratch/build" >&2
        say "the build of the ladder failed"
        exit 70
    }
}

# Turns a list of CPUs like 0-2,5 into a line for each.
each_cpu() {
    tr ',' '\n' | awk -F- '{ for (cpu = $1; cpu <= (NF > 1 ? $2 : $1); cpu++) print cpu }'
}

# Sets server_cpu and client_cpu: two allowed CPUs, of different cores if there are such.
choose_cpus() {
    server_cpu='' client_cpu=''
    command -v taskset >/dev/null || return
    allowed=$(taskset -pc $$ | sed 's/.*: //' | each_cpu)
    first=$(echo "$allowed" | head -n 1)
    topology=/sys/devices/system/cpu/cpu$first/topology
    siblings=$(each_cpu <"$topology/thread_siblings_list") 2>/dev/null
    for cpu in $allowed; do
        [ "$cpu" = "$first" ] && continue
        case " $(echo "$siblings" | tr '\n' ' ') " in
        *" $cpu "*) second=${second:-$cpu} ;;
        *) second=$cpu && break ;;
        esac
    done
    if [ -n "${second:-}" ]; then
        server_cpu=$first client_cpu=$second
    fi
}

pinned() { # CPU COMMAND...
    cpu=$1
    shift
    if [ -n "$cpu" ]; then
        exec taskset -c "$cpu" "$@"
    else
        exec "$@"
    fi
}

# Two measurements at the same time would spoil each other. The lock is on the setting that they
# share, and ends with this shell: servers and clients do not get descriptor 9.
measure_alone() {
    command -v flock >/dev/null && [ -r "$congestion_file" ] || return
    exec 9<"$congestion_file"
    flock -n 9 || say "waiting for another measurement on this machine to end"
    until flock -n 9; do
        sleep 0.2
    done
}

# Sets the congestion control of new connections to the first of cubic and reno that works.
set_congestion_control() {
    congestion_now=$(cat "$congestion_file" 2>/dev/null || echo unknown)
    congestion_note=
    [ "$congestion_now" = cubic ] && return
    congestion_before=$congestion_now
    for wanted in cubic reno; do
        if { echo "$wanted" >"$congestion_file"; } 2>/dev/null; then
            congestion_now=$wanted
            congestion_note=", set for this run; it was $congestion_before"
            return
        fi
    done
    congestion_before=
    congestion_note=" for all rows (setting cubic needs root and a writable /proc/sys)"
}

describe_machine() {
    compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt" 2>/dev/null)
    commit=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null) || commit=unknown
    [ -n "$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)" ] &&
        commit="$commit (dirty)"
    if [ -n "$server_cpu" ]; then
        cpus="server on CPU $server_cpu, client on CPU $client_cpu"
    else
        cpus="not pinned: server and client share what CPUs there are"
    fi
    model=$(awk -F': *' '/^(model name|Model|cpu model)/ { print $2; exit }' /proc/cpuinfo)
    memory=$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)
    cat >&2 <<END
machine     ${model:-unknown CPU}, $(getconf _NPROCESSORS_ONLN) CPUs, $memory
kernel      $(uname -sr), $(uname -m)
compiler    $("${compiler:-c++}" --version 2>/dev/null | head -n 1)
liburing    $(pkg-config --modversion liburing 2>/dev/null || echo unknown)
python      $(version_of "$python3"), $(version_of "$python2")
commit      $commit
pinning     $cpus
congestion  $congestion_now$congestion_note
files       $(ulimit -n) descriptors per process
load        echo_bench $client_load, $runs runs a row
END
    if [ -n "$field_group" ]; then
        echo "field       $(versions_of_field)" >&2
    fi
}

# The packages of the field's selected rows with their versions, where dpkg knows them.
versions_of_field() {
    for name in $selected; do
        find_row "$name"
        [ "$package" != - ] && is_of_the_field "$name" &&
            dpkg-query -W -f '${Package} ${Version}\n' "$package" 2>/dev/null
    done | sort -u | awk '{ printf "%s%s", separator, $0; separator = ", " }'
}

version_of() {
    "$1" -c 'import sys; print("%s %d.%d.%d" % ((sys.executable,) + tuple(sys.version_info[:3])))' \
        2>/dev/null </dev/null || echo "no $1"
}

# ---- measuring ----------------------------------------------------------------------------------

# Every function from here to run_row says in $why what went wrong, and returns 1.

last_line() {
    sed -n '/[^[:space:]]/h; ${g;p;}' "$1"
}

start_server() {
    if port_is_open "$port"; then
        why="another program listens on port $port (stop it, or use --port-offset)"
        return 1
    fi
    # shellcheck disable=SC2086 # the words of $arguments
    (cd "$directory" && pinned "$server_cpu" "$program" $arguments) \
        >"$scratch/server.out" 2>"$scratch/server.err" </dev/null 9<&- &
    server_pid=$!

    tries=$((start_seconds_limit * 20))
    while ! port_is_open "$port"; do
        is_running "$server_pid" || break
        if [ "$tries" = 0 ]; then
            why="the server did not listen on port $port within $start_seconds_limit s"
            return 1
        fi
        sleep 0.05
        tries=$((tries - 1))
    done
    server_still_runs
}

server_still_runs() {
    is_running "$server_pid" && return
    wait "$server_pid"
    why="the server ended with status $?: $(last_line "$scratch/server.err")"
    server_pid=
    return 1
}

# Runs the client once; adds its last line to the row.
run_client() {
    # shellcheck disable=SC2086 # the words of $client_load
    pinned "$client_cpu" timeout -k 5 "$time_limit" "$build/src/client/echo_bench" $client_load \
        -p "$port" -f "$root/bench/message.json" 127.0.0.1 \
        >"$scratch/client.out" 2>"$scratch/client.err" </dev/null 9<&- &
    client_pid=$!
    wait "$client_pid"
    status=$?
    client_pid=

    server_still_runs || return
    line=$(tail -n 1 "$scratch/client.out")
    errors=$(echo "$line" |
        sed -En 's|^Throughput: [0-9]+(\.[0-9]+)? \[reqests/sec\], errors: ([0-9]+)$|\2|p')
    if [ "$status" = 0 ] && [ "$errors" = 0 ]; then
        echo "$line" >>"$scratch/row"
    elif [ "$status" = 1 ] && [ -n "$errors" ] && [ "$errors" != 0 ]; then
        echo "$line" >>"$scratch/row"
        had_errors=1
    else
        trouble=$(last_line "$scratch/client.err")
        [ "$status" -le 1 ] && [ -n "$errors" ] && trouble="though it reported errors: $errors"
        why="the client ended with status $status: ${trouble:-it gave no result}"
        case $status in
        124 | 137 | 143) why="the client did not end within $time_limit s, or was killed" ;;
        esac
        return 1
    fi
}

measure() {
    start_server || return
    run=1
    while [ "$run" -le "$runs" ]; do
        show_progress "$name: run $run of $runs"
        run_client || {
            why="run $run of $runs: $why"
            return 1
        }
        run=$((run + 1))
    done
}

# Prints the row to stdout; returns 1 if it failed.
run_row() {
    echo "$heading"
    why=$(why_not)
    if [ -n "$why" ]; then
        echo "skipped: $why"
        echo
        say "$name: skipped: $why"
        return 0
    fi

    for file in row server.err client.err; do
        : >"$scratch/$file"
    done
    had_errors=0
    row_failed=0
    started=$(date +%s)
    measure || row_failed=1
    stop "$server_pid"
    server_pid=
    show_progress ''
    seconds=$(($(date +%s) - started))
    if [ "$row_failed" = 1 ]; then
        echo "failed: $why"
        tail -n 20 "$scratch/server.err" | sed 's/^/    server: /' >&2
        say "$name: failed: $why"
    else
        cat "$scratch/row"
        say "$name: $runs runs in $seconds s"
        [ -s "$scratch/client.err" ] && say "$name: $(last_line "$scratch/client.err")"
        [ "$had_errors" = 1 ] && row_failed=1 && say "$name: failed: some requests had errors"
    fi
    echo
    return "$row_failed"
}

# Prints a line where another kind of servers begins.
announce() {
    group=$kind
    is_of_the_field "$name" && group="field $kind"
    [ "$group" = "$group_before" ] && return
    group_before=$group
    case $group in
    coroutine)
        echo "The servers above create no coroutine per connection. Those below create one" \
            "(or a greenlet) for each."
        ;;
    'field callback') echo "The field: no coroutine per connection." ;;
    'field coroutine') echo "The field: one coroutine (or a greenlet) per connection." ;;
    'field thread') echo "The field: one light thread with a stack of its own per connection." ;;
    *) return ;;
    esac
    echo
}

refuse_taken_ports() {
    taken=
    for name in $selected; do
        find_row "$name"
        [ -z "$(why_not)" ] && port_is_open "$port" && taken="$taken $port ($name)"
    done
    if [ -n "$taken" ]; then
        say "another program listens on:$taken; stop it, or choose other rows with --only" \
            "or other ports with --port-offset"
        exit 69
    fi
}

main() {
    build=${RINGLET_BUILD_DIR:-$root/build/release}
    case $build in /*) ;; *) build=$PWD/$build ;; esac
    python2=${PYTHON2:-python2}
    python3=${PYTHON3:-/usr/bin/python3}
    [ -z "${PYTHON3:-}" ] && ! [ -x "$python3" ] && python3=python3
    export PYTHONDONTWRITEBYTECODE=1

    read_options "$@"
    if [ "$action" = commands ]; then
        print_commands
        exit 0
    fi
    if [ "$action" = list ]; then
        list_rows
        exit 0
    fi

    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
    scratch=$(mktemp -d) || exit 70

    [ -n "${RINGLET_BUILD_DIR:-}" ] || build_programs
    [ -x "$build/src/client/echo_bench" ] || {
        say "the client is missing: $build/src/client/echo_bench"
        exit 69
    }
    if [ "$action" = lab ]; then
        # shellcheck disable=SC2086 # an option, or nothing
        RINGLET_BUILD_DIR=$build "$python3" "$root/bench/lab" $quick
        exit
    fi
    measure_alone
    refuse_taken_ports
    ulimit -n "$(ulimit -H -n)" 2>/dev/null
    choose_cpus
    set_congestion_control
    describe_machine

    failed=0
    group_before=
    for name in $selected; do
        find_row "$name"
        announce
        run_row || failed=1
    done
    exit "$failed"
}

main "$@"
