# tersor - checkpoints of compressed-tensors and bitsandbytes: made for our tests, and ours read by the packages
# SPDX-License-Identifier: MIT
"""Needs torch, safetensors, compressed-tensors and bitsandbytes (any versions from 0.17 and 0.45); `models` needs
transformers too.

  python3 tests/interop/checkpoints.py make tests/data/checkpoints
      writes one small folder for each kind of linear, as the packages write it, and what they decode it to
  python3 tests/interop/checkpoints.py check FOLDER DENSE
      reads a folder that `tersor convert` wrote (compressed-tensors, bitsandbytes, GPTQ, AWQ) and compares every
      linear with the dense folder of the same model (`--to dense --dtype f32`)
  python3 tests/interop/checkpoints.py round_trip TERSOR FOLDER
      has the command TERSOR convert what the packages write to compressed-tensors, directly and by way of its own
      format, and checks that the packages decode that, and TERSOR the originals, to the same values as before
  python3 tests/interop/checkpoints.py models TERSOR DENSE FOLDER
      quantizes the Llama model in DENSE with the package in every way, has TERSOR convert each to its own format and
      back, loads both in transformers, which decode them, and compares logits with those of the decoded model
"""

import json
import pathlib
import shutil
import subprocess
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


FLOAT8, FLOAT4 = dict(num_bits=8, type="float"), dict(num_bits=4, type="float")
# name: format, weights, activations, dtype of the model. New ones go to the end: the place is the seed.
CASES = {
    "ct_int4_group": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32), None, torch.float16),
    "ct_int4_zeros": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=32, symmetric=False), None,
                      torch.bfloat16),
    "ct_int3_channel": ("pack-quantized", dict(num_bits=3, strategy="channel"), None, torch.float32),
    "ct_int5_zeros": ("pack-quantized", dict(num_bits=5, strategy="channel", symmetric=False), None, torch.float32),
    "ct_int8_token": ("int-quantized", dict(num_bits=8, strategy="channel"),
                      dict(num_bits=8, strategy="token", dynamic=True), torch.float32),
    "ct_fp8_channel": ("float-quantized", dict(FLOAT8, strategy="channel"),
                       dict(FLOAT8, strategy="token", dynamic=True), torch.float32),
    "ct_nvfp4": ("nvfp4-pack-quantized", dict(FLOAT4, strategy="tensor_group", group_size=16), None, torch.float32),
    "ct_mxfp4": ("mxfp4-pack-quantized", dict(FLOAT4, strategy="group", group_size=32), None, torch.float32),
    "ct_fp8_tensor": ("float-quantized", dict(FLOAT8, strategy="tensor"), dict(FLOAT8, strategy="tensor"),
                      torch.bfloat16),
    "ct_fp8_block": ("float-quantized", dict(FLOAT8, strategy="block", block_structure=[8, 32]),
                     dict(FLOAT8, strategy="group", group_size=32, dynamic=True), torch.float32),
    "ct_int8_static": ("int-quantized", dict(num_bits=8, strategy="tensor"), dict(num_bits=8, strategy="tensor"),
                       torch.float32),
    "ct_int8_zeros": ("int-quantized", dict(num_bits=8, strategy="group", group_size=32, symmetric=False), None,
                      torch.float16),
    "ct_nvfp4_a4": ("nvfp4-pack-quantized", dict(FLOAT4, strategy="tensor_group", group_size=16),
                    dict(FLOAT4, strategy="tensor_group", group_size=16, dynamic="local"), torch.bfloat16),
    "ct_mxfp4_a4": ("mxfp4-pack-quantized", dict(FLOAT4, strategy="group", group_size=32),
                    dict(FLOAT4, strategy="group", group_size=32, dynamic=True), torch.bfloat16),
}


