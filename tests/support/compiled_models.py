"""A compiled model as a program in a temporary folder, and runs of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from machine_files import without_unit
from random_models import SHAPES, WORDS, random_model

from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import read_recipe
from compiler.running.parameters import set_parameters, set_sequences
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.preset import PRESETS
from isa.program import Program
from isa.reference import ReferenceMachine, RunResult
from isa.services import Host

FOLDER = TemporaryDirectory()
PROMPT = [1, 5, 3, 9, 2]
CONFIGS = {**SHAPES, "words": WORDS}
CODES = ("bitnet",)                 # shapes whose checkpoints have ternary codes


def generated(program: Program, machine: Any, engine: type[ReferenceMachine] = Machine, tokens: int = 4) -> tuple[
        list[int], ReferenceMachine]:
    """The tokens behind PROMPT, and the machine after the run. On the reference engine no wait may be missing."""
    host = Host([*PROMPT, -1])
    runner = engine(machine, host)
    runner.load(program)
    set_parameters(runner, max_tokens=tokens)
    if program.symbol("sequences"):
        set_sequences(runner, [tokens], 1)
    check = HazardCheck(runner) if engine is ReferenceMachine else None
    assert runner.run().exit_code == 0
    assert check is None or check.hazards == []
    return host.tokens, runner


@cache
def built(shape: str = "plain", weights: str = "", machine: str = "slim", context: int | None = None,
          kv: str = "f32", chunk: int | None = None, sequences: int | None = None) -> tuple[Compiled, Program]:
    """A model of random weights, compiled once for all tests. `weights` "": as the checkpoint has them."""
    compiled = compile_model(random_model(CONFIGS[shape], ternary=shape in CODES), machine=machine, context=context, kv=kv,
                             chunk=chunk, sequences=sequences, recipe=read_recipe(weights) if weights else None)
    folder = Path(FOLDER.name) / f"{shape}-{weights.replace(':', '-')}-{Path(machine).stem}-{context}-{kv}-{chunk}-{sequences}"
    folder.mkdir(exist_ok=True)
    return compiled, compiled.build(folder)


@cache
def small_machine(scratchpad: int = 12288, *missing: str, like: str = "slim-llama") -> str:
    """A preset with a scratchpad so small that even these models come in tiles, and without some units: the path of the file."""
    text = (PRESETS / f"{like}.toml").read_text(encoding="utf-8")
    size = {"slim-llama": "512_000", "slim": "16_777_216"}[like]
    assert f"value = {size}" in text and f'name = "{like}"' in text
    for unit in missing:
        text = without_unit(text, unit)
    path = Path(FOLDER.name) / f"{'-'.join(('small', like, str(scratchpad), *missing))}.toml"
    path.write_text(text.replace(f"value = {size}", f"value = {scratchpad}").replace(f'name = "{like}"', 'name = "small"'),
                    encoding="utf-8")
    return str(path)


@cache
def fetching_machine(scratchpad: int) -> str:
    """A preset with an sp unit whose units reach only the scratchpad; the fetch unit brings the rest: the path of the file."""
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8").replace("value = 16_777_216", f"value = {scratchpad}")
    everything = 'value = ["core", "vec", "lut", "sp", "cim", "thr", "fetch", "pim", "attn"], source = "assumed: no unit is kept'
    assert text.count(everything) == 3
    path = Path(FOLDER.name) / f"fetching-{scratchpad}.toml"
    path.write_text(text.replace(everything, 'value = ["core", "fetch", "pim"], source = "assumed: no unit is kept').replace(
        'name = "slim"', 'name = "fetching"'), encoding="utf-8")
    return str(path)


def ends(compiled: Compiled, tokens: int) -> int:
    """How often `compare` compares the end of the model for a prompt: for its last token, then for each if all logits are shown."""
    return 1 + tokens * (compiled.memory.shown > 0)


def loaded(made: tuple[Compiled, Program], prompt: Iterable[int] = (1,), engine: type[ReferenceMachine] = Machine,
           **parameters: Any) -> tuple[ReferenceMachine, Host]:
    compiled, program = made
    host = Host(prompt)
    machine = engine(compiled.machine, host)
    machine.load(program)
    set_parameters(machine, **parameters)
    return machine, host


def generate(made: tuple[Compiled, Program], prompt: Iterable[int] = (1,), engine: type[ReferenceMachine] = Machine,
             **parameters: Any) -> tuple[RunResult, list[int]]:
    """The run, and the tokens that came."""
    machine, host = loaded(made, prompt, engine, **parameters)
    return machine.run(), host.tokens
