#!/usr/bin/env python3
# tersor - writes tests/data/peft: adapters that Hugging Face PEFT saved, and the logits that it computes
# SPDX-License-Identifier: MIT
#
#   pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0
#   python3 tests/interop/peft_folders.py
#
# One folder for each method, for a few linears of examples/data/lm; every tensor of the adapter is random, so that all
# of them matter. logits.safetensors holds the token ids and, for "base" and each folder, [tokens, 256] logits: every
# 16th of the vocabulary, float32, eager attention.
import json
import pathlib
import shutil
import tempfile

import peft
import torch
import transformers
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = "examples/data/lm"
OUT = ROOT / "tests/data/peft"
IDS = [0, 310, 47, 1502, 88, 2999, 4095, 12, 731, 258, 1024, 3333]
LAYERS = {"layers_to_transform": [1, 4]}
TWO = {"target_modules": ["q_proj", "down_proj"], **LAYERS}


def base_model():
    return transformers.AutoModelForCausalLM.from_pretrained(
        ROOT / BASE, dtype=torch.float32, attn_implementation="eager").eval()


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0]


def fill(model, spread):
    """Adds noise to every trained tensor: of one size, or of one by the end of its name."""
    generator = torch.Generator().manual_seed(2024)
    for name, p in sorted(model.named_parameters()):
        if not p.requires_grad:
            continue
        s = next((v for k, v in spread.items() if k in name), None) if isinstance(spread, dict) else spread
        assert s is not None, name
        with torch.no_grad():
            noise = torch.randn(p.shape, generator=generator) * s
            # magnitudes keep their size
            p.copy_(p * (1 + noise) if "magnitude" in name else p + noise)


def lora(**more):
    return peft.LoraConfig(r=4, lora_alpha=6, **{**TWO, **more})


def drop_triplets(model):
    """As at the end of AdaLoRA's run: layer 4 keeps two of its three triplets, and the file holds no others."""
    pattern = {}
    for name, p in model.named_parameters():
        if ".lora_E" in name:
            kept = [True, ".layers.4." not in name, True]
            pattern[name.removeprefix("base_model.model.").removesuffix(".default")] = kept
            with torch.no_grad():
                p[~torch.tensor(kept)] = 0
    model.peft_config["default"].rank_pattern = pattern


LORA_SPREAD = {"lora_A": 0.1, "lora_B": 0.1, "magnitude": 0.1, "lora_E": 2.0}
CASES = {
    "lora": (lora, LORA_SPREAD),
    "lora_bf16": (lora, LORA_SPREAD),
    "lora_patterns": (lambda: lora(target_modules=r".*\.[14]\.self_attn\.(q|v)_proj", layers_to_transform=None,
                                   rank_pattern={"q_proj": 2}, alpha_pattern={"layers.4.self_attn.v_proj": 9}),
                      LORA_SPREAD),
    "rslora": (lambda: lora(use_rslora=True), LORA_SPREAD),
    "dora": (lambda: lora(use_dora=True), LORA_SPREAD),
    "pissa": (lambda: lora(init_lora_weights="pissa"), 0.05),
    "olora": (lambda: lora(init_lora_weights="olora"), 0.05),
    "adalora": (lambda: peft.AdaLoraConfig(init_r=3, target_r=2, lora_alpha=6, total_step=10, **TWO), LORA_SPREAD),
    "vera": (lambda: peft.VeraConfig(r=8, **TWO), {"vera_lambda": 0.5}),
    "vera_drawn": (lambda: peft.VeraConfig(r=8, save_projection=False, projection_prng_key=7, **TWO),
                   {"vera_lambda": 0.5}),
    "loha": (lambda: peft.LoHaConfig(r=2, alpha=3, **TWO), 0.3),
    "lokr": (lambda: peft.LoKrConfig(r=2, alpha=3, **TWO), 0.2),
    "lokr_both": (lambda: peft.LoKrConfig(r=1, alpha=3, decompose_both=True, decompose_factor=8, **TWO), 0.4),
    "ia3": (lambda: peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
            0.3),
    "oft": (lambda: peft.OFTConfig(oft_block_size=16, **TWO), 0.03),
    "oft_exact": (lambda: peft.OFTConfig(oft_block_size=16, use_cayley_neumann=False, **TWO), 0.1),
    "oft_shared": (lambda: peft.OFTConfig(oft_block_size=16, block_share=True, num_cayley_neumann_terms=3, **TWO),
                   0.03),
    "miss": (lambda: peft.MissConfig(r=8, **TWO), 0.02),
    "miss_mini": (lambda: peft.MissConfig(r=8, mini_r=4, init_weights="mini", **TWO), 0.02),
    "miss_bat": (lambda: peft.MissConfig(r=8, init_weights="bat", **TWO), 0.03),
}


def save(name, config, spread, base):
    """Writes the folder; returns the logits of the model in memory."""
    folder = OUT / name
    torch.manual_seed(0)
    model = peft.get_peft_model(base_model(), config).eval()
    starts_from_weights = isinstance(getattr(config, "init_lora_weights", True), str)
    options = {"save_embedding_layers": False}
    with tempfile.TemporaryDirectory() as start:
        if starts_from_weights:  # saved as the LoRA of the unchanged base that it is in the end
            model.peft_config["default"].init_lora_weights = True
            model.save_pretrained(start, **options)
            options["path_initial_model_for_weight_conversion"] = start
        fill(model, spread)
        if name == "adalora":
            drop_triplets(model)
        if name == "lora_bf16":
            for p in model.parameters():
                p.data = p.data.bfloat16().float()
            options["state_dict"] = {k: v.bfloat16() for k, v in model.state_dict().items()}
        result = logits(model)
        model.peft_config["default"].base_model_name_or_path = BASE
        model.save_pretrained(folder, **options)
    (folder / "README.md").unlink(missing_ok=True)  # the template of a model card
    change = (result - base).abs().max() / base.abs().max()
    assert 0.02 < change < 2, (name, change)
    return result, change.item()


def main():
    transformers.utils.logging.disable_progress_bar()
    for entry in OUT.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    base = logits(base_model())
    tensors = {"ids": torch.tensor(IDS, dtype=torch.int32), "base": base[:, ::16].contiguous()}
    for name, (make, spread) in CASES.items():
        result, change = save(name, make(), spread, base)
        tensors[name] = result[:, ::16].contiguous()
        print(f"{name}: logits change by {change:.2f} of the largest")
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
    save_file(tensors, OUT / "logits.safetensors", metadata=versions)
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
