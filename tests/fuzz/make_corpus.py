# tersor - writes tests/fuzz/corpus: small whole files (good-*) and broken ones (bad-*) of each kind; usage: python3 tests/fuzz/make_corpus.py
# SPDX-License-Identifier: MIT
#
# Files that a fuzzer found are beside them under names of their own (bad-found-*): they are not written here.
import json
import math
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

# GGUF: a whole Llama model of one layer, and what can be wrong with a container.
U32, F32, BOOL, STRING, ARRAY, I64 = 4, 6, 7, 8, 9, 11


def gguf_text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(v):
    if isinstance(v, bool):
        return struct.pack("<i?", BOOL, v)
    if isinstance(v, int):
        return struct.pack("<iI", U32, v) if 0 <= v < 2**32 else struct.pack("<iq", I64, v)
    if isinstance(v, float):
        return struct.pack("<if", F32, v)
    if isinstance(v, str):
        return struct.pack("<i", STRING) + gguf_text(v)
    kind = STRING if isinstance(v[0], str) else F32 if isinstance(v[0], float) else 5
    return struct.pack("<iiQ", ARRAY, kind, len(v)) + b"".join(
        gguf_text(x) if kind == STRING else struct.pack("<f" if kind == F32 else "<i", x) for x in v)


def gguf(keys, tensors, version=3, magic=b"GGUF", counts=None, alignment=32):
    """tensors: (name, extents with the fastest first, type, bytes)."""
    head = magic + struct.pack("<Iqq", version, *(counts or (len(tensors), len(keys))))
    head += b"".join(gguf_text(k) + gguf_value(v) for k, v in keys)
    data, infos = b"", b""
    for name, extents, kind, raw in tensors:
        infos += gguf_text(name) + struct.pack("<I", len(extents)) + struct.pack(f"<{len(extents)}q", *extents)
        infos += struct.pack("<iQ", kind, len(data))
        data += raw + bytes(-len(raw) % alignment)
    head += infos
    return head + bytes(-len(head) % alignment) + data


def q8_0(rows):
    return (struct.pack("<e", 0.01) + bytes(range(32))) * rows


def q4_0(rows):
    return (struct.pack("<e", 0.02) + bytes(range(16))) * rows


gguf_tokens = [letters[b] for b in range(256)] + ["th", "the", "<|end|>"]
gguf_keys = [("general.architecture", "llama"), ("llama.block_count", 1), ("llama.context_length", 64),
             ("llama.embedding_length", 32), ("llama.feed_forward_length", 32), ("llama.attention.head_count", 2),
             ("llama.attention.head_count_kv", 1), ("llama.attention.layer_norm_rms_epsilon", 1e-5),
             ("llama.rope.dimension_count", 16), ("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.pre", "gpt-2"),
             ("tokenizer.ggml.tokens", gguf_tokens), ("tokenizer.ggml.token_type", [1] * 258 + [3]),
             ("tokenizer.ggml.merges", ["t h", "th e"]), ("tokenizer.ggml.eos_token_id", 258)]
ones = struct.pack("<32f", *[1.0] * 32)
gguf_tensors = [("token_embd.weight", (32, 259), 8, q8_0(259)), ("output_norm.weight", (32,), 0, ones)] + [
    ("blk.0." + n, (32, rows) if rows > 1 else (32,), kind, q4_0(rows) if kind == 2 else ones) for n, rows, kind in (
        ("attn_norm.weight", 1, 0), ("attn_q.weight", 32, 2), ("attn_k.weight", 16, 2), ("attn_v.weight", 16, 2),
        ("attn_output.weight", 32, 2), ("ffn_norm.weight", 1, 0), ("ffn_gate.weight", 32, 2), ("ffn_up.weight", 32, 2),
        ("ffn_down.weight", 32, 2))]


def gguf_with(name, key=None, value=None, **other):
    keys = [(k, value if k == key else v) for k, v in gguf_keys if not (k == key and value is None)]
    write("gguf", name, gguf(keys, gguf_tensors, **other))


