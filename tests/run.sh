#!/bin/sh
# Installs what is missing, builds, and runs the tests: tests/run.sh [--help] [--full | PRESET...]

set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--full | PRESET...]

Installs what is missing (cmake/install_dependencies.sh), builds, and runs the tests.

Without an argument: what a change needs while it is made, about 18 minutes on two cores.
  dev            g++, -O0: unit tests and programs on both kernels, the simulation, a second liburing,
                 the measuring tools, a package that is built and used, the house rules
  clang-asan     clang++ with ASan and UBSan: unit tests on both kernels, stress and simulation
                 (without a clang++: asan)

--full: before a release, and after a change to a ring, a loop or the build. More seeds, every feature of
io_uring switched on and off, the commands of the documents, each build type without a warning, clang-tidy,
and every preset:
  dev            as above
  asan clang-asan
                 g++ and clang++ with ASan and UBSan: as above, and the programs
  release clang-dev clang-release
                 unit tests
  tsan           clang++ with TSan: unit tests
  debian13 debian13-clang
                 in a root of Debian 13, with its liburing: g++ 14 and clang++ 19, unit tests, stress and
                 programs on both kernels

PRESET: all that --full runs of this one.

The last line counts the cases: 'N passed, N failed, N skipped'; before it stands why some were skipped, and
how long each part took. The exit status is 0 when none failed.

Environment: JOBS (builds at once; the number of CPUs), CTEST_PARALLEL_LEVEL (tests at once; three times that: many
only wait), CXX_CLANG (the newest clang++ from 19 down to 16).
TEXT
}

everything='dev asan clang-asan release clang-dev clang-release tsan debian13 debian13-clang'
RINGLET_FULL=
case "${1-}" in
-h | --help)
    usage
    exit 0
    ;;
--full)
    RINGLET_FULL=1
    presets=$everything
    ;;
-*)
    echo "tests/run.sh: unknown option '$1' (see --help)" >&2
    exit 64
    ;;
'') presets='dev clang-asan' ;;
*)
    RINGLET_FULL=1
    presets=$*
    for preset in $presets; do
        case " $everything " in
        *" $preset "*) ;;
        *)
            echo "tests/run.sh: unknown preset '$preset' (see --help)" >&2
            exit 64
            ;;
        esac
    done
    ;;
esac
export RINGLET_FULL

results=$PWD/build/test-results
rm -rf "$results"
mkdir -p "$results"

# Says what begins, and afterwards how long it took.
part=
begin() {
    end
    part=$1
    part_began=$(date +%s)
    echo "== $part"
}
end() {
    [ -z "$part" ] || echo "$part: $(($(date +%s) - part_began)) s" >>"$results/times"
    part=
}

begin "installing what is missing"
sh cmake/install_dependencies.sh build bench test

# What HdrHistogram's own reader makes of our files. Without it one test is skipped.
if command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --no-save --prefix build/node hdr-histogram-js@3.0.1 >/dev/null 2>&1 ||
        echo "npm could not install hdr-histogram-js: its test will be skipped"
    NODE_PATH=$PWD/build/node/node_modules
    export NODE_PATH
fi

# The tests of the ring run with a second, newer liburing, too.
newer=$PWD/build/newer_liburing
if ! sh tests/support/newer_liburing.sh "$newer"; then
    echo "SKIP: no newer liburing to run the tests of the ring with" | tee "$results/newer_liburing.skipped"
    newer=
fi

clang=${CXX_CLANG-}
for version in 19 18 17 16; do
    [ -n "$clang" ] && break
    command -v "clang++-$version" >/dev/null && clang=clang++-$version
done
[ -n "$clang" ] || [ -n "$RINGLET_FULL" ] || presets='dev asan'
jobs=${JOBS:-$(nproc)}
launcher=
if command -v ccache >/dev/null; then
    launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache
    # Without these it keeps nothing that is compiled with a precompiled header.
    export CCACHE_SLOPPINESS=pch_defines,time_macros
    # A precompiled header knows its files by their contents: one with another comment is another file.
    export CCACHE_COMMENTS=1
fi

