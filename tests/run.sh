#!/bin/sh
# Installs what is missing, builds, and runs every test: tests/run.sh [--help] [PRESET...]

set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: tests/run.sh [PRESET...]

Installs what is missing (cmake/install_dependencies.sh), builds, and runs every test. Without a PRESET:

  dev            g++, -O0: every test, with the programs, the packages and the house rules
  asan           g++ with ASan and UBSan: unit, stress and integration tests
  clang-asan     clang++ with ASan and UBSan: unit, stress and integration tests
  release        g++, -O2: unit tests
  clang-dev      clang++, -O0: unit tests
  clang-release  clang++, -O2: unit tests
  tsan           clang++ with TSan: unit tests

Needs about forty minutes on two cores the first time. Its last line counts the tests: 'N passed, N failed,
N skipped'; before it stands why those were skipped. The exit status is 0 when none failed.

Environment: CTEST_PARALLEL_LEVEL (2), CXX_CLANG (the newest clang++ from 19 down to 16).
TEXT
}

case "${1-}" in
-h | --help)
    usage
    exit 0
    ;;
esac

sh cmake/install_dependencies.sh build bench test

# What HdrHistogram's own reader makes of our files. Without it one test is skipped.
if command -v npm >/dev/null; then
    npm install --silent --no-audit --no-fund --no-save --prefix build/node hdr-histogram-js@3.0.1 >/dev/null 2>&1 ||
        echo "npm could not install hdr-histogram-js: its test will be skipped"
    NODE_PATH=$PWD/build/node/node_modules
    export NODE_PATH
fi

clang=${CXX_CLANG-}
for version in 19 18 17 16; do
    [ -n "$clang" ] && break
    command -v "clang++-$version" >/dev/null && clang=clang++-$version
done

all='dev asan clang-asan release clang-dev clang-release tsan'
presets=${*:-$all}
jobs=$(nproc)
results=build/test-results
rm -rf "$results"
mkdir -p "$results"

launcher=
command -v ccache >/dev/null && launcher=-DCMAKE_CXX_COMPILER_LAUNCHER=ccache

# What each preset builds and runs.
for preset in $presets; do
    targets=unit_tests
    tests='^unit[.]'
    case $preset in
    dev) targets='all field_peers' tests=. ;;
    asan | clang-asan)
        targets='unit_tests stress simulated_stress echo_coro echo_bench ringlet_doctor deny epoll_echo'
        tests='^(unit|stress|simulated_stress[.]hundred|epoll|integration[.](echo|faults|kernel_faults|doctor))'
        ;;
    release | clang-dev | clang-release | tsan) ;;
    *)
        echo "tests/run.sh: unknown preset '$preset' (see --help)" >&2
        exit 64
        ;;
    esac
    compiler=
    case $preset in
    clang-* | tsan)
        if [ -z "$clang" ]; then
            echo "SKIP: preset $preset: no clang++ from 16 on" | tee "$results/$preset.skipped"
            continue
        fi
        compiler="-DCMAKE_CXX_COMPILER=$clang -DCMAKE_C_COMPILER=$(echo "$clang" | sed 's/++//')"
        ;;
    esac

    echo "== $preset: building"
    log=$results/$preset.build.log
    # shellcheck disable=SC2086  # lists of words
    if ! { cmake --preset "$preset" $compiler $launcher &&
        cmake --build "build/$preset" -j "$jobs" --target $targets; } >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "the build of preset $preset failed; the whole log is $log" | tee "$results/$preset.failed"
        continue
    fi
    echo "== $preset: testing"
    ctest --test-dir "build/$preset" --parallel "${CTEST_PARALLEL_LEVEL:-2}" --output-on-failure \
        --no-tests=error -R "$tests" --output-junit "$PWD/$results/$preset.xml" >"$results/$preset.log" 2>&1 || true
    python3=/usr/bin/python3
    $python3 tests/support/summary.py "$results/$preset.xml" "$results/$preset.log"
done

exec /usr/bin/python3 tests/support/summary.py --total "$results"
