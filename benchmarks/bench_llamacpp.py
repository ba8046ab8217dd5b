"""This project beside llama.cpp on this host: the same ternary model in both, prompts and decoding, in turns in one run.

    pip install slimulator[llamacpp]            llama.cpp as llama-cpp-python has it: pip builds it, which takes minutes
    python -m benchmarks llamacpp
    python benchmarks/bench_llamacpp.py --shapes 125m --threads 1 --prompts 64 --depths 1 1024 --rounds 3

Prints one JSON object: by shape, threads and work the tokens/s of each, medians of the rounds, and `ratio`, ours / llama.cpp's.

The model is that of `slimulator bench --shape S`. For llama.cpp it is written to a GGUF file: layers in TQ2_0 with the same
weights, the embedding, which is the head too, in Q8_0; ours has it in int8. llama.cpp keeps keys and values in f16, its default;
the formats of ours are named.

Work is that of llama.cpp's llama-bench: a prompt of N tokens from an empty cache, and TOKENS a round that are decoded behind D
positions, one after the other. llama.cpp is asked twice, with flash attention and without: the former is faster for prompts, and on
some processors far slower behind many positions. Ratios are to the faster one. llama.cpp is given its tokens; ours chooses them,
and counts its events.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf

from compiler.measuring import shapes
from compiler.measuring.measure import prompt_of
from compiler.model.model import Model
from compiler.settings import Settings
from emulator.machine import Machine
from isa.program import Program
from isa.services import Host

CONTEXT = 2048
PROMPTS = (64, 512)
DEPTHS = (1, 1024, 1900)                # positions before the first token that is measured; 1: from the start
FLASH = {"llama.cpp": 1, "llama.cpp without flash attention": 0}        # LLAMA_FLASH_ATTN_TYPE_ENABLED, _DISABLED
TOKENS = 32                             # of a round: there is room for four of them behind the last depth
KV = ("f32", "f16", "i8")                # formats of our keys and values
NAMES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
         "attention_norm": "attn_norm", "ffn_norm": "ffn_norm", "embedding": "token_embd", "final_norm": "output_norm"}
"""Of roles, as GGUF calls them: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""