whole = gguf(gguf_keys, gguf_tensors)
gguf_with("good-llama")
write("gguf", "bad-empty", b"")
write("gguf", "bad-magic", gguf(gguf_keys, gguf_tensors, magic=b"GGML"))
write("gguf", "bad-version-1", gguf(gguf_keys, gguf_tensors, version=1))
write("gguf", "bad-version-4", gguf(gguf_keys, gguf_tensors, version=4))
write("gguf", "bad-big-endian", gguf(gguf_keys, gguf_tensors, version=3 << 24))
write("gguf", "bad-counts-negative", gguf([], [], counts=(-1, 0)))
write("gguf", "bad-counts-huge", gguf([], [], counts=(2**60, 2**60)))
write("gguf", "bad-cut", whole[:-1])
write("gguf", "bad-cut-in-keys", whole[:300])
write("gguf", "bad-key-twice", gguf([("a.b", 1), ("a.b", 2)], []))
write("gguf", "bad-string-huge", b"GGUF" + struct.pack("<IqqQ", 3, 0, 1, 2**62) + b"abc")
write("gguf", "bad-array-huge", b"GGUF" + struct.pack("<Iqq", 3, 0, 1) + gguf_text("a.b") + struct.pack("<iiQ", 9, 4, 2**61))
write("gguf", "bad-array-nested", b"GGUF" + struct.pack("<Iqq", 3, 0, 1) + gguf_text("a.b") + struct.pack("<iiQ", 9, 9, 1) + bytes(64))
write("gguf", "bad-type-of-key", b"GGUF" + struct.pack("<Iqq", 3, 0, 1) + gguf_text("a.b") + struct.pack("<iI", 13, 0) + bytes(64))
write("gguf", "bad-tensor-twice", gguf(gguf_keys, gguf_tensors + gguf_tensors[:1]))
write("gguf", "bad-tensor-retired-type", gguf(gguf_keys, [("x", (32,), 4, bytes(20))]))
write("gguf", "bad-tensor-overflow", gguf(gguf_keys, [("x", (2**40, 2**40), 0, bytes(32))]))
write("gguf", "bad-tensor-negative", gguf(gguf_keys, [("x", (-32, -1), 0, bytes(32))]))
write("gguf", "bad-tensor-five-axes", gguf(gguf_keys, [("x", (1, 1, 1, 1, 1), 0, bytes(32))]))
write("gguf", "bad-tensor-half-a-block", gguf(gguf_keys, [("x", (48,), 2, bytes(36))]))
write("gguf", "bad-tensor-name-long", gguf(gguf_keys, [("x" * 64, (8,), 0, bytes(32))]))
write("gguf", "bad-tensor-missing", gguf(gguf_keys, gguf_tensors[:-1]))
write("gguf", "bad-tensor-shape", gguf(gguf_keys, gguf_tensors[:-1] + [("blk.0.ffn_down.weight", (32, 16), 2, q4_0(16))]))
write("gguf", "bad-tensor-nan", gguf(gguf_keys, [gguf_tensors[0], ("output_norm.weight", (32,), 0, b"\xff" * 128)] + gguf_tensors[2:]))
# SentencePiece tokens, divided frequencies, and a model of few rows in other block types.
pieces = ["<unk>", "<s>", "</s>", "<0x41>", "\u2581", "t", "h", "e", "th", "the", "\u2581the", ""]
piece_keys = [k for k in gguf_keys if not k[0].startswith("tokenizer")] + [
    ("tokenizer.ggml.model", "llama"), ("tokenizer.ggml.tokens", pieces),
    ("tokenizer.ggml.scores", [0.0] * 4 + [-float(i) for i in range(4, 12)]),
    ("tokenizer.ggml.token_type", [2, 3, 3, 6] + [1] * 7 + [0]), ("tokenizer.ggml.add_bos_token", True),
    ("tokenizer.ggml.add_space_prefix", True)]


