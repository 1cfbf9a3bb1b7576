# tersor - writes single_include/tersor.hpp, all of tersor/tersor.hpp in one file; usage: python3 docs/tools/single_include.py [--check]
# SPDX-License-Identifier: MIT
#
# Each header appears once, at the first place that includes it, or twice under a guard if that place is under a condition; .inc
# files, which are compiled once for each instruction set, at each place. The file is for programs without tersor::precompiled: conditions on TERSOR_PRECOMPILED are decided.
# --check changes nothing and fails if the file is out of date.
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
target = root / "single_include" / "tersor.hpp"
own_include = re.compile(r'\s*#\s*include\s+<(tersor/[^>]+)>')
other_include = re.compile(r'\s*#\s*include\s+(<[^>]+>)')
condition = re.compile(r"\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")
precompiled = {"defined(TERSOR_PRECOMPILED)": False, "!defined(TERSOR_PRECOMPILED)": True}


def decided(lines, name):
    """The lines without those that TERSOR_PRECOMPILED would bring, and without conditions on it alone."""
    kept, open_ones = [], []  # of each open #if: None, or whether its present branch is kept
    for line in lines:
        found = condition.match(line)
        if found:
            word, rest = found.group(1), found.group(2).split("//")[0].strip()
            if word.startswith("if"):
                known = precompiled.get(rest) if word == "if" else None
                if known is None and "TERSOR_PRECOMPILED" in rest:
                    sys.exit(f"{name}: a condition that this tool does not understand: {line.strip()}")
                open_ones.append(known)
                if known is not None:
                    continue
            elif open_ones[-1] is not None:
                if word == "elif":
                    sys.exit(f"{name}: #elif after a condition on TERSOR_PRECOMPILED")
                if word == "else":
                    open_ones[-1] = not open_ones[-1]
                else:
                    open_ones.pop()
                continue
            elif word == "endif":
                open_ones.pop()
        if False not in open_ones:
            kept.append(line)
    return kept


class Writer:
    def __init__(self):
        self.seen, self.guarded, self.out = set(), set(), []

    def add(self, name, sure=True):
        """Appends a file. sure: at a place that is under no condition."""
        if name in self.seen:
            return
        once = name.endswith(".hpp")
        if once and sure:
            self.seen.add(name)
        guard = "TERSOR_SINGLE_INCLUDE_" + re.sub(r"\W", "_", name[:-4]).upper() if once else None
        if once and not sure:
            self.guarded.add(name)
        body = decided((root / "include" / name).read_text().splitlines(), name)
        while body and (body[0].startswith("//") or body[0].startswith("#pragma once") or not body[0].strip()):
            body.pop(0)  # the licence and the title are at the head of the whole
        self.out += ["", f"// {name}"]
        if name in self.guarded:
            self.out += [f"#if !defined({guard})", f"#define {guard}"]
        depth = 0
        for line in body:
            found = condition.match(line)
            if found:
                depth += 1 if found.group(1).startswith("if") else -1 if found.group(1) == "endif" else 0
            own = own_include.match(line)
            other = other_include.match(line)
            if own:
                self.add(own.group(1), sure and depth == 0)
            elif other and other.group(1) in self.seen:
                pass
            else:
                if other and sure and depth == 0:
                    self.seen.add(other.group(1))
                self.out.append(line)
        if name in self.guarded:
            self.out.append("#endif")


version = dict(re.findall(r"#define TERSOR_VERSION_(\w+) (\d+)", (root / "include/tersor/core/version.hpp").read_text()))
writer = Writer()
writer.add("tersor/tersor.hpp")
licence = (root / "LICENSE").read_text().strip().splitlines()
text = "\n".join([
    f"// tersor {version['MAJOR']}.{version['MINOR']}.{version['PATCH']} - all of <tersor/tersor.hpp> in one file; "
    "written by docs/tools/single_include.py",
    "// SPDX-License-Identifier: MIT", "//", *(f"// {line}".rstrip() for line in licence), "#pragma once", *writer.out, ""])
text = re.sub(r"\n{3,}", "\n\n", text)
if "--check" in sys.argv[1:]:
    if not target.exists() or target.read_text() != text:
        sys.exit("single_include/tersor.hpp is out of date: run python3 docs/tools/single_include.py")
else:
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
