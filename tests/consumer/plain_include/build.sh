#!/bin/sh
# tersor - an outside project without a build system; usage: sh build.sh OUTPUT_DIRECTORY
# SPDX-License-Identifier: MIT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out/vendored"
for eigen in /usr/include/eigen3 /usr/local/include/eigen3 /opt/homebrew/include/eigen3; do
  [ -e "$eigen/Eigen/Core" ] && break
done
compile="${CXX:-c++} -std=c++20 -pthread"

# The repository's own folder, and the shortest command.
$compile -I "$here/../../../include" -I "$eigen" "$here/../main.cpp" -o "$out/consumer"
"$out/consumer"

# A copy of include/tersor, as an inference engine would have it, under strict warnings.
cp -R "$here/../../../include/tersor" "$out/vendored/"
$compile -O1 -DWITH_UMBRELLA -Wall -Wextra -Wconversion -Wpedantic -Werror -I "$out/vendored" -isystem "$eigen" \
  "$here/../main.cpp" -o "$out/vendored/consumer"
"$out/vendored/consumer"

# Without exceptions the headers still compile; errors then go to tersor::on_error().
$compile -DWITH_UMBRELLA -fno-exceptions -fsyntax-only -I "$out/vendored" -isystem "$eigen" "$here/../main.cpp"