def piece_model(name, changes=(), tensors=()):
    replaced = {k for k, v in changes}
    keys = [k for k in piece_keys if k[0] not in replaced] + [(k, v) for k, v in changes if v is not None]
    table = [("token_embd.weight", (32, len(pieces)), 8, q8_0(len(pieces)))]
    write("gguf", name, gguf(keys, table + gguf_tensors[1:] + list(tensors)))


eight = struct.pack("<8f", *[1 + i / 4 for i in range(8)])
piece_model("good-pieces")
piece_model("good-divisors", [("llama.attention.key_length", 16), ("llama.rope.scaling.factor", 2.0)],
            [("rope_freqs.weight", (8,), 0, eight)])
piece_model("good-linear", [("llama.rope.scale_linear", 4.0), ("tokenizer.ggml.add_bos_token", False)])
piece_model("good-without-usual-keys", [("tokenizer.ggml.token_type", None), ("tokenizer.ggml.add_space_prefix", None)])
piece_model("bad-key-length", [("llama.attention.key_length", -2**63), ("llama.rope.dimension_count", None)],
            [("rope_freqs.weight", (0,), 0, b"")])
piece_model("bad-divisors", [], [("rope_freqs.weight", (8,), 0, struct.pack("<8f", *[-1.0] * 8))])
piece_model("bad-scaling", [("llama.rope.scaling.factor", float("inf"))])
piece_model("bad-scores", [("tokenizer.ggml.scores", [float("nan")] * 12)])
piece_model("bad-bos", [("tokenizer.ggml.bos_token_id", 12)])
wide_keys = [(k, {"llama.embedding_length": 256, "llama.feed_forward_length": 8, "llama.attention.head_count": 1,
                  "llama.rope.dimension_count": 4}.get(k, v)) for k, v in piece_keys] + [("llama.attention.key_length", 4)]
wide_ones = struct.pack("<256f", *[1.0] * 256)


def wide_model(name, q, k, v, gate, up):
    """Types of five linears, (number, bytes of a block of 256)."""
    def linear(part, rows, kind):
        return ("blk.0." + part, (256, rows), kind[0], (bytes(range(1, 7)) * 64)[:kind[1]] * rows)
    write("gguf", name, gguf(wide_keys, [
        ("token_embd.weight", (256, len(pieces)), 14, bytes(210 * len(pieces))), ("output_norm.weight", (256,), 0, wide_ones),
        ("blk.0.attn_norm.weight", (256,), 0, wide_ones), ("blk.0.ffn_norm.weight", (256,), 0, wide_ones),
        linear("attn_q.weight", 4, q), linear("attn_k.weight", 4, k), linear("attn_v.weight", 4, v),
        ("blk.0.attn_output.weight", (4, 256), 1, bytes(2048)), linear("ffn_gate.weight", 8, gate),
        linear("ffn_up.weight", 8, up), ("blk.0.ffn_down.weight", (8, 256), 30, bytes(4096))]))


wide_model("good-k-quants", (10, 84), (11, 110), (12, 144), (13, 176), (14, 210))
wide_model("good-i-quants", (16, 66), (17, 74), (18, 98), (19, 50), (21, 110))
wide_model("good-other-types", (22, 82), (23, 136), (29, 56), (34, 54), (35, 66))
gguf_with("bad-alignment", alignment=24)
gguf_with("bad-architecture", "general.architecture", "mamba")
gguf_with("bad-no-layers", "llama.block_count")
gguf_with("bad-heads", "llama.attention.head_count", 3)
gguf_with("bad-heads-huge", "llama.attention.head_count", 2**32 - 1)
gguf_with("bad-layers-huge", "llama.block_count", 2**32 - 1)
gguf_with("bad-rotation", "llama.rope.dimension_count", 8)
gguf_with("bad-tokenizer", "tokenizer.ggml.model", "bert")
gguf_with("bad-pre", "tokenizer.ggml.pre", "unheard-of")
gguf_with("bad-merges", "tokenizer.ggml.merges", ["t zz"])
gguf_with("bad-end", "tokenizer.ggml.eos_token_id", 4000)

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

