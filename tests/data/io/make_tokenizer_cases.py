#!/usr/bin/env python3
# tersor - writes tokenizer_cases.json: texts and the ids that the reference gives them
# SPDX-License-Identifier: MIT
#
#   pip install tokenizers==0.23.3
#   tests/data/io/make_tokenizer_cases.py 20 > tests/data/io/tokenizer_cases.json
#
# Reference: Hugging Face tokenizers (Rust). Each group is a JSON merge patch to examples/data/lm/tokenizer.json and
# its cases; the argument is the number of random texts per group, beside the fixed ones. A larger number and another
# seed (second argument) make a wider check. In a group that is not "lossless" decoding does not give the text back.
import copy
import json
import pathlib
import random
import sys

import tokenizers

count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
random.seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
root = pathlib.Path(__file__).resolve().parents[3]
base = json.loads((root / "examples/data/lm/tokenizer.json").read_text())

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(regex, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def sequence(*parts):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(parts), "add_prefix_space": None,
                              "trim_offsets": None, "use_regex": None}}


def added(id, content, **options):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True, **options}


groups = [
    ("as it is", {}),
    ("GPT-2 pattern as Split", sequence(split(GPT2), byte_level(False))),
    ("Llama-3 pattern", sequence(split(LLAMA3), byte_level(False))),
    ("Llama-3 pattern, single digits", sequence(split(LLAMA3.replace("{1,3}", "")), byte_level(False))),
    ("single digits", sequence({"type": "Digits", "individual_digits": True}, byte_level(True))),
    ("digits together", sequence({"type": "Digits", "individual_digits": False}, byte_level(True))),
    ("prefix space", {"pre_tokenizer": byte_level(True, True)}),
    ("no pattern", {"pre_tokenizer": byte_level(False)}),
    ("merges as strings", {"model": {"merges": [" ".join(m) for m in base["model"]["merges"][:40]]}}),
    ("whole words without merges", {"model": {"merges": [], "ignore_merges": True}}),
    ("added tokens", {"added_tokens": [
        added(0, "<|endoftext|>"), added(4096, "<|a|>"), added(4097, "<|a|>b"), added(4098, "<mask>", lstrip=True),
        added(4099, "<sep>", rstrip=True), added(4100, "é ü", special=False, normalized=True),
        added(base["model"]["vocab"]["the"], "the", special=False), added(4101, "<s", special=False, normalized=True)]}),
]

LOSSY = ("prefix space", "added tokens")  # a space more; white space beside <mask> and <sep> gone

FIXED = ["", " ", "  ", "a", " a", "  a", "a ", "a  ", "\n", "\n\n", " \n", "\n a", "\t\ta", "a\r\nb", "a \r\n\r\n  b",
         "I'm you're he'll we've it's they'd don't", "I'M YOU'RE HE'LL", "'\u017f '\u017fa", "'S 'x '' '", "' s",
         "Hello world", "1234567 12 3", "a1b22", "x=1, y=2.5e-3;", "\u00a0\u3000a", "\u0085a", "\x1c\x1d a",
         "\u00bd\u0663\u2167", "\u4f60\u597d\uff0c\u4e16\u754c", "e\u0301 \u0301", "\U0001f469\u200d\U0001f680!",
         "\ufeffa", "\ud7ff\ue000\U0010ffff", "\x00\x00a", "...\n\n!", " ...\n x", "<|endoftext|>", "a<|endoftext|>b",
         "<|endoftext|", " <|endoftext|> <|endoftext|><|endoftext|>", "<|a|>b<|a|>c", "x  <mask>  y <sep>  z <mask>",
         "<sep> \n<mask>", "the theme\u00e9 \u00fc<s <sep>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 3]
PARTS = [lambda: random.choice([" ", "  ", "   ", "\n", "\r\n", "\t", "\u00a0", "\u2003", "\u3000", "\u0085", "\v"]),
         lambda: random.choice(["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'rE", "'\u017f", "'", "''"]),
         lambda: random.choice(["the", "artist", "Beautiful", "things", "Dorian", "un", "\u00e9t\u00e9", "\u043c\u0438\u0440", "\u4f60\u597d"]),
         lambda: random.choice(["1", "42", "1234", "\u0663", "\u00bd", "\u2167", "\U0001d7d8"]),
         lambda: random.choice([".", ",", "...", "!?", "_", "--", "\u2014", "\u201c", "\u0301", "\u200d", "\U0001f600"]),
         lambda: random.choice(["<|endoftext|>", "<|a|>", "<|a|>b", "<mask>", "<sep>", "\u00e9 \u00fc", "<s"]),
         lambda: chr(random.choice([random.randrange(0x80), random.randrange(0x3000), random.randrange(0xD800),
                                    random.randrange(0xE000, 0x110000)]))]


def random_text():
    return "".join(random.choice(PARTS)() for _ in range(random.randrange(1, 14)))


def patched(value, patch):
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(value) if isinstance(value, dict) else {}
    for key, part in patch.items():
        if part is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), part)
    return result


def lines():
    yield "{"
    yield f'"made_by": "make_tokenizer_cases.py with tokenizers {tokenizers.__version__}", "groups": ['
    for n, (name, patch) in enumerate(groups):
        reference = tokenizers.Tokenizer.from_str(json.dumps(patched(base, patch)))
        texts = FIXED + [random_text() for _ in range(count)]
        yield f'{{"name": {json.dumps(name)}, "patch": {json.dumps(patch)}, "lossless": {json.dumps(name not in LOSSY)}, "cases": ['
        yield ",\n".join(json.dumps({"text": t, "ids": reference.encode(t).ids}) for t in texts)
        yield "]}" + ("," if n + 1 < len(groups) else "")
    yield "]}"


print("\n".join(lines()))
