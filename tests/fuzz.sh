#!/bin/sh
# tersor - builds the fuzzers of the file readers and runs each for some seconds; usage: sh tests/fuzz.sh [SECONDS] [TARGET ...]
# SPDX-License-Identifier: MIT
#
# SECONDS: 60. TARGET: safetensors gguf tokenizer config peft spec layouts; default: all. With clang's libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer. Inputs begin with tests/fuzz/corpus; what a run adds stays in build/fuzz/TARGET. A finding ends the
# run: its file is build/fuzz/TARGET-*, to be mended and kept in the corpus as bad-found-NAME.
# Environment: CXX (clang++), JOBS (2), BUILD_FLAGS (-O1 -g1).
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
need_packages clang libclang-rt-14-dev libeigen3-dev nlohmann-json3-dev

seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- safetensors gguf tokenizer config peft spec layouts
mkdir -p build/fuzz
for eigen in /usr/include/eigen3 /usr/local/include/eigen3 /opt/homebrew/include/eigen3; do
  [ -e "$eigen/Eigen/Core" ] && break
done

# One after the other is built, all at once are run: JOBS at a time.
cat >build/fuzz/one.sh <<'SH'
set -eu
target=$1 seconds=$2 eigen=$3
launcher=$(command -v ccache || true)
for source in "$target" fuzzer; do
  # shellcheck disable=SC2086  # BUILD_FLAGS is a list of words
  $launcher "${CXX:-clang++}" -std=c++20 ${BUILD_FLAGS:--O1 -g1} -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -Iinclude -Itests \
    -isystem "$eigen" -DTERSOR_FUZZ_TARGET="$target" -c "tests/fuzz/$source.cpp" -o "build/fuzz/$target-$source.o"
done
"${CXX:-clang++}" -fsanitize=fuzzer,address,undefined "build/fuzz/$target-$target.o" "build/fuzz/$target-fuzzer.o" -o "build/fuzz/fuzz_$target"
mkdir -p "build/fuzz/$target"
"build/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=32768 \
  -artifact_prefix="build/fuzz/$target-" -print_final_stats=1 "build/fuzz/$target" "tests/fuzz/corpus/$target" \
  >"build/fuzz/$target.log" 2>&1 || { tail -n 40 "build/fuzz/$target.log"; echo "FINDING: $target"; exit 1; }
echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "build/fuzz/$target.log") runs in $seconds s without a finding"
SH
printf '%s\n' "$@" | xargs -P "${JOBS:-2}" -I TARGET sh build/fuzz/one.sh TARGET "$seconds" "$eigen"
