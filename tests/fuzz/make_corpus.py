# tersor - writes tests/fuzz/corpus: small whole files (good-*) and broken ones (bad-*) of each kind; usage: python3 tests/fuzz/make_corpus.py
# SPDX-License-Identifier: MIT
#
# Files that a fuzzer found are beside them under names of their own (bad-found-*): they are not written here.
import json
import struct
from pathlib import Path

corpus = Path(__file__).resolve().parent / "corpus"


def write(target, name, data):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    raw = text.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


f32 = struct.pack("<6f", 1, -2, 3, 0.5, 0, 7)
one = {"x.weight": tensor("F32", [2, 3], 0, 24)}
operators = {"version": 1, "operators": {"x": {"kind": "low_rank", "attributes": {}, "parts": {
    "a": {"kind": "dense", "attributes": {}}, "b": {"kind": "dense", "attributes": {}}}}}}
csr = {"version": 1, "operators": {"x": {"kind": "ternary", "attributes": {"rows": "2", "cols": "3", "group_size": "3"}}}}
write("safetensors", "good-empty", safetensors("{}      "))
write("safetensors", "good-one", safetensors(one, f32))
write("safetensors", "good-metadata", safetensors({"__metadata__": {"format": "pt"}, **one}, f32))
write("safetensors", "good-types", safetensors({
    "a": tensor("F16", [2], 0, 4), "b": tensor("BF16", [2, 1], 4, 8), "c": tensor("I64", [], 8, 16),
    "d": tensor("U8", [0, 5], 16, 16), "e": tensor("F8_E4M3", [3], 16, 19), "f": tensor("F4", [4], 19, 21)}, bytes(21)))
write("safetensors", "bad-short", b"\x08\x00\x00")
write("safetensors", "bad-no-brace", safetensors("[]      "))
write("safetensors", "bad-header-longer-than-file", safetensors(one, f32, length=10000))
write("safetensors", "bad-header-huge", safetensors(one, f32, length=2**63 + 5))
write("safetensors", "bad-hole", safetensors({"x": tensor("F32", [2], 8, 16)}, bytes(16)))
write("safetensors", "bad-overlap", safetensors({"x": tensor("F32", [2], 0, 8), "y": tensor("F32", [2], 4, 12)}, bytes(12)))
write("safetensors", "bad-rest", safetensors(one, f32 + b"\0"))
write("safetensors", "bad-cut", safetensors(one, f32[:-1]))
write("safetensors", "bad-size", safetensors({"x": tensor("F32", [2, 4], 0, 24)}, f32))
write("safetensors", "bad-overflow", safetensors({"x": tensor("F32", [2**62, 4, 2**62], 0, 24)}, f32))
write("safetensors", "bad-negative", safetensors({"x": tensor("F32", [-2, -3], 0, 24)}, f32))
write("safetensors", "bad-dtype", safetensors({"x": tensor("F3", [2, 3], 0, 24)}, f32))
write("safetensors", "bad-twice", safetensors('{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                              '"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"\0"))
write("safetensors", "bad-half-a-byte", safetensors({"x": tensor("F4", [3], 0, 1)}, b"\0"))
write("safetensors", "bad-deep", safetensors('{"x":' + "[" * 5000 + "]" * 5000 + "}"))
write("safetensors", "bad-utf8", safetensors('{"x') [:-1] + b"\xff")
write("safetensors", "bad-operator-parts", safetensors({"__metadata__": {"tersor": json.dumps(operators)}, **one}, f32))
write("safetensors", "bad-operator-tensors", safetensors({"__metadata__": {"tersor": json.dumps(csr)}, **one}, f32))
write("safetensors", "bad-operator-version", safetensors({"__metadata__": {"tersor": '{"version":2,"operators":{}}'}}))
write("safetensors", "bad-operator-text", safetensors({"__metadata__": {"tersor": "{"}}))

# A byte-level tokenizer: the letters of the 256 bytes, and two merges.
letters, free = {}, 256
for b in range(256):
    if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255:
        letters[b] = chr(b)
    else:
        letters[b], free = chr(free), free + 1
vocab = {letters[b]: b for b in range(256)} | {"th": 256, "the": 257}
tokenizer = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
    "added_tokens": [{"id": 258, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False,
                      "normalized": False, "special": True}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
              "vocab": vocab, "merges": ["t h", "th e"]}}


def tokenizer_with(name, change):
    t = json.loads(json.dumps(tokenizer))
    change(t)
    write("tokenizer", name, json.dumps(t, separators=(",", ":")))


tokenizer_with("good-bytes", lambda t: None)
tokenizer_with("good-merge-pairs", lambda t: t["model"].update(merges=[["t", "h"], ["th", "e"]]))
tokenizer_with("bad-merge-of-unknown", lambda t: t["model"].update(merges=["t zz"]))
tokenizer_with("bad-merge-without-result", lambda t: t["model"].update(merges=["t x"]))
tokenizer_with("bad-model", lambda t: t["model"].update(type="WordLevel"))
tokenizer_with("bad-no-vocab", lambda t: t["model"].pop("vocab"))
tokenizer_with("bad-id-huge", lambda t: t["model"]["vocab"].update(the=2**40))
tokenizer_with("bad-id-large", lambda t: t["model"]["vocab"].update(the=2**31 - 1))
tokenizer_with("bad-id-negative", lambda t: t["model"]["vocab"].update(the=-1))
tokenizer_with("bad-id-twice", lambda t: t["model"]["vocab"].update(the=256))
tokenizer_with("bad-byte-missing", lambda t: t["model"]["vocab"].pop("T"))
tokenizer_with("bad-added-id", lambda t: t["added_tokens"][0].update(id=2**33))
tokenizer_with("bad-normalizer", lambda t: t.update(normalizer={"type": "NFKD"}))
tokenizer_with("bad-pre-tokenizer", lambda t: t.update(pre_tokenizer={"type": "Whitespace"}))
write("tokenizer", "bad-cut", json.dumps(tokenizer)[:-9])
write("tokenizer", "bad-empty", "")
write("tokenizer", "bad-deep", "[" * 100000)

config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
          "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
          "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 0}


def config_with(name, **fields):
    write("config", name, json.dumps(config | fields, separators=(",", ":")))


config_with("good-llama")
config_with("good-tied", tie_word_embeddings=True)
config_with("bad-heads", num_attention_heads=5)
config_with("bad-kv-heads", num_key_value_heads=3)
config_with("bad-zero", hidden_size=0)
config_with("bad-negative", num_hidden_layers=-1)
config_with("bad-huge", hidden_size=2**62, num_attention_heads=2**60)
config_with("bad-fraction", vocab_size=99.5)
config_with("bad-type", model_type="bert")
config_with("bad-activation", hidden_act="gelu")
config_with("bad-scaling", rope_scaling={"type": "unheard-of", "factor": 2.0})
write("config", "bad-empty", "{}")
write("config", "bad-list", "[1]")

lora = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
        "target_modules": ["q_proj", "up_proj", "lm_head"], "task_type": "CAUSAL_LM", "use_rslora": False, "use_dora": False}


