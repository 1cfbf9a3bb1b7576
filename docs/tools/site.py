#!/usr/bin/env python3
# tersor - builds the documentation site; usage: python3 docs/tools/site.py FOLDER
# SPDX-License-Identifier: MIT
"""FOLDER gets the site; mkdocs makes it from the Markdown files of the repository, in their places, with every file
that they link to, by the theme in docs/theme. A link to a file that does not exist, to an anchor that no page has or to a folder is an error."""

import html.parser
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Sections of the navigation. Pages of docs/ that are in none of them come at the end of "Reference".
NAVIGATION = {
    "Start": ["README.md", "docs/getting_started.md", "docs/choosing.md", "docs/report.md",
              "docs/from_other_tools.md", "docs/pitfalls.md"],
    "Quantizers": [f"docs/techniques/{n}.md" for n in ("rtn", "gptq", "awq", "smoothquant", "w8a8", "nf4", "ggml", "loftq", "lqlora")],
    "Pruners": [f"docs/techniques/{n}.md" for n in ("magnitude", "nm_mask", "wanda", "ria", "sparsegpt", "sp24_store")],
    "Low rank": ["docs/techniques/svd.md"],
    "KV caches": [f"docs/techniques/{n}.md" for n in ("kv_policies", "dense", "kivi", "gear", "group", "bfp")],
    "Adapters": [f"docs/techniques/{n}.md" for n in
                 ("lora", "lora_plus", "dora", "pissa", "olora", "adalora", "vera", "loha", "lokr", "ia3", "oft", "bone", "bat",
                  "lamda", "lamda_pp", "aflora", "extract")],
    "Extending": ["docs/your_tensor_type.md", "docs/adding_a_technique.md", "docs/your_operator.md", "docs/your_kernel_path.md"],
    "Reference": ["docs/methods.md", "docs/file_format.md", "docs/reference_numbers.md", "docs/costs.md", "bench/README.md",
                  "docs/design.md", "docs/compatibility.md", "CHANGELOG.md", "examples/data/lm/README.md",
                  "examples/data/wikitext2/README.md"],
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def pages():
    listed = [page for section in NAVIGATION.values() for page in section]
    found = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md"))]
    unlisted = [p for p in found if p not in listed]
    if any(p.startswith("docs/techniques/") for p in unlisted):
        sys.exit(f"docs/tools/site.py: no place in the navigation for {', '.join(unlisted)}")
    NAVIGATION["Reference"] += unlisted
    return listed + unlisted


def title_of(page):
    first = (ROOT / page).read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").replace("`", "")


def stage(source):
    """The pages and every file that they link to, in their places."""
    problems = []
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        (source / page).parent.mkdir(parents=True, exist_ok=True)
        (source / page).write_text(plain_pipes(text), encoding="utf-8")
        for target in LINK.findall(CODE.sub("", text)):
            path = urllib.parse.urlsplit(target).path
            if urllib.parse.urlsplit(target).scheme or not path:
                continue
            linked = (ROOT / page).parent / path
            if not linked.is_file():
                problems.append(f"{page}: the link to {target} is to no file")
            else:
                copy(linked.resolve().relative_to(ROOT), source)
    return problems


def plain_pipes(text):
    """GitHub wants | escaped within code of a table, mkdocs takes it as it is and shows the backslash."""
    rows = (re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
            for line in text.splitlines(keepends=True))
    return "".join(rows)


def copy(name, source):
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / name, source / name)


def configuration(source, site):
    lines = [f"site_name: tersor\nsite_description: Header-only C++20 library of neural-network compression\n"
             f"docs_dir: {source}\nsite_dir: {site}\nuse_directory_urls: false\nstrict: true\n"
             f"theme:\n  name: null\n  custom_dir: {ROOT / 'docs/theme'}\nplugins: []\nmarkdown_extensions:\n  - toc:\n      permalink: true\n  - tables\n"
             "  - fenced_code\nnav:\n"]
    for section, names in NAVIGATION.items():
        lines.append(f"  - {section}:\n")
        lines += [f"      - '{title_of(name)}': {name}\n" for name in names]
    return "".join(lines)


class Anchors(html.parser.HTMLParser):
    """What a built page has to be linked to, and what it links to."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links = set(), []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def check_links(site):
    found = {page: Anchors(page) for page in sorted(site.rglob("*.html"))}
    problems = []
    for page, anchors in found.items():
        for link in anchors.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc or page.name == "404.html":
                continue
            target = (page.parent / urllib.parse.unquote(url.path)).resolve() if url.path else page
            if not target.is_file():
                problems.append(f"{page.relative_to(site)}: {link} leads nowhere")
            elif url.fragment and target in found and urllib.parse.unquote(url.fragment) not in found[target].ids:
                problems.append(f"{page.relative_to(site)}: {link}: no such anchor")
    return len(found), problems


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    site = pathlib.Path(arguments[0]).resolve()
    source = site.with_name(site.name + "-source")
    for folder in (site, source):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    problems = stage(source)
    if problems:
        sys.exit("\n".join(problems))
    settings = source.with_name("mkdocs.yml")
    settings.write_text(configuration(source, site), encoding="utf-8")
    subprocess.run(["mkdocs", "build", "--quiet", "--strict", "--config-file", str(settings)], check=True)
    count, problems = check_links(site)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{site}/index.html: {count} pages, all links lead somewhere")


main(sys.argv[1:])
