#!/usr/bin/env python3
# tersor - the rules of the house that a program can check; usage: python3 docs/tools/house_checks.py
# SPDX-License-Identifier: MIT
"""Prints `file:line: rule` for every breach and fails if there is one."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TECHNIQUES = ("quant", "prune", "lowrank", "adapters", "kv", "train", "plan")
# Tested by something else than a test file of their name.
TESTED_ELSEWHERE = {
    "tersor.hpp": "tests/compile",
    "all.hpp": "tests/compile",
    "core/version.hpp": "tests/consumer",
    "adapters/training_rule.hpp": "tests/pipeline/adapter_spec.cpp",
    "io/unicode_classes.hpp": "tests/io/tokenizer.cpp",
    "kernel/binary_format.hpp": "tests/op/prepared_binary.cpp",
    "kernel/binary_product.hpp": "tests/op/prepared_binary.cpp",
    "kernel/binary_product_portable.hpp": "tests/op/prepared_binary.cpp",
    "kernel/intrinsics.hpp": "tests/op/prepared.cpp",
    "kernel/lanes/avx2.hpp": "tests/op/prepared.cpp",
    "kernel/lanes/avx512.hpp": "tests/op/prepared.cpp",
    "kernel/lanes/expand_places.hpp": "tests/op/tiled_operator.cpp",
    "kernel/lanes/neon.hpp": "tests/op/prepared.cpp",
    "kernel/ternary_format.hpp": "tests/op/prepared_ternary.cpp",
    "kernel/ternary_product.hpp": "tests/op/prepared_ternary.cpp",
    "kernel/ternary_product_portable.hpp": "tests/op/prepared_ternary.cpp",
    "kernel/lanes/portable.hpp": "tests/kernel/row_products.cpp",
    "kernel/outlier_tile_body.hpp": "tests/kernel/outlier_tile.cpp",
    "kernel/row_products_body.hpp": "tests/kernel/row_products.cpp",
    "kernel/sparse_tile_operand.hpp": "tests/op/tiled_operator.cpp",
    "kernel/sparse_tile_product.hpp": "tests/op/tiled_operator.cpp",
    "kernel/sparse_tile_product_portable.hpp": "tests/op/tiled_operator.cpp",
    "kernel/tile_operand.hpp": "tests/op/prepared.cpp",
    "kernel/tile_product_avx2.hpp": "tests/op/prepared.cpp",
    "kernel/tile_product_avx512.hpp": "tests/op/prepared.cpp",
    "kernel/tile_product_neon.hpp": "tests/op/prepared.cpp",
    "kernel/tile_product_portable.hpp": "tests/op/prepared.cpp",
    "op/every_ggml_decoder.hpp": "tests/op/ggml_decode.cpp",
    "op/ggml_bytes.hpp": "tests/op/ggml_decode.cpp",
    "op/ggml_codes_simple.hpp": "tests/op/ggml_codes.cpp",
    "op/ggml_codes_super.hpp": "tests/op/ggml_codes.cpp",
    "op/ggml_decode_iq.hpp": "tests/op/ggml_decode.cpp",
    "op/restored_operator.hpp": "tests/op/prepared.cpp",
    "op/tile_stream.hpp": "tests/op/prepared.cpp",
    "kv/gear_block.hpp": "tests/kv/gear.cpp",
    "linalg/blas.hpp": "tests/linalg/gemm.cpp",
    "linalg/eigen_product.hpp": "tests/linalg/gemm.cpp",
    "io/operator_archive.hpp": "tests/model/llama_checkpoint.cpp",
    "model/finetune_checkpoint.hpp": "tests/model/finetune.cpp",
    "model/llama_gguf_names.hpp": "tests/model/llama_gguf.cpp",
    "model/llama_gguf_writer.hpp": "tests/model/llama_gguf.cpp",
    "model/llama_reader.hpp": "tests/model/llama_checkpoint.cpp",
    "pipeline/adapter_rules.hpp": "tests/pipeline/adapter_spec.cpp",
    "pipeline/block_schedule.hpp": "tests/pipeline/compress.cpp",
    "pipeline/every_technique.hpp": "tests/pipeline/catalog.cpp",
    "pipeline/schedule.hpp": "tests/pipeline/compress.cpp",
    "pipeline/standard_catalog.hpp": "tests/pipeline/catalog.cpp",
    "pipeline/techniques/adapters.hpp": "tests/pipeline/catalog.cpp",
    "pipeline/techniques/caches.hpp": "tests/pipeline/catalog.cpp",
    "pipeline/techniques/pruners.hpp": "tests/pipeline/catalog.cpp",
    "pipeline/techniques/quantizers.hpp": "tests/pipeline/catalog.cpp",
    "quant/lqlora_layout.hpp": "tests/quant/lqlora.cpp",
    "solve/codebook.hpp": "tests/quant/nf4.cpp",
    "solve/low_rank_fit.hpp": "tests/quant/lqlora.cpp",
    "solve/report.hpp": "tests/solve/layer.cpp",
    "io/compressed_tensors_grid.hpp": "tests/io/compressed_tensors_packed.cpp",
    "io/compressed_tensors_scheme.hpp": "tests/io/compressed_tensors.cpp",
    "io/every_layout.hpp": "tests/io/convert.cpp",
    "io/linear_layout.hpp": "tests/io/gptq_checkpoint.cpp",
    "io/model_files.hpp": "tests/io/convert.cpp",
    "io/tensor_sink.hpp": "tests/io/sharded_writer.cpp",
    "io/json_parser.hpp": "tests/io/json.cpp",
    "io/json_value.hpp": "tests/io/json.cpp",
    "io/pattern.hpp": "tests/io/peft_config.cpp",
    "io/peft_adapter.hpp": "tests/io/peft.cpp",
    "io/peft_folder.hpp": "tests/io/peft.cpp",
    "io/regex_pattern.hpp": "tests/io/peft_config.cpp",
    "op/every_operator.hpp": "tests/op/load.cpp",
    "pipeline/every_adapter.hpp": "tests/pipeline/adapter_spec.cpp",
    "pipeline/started_adapters.hpp": "tests/pipeline/adapter_spec.cpp",
    "op/prepared_csr.hpp": "tests/op/tiled_operator.cpp",
    "op/prepared_masked.hpp": "tests/op/tiled_operator.cpp",
    "op/prepared_sparse24.hpp": "tests/op/tiled_operator.cpp",
}
DATA = ("data", "vectors")
breaches = []


def breach(path, line, rule):
    breaches.append(f"{path.relative_to(ROOT)}:{line}: {rule}")


def files(*patterns):
    """Our text files, without build folders and data."""
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            parts = path.relative_to(ROOT).parts
            if path.is_file() and not parts[0].startswith("build") and not set(parts) & set(DATA):
                yield path


def check_opening(path, comment, first):
    """The title line and the licence line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if len(lines) < first + 2 or not re.fullmatch(re.escape(comment) + r" tersor - \S.*\S", lines[first]):
        breach(path, first + 1, f"the line is '{comment} tersor - <one title sentence>'")
    elif lines[first].endswith("."):
        breach(path, first + 1, "a title does not end with a full stop")
    if len(lines) < first + 2 or lines[first + 1] != f"{comment} SPDX-License-Identifier: MIT":
        breach(path, first + 2, f"the line is '{comment} SPDX-License-Identifier: MIT'")
    return lines


