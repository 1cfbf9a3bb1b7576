#!/usr/bin/env python3
# tersor - bench: runs all benches and writes a table and plots; run by bench/run.sh
# SPDX-License-Identifier: MIT
"""report.py [BUILD_DIR [FILTER]]: BUILD_DIR (build/bench) holds the benches, FILTER is a regular expression of row
names. Writes results.md, results.json, size.svg, context.svg and formats.svg to BUILD_DIR/results. Run it on an idle
machine: it takes about ten minutes. The plots need matplotlib (Debian: python3-matplotlib)."""

import json
import pathlib
import platform
import subprocess
import sys

import matplotlib  # before anything is measured, in case it is missing

matplotlib.use("Agg")
from matplotlib import pyplot

build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "build/bench")
pattern = sys.argv[2] if len(sys.argv) > 2 else "."
out = build / "results"


def rows_of(program):
    """What a Google Benchmark program measured."""
    path = out / f"{program}.json"
    subprocess.run([build / "bench" / program, f"--benchmark_filter={pattern}", f"--benchmark_out={path}",
                    "--benchmark_out_format=json"], check=True, stdout=subprocess.DEVNULL)
    return json.loads(path.read_text())["benchmarks"] if path.stat().st_size else []


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def table(rows, columns):
    """Markdown: columns are (title, text of a row)."""
    lines = ["| " + " | ".join(title for title, _ in columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(text(r) for _, text in columns) + " |" for r in rows]
    return "\n".join(lines) + "\n"


def number(key, digits):
    return lambda r: f"{r[key]:.{digits}f}" if key in r else ""


def measured(r):
    return r["name"].removesuffix("/iterations:1/manual_time")


def plot(rows):
    curves = {}
    for r in rows:
        if r["name"].startswith("size/"):
            _, form, _, activations, *_ = r["name"].split("/")
            threads = int(r["threads"])
            label = f"{form} x {activations}, {threads} thread{'s' * (threads > 1)}"
            curves.setdefault(("size.svg", "rows = columns"), {}).setdefault(label, []).append((r["cols"], r["real_time"]))
        if r["name"].startswith("context/"):
            label = r["name"].split("/")[1]
            curves.setdefault(("context.svg", "tokens"), {}).setdefault(label, []).append((r["context"], r["real_time"]))
    for (file, unit), lines in curves.items():
        figure, axes = pyplot.subplots(figsize=(7, 4.5))
        for label, points in lines.items():
            axes.loglog(*zip(*sorted(points)), marker="o", label=label)
        axes.set_xlabel(unit)
        axes.set_ylabel("milliseconds")
        axes.legend()
        axes.grid(True, which="both", alpha=0.3)
        figure.savefig(out / file, bbox_inches="tight")
    formats = [r for r in rows if r["name"].startswith("matvec/") and "/g128/" in r["name"] and r["threads"] == 2]
    if formats:
        names = sorted({r["name"].split("/")[1] for r in formats})
        figure, axes = pyplot.subplots(figsize=(9, 4.5))
        for i, activations in enumerate(("f32", "int8")):
            best = {r["name"].split("/")[1]: r["ratio_to_stream"] for r in formats if r["name"].split("/")[3] == activations}
            axes.bar([k + 0.4 * i for k in range(len(names))], [best.get(n, 0) for n in names], 0.4, label=activations)
        axes.set_xticks([k + 0.2 for k in range(len(names))], names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_ylabel("share of the rate of reading memory")
        axes.set_ylim(0, 1.15)
        axes.legend(title="activations", loc="upper left", ncol=2)
        figure.savefig(out / "formats.svg", bbox_inches="tight")


out.mkdir(parents=True, exist_ok=True)
kernels = rows_of("bench_kernels")
attention = rows_of("bench_attention")
compressing = rows_of("bench_compress")
text = f"# Benches on {processor()}\n\n"
if kernels:
    text += "## Products\n\n" + table(kernels, [
        ("row", measured), ("ms", number("real_time", 3)),
        ("GB/s", number("gb_per_s", 1)), ("of reading", number("ratio_to_stream", 2)), ("GFLOP/s", number("gflop_s", 1)),
        ("x Eigen f32", number("over_eigen_f32", 2)), ("x BLAS f32", number("over_blas_f32", 2))]) + "\n"
if attention:
    text += "## Attention\n\n" + table(attention, [
        ("row", measured), ("ms", number("real_time", 3)), ("MB", lambda r: f"{r['bytes'] / 1e6:.1f}"),
        ("of reading", number("ratio_to_stream", 2)), ("x f16", number("speedup_over_f16", 2))]) + "\n"
if compressing:
    text += "## Compressing\n\n" + table(compressing, [
        ("row", lambda r: r["name"].split("/")[0]), ("s", number("real_time", 3)), ("GFLOP/s", number("gflop/s", 1)),
        ("of SGEMM", number("ratio_to_sgemm", 2)), ("GB/s", number("gb_per_s", 2)), ("peak MB", number("peak_mb", 0))])
(out / "results.md").write_text(text)
(out / "results.json").write_text(json.dumps({"kernels": kernels, "attention": attention, "compressing": compressing}, indent=1))
plot(kernels + attention)
print(text, end="")
