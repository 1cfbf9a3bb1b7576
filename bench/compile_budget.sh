#!/usr/bin/env bash
# tersor - bench: compile time of including each technique header, against Eigen alone; usage: bash bench/compile_budget.sh
# SPDX-License-Identifier: MIT
#
# Seconds of user time of one translation unit at -O0 that includes the header and uses nothing of it. Budget: 3 s over
# Eigen/Dense for a technique, 8 s for the umbrella. Environment: CXX (g++), EIGEN (/usr/include/eigen3).
set -euo pipefail
cd "$(dirname "$0")/.."
cxx=${CXX:-g++}
eigen=${EIGEN:-/usr/include/eigen3}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

seconds() { # the header named by $1: user time of the best of three
  echo "#include <$1>" >"$dir/t.cpp"
  for _ in 1 2 3; do
    { time -p "$cxx" -std=c++20 -O0 -Iinclude -isystem "$eigen" -c "$dir/t.cpp" -o "$dir/t.o"; } 2>&1 |
      awk '/^user/ { print $2 }'
  done | sort -n | head -n 1
}

base=$(seconds Eigen/Dense)
printf '| %-34s | %8s | %10s |\n|%s|%s|%s|\n' header seconds "over Eigen" ------------------------------------ ---------: -----------:
printf '| %-34s | %8s | %10s |\n' Eigen/Dense "$base" ""
for header in include/tersor/quant/*.hpp include/tersor/prune/*.hpp include/tersor/lowrank/*.hpp include/tersor/tersor.hpp; do
  name=${header#include/}
  s=$(seconds "$name")
  printf '| %-34s | %8s | %10s |\n' "$name" "$s" "$(awk "BEGIN { printf \"%.2f\", $s - $base }")"
done