SOURCES = [f"{d}/**/*.{e}" for d in ("include", "src", "tests", "examples", "bench") for e in ("hpp", "cpp")]
for path in files(*SOURCES):
    lines = check_opening(path, "//", 0)
    if path.suffix == ".hpp" and lines[2:3] != ["#pragma once"]:
        breach(path, 3, "the line is '#pragma once'")

for path in files("CMakeLists.txt", "cmake/*", "*/CMakeLists.txt", "*/*/CMakeLists.txt", "*/*/*/CMakeLists.txt",
                  "**/*.sh", "docs/**/*.py", "tests/**/*.py", ".ci/run"):
    check_opening(path, "#", 1 if path.read_text(encoding="utf-8").startswith("#!") else 0)

# The words are put together here so that this file does not contain them.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
WORKPLACE = re.compile("/" + r"(work|home/\w+)/")
for path in files(*SOURCES, "CMakeLists.txt", "cmake/*", "**/CMakeLists.txt", "**/*.sh", "**/*.py", "**/*.md",
                  ".ci/run", "*.json"):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if UNFINISHED.search(line):
            breach(path, number, "unfinished work is finished or removed")
        if WORKPLACE.search(line):
            breach(path, number, "a path of somebody's machine")

headers = list(files("include/tersor/**/*.hpp"))
for path in headers:
    name = path.relative_to(ROOT / "include/tersor")
    text = path.read_text(encoding="utf-8")
    if name.parts[0] in TECHNIQUES and not re.search(r"\d{4}\.\d{4,5}|[Nn]o paper", text):
        breach(path, 1, "a technique names its paper (arXiv id) or says 'no paper'")
    if str(name) not in TESTED_ELSEWHERE and not (ROOT / "tests" / name.with_suffix(".cpp")).exists():
        breach(path, 1, f"no test file tests/{name.with_suffix('.cpp')}")
    if name.parts[0] not in ("io", "model", "pipeline", "all.hpp") and re.search(
            r"#include <(iostream|fmt/|nlohmann/|CLI/)", text):
        breach(path, 1, "no stream, fmt, JSON or CLI library outside io, model and pipeline")
    if name.parts[0] not in ("linalg", "model", "pipeline") and re.search(r"#include <(unsupported/)?Eigen/", text):
        breach(path, 1, "Eigen is included in linalg only")

# ctest's lists are split at these characters.
for path in files("tests/**/*.cpp"):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.search(r'TEST_CASE\("((?:[^"\\]|\\.)*)"', line)
        if match and re.search(r'[\[\];\\"#$]', match.group(1)):
            breach(path, number, 'the name of a test case has none of [ ] ; \\ " # $')

if subprocess.run([sys.executable, str(ROOT / "docs/tools/source_blocks.py"), "--check"], check=False).returncode != 0:
    breach(ROOT / "docs/methods.md", 1, "a block of code in a page differs from its source")

if subprocess.run(["sh", str(ROOT / "docs/tools/umbrella.sh"), "--check"], check=False).returncode != 0:
    breach(ROOT / "include/tersor/tersor.hpp", 1, "an umbrella header is out of date")

print("\n".join(breaches) if breaches else f"house checks: {len(headers)} headers, no breach")
sys.exit(1 if breaches else 0)
