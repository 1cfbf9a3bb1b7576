#!/bin/sh
# tersor - builds the tersor command and runs the main example; usage: sh examples/run.sh [its arguments]
# SPDX-License-Identifier: MIT
#
# Environment: CXX, JOBS (2).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/cmake/packages.sh"
need_packages g++ cmake ninja-build libeigen3-dev nlohmann-json3-dev libfmt-dev libcli11-dev libopenblas-dev

build=$root/build/examples
generator=
[ -e "$build/CMakeCache.txt" ] || generator=$(cmake_generator)
mkdir -p "$build"
cmake -S "$root" -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release -DTERSOR_BUILD_TESTS=OFF \
  -DTERSOR_BUILD_EXAMPLES=ON >"$build/configure.log" 2>&1 || { cat "$build/configure.log"; exit 1; }
cmake --build "$build" -j "${JOBS:-2}" --target tersor_cli main_job
exec "$build/examples/main_job" "$@"
