"""Products in the banks: where matrices lie, what the map says, programs bit by bit, the same story as with look-up tables."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from compiled_models import CODES, FOLDER, built, ends, generate, loaded
from machine_files import without_figures
from random_models import BASE, SHAPES, CodesTensor, codes_tensor, random_model, rope

from asm.assembler import assemble
from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.measuring.shapes import random_model as random_llama
from compiler.model.model import Model, roles
from compiler.model.tensors import Codes
from compiler.passes.to_banks import in_pipeline_order
from compiler.placing.bank_placement import Banked, _shaped
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.preset import PRESETS, load_preset
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPT = [1, 5, 7, 7, 60, 3]
STORIES = Path(__file__).parents[2] / ".." / "shared" / "data" / "stories260K"


@cache
def few_banks(channels: int = 6, banks: int = 8, rows: int = 512, columns: int = 2,
              mapping: str = "row channel bank column") -> str:
    """HPIM with so few and short banks that even these models take several turns, tiles and rows: the path of its preset."""
    text = (PRESETS / "hpim.toml").read_text(encoding="utf-8")
    for name, value in (("channels", channels), ("bank_groups", 2), ("banks", banks), ("rows", rows), ("columns", columns),
                        ("blocks", banks)):
        text, count = re.subn(rf"(parameters\.{name} +)= {{ value = \d+,", rf"\1= {{ value = {value},", text)
        assert count == 1
    text = text.replace("value = 34_359_738_368", f"value = {channels * banks * rows * columns * 32}")
    text = text.replace('name = "hpim"', 'name = "few-banks"').replace('"row channel bank column"', f'"{mapping}"')
    path = Path(FOLDER.name) / f"few-{channels}-{banks}-{rows}-{columns}-{mapping.translate({32: '_', 58: '_'})}.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


MACHINES: dict[str, Callable[[], str]] = {
    "hpim": lambda: "hpim",
    "few":  few_banks,                                                  # several turns; tiles where that fills the channels
    "four": lambda: few_banks(channels=4),                              # several rows of a bank
    "many": lambda: few_banks(channels=80, columns=1)}                  # several tiles of columns, two masks

# ------------------------------------------------------------------------------------------------ operation by operation


CASES = [*product(SHAPES, ["i8", "f16"], ["hpim", "few"]), *product(["gqa", "opt_350m", "hidden_172"], ["i8", "f16"], ["many"]),
         *product(["hidden_172"], ["i8", "f16"], ["four"]),
         *product(["gqa", "bitnet", "opt"], ["", "t2"], ["hpim"])]


@pytest.mark.parametrize(("shape", "weights", "machine"), CASES)
def test_every_operation_equals_the_graph(shape: str, weights: str, machine: str) -> None:
    if shape in CODES and weights == "f16":
        with pytest.raises(ModelError, match="f16 for int8 activations"):
            built(shape, weights, MACHINES[machine]())
        return
    compiled, program = built(shape, weights, MACHINES[machine]())
    compared, difference = compare(compiled, program, PROMPT[:4])
    graph = compiled.graph
    assert difference is None, str(difference)
    assert compared == 4 * (len(graph.start) + 2 * len(graph.layer)) + ends(compiled, 4) * len(graph.finish)
    if weights:
        products = [op.kind for _, op in graph.steps() if op.kind.startswith("gemv")]
        assert set(products) == {f"gemv.banks.{'f16' if weights == 'f16' else 'i8'}"}


def test_the_reference_engine_too() -> None:
    for weights in ("i8", "f16"):
        compiled, program = built("gqa", weights, few_banks())
        assert compare(compiled, program, PROMPT[:2], ReferenceMachine)[1] is None


@pytest.mark.parametrize("weights", ["b1", "t2:row", "t5", "i2", "i3", "i4:tensor", "i4", "c4", "c2:tensor"])
def test_integers_of_fewer_bits_are_codes_of_eight(weights: str) -> None:
    compiled, program = built("gqa", weights, few_banks())
    assert compare(compiled, program, PROMPT[:3])[1] is None
    assert {banked.format for _, banked, _ in compiled.target.placement.matrices()} == {"i8"}


def test_layers_of_other_formats(tmp_path: Path) -> None:
    """A layer in fp16 between two in int8, one of whose matrices is fp32 and stays out of the banks."""
    recipe = tmp_path / "mixed.toml"
    recipe.write_text('weights = "i8"\nhead = "f16"\n[roles]\n"layers.1.*" = "f16"\n"layers.2.down" = "f32"\n', encoding="utf-8")
    model = random_model(replace(SHAPES["gqa"], layers=4))
    compiled = compile_model(model, machine=few_banks(), recipe=read_recipe(str(recipe)))
    program = compiled.build(tmp_path)
    assert compare(compiled, program, PROMPT[:3])[1] is None
    assert compiled.target.placement.groups == [(0, 3), (1,), (2,)]
    runner, _ = loaded((compiled, program), PROMPT[:2], max_tokens=2, stop=())
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []
    lines = [line.split()[0] for line in str(compiled.target.placement).splitlines()]
    assert {"layers.0.q", "layers.1.down", "layers.2.q", "head"} <= {*lines} and not {"layers.2.down", "layers.3.q"} & {*lines}


def test_int8_keys_and_values_too(tmp_path: Path) -> None:
    compiled = compile_model(random_model(SHAPES["gqa"]), machine="hpim", recipe=read_recipe("i8"), kv="i8")
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:3])[1] is None


# ------------------------------------------------------------------------------------------------ the same story


@pytest.mark.parametrize("shape", ["gqa", "bitnet", "opt", "opt_350m", "window"])
@pytest.mark.parametrize("sampler", [{}, {"temperature": 0.9}, {"temperature": 1.2, "top_p": 0.7}])
def test_integers_tell_the_story_of_look_up_tables(shape: str, sampler: dict[str, float]) -> None:
    """Sums of integers are exact and the scales are multiplied in one order, so logits are equal bit by bit."""
    stories = []
    for machine in ("slim", "hpim", few_banks()):
        made = built(shape, "i8" if shape != "bitnet" else "", machine)
        result, tokens = generate(made, PROMPT, max_tokens=12, stop=(), **sampler)
        assert result.exit_code == 0
        stories.append(tokens)
    assert stories[0] == stories[1] == stories[2]


@pytest.mark.skipif(not STORIES.is_dir(), reason="no ../shared/data/stories260K")
@pytest.mark.parametrize("weights", ["", "i8"])
def test_stories260k(weights: str, tmp_path: Path) -> None:
    model, stories = load(STORIES / "stories260K.bin"), []
    for machine in ("slim", "hpim"):
        program = compile_model(model, machine=machine, recipe=read_recipe(weights) if weights else None).build(tmp_path)
        host = Host([1])
        runner = Machine(machine, host)
        runner.load(program)
        runner.tensor("max_tokens", "i32[2]")[:] = 60, 0
        assert runner.run().reason == "exit"
        stories.append(host.tokens)
    assert stories[0] == stories[1]


# ------------------------------------------------------------------------------------------------ order between units


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("shape", "weights"), [("gqa", "i8"), ("opt_350m", "f16"), ("window", "i8"),
                                                ("qk_norm", "f16"), ("bitnet", "")])
def test_nothing_is_touched_too_early(shape: str, weights: str, machine: str) -> None:
    runner, host = loaded(built(shape, weights, MACHINES[machine]()), PROMPT[:3], max_tokens=3, stop=(), temperature=1.2, top_p=0.7)
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and len(host.tokens) == 3
    assert check.hazards == []


@pytest.mark.parametrize("weights", ["i8", "f16"])
def test_values_are_generated_beside_scores_and_queries_beside_the_transpose(weights: str) -> None:
    """HPIM's pipeline: between the transpose of the key and the softmax no bank waits for the attention unit, nor it for them."""
    text = built("one_head", weights, "hpim")[0].text()
    order = re.findall(r"attn\.(?:xpose|xmac|sfm|context)|pim\.mac_abk.*# [kqv]:", text)
    order = [re.sub(r".*# ", "", word) for word in order]
    assert order == ["k:", "attn.xpose", "q:", "attn.xmac", "v:", "attn.sfm", "attn.context"]
    between = text[text.index("attn.xpose"):text.index("attn.sfm")]
    signals = re.findall(r"sync\.signal\.(\w+) \w+\n +sync\.wait\.(\w+)", between)
    assert signals and ("attn", "pim") not in signals and ("pim", "attn") not in signals


