"""Several texts side by side: each is that of its prompt alone, on families, machines and caches. A step reads weights once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import CODES, CONFIGS, built, loaded, small_machine
from random_models import SHAPES, random_model
from tiny_checkpoint import write_checkpoint

from compiler.checking.verify import compare
from compiler.compile import MOST_SEQUENCES, compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError, RoomError
from compiler.formats.recipe import read_recipe
from compiler.lowering.emit import TOKENS_LEFT
from compiler.running.generate import check_card
from compiler.running.neurons import neurons
from compiler.running.parameters import set_parameters, set_sequences
from compiler.running.parameters import side_by_side as in_turn
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.program import Program, ProgramError
from isa.reference import ReferenceMachine, RunResult
from isa.registers import ABI_NAMES
from isa.services import Host
from slimulator.command_line import invoke

PROMPTS = [[1, 5, 3, 9, 2, 4, 1], [7], [2, 2], [1, 5, 3, 8]]          # 10 tokens before the last ones
Made = tuple[Compiled, Program]


def side_by_side(made: Made, prompts: Sequence[list[int]] = PROMPTS, engine: type[ReferenceMachine] = Machine, *,
                 limits: Sequence[int] = (), checked: bool = False,
                 **parameters: Any) -> tuple[RunResult, list[list[int]], ReferenceMachine]:
    """The run, the tokens of each text, and the machine. `checked`: it ends at the first missing wait."""
    texts: list[list[int]] = [[] for _ in prompts]
    host = Host(in_turn(prompts), emit=lambda token: texts[host.sequence].append(token))
    machine = engine(made[0].machine, host)
    machine.load(made[1])
    set_parameters(machine, **parameters)
    set_sequences(machine, limits or [6] * len(prompts))
    check = HazardCheck(machine) if checked else None
    result = machine.run()
    assert not check or check.hazards == [], str(check.hazards[0])
    return result, texts, machine


def alone(made: Made, prompt: list[int], limit: int = 6, **parameters: Any) -> tuple[list[int], ReferenceMachine]:
    machine, host = loaded(made, prompt, max_tokens=limit, **parameters)
    assert machine.run().exit_code == 0
    return host.tokens, machine


def same(*arguments: Any, **options: Any) -> None:
    """The texts of a batch are those of the prompts alone, at temperature 0 and drawn. Units wait for each other as they must, and
    every operation is that of the graph."""
    one, several = built(*arguments, **options), built(*arguments, **options, sequences=4)
    compared, difference = compare(*several, PROMPTS[0])        # four texts, of 7 tokens, 6, 5 and 4
    assert difference is None, str(difference)
    every, finish = len(list(several[0].graph.steps())), len(several[0].graph.finish)
    assert compared == 22 * (every - finish) + 4 * finish
    for parameters in ({}, {"temperature": 1.5, "top_p": 0.9}):
        result, texts, _ = side_by_side(several, **parameters, checked=bool(parameters))        # waits of all of sampling too
        assert result.reason == "exit" and result.exit_code == 0
        assert texts == [alone(one, prompt, **parameters)[0] for prompt in PROMPTS]


@pytest.mark.parametrize(("shape", "machine"), [
    *((shape, "small") for shape in ("plain", "window", "qk_norm", "biases", "opt", "opt_350m", "bitnet")),
    *((shape, "slim") for shape in ("mqa", "window", "opt", "bitnet"))])
def test_families(shape: str, machine: str) -> None:
    same(shape, "", machine if machine == "slim" else small_machine(65536))


@pytest.mark.parametrize(("machine", "weights", "kv"), [
    ("slim", "f16", "f16"), ("slim", "t2", "i8"), ("small", "f16", "f32"), ("small", "i4:row", "f16"), ("small", "t2", "i8"),
    ("small", "c4", "f32"), ("hpim", "f16", "f32"), ("hpim", "i8", "f16"), ("hpim", "i8", "i8")])
def test_formats_and_caches(weights: str, kv: str, machine: str) -> None:
    same("gqa", weights, small_machine(65536) if machine == "small" else machine, kv=kv)


@pytest.mark.parametrize("weights", ["f32", "t2"])
def test_active_neurons(weights: str, tmp_path: Path) -> None:
    """Each token of a step has neurons of its own."""
    made = []
    for sequences in (None, 4):
        compiled = Settings(weights=weights, sparsity="exact", machine=small_machine(65536), sequences=sequences).compile(
            random_model(SHAPES["relu2"]))
        (folder := tmp_path / str(sequences)).mkdir()
        made.append((compiled, compiled.build(folder)))
    assert compare(*made[1], PROMPTS[0])[1] is None
    _, texts, machine = side_by_side(made[1], checked=True)
    each = [alone(made[0], prompt) for prompt in PROMPTS]
    assert texts == [tokens for tokens, _ in each]
    counted = [neurons(single, made[0][1]) for _, single in each]
    assert neurons(machine, made[1][1]).active == sum(one.active for one in counted) > 0
    assert neurons(machine, made[1][1]).skipped == sum(one.skipped for one in counted) > 0


def test_the_head_one_after_the_other(tmp_path: Path) -> None:
    """Where the logits of all have no room beside each other, those of one have it, or lie outside."""
    for room, words in ((10240, "the head once for each"), (65536, "weights are read once for a token of each\n")):
        made = built("words", "t2", small_machine(room), sequences=4)
        assert words in made[0].summary()
        same("words", "t2", small_machine(room))


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
@pytest.mark.parametrize("chunk", [None, 4, 5, 16])
def test_chunks_hold_tokens_of_several_prompts(engine: type[ReferenceMachine], chunk: int | None) -> None:
    one, made = built("gqa", "t2"), built("gqa", "t2", sequences=4, chunk=chunk)
    result, texts, machine = side_by_side(made, engine=engine)
    assert result.exit_code == 0 and machine.counter("tokens.read") == sum(map(len, PROMPTS))
    assert machine.counter("tokens.emitted") == 24
    memory, layers = made[0].memory, made[0].graph.config.layers
    for number, prompt in enumerate(PROMPTS):
        expected, single = alone(one, prompt)
        assert texts[number] == expected
        for base, size in memory.sequence_bytes.items():
            start, own = machine.program.address(base), single.program.address(base)
            for layer in range(layers):
                theirs = machine.peek(start + layer * memory.layer_bytes[base] + number * size, size)
                assert np.array_equal(theirs, single.peek(own + layer * size, size)), (number, base, layer)


def test_texts_end_on_their_own() -> None:
    """At their limits, at a stop token, at the end of the context; the others go on."""
    one, made = built("gqa", "t2", context=12), built("gqa", "t2", context=12, sequences=4)
    wanted = [alone(one, prompt, limit)[0] for prompt, limit in zip(PROMPTS, (2, 0, 20, 5), strict=True)]
    assert [len(tokens) for tokens in wanted] == [2, 0, 11, 5]              # the third one fills the context
    assert side_by_side(made, limits=(2, 0, 20, 5))[1] == wanted
    stop = wanted[2][3]
    cut = [tokens[:tokens.index(stop)] if stop in tokens else tokens for tokens in wanted]
    assert side_by_side(made, limits=(2, 0, 20, 5), stop=[stop])[1] == cut != wanted


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_texts_than_there_is_room_for(count: int) -> None:
    one, made = built("gqa", "t2"), built("gqa", "t2", sequences=4)
    assert side_by_side(made, PROMPTS[:count])[1] == [alone(one, prompt)[0] for prompt in PROMPTS[:count]]


def test_prompts_that_the_program_refuses() -> None:
    made = built("gqa", "t2", context=6, sequences=4)
    assert side_by_side(made, [[1], []])[0].exit_code == 2                       # an empty one
    assert side_by_side(made, [[1], [1, 1 << 20]])[0].exit_code == 3             # beyond the vocabulary


@pytest.mark.parametrize("length", [7, 8])
def test_a_prompt_longer_than_the_context_has_no_text(length: int) -> None:
    """It fills the context and a chunk: what is next of another prompt is for the next chunk."""
    made, one = built("gqa", "t2", context=6, sequences=4), built("gqa", "t2", context=6)
    assert made[0].memory.chunk == 6
    others = [[1, 5], [3, 4, 5], [2, 2, 2, 2]]
    host = Host(in_turn([list(range(1, length + 1)), *others]), emit=lambda token: texts[host.sequence].append(token))
    texts: list[list[int]] = [[] for _ in range(4)]
    machine = Machine(made[0].machine, host)
    machine.load(made[1])
    set_sequences(machine, [6] * 4)
    machine.breakpoints = {made[1].address("compute")}
    chunks = []
    while (result := machine.run()).reason == "breakpoint":
        chunks.append(machine.x[ABI_NAMES.index(TOKENS_LEFT)])
    assert chunks == [6, 6, 3, 3, 3, 2, 1]                 # of prompts 6 + 6 tokens, then steps
    assert result.exit_code == 0 and texts == [[], *(alone(one, prompt)[0] for prompt in others)]


def test_weights_are_read_once_a_step(tmp_path: Path) -> None:
    """What four more steps fetch, where nothing stays in the scratchpad: of one text and of four, less what their caches take."""
    fetched = {}
    for sequences in (2, 4):
        compiled = built("gqa", "t2", small_machine(65536), sequences=sequences)[0].alike()
        program = compiled.build(tmp_path)
        more, less = (side_by_side((compiled, program), [[7]] * sequences, limits=[limit] * sequences)[2].counter("fetch.bytes")
                      for limit in (6, 2))
        fetched[sequences] = more - less
    layout, layers = compiled.layout, compiled.graph.config.layers
    read = [placed for placed in layout.layer.values() if placed.is_matrix] * layers + [layout.once["head"]]
    matrices = sum(placed.held + 4 * placed.scale_count for placed in read)
    each = (fetched[4] - fetched[2]) // 2               # what one more text fetches: caches, rows, vectors of norms
    assert fetched[2] - 2 * each == 4 * matrices


@pytest.mark.parametrize(("shape", "weights", "kv", "room", "texts"), [
    ("gqa", "t2", "f32", 10 << 10, 4), ("gqa", "t2", "i8", 24 << 10, 3), ("gqa", "t2", "f16", 1 << 20, 2),
    ("words", "t2", "f32", 16 << 10, 4), ("window", "", "f32", 24 << 10, 4), ("opt_350m", "i4:1", "f32", 60 << 10, 4),
    ("qk_norm", "f16", "i8", 60 << 10, 1), ("plain", "c4", "f32", 40 << 10, 4)])
def test_what_a_step_reads_is_predicted(shape: str, weights: str, kv: str, room: int, texts: int, tmp_path: Path) -> None:
    """Byte by byte, of texts of several lengths, whatever stays and whatever comes in tiles; of fewer texts than there is room for.
    Where tokens are chosen from logits in tiles what is read depends on them, so it is at most that."""
    model = random_model(replace(CONFIGS[shape], stop=frozenset()), ternary=shape in CODES)
    compiled = compile_model(model, machine=small_machine(room), recipe=read_recipe(weights) if weights else None, kv=kv,
                             sequences=4)
    prompts, steps = PROMPTS[:texts], 8
    host = Host(in_turn(prompts))
    machine = Machine(compiled.machine, host)
    machine.load(program := compiled.build(tmp_path))
    set_sequences(machine, [steps + 2] * texts)
    machine.breakpoints = {program.address("step")}
    seen = []
    for _ in range(steps + 1):
        assert machine.run().reason == "breakpoint"
        seen.append((machine.counter("sram.bytes_read"), machine.counter("dram.bytes_read")))
    predicted = [compiled.choice.step([len(prompt) - 1 + step for prompt in prompts]) for step in range(steps)]
    counted = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(seen)]
    if shape == "words":
        assert not compiled.choice.exact and not compiled.memory.finish_together
        assert all(near <= most.near and far <= most.far for (near, far), most in zip(counted, predicted, strict=True))
        assert " positions each reads at most " in compiled.summary()
        return
    assert compiled.choice.exact and counted == [(reads.near, reads.far) for reads in predicted]
    if shape != "window":
        alike = compiled.choice.step([9] * 4)               # what the memory map and the model card say
        outside, inside = (compiled.choice.formula(near) for near in (False, True))
        assert (inside.at(10), outside.at(10)) == (alike.near, alike.far)
        assert f"dram: a step of 4 texts that look at p positions each reads {outside} bytes\n" in compiled.summary()
        assert compiled.card["reads"]["outside"] == outside.as_json() and compiled.card["reads"]["exact"]


@pytest.mark.parametrize("room", [16384, 60 << 10, 1 << 20])
def test_whatever_stays_in_the_scratchpad(room: int) -> None:
    """Nothing, a layer and parts of another, and all: the caches of all sequences too."""
    same("tied", "i8", small_machine(room))
    residency = built("tied", "i8", small_machine(room), sequences=4)[0].memory.residency
    found = len(residency.layers), bool(residency.parts), residency.cached
    assert found == {16384: (0, False, 0), 60 << 10: (1, True, 0), 1 << 20: (2, True, 2)}[room]


def test_options(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--sequences: 1; expected 2 to 64 texts side by side"):
        built("gqa", "t2", sequences=1)
    with pytest.raises(ModelError, match=f"--sequences: {MOST_SEQUENCES + 1}; expected 2 to 64"):
        built("gqa", "t2", sequences=MOST_SEQUENCES + 1)
    with pytest.raises(ModelError, match="--chunk: 3; expected at least 4: a chunk has a token of each"):
        built("gqa", "t2", sequences=4, chunk=3)
    with pytest.raises(RoomError, match=r"hint: .*[0-9]+ texts side by side fit: compile --sequences [0-9]+, or a batch") as error:
        built("gqa", "t2", small_machine(12288), sequences=64)
    fits = int(error.value.hint.split("--sequences ")[1].split(",")[0])
    assert built("gqa", "t2", small_machine(12288), sequences=fits)[0].memory.sequences == fits
    with pytest.raises(RoomError):
        built("gqa", "t2", small_machine(12288), sequences=fits + 1)


def test_a_program_for_several_runs_with_one_prompt() -> None:
    """As `slimulator run --prompt` gives it, without records of the host: to the end of the text."""
    one, made = built("gqa", "t2", context=12), built("gqa", "t2", context=12, sequences=4)
    host = Host(PROMPTS[0])
    machine = Machine(made[0].machine, host)
    machine.load(made[1])
    assert machine.run().exit_code == 0 and host.tokens == alone(one, PROMPTS[0], 100)[0] != []


@pytest.mark.parametrize("said", [1, 2, 10**9, True])
def test_a_card_of_another_number_of_sequences_is_refused(said: object, tmp_path: Path) -> None:
    """The records have room for as many as the program was compiled for."""
    _, program = built("gqa", "t2", sequences=4)
    damaged = replace(program, meta={**program.meta, "model": {**program.meta["model"], "sequences": said}})
    with pytest.raises(ProgramError, match=f"its model card is damaged: sequences is {said}"):
        check_card(damaged, tmp_path)


# ------------------------------------------------------------------------------------------------ the command


def generated(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = invoke(["generate", *map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, batch, report = write_checkpoint(tmp_path / "model"), tmp_path / "prompts.txt", tmp_path / "report.json"
    prompts = ["ab", "abc de", "b"]
    batch.write_text("".join(f"{prompt}\n" for prompt in prompts), encoding="utf-8")
    status, out, err = generated(capsys, model, "--batch", batch, "-n", 5, "--json", report)
    assert status == 0
    sequences = json.loads(report.read_text(encoding="utf-8"))["sequences"]
    assert out == "\n\n".join(each["text"] for each in sequences) + "\n"
    for number, (prompt, each) in enumerate(zip(prompts, sequences, strict=True), 1):
        assert f"{number}: {len(each['tokens'])} tokens after a prompt of {len(each['prompt'])}: {each['ended']}" in err
        assert generated(capsys, model, prompt, "-n", 5, "--quiet")[1] == f"{each['text']}\n"

    program = tmp_path / "several.elf"
    assert invoke(["compile", str(model), "--sequences", "3", "-o", str(program)]) == 0
    assert "up to 3 texts side by side" in capsys.readouterr().err
    assert generated(capsys, program, "--batch", batch, "-n", 5, "--quiet")[1] == out
    assert generated(capsys, program, "abc de", "-n", 5, "--quiet")[1] == f"{sequences[1]['text']}\n"      # a single one


def test_bad_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, batch = write_checkpoint(tmp_path / "model"), tmp_path / "prompts.txt"
    assert "No such file" in generated(capsys, model, "--batch", batch)[2]
    batch.write_text("", encoding="utf-8")
    assert f"{batch}: error: an empty file; expected a prompt a line" in generated(capsys, model, "--batch", batch)[2]
    batch.write_bytes(b"ab\n\xff\n")
    assert "not UTF-8" in generated(capsys, model, "--batch", batch)[2]
    batch.write_text("ab\n" * 65, encoding="utf-8")
    assert f"{batch}: error: 65 prompts; expected at most 64" in generated(capsys, model, "--batch", batch)[2]
    batch.write_text("ab\n" * 40, encoding="utf-8")
    said = generated(capsys, model, "--batch", batch, "--machine", small_machine(12288))[2]
    assert re.search("[0-9]+ texts side by side fit: compile --sequences [0-9]+, or a batch of so many prompts", said)
    batch.write_bytes("ab\r\nb\u2028b".encode())                  # a line separator of Unicode ends no line of the file
    assert "prompt, line 2 of the batch" in generated(capsys, model, "--batch", batch)[2]
    batch.write_text("ab\n" + "abc " * 100 + "\n", encoding="utf-8")
    assert "prompt, line 2 of the batch" in generated(capsys, model, "--batch", batch)[2]
    batch.write_text("ab\nb\n", encoding="utf-8")
    assert "PROMPT cannot be combined with --batch" in generated(capsys, model, "ab", "--batch", batch)[2]
    program = tmp_path / "one.elf"
    assert invoke(["compile", str(model), "-o", str(program)]) == 0
    capsys.readouterr()
    said = generated(capsys, program, "--batch", batch)[2]
    assert "--batch: 2 prompts; expected at most 1: the program was compiled for 1 sequence" in said


def test_by_layer_and_operation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The code for chunks has marks of a model, too: each layer has its part."""
    model, batch, report = write_checkpoint(tmp_path / "model"), tmp_path / "prompts.txt", tmp_path / "report.json"
    batch.write_text("ab\nabc de\n", encoding="utf-8")
    for kind, name in (("layer", "layer 0"), ("operation", "chunk.layer.0 ")):
        assert generated(capsys, model, "--batch", batch, "-n", 3, "--by", kind, "--json", report)[0] == 0
        parts = json.loads(report.read_text(encoding="utf-8"))["by"][kind]
        assert any(part.startswith(name) for part in parts) and "layer 9" not in parts, list(parts)