def lora_with(name, **fields):
    write("peft", name, json.dumps(lora | fields, separators=(",", ":")))


lora_with("good-lora")
lora_with("good-rslora", use_rslora=True)
lora_with("good-pattern", target_modules=".*(q_proj|up_proj|lm_head)")
lora_with("bad-rank", r=5)
lora_with("bad-rank-huge", r=2**40)
lora_with("bad-rank-negative", r=-4)
lora_with("bad-type", peft_type="LORRA")
lora_with("bad-targets", target_modules=["k_proj"])
lora_with("bad-targets-type", target_modules=7)
lora_with("bad-expression", target_modules="(((")
lora_with("bad-bias", bias="some")
lora_with("bad-alpha", lora_alpha="eight")
write("peft", "bad-empty", "{}")
write("peft", "bad-text", "LORA")

for name, text in {
        "good-recipe": "awq|gptq(bits=3,group_size=64)+svd(rank=16); *.down_proj: gptq(bits=8); model.layers.0.*: dense",
        "good-pattern": "sparsegpt(pattern=2:4)|gptq(bits=4)", "good-spaces": " rtn ( bits = 4 ) ",
        "bad-cache": "snapkv(capacity=256,window=32)|gear(bits=2)", "bad-adapter": "lora(rank=8,alpha=16)",
        "bad-name": "gtpq(bits=3)", "bad-option": "gptq(bit=3)", "bad-value": "gptq(bits=three)", "bad-range": "gptq(bits=77)",
        "bad-open": "gptq(bits=3", "bad-empty": "", "bad-rule": "*.q_proj", "bad-plus": "gptq+", "bad-bar": "|gptq",
        "bad-twice": "gptq(bits=3,bits=4)", "bad-nan": "gptq(percdamp=nan)", "bad-huge": "gptq(bits=99999999999999999999)"}.items():
    write("spec", name, text)