def quantized_linear(case, w=None):
    """Tensors of a weight, or of a random one [12, 96], as the package writes them, its scheme, and what it decodes
    them to."""
    from compressed_tensors.quantization.utils import calculate_qparams
    format_name, weights, activations, dtype = CASES[case]
    w = random_weight(12, 96, list(CASES).index(case), dtype) if w is None else w.to(dtype)
    rows, cols = w.shape
    scheme, compressor = scheme_and_compressor(format_name, weights, activations)
    scheme.format = format_name
    group = weights.get("group_size") or cols
    grouped = w.float().reshape(rows, cols // group, group)
    low, high = grouped.amin(-1), grouped.amax(-1)
    state = {"weight": w}
    if format_name == "nvfp4-pack-quantized":
        factor = (448.0 * 6.0 / w.float().abs().max()).reshape(1)
        state["weight_global_scale"] = factor
        scale = (grouped.abs().amax(-1) / 6.0 * factor).to(torch.float8_e4m3fn).float()
        zero = torch.zeros_like(scale)
        if activations:
            state["input_global_scale"] = torch.tensor([1234.5])
    elif format_name == "mxfp4-pack-quantized":
        scale = torch.exp2(torch.floor(torch.log2(grouped.abs().amax(-1))) - 2)
        zero = torch.zeros_like(scale)
    elif weights["strategy"] == "tensor":
        scale, zero = (x.reshape(1) for x in calculate_qparams(low.amin(), high.amax(), scheme.weights))
    elif weights["strategy"] == "block":
        high_of_rows, width = weights["block_structure"]
        blocks = [[w[r:r + high_of_rows, c:c + width] for c in range(0, cols, width)]
                  for r in range(0, rows, high_of_rows)]
        scale, zero = calculate_qparams(torch.tensor([[b.min() for b in line] for line in blocks]),
                                        torch.tensor([[b.max() for b in line] for line in blocks]), scheme.weights)
    else:
        scale, zero = calculate_qparams(low, high, scheme.weights)
    if activations and not activations.get("dynamic", False):
        state["input_scale"] = torch.tensor([0.03125], dtype=dtype)
    state["weight_scale"] = scale.to(dtype)
    state["weight_zero_point"] = zero.to(torch.int8)
    packed = compressor.compress(state, scheme)
    expected = compressor.decompress(dict(packed), scheme)["weight"]
    return {k: v for k, v in packed.items() if v is not None}, scheme, expected


def make_compressed_tensors(root):
    from compressed_tensors.quantization import QuantizationConfig
    for name, case in CASES.items():
        packed, scheme, expected = quantized_linear(name)
        scheme.format = None
        config = QuantizationConfig(config_groups={"group_0": scheme}, format=case[0],
                                    quantization_status="compressed", ignore=["lm_head"])
        settings = json.loads(config.model_dump_json())
        save(root / name, {f"layer.{k}": v for k, v in packed.items()}, settings, expected)


def make_mixed(folder):
    """A folder with a linear of every case, each with a scheme of its own."""
    from compressed_tensors.quantization import QuantizationConfig
    tensors, expected, groups = {"norm.weight": torch.ones(12)}, {}, {}
    for k, name in enumerate(CASES):
        packed, scheme, expected[f"m.{name}.weight"] = quantized_linear(name)
        scheme.targets = [f"m.{name}"] if k % 2 else [f"re:.*{name}$"]
        groups[f"group_{k}"] = scheme
        tensors.update({f"m.{name}.{part}": v for part, v in packed.items()})
    config = QuantizationConfig(config_groups=groups, format="mixed-precision", quantization_status="compressed",
                                ignore=["lm_head"])
    save(folder, tensors, json.loads(config.model_dump_json()), expected["m.ct_int4_group.weight"])
    save_file({k: v.contiguous() for k, v in expected.items()}, folder / "expected.safetensors")


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


def equal(name, weight, expected):
    """Both in the shorter of their types. NVFP4 divides scales where the operator multiplies: two roundings."""
    shorter = weight.dtype if weight.dtype.itemsize < expected.dtype.itemsize else expected.dtype
    a, b = weight.to(shorter).float(), expected.to(shorter).float()
    difference = (a - b).abs()
    close = difference.max().item() == 0.0
    if not close and "nvfp4" in name:
        close = bool((difference <= (2.0 ** -22 if shorter == torch.float32 else 2.0 ** -8) * b.abs()).all())
    if not close:
        print(f"{name}: differs by {difference.max().item():g}")
    return close


def check(folder, dense_folder):
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    dense, wrong, count = load_folder(dense_folder), 0, 0
    for name, weight in DECODERS[settings["quant_method"]](load_folder(folder), settings):
        count += 1
        wrong += not equal(name, weight, dense[name + ".weight"])
    print(f"{folder}: {count} linears of {settings['quant_method']}, {wrong} differ")
    return wrong == 0 and count > 0


def convert_with(command):
    def convert(source, target, to, *options):
        subprocess.run([command, "convert", source, target, "--to", to, "--force", *options], check=True,
                       stdout=subprocess.DEVNULL)
    return convert


def round_trip(command, root):
    convert = convert_with(command)
    make_compressed_tensors(root)
    make_mixed(root / "mixed")
    fine = True
    for source in [root / name for name in [*CASES, "mixed"]]:
        expected = load_file(source / "expected.safetensors")
        (source / "expected.safetensors").unlink()  # it is no shard
        dense, ours, through, written = (root / (source.name + end) for end in ("-dense", "-ours", "-through", "-f32"))
        convert(source, dense, "dense", "--dtype", "f32")
        read = load_folder(dense)
        for name, weight in expected.items():
            fine &= equal(f"{source.name}: {name} as we read it", read[name], weight)
        convert(source, ours, "tersor")
        convert(ours, through, "compressed-tensors")
        convert(through, written, "dense", "--dtype", "f32")
        fine &= check(through, dense) and check(through, written)
        settings = json.loads((through / "config.json").read_text())["quantization_config"]
        for name, weight in decode_compressed_tensors(load_folder(through), settings):
            fine &= equal(f"{source.name}: {name} as the package reads ours", weight, expected[name + ".weight"])
    return fine


def models(command, source, root):
    from compressed_tensors.quantization import QuantizationConfig
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import CompressedTensorsConfig
    convert, fine = convert_with(command), True
    config = json.loads((source / "config.json").read_text())
    ids = torch.tensor([[config["bos_token_id"] or 0, 5, 77, 300, 12, 9, 1000, 4]])

    def logits(folder, **options):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()
        with torch.no_grad():
            return model(ids).logits[0]

    for case in CASES:
        theirs, ours, written, dense = (root / (case + end) for end in ("", "-ours", "-written", "-dense"))
        tensors = load_file(source / "model.safetensors")
        for name in [n[:-len(".weight")] for n in tensors if n.endswith("_proj.weight")]:
            packed, scheme, _ = quantized_linear(case, tensors.pop(name + ".weight"))
            tensors.update({f"{name}.{part}": v for part, v in packed.items()})
        settings = json.loads(QuantizationConfig(config_groups={"group_0": scheme}, format=CASES[case][0],
                                                 quantization_status="compressed",
                                                 ignore=["lm_head"]).model_dump_json())
        theirs.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in tensors.items()}, theirs / "model.safetensors", {"format": "pt"})
        (theirs / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
        shutil.copy(source / "tokenizer.json", theirs)
        convert(theirs, dense, "dense", "--dtype", "f32")
        convert(theirs, ours, "tersor")
        convert(ours, written, "compressed-tensors")
        expected = logits(dense)
        for whose, folder in {"theirs": theirs, "ours": written}.items():
            y = logits(folder, quantization_config=CompressedTensorsConfig(dequantize=True))
            distance = ((y - expected).norm() / expected.norm()).item()
            print(f"{case}: logits of {whose} differ from the dense model's by {distance:g}")
            # what the package decodes to F16 or BF16 is rounded there
            rounds = "nvfp4" in case or CASES[case][3] != torch.float32
            fine &= distance < (1e-2 if rounds else 1e-6)
    return fine


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "make":
        make_compressed_tensors(pathlib.Path(sys.argv[2]))
        make_bitsandbytes(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) == 4 and sys.argv[1] == "check":
        sys.exit(0 if check(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])) else 1)
    elif len(sys.argv) == 4 and sys.argv[1] == "round_trip":
        sys.exit(0 if round_trip(sys.argv[2], pathlib.Path(sys.argv[3])) else 1)
    elif len(sys.argv) == 5 and sys.argv[1] == "models":
        sys.exit(0 if models(sys.argv[2], *map(pathlib.Path, sys.argv[3:])) else 1)
    else:
        sys.exit(__doc__)
