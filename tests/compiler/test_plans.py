"""Where weights lie in their file, where values lie in the scratchpad, what the emitter writes."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import built, small_machine
from random_models import BASE, SHAPES, random_model

from compiler.compile import compile_model
from compiler.errors import ModelError, RoomError
from compiler.formats.recipe import Choice, Recipe, read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.lowering.emit import Emitter, number, offset, symbol
from compiler.measuring.shapes import shape_model
from isa.preset import PRESETS

# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("weights", ["", "f16", "t2", "t5:row", "i4:1", "b1", "i8", "c4", "c2:1"])
@pytest.mark.parametrize("shape", ["gqa", "tied", "opt_350m", "hidden_33"])
def test_every_tensor_is_in_the_file_where_the_plan_says(shape: str, weights: str) -> None:
    layout = built(shape, weights)[0].layout
    stream = io.BytesIO()
    progress = list(layout.write(stream))
    data = np.frombuffer(stream.getvalue(), np.uint8)
    assert len(data) == layout.size and progress[-1][0] <= progress[-1][1] == layout.size
    assert layout.layers_at % 4096 == layout.layer_bytes % 4096 == 0
    used = np.zeros(len(data), bool)
    for layer in (None, 0, 1):
        for role, placed in (layout.once if layer is None else layout.layer).items():
            base = 0 if layer is None else layout.layers_at + layer * layout.layer_bytes
            start, size = base + placed.offset, placed.rows * placed.row_bytes
            assert not used[start:base + placed.end].any(), f"{role} lies on another tensor"
            used[start:base + placed.end] = True
            assert start % 64 == 0
            if role == "rope":
                continue
            tensor = layout.model.tensor(role if layer is None else f"layers.{layer}.{role}")
            stored = placed.format.packing.unpack(data[start:start + size].reshape(placed.rows, -1), placed.shape[-1])
            if not placed.scale_count:
                wanted = tensor.rows()
                assert (stored.astype(np.float32) == wanted if placed.format.name != "bf16" else True).all()
                continue
            scales = data[base + placed.scales:base + placed.codebook].view("<f4")
            codes = tensor.codes()
            if placed.format.book:
                book = data[base + placed.codebook:base + placed.end].view(np.int8)
                assert len(book) == {"c2": 4, "c4": 16}[placed.format.name]
                stored = book[stored]
            assert (stored == codes.values).all() and (scales == codes.scales.reshape(-1)[:len(scales)]).all()


# ------------------------------------------------------------------------------------------------ scratchpad


@pytest.mark.parametrize("shape", SHAPES)
def test_a_value_is_whole_when_it_is_read(shape: str) -> None:
    """Each operation marks the bytes of what it writes; what it reads must still bear the marks."""
    compiled = built(shape, "t2")[0]
    graph, memory = compiled.graph, compiled.memory
    owner = np.full(memory.scratchpad_bytes, "", object)
    for op in (*graph.start, *graph.layer, *graph.layer, *graph.finish):
        for name in op.inputs:
            if name in memory.slots:
                slot = memory.slots[name]
                assert set(owner[slot.offset:slot.end]) == {name}, f"{op.kind} reads {name}"
        for name in op.outputs:
            if name in memory.slots:
                slot = memory.slots[name]
                assert slot.size == memory.size(graph.values[name]) and slot.offset % 64 == 0
                owner[slot.offset:slot.end] = name
    assert set(owner[memory.slots["logits"].offset:memory.slots["logits"].end]) == {"logits"}


def test_bytes_are_used_again() -> None:
    """Also in a frame, which has less room than its values would take one behind the other."""
    for chunk in (1, 4):
        memory = built("plain", "", small_machine(32768), chunk=chunk)[0].memory
        assert memory.slots["probabilities"] == memory.slots["scores"]
        assert memory.slots["neurons"] in (memory.slots["gate"], memory.slots["up"])
        if chunk == 1:
            assert memory.slots["gate"].overlaps(memory.slots["scores"])
        else:
            assert sum(memory.slots[name].size for name in memory.framed) > memory.frame_bytes


@pytest.mark.parametrize(("weights", "said"), [
    ("i8", "i8:row"), ("i8:tensor", "i8:tensor in layers; i8:row in embedding, head"), ("t5:row", "t5:row in layers; i8:row in "
     "embedding, head"), ("i4:row", "i4:row in layers; i8:row in embedding, head"), ("f16", "f16"), ("t2:absmean", "t2:tensor in "
     "layers; i8:row in embedding, head")])
def test_what_is_stored_is_said_as_it_is_asked_for(weights: str, said: str) -> None:
    """Also where a matrix is laid out column by column."""
    for sparse in (False, True):
        compiled = compile_model(random_model(SHAPES["relu2"]), recipe=read_recipe(weights), sparsity="exact" if sparse else None)
        assert compiled.layout.said() == said


def test_what_does_not_fit_is_refused_with_numbers() -> None:
    with pytest.raises(ModelError, match=r"take [\d,]+ bytes of scratchpad for 40 positions.*expected at most 1,024") as error:
        compile_model(random_model(BASE), machine=small_machine(1024))
    assert "the largest are scores (640), gate (320) and up (320)" in error.value.got
    assert re.fullmatch(r"[\d,]+ bytes are missing; no shorter --context, --kv or --weights makes it fit", error.value.hint)
    with pytest.raises(ModelError, match=r"a row of weights takes 320 bytes with its scales; expected at most \d+, a buffer "
                                         r"in what activations leave of the scratchpad \(the largest are gate \(320\), up"):
        compile_model(random_model(BASE), machine=small_machine(1792), context=8)


@pytest.mark.parametrize(("size", "options"), [(1792, {"context": 8}), (1792, {}), (2048, {}), (2688, {"sparsity": "exact"})])
def test_every_option_that_is_suggested_helps(size: int, options: dict[str, Any]) -> None:
    """And --weights t2 with --kv i8 is suggested only where neither is enough."""
    model = random_model(SHAPES["relu"])
    with pytest.raises(RoomError) as error:
        compile_model(model, machine=small_machine(size), **options)
    found = re.findall(r"(--[^;]+) fits", error.value.hint)
    assert found
    for each in found:
        said = dict(pair.split(" ") for pair in each.removeprefix("--").split(" --"))
        more: dict[str, Any] = {"context": int(said["context"])} if "context" in said else {}
        more |= {"recipe": read_recipe(said["weights"])} if "weights" in said else {}
        more |= {"kv": said["kv"]} if "kv" in said else {}
        compile_model(model, machine=small_machine(size), **(options | more))
        if len(more) == 2:
            for alone in more:
                with pytest.raises(RoomError):
                    compile_model(model, machine=small_machine(size), **(options | {alone: more[alone]}))


def test_a_shorter_context_is_named_where_it_helps_and_only_there(tmp_path: Path) -> None:
    """The most that fits; where weights alone have no room, that none does."""
    model = random_model(BASE)
    with pytest.raises(RoomError, match=r"a row of weights") as error:
        compile_model(model, machine=small_machine(2048))
    fits = int(re.search(r"--context (\d+) fits; ", error.value.hint)[1])           # type: ignore[index]
    compile_model(model, machine=small_machine(2048), context=fits)
    with pytest.raises(RoomError, match=f"--context {fits} fits"):
        compile_model(model, machine=small_machine(2048), context=fits + 1)
    with pytest.raises(RoomError, match=r"weights and caches take .* bytes of dram, the largest are weights \([\d,]+\) and keys "
                                        r"and values .*; expected at most .*\nhint: .* are missing; --weights t2 fits$"):
        compile_model(shape_model("730m", ternary=False), machine="slim-llama")
    ternary = Choice(WEIGHT_FORMATS["t2"], "tensor")
    few_bits: dict[str, Any] = {"kv": "i8", "recipe": Recipe(ternary, ternary, {"embedding": Choice(WEIGHT_FORMATS["f32"])})}
    text = (PRESETS / "slim-llama.toml").read_text(encoding="utf-8")
    (tmp_path / "m.toml").write_text(text.replace("2_147_483_648", "4096"), encoding="utf-8")
    with pytest.raises(RoomError) as error:
        compile_model(model, machine=str(tmp_path / "m.toml"), **few_bits)
    needed = int(re.search(r"take ([\d,]+) bytes of dram", str(error.value))[1].replace(",", ""))         # type: ignore[index]
    (tmp_path / "m.toml").write_text(text.replace("2_147_483_648", str(needed - 1)), encoding="utf-8")
    with pytest.raises(RoomError, match=r"; --context \d+ fits") as error:
        compile_model(model, machine=str(tmp_path / "m.toml"), **few_bits)
    fits = int(re.search(r"--context (\d+) fits", error.value.hint)[1])             # type: ignore[index]
    assert 0 < fits < 40
    compile_model(model, machine=str(tmp_path / "m.toml"), context=fits, **few_bits)


@pytest.mark.parametrize("solved", [True, False])
def test_a_way_out_is_known_by_the_error_and_not_by_its_words(monkeypatch: pytest.MonkeyPatch, solved: bool) -> None:
    def lowered(*_: object) -> None:
        raise RoomError("", "machine outfits", region="sram", got="much", hint="a row always fits", solved=solved)

    monkeypatch.setattr("compiler.compile._lowered", lowered)
    with pytest.raises(RoomError) as error:
        compile_model(random_model(BASE))
    assert error.value.hint == "a row always fits" + ("" if solved else "; no shorter --context, --kv or --weights makes it fit")


def test_a_longer_context_than_the_models_is_refused() -> None:
    with pytest.raises(ModelError, match="--context: 41; expected at most the 40"):
        compile_model(random_model(BASE), context=41)


def test_an_embedding_that_cannot_be_read_by_rows_is_refused(tmp_path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('weights = "t2"\nhead = "t2"\n', encoding="utf-8")
    with pytest.raises(ModelError, match="embedding: weights in t2; expected one of f32, f16, bf16, i8"):
        compile_model(random_model(BASE), recipe=read_recipe(str(path)))


# ------------------------------------------------------------------------------------------------ emitter


def test_a_register_is_loaded_once() -> None:
    e = Emitter()
    for _ in range(2):
        e.op("vec.add.f32", symbol("a"), symbol("b"), symbol("b"), number(5))
    assert Counter(line.split()[0] for line in e.lines) == {"la": 2, "li": 1, "vec.add.f32": 2}
    e.label("here")
    e.op("vec.relu.f32", symbol("a"), symbol("a"), number(5))
    assert sum("la " in line for line in e.lines) == 3


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    e = Emitter()
    for value in range(17):
        e.register(number(value))
    first = e.register(number(0))
    assert e.register(number(100)) != first             # 1 has to go: 0 was used since
    assert e.register(number(0)) == first


def test_pinned_and_taken_registers_stay() -> None:
    e = Emitter()
    with e.pinned(number(7)) as (seven,), e.taken(2) as mine:
        for value in range(100, 200):
            assert e.register(number(value)) not in (seven, *mine)
        e.label("here")
        assert e.register(number(7)) == seven
    assert {e.register(number(value)) for value in range(300, 317)} >= {seven, *mine}


def test_offsets_beyond_twelve_bits() -> None:
    e = Emitter()
    e.register(offset("gp", 2047))
    e.register(offset("gp", 2048))
    assert [" ".join(line.split()) for line in e.lines] == ["addi a0, gp, 2047", "li a1, 2048", "add a1, a1, gp"]


def waits(e: Emitter) -> list[str]:
    return [line.split()[0] for line in e.lines if "sync.wait" in line]


def test_who_waits_for_whom() -> None:
    e = Emitter()
    e.op("vec.relu.f32", "a0", "a1", "a2", reads=("x",), writes=("y",))
    e.op("vec.relu.f32", "a0", "a1", "a2", reads=("y",), writes=("z",))           # its own queue
    assert waits(e) == []
    e.op("lut.build.i8", "a0", "a1", "a2", reads=("y",))
    e.op("lut.build.i8", "a0", "a1", "a2", reads=("z",))                          # it has waited for that too
    assert waits(e) == ["sync.wait.lut"]
    e.op("thr.gt.f32", "a0", "a1", "a2", "a3", reads=("q",), writes=("m",))
    assert waits(e) == ["sync.wait.lut"]
    e.op("thr.gt.f32", "a0", "a1", "a2", "a3", reads=("m",), writes=("y",))       # lut and vec read or made it; lut knows of vec
    assert waits(e) == ["sync.wait.lut", "sync.wait.thr"]
    e.fence()
    e.op("vec.relu.f32", "a0", "a1", "a2", reads=("m",), writes=("y",))
    assert len(waits(e)) == 2


def test_an_operation_that_returns_a_value_is_waited_for_by_the_core() -> None:
    e = Emitter()
    e.op("vec.argmax.f32", "a0", "a1", "a2", reads=("x",))
    e.op("fetch.copy", "a0", "a1", "a2", writes=("x",))
    assert waits(e) == []


def test_a_loop_whose_body_changes_a_csr_is_a_mistake() -> None:
    e = Emitter()
    with pytest.raises(AssertionError, match="the body of again changes a CSR"), e.loop("again", 3, "s8"):
        e.csr("vec.cols", 5)
