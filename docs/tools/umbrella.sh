#!/bin/sh
# tersor - writes the two umbrella headers; usage: sh docs/tools/umbrella.sh [--check]
# SPDX-License-Identifier: MIT
#
# tersor/tersor.hpp  every header that needs nothing but the standard library and Eigen
# tersor/all.hpp     that and the layers io, model and pipeline, which may use nlohmann_json and fmt
# In neither: core/xtensor.hpp, which needs xtensor.
# --check changes nothing and fails if a header is out of date.
set -eu
cd "$(dirname "$0")/../../include"

# The lines "#include <...>" of the headers under the given layers, in order, a blank line before each layer.
includes() {
  for layer in "$@"; do
    headers=$(find "tersor/$layer" -name '*.hpp' ! -path tersor/core/xtensor.hpp 2>/dev/null | LC_ALL=C sort)
    [ -z "$headers" ] || printf '\n%s\n' "$headers" | sed 's/^..*$/#include <&>/'
  done
}

other=$(find tersor -mindepth 1 -maxdepth 1 -type d | sed 's,tersor/,,' | LC_ALL=C sort |
  grep -vxE 'core|linalg|kernel|op|grad|calib|solve|io|model|pipeline' || true)

umbrella() {
  case "$1" in
    tersor.hpp)
      echo "// tersor - every header that needs nothing but Eigen; written by docs/tools/umbrella.sh"
      printf '// SPDX-License-Identifier: MIT\n#pragma once\n'
      # shellcheck disable=SC2086  # a list of words
      includes core linalg kernel op grad calib solve $other
      ;;
    all.hpp)
      echo "// tersor - every header but the xtensor adapter; written by docs/tools/umbrella.sh"
      printf '// SPDX-License-Identifier: MIT\n#pragma once\n\n#include <tersor/tersor.hpp>\n'
      includes io model pipeline
      ;;
  esac
}

for name in tersor.hpp all.hpp; do
  if [ "${1:-}" = --check ]; then
    umbrella "$name" | cmp -s - "tersor/$name" || {
      echo "include/tersor/$name is out of date: run sh docs/tools/umbrella.sh" >&2
      exit 1
    }
  else
    umbrella "$name" >"tersor/$name"
  fi
done
