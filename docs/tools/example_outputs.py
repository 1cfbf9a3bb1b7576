#!/usr/bin/env python3
# tersor - runs the commands of the pages and writes what they print; usage: example_outputs.py [--check] BIN [PAGES]
# SPDX-License-Identifier: MIT
"""BIN is the folder of the built programs (build/release/examples). A block of a page begins with `<!-- output -->`
or `<!-- output, checked -->` and ends with `<!-- end -->`; the command is the fenced block of language sh before it, run
in a folder where `examples` is that of the repository. Without --check all outputs are written anew. With --check
nothing is written and only the checked ones, which are quick, are run: whole numbers and words must be the same,
numbers with a point within 2 %. Seconds depend on the machine and are left out: `… s`."""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(```sh\n((?:(?!```).)*?)```\n\n<!-- output(, checked)? -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?")
SECONDS = re.compile(r"\d+\.\d+ s\b")


def run(command, binaries):
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "examples").symlink_to(ROOT / "examples")
        environment = {"PATH": f"{binaries}:/usr/local/bin:/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", command], cwd=folder, env=environment,
                              capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command}\nexit code {done.returncode}: {done.stderr}")
    lines = [line.rstrip() for line in done.stdout.rstrip("\n").split("\n")]
    return SECONDS.sub("… s", "\n".join(lines))


def same(old, new):
    if NUMBER.sub("#", old).split() != NUMBER.sub("#", new).split():
        return False
    pairs = zip(map(float, NUMBER.findall(old)), map(float, NUMBER.findall(new)))
    return all(abs(a - b) <= 0.02 * max(abs(a), abs(b)) for a, b in pairs)


def main(arguments):
    check = "--check" in arguments
    arguments = [a for a in arguments if a != "--check"]
    if not arguments:
        sys.exit(__doc__)
    binaries = pathlib.Path(arguments[0]).resolve()
    pages = [pathlib.Path(a).resolve() for a in arguments[1:]] or sorted((ROOT / "docs").rglob("*.md"))
    problems, ran = [], 0
    for page in pages:
        text = page.read_text(encoding="utf-8")

        def fill(match):
            nonlocal ran
            head, command, checked, old, end = match.groups()
            if check and not checked:
                return match.group(0)
            ran += 1
            new = run(command, binaries)
            shown = "\n".join(old.strip().splitlines()[1:-1])
            if check and not same(shown, new):
                problems.append(f"{page.relative_to(ROOT)}: {command.strip()}\nprints\n{new}\nand not\n{shown}")
            return f"{head}\n```text\n{new}\n```\n\n{end}"

        expected = BLOCK.sub(fill, text)
        if not check and expected != text:
            page.write_text(expected, encoding="utf-8")
    print("\n".join(problems) if problems else f"{ran} outputs {'agree' if check else 'written'}")
    sys.exit(1 if problems else 0)


main(sys.argv[1:])
