#!/bin/sh
# tersor - an outside project without a build system; usage: sh build.sh OUTPUT_DIRECTORY [PREFIX]
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

# One file for everything.
$compile -DWITH_SINGLE -Wall -Wextra -I "$here/../../../single_include" -isystem "$eigen" "$here/../main.cpp" \
  -o "$out/single"
"$out/single"

# The next standard; and a newer compiler with the other standard library, which has std::mdspan.
$compile -std=c++23 -DWITH_UMBRELLA -fsyntax-only -I "$out/vendored" -isystem "$eigen" "$here/../main.cpp"
for newer in clang++-20 clang++-19 clang++-18; do
  command -v "$newer" >/dev/null || continue
  echo "$newer"
  "$newer" -std=c++23 -stdlib=libc++ -pthread -DWITH_UMBRELLA -Wall -Wextra -Werror -I "$out/vendored" -isystem "$eigen" \
    "$here/../main.cpp" -o "$out/newer"
  "$out/newer"
  break
done

# What pkg-config says of an installed copy ($2: its prefix).
if [ -n "${2:-}" ] && command -v pkg-config >/dev/null; then
  PKG_CONFIG_PATH=$2/share/pkgconfig
  export PKG_CONFIG_PATH
  # shellcheck disable=SC2046  # a list of words
  ${CXX:-c++} -std=c++20 "$here/../main.cpp" $(pkg-config --cflags --libs tersor) -o "$out/packaged"
  "$out/packaged"
fi
