#!/bin/sh
# tersor - builds and runs all tests; usage: sh tests/run.sh [--label FOLDER]... [-- options of ctest]
# SPDX-License-Identifier: MIT
#
# --label core runs only the tests of tests/core (a regular expression of labels).
# Environment: CXX, JOBS (2), BUILD_DIR (build/tests), BUILD_FLAGS (-O1 -g0), CMAKE_ARGS (words for cmake),
# SKIP_TESTS (a folder that is neither built nor run), BUILD_ONLY=1.
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh

labels=
while [ $# -gt 0 ]; do
  case "$1" in
    --label) labels="${labels:+$labels|}^($2)\$"; shift 2 ;;
    --) shift; break ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done

need_packages g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libfmt-dev libcli11-dev libopenblas-dev \
  catch2 libxtensor-dev libbenchmark-dev python3 gnuplot-nox

build=${BUILD_DIR:-build/tests}
jobs=${JOBS:-2}
set -- --test-dir "$build" -j "$jobs" --output-on-failure --no-tests=error ${labels:+-L "$labels"} "$@"
generator=
[ -e "$build/CMakeCache.txt" ] || generator=$(cmake_generator)
# No -DNDEBUG: assertions are on in the library too.
# shellcheck disable=SC2086  # CMAKE_ARGS is a list of words
cmake -S . -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE="${BUILD_FLAGS:--O1 -g0}" -DTERSOR_BUILD_TESTS=ON -DTERSOR_BUILD_EXAMPLES=ON \
  -DTERSOR_UNITY=ON -DTERSOR_SKIP_TESTS="${SKIP_TESTS:-}" ${CMAKE_ARGS:-}
cmake --build "$build" -j "$jobs"
openblas_environment
[ -n "${BUILD_ONLY:-}" ] || ctest "$@"
