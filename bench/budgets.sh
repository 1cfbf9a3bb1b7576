#!/usr/bin/env bash
# tersor - bench: what including, rebuilding and compressing cost, against the budgets; usage: bash bench/budgets.sh [WHAT ...]
# SPDX-License-Identifier: MIT
#
# WHAT: compile (user time of one translation unit at -O0 that includes a header and uses nothing of it, over Eigen/Dense),
# rebuild (all tests and examples after an edit of one technique, where each test is compiled alone), memory (peak of
# compressing a layer, and a model), clean (build and tests from nothing). Default: compile rebuild memory. Run it on an idle
# machine.
# Environment: CXX (g++), EIGEN (/usr/include/eigen3), JOBS (2).
set -euo pipefail
cd "$(dirname "$0")/.."
cxx=${CXX:-g++}
eigen=${EIGEN:-/usr/include/eigen3}
jobs=${JOBS:-2}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export CCACHE_DISABLE=1

row() { printf '| %-44s | %10s | %10s |\n' "$@"; }

seconds() { # the header named by $1: user time of the best of three
  echo "#include <$1>" >"$dir/t.cpp"
  for _ in 1 2 3; do
    { time -p "$cxx" -std=c++20 -O0 -Iinclude -isystem "$eigen" -c "$dir/t.cpp" -o "$dir/t.o"; } 2>&1 |
      awk '/^user/ { print $2 }'
  done | sort -n | head -n 1
}

compile() {
  local base s header
  base=$(seconds Eigen/Dense)
  row "including Eigen/Dense" "$base s" ""
  for header in include/tersor/quant/*.hpp include/tersor/prune/*.hpp include/tersor/lowrank/*.hpp include/tersor/tersor.hpp; do
    s=$(seconds "${header#include/}")
    row "including ${header#include/}, over Eigen" "$(awk "BEGIN { printf \"%.2f\", $s - $base }") s" \
      "$([ "$header" = include/tersor/tersor.hpp ] && echo 8 s || echo 3 s)"
  done
}

rebuild() {
  local begin header
  BUILD_DIR=build/budgets-edit BUILD_ONLY=1 JOBS=$jobs CMAKE_ARGS=-DTERSOR_UNITY=OFF sh tests/run.sh >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
  # one technique among many, and the one that most tests and examples use as their example
  for header in prune/wanda quant/gptq; do
    touch "include/tersor/$header.hpp"
    begin=$SECONDS
    cmake --build build/budgets-edit -j "$jobs" >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
    row "rebuild after an edit of $header.hpp" "$((SECONDS - begin)) s" "60 s"
  done
}

memory() {
  cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=Release -DTERSOR_BUILD_BENCH=ON -DTERSOR_BUILD_TESTS=OFF >"$dir/log" 2>&1
  cmake --build build/bench -j "$jobs" --target bench_compress tersor_cli >>"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
  build/bench/bench/bench_compress --benchmark_format=json >"$dir/layer.json" 2>/dev/null
  build/bench/examples/tersor compress examples/data/lm --with gptq --calibration examples/data/lm/calibration.txt --json \
    >"$dir/model.json"
  python3 - "$dir" <<'PY'
import json, sys
row = "| {:<44} | {:>10} | {:>10} |".format
given = 4096**2 * (4 + 8) / 1e6  # a weight in float and its Hessian in double
for b in json.load(open(sys.argv[1] + "/layer.json"))["benchmarks"]:
    print(row(f"peak of {b['name'].split('/')[0]}, 4096 x 4096", f"{b['peak_mb']:.0f} MB", f"{3 * given:.0f} MB"))
model = json.load(open(sys.argv[1] + "/model.json"))
print(row("peak of gptq on the embedded model", f"{model['peak_rss_bytes'] / 1e6:.0f} MB", ""))
PY
}

clean() {
  rm -rf build/budgets
  local begin=$SECONDS
  BUILD_DIR=build/budgets JOBS=$jobs sh tests/run.sh >"$dir/log" 2>&1 || { tail -n 50 "$dir/log"; exit 1; }
  row "clean build and all tests" "$((SECONDS - begin)) s" "900 s"
}

row what measured budget
row -------------------------------------------- ---------: ---------:
for what in "${@:-compile rebuild memory}"; do
  for part in $what; do "$part"; done
done