# Other methods, with weights of their own behind a zero byte (tests/fuzz/peft.cpp).
Q, UP, CONV, EMBED = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.conv", "model.embed_tokens"


def peft_with(name, fields, tensors, targets=("q_proj", "up_proj")):
    """tensors: by key without its prefix, the shape."""
    header, data = {}, b""
    for i, (key, shape) in enumerate(tensors.items()):
        count = math.prod(shape)
        raw = struct.pack(f"<{count}f", *(0.01 * ((i + k) % 7 - 3) for k in range(count)))
        prefix = "base_model." if key.startswith("vera_") else "base_model.model."
        header[prefix + key] = tensor("F32", shape, len(data), len(data) + len(raw))
        data += raw
    config = json.dumps({"target_modules": list(targets)} | fields, separators=(",", ":"))
    write("peft", name, config.encode() + b"\0" + safetensors(header, data))


def both(of):
    """`of(out, in)` for the two linear layers."""
    return {f"{m}.{key}": shape for m, out in ((Q, 8), (UP, 16)) for key, shape in of(out, 8).items()}


lora_3 = both(lambda out, cols: {"lora_A.weight": [3, cols], "lora_B.weight": [out, 3]})
peft_with("good-dora", {"peft_type": "LORA", "r": 3, "use_dora": True},
          lora_3 | {Q + ".lora_magnitude_vector": [8], UP + ".lora_magnitude_vector": [16]})
peft_with("good-lora-bias", {"peft_type": "LORA", "r": 3, "lora_bias": True, "bias": "lora_only", "modules_to_save": ["norm"]},
          lora_3 | {Q + ".lora_B.bias": [8], UP + ".lora_B.bias": [16], Q + ".base_layer.bias": [8], "model.norm.weight": [8]})
peft_with("good-lora-high-rank", {"peft_type": "LORA", "r": 3, "rank_pattern": {"q_proj": 12}},
          lora_3 | {Q + ".lora_A.weight": [12, 8], Q + ".lora_B.weight": [8, 12]})
peft_with("good-lora-embedding", {"peft_type": "LORA", "r": 2},
          {EMBED + ".lora_embedding_A": [2, 10], EMBED + ".lora_embedding_B": [8, 2]}, ["embed_tokens"])
peft_with("good-lora-convolution", {"peft_type": "LORA", "r": 2},
          {CONV + ".lora_A.weight": [2, 4, 2, 2], CONV + ".lora_B.weight": [4, 2, 1, 1]}, ["conv"])
peft_with("good-adalora", {"peft_type": "ADALORA", "init_r": 4, "rank_pattern": {
    Q + ".lora_E": [True, False, True, True], UP + ".lora_E": [True, True, False, True]}},
    both(lambda out, cols: {"lora_A": [3, cols], "lora_E": [3, 1], "lora_B": [out, 3]}))
vera = both(lambda out, cols: {"vera_lambda_b": [out], "vera_lambda_d": [4]})
peft_with("good-vera", {"peft_type": "VERA", "r": 4}, vera | {"vera_A": [4, 8], "vera_B": [16, 4]})
peft_with("good-vera-drawn", {"peft_type": "VERA", "r": 4, "save_projection": False, "projection_prng_key": 7}, vera)
loha = both(lambda out, cols: {"hada_w1_a": [out, 2], "hada_w1_b": [2, cols], "hada_w2_a": [out, 2], "hada_w2_b": [2, cols]})
peft_with("good-loha", {"peft_type": "LOHA", "r": 2, "alpha": 3}, loha)
peft_with("good-loha-convolution", {"peft_type": "LOHA", "r": 2, "use_effective_conv2d": True},
          {f"{CONV}.hada_{key}": shape for i in "12" for key, shape in (
              (f"w{i}_a", [2, 4]), (f"w{i}_b", [2, 4]), (f"t{i}", [2, 2, 2, 2]))}, ["conv"])
