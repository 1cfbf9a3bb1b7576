#!/bin/sh
# tersor - installs into a temporary prefix and builds the outside projects; usage: sh tests/consumer/run.sh
# SPDX-License-Identifier: MIT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/cmake/packages.sh"
generator=$(cmake_generator)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# quiet COMMAND...: shows the output only if it fails.
quiet() {
  "$@" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
}

echo "find_package"
quiet cmake -S "$root" -B "$work/tersor" -G "$generator" -DCMAKE_INSTALL_PREFIX="$work/prefix" \
  -DTERSOR_BUILD_TESTS=OFF -DTERSOR_BUILD_EXAMPLES=OFF
quiet cmake --build "$work/tersor" -j "${JOBS:-2}"
quiet cmake --install "$work/tersor"
# Relocatable: nothing refers to the place of the installation.
mv "$work/prefix" "$work/moved"
quiet cmake -S "$here/find_package" -B "$work/find_package" -G "$generator" -DCMAKE_PREFIX_PATH="$work/moved"
quiet cmake --build "$work/find_package" -j "${JOBS:-2}"
quiet ctest --test-dir "$work/find_package" --no-tests=error --output-on-failure

echo "add_subdirectory"
quiet cmake -S "$here/add_subdirectory" -B "$work/add_subdirectory" -G "$generator"
quiet cmake --build "$work/add_subdirectory" -j "${JOBS:-2}"
quiet ctest --test-dir "$work/add_subdirectory" --no-tests=error --output-on-failure

echo "plain include"
quiet sh "$here/plain_include/build.sh" "$work/plain"
echo "all consumers work"
