"""The chain of trust: good programs pass every step, and each kind of damage is found where it is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import small_machine
from random_models import SHAPES, random_model
from tiny_checkpoint import write_checkpoint

from asm.disassembler import disassemble
from compiler.checking import verify_chain
from compiler.checking.evaluate import Document
from compiler.checking.verify_chain import NAMES, SAME, Check, Subject, checks, dump_to, engines, operations, quantised_graph
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.graph import EXACT, Executor
from compiler.settings import Settings
from emulator.machine import Machine
from isa.preset import load_preset
from isa.program import Program, ProgramError
from isa.reference import RunResult

TOKENS = [1, 4, 9, 13]
Made = tuple[Compiled, Program, Path]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


@pytest.fixture(params=["f32", "t2"])
def made(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> Made:
    compiled = compile_model(load(tiny), recipe=read_recipe(request.param))
    return compiled, compiled.build(tmp_path), tmp_path / "model.weights"


def verdicts(found: Any) -> dict[str, str]:
    return {check.name: check.verdict for check in found}


@pytest.mark.parametrize("weights", [None, "t2", "i8:16"])
def test_a_good_program_passes(tiny: Path, weights: str | None) -> None:
    found = list(checks(Subject(tiny, Settings(weights=weights), count=5, prompt="a cat")))
    assert verdicts(found) == dict(zip(NAMES, ("not checked", "pass", "pass", "pass"), strict=True))
    exact = weights is None
    assert (found[1].figures["kl_divergence"] < 1e-9) == exact
    assert found[2].figures["operations"] > 5 * 2 * 20


@pytest.mark.parametrize("machine", ["slim", "hpim"])
def test_a_model_whose_activations_are_no_longer_rounded_is_another(machine: str) -> None:
    """All its weights are fp32, and it differs from the float graph, which rounds: that is no fault."""
    model = random_model(SHAPES["bitnet"], ternary=True)
    with pytest.raises(ModelError, match=r"f32 for int8 activations; .*\nhint: .*--activations f32"):
        compile_model(model, machine=machine, recipe=read_recipe("f32"))
    for weights in ("f32", "i8"):
        compiled = compile_model(model, machine=machine, recipe=read_recipe(weights), activations="f32")
        assert (compiled.decodes, compiled.integer_activations) == (weights == "i8", False)
        check = quantised_graph(model, compiled, Document(TOKENS, 8))
        assert check.verdict == "pass" and ", activations f32: top-1" in check.text
        assert check.figures["kl_divergence"] > SAME
    compiled = compile_model(model, machine=machine)
    assert "activations" not in quantised_graph(model, compiled, Document(TOKENS, 8)).text


@pytest.mark.parametrize("machine", ["slim", "hpim"])
def test_a_context_of_one_position_has_no_text_to_predict(tiny: Path, machine: str) -> None:
    found = list(checks(Subject(tiny, Settings(machine=machine, weights="i8", context=1), prompt="a cat")))
    assert verdicts(found) == dict(zip(NAMES, ("not checked", "not checked", "pass", "pass"), strict=True))


def test_more_tokens_than_the_context_has_positions_are_refused(tiny: Path, tmp_path: Path) -> None:
    """Of a checkpoint and of a program, before anything is compared; without a number it is as many as there are."""
    compile_model(load(tiny), context=4).save(tmp_path / "tiny.elf")
    for path, settings in ((tiny, Settings(context=4)), (tmp_path / "tiny.elf", Settings())):
        with pytest.raises(ModelError, match="--tokens: 5; expected at most 4 \\(the context\\)"):
            next(checks(Subject(path, settings, count=5, prompt="a cat sat")))
        for few in (None, 4, 1):
            assert "FAIL" not in verdicts(checks(Subject(path, settings, count=few, prompt="a cat sat"))).values()
    assert "on 4 tokens" in list(checks(Subject(tiny, Settings(context=4), prompt="a cat sat")))[2].text


def test_a_program_alone_has_its_engines_compared(tiny: Path, tmp_path: Path) -> None:
    compile_model(load(tiny)).save(tmp_path / "tiny.elf")
    found = list(checks(Subject(tmp_path / "tiny.elf", count=4, prompt="abc")))
    assert [check.verdict for check in found] == ["not checked"] * 3 + ["pass"]
    assert found[3].figures["instructions"] > 1000


def test_a_damaged_weight_byte_is_found_at_its_operation(made: Made) -> None:
    compiled, program, file = made
    placed = compiled.layout.layer["up"]
    data = bytearray(file.read_bytes())
    at = compiled.layout.layers_at + compiled.layout.layer_bytes + placed.offset + 3 * placed.row_bytes
    if placed.format.name == "t2":
        data[at] = data[at] & ~3 | (data[at] + 1 & 3) % 3       # another ternary code
    else:
        data[at + 3] ^= 0x40                                    # another exponent
    file.write_bytes(data)
    check = operations(compiled, program, TOKENS, Machine)
    assert check.verdict == "FAIL"
    assert (check.figures["token"], check.figures["layer"], check.figures["weights"]) == (0, 1, ["layer.up"])
    assert (check.figures["value"], check.figures["index"], check.figures["differing"]) == ("up", [3], 1)
    assert check.figures["expected"] != check.figures["got"]
    assert "layer 1, up = gemv" in check.text and "expected" in check.text


def test_a_damaged_instruction_operand_is_found_at_its_operation(made: Made) -> None:
    """The product of gate and up takes gate twice."""
    compiled, program, _ = made
    number = next(number for number, op in enumerate(compiled.graph.layer) if op.kind == "mul")
    section = program.section(".text")
    mark = program.symbol(f"chunk.layer.{number}")
    assert section is not None and mark is not None
    code = bytearray(section.bytes())
    at = mark.value - section.address - 4
    word = int.from_bytes(code[at:at + 4], "little")
    line = next(line for line in disassemble(program) if line.lstrip().startswith(f"{mark.value - 4:x}:"))
    assert "vec.mul.f32" in line
    word = word & ~(31 << 20) | (word >> 15 & 31) << 20         # rs2 = rs1
    code[at:at + 4] = word.to_bytes(4, "little")
    section.chunks = [code]
    check = operations(compiled, program, TOKENS, Machine)
    assert check.verdict == "FAIL"
    assert (check.figures["operation"], check.figures["token"], check.figures["layer"]) == ("mul", 0, 0)


def test_a_program_that_traps_says_where(made: Made) -> None:
    compiled, program, _ = made
    section, mark = program.section(".text"), program.symbol("chunk.layer.2")
    assert section is not None and mark is not None
    code = bytearray(section.bytes())
    code[mark.value - section.address:mark.value - section.address + 4] = bytes(4)
    section.chunks = [code]
    check = operations(compiled, program, TOKENS, Machine)
    assert check.verdict == "FAIL" and "illegal instruction" in check.text


@pytest.mark.parametrize(("weights", "sparse"), [("f32", False), ("i8:8", False), ("f32", True), ("t2", True)])
def test_a_tile_is_named_where_weights_come_in_tiles(weights: str, sparse: bool, tmp_path: Path) -> None:
    """The first wrong row in the last tile: tiles are as high as the program's text says."""
    model = random_model(replace(SHAPES["relu2"], hidden=400, layers=1))
    compiled = compile_model(model, machine=small_machine(16384 if weights == "f32" else 12288), recipe=read_recipe(weights),
                             sparsity="exact" if sparse else None)
    program = compiled.build(tmp_path)
    text = compiled.text().split("# ---- layer")
    height = int(next(re.search(r"li \w+, (\d+) +# rows of this tile", part) for part in text if ": up = gemv" in part)[1])
    worked_on = np.arange(400)

    def look(_layer: Any, op: Any, results: Any) -> None:
        nonlocal worked_on
        worked_on = results[0] if op.kind == "active" else worked_on

    Executor(compiled.graph, compiled.model, EXACT, observe=look).step(TOKENS[0])
    last = (len(worked_on) - 1) // height
    assert last > 0 and (len(worked_on) < 400) == sparse
    row, up = int(worked_on[last * height]), compiled.layout.layer["up"]
    file = tmp_path / "model.weights"
    data = bytearray(file.read_bytes())
    at = compiled.layout.layers_at + up.offset + row * up.row_bytes
    form = up.format.name
    for byte in range(at, at + up.row_bytes):
        data[byte] = data[byte] ^ 0x55 if form == "i8" else 0 if form == "t2" else data[byte]       # t2: every code -1
    if form == "f32":
        data[at + 3] ^= 0x40
    file.write_bytes(data)
    check = operations(compiled, program, TOKENS[:1], Machine)
    assert (check.figures["value"], check.figures["index"]) == ("up", [row])
    assert (check.figures["tile"], check.figures["tiles"]) == (last, last + 1)
    assert f"is in tile {last} of {last + 1}" in check.text and f"element [{row}] is" in check.text