peft_with("good-lokr", {"peft_type": "LOKR", "r": 1, "alpha": 3},
          {Q + ".lokr_w1": [2, 2], Q + ".lokr_w2_a": [4, 1], Q + ".lokr_w2_b": [1, 4],
           UP + ".lokr_w1": [4, 2], UP + ".lokr_w2_a": [4, 1], UP + ".lokr_w2_b": [1, 4]})
peft_with("good-lokr-both", {"peft_type": "LOKR", "r": 1, "decompose_both": True, "decompose_factor": 4},
          {Q + ".lokr_w1_a": [4, 1], Q + ".lokr_w1_b": [1, 4], Q + ".lokr_w2": [2, 2],
           UP + ".lokr_w1_a": [4, 1], UP + ".lokr_w1_b": [1, 4], UP + ".lokr_w2_a": [4, 1], UP + ".lokr_w2_b": [1, 2]})
peft_with("good-lokr-convolution", {"peft_type": "LOKR", "r": 8},
          {CONV + ".lokr_w1": [2, 2], CONV + ".lokr_w2": [2, 2, 2, 2]}, ["conv"])
peft_with("good-ia3", {"peft_type": "IA3", "feedforward_modules": ["up_proj"]}, {Q + ".ia3_l": [8, 1], UP + ".ia3_l": [1, 8]})
rotations = both(lambda out, cols: {"oft_R.weight": [2, 6]})
peft_with("good-oft", {"peft_type": "OFT", "oft_block_size": 4}, rotations)
peft_with("good-oft-shared", {"peft_type": "OFT", "r": 2, "oft_block_size": 0, "block_share": True, "use_cayley_neumann": False},
          both(lambda out, cols: {"oft_R.weight": [1, 6]}))
