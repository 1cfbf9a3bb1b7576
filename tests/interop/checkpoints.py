# tersor - checkpoints of compressed-tensors and bitsandbytes: made for our tests, and ours read by the packages
# SPDX-License-Identifier: MIT
"""Needs torch, safetensors, compressed-tensors and bitsandbytes (any versions from 0.17 and 0.45).

  python3 tests/interop/checkpoints.py make tests/data/checkpoints
      writes one small folder for each kind of linear, as the packages write it, and what they decode it to
  python3 tests/interop/checkpoints.py check FOLDER DENSE
      reads a folder that `tersor convert` wrote (compressed-tensors, bitsandbytes, GPTQ, AWQ) and compares every
      linear with the dense folder of the same model (`--to dense --dtype f32`)
"""

import json
import pathlib
import sys

import numpy
import torch
from safetensors.torch import load_file, save_file


def random_weight(rows, cols, seed, dtype):
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed)).mul(0.1).to(dtype)


def save(folder, tensors, quantization, expected):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    save_file({"layer.weight": expected.contiguous()}, folder / "expected.safetensors")
    (folder / "config.json").write_text(json.dumps({"quantization_config": quantization}, indent=1) + "\n")


def scheme_and_compressor(format_name, weights, activations=None):
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    args = QuantizationArgs(**weights)
    inputs = QuantizationArgs(**activations) if activations else None
    return (QuantizationScheme(targets=["Linear"], weights=args, input_activations=inputs),
            BaseCompressor.get_value_from_registry(format_name))


def make_compressed_tensors(root):
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.quantization.utils import calculate_qparams
    cases = {
        "ct_int4_group": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32), None, torch.float16),
        "ct_int4_zeros": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32, symmetric=False), None,
                          torch.bfloat16),
        "ct_int3_channel": ("pack-quantized", dict(num_bits=3, strategy="channel"), None, torch.float32),
        "ct_int5_zeros": ("pack-quantized", dict(num_bits=5, strategy="channel", symmetric=False), None,
                          torch.float32),
        "ct_int8_token": ("int-quantized", dict(num_bits=8, strategy="channel"),
                          dict(num_bits=8, strategy="token", dynamic=True), torch.float32),
        "ct_fp8_channel": ("float-quantized", dict(num_bits=8, type="float", strategy="channel"),
                           dict(num_bits=8, type="float", strategy="token", dynamic=True), torch.float32),
        "ct_nvfp4": ("nvfp4-pack-quantized", dict(num_bits=4, type="float", strategy="tensor_group", group_size=16),
                     None, torch.float32),
        "ct_mxfp4": ("mxfp4-pack-quantized", dict(num_bits=4, type="float", strategy="group", group_size=32), None,
                     torch.float32),
    }
    for seed, (name, (format_name, weights, activations, dtype)) in enumerate(cases.items()):
        rows, cols = 12, 96
        w = random_weight(rows, cols, seed, dtype)
        scheme, compressor = scheme_and_compressor(format_name, weights, activations)
        group = weights.get("group_size") or cols
        grouped = w.float().reshape(rows, cols // group, group)
        low, high = grouped.amin(-1), grouped.amax(-1)
        state = {"weight": w}
        if format_name == "nvfp4-pack-quantized":
            factor = (448.0 * 6.0 / w.float().abs().max()).reshape(1)
            state["weight_global_scale"] = factor
            scale = (grouped.abs().amax(-1) / 6.0 * factor).to(torch.float8_e4m3fn).float()
            zero = torch.zeros_like(scale)
        elif format_name == "mxfp4-pack-quantized":
            scale = torch.exp2(torch.floor(torch.log2(grouped.abs().amax(-1))) - 2)
            zero = torch.zeros_like(scale)
        else:
            scale, zero = calculate_qparams(low, high, scheme.weights)
        state["weight_scale"] = scale.to(dtype)
        state["weight_zero_point"] = zero.to(torch.int8)
        packed = compressor.compress(state, scheme)
        expected = compressor.decompress(dict(packed), scheme)["weight"]
        config = QuantizationConfig(config_groups={"group_0": scheme}, format=format_name,
                                    quantization_status="compressed", ignore=["lm_head"])
        settings = json.loads(config.model_dump_json())
        save(root / name, {f"layer.{k}": v for k, v in packed.items() if v is not None}, settings, expected)


def make_bitsandbytes(root):
    # rows of whole blocks, or odd ones: the kernel of 0.50.2 for processors mixes blocks that go on in the next row
    from bitsandbytes import functional
    cases = {"bnb_nf4": ("nf4", 64, False, 12, 128), "bnb_nf4_nested": ("nf4", 64, True, 130, 129),
             "bnb_fp4": ("fp4", 128, False, 7, 33)}
    for seed, (name, (kind, block, nested, rows, cols)) in enumerate(cases.items()):
        w = random_weight(rows, cols, 100 + seed, torch.float32)
        packed, state = functional.quantize_4bit(w, blocksize=block, quant_type=kind, compress_statistics=nested)
        expected = functional.dequantize_4bit(packed, state)
        tensors = {"layer.weight": packed}
        tensors.update({f"layer.weight.{k}": v for k, v in state.as_dict(packed=True).items()})
        settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
                    "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested,
                    "bnb_4bit_quant_storage": "uint8", "bnb_4bit_compute_dtype": "float32"}
        save(root / name, tensors, settings, expected)


