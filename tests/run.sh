#!/bin/sh
# Installs what is missing, builds, and runs the tests: tests/run.sh [--help] [--full | PRESET...]

set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: tests/run.sh [--full | PRESET...]

Installs what is missing (cmake/install_dependencies.sh), builds, and runs the tests.

Without an argument: the tests for a change in progress, about 8 minutes on two cores.
  dev            g++, -O0: unit tests and programs on both kernels, the simulation, a second liburing,
                 the log of benchmark.sh, a package that is built and used, the house rules
  clang-asan     clang++ with ASan and UBSan (without null and alignment): unit tests on both kernels,
                 stress and simulation (without a clang++: asan)

--full: before a release, and after a change to a ring, a loop, bench or the build. More seeds, every feature
of io_uring switched on and off, the measuring tools, the commands of the documents, each build type without
a warning, clang-tidy, and every preset:
  dev            as above
  clang-asan asan
                 clang++ and g++ with ASan and UBSan: all checks of these, and the programs; with clang++ also
                 100,000 seeds and ten minutes of a fuzzer
  debian13 debian13-clang
                 in a root of Debian 13, with its liburing: g++ 14 and clang++ 19 at -O0, unit tests, stress and
                 programs on both kernels
  tsan           clang++ with TSan: unit tests
  clang-dev clang-release release
                 unit tests; the programs are built without a warning

PRESET: everything that --full runs for this preset. While presets are tested, those after them are built.

The last line counts the cases: 'N passed, N failed, N skipped'; the lines before it say why some were skipped,
and how long each part took. The exit status is 0 if none failed.

Environment: JOBS (builds at once; the number of CPUs), CTEST_PARALLEL_LEVEL (tests at once; three times that: many
only wait), CXX_CLANG (the newest clang++ from 19 down to 16).
TEXT
}

# The last has few tests: nothing is built beside them.
everything='dev clang-asan asan debian13 debian13-clang tsan clang-dev clang-release release'
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

# timed PART COMMAND...: prints PART, and records how long the command took.
timed() {
    echo "== $1"
    since=$(date +%s)
    part=$1
    shift
    status=0
    "$@" || status=$?
    echo "$part: $(($(date +%s) - since)) s" >>"$results/times"
    return $status
}

timed "installing what is missing" sh cmake/install_dependencies.sh build bench test

# HdrHistogram's own reader, to read our files. Without it one test is skipped.
if command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --no-save --prefix build/node hdr-histogram-js@3.0.1 >/dev/null 2>&1 ||
        echo "npm could not install hdr-histogram-js: its test will be skipped"
    NODE_PATH=$PWD/build/node/node_modules
    export NODE_PATH
fi

# The tests of the ring also run with a second, newer liburing.
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
    # Without these it caches nothing that is compiled with a precompiled header.
    export CCACHE_SLOPPINESS=pch_defines,time_macros
    # A precompiled header identifies its files by content, so a changed comment makes another file.
    export CCACHE_COMMENTS=1
fi

# If mold is installed, programs are linked with it, which takes a second instead of a minute.
linker=
command -v mold >/dev/null && linker=-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=mold

# Many sources are compiled as one, which takes a quarter of the time of a clean build. That each includes what it uses
# is a test of the house.
unity='-DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=30'

