#!/usr/bin/env python3
# tersor - writes tests/data/gguf: a tiny Llama as the Python package gguf writes it, and the values that it reads
# SPDX-License-Identifier: MIT
#
#   pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0
#   python3 tests/interop/gguf_files.py tests/data/gguf
#
# tiny.gguf holds random weights with linears in F32, F16, BF16 and block types that the package can encode;
# tiny.safetensors the same weights in the layout of Hugging Face, as the package decodes them. blocks.safetensors holds
# pseudorandom bytes as two blocks of each block type that the package knows, the values that it decodes from them, and a digest of
# what it decodes from 1024 such blocks.
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

HIDDEN, INNER, HEADS, KV_HEADS, VOCAB = 32, 64, 4, 2, 40
TYPES = {"attn_q": "Q8_0", "attn_k": "Q4_0", "attn_v": "Q5_1", "attn_output": "Q4_1", "ffn_gate": "Q5_0", "ffn_up": "F16",
         "ffn_down": "BF16"}
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
random = np.random.default_rng(1)
out = gguf.GGUFWriter(folder / "tiny.gguf", "llama")
out.add_name("tiny")
out.add_context_length(128)
out.add_embedding_length(HIDDEN)
out.add_block_count(1)
out.add_feed_forward_length(INNER)
out.add_head_count(HEADS)
out.add_head_count_kv(KV_HEADS)
out.add_layer_norm_rms_eps(1e-5)
out.add_rope_dimension_count(HIDDEN // HEADS)
out.add_rope_freq_base(10000.0)
out.add_quantization_version(2)
out.add_array("tersor.numbers", [1, -2, 3])
out.add_tokenizer_model("gpt2")
out.add_tokenizer_pre("smollm")
out.add_token_list(["<a>", "<b>", "<c>"] + [chr(ord("!") + i) for i in range(VOCAB - 4)] + ["!!"])
out.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (VOCAB - 3))
out.add_token_merges(["! !"])
out.add_bos_token_id(1)
out.add_eos_token_id(2)
out.add_add_bos_token(True)
expected = {}


def pairs_together(w, heads):
    """Rows from "first half, second half" of a head to pairs side by side."""
    return np.ascontiguousarray(w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape))


def halves(w, heads):
    return np.ascontiguousarray(w.reshape(heads, w.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(w.shape))


def add(name, hf_name, w, type_name="F32", heads=None):
    kind = gguf.GGMLQuantizationType[type_name]
    stored = gguf.quants.quantize(pairs_together(w, heads) if heads else w, kind)
    out.add_tensor(name, stored, raw_dtype=kind)
    values = gguf.quants.dequantize(stored, kind).astype(np.float32)
    expected[hf_name] = halves(values, heads) if heads else values


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32)


add("token_embd.weight", "model.embed_tokens.weight", normal(VOCAB, HIDDEN), "Q8_0")
add("output_norm.weight", "model.norm.weight", 1 + 0.1 * normal(HIDDEN))
add("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight", 1 + 0.1 * normal(HIDDEN))
add("blk.0.ffn_norm.weight", "model.layers.0.post_attention_layernorm.weight", 1 + 0.1 * normal(HIDDEN))
kv = HIDDEN // HEADS * KV_HEADS
shapes = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (kv, HIDDEN), "attn_v": (kv, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
          "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER)}
for part, shape in shapes.items():
    heads = {"attn_q": HEADS, "attn_k": KV_HEADS}.get(part)
    add(f"blk.0.{part}.weight", f"model.layers.0.{NAMES[part]}.weight", normal(*shape), TYPES[part], heads)
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
save_file(expected, folder / "tiny.safetensors", metadata={"made_by": "tests/interop/gguf_files.py"})

# Where the f16 scales of a block begin; of IQ1_M the highest bits of the scale are in its last byte.
SCALES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,), "MXFP4": (), "NVFP4": (),
          "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_XS": (0,), "TQ1_0": (52,),
          "TQ2_0": (64,), "IQ2_XXS": (0,), "IQ2_XS": (0,), "IQ2_S": (0,), "IQ3_XXS": (0,), "IQ3_S": (0,), "IQ1_S": (0,),
          "IQ1_M": (54,)}
COUNT = 1024


def pseudorandom_bytes(count):
    """Of a linear congruential generator of 64 bits, the highest byte of each state."""
    state, values = 1, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        values.append(state >> 56)
    return np.array(values, np.uint8)


def digest(values):
    """FNV-1a over the bits of floats, a word at a time."""
    state = 14695981039346656037
    for word in values.astype(np.float32).view(np.uint32).ravel().tolist():
        state = (state ^ word) * 1099511628211 % 2**64
    return state


blocks = {}
stream = pseudorandom_bytes(COUNT * 256)
for kind, places in SCALES.items():
    number = gguf.GGMLQuantizationType[kind]
    size = gguf.GGML_QUANT_SIZES[number][1]
    raw = stream[:COUNT * size].reshape(COUNT, size).copy()
    raw[:, [place + 1 for place in places]] &= 0xBF  # below 2, so finite
    with np.errstate(over="ignore"):
        values = gguf.quants.dequantize(raw, number).astype(np.float32)
    blocks[kind + ".blocks"], blocks[kind + ".values"] = raw[:2], values[:2]
    blocks[kind + ".digest"] = np.array([digest(values)], np.uint64).view(np.uint8)
save_file(blocks, folder / "blocks.safetensors", metadata={"made_by": "tests/interop/gguf_files.py"})
