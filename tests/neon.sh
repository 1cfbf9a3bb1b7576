#!/bin/sh
# tersor - builds the tests of the kernels for 64-bit Arm and runs them under emulation; usage: sh tests/neon.sh
# SPDX-License-Identifier: MIT
#
# Environment: CXX (aarch64-linux-gnu-g++), RUN (qemu-aarch64, empty on Arm), JOBS (2).
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
need_packages g++-aarch64-linux-gnu qemu-user libeigen3-dev catch2

build=build/neon
mkdir -p "$build"
export CXX="${CXX:-aarch64-linux-gnu-g++}" build
printf '%s\n' tests/main.cpp tests/kernel/*.cpp tests/op/prepared*.cpp tests/op/tiled_operator.cpp |
  xargs -n 1 -P "${JOBS:-2}" sh -c '
    "$CXX" -std=c++20 -O1 -Wall -Wextra -Werror -Iinclude -Itests -isystem /usr/include/eigen3 \
      -DTERSOR_SOURCE_DIR="\"$PWD\"" -c "$0" -o "$build/$(echo "$0" | tr / -).o"'
"$CXX" -static "$build"/*.o -o "$build/tests"
${RUN-qemu-aarch64} "$build/tests"
