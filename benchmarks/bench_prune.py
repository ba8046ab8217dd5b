"""Calibrating, pruning and packing a model of the 730m shape, from a checkpoint on disk to a program. Prints one JSON object.

Seconds of a process that reads a checkpoint of random fp16 weights, prunes its layers by `wanda:2:4` on 2,048 tokens, and writes
the program in int8. `peak_mib`: the most memory of the host that it took, pages of the checkpoint that are mapped included. NumPy
multiplies on as many threads as it takes. `--shape` measures another one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compiler.compile import compile_model
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.measuring.shapes import shape_model
from compiler.passes.prune import MOST_TOKENS, parse_prune, prune

_FILE = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
         "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj", "attention_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "embedding": "embed_tokens", "final_norm": "norm"}


def write(shape: str, folder: Path) -> None:
    """A checkpoint of Llama's family with random weights."""
    from safetensors.numpy import save_file
    c = shape_model(shape, ternary=False, context=MOST_TOKENS).config
    rng, tensors = np.random.default_rng(1), {}
    for role, tensor in shape_model(shape, ternary=False, context=MOST_TOKENS).tensors.items():
        *layer, name = role.split(".")
        key = "lm_head.weight" if role == "head" else ".".join(["model", *layer, _FILE[name], "weight"])
        scale = np.float32(tensor.shape[-1] ** -0.5)
        tensors[key] = (rng.standard_normal(tensor.shape, np.float32) * scale).astype(np.float16) if len(tensor.shape) == 2 else (
            np.ones(tensor.shape, np.float16))
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "hidden_size": c.dim, "intermediate_size": c.hidden, "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads, "head_dim": c.head_dim, "vocab_size": c.vocab,
        "max_position_embeddings": c.context, "rms_norm_eps": c.eps, "tie_word_embeddings": c.tied, "rope_theta": 10000.0}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="730m")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.shape, arguments.write)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, __file__, "--shape", arguments.shape, "--write", folder], check=True)   # memory of its own
        begin = time.perf_counter()
        model = load(folder)
        tokens = np.random.default_rng(2).integers(0, model.config.vocab, MOST_TOKENS).tolist()
        pruned = prune(model, parse_prune("wanda:2:4"), tokens)
        middle = time.perf_counter()
        compile_model(pruned, recipe=read_recipe("i8")).save(folder / "program.elf")
        end = time.perf_counter()
        said = {"calibrate_and_prune_s": middle - begin, "compile_and_pack_s": end - middle, "seconds": end - begin,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "layers": model.config.layers,
                "program_mib": (folder / "program.elf").stat().st_size / (1 << 20)}
    print(json.dumps({arguments.shape: said}))


if __name__ == "__main__":
    main()