def load_folder(folder):
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def decode_compressed_tensors(tensors, settings):
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from compressed_tensors.utils.match import match_name
    config = QuantizationConfig(**{k: v for k, v in settings.items() if k in QuantizationConfig.model_fields})
    for name in sorted(k[:-len(".weight_scale")] for k in tensors if k.endswith(".weight_scale")):
        found = [s for s in config.config_groups.values()
                 if any(t == "Linear" or match_name(name, t) for t in s.targets)]
        named = [s for s in found if "Linear" not in s.targets] or found
        scheme = named[0]
        format_name = scheme.format or settings["format"]
        state = {k[len(name) + 1:]: v for k, v in tensors.items() if k.startswith(name + ".")}
        yield name, BaseCompressor.get_value_from_registry(format_name).decompress(state, scheme)["weight"]


def decode_bitsandbytes(tensors, _):
    from bitsandbytes import functional
    for name in sorted(k[:-len(".absmax")] for k in tensors if k.endswith(".weight.absmax")):
        state = functional.QuantState.from_dict(
            {k[len(name) + 1:]: v for k, v in tensors.items() if k.startswith(name + ".")}, torch.device("cpu"))
        state.dtype = torch.float32
        yield name[:-len(".weight")], functional.dequantize_4bit(tensors[name], state)


def unpack(words, bits, axis):
    """Codes of `bits` bits from int32 words that follow each other along `axis`, the first in the lowest bits."""
    w = numpy.moveaxis(words.astype(numpy.uint32), axis, -1)
    stream = (w[..., None] >> numpy.arange(32, dtype=numpy.uint32)) & 1
    stream = stream.reshape(*w.shape[:-1], -1, bits)
    codes = (stream << numpy.arange(bits, dtype=numpy.uint32)).sum(-1).astype(numpy.int64)
    return numpy.moveaxis(codes, -1, axis)


def decode_gptq(tensors, settings):
    for name in sorted(k[:-len(".qweight")] for k in tensors if k.endswith(".qweight")):
        t = {k: tensors[f"{name}.{k}"].numpy() for k in ("qweight", "qzeros", "scales", "g_idx")}
        codes = unpack(t["qweight"], settings["bits"], 0)
        zeros = unpack(t["qzeros"], settings["bits"], 1) + (settings["checkpoint_format"] == "gptq")
        w = t["scales"].astype(numpy.float32)[t["g_idx"]] * (codes - zeros[t["g_idx"]]).astype(numpy.float32)
        yield name, torch.from_numpy(w.T.copy())


def decode_awq(tensors, settings):
    order = numpy.array([0, 4, 1, 5, 2, 6, 3, 7])
    for name in sorted(k[:-len(".qweight")] for k in tensors if k.endswith(".qweight")):
        t = {k: tensors[f"{name}.{k}"].numpy() for k in ("qweight", "qzeros", "scales")}
        parts = [unpack(t[k], 4, 1) for k in ("qweight", "qzeros")]
        codes, zeros = (p.reshape(p.shape[0], -1, 8)[..., order].reshape(p.shape) for p in parts)
        group = codes.shape[0] // zeros.shape[0]
        w = t["scales"].astype(numpy.float32).repeat(group, 0) * (codes - zeros.repeat(group, 0)).astype(numpy.float32)
        yield name, torch.from_numpy(w.T.copy())


DECODERS = {"compressed-tensors": decode_compressed_tensors, "bitsandbytes": decode_bitsandbytes,
            "gptq": decode_gptq, "awq": decode_awq}


def check(folder, dense_folder):
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    dense, wrong, count = load_folder(dense_folder), 0, 0
    for name, weight in DECODERS[settings["quant_method"]](load_folder(folder), settings):
        expected = dense[name + ".weight"].to(weight.dtype)
        count += 1
        if not torch.equal(weight, expected):
            wrong += 1
            print(f"{name}: differs by {(weight.float() - expected.float()).abs().max().item():g}")
    print(f"{folder}: {count} linears of {settings['quant_method']}, {wrong} differ")
    return wrong == 0 and count > 0


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "make":
        make_compressed_tensors(pathlib.Path(sys.argv[2]))
        make_bitsandbytes(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(0 if check(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])) else 1)
    else:
        sys.exit(__doc__)
