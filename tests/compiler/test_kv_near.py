"""Keys and values near the units: operations bit by bit, what moves to the byte, who takes turns, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from compiled_models import FOLDER, small_machine
from random_models import BASE, SHAPES, random_model
from tiny_checkpoint import write_checkpoint

from compiler.checking.verify import compare
from compiler.checking.verify_chain import engines
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.passes.prune_tokens import parse_prune_tokens
from compiler.passes.select import Caches, parse_select
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.near_caches import NearCaches, keep_near, parse_near
from compiler.running.alive import tokens_alive
from compiler.running.generate import check_card
from compiler.running.moved import moved
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from emulator.observe.breakdown import Breakdown
from emulator.observe.hazards import HazardCheck
from isa.counters import COUNTERS
from isa.program import Program, ProgramError
from isa.services import Host
from slimulator.command_line import command

SMALL = replace(BASE, vocab=31, dim=16, layers=3, heads=4, kv_heads=2, head_dim=4, hidden=24, context=192, stop=frozenset(),
                rope=replace(SHAPES["head_dim_6"].rope, frequencies=(1.0, 0.01)))
TOKENS = np.random.default_rng(5).integers(3, 31, 150).tolist()
LAYER = 192 * 2 * 8 * 4         # bytes of the keys and values of a layer in f32


def made(name: str, cuts: str | None = None, **options: Any) -> tuple[Compiled, Program]:
    model = replace(random_model(SMALL), prune_tokens=parse_prune_tokens(cuts) if cuts else None)
    compiled = compile_model(model, **{"chunk": 60, **options})
    folder = Path(FOLDER.name) / f"near-{name}"
    folder.mkdir(exist_ok=True)
    return compiled, compiled.build(folder)


def run(built: tuple[Compiled, Program], tokens: list[int], count: int = 5, *, check: bool = False) -> Machine:
    machine = Machine(built[0].machine, Host(tokens))
    machine.load(built[1])
    set_parameters(machine, max_tokens=count)
    hazards = HazardCheck(machine) if check else None
    assert machine.run().exit_code == 0
    assert not hazards or hazards.hazards == [], str(hazards.hazards[0])
    return machine


# ------------------------------------------------------------------------------------------------ bit by bit


@pytest.mark.parametrize(("name", "cuts", "kv", "machine", "near", "turns"), [
    ("all", None, "f32", "slim", 2 * LAYER, (0, 1, 2)),
    ("apart", "2:128+4", "i8", "small", 2 * 192 * 2 * 16, (0, 1, 2))])
def test_every_operation(name: str, cuts: str | None, kv: str, machine: str, near: int, turns: tuple[int, ...]) -> None:
    """The prompt and tokens behind it; keys with a row for each position, and with scales apart; no unit comes too early."""
    recipe = read_recipe("i8") if machine == "small" else None
    built = made(name, cuts, machine=small_machine(1 << 18) if recipe else machine, recipe=recipe, kv=Caches(kv, near=near))
    assert built[0].memory.near.turns == turns and built[0].memory.near.size <= near
    assert compare(*built, TOKENS[:136 if cuts else 70])[1] is None
    run(built, TOKENS[:136], check=True)


def test_both_engines() -> None:
    built = made("engines", kv=Caches("f16", near=LAYER), machine="slim", chunk=8)
    assert built[0].memory.near.turns == (0, 1, 2)
    check = engines(built[1], built[0].machine, TOKENS[:20], 2)
    assert check.verdict == "pass", check.text


@pytest.mark.parametrize("cuts", [None, "1:128,2:128+8"])
def test_what_moves_is_known_to_the_byte(cuts: str | None) -> None:
    """The text is the same, and what the fetch unit moves besides is what the model card and the tokens say."""
    built, plain = made("moves", cuts, kv=Caches(near=2 * LAYER)), made("plain", cuts)
    machine, before = run(built, TOKENS), run(plain, TOKENS)
    assert machine.host.tokens == before.host.tokens and len(machine.host.tokens) == 5
    alive = tokens_alive(machine, built[1])
    found = moved(built[1], len(TOKENS), 4, alive.layers if alive else None)
    assert found is not None and found.stays == built[0].memory.near.stays == 0 and sum(found.fetched)
    assert machine.counter("fetch.bytes") - before.counter("fetch.bytes") == sum(found.fetched) + sum(found.written)
    first = built[0].memory.near.turns[0]
    rows = alive.layers[first] if alive else len(TOKENS)
    assert found.written[first] == (rows + 4) * 64
    assert found.fetched[first] == 64 * (sum(range(0, rows, 60)) + sum(range(rows, rows + 4)))
    assert machine.counter("dram.bytes_read") < before.counter("dram.bytes_read") / 4        # each token of a chunk read them
    assert moved(plain[1], 3, 3) is None
    machine = Machine(built[0].machine, Host(TOKENS))
    machine.load(built[1])
    set_parameters(machine, max_tokens=5)
    parts = Breakdown(machine, "operation").parts
    machine.run()
    named = [int(parts[f"near.{what}"].counts[COUNTERS["fetch.bytes"].slot]) for what in ("fetched", "written")]
    assert named == [sum(found.fetched), sum(found.written)]


def test_predictions_where_units_reach_the_scratchpad_alone() -> None:
    """Bytes of a generated token, near and far, with what comes near and goes back."""
    compiled, program = made("predicted", machine=small_machine(1 << 16), kv=Caches("i8", near=2 * 192 * 2 * 16))
    choice = compiled.choice
    assert choice.exact and compiled.memory.near.turns == (0, 1, 2) and not compiled.memory.residency.cached
    machine = Machine(compiled.machine, Host([5]))
    machine.load(program)
    set_parameters(machine, max_tokens=12)
    machine.breakpoints = {program.address("token")}
    seen = []
    for _ in range(10):
        assert machine.run().reason == "breakpoint"
        seen.append((machine.counter("sram.bytes_read"), machine.counter("dram.bytes_read")))
    for position in range(2, 9):
        reads, (before, after) = choice.reads(position), seen[position - 1:position + 1]
        assert (reads.near, reads.far) == (after[0] - before[0], after[1] - before[1])


# ------------------------------------------------------------------------------------------------ who takes turns


def plan(rows: tuple[int, ...], budget: int) -> NearCaches:
    """Of layers whose caches have room for these positions, 64 bytes each."""
    memory = MemoryPlan(small_machine(1 << 20), rows[0])
    memory.layer_bytes, memory.cache_start = {"keys": 32, "values": 32}, None      # type: ignore[method-assign,assignment]
    memory.cache_size = lambda base, layer: 32 * rows[layer]                        # type: ignore[method-assign]
    return keep_near(memory, len(rows), budget)


def test_who_takes_turns() -> None:
    even = (64,) * 12
    near = plan(even, 3 * 4096)
    assert (near.stays, near.turns, near.size) == (1, tuple(range(1, 12)), 3 * 4096)
    assert [near.at[layer, "keys"] for layer in (0, 1, 2, 3)] == [0, 4096, 8192, 4096] and near.at[2, "values"] == 8192 + 2048
    assert near.holds(11) and near.first((0, 1, 2)) == 1 and near.first((0,)) is None
    assert plan(even, 12 * 4096) == plan(even, 1 << 30) and plan(even, 1 << 30).turns == ()
    # Of nine layers near, one is less than an eighth: then none takes turns, and their places are for layers that stay.
    assert plan(even, 9 * 4096).turns == tuple(range(7, 12))
    assert (plan(even, 10 * 4096).stays, plan(even, 10 * 4096).turns) == (10, ())
    shrunk = plan((64, 64, 64, 32, 32, 8, 8), 4 * 4096)                  # 8 of 3 * 64 + 8 is less than an eighth
    assert (shrunk.stays, shrunk.turns, shrunk.holds(5), shrunk.size) == (3, (3, 4), False, 4 * 4096)


# ------------------------------------------------------------------------------------------------ commands and refusals


def test_generate_says_what_moved(tmp_path: Path) -> None:
    checkpoint, out = write_checkpoint(tmp_path / "model", context=256), tmp_path / "out.json"
    result = CliRunner().invoke(command, ["generate", str(checkpoint), "ab" * 20, "--kv-near", "1M", "-n", "3", "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["kv_moved"]["written_bytes"] == [0, 0]
    assert "0 of 2 layers take turns: 0 bytes came near" in result.stderr
    result = CliRunner().invoke(command, ["compile", str(checkpoint), "-o", str(tmp_path / "a.elf"), "--kv-near", "1M"])
    assert "stay near the units, in 131,072 bytes of sram" in result.output


def test_eval_scores_all_tokens_without_near_caches_where_they_have_no_room(tmp_path: Path) -> None:
    """With cuts keys and values fit, without them they do not; these change no result."""
    checkpoint, text, out = write_checkpoint(tmp_path / "model", context=400), tmp_path / "text", tmp_path / "out.json"
    text.write_text("ab ba " * 100)
    result = CliRunner().invoke(command, ["eval", str(checkpoint), str(text), "--tokens", "12", "--prune-tokens", "1:128+16",
                                          "--kv-near", "140K", "--weights", "i8", "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert "note: whole, which leaves out no tokens, has no keys and values near: --kv-near 140K: 143,360 bytes" in result.output
    data = json.loads(out.read_text())
    assert [each["name"] for each in data["programs"]] == ["dense", "whole", "program"] and data["kv_near"] == "140K"
    assert "tokens 1:128+16, kv near 140K" in result.output


@pytest.mark.parametrize("damage", [{"turns": [9]}, {"turns": [1.0]}, {"turns": 1}, {"stays": "1"}, {"position_bytes": 0}])
def test_a_damaged_card_is_refused(damage: dict[str, Any]) -> None:
    card = {"vocab": 31, "context": 64, "hidden": 24, "chunk": 4, "layers": 3,
            "kv_near": {"bytes": 64, "stays": 1, "turns": [1, 2], "position_bytes": 64}}
    check_card(Program(meta={"model": card}), Path("a.elf"))
    card["kv_near"] |= damage                       # type: ignore[operator]
    with pytest.raises(ProgramError, match="its model card is damaged: kv_near"):
        check_card(Program(meta={"model": card}), Path("a.elf"))


@pytest.mark.parametrize(("text", "message"), [
    ("", "''; expected bytes"), ("0", "'0'; expected bytes of the scratchpad: 65536, 64K or 1M"), ("1G", "'1G'"), ("-4", "'-4'"),
    ("1.5M", "hint: a whole number; K stands for 1,024 bytes, M for 1,048,576"),
    ("1M:flash", "flash cannot be written by a program"), ("1M:hbm", "expected SIZE or SIZE:dram"), ("1M:", "expected SIZE")])
def test_what_the_option_refuses(text: str, message: str) -> None:
    with pytest.raises(ModelError, match="--kv-near") as error:
        parse_near(text)
    assert message in str(error.value)
    assert [parse_near(good) for good in ("512", "64K", "1M:dram")] == [512, 65536, 1 << 20]


@pytest.mark.parametrize(("options", "message"), [
    ({"sequences": 2}, "2 texts side by side; expected one text"),
    ({"kv": Caches("f32", parse_select("think:0.5"), near=1 << 20)}, "--kv-select think:0.5"),
    ({"kv": Caches("f32", None, "tphs", 1 << 20)}, "--dataflow tphs"),
    ({"machine": "hpim"}, "which keeps keys and values in hbm; expected one that keeps them in dram"),
    ({"window": 9}, "attention looks at the last 9 positions"),
    ({"kv": Caches(near=LAYER)}, f"{LAYER:,} bytes; expected at least {2 * LAYER:,}: keys and values of two layers"),
    ({"kv": Caches(near=1)}, "--kv-near: 1 byte; expected at least"),
    ({"kv": Caches(near=1)}, "hint: a shorter --context, or --kv i8"),
    ({"kv": Caches("i8", near=1)}, "hint: a shorter --context")])
def test_what_cannot_be_combined(options: dict[str, Any], message: str) -> None:
    options = {"kv": Caches(near=1 << 20), **options}
    model = random_model(replace(SMALL, window=options.pop("window", 0)))
    with pytest.raises(ModelError, match="--kv-near") as error:
        compile_model(model, **options)
    assert message in str(error.value)
