"""Small and odd machines: no room in the scratchpad for the vocabulary's numbers, no thr or lut unit, few activations in that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import built, generate, loaded, small_machine
from machine_files import with_tables
from random_models import BASE, SHAPES, WORDS, random_model
from tiny_checkpoint import write_checkpoint

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.lowering.lut_parts import parts
from compiler.lowering.program import NO_TOP_P
from compiler.lowering.sampling_tiles import scratch
from compiler.running.generate import Generation, Sampling, open_program
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.shipped import DEMO

DRAWS = ((0.0, 1.0), (1.0, 1.0), (0.7, 0.9), (2.0, 0.5), (50.0, 0.999), (0.01, 0.01))      # temperature, top_p

# Machine, scratchpad: what of sampling lies in dram, and the tokens of a tile (0: units work on all of them there).
PLACES = [
    ("slim-llama", 20480, "", 0), ("slim-llama", 16384, "sorted order", 256), ("slim-llama", 8192, "sorted order", 64),
    ("slim-llama", 6144, "logits sorted order", 128), ("slim-llama", 4096, "logits sorted order", 128),
    ("slim", 20480, "", 0), ("slim", 8192, "sorted order", 0), ("slim", 4096, "logits sorted order", 0)]


@pytest.mark.parametrize(("like", "size", "outside", "tile"), PLACES)
def test_the_same_tokens_with_any_scratchpad(like: str, size: int, outside: str, tile: int) -> None:
    made, large = built("words", machine=small_machine(size, like=like)), built("words")
    assert set(made[0].memory.outside) - {"chunk_logits"} == set(outside.split())
    assert made[0].sampling.tile == tile
    assert compare(made[0], made[1], [1, 2, 3])[1] is None
    for seed, (temperature, top_p) in enumerate(DRAWS):
        said = {"temperature": temperature, "top_p": top_p, "seed": seed, "max_tokens": 8, "stop": ()}
        assert generate(made, **said)[1] == generate(large, **said)[1]


@pytest.mark.parametrize("weights", ["t2", "i4:16", "f16"])
def test_logits_in_dram_of_every_kind_of_weights(weights: str) -> None:
    made = built("words", weights, small_machine(6144))
    assert "logits" in made[0].memory.outside
    assert compare(made[0], made[1], [1, 2, 3])[1] is None
    assert generate(made, max_tokens=8, stop=())[1] == generate(built("words", weights), max_tokens=8, stop=())[1]


def test_logits_in_dram_of_decoded_weights(tmp_path: Path) -> None:
    compiled = compile_model(random_model(WORDS), machine=small_machine(8192), recipe=read_recipe("i4:16"),
                             activations="f32", context=8)
    assert compare(compiled, compiled.build(tmp_path), [1, 2, 3])[1] is None


@pytest.mark.parametrize("size", [16384, 4096])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (50.0, 0.5)])
def test_units_wait_for_each_other_in_tiles(size: int, temperature: float, top_p: float) -> None:
    machine, _ = loaded(built("words", machine=small_machine(size)), temperature=temperature, top_p=top_p, max_tokens=1, stop=())
    check = HazardCheck(machine)
    assert machine.run().exit_code == 0
    assert check.hazards == []


@pytest.mark.parametrize("size", [512_000, 16384, 4096])
@pytest.mark.parametrize("logits", [[np.nan], [7.0, np.nan], [-np.inf], [3.0, 3.0, 5.0, 5.0, 1.0], [-0.0, 0.0], [np.inf, 1.0]])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (1.0, 0.9)])
def test_logits_that_are_equal_or_no_numbers(size: int, logits: list[float], temperature: float, top_p: float) -> None:
    """The program stops before it chooses; there the logits are others. The reference is the machine with room for all of them."""
    tokens = []
    for where in ("slim", small_machine(size)):
        made = built("words", machine=where)
        machine, host = loaded(made, temperature=temperature, top_p=top_p, seed=5, max_tokens=1, stop=())
        machine.breakpoints = {made[1].address("choose")}
        assert machine.run().reason == "breakpoint"
        machine.tensor("logits", "f32[1500]")[:] = np.resize(np.array(logits, np.float32), 1500)
        machine.breakpoints = set()
        machine.run()
        tokens += host.tokens
    assert len(tokens) == 2 and tokens[0] == tokens[1]


def test_tiles_take_what_they_say() -> None:
    for sorts in (False, True):
        assert sum(scratch(1024, sorts=sorts).values()) < (25 if sorts else 9) * 1024 + 512


# ------------------------------------------------------------------------------------------------ machines that lack a unit


@pytest.mark.parametrize("size", [512_000, 6144])
def test_without_a_thr_unit_all_but_top_p_works(size: int) -> None:
    made, large = built("words", "t2", small_machine(size, "thr")), built("words", "t2")
    assert compare(made[0], made[1], [1, 2, 3])[1] is None
    for temperature in (0.0, 1.0):
        said = {"temperature": temperature, "seed": 3, "max_tokens": 8, "stop": ()}
        assert generate(made, **said)[1] == generate(large, **said)[1]
    why = "machine small has no thr unit, which sorts the probabilities of tokens for top-p"
    assert made[0].card["missing"] == {"--top-p": why}
    assert "\n  no --top-p: machine small has no thr unit" in made[0].summary()
    machine, host = loaded(made, temperature=1.0, top_p=0.5)
    assert machine.run().exit_code == NO_TOP_P and host.tokens == []
    assert host.errors.decode() == f"--top-p: {why}\n"


def test_generate_refuses_top_p_with_what_is_missing(tmp_path: Path) -> None:
    machine = small_machine(512_000, "thr")
    path = tmp_path / "tiny.elf"
    compile_model(load(write_checkpoint(tmp_path)), machine=machine).save(path)
    program, words = open_program(path)
    for sampling in (Sampling(top_p=0.5), Sampling(temperature=1.0)):
        assert Generation(program, words, "a", sampling, Machine, program.machine).run(str).result.exit_code == 0
    with pytest.raises(ModelError, match=r"--top-p: 0\.5; expected 1, or --temperature 0\nhint: machine small has no thr unit"):
        Generation(program, words, "a", Sampling(temperature=1.0, top_p=0.5), Machine, program.machine)


def test_with_a_thr_unit_nothing_is_missing() -> None:
    assert built("words")[0].card["missing"] == {}


def test_a_missing_unit_is_named_with_what_needs_it() -> None:
    with pytest.raises(ModelError, match=r"small: no thr unit; expected one: it lists the active neurons of --ffn-sparsity\n"
                                         r"hint: without --ffn-sparsity none is needed; machines that have it: .*slim"):
        compile_model(random_model(SHAPES["relu"]), machine=small_machine(512_000, "thr"), sparsity="exact")
    bare = small_machine(512_000, "lut", "thr")
    with pytest.raises(ModelError, match=r"no lut unit; expected one: it multiplies the integer weights of layer.q") as error:
        compile_model(random_model(BASE), machine=bare, recipe=read_recipe("t2"))
    assert re.match(r"--weights i8 --activations f32 needs none; machines that have it: .*slim", error.value.hint)


@pytest.mark.parametrize(("weights", "activations"), [("", None), ("f16", None), ("i8", "f32")])
def test_without_a_lut_unit(weights: str, activations: str | None, tmp_path: Path) -> None:
    compiled = compile_model(random_model(BASE), machine=small_machine(12288, "lut", "thr"), activations=activations,
                             recipe=read_recipe(weights) if weights else None)
    assert compare(compiled, compiled.build(tmp_path), [1, 2, 3])[1] is None


# ------------------------------------------------------------------------------------------------ few activations in the lut unit


@pytest.mark.parametrize(("shape", "weights", "activations", "options"), [
    ("plain", "t2", 20, {}), ("plain", "i8", 7, {}), ("plain", "i4:16", 20, {}), ("plain", "c4:8", 32, {}),
    ("plain", "t5:row", 7, {}), ("plain", "i4:2", 33, {}), ("bitnet", "", 32, {}), ("relu", "t2", 20, {"sparsity": "exact"}),
    ("relu2", "i4:row", 7, {"sparsity": "exact"})])
@pytest.mark.parametrize(("like", "size"), [("slim", None), ("slim-llama", 8192)])
def test_products_in_parts_of_the_columns(like: str, size: int | None, shape: str, weights: str, activations: int,
                                          options: dict[str, Any], tmp_path: Path) -> None:
    """Bit by bit what the graph has, which knows of no parts."""
    machine = with_tables(like, activations, size)
    compiled = compile_model(random_model(SHAPES[shape], ternary=shape == "bitnet"), machine=machine, context=8,
                             recipe=read_recipe(weights) if weights else None, **options)
    assert compare(compiled, compiled.build(tmp_path), [1, 2])[1] is None


@pytest.mark.parametrize("weights", ["t2", "i4:16"])
def test_units_wait_for_each_other_in_parts(weights: str, tmp_path: Path) -> None:
    """Also in the code for chunks of a prompt."""
    machine = with_tables("slim-llama", 20, 8192)
    compiled = compile_model(random_model(BASE), machine=machine, context=8, recipe=read_recipe(weights))
    runner, host = loaded((compiled, compiled.build(tmp_path)), [1, 2, 3], max_tokens=1, stop=())
    check = HazardCheck(runner)
    assert runner.run().exit_code == 0 and len(host.tokens) == 1
    assert check.hazards == []


def test_a_part_has_at_most_as_many_columns_as_the_tables_hold() -> None:
    layout = compile_model(random_model(BASE), recipe=read_recipe("i4:16")).layout
    for activations in (7, 16, 20, 47):
        groups = parts(with_tables("slim", activations), layout.layer["down"])
        assert [column for group in groups for part in group for column in part] == list(range(80))
        assert len(groups) == 5 and all(len(part) <= activations and part.start % 2 == 0 for group in groups for part in group)


@pytest.mark.parametrize(("weights", "activations", "says"), [
    ("i3", 40, r"q in i3:row has 48 columns, with the bits of a column in two bytes; expected at most the 40 activations"),
    ("t2:2", 40, r"q in t2:2 has 48 columns, a scale for 2 columns, 4 in a byte"),
    ("b1", 7, r"a scale for 48 columns, 8 in a byte")])
def test_what_cannot_be_cut_is_refused(weights: str, activations: int, says: str) -> None:
    machine = with_tables("slim", activations)
    with pytest.raises(ModelError, match=says) as error:
        compile_model(random_model(BASE), machine=machine, recipe=read_recipe(weights))
    assert error.value.hint == "--weights t2 can be cut"
    compile_model(random_model(BASE), machine=machine, recipe=read_recipe("t2"))


def test_the_hint_where_tables_hold_next_to_nothing(tmp_path: Path) -> None:
    """It helps a model that is trained for int8 activations, too."""
    machine = tmp_path / "narrow.toml"
    text = Path(small_machine(65536)).read_text(encoding="utf-8")
    machine.write_text(text.replace("value = 8192", "value = 1"), encoding="utf-8")
    model = load(DEMO)
    with pytest.raises(ModelError, match=r"lut.activations.*\nhint: .*--weights f16 --activations f32$"):
        Settings(machine=str(machine), weights="t2", context=8).compile(model)
    floats = Settings(machine=str(machine), weights="f16", activations="f32", context=8).compile(model)
    assert floats.layout.said().startswith("f16")
