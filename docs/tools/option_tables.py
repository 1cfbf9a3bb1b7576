#!/usr/bin/env python3
# tersor - writes the option tables of docs/methods.md; usage: python3 docs/tools/option_tables.py [--check] TERSOR
# SPDX-License-Identifier: MIT
"""TERSOR is the built command: what it prints for `methods --json` is the source. With --check nothing is
written, and the program fails if docs/methods.md is out of date or lacks a method of the catalog."""

import json
import pathlib
import subprocess
import sys

PAGE = pathlib.Path(__file__).resolve().parents[1] / "methods.md"
BEGIN = "<!-- written by docs/tools/option_tables.py -->\n"
END = "<!-- end -->\n"


def table(method):
    """Heading, header file and one row for each option."""
    text = f"\n### {method['id']}\n\n`#include <{method['header']}>`. Guarantee: {method['guarantee']}.\n"
    if not method["options"]:
        return text
    text += "\n| option | default | values | meaning |\n|---|---|---|---|\n"
    for o in method["options"]:
        values = o["range"].replace("|", ", ")
        symbol = f" ({o['symbol']})" if o["symbol"] else ""
        text += f"| `{o['name']}` | {o['default']} | {values} | {o['help']}{symbol} |\n"
    return text


def main(arguments):
    check = "--check" in arguments
    commands = [a for a in arguments if a != "--check"]
    if len(commands) != 1:
        sys.exit(__doc__)
    output = subprocess.run([commands[0], "methods", "--json"], check=True, capture_output=True, text=True).stdout
    methods = json.loads(output)
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    expected = before + BEGIN + "".join(map(table, methods)) + "\n" + END + after
    missing = [m["id"] for m in methods if f"| `{m['id']}` |" not in before]
    if missing:
        sys.exit(f"{PAGE.name}: no line for {', '.join(missing)}")
    if check and page != expected:
        sys.exit(f"{PAGE.name} is out of date: run python3 docs/tools/option_tables.py {commands[0]}")
    if not check:
        PAGE.write_text(expected, encoding="utf-8")


main(sys.argv[1:])