def test_an_order_that_changes_nothing() -> None:
    """Each operation still comes behind all that wrote what it reads, and all that read what it overwrites."""
    ops = built("qk_norm", "i8", "hpim")[0].graph.layer
    again = in_pipeline_order(ops)
    assert again == ops
    plain = built("qk_norm", "i8")[0].graph.layer
    assert [op.kind for op in plain] != [op.kind for op in ops]


# ------------------------------------------------------------------------------------------------ the map


def matrices(compiled: Compiled) -> list[tuple[str, Banked, int]]:
    """(role of the model, where it lies, the first of the rows of the banks that it is counted from)."""
    placement = compiled.target.placement
    found = list(placement.matrices())
    matrices = {role for role, shape in roles(compiled.model.config) if len(shape) == 2} - {"positions", "embedding"}
    assert {name for name, _, _ in found} == matrices | {"head"}
    return found


@pytest.mark.parametrize("mapping", ["row channel bank column", "row column bank channel", "row bank channel column bank:1"])
@pytest.mark.parametrize("weights", ["i8", "f16"])
@pytest.mark.parametrize("shape", ["gqa", "opt_350m", "hidden_172", "head_dim_6"])
def test_every_weight_lies_where_the_map_says(shape: str, weights: str, mapping: str) -> None:
    compiled = built(shape, weights, few_banks(channels=6 if mapping == "row channel bank column" else 8, mapping=mapping))[0]
    placement, size = compiled.target.placement, 1 if weights == "i8" else 2
    stream = io.BytesIO()
    assert list(placement.write(stream))[-1] == (placement.size, placement.size)
    data = np.frombuffer(stream.getvalue(), np.uint8)
    assert len(data) == placement.size == placement.linear_row * placement.stripe
    taken = np.zeros(len(data), bool)
    for name, m, base in matrices(compiled):
        rows, cols = m.shape
        r, c = np.divmod(np.arange(rows * cols), cols)
        tile, within = np.divmod(c, m.tile)
        turn, side = np.divmod(r // m.height, m.across)
        depth, byte = np.divmod(within * size, placement.banks.row_bytes)
        at = placement.banks.address(m.channel + tile * m.across + side, r % m.height, base + m.row + turn * m.depth + depth,
                                     byte // 32) - placement.banks.base + byte % 32
        assert not taken[at].any(), f"{name} lies on another matrix"
        for more in range(size):
            taken[at + more] = True
        tensor = compiled.model.tensor(name)
        if weights == "i8":
            assert (data[at].view(np.int8) == tensor.codes().values.reshape(-1)).all()
        else:
            found = (data[at] + data[at + 1] * np.uint16(256)).view(np.float16)
            assert (found.astype(np.float32) == tensor.rows().reshape(-1)).all()
    assert not data[~taken].any(), "padding is zero"


@pytest.mark.parametrize(("shape", "weights"), list(product(["gqa", "opt_350m", "hidden_172"], ["i8", "f16"])))
def test_every_way_of_cutting_occurs(shape: str, weights: str) -> None:
    few, four = ([m for _, m, _ in matrices(built(shape, weights, MACHINES[name]())[0])] for name in ("few", "four"))
    assert any(m.turns > 1 for m in few) and any(m.depth > 1 for m in few + four)
    found = [m for _, m, _ in matrices(built(shape, weights, MACHINES["many"]())[0])]
    assert any(m.tiles > 1 for m in found)
    assert shape != "hidden_172" or any(m.channels.stop > 64 for m in found)


def test_heads_have_channels_of_their_own_and_tiles_beside_each_other() -> None:
    model = random_llama("wide", 1, 1024, 512, 8, 32, 16, ternary=False)       # 8 heads of 128: rows of 2 KB in f16
    placement = compile_model(model, machine="hpim", recipe=read_recipe("f16")).target.placement
    q, down = placement.bodies[0]["q"], placement.bodies[0]["down"]
    assert (q.height, q.across, q.tiles, q.commands, q.depth, q.turns) == (64, 16, 2, 32, 1, 1)
    assert (down.height, down.across, down.tiles, down.depth) == (64, 16, 1, 1)
    assert len(q.channels) == 32 and len(down.channels) == 16


@pytest.mark.parametrize(("shape", "tiles", "turns", "commands"), [
    ((5120, 5120), 4, 5, 80),           # OPT-13B's projection: 80 slices in 64 channels. By rows only two turns of 320 commands
    ((5120, 20480), 4, 5, 320),         # its down matrix: the same, four times as long
    ((20480, 5120), 1, 5, 320),         # its up matrix: 320 slices fill five turns
    ((4096, 5120), 1, 1, 320),          # fills the channels once
    ((256, 64), 1, 1, 4)])              # a tile would be shorter than a row of a bank
def test_columns_are_cut_where_that_fills_the_channels(shape: tuple[int, int], tiles: int, turns: int, commands: int) -> None:
    banked = _shaped("o", "f16", shape, load_preset("hpim").banks, 0)
    assert (banked.tiles, banked.turns, banked.commands) == (tiles, turns, commands)


def test_the_map_counts_padding() -> None:
    compiled = built("hidden_33", "i8", "hpim")[0]
    placement = compiled.target.placement
    used, taken = placement.used
    c = compiled.model.config
    assert used == c.vocab * c.dim + c.layers * (4 * c.dim * c.dim + 3 * c.dim * c.hidden)
    stripes = sum(len(m.channels) * m.rows for _, m, _ in matrices(compiled))
    assert taken == stripes * 64 * 1024
    text = str(placement)
    assert f"{used:,} bytes of weights in {taken:,} (1 %) of 64 channels x 64 banks x 3 of 8,192 rows" in text
    assert re.search(r"^down +48 x 33 +i8 +\d+ +1 x 2 columns +64 of 64 +1 +2 %$", text, re.MULTILINE)
    assert text in compiled.summary().replace("\n  ", "\n")


def test_the_guide_shows_the_map_of_the_demo_model() -> None:
    root = Path(__file__).parents[2]
    compiled = compile_model(load(root / "programs" / "demo" / "model"), machine="hpim", recipe=read_recipe("i8"))
    assert compiled.summary() in (root / "docs" / "hpim.md").read_text(encoding="utf-8")


def test_scales_and_vectors_are_read_linearly_behind_the_matrices() -> None:
    compiled, program = built("opt_350m", "i8", few_banks())
    placement, layout = compiled.target.placement, compiled.layout
    weights, base = program.section(".hbm.weights"), placement.banks.base
    assert weights is not None and weights.address == base + -(-placement.size // 4096) * 4096
    data = np.frombuffer(weights.bytes(), np.uint8)
    for layer in (0, 1):
        start = layout.layers_at + layer * layout.layer_bytes
        for role in ("q", "down"):
            placed, tensor = layout.layer[role], layout.model.tensor(f"layers.{layer}.{role}")
            assert placed.held == 0
            scales = data[start + placed.scales:start + placed.end].view("<f4")
            assert (scales == tensor.codes().scales.reshape(-1)).all()
        gain = layout.layer["ffn_norm"]
        found = data[start + gain.offset:start + gain.end].view("<f4")
        assert (found == layout.model.tensor(f"layers.{layer}.ffn_norm").vector()).all()


def test_the_text_with_its_files_assembled_is_the_program(tmp_path: Path) -> None:
    compiled, program = built("gqa", "f16", "hpim")
    compiled.save(tmp_path / "direct.elf")
    compiled.save_source(tmp_path / "model.s")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["direct.elf", "model.banks", "model.meta", "model.s", "model.weights"]
    texts = assemble(tmp_path / "model.s"), program, Program.load(tmp_path / "direct.elf")
    contents = [[(s.name, s.address, s.bytes()) for s in each.sections if s.name != ".hbm.caches"] for each in texts]
    assert contents[0] == contents[1] == contents[2]
    lines = re.findall(r"^#   (.*)$", (tmp_path / "model.s").read_text(), re.MULTILINE)
    assert lines == str(compiled.target.placement).splitlines()


# ------------------------------------------------------------------------------------------------ what cannot be


def test_a_model_that_does_not_fit_says_what_is_missing_and_what_fits() -> None:
    missing = r"weights and caches take [\d,]+ bytes of hbm; expected at most 98,304: [\d,]+ are missing"
    with pytest.raises(ModelError, match=missing) as error:
        compile_model(random_model(BASE), machine=few_banks(rows=32), recipe=read_recipe("f16"))
    assert error.value.hint == "--machine hpim fits"
    rows = 50
    with pytest.raises(ModelError, match="are missing") as error:
        compile_model(random_model(BASE), machine=few_banks(rows=rows), recipe=read_recipe("f16"))
    assert error.value.hint == "--weights i8 fits; --machine hpim fits"
    compile_model(random_model(BASE), machine=few_banks(rows=rows), recipe=read_recipe("i8"))


@pytest.mark.parametrize(("weights", "rows"), [("f16", 300), ("i8", 150)])
def test_a_model_of_floats_is_told_the_widest_format_that_fits(weights: str, rows: int) -> None:
    """What the hint says is so: compiled with it, the model fits."""
    model = random_model(replace(BASE, dim=192, head_dim=48, layers=4, hidden=320, rope=rope(48)))
    machine = few_banks(channels=8, columns=8, rows=rows)
    with pytest.raises(ModelError, match="are missing") as error:
        compile_model(model, machine=machine)
    assert error.value.hint == f"--weights {weights} fits; --machine hpim fits"
    assert compile_model(model, machine=machine, recipe=read_recipe(weights)).target.placement.size


def test_scales_along_a_row_are_refused() -> None:
    found = r"tensor layers\.0\.q: i8 with a scale for each 16 columns; expected one scale"
    with pytest.raises(ModelError, match=found) as error:
        compile_model(random_model(BASE), machine="hpim", recipe=read_recipe("i8:16"))
    assert error.value.hint == "--weights i8:row"


def of_a_q8_0_file() -> Model:
    """Eight bits with a scale for each 16 columns, everywhere."""
    model = random_model(BASE)
    rng = np.random.default_rng(7)

    def codes(role: str, shape: tuple[int, ...]) -> CodesTensor:
        levels = tuple(range(-128, 128))
        values, scales = rng.integers(-127, 128, shape).astype(np.int8), rng.uniform(0.001, 0.01, (shape[0], shape[1] // 16))
        return codes_tensor(role, Codes(values, scales.astype(np.float32), 16), levels)

    return replace(model, tensors={role: codes(role, tensor.shape) if len(tensor.shape) == 2 else tensor
                                   for role, tensor in model.tensors.items()})


def test_the_hint_for_scales_along_a_row_works(tmp_path: Path) -> None:
    """Of the file's own codes, in every matrix and in the head alone: one hint is enough."""
    model = of_a_q8_0_file()
    with pytest.raises(ModelError, match=r"tensor layers\.0\.q: i8 with a scale for each 16 columns") as error:
        compile_model(model, machine="hpim")
    assert error.value.hint == "--weights i8:row"
    with pytest.raises(ModelError, match="tensor head: i8 with a scale for each 16 columns") as error:
        compile_model(model, machine="hpim", recipe=read_recipe("i8:tensor"))
    assert error.value.hint == 'in a recipe: head = "i8:row"'
    recipe = tmp_path / "head.toml"
    recipe.write_text('weights = "i8:tensor"\nhead = "i8:row"', encoding="utf-8")
    compile_model(model, machine="hpim", recipe=read_recipe(str(recipe)))
    for weights in ("i8:row", "f16"):
        compiled = compile_model(model, machine="hpim", recipe=read_recipe(weights))
        assert {placed.stored for placed in compiled.layout.every() if placed.is_matrix} == {weights}
        assert compare(compiled, compiled.build(tmp_path), [1, 5])[1] is None


def test_sparse_layers_are_refused() -> None:
    with pytest.raises(ModelError, match="--ffn-sparsity: a machine that computes products in banks"):
        compile_model(random_model(SHAPES["relu"]), machine="hpim", sparsity="exact")


@pytest.mark.parametrize("machine", ["hbm2-pim", "gddr6-aim", "hbm3-pim"])
def test_memories_without_an_attention_unit_are_refused(machine: str) -> None:
    missing = next(unit for unit in ("vec", "fetch", "sync", "pim", "attn") if not load_preset(machine).has_unit(unit))
    with pytest.raises(ModelError, match=f"no {missing} unit; expected vec, fetch, sync, pim and attn"):
        compile_model(random_model(BASE), machine=machine)


@pytest.mark.parametrize("machine", ["slim-llama", "hpim"])
def test_a_machine_without_a_scratchpad_is_refused(machine: str, tmp_path: Path) -> None:
    text = without_figures((PRESETS / f"{machine}.toml").read_text(encoding="utf-8"))
    start = text.index("[region.sram]")
    path = tmp_path / "bare.toml"
    path.write_text(text[:start] + text[text.index("\n[", start) + 1:], encoding="utf-8")
    with pytest.raises(ModelError, match=r"machine .*: no region sram; expected one: programs of models compute there"):
        compile_model(random_model(BASE), machine=str(path))


def test_a_mapping_without_whole_rows_on_top_is_refused() -> None:
    with pytest.raises(ModelError, match=r"the mapping 'channel row bank column'; expected one with the whole row on top"):
        compile_model(random_model(BASE), machine=few_banks(mapping="channel row bank column"), recipe=read_recipe("i8"))


def test_a_vector_unit_without_a_port_to_the_banks_is_refused(tmp_path: Path) -> None:
    text = Path(few_banks()).read_text(encoding="utf-8")
    start = text.index("[region.hbm]")
    path = tmp_path / "no-port.toml"
    path.write_text(text[:start] + text[start:].replace('["core", "vec", ', '["core", ', 1), encoding="utf-8")
    with pytest.raises(ModelError, match="units vec and attn without ports to hbm"):
        compile_model(random_model(BASE), machine=str(path), recipe=read_recipe("i8"))


@pytest.mark.parametrize(("name", "value", "text"), [("heads", 128, "4 heads; expected at most the 3"),
                                                     ("channels", 16_384, "48 channels of all heads; expected at most the 3")])
def test_more_heads_than_the_attention_unit_has_are_refused(name: str, value: int, text: str, tmp_path: Path) -> None:
    preset, path = Path(few_banks()).read_text(encoding="utf-8"), tmp_path / "narrow.toml"
    before, section = preset.split("[unit.attn]")
    changed = re.sub(rf"(parameters\.{name} +)= {{ value = {value:_}", r"\1= { value = 3", section)
    assert changed != section
    path.write_text(f"{before}[unit.attn]{changed}", encoding="utf-8")
    with pytest.raises(ModelError, match=text):
        compile_model(random_model(BASE), machine=str(path), recipe=read_recipe("i8"))


def test_heads_that_are_no_whole_slices_are_cut_like_any_matrix() -> None:
    """Heads of 13 channels in banks of 8: slices run across heads."""
    config = SHAPES["one_head"]
    config = type(config)(**{**vars(config), "dim": 26, "heads": 2, "kv_heads": 2, "head_dim": 13, "rope": None})
    placement = compile_model(random_model(config), machine=few_banks(), recipe=read_recipe("i8")).target.placement
    assert (placement.bodies[0]["q"].height, placement.bodies[0]["q"].slices) == (8, 4)
    assert rope(2) is not None
