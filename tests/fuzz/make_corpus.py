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

# GGUF: a whole Llama model of one layer, and what can be wrong with a container.
U32, F32, STRING, ARRAY = 4, 6, 8, 9


def gguf_text(s):
    raw = s.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_value(v):
    if isinstance(v, int):
        return struct.pack("<iI", U32, v)
    if isinstance(v, float):
        return struct.pack("<if", F32, v)
    if isinstance(v, str):
        return struct.pack("<i", STRING) + gguf_text(v)
    kind = STRING if isinstance(v[0], str) else 5
    return struct.pack("<iiQ", ARRAY, kind, len(v)) + b"".join(
        gguf_text(x) if kind == STRING else struct.pack("<i", x) for x in v)


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
