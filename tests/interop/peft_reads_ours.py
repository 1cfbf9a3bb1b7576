#!/usr/bin/env python3
# tersor - checks that Hugging Face PEFT reads the adapters that `tersor finetune` writes, and computes the same
# SPDX-License-Identifier: MIT
#
#   pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0
#   python3 tests/interop/peft_reads_ours.py build/examples/tersor    # the binary
#
# Two updates for each method on examples/data/lm. PEFT must load the folder without a warning and without a key that is
# missing or too many; its logits for a prompt are those of `tersor logits` within 1e-4. Fails if a method does not.
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import peft
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "examples/data/lm"
PROMPT = "It was the best of times, it was the worst of"
TOLERANCE = 1e-4
# A method's spec, and how fast it learns: the adapter has to change something in two steps.
METHODS = {
    "lora(rank=4,alpha=8)": 0.05,
    "lora(rank=4,alpha=8,rslora=true)": 0.05,
    "lora(rank=4,value_type=bf16)": 0.05,
    "lora(rank=4,bias=true)": 0.05,
    "dora(rank=4)": 0.05,
    "pissa(rank=4)": 0.02,
    "pissa(rank=4,rslora=true)": 0.02,
    "olora(rank=4)": 0.02,
    "adalora(rank=4,target_rank=2,alpha=64)": 0.1,
    "vera(rank=16)": 0.1,
    "loha(rank=2)": 0.1,
    "lokr(rank=2)": 0.1,
    "lokr(rank=2,decompose_both=true,factor=8)": 0.1,
    "ia3": 0.1,
    "oft(block_size=16)": 0.02,
    "oft(block_size=0,blocks=8)": 0.02,
    "oft(block_size=16,neumann=false)": 0.02,
    "oft(block_size=16,shared=true)": 0.02,
    "bone(rank=8)": 0.02,
    "bone(rank=8,mini=4)": 0.02,
    "bat(rank=8)": 0.02,
    "lamda(rank=8)": 0.05,
    "aflora(rank=4)": 0.05,
}


def tersor(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def base_model():
    return transformers.AutoModelForCausalLM.from_pretrained(
        BASE, dtype=torch.float32, attn_implementation="eager").eval()


def check(binary, spec, rate, text, plain):
    """Returns max |difference| of the logits and max |change| by the adapter."""
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent) / "adapter"
        tersor(binary, "finetune", BASE, "--adapter", spec, "--data", text, "--out", folder, "--learning-rate", rate,
               "--steps", 2, "--warmup", 0, "--batch", 1, "--window", 32, "--targets", "q_proj,o_proj,down_proj")
        ours = json.loads(tersor(binary, "logits", BASE, "--prompt", PROMPT, "--adapter", folder, "--json"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # between the packages
            for kind in (UserWarning, RuntimeWarning):  # a key or field that is missing or too many
                warnings.simplefilter("error", kind)
            # true of this base, whoever wrote the file: `tersor merge` refuses it as well
            warnings.filterwarnings("ignore", ".*has no bias.*merging LoRA weights won't be possible")
            model = peft.PeftModel.from_pretrained(base_model(), folder).eval()
            loaded = peft.set_peft_model_state_dict(model, peft.load_peft_weights(folder))
        assert not loaded.unexpected_keys, loaded.unexpected_keys
        with torch.no_grad():
            theirs = model(torch.tensor([ours["ids"]])).logits[0, -1]
        return ((theirs - torch.tensor(ours["logits"])).abs().max().item(),
                (theirs - torch.tensor(plain["logits"])).abs().max().item())


def main(binary, chosen):
    transformers.utils.logging.disable_progress_bar()
    failed = 0
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        text.write((BASE / "calibration.txt").read_text()[:8000])
        text.flush()
        plain = json.loads(tersor(binary, "logits", BASE, "--prompt", PROMPT, "--json"))
        for spec, rate in METHODS.items():
            if chosen and not any(c in spec for c in chosen):
                continue
            try:
                difference, change = check(binary, spec, rate, text.name, plain)
                good = difference <= TOLERANCE and change > 100 * TOLERANCE
                verdict = f"{'ok' if good else 'WRONG'}: differs by {difference:.1e}, the adapter changes {change:.2g}"
            except Exception as e:  # the other methods are wanted as well
                good, verdict = False, f"FAILED: {type(e).__name__}: {e}"
            failed += not good
            print(f"{spec:<45} {verdict}", flush=True)
    print({m.__name__: m.__version__ for m in (torch, transformers, peft)})
    return failed != 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: peft_reads_ours.py BINARY [PART_OF_A_SPEC...]")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
