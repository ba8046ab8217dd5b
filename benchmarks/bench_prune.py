"""Calibrating, pruning and packing a model of the 730m shape, from a checkpoint on disk to a program; and what decoding gains.

Prints one JSON object. Seconds of a process that reads a checkpoint of random fp16 weights, prunes its layers by `wanda:2:4` on
2,048 tokens, and writes the program in int8; `cpu_seconds` are those that all its threads worked. NumPy multiplies on as many
threads as it takes. `peak_mib`: the most memory of the host that it took, pages of the checkpoint that are mapped included.
`decode`: tokens of that program, and of the program of the same weights with their zeros stored, generated in turns on one thread;
`times_dense` how many times as fast the first one is, by the fastest quarter of the tokens of each. Both choose the same tokens.
`--shape` measures another one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compiler.compile import compile_model
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.measuring.shapes import shape_model
from compiler.passes.prune import MOST_TOKENS, parse_prune, prune
from emulator.machine import Machine
from isa.program import Program
from isa.services import Host

WARM, TURNS, TOGETHER = 4, 12, 4        # tokens that are not measured; times that each program has its turn; tokens in a turn

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


def decoding(programs: dict[str, Path]) -> dict[str, Any]:
    """Tokens per second of each program, in turns on one thread. Raises AssertionError if they choose other tokens."""
    machines, said, gaps = {}, {name: list[int]() for name in programs}, {name: list[float]() for name in programs}
    for name, path in programs.items():
        machine = machines[name] = Machine(host=Host([1], emit=said[name].append), time=False)
        machine.load(program := Program.load(path))
        machine.breakpoints = {next(symbol.value for symbol in program.symbols if symbol.name == "token")}
        for _ in range(WARM):
            machine.run()
    for _ in range(TURNS):
        for name, machine in machines.items():
            for _ in range(TOGETHER):
                begin = time.perf_counter()
                assert machine.run().reason == "breakpoint"
                gaps[name].append(time.perf_counter() - begin)
    assert said["sparse"] == said["dense"]
    usual = {name: float(np.quantile(found, 0.25)) for name, found in gaps.items()}
    return {f"{name}_tokens_per_second": 1 / seconds for name, seconds in usual.items()} | {
        "times_dense": usual["dense"] / usual["sparse"], "tokens": TURNS * TOGETHER}


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
        begin, worked = time.perf_counter(), time.process_time()
        model = load(folder)
        tokens = np.random.default_rng(2).integers(0, model.config.vocab, MOST_TOKENS).tolist()
        pruned = prune(model, parse_prune("wanda:2:4"), tokens)
        middle = time.perf_counter()
        compile_model(pruned, recipe=read_recipe("i8")).save(folder / "sparse.elf")
        end, worked = time.perf_counter(), time.process_time() - worked
        said = {"calibrate_and_prune_s": middle - begin, "compile_and_pack_s": end - middle, "seconds": end - begin,
                "cpu_seconds": worked,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "layers": model.config.layers,
                "program_mib": (folder / "sparse.elf").stat().st_size / (1 << 20)}
        compile_model(pruned, recipe=replace(read_recipe("i8"), sparse="off")).save(folder / "dense.elf")
        said["decode"] = decoding({name: folder / f"{name}.elf" for name in ("sparse", "dense")})
    print(json.dumps({arguments.shape: said}))


if __name__ == "__main__":
    main()
