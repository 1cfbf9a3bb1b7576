#!/usr/bin/env python3
# tersor - checks that the Python package gguf reads the files of save_llama_gguf with equal values
# SPDX-License-Identifier: MIT
#
#   pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0
#   python3 tests/interop/gguf_reads_ours.py MODEL.gguf examples/data/lm/model.safetensors
#
# MODEL.gguf is one that save_llama_gguf wrote from the safetensors file (BF16, F16 or F32). Every tensor that the package
# decodes must be within --tolerance of the largest value of its row, and in the right order. With --tolerance 0, equal. With
# xllamacpp installed (llama.cpp itself), --prompt prints what it generates and its most likely first tokens.
import argparse
import json
import re
import sys

import gguf
import numpy as np

NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
         "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
OTHERS = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
          "output.weight": "lm_head.weight"}


def safetensors_values(path):
    """name -> float32 array; BF16 is not a type of numpy."""
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(length))
        data = f.read()
    values = {}
    for name, e in header.items():
        if name == "__metadata__":
            continue
        raw = data[slice(*e["data_offsets"])]
        if e["dtype"] == "BF16":
            a = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            a = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[e["dtype"]]).astype(np.float32)
        values[name] = a.reshape(e["shape"])
    return values


def hf_name(name):
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    return f"model.layers.{match[1]}.{NAMES[match[2]]}.{match[3]}" if match else OTHERS[name]


def main(options):
    reader = gguf.GGUFReader(options.model)
    heads = {"attn_q": reader.get_field("llama.attention.head_count").contents(),
             "attn_k": reader.get_field("llama.attention.head_count_kv").contents()}
    expected = safetensors_values(options.weights)
    worst, kinds = 0.0, {}
    for t in reader.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).reshape([int(n) for n in reversed(t.shape)])
        n = next((heads[k] for k in heads if f".{k}." in t.name), None)
        if n:
            w = w.reshape(n, w.shape[0] // n // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)
        e = expected.pop(hf_name(t.name))
        assert e.shape == w.shape, (t.name, e.shape, w.shape)
        scale = np.abs(e).max(axis=-1, keepdims=True)
        worst = max(worst, float((np.abs(w - e) / np.where(scale == 0, 1, scale)).max()))
        kinds[t.tensor_type.name] = kinds.get(t.tensor_type.name, 0) + 1
    print(f"{options.model}: {kinds}, largest difference {worst:.3g} of a row's largest value, not in the file: {sorted(expected)}")
    if options.prompt:
        import xllamacpp
        p = xllamacpp.CommonParams()
        p.model.path, p.n_ctx, p.n_parallel, p.warmup = options.model, 512, 1, False
        answer = xllamacpp.Server(p).handle_completions(
            {"prompt": options.prompt, "n_predict": 16, "temperature": 0, "n_probs": 3})["choices"][0]
        print([(o["token"], round(o["logprob"], 4)) for o in answer["logprobs"]["content"][0]["top_logprobs"]])
        print(repr(answer["text"]))
    return worst > options.tolerance or bool(expected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("weights")
    parser.add_argument("--tolerance", type=float, default=0.0)
    parser.add_argument("--prompt")
    sys.exit(main(parser.parse_args()))
