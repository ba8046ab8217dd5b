"""What stays in the scratchpad: programs compute the same, read what was predicted, and never more with more room."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from children import ROOT
from compiled_models import built, generate, small_machine
from random_models import SHAPES, random_model

from asm.assembler import assemble
from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import Recipe, parse_format, read_recipe
from compiler.frontends import load
from compiler.lowering.search import Choice
from compiler.measuring.shapes import shape_model
from compiler.model.model import Model
from compiler.placing.memory_plan import MemoryPlan
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

DEMO = ROOT / "programs" / "demo" / "model"
PROMPT = [1, 5, 7, 7, 60, 3, 8, 9, 10]
SIZES = [1 << 16, 1 << 18, 1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 26]
POWERS = [1 << k for k in range(16, 27)]


@cache
def demo(size: int, weights: str = "t2", kv: str = "f32", **options: object) -> Compiled:
    return compile_model(load(DEMO), machine=small_machine(size), kv=kv, recipe=read_recipe(weights) if weights else None,
                         **options)                                                                     # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ the same results


@pytest.mark.parametrize(("shape", "options"), [
    ("gqa", {}), ("tied", {"weights": "i8"}), ("bitnet", {"weights": "t2:row"}), ("opt_350m", {"weights": "i4:1"}),
    ("biases", {"kv": "i8"}), ("window", {"weights": "c4"}), ("relu", {"sparsity": "exact"}),
    ("relu2", {"sparsity": "exact", "kv": "i8", "weights": "t2"}),
    ("plain", {"weights": "c2", "activations": "f32"}), ("plain", {"weights": "t2", "activations": "f32", "kv": "i8"})])
def test_every_operation_equals_the_graph_whatever_stays(shape: str, options: dict[str, str], tmp_path: Path) -> None:
    """Scratchpads from one in which nothing stays to one in which all does."""
    options = dict(options)
    weights = options.pop("weights", None)
    kinds = set()
    for size in (24 << 10, 64 << 10, 1 << 20):
        compiled = compile_model(random_model(SHAPES[shape]), machine=small_machine(size),
                                 recipe=read_recipe(weights) if weights else None, **options)           # type: ignore[arg-type]
        residency = compiled.memory.residency
        kinds.add((len(residency.layers), bool(residency.parts), residency.cached))
        program = compiled.build(tmp_path)
        compared, difference = compare(compiled, program, PROMPT)
        assert difference is None, f"{size}: {difference}"
        assert compared > len(PROMPT) * compiled.graph.config.layers
        runner = Machine(compiled.machine, Host(PROMPT[:3]))
        runner.load(program)
        set_parameters(runner, max_tokens=3)
        check = HazardCheck(runner)
        assert runner.run().reason == "exit" and check.hazards == []
    assert len(kinds) > 1 and max(kinds)[0] == compiled.graph.config.layers == max(kinds)[2]


def test_layers_of_several_formats_stay_too(tmp_path: Path) -> None:
    """Those that have room; registers move between the scratchpad and outside wherever the next layer lies elsewhere."""
    mixed = Recipe(parse_format("t2"), parse_format("i8"),
                   {"layers.1.*": parse_format("f32"), "layers.[35].[qk]": parse_format("i4:16")})
    compiled = compile_model(random_model(replace(SHAPES["gqa"], layers=6)), recipe=mixed, machine=small_machine(1 << 16))
    residency = compiled.memory.residency
    assert residency.layers.keys() == {0, 2, 3, 4, 5} and residency.moves(6)[:2] == [1, 2]
    assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None
    assert compile_model(random_model(replace(SHAPES["gqa"], layers=6)), recipe=mixed).formats == compiled.formats


def test_on_the_reference_engine(tmp_path: Path) -> None:
    compiled = compile_model(random_model(SHAPES["tied"]), machine=small_machine(40 << 10), recipe=read_recipe("i8"))
    assert len(compiled.graph.bodies) == 2
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:2], ReferenceMachine)[1] is None


def test_the_text_is_that_of_a_machine_whose_units_reach_all() -> None:
    texts = [generate(built("gqa", "t2", machine), PROMPT, max_tokens=12)[1]
             for machine in ("slim", *map(small_machine, (24 << 10, 64 << 10, 1 << 20)))]
    assert all(text == texts[0] for text in texts) and len(texts[0]) == 12


# ------------------------------------------------------------------------------------------------ predictions


def endless(shape: str) -> Model:
    """A model of which no token ends a text."""
    return random_model(replace(SHAPES[shape], stop=frozenset()))


def run(compiled: Compiled, program: Program, positions: int) -> list[tuple[int, int]]:
    """(bytes read of sram, of dram) at the start, then of each position but the first."""
    machine = Machine(compiled.machine, Host([1]))
    machine.load(program)
    set_parameters(machine, max_tokens=positions + 3)
    machine.breakpoints = {program.address(name) for name in ("chunk", "token") if program.symbol(name)}
    seen = [(0, 0)]
    for _ in range(positions + 2):
        assert machine.run().reason == "breakpoint"
        seen.append((machine.counter("sram.bytes_read"), machine.counter("dram.bytes_read")))
    each = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(seen)]
    return [each[0], *each[2:]]


@pytest.mark.parametrize("kv", ["f32", "i8"])
@pytest.mark.parametrize("weights", ["t2", ""])
@pytest.mark.parametrize("size", SIZES)
def test_predictions_are_what_is_counted(size: int, weights: str, kv: str, tmp_path: Path) -> None:
    """At the start, and of every generated token, whatever the number of tiles. The formula and the model card say the same."""
    compiled = demo(size, weights, kv)
    choice = compiled.choice
    assert choice.exact
    at_start, *each = run(compiled, compiled.build(tmp_path), 32)
    assert at_start == (0, choice.loaded)
    assert each == [(choice.reads(position).near, choice.reads(position).far) for position in range(1, 33)]
    near, far = choice.formula(near=True), choice.formula(near=False)
    assert each == [(near.at(position + 1), far.at(position + 1)) for position in range(1, 33)]
    for positions in (100, 333, 512):
        reads = choice.reads(positions - 1)
        assert (near.at(positions), far.at(positions)) == (reads.near, reads.far)
    card = compiled.card["reads"]
    assert (card["outside"], card["scratchpad"], card["exact"]) == (far.as_json(), near.as_json(), True)


@pytest.mark.parametrize(("shape", "weights", "options"), [
    ("window", "", {}), ("opt_350m", "i4:1", {}), ("plain", "c4", {}), ("qk_norm", "f16", {"kv": "i8"}),
    ("plain", "bp3:8", {}),
    ("plain", "t2", {"activations": "f32"}), ("plain", "i8", {"activations": "f32"})])
@pytest.mark.parametrize("size", [16 << 10, 24 << 10, 48 << 10, 1 << 20])
def test_predictions_hold_for_other_models(shape: str, weights: str, options: dict[str, str], size: int, tmp_path: Path) -> None:
    compiled = compile_model(endless(shape), machine=small_machine(size), recipe=read_recipe(weights) if weights else None,
                             **options)                                                                 # type: ignore[arg-type]
    _, *each = run(compiled, compiled.build(tmp_path), 20)
    assert each == [(reads.near, reads.far) for reads in map(compiled.choice.reads, range(1, 21))] and compiled.choice.exact


def test_what_depends_on_data_is_predicted_at_its_most(tmp_path: Path) -> None:
    compiled = compile_model(endless("relu"), machine=small_machine(24 << 10), sparsity="exact")
    _, *each = run(compiled, compiled.build(tmp_path), 10)
    most = [(reads.near, reads.far) for reads in map(compiled.choice.reads, range(1, 11))]
    assert not compiled.choice.exact and "at most" in compiled.summary()
    assert all(near <= most_near and far < most_far for (near, far), (most_near, most_far) in zip(each, most, strict=True))


# ------------------------------------------------------------------------------------------------ more room, fewer bytes


def far(compiled: Compiled) -> list[int]:
    context = compiled.memory.context
    return [compiled.choice.reads(position).far for position in (1, context // 4, context // 2, context - 1)]


def never_rise(each: list[list[int]]) -> bool:
    return all(a >= b for before, after in pairwise(each) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("weights", "kv"), [("t2", "f32"), ("", "i8")])
def test_bytes_from_outside_never_rise_with_the_scratchpad(weights: str, kv: str) -> None:
    """And fall from each power of two to the next, until nothing is read from outside."""
    sizes = [int(2 ** (16 + step / 3)) for step in range(31)]
    each = [far(demo(size, weights, kv)) for size in sizes]
    assert never_rise(each)
    powers = each[::3]
    assert all(after[2] < before[2] or before[2] == 0 for before, after in pairwise(powers))
    assert each[-1] == [0, 0, 0, 0]


@cache
def large(size: int) -> Compiled:
    """The shape 125m, its head in 8 bits."""
    return compile_model(shape_model("125m", context=256), machine=small_machine(size), recipe=read_recipe("t2"), context=256)


def test_125m_falls_until_all_of_it_stays() -> None:
    each = [large(size) for size in POWERS]
    assert never_rise([far(compiled) for compiled in each])
    assert all(a > b for a, b in pairwise(compiled.choice.reads(127).far for compiled in each))
    assert each[-1].choice.reads(127).far == 0


def table() -> list[str]:
    """The rows of the table in the guide."""
    rows = []
    for size in POWERS:
        name = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        each = [demo(size).choice.reads(255).far, demo(size, kv="i8").choice.reads(255).far]
        each.append(large(size).choice.reads(127).far)
        rows.append(f"| {name} | {' | '.join(f'{bytes_:,}' for bytes_ in each)} |")
    return rows


def test_the_table_in_the_guide() -> None:
    assert (ROOT / "docs" / "residency.md").read_text(encoding="utf-8").split("|---|---|---|---|\n")[1].splitlines() == table()


# ------------------------------------------------------------------------------------------------ what is said


def test_slim_keeps_its_weights_in_flash() -> None:
    compiled = demo(1 << 20)
    assert compiled.memory.residency.layers
    slim = compile_model(load(DEMO), recipe=read_recipe("t2"))
    assert slim.memory.residency.end == 0 and slim.card["reads"] is None and "stays" not in slim.summary()
    assert "resident" not in slim.text()


def test_the_map_and_the_text_say_what_stays_and_why() -> None:
    compiled = demo(1 << 19)
    said = compiled.summary()
    assert f"  sram: {compiled.choice.loaded:,} bytes of dram are copied there once, and stay; the rest streams\n" in said
    assert "    weights of layers 0, 1: 356,224 bytes\n" in said and "q, k, v" not in said
    assert f"  dram: a generated token that looks at p positions reads {compiled.choice.formula(near=False)} bytes\n" in said
    assert "tiles: two buffers of " in said and "next best: " in said
    text = compiled.text()
    assert "# ---- these stay here from the start on, so that they are not read from outside for each token\n" in text
    assert "# ---- what stays in the scratchpad is copied there, once" in text
    assert "# weights that stay in the scratchpad" in text
    whole = demo(1 << 22)
    assert "tiles: no buffers" in whole.summary() and "buffers" not in whole.text().split("# ---- what stays")[0].split(".equ")[0]
    assert whole.memory.buffer_bytes == 0 and "BUFFER" not in whole.text()


def test_the_text_assembled_is_the_program(tmp_path: Path) -> None:
    compiled = compile_model(random_model(SHAPES["tied"]), machine=small_machine(40 << 10), recipe=read_recipe("i8"))
    compiled.save(tmp_path / "direct.elf")
    compiled.save_source(tmp_path / "model.s")
    again, direct = assemble(tmp_path / "model.s", machine=compiled.machine), Program.load(tmp_path / "direct.elf")
    assert [(s.name, s.address, s.bytes()) for s in again.sections] == [(s.name, s.address, s.bytes()) for s in direct.sections]


def test_what_stays_lies_behind_all_values_and_buffers() -> None:
    for size in SIZES:
        memory: MemoryPlan = demo(size).memory
        residency = memory.residency
        assert residency.start >= max(memory.buffers + 2 * memory.buffer_bytes, *(slot.end for slot in memory.slots.values()))
        assert residency.end + 4096 * residency.variables <= size


def test_the_best_choice_has_the_fewest_bytes() -> None:
    compiled = demo(1 << 19)
    best: Choice = compiled.choice
    middle = compiled.memory.context // 2
    assert all(best.reads(middle).far <= other.reads(middle).far for other in compiled.others)
    assert {other.memory.buffer_bytes for other in (best, *compiled.others)} >= {8192, 16384, 32768}


def test_nothing_stays_where_it_is_not_asked_for() -> None:
    alike = demo(1 << 20).alike()
    assert len(alike.graph.bodies) == 1 and alike.memory.residency.end == 0 and alike.memory.buffer_bytes > 1 << 18
