#!/usr/bin/env python3
# tersor - writes the option tables of docs/techniques; usage: python3 docs/tools/option_tables.py [--check] TERSOR
# SPDX-License-Identifier: MIT
"""TERSOR is the built command: what it prints for `methods --json` is the source. A block of a page begins with
`<!-- options of ID -->` and ends with `<!-- end -->`. With --check nothing is written. Both fail if docs/methods.md
has no line for a method of the catalog or none of the pages has a block for it."""

import json
import pathlib
import re
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted((DOCS / "techniques").glob("*.md"))
BLOCK = re.compile(r"(<!-- options of (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def table(method):
    """Header file, guarantee and one row for each option."""
    paper = f" Paper: [arXiv {method['arxiv']}](https://arxiv.org/abs/{method['arxiv']})." if method["arxiv"] else ""
    text = f"\n`#include <{method['header']}>`. Guarantee: {method['guarantee']}.{paper}\n\n"
    if not method["options"]:
        return text + "It has no options.\n\n"
    text += "| option | default | values | meaning |\n|---|---|---|---|\n"
    for o in method["options"]:
        values = o["range"].replace("|", ", ")
        symbol = f" ({o['symbol']})" if o["symbol"] else ""
        text += f"| `{o['name']}` | {o['default']} | {values} | {o['help']}{symbol} |\n"
    return text + "\n"


def main(arguments):
    check = "--check" in arguments
    commands = [a for a in arguments if a != "--check"]
    if len(commands) != 1:
        sys.exit(__doc__)
    output = subprocess.run([commands[0], "methods", "--json"], check=True, capture_output=True, text=True).stdout
    methods = {m["id"]: m for m in json.loads(output)}
    found, stale = set(), []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        ids = [match.group(2) for match in BLOCK.finditer(text)]
        unknown = [i for i in ids if i not in methods]
        if unknown:
            sys.exit(f"{page.name}: no method {', '.join(unknown)} in the catalog")
        found.update(ids)
        expected = BLOCK.sub(lambda m: m.group(1) + table(methods[m.group(2)]) + m.group(3), text)
        if expected != text:
            stale.append(page.name)
            if not check:
                page.write_text(expected, encoding="utf-8")
    index = (DOCS / "methods.md").read_text(encoding="utf-8")
    problems = [f"methods.md has no line for {i}" for i in methods if f"| `{i}` |" not in index]
    problems += [f"no page of docs/techniques has a block '<!-- options of {i} -->'" for i in methods if i not in found]
    if check:
        problems += [f"{name} is out of date: run python3 docs/tools/option_tables.py {commands[0]}" for name in stale]
    if problems:
        sys.exit("\n".join(problems))


main(sys.argv[1:])
