"""Two halves of a chunk take turns: objects of one come from flash while the other works in DRAM. Texts are those of each alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from compiled_models import FOLDER
from random_models import BASE, LINEARS, SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import Calibrated, compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import Recipe, parse_format, read_recipe
from compiler.running.neurons import neurons
from compiler.running.parameters import set_parameters, set_sequences, side_by_side
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.preset import PRESETS
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPTS = [[1, 5, 3, 9, 2, 4, 1], [7], [2, 2], [1, 5, 3, 8]]
TEXT = [int(token) for token in np.random.default_rng(3).integers(3, 61, 60)]
MODELS = {**{name: SHAPES[name] for name in ("plain", "opt", "bitnet")},
          "biases": replace(BASE, activation="relu", biases=LINEARS)}


@cache
def made(shape: str, weights: str = "", machine: str = "slim-nsp", sequences: int | None = None,
         layers: int = 2) -> tuple[Compiled, Program]:
    compiled = compile_model(random_model(replace(MODELS[shape], layers=layers), ternary=shape == "bitnet"), machine=machine,
                             sequences=sequences, recipe=read_recipe(weights) if weights else None,
                             sparsity=Calibrated(0.5, TEXT, predictor="i8"))
    (folder := Path(FOLDER.name) / f"turns-{shape}-{weights.replace(':', '-')}-{Path(machine).stem}-{sequences}-{layers}").mkdir()
    return compiled, compiled.build(folder)


def run(program: tuple[Compiled, Program], prompts: list[list[int]], count: int = 5, *, checked: bool = False,
        engine: type[ReferenceMachine] = Machine) -> tuple[list[list[int]], ReferenceMachine]:
    """The tokens of each text, and the machine."""
    compiled, several = program[0], program[0].memory.sequences > 1
    texts: list[list[int]] = [[] for _ in prompts]
    host = Host(side_by_side(prompts) if several else prompts[0], emit=lambda token: texts[host.sequence].append(token))
    machine = engine(compiled.machine, host)
    machine.load(program[1])
    if several:
        set_sequences(machine, [count] * len(prompts))
    else:
        set_parameters(machine, max_tokens=count)
    check = HazardCheck(machine) if checked else None
    assert machine.run().exit_code == 0
    assert not check or check.hazards == [], str(check.hazards[0])
    return texts, machine


@pytest.mark.parametrize(("shape", "weights", "machine"), [
    ("opt", "f16", "slim-nsp-tlc"), ("bitnet", "t5:row", "slim"), ("biases", "i8", "slim-nsp")])
def test_texts_are_those_of_each_alone(shape: str, weights: str, machine: str) -> None:
    """Every operation is the graph's, also of a prompt whose tokens are in both halves; no wait is missing."""
    one, several = made(shape, weights, machine), made(shape, weights, machine, sequences=4)
    assert several[0].memory.turns and not one[0].memory.turns
    compared, difference = compare(*several, PROMPTS[0])
    assert difference is None, str(difference)
    assert compared > 1000
    each = [run(one, [prompt]) for prompt in PROMPTS]
    for count in (1, 4):
        texts, runner = run(several, PROMPTS[:count], checked=count > 1)
        assert texts == [tokens for (tokens,), _ in each[:count]]
        assert neurons(runner, several[1]).active == sum(neurons(alone, one[1]).active for _, alone in each[:count])


def test_layers_of_several_formats(tmp_path: Path) -> None:
    """Layers that differ have code of their own, and the halves may be in different ones."""
    recipe = Recipe(parse_format("i8:row"), None, {"layers.1.*": parse_format("t2"), "layers.2.down": parse_format("i4")})
    compiled = compile_model(random_model(replace(BASE, layers=4)), machine="slim-nsp", sequences=3, recipe=recipe,
                             sparsity=Calibrated(0.5, TEXT, predictor="i8"))
    assert compiled.memory.turns and len(compiled.graph.bodies) == 3
    program = compiled.build(tmp_path)
    assert compare(compiled, program, PROMPTS[0])[1] is None
    run((compiled, program), PROMPTS[:3], checked=True)


@cache
def slow_dram() -> str:
    """slim-nsp with a DRAM of 6 GB/s, so that its side takes as long as that of the flash: the path of the file."""
    text = (PRESETS / "slim-nsp.toml").read_text("utf-8")
    assert text.count("value = 102,") == 1
    path = Path(FOLDER.name) / "slow-dram.toml"
    path.write_text(text.replace("value = 102,", "value = 6,").replace('name = "slim-nsp"', 'name = "slow-dram"'), "utf-8")
    return str(path)


def step(program: tuple[Compiled, Program], texts: int) -> tuple[float, float]:
    """Cycles of a step, and those in which it reads flash. The texts are the same, and so are their neurons."""
    short, long = (run(program, [[3]] * texts, count)[1].time for count in (3, 7))
    return (long.cycles - short.cycles) / 4, (long.regions["flash"] - short.regions["flash"]) / 4


@pytest.mark.parametrize(("machine", "most", "share"), [("slim-nsp", 1.08, 0.88), ("slow", 1.10, 0.73)])
def test_a_step_of_two_takes_the_longer_side_and_not_both(machine: str, most: float, share: float) -> None:
    """Twelve layers. What is beyond the longer side is the first layer, which nothing overlaps, and what follows the last one."""
    where = slow_dram() if machine == "slow" else machine
    one, flash = step(made("plain", "i8", where, layers=12), 1)
    two, of_both = step(made("plain", "i8", where, sequences=2, layers=12), 2)
    assert of_both == 2 * flash
    assert two < most * 2 * max(flash, one - flash) and two < share * 2 * one


def test_engines_agree_in_tokens_counters_and_time() -> None:
    program = made("bitnet", "", "slim-nsp", sequences=4)
    (fast, one), (slow, other) = (run(program, PROMPTS[1:3], 2, engine=engine) for engine in (Machine, ReferenceMachine))
    assert fast == slow and one.counters == other.counters and one.time == other.time


def test_where_there_are_no_turns() -> None:
    """Objects in the memory of all weights; a single text; no room for the objects of two layers."""
    assert not made("plain", "i8", "slim-llama", sequences=3)[0].memory.turns
    assert not made("plain", "i8")[0].memory.turns
    text = (PRESETS / "slim-nsp.toml").read_text("utf-8").replace('name = "slim-nsp"', 'name = "small-nsp"')
    path = Path(FOLDER.name) / "small-nsp.toml"
    path.write_text(text.replace("value = 402_653_184", "value = 30_000"), "utf-8")
    small = made("plain", "i8", str(path), sequences=3)                                 # objects of a layer: 11,520 bytes
    assert not small[0].memory.turns and "objects_here" in small[0].memory.slots
    assert compare(*small, PROMPTS[0])[1] is None