# Lines and names for a backtrace; what a debugger wants beside costs a seventh of the time to compile.
debugging=-DCMAKE_CXX_FLAGS_DEBUG=-g1

# Many sources are compiled as one, which takes a quarter of the time from nothing. Not in the release: there each has to
# include what it uses.
unity='-DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=30'

# What each preset builds and runs.
for preset in $presets; do
    targets='unit_tests failing_tests tls_tests'
    tests='^(unit|contract|failing|tls)[.]'
    arguments=$unity
    of=$preset # as CMakePresets.json calls it
    within=    # what runs a command where it is built and tested
    without=
    [ -n "$RINGLET_FULL" ] || without='-LE ^full$'
    case $preset in
    tsan) targets='unit_tests tls_tests' ;;
    release) arguments=-DCMAKE_UNITY_BUILD=OFF ;;
    dev)
        targets=all
        [ -z "$RINGLET_FULL" ] || targets='all headers_compile_alone field_peers'
        tests=.
        arguments="$unity -DRINGLET_NEWER_LIBURING=$newer"
        ;;
    asan | clang-asan)
        targets='unit_tests failing_tests tls_tests tls_fuzz stress simulated_stress'
        tests='^(unit[.]|contract[.]|failing[.]|tls[.]|fuzz[.]|stress|simulated_stress[.]..*seeds|epoll[.](unit_tests|tls_tests|stress))'
        if [ -n "$RINGLET_FULL" ]; then
            targets="$targets echo_coro echo_bench ringlet_doctor ringlet_top deny epoll_echo examples"
            tests='^(unit[.]|contract[.]|failing[.]|tls[.]|fuzz[.]|stress|simulated_stress[.]..*seeds|epoll[.]|with|integration[.](echo|examples|faults|kernel_faults|doctor|tls|unix_sockets))'
            [ "$preset" = asan ] || targets="$targets tls_libfuzzer"
        fi
        ;;
    esac
    case $preset in
    debian13*)
        begin "$preset: making its root"
        within="sh tests/support/debian13.sh $PWD/build/debian13_root"
        if ! $within true 2>"$results/$preset.root.txt"; then
            echo "SKIP: preset $preset: $(tail -n 1 "$results/$preset.root.txt")" | tee "$results/$preset.skipped"
            continue
        fi
        targets='unit_tests failing_tests tls_tests stress simulated_stress canary_stress echo_coro echo_bench ringlet_doctor ringlet_top deny epoll_echo gdb_subject examples'
        tests='^(unit|contract|failing|tls|stress|simulated_stress|epoll|integration)[.]'
        without='-LE ^full$'
        of=dev
        [ "$preset" = debian13 ] || of=clang-dev
        arguments="$unity -B build/$preset"
        ;;
    clang-* | tsan)
        if [ -z "$clang" ]; then
            echo "SKIP: preset $preset: no clang++ from 16 on" | tee "$results/$preset.skipped"
            continue
        fi
        arguments="$unity -DCMAKE_CXX_COMPILER=$clang -DCMAKE_C_COMPILER=$(echo "$clang" | sed 's/++//')"
        ;;
    esac

    begin "$preset: building"
    log=$results/$preset.build.log
    # shellcheck disable=SC2086  # lists of words
    if ! { $within cmake --preset "$of" $arguments $debugging $launcher &&
        $within cmake --build "build/$preset" -j "$jobs" --target $targets; } >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "the build of preset $preset failed; the whole log is $log" | tee "$results/$preset.failed"
        continue
    fi
    begin "$preset: testing"
    # shellcheck disable=SC2086  # lists of words
    $within ctest --test-dir "build/$preset" --parallel "${CTEST_PARALLEL_LEVEL:-$((3 * $(nproc)))}" --output-on-failure \
        --test-output-size-passed 10000000 --test-output-size-failed 10000000 --no-tests=error \
        -R "$tests" $without --output-junit "$results/$preset.xml" >"$results/$preset.log" 2>&1 || true
    /usr/bin/python3 tests/support/summary.py "$results/$preset.xml" "$results/$preset.log"
done
end

exec /usr/bin/python3 tests/support/summary.py --total "$results"