# Sets variables to what a preset builds and runs.
settings_of() {
    preset=$1
    targets='unit_tests failing_tests tls_tests'
    tests='^(unit|contract|failing|tls)[.]'
    arguments="$unity $linker"
    of=$preset # its name in CMakePresets.json
    within=    # the prefix of commands that build and test
    without=
    [ -n "$RINGLET_FULL" ] || without='-LE ^full$'
    case $preset in
    tsan) targets='unit_tests tls_tests' ;;
    release | clang-dev | clang-release) targets="$targets src/server/all src/client/all src/doctor/all src/top/all" ;;
    dev)
        targets='tests/all examples/all src/server/all src/client/all src/doctor/all src/top/all c_peers'
        [ -z "$RINGLET_FULL" ] || targets='all field_peers'
        tests=.
        arguments="$arguments -DRINGLET_NEWER_LIBURING=$newer"
        ;;
    asan | clang-asan)
        targets='unit_tests failing_tests tls_tests tls_fuzz stress simulated_stress'
        tests='^(unit[.]|contract[.]|failing[.]|tls[.]|fuzz[.]|stress|simulated_stress[.]..*seeds|epoll[.](unit[.]|tls_tests|stress))'
        # Checks of UBSan that are a fifth of the compiler's work; ASan reports null pointers too.
        unchecked=null,alignment
        if [ -n "$RINGLET_FULL" ]; then
            unchecked=
            targets="$targets echo_coro echo_bench ringlet_doctor ringlet_top deny epoll_echo examples"
            tests="$tests|^epoll|^with|^integration[.](echo|examples|faults|kernel_faults|doctor|tls|unix_sockets)"
            [ "$preset" = asan ] || targets="$targets tls_libfuzzer"
        fi
        arguments="$arguments -DRINGLET_NO_SANITIZE=$unchecked"
        ;;
    debian13*)
        targets='unit_tests failing_tests tls_tests stress simulated_stress canary_stress echo_coro echo_bench ringlet_doctor ringlet_top deny epoll_echo gdb_subject examples'
        tests='^(unit|contract|failing|tls|stress|simulated_stress|epoll|integration)[.]'
        without='-LE ^full$'
        of=dev
        [ "$preset" = debian13 ] || of=clang-dev
        arguments="$unity -B build/$preset"
        within="sh tests/support/debian13.sh $PWD/build/debian13_root"
        ;;
    esac
    # Lines and names for a backtrace; full debug information costs a seventh of the compile time.
    debugging=-g1
    case $of in
    clang-* | tsan) ;;
    # No functions for std::move and the like, and the compiler collects no garbage: a tenth of the time each.
    *) debugging="$debugging -ffold-simple-inlines --param=ggc-min-heapsize=2000000" ;;
    esac
    case $preset in
    clang-* | tsan)
        arguments="$arguments -DCMAKE_CXX_COMPILER=$clang -DCMAKE_C_COMPILER=$(echo "$clang" | sed 's/++//')"
        ;;
    esac
}

# Succeeds if there is something to test.
build() {
    settings_of "$1"
    case $preset in
    debian13*)
        if ! timed "$preset: making its root" make_root; then
            skip "$(tail -n 1 "$results/$preset.root.txt")"
            return 1
        fi
        ;;
    clang-* | tsan)
        if [ -z "$clang" ]; then
            skip "no clang++ from 16 on"
            return 1
        fi
        ;;
    esac
    if ! timed "$preset: building" compile; then
        tail -n 60 "$results/$preset.build.log"
        echo "the build of preset $preset failed; the whole log is $results/$preset.build.log" | tee "$results/$preset.failed"
        return 1
    fi
}

run() {
    settings_of "$1"
    timed "$preset: testing" run_ctest || true
    /usr/bin/python3 tests/support/summary.py "$results/$preset.xml" "$results/$preset.log"
}

skip() {
    echo "SKIP: preset $preset: $1" | tee "$results/$preset.skipped"
}

make_root() {
    $within true 2>"$results/$preset.root.txt"
}

compile() {
    # shellcheck disable=SC2086  # lists of words
    { $within cmake --preset "$of" $arguments "-DCMAKE_CXX_FLAGS_DEBUG=$debugging" \
        "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -DNDEBUG $debugging" $launcher &&
        $within cmake --build "build/$preset" -j "$jobs" --target $targets; } >"$results/$preset.build.log" 2>&1
}

run_ctest() {
    # shellcheck disable=SC2086  # lists of words
    $within ctest --test-dir "build/$preset" --parallel "${CTEST_PARALLEL_LEVEL:-$((3 * $(nproc)))}" --output-on-failure \
        --test-output-size-passed 10000000 --test-output-size-failed 10000000 --no-tests=error \
        -R "$tests" $without --output-junit "$results/$preset.xml" >"$results/$preset.log" 2>&1
}

# Tests wait more than they compute, so all presets are built, one after the other, while those before them are tested.
# The compiler runs in the background, because there Ctrl-C is ignored, and tests must not inherit that.
build_all() {
    for preset in $presets; do
        if build "$preset"; then outcome=built; else outcome=unusable; fi
        echo $outcome >"$results/$preset.outcome"
    done
}
build_all &
building=$!
trap 'kill "$building" 2>/dev/null || true' EXIT
trap 'exit 130' INT
for preset in $presets; do
    while [ ! -s "$results/$preset.outcome" ]; do
        if ! kill -0 "$building" 2>/dev/null && [ ! -s "$results/$preset.outcome" ]; then
            echo "tests/run.sh: the builds were stopped before preset $preset" >&2
            exit 1
        fi
        sleep 1
    done
    [ "$(cat "$results/$preset.outcome")" != built ] || run "$preset"
done

/usr/bin/python3 tests/support/summary.py --total "$results"
