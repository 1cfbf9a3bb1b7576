#!/usr/bin/env python3
# tersor - copies compiled source into the pages; usage: python3 docs/tools/source_blocks.py [--check]
# SPDX-License-Identifier: MIT
"""So that no code in a page is code that nobody compiles. A block of a page begins with one of

    <!-- comment of struct NAME in FILE -->       the documentation of a type
    <!-- code of FILE from "BEGIN" to "END" -->   from the first line that begins with BEGIN to the next with END,
                                                  or, where END is empty, to the next empty line

and ends with `<!-- end -->`. With --check nothing is written, and the program fails if a page is out of date."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMENT = re.compile(r"(<!-- comment of struct (\w+) in (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
CODE = re.compile(r'(<!-- code of (\S+) from "([^"\n]*)" to "([^"\n]*)" -->\n).*?(<!-- end -->\n)', re.DOTALL)


def lines_of(name):
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def comment(match):
    begin, name, source, end = match.groups()
    lines = lines_of(source)
    last = next((i for i, line in enumerate(lines) if re.match(rf"struct {name}\b", line)), None)
    if last is None:
        sys.exit(f"{source}: no struct {name}")
    first = last
    while first > 0 and lines[first - 1].startswith("///"):
        first -= 1
    return block(begin, [re.sub(r"^/// ?", "", line) for line in lines[first:last]], "text", end)


def code(match):
    begin, source, start, stop, end = match.groups()
    lines = lines_of(source)
    first = next((i for i, line in enumerate(lines) if line.startswith(start)), None)
    ends = (lambda line: line.startswith(stop)) if stop else (lambda line: not line)
    last = next((i for i, line in enumerate(lines) if first is not None and i >= first and ends(line)), None)
    if last is None:
        sys.exit(f"{source}: no lines from {start!r} to {stop!r}")
    return block(begin, lines[first:last + bool(stop)], "cpp", end)


def block(begin, lines, language, end):
    if not lines:
        sys.exit(f"{begin.strip()}: nothing there")
    return f"{begin}\n```{language}\n" + "\n".join(lines) + f"\n```\n\n{end}"


stale = []
for page in sorted((ROOT / "docs").rglob("*.md")):
    text = page.read_text(encoding="utf-8")
    expected = CODE.sub(code, COMMENT.sub(comment, text))
    if expected != text:
        stale.append(f"{page.relative_to(ROOT)} is out of date: run python3 docs/tools/source_blocks.py")
        if "--check" not in sys.argv[1:]:
            page.write_text(expected, encoding="utf-8")
if stale and "--check" in sys.argv[1:]:
    sys.exit("\n".join(stale))
