#!/bin/sh
# tersor - builds the documentation site in build/docs; usage: sh docs/build.sh
# SPDX-License-Identifier: MIT
#
# Warnings, links that lead nowhere and code that differs from its source are errors. With BIN, the folder of the built
# programs (build/release/examples), the option tables and the quick outputs are checked too.
set -eu
cd "$(dirname "$0")/.."
. cmake/packages.sh
need_packages python3 mkdocs
mkdir -p build
python3 docs/tools/source_blocks.py --check
if [ -n "${BIN:-}" ]; then
  python3 docs/tools/option_tables.py --check "$BIN/tersor"
  python3 docs/tools/example_outputs.py --check "$BIN"
fi
python3 docs/tools/site.py build/docs
