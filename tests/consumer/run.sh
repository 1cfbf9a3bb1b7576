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
# consumer NAME SOURCE OPTIONS...: builds and runs an outside project; no flag of ours may be in its compiler's calls.
consumer() {
  name=$1 source=$2
  shift 2
  echo "$name"
  quiet cmake -S "$source" -B "$work/$name" -G "$generator" "$@"
  quiet cmake --build "$work/$name" -j "${JOBS:-2}"
  quiet ctest --test-dir "$work/$name" --no-tests=error --output-on-failure
  allowed='-(std=gnu\+\+20|pthread|I.*|isystem|o|c|DTERSOR_PRECOMPILED|DTERSOR_USE_BLAS|DWITH_ALL|DFMT_[A-Z_]+)'
  flags=$(sed -n 's/^ *"command": "\(.*main\.cpp\)",*$/\1/p' "$work/$name/compile_commands.json" | tr ' ' '\n' |
    grep '^-' || true)
  [ -n "$flags" ] || { echo "no compiler calls found in $work/$name"; exit 1; }
  if leaked=$(printf '%s\n' "$flags" | grep -vxE -e "$allowed"); then
    echo "tersor hands flags on to the project that uses it:" $leaked
    exit 1
  fi
}

quiet cmake -S "$root" -B "$work/tersor" -G "$generator" -DCMAKE_INSTALL_PREFIX="$work/prefix" \
  -DTERSOR_BUILD_TESTS=OFF -DTERSOR_BUILD_EXAMPLES=OFF
quiet cmake --build "$work/tersor" -j "${JOBS:-2}"
quiet cmake --install "$work/tersor"
# Relocatable: nothing refers to the place of the installation, or to the repository.
mv "$work/prefix" "$work/moved"
consumer find_package "$here/find_package" -DCMAKE_PREFIX_PATH="$work/moved"
if grep -q "$root/include" "$work/find_package/compile_commands.json"; then
  echo "the installed package refers to $root"
  exit 1
fi
consumer add_subdirectory "$here/add_subdirectory"
consumer add_subdirectory_precompiled "$here/add_subdirectory" -DWITH_PRECOMPILED=ON -DTERSOR_BUILD_PRECOMPILED=ON

# As a release's archive, without what is built or private to a clone.
tar -C "$root" -czf "$work/tersor.tar.gz" --exclude=./build\* --exclude=./.git --exclude=./.cache .
consumer fetch_content "$here/fetch_content" -DTERSOR_PATH="$work/tersor.tar.gz"

echo "plain include"
quiet sh "$here/plain_include/build.sh" "$work/plain" "$work/moved"
echo "all consumers work"
