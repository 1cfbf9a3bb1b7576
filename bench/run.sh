#!/bin/sh
# tersor - builds and runs all benches, writes a table and plots; usage: sh bench/run.sh [FILTER]
# SPDX-License-Identifier: MIT
#
# FILTER: a regular expression of row names, such as 'matvec/int4' or 'size|context|gptq'. The results are in
# build/bench/results: results.md, results.json, size.svg, context.svg, formats.svg. Ten minutes on an idle machine.
# Environment: CXX, JOBS (2), BUILD_DIR (build/bench).
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
need_packages g++ cmake ninja-build python3 libeigen3-dev nlohmann-json3-dev libfmt-dev libcli11-dev libopenblas-dev \
  libbenchmark-dev python3-matplotlib
build=${BUILD_DIR:-build/bench}
generator=
[ -e "$build/CMakeCache.txt" ] || generator=$(cmake_generator)
cmake -S . -B "$build" ${generator:+-G "$generator"} -DCMAKE_BUILD_TYPE=Release -DTERSOR_BUILD_TESTS=OFF \
  -DTERSOR_BUILD_EXAMPLES=OFF -DTERSOR_BUILD_BENCH=ON >/dev/null
cmake --build "$build" -j "${JOBS:-2}" --target bench_kernels bench_attention bench_compress
# The python3 that comes first may be another than Debian's, whose packages it does not see.
for python in python3 /usr/bin/python3; do
  "$python" -c 'import matplotlib' 2>/dev/null && break
done
"$python" bench/report.py "$build" "${1:-.}"