def write_gguf(model: Model, file: Path) -> None:
    """Write a model with ternary layers and a tied head as GGUF, without a vocabulary of texts."""
    config, writer = model.config, gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_layer_norm_rms_eps(config.eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(1e4)                      # that of shapes.random_model
    writer.add_vocab_size(config.vocab)
    writer.add_tokenizer_model("no_vocab")
    for role, tensor in model.tensors.items():
        *layer, name = role.removeprefix("layers.").split(".")
        values = tensor.rows(0, tensor.matrix[0])
        kind = gguf.GGMLQuantizationType.F32
        if len(tensor.shape) == 2:
            kind = gguf.GGMLQuantizationType.TQ2_0 if layer else gguf.GGMLQuantizationType.Q8_0
        data = values.reshape(tensor.shape) if kind == gguf.GGMLQuantizationType.F32 else gguf.quants.quantize(values, kind)
        writer.add_tensor("".join(f"blk.{number}." for number in layer) + NAMES[name] + ".weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Theirs:
    """A model in llama.cpp with some threads."""

    def __init__(self, library: Any, file: Path, threads: int, flash: int) -> None:
        self.library = library
        self._silent = library.llama_log_callback(lambda level, text, data: None)
        library.llama_log_set(self._silent, ctypes.c_void_p())
        library.llama_backend_init()
        self.model = library.llama_model_load_from_file(str(file).encode(), library.llama_model_default_params())
        options = library.llama_context_default_params()
        options.n_ctx, options.n_batch = CONTEXT, CONTEXT           # parts of 512 tokens are computed at a time (n_ubatch)
        options.n_threads = options.n_threads_batch = threads
        options.flash_attn_type = flash
        self.context = library.llama_init_from_model(self.model, options)

    def _decode(self, tokens: list[int]) -> None:
        array = (self.library.llama_token * len(tokens))(*tokens)           # a batch only points to it
        batch = self.library.llama_batch_get_one(array, len(tokens))
        if status := self.library.llama_decode(self.context, batch):
            raise SystemExit(f"llama_decode returned {status} for {len(tokens)} tokens")
        self.library.llama_synchronize(self.context)

    def prompt(self, tokens: int) -> float:
        """Compute a prompt, the only thing in the cache then. Returns seconds."""
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)
        start = time.perf_counter()
        self._decode([1 + i for i in range(tokens)])
        return time.perf_counter() - start

    def tokens(self) -> float:
        """Decode a round's tokens behind what is there. Returns seconds."""
        start = time.perf_counter()
        for i in range(TOKENS):
            self._decode([100 + i])
        return time.perf_counter() - start

    def close(self) -> None:
        self.library.llama_free(self.context)
        self.library.llama_model_free(self.model)


class Ours:
    """A program on the fast engine with some threads."""

    def __init__(self, program: Program, threads: int) -> None:
        self.program, self.threads = program, threads
        self._left = 0

    def prompt(self, tokens: int) -> float:
        """Compute a prompt on a new machine, up to the first token. Returns seconds."""
        self.machine = Machine(self.program.machine, Host(prompt_of(self.program, tokens), emit=self._emit), threads=self.threads)
        self.machine.load(self.program)
        return self._run(1)

    def tokens(self) -> float:
        """Decode a round's tokens. Returns seconds."""
        return self._run(TOKENS)

    def _run(self, tokens: int) -> float:
        self._left = tokens
        start = time.perf_counter()
        self.machine.run().unless_interrupted()
        seconds = time.perf_counter() - start
        assert self._left == 0, "the program has ended"
        return seconds

    def _emit(self, _token: int) -> None:
        self._left -= 1
        if not self._left:
            self.machine.stop("enough")


def in_turns(tokens: int, rounds: int, **runs: Callable[[], float]) -> dict[str, float]:
    """Tokens/s of each run, the median of the rounds, in which each comes once. A first round is not measured."""
    seconds = [{name: run() for name, run in runs.items()} for _ in range(rounds + 1)][1:]
    return {name: tokens / statistics.median(each[name] for each in seconds) for name in runs}


def compared(rates: dict[str, float]) -> dict[str, Any]:
    """With the ratio of each of ours to the faster one of llama.cpp's."""
    theirs = {name: rates.pop(name) for name in FLASH}
    return {**theirs, **{name: {"tokens_per_second": rate, "ratio": rate / max(theirs.values())} for name, rate in rates.items()}}


def measure(theirs: dict[str, Theirs], programs: dict[str, Program], asked: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Figures of a shape with some threads. Prompts are measured with the cache that llama.cpp has, decoding with each."""
    figures: dict[str, Any] = {}
    ours = {f"kv {kv}": Ours(program, threads) for kv, program in programs.items()}
    for tokens in asked.prompts:
        runs = {**{name: partial(each.prompt, tokens) for name, each in theirs.items()},
                "kv f16": partial(ours["kv f16"].prompt, tokens)}
        figures[f"prompt of {tokens}"] = compared(in_turns(tokens, asked.rounds, **runs))
    for depth in asked.depths:
        for each in (*theirs.values(), *ours.values()):
            each.prompt(depth)
        runs = {name: each.tokens for name, each in (*theirs.items(), *ours.items())}
        figures[f"decode behind {depth}"] = compared(in_turns(TOKENS, asked.rounds, **runs))
    for each in theirs.values():
        each.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", default=["125m", "730m"], choices=["125m", "730m"], metavar="S")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 4), metavar="N",
                        help="1 to 3: behind the last depth the context has no room for more")
    parser.add_argument("--prompts", nargs="*", type=int, default=PROMPTS, metavar="N")
    parser.add_argument("--depths", nargs="*", type=int, default=DEPTHS, metavar="D")
    asked = parser.parse_args()
    try:
        import llama_cpp
    except ImportError:
        sys.exit("llamacpp needs llama-cpp-python: pip install 'slimulator[llamacpp]', which builds llama.cpp")
    figures: dict[str, Any] = {"llama_cpp_python": version("llama-cpp-python")}
    for name in asked.shapes:
        programs = {kv: Program.load(shapes.compile_random(name, Settings(context=CONTEXT, kv=kv)).path) for kv in KV}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.gguf"
            write_gguf(shapes.shape_model(name, context=CONTEXT), file)
            figures[name] = {f"threads {threads}": measure(
                {way: Theirs(llama_cpp, file, threads, flash) for way, flash in FLASH.items()}, programs, asked, threads)
                             for threads in asked.threads}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
