#!/bin/sh
# tersor - an outside project without a build system; usage: sh build.sh OUTPUT_DIRECTORY
# SPDX-License-Identifier: MIT
#
# The folder include/tersor is copied, as an inference engine would, and compiled with strict warnings.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$out/vendored"
cp -R "$here/../../../include/tersor" "$out/vendored/"
for eigen in /usr/include/eigen3 /usr/local/include/eigen3 /opt/homebrew/include/eigen3; do
  [ -e "$eigen/Eigen/Core" ] && break
done
"${CXX:-c++}" -std=c++20 -O1 -Wall -Wextra -Wconversion -Wpedantic -Werror -I "$out/vendored" -isystem "$eigen" \
  "$here/../main.cpp" -o "$out/consumer"
"$out/consumer"
# Without exceptions the headers still compile; errors then go to tersor::on_error().
"${CXX:-c++}" -std=c++20 -fno-exceptions -fsyntax-only -I "$out/vendored" -isystem "$eigen" "$here/../main.cpp"
