#!/usr/bin/env python3
# tersor - writes piece_cases.json: a small SentencePiece vocabulary, texts, and the ids that the reference gives them
# SPDX-License-Identifier: MIT
#
#   pip install tokenizers==0.23.3
#   tests/data/io/make_piece_cases.py 20 > tests/data/io/piece_cases.json
#
# Reference: Hugging Face tokenizers (Rust), which trains 700 tokens on examples/data/lm/calibration.txt, in the layout
# that transformers gives Llama 2: byte fallback, spaces as U+2581, one more before the text. The argument is the number
# of random texts. A case is a text, its ids, and the text that they are decoded to.
import json
import pathlib
import random
import sys

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
random.seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
root = pathlib.Path(__file__).resolve().parents[3]
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def trained():
    t = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace()  # merges within words, as SentencePiece learns them
    t.train([str(root / "examples/data/lm/calibration.txt")],
            trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL + BYTES, show_progress=False))
    t = json.loads(t.to_str())
    t["added_tokens"] = [a for a in t["added_tokens"] if a["content"] in SPECIAL]
    t["pre_tokenizer"] = None
    return t


def with_prefix(t, prefix):
    steps = [normalizers.Prepend("\u2581")] if prefix else []
    back = [decoders.Strip(" ", 1, 0)] if prefix else []
    t = tokenizers.Tokenizer.from_str(json.dumps(t))
    t.normalizer = normalizers.Sequence(steps + [normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()] + back)
    return t


FIXED = ["", " ", "  ", "a", " a", "  a", "a ", "Hello world", "It was the best of times", "1234567 12 3", "\n", "a\n\nb",
         "caf\u00e9 \u00e9t\u00e9", "\u4f60\u597d\uff0c\u4e16\u754c", "e\u0301", "\U0001f469\u200d\U0001f680!",
         "<s>Hello</s> world", "a<s> b", "\u2581a", "<0x41>", "the" * 40]
PARTS = [lambda: random.choice([" ", "  ", "\n", "\t", "\u00a0"]),
         lambda: random.choice(["the", "artist", "Beautiful", "things", "Dorian", "\u043c\u0438\u0440", "\u4f60"]),
         lambda: random.choice(["1", "42", "\u00bd", ".", ",", "!?", "\u2014", "\U0001f600", "\x00"]),
         lambda: random.choice(["<s>", "</s>", "<unk>"])]


def random_text():
    return "".join(random.choice(PARTS)() for _ in range(random.randrange(1, 14)))


base = trained()
print("{")
print(f'"made_by": "make_piece_cases.py with tokenizers {tokenizers.__version__}", "groups": [')
for prefix in (True, False):
    t = with_prefix(base, prefix)
    if prefix:
        file = json.loads(t.to_str())
    patch = {k: json.loads(t.to_str())[k] for k in ("normalizer", "decoder")}
    texts = FIXED + [random_text() for _ in range(count)]
    print(f'{{"prefix": {json.dumps(prefix)}, "patch": {json.dumps(patch)}, "cases": [')
    encoded = [(s, t.encode(s).ids) for s in texts]
    print(",\n".join(json.dumps({"text": s, "ids": ids, "decoded": t.decode(ids, skip_special_tokens=False)})
                     for s, ids in encoded))
    print("]}" + ("," if prefix else ""))
print(f'], "tokenizer": {json.dumps(file, ensure_ascii=False)}')
print("}")