miss = both(lambda out, cols: {"miss_block": [3, out]})
mini = both(lambda out, cols: {"miss_block": [3, 4]})
peft_with("good-miss", {"peft_type": "MISS", "r": 3}, miss)
peft_with("good-miss-mini", {"peft_type": "MISS", "r": 3, "mini_r": 4, "init_weights": "mini"}, mini)
peft_with("good-miss-bat", {"peft_type": "MISS", "r": 4, "init_weights": "bat"},
          both(lambda out, cols: {"miss_block": [out // 4, 4, 4]}))
peft_with("good-bone", {"peft_type": "BONE", "r": 3}, both(lambda out, cols: {"bone_block": [3, out]}))
peft_with("bad-start-pissa", {"peft_type": "LORA", "r": 3, "init_lora_weights": "pissa"}, lora_3)
peft_with("bad-start-loftq", {"peft_type": "LORA", "r": 3, "init_lora_weights": "loftq"}, lora_3)
peft_with("bad-adalora-rank-huge", {"peft_type": "ADALORA", "init_r": 10**9},
          both(lambda out, cols: {"lora_A": [3, cols], "lora_E": [3, 1], "lora_B": [out, 3]}))
peft_with("bad-vera-rank-huge", {"peft_type": "VERA", "r": 10**9, "save_projection": False}, vera)
peft_with("bad-loha-rank-huge", {"peft_type": "LOHA", "r": 10**9}, loha)
peft_with("bad-miss-rank-huge", {"peft_type": "MISS", "r": 10**9}, miss)
peft_with("bad-miss-mini-negative", {"peft_type": "MISS", "r": 3, "mini_r": -3, "init_weights": "mini"}, mini)
peft_with("bad-miss-mini-huge", {"peft_type": "MISS", "r": 3, "mini_r": 10**9, "init_weights": "mini"}, mini)
peft_with("bad-oft-block-huge", {"peft_type": "OFT", "oft_block_size": 10**9}, rotations)
lora_with("bad-expression-long", target_modules="(" * 1500 + ")" * 1500)
lora_with("bad-expression-counts", target_modules="(" + "a?" * 250 + "){100}")
lora_with("bad-expression-lookaheads", target_modules="(?=.*" * 50 + ")" * 50)

for name, text in {
        "good-recipe": "awq|gptq(bits=3,group_size=64)+svd(rank=16); *.down_proj: gptq(bits=8); model.layers.0.*: dense",
        "good-pattern": "sparsegpt(pattern=2:4)|gptq(bits=4)", "good-spaces": " rtn ( bits = 4 ) ",
        "bad-cache": "snapkv(capacity=256,window=32)|gear(bits=2)", "bad-adapter": "lora(rank=8,alpha=16)",
        "bad-name": "gtpq(bits=3)", "bad-option": "gptq(bit=3)", "bad-value": "gptq(bits=three)", "bad-range": "gptq(bits=77)",
        "bad-open": "gptq(bits=3", "bad-empty": "", "bad-rule": "*.q_proj", "bad-plus": "gptq+", "bad-bar": "|gptq",
        "bad-twice": "gptq(bits=3,bits=4)", "bad-nan": "gptq(percdamp=nan)", "bad-huge": "gptq(bits=99999999999999999999)"}.items():
    write("spec", name, text)

# Checkpoints of other tools: a line that is config.json, then the weights. Elements are 1, or what `values` says.
ELEMENT = {"I8": b"\1", "U8": b"\x35", "F8_E4M3": b"\x38", "F16": b"\0\x3c", "BF16": b"\x80\x3f", "F32": struct.pack("<f", 1),
           "I32": struct.pack("<i", 0x21212121), "I64": struct.pack("<q", 1)}


def layout(name, settings, values={}, **tensors):
    """tensors: PART=(dtype, shape); values: bytes by part."""
    header, data = {}, b""
    for part, (dtype, shape) in tensors.items():
        count = 1
        for n in shape:
            count *= n
        raw = values.get(part, ELEMENT[dtype] * count)
        header["m." + part] = tensor(dtype, shape, len(data), len(data) + len(raw))
        data += raw
    config = {} if settings is None else {"quantization_config": settings}
    write("layouts", name, json.dumps(config, separators=(",", ":")).encode() + b"\n" + safetensors(header, data))


def integers(*numbers):
    return struct.pack(f"<{len(numbers)}i", *numbers)


def longs(*numbers):
    return struct.pack(f"<{len(numbers)}q", *numbers)


gptq = {"quant_method": "gptq", "bits": 4, "group_size": 16, "checkpoint_format": "gptq"}
four = {"qweight": ("I32", [4, 32]), "qzeros": ("I32", [2, 4]), "scales": ("F16", [2, 32]), "g_idx": ("I32", [32])}
in_order, mixed = {"g_idx": integers(*[j // 16 for j in range(32)])}, {"g_idx": integers(*[j % 2 for j in range(32)])}
layout("good-gptq", gptq, in_order, **four)
layout("good-gptq-act-order", gptq | {"checkpoint_format": "gptq_v2", "desc_act": True}, mixed, **four)
layout("good-gptq-3-bits", gptq | {"bits": 3, "group_size": -1, "dynamic": {"-:other": {}, "+:m": {"group_size": 32}}},
       qweight=("I32", [3, 32]), qzeros=("I32", [1, 3]), scales=("F16", [1, 32]))
layout("bad-gptq-left-out", gptq | {"dynamic": {"-:m": {}}}, in_order, **four)
layout("bad-gptq-no-settings", None, in_order, **four)
layout("bad-gptq-of-others", gptq | {"quant_method": "bitsandbytes"}, in_order, **four)
layout("bad-gptq-no-qweight", gptq, qzeros=("I32", [2, 4]), scales=("F16", [2, 32]))
layout("bad-gptq-empty", gptq | {"group_size": -1}, qweight=("I32", [2**60, 0]), qzeros=("I32", [1, 0]), scales=("F16", [1, 0]))
awq = {"quant_method": "awq", "bits": 4, "group_size": 8, "version": "gemm"}
layout("good-awq", awq, qweight=("I32", [16, 2]), qzeros=("I32", [2, 2]), scales=("F16", [2, 16]))
layout("bad-awq-empty", awq, qweight=("I32", [0, 2**61]), qzeros=("I32", [0, 2**61]), scales=("F16", [0, 0]))
layout("bad-awq-no-scales", awq, qweight=("I32", [16, 2]), qzeros=("I32", [2, 2]))


def scheme(form, weights, **others):
    groups = {"group_0": {"targets": ["Linear"], "weights": weights and {"symmetric": True} | weights}}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": groups} | others


half_bytes = {"num_bits": 4, "strategy": "group", "group_size": 8}
words = {"weight_packed": ("I32", [8, 2]), "weight_scale": ("BF16", [8, 2]), "weight_shape": ("I64", [2])}
eight = {"weight_shape": longs(8, 16)}
layout("good-packed", scheme("pack-quantized", half_bytes | {"symmetric": False}), eight, **words, weight_zero_point=("I32", [1, 2]))
layout("good-packed-act-order", scheme("pack-quantized", half_bytes | {"actorder": "group"}),
       eight | {"weight_g_idx": integers(*[j % 2 for j in range(16)])}, **words, weight_g_idx=("I32", [16]))
layout("good-packed-old", scheme("pack-quantized", {"num_bits": 3, "strategy": "channel"}, version="0.9.4"), {"weight_shape": longs(2, 32)},
       weight_packed=("I32", [2, 4]), weight_scale=("F32", [2, 1]), weight_shape=("I64", [2]))
layout("bad-packed-no-scale", scheme("pack-quantized", half_bytes), eight, **{k: v for k, v in words.items() if k != "weight_scale"})
layout("bad-packed-no-g-idx", scheme("pack-quantized", half_bytes | {"actorder": "group"}), eight, **words)
layout("bad-packed-ignored", scheme("pack-quantized", half_bytes, ignore=["m"]), eight, **words)
bytes_of_rows = {"weight": ("I8", [4, 8]), "weight_scale": ("F32", [4, 1])}
per_channel = {"num_bits": 8, "strategy": "channel"}
whole_tensor = {"num_bits": 8, "strategy": "tensor"}
layout("good-int8", scheme("int-quantized", per_channel), **bytes_of_rows)
int8 = scheme("int-quantized", whole_tensor)
int8["config_groups"]["group_0"]["input_activations"] = whole_tensor
layout("good-int8-static", int8, weight=("I8", [4, 8]), weight_scale=("F32", [1]), input_scale=("F32", [1]))
layout("good-int8-act-order", scheme("int-quantized", {"strategy": "group", "group_size": 4}),
       {"weight_g_idx": integers(*[j % 2 for j in range(8)])}, weight=("I8", [4, 8]), weight_scale=("F32", [4, 2]), weight_g_idx=("I32", [8]))
layout("bad-int8-no-scale", scheme("int-quantized", per_channel), weight=("I8", [4, 8]))
layout("bad-int8-empty", scheme("int-quantized", whole_tensor), weight=("I8", [2**60, 0]), weight_scale=("F32", [1]))
layout("bad-int8-zero-point", scheme("int-quantized", whole_tensor | {"symmetric": False}), {"weight_zero_point": integers(2**31 - 1)},
       weight=("I8", [4, 8]), weight_scale=("F32", [1]), weight_zero_point=("I32", [1]))
fp8 = {"num_bits": 8, "type": "float"}
layout("good-fp8", scheme("float-quantized", fp8 | {"strategy": "tensor"}), weight=("F8_E4M3", [4, 8]), weight_scale=("BF16", [1]))
layout("good-fp8-block", scheme("float-quantized", fp8 | {"strategy": "block", "block_structure": [3, 4]}),
       weight=("F8_E4M3", [4, 8]), weight_scale=("F32", [2, 2]))
layout("good-fp8-act-order", scheme("float-quantized", fp8 | {"strategy": "group", "group_size": 4}),
       {"weight_g_idx": integers(*[j % 2 for j in range(8)])}, weight=("F8_E4M3", [4, 8]), weight_scale=("F32", [4, 2]), weight_g_idx=("I32", [8]))
layout("good-fp8-block-huge", scheme("float-quantized", fp8 | {"strategy": "block", "block_structure": [2**63 - 1, 2**63 - 1]}),
       weight=("F8_E4M3", [4, 8]), weight_scale=("F32", [1, 1]))
layout("bad-fp8-no-scale", scheme("float-quantized", fp8 | {"strategy": "tensor"}), weight=("F8_E4M3", [4, 8]))
layout("bad-fp8-no-columns", scheme("float-quantized", fp8 | {"strategy": "group", "group_size": 128}),
       weight=("F8_E4M3", [4, 0]), weight_scale=("F32", [4, 0]))
layout("bad-fp8-rows-huge", scheme("float-quantized", fp8 | {"strategy": "tensor"}), weight=("F8_E4M3", [2**36, 0]), weight_scale=("F32", [1]))
fp4 = {"num_bits": 4, "type": "float"}
nvfp4 = scheme("nvfp4-pack-quantized", fp4 | {"strategy": "tensor_group", "group_size": 16})
layout("good-nvfp4", nvfp4, weight_packed=("U8", [2, 16]), weight_scale=("F8_E4M3", [2, 2]), weight_global_scale=("F32", [1]))
layout("good-mxfp4", scheme("mxfp4-pack-quantized", fp4 | {"strategy": "group", "group_size": 32}),
       weight_packed=("U8", [2, 16]), weight_scale=("U8", [2, 1]))
layout("bad-nvfp4-empty", nvfp4, weight_packed=("U8", [0, 2**62]), weight_scale=("F8_E4M3", [0, 0]), weight_global_scale=("F32", [1]))
sparse = scheme("dense", None, sparsity_config={"format": "sparse-24-bitmask"})
layout("good-sparse24", sparse, {"shape": longs(2, 8), "bitmask": b"\x33\xc5"},
       shape=("I64", [2]), compressed=("BF16", [2, 4]), bitmask=("U8", [2, 1]))
layout("bad-sparse24-mask-alone", sparse, {"shape": longs(2, 8)}, shape=("I64", [2]), bitmask=("U8", [2, 1]))

bnb = {"quant_method": "bitsandbytes", "load_in_4bit": True}
state = {"quant_type": "nf4", "blocksize": 32, "shape": [3, 16]}
nested = state | {"nested_blocksize": 256, "nested_offset": 0.5}
nf4 = {"weight": ("U8", [24, 1]), "weight.quant_map": ("F32", [16])}


def state_of(j):
    raw = json.dumps(j).encode()
    return {"weight.quant_state.bitsandbytes__nf4": raw}, {"weight.quant_state.bitsandbytes__nf4": ("U8", [len(raw)])}


plain_value, plain_tensor = state_of(state)
nested_value, nested_tensor = state_of(nested)
table = {"weight.nested_quant_map": struct.pack("<256f", *[i / 128 - 1 for i in range(256)])}
layout("good-nf4", bnb, plain_value, **nf4, **plain_tensor, **{"weight.absmax": ("F32", [2])})
layout("good-nf4-double", bnb, nested_value | table, **nf4, **nested_tensor,
       **{"weight.absmax": ("U8", [2]), "weight.nested_absmax": ("F32", [1]), "weight.nested_quant_map": ("F32", [256])})
layout("bad-nf4-no-absmax", bnb, plain_value, **nf4, **plain_tensor)
layout("bad-nf4-no-state", bnb, **nf4, **{"weight.absmax": ("F32", [2])})
layout("bad-nf4-bytes", bnb, weight=("I8", [2, 4]), SCB=("F32", [2]))
layout("bad-method", {"quant_method": "unheard-of"}, **bytes_of_rows)
write("layouts", "bad-empty", "")
write("layouts", "bad-one-line", "{}")