class Forgetful(Machine):
    """An engine that is wrong in one byte of a cache, one counter and one register."""

    def run(self, max_instructions: int | None = None, timeout: float | None = None) -> RunResult:
        result = super().run(max_instructions, timeout)
        assert self.program is not None
        self.peek(self.program.address("keys") + 8, 1)[0] ^= 1
        self.count("vec.macs")
        self.x[8] ^= 1
        return result


def test_engines_that_differ(made: Made) -> None:
    _, program, _ = made
    check = engines(program, load_preset("slim"), TOKENS, 2, Forgetful)
    assert check.verdict == "FAIL"
    assert "vec.macs" in check.text and "register x8" in check.text and "<keys+0x8>" in check.text
    assert engines(program, load_preset("slim"), TOKENS, 2).verdict == "pass"


def test_weights_that_quantising_spoils_fail(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 weights that do not give the float graph's logits, or logits that are no numbers."""
    original = verify_chain.of_graph

    def off(executor: Executor) -> Any:
        def logits(tokens: Any, prompt: int) -> Any:
            for number, values in enumerate(original(executor)(tokens, prompt)):
                yield values * np.float32(1 if executor.graph is graphs[0] else 1 + number)
        graphs.append(executor.graph)
        return logits

    graphs: list[Any] = []
    monkeypatch.setattr(verify_chain, "of_graph", off)
    assert verdicts(checks(Subject(tiny, Settings(weights="f32"), count=5, prompt="ab")))[NAMES[1]] == "FAIL"


def test_dump(made: Made, tmp_path: Path) -> None:
    compiled, program, file = made
    data = bytearray(file.read_bytes())
    at = compiled.layout.layers_at + compiled.layout.layer["down"].offset
    data[at:at + 4] = bytes(4) if data[at:at + 4] != bytes(4) else b"\1\1\1\1"
    file.write_bytes(data)
    folder = tmp_path / "values"
    check = operations(compiled, program, TOKENS[:2], Machine, observe=dump_to(folder, compiled.graph))
    names = {path.name for path in folder.iterdir()}
    q = next(number for number, op in enumerate(compiled.graph.layer) if op.outputs == ("q",))
    kind = compiled.graph.layer[q].kind.replace(".", "_")
    expected: dict[str, Any] = {}

    def observe(layer: int | None, op: Any, results: Any) -> None:
        expected[f"{layer} {number_of(op)} {op.outputs[0]}"] = np.array(results[0])

    def number_of(op: Any) -> int:
        return next((number for number, other in enumerate(compiled.graph.layer) if other is op), -1)

    Executor(compiled.graph, compiled.model, EXACT, observe=observe).step(TOKENS[0])
    assert np.array_equal(np.load(folder / f"t000.layer00.{q:02}_{kind}.q.npy"), expected[f"0 {q} q"])
    got = [name for name in names if name.endswith(".got.npy")]
    assert check.verdict == "FAIL" and any(".ffn.got.npy" in name for name in got)


def test_a_program_of_other_options_is_refused(tiny: Path, tmp_path: Path) -> None:
    compile_model(load(tiny), recipe=read_recipe("t2")).save(tmp_path / "t2.elf")
    compile_model(load(tiny), kv="i8").save(tmp_path / "kv.elf")
    for name, differs in (("t2", "its formats.embedding is i8:row; expected a program of this model with f32\n"),
                          ("kv", "its kv is i8; expected a program of this model with f32\n")):
        with pytest.raises(ProgramError, match=f"{differs}hint: .*--weights, --kv, --machine"):
            list(checks(Subject(tiny, program_file=tmp_path / f"{name}.elf", count=4, prompt="ab")))
    found = checks(Subject(tiny, Settings(weights="t2"), program_file=tmp_path / "t2.elf", count=4, prompt="ab"))
    assert verdicts(found)[NAMES[2]] == "pass"


@pytest.mark.parametrize("machine", ["slim", "small"])
def test_a_program_for_several_texts_is_compared_text_by_text(machine: str, tiny: Path, tmp_path: Path) -> None:
    settings = Settings(weights="t2", machine=small_machine(65536) if machine == "small" else None)
    file, dump = tmp_path / "three.elf", tmp_path / "values"
    replace(settings, sequences=3).compile(load(tiny)).save(file)
    found = list(checks(Subject(tiny, settings, program_file=file, count=5, prompt="a cat"), dump=dump))        # 5 tokens, 4 and 3
    assert verdicts(found) == dict(zip(NAMES, ("not checked", "pass", "pass", "pass"), strict=True))
    graph = settings.compile(load(tiny)).graph
    every, finish = len(list(graph.steps())), len(graph.finish)
    assert found[2].figures["operations"] == 12 * (every - finish) + 3 * finish
    assert list(dump.glob("t004.finish.*.logits.npy")) and list(dump.glob("text2.t002.finish.*.logits.npy"))
    assert not list(dump.glob("text2.t003.*"))
    assert "after 6 + 6 tokens" in found[3].text                                # prompts of 3 tokens, 2 and 1; two behind each
    assert list(checks(Subject(file, count=3, prompt="a cat")))[3].verdict == "pass"


def test_a_wrong_weight_of_a_program_for_several_texts(tiny: Path, tmp_path: Path) -> None:
    compiled = Settings(weights="f32", sequences=3).compile(load(tiny))
    program, file = compiled.build(tmp_path), tmp_path / "model.weights"
    data = bytearray(file.read_bytes())
    data[compiled.layout.once["embedding"].offset + TOKENS[1] * 4 * compiled.graph.config.dim + 3] ^= 0x40
    file.write_bytes(data)
    check = operations(compiled, program, TOKENS, Machine)
    assert check.verdict == "FAIL" and check.text.startswith("token 1, x = embedding")
    check = operations(compiled, program, [1, 1, TOKENS[1]], Machine)
    assert check.verdict == "FAIL" and check.text.startswith("token 2, x = embedding")              # the last one of the first text


def test_a_run_that_does_not_reach_its_end_fails(made: Made) -> None:
    """Though both engines agree."""
    check = engines(made[1], load_preset("slim"), [1, 1 << 20], 2)
    assert check.verdict == "FAIL" and check.text == (
        "the fast engine ended with exit, exit code 3; the reference engine with exit, exit code 3")


def test_checks_say_what_they_need(tiny: Path) -> None:
    check = next(checks(Subject(tiny, count=3, prompt="ab")))
    assert check == Check(NAMES[0], "not checked", "needs a Hugging Face directory, which transformers can load")
