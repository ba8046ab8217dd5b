"""The chain of trust of a compiled model: each step is compared with the one before, down to transformers.

    1  the float graph            against transformers, the same checkpoint, logits at every position (against_transformers.py)
    2  the quantised graph        against the float graph: what the formats cost
    3  the program on a machine   against the quantised graph: every operation, bit by bit
    4  the fast engine            against the reference engine: memory, registers, counters, tokens

Steps 1 and 2 check the model, 3 the lowering, 4 the emulator. A step that cannot be done says what it needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from compiler.checking import against_transformers
from compiler.checking.evaluate import Document, evaluate, of_graph
from compiler.checking.verify import BEHIND, Difference, Observer, ProgramStopped, compare, prompt_of, texts_of
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.frontends import need_tokenizer
from compiler.graph import Executor, Graph, Op, graph_of
from compiler.lowering.tiles import height
from compiler.model.carried_tokenizer import unpacked
from compiler.model.model import Model
from compiler.model.tokenizer import Tokenizer
from compiler.passes.prune_tokens import BLOCK
from compiler.running.generate import Maker, check_card, is_program
from compiler.running.parameters import set_parameters, set_sequences, side_by_side
from compiler.settings import Settings
from emulator.machine import Machine
from isa.files import temporary_folder
from isa.preset import Preset, load_preset
from isa.program import Program, ProgramError
from isa.reference import ReferenceMachine
from isa.services import Host
from isa.text import counted

USUAL_COUNT = 16                    # tokens that are compared
NAMES = ("float graph = transformers", "quantised graph ~ float graph", "program = quantised graph", "fast engine = reference")
SAME = 1e-6                         # nats: two computations of one float model
Progress = Callable[[int, int], None] | None


@dataclass(frozen=True)
class Check:
    """A step of the chain. `verdict`: "pass", "FAIL" or "not checked"."""

    name: str
    verdict: str
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


def _verdict(good: bool) -> str:
    return "pass" if good else "FAIL"


def continued(model: Model, prompt: Sequence[int], count: int) -> list[int]:
    """`count` tokens: the prompt's first, then the most likely ones by the float graph."""
    executor, tokens = Executor(graph_of(model), model), list(prompt[:count])
    for position in range(count - 1):
        likely = int(executor.step(tokens[position]).argmax())
        if position + 1 == len(tokens):
            tokens.append(likely)
    return tokens


@dataclass(frozen=True)
class Subject:
    """What is verified: a checkpoint, or a program, of which only the engines can be compared.

    settings        how the checkpoint is compiled
    program_file    a program of the checkpoint; None: it is compiled here
    prompt, count   everything is compared on `count` tokens: the prompt's, then the most likely ones. None: USUAL_COUNT, or as
                    many as the context has positions
    tokenizer       its file; None: the one with the checkpoint
    """

    path: Path
    settings: Settings = field(default_factory=Settings)
    program_file: Path | None = None
    prompt: str = ""
    count: int | None = None
    tokenizer: Path | None = None


def checks(subject: Subject, *, dump: Path | None = None, make: Maker = Machine, fast: Maker = Machine,
           progress: Progress = None, opened: Callable[[Model], None] | None = None) -> Iterator[Check]:
    """All steps, as they are done.

    dump    a folder for every value that step 3 compares (dump_to)
    make    the machine of step 3; fast: the fast one of step 4
    opened  called with the checkpoint

    Raises ModelError, ProgramError, PresetError, OSError.
    """
    path, settings, count = subject.path, subject.settings, subject.count
    if is_program(path):
        program = Program.load(path)
        if "model" not in program.meta:
            raise ProgramError("it was not compiled from a model: there is nothing to verify", path=str(path))
        check_card(program, path)
        card = program.meta["model"]
        count = _count(count, card["context"], card.get("cuts", {}).get("budgets", ()))
        for name in NAMES[:3]:
            yield Check(name, "not checked", "needs the checkpoint: slimulator verify MODEL --program FILE.elf")
        words = _words(unpacked(program.meta["tokenizer"], path), subject.prompt) if "tokenizer" in program.meta else [0]
        preset = load_preset(settings.machine) if settings.machine else program.machine
        yield engines(program, preset, words[:max(1, count - 1)], 2, fast)
        return
    model = settings.load(path, subject.tokenizer)
    if opened:
        opened(model)
    words = _words(need_tokenizer(model), subject.prompt)
    file = subject.program_file
    given = Program.load(file) if file else None
    compiled = (replace(settings, sequences=_sequences(given)) if given else settings).compile(model, progress)
    tokens = continued(model, words, _count(count, compiled.memory.context, _budgets(compiled)))
    yield float_graph(model, tokens) if settings.adapter is None else Check(
        NAMES[0], "not checked", "transformers reads no adapter: merge it into the checkpoint to compare both")
    prompt = prompt_of(len(tokens)) if compiled.graph.cuts else 1
    size = max(1, len(need_tokenizer(model).decode(tokens[prompt if prompt > 1 else 0:]).encode()))
    yield quantised_graph(model, compiled, Document(tokens, size, prompt), progress)
    with temporary_folder() as folder:
        program = given or compiled.build(folder)
        _same_shape(compiled, program, file)
        yield operations(compiled, program, tokens, make, progress, dump_to(dump, compiled.graph) if dump else None)
        yield engines(program, compiled.machine, tokens[:max(1, len(tokens) - 2)], 2, fast)


def checks_of(compiled: Compiled, prompt: str = "", count: int | None = None) -> Iterator[Check]:
    """Steps 3 and 4 of a compiled model, whose checkpoint may have been changed. Raises ModelError, OSError."""
    words = _words(need_tokenizer(compiled.model), prompt)
    tokens = continued(compiled.model, words, _count(count, compiled.memory.context, _budgets(compiled)))
    with temporary_folder() as folder:
        program = compiled.build(folder)
        yield operations(compiled, program, tokens, Machine)
        yield engines(program, compiled.machine, tokens[:max(1, len(tokens) - 2)], 2)


def _words(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of the prompt. Raises ModelError if there are none."""
    words = tokenizer.encode(prompt)
    if not words:
        raise ModelError("", "--prompt", got="empty", expected="some text: this model has no BOS token to start from")
    return words


def _count(wanted: int | None, context: int, budgets: Sequence[int]) -> int:
    """How many tokens are compared; usually so many that some are left out, where there are budgets.

    Raises ModelError for more than the context has positions.
    """
    if wanted is None:
        return min(budgets[0] + BLOCK + BEHIND if budgets else USUAL_COUNT, context)
    if not 0 < wanted <= context:
        raise ModelError("", "--tokens", got=str(wanted),
                         expected="at least 1" if wanted < 1 else f"at most {context} (the context)")
    return wanted


def _budgets(compiled: Compiled) -> list[int]:
    """Of its cuts, if it has some."""
    return [cut.budget for cut in compiled.graph.cuts]


def _sequences(program: Program) -> int | None:
    """How many texts a program computes side by side, as the compiler is told: None for one."""
    card = program.meta.get("model")
    several = card.get("sequences", 1) if isinstance(card, dict) else 1
    return several if isinstance(several, int) and several > 1 else None


def _same_shape(compiled: Compiled, program: Program, file: Path | None) -> None:
    """Raise ProgramError unless the program is one of this model with these options: another cannot be compared."""
    found, expected = program.meta.get("model"), json.loads(json.dumps(compiled.card))
    if found is None:
        raise ProgramError("it was not compiled from a model; expected a program of this model", path=str(file))
    for place, got, wanted in _differences(found, {key: value for key, value in expected.items() if key != "source"}):
        raise ProgramError(f"its {place[1:]} is {got}; expected a program of this model with {wanted}", path=str(file),
                           hint="give the options that it was compiled with: --weights, --kv, --machine ...")


def _differences(found: Any, expected: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(where, what a program's model card says, what it should say), down to a single figure, format or operation.

    Formats and sizes come first: if they differ, operations differ too, but say less.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected, key="operations".__eq__):
            yield from _differences(found.get(key), expected[key], f"{place}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        for number, (ours, theirs) in enumerate(zip_longest(expected, found)):
            yield from _differences(theirs, ours, f"{place}.{number}")
    elif found != expected:
        yield place, "missing" if found is None else found, "none" if expected is None else expected


# ------------------------------------------------------------------------------------------------ the model


def float_graph(model: Model, tokens: Sequence[int]) -> Check:
    """Step 1."""
    name = NAMES[0]
    if not model.path.is_dir():
        return Check(name, "not checked", "needs a Hugging Face directory, which transformers can load")
    if model.config.monarch:
        return Check(name, "not checked", "transformers has no block-diagonal matrices")
    if model.graph is not None:
        return Check(name, "not checked", "the model computes a graph that was changed")
    try:
        found = against_transformers.compare(model, tokens)
    except against_transformers.NotLoaded as error:
        return Check(name, "not checked", str(error))
    return Check(name, _verdict(not found.fault), str(found), {
        "largest_relative_difference": found.difference, "roundings": found.roundings, "codes": found.codes,
        "codes_on_a_tie": found.flips, "weights_on_a_tie": found.weight_flips})


def quantised_graph(model: Model, compiled: Compiled, document: Document, progress: Progress = None) -> Check:
    """Step 2. Formats of few bits cost accuracy: only what is not finite, or differs though all weights are fp32, fails."""
    if len(document.tokens) <= document.prompt:
        return Check(NAMES[1], "not checked", "one position predicts no token of the text")
    scores = evaluate([document], of_graph(Executor(graph_of(model), model)),
                      of_graph(Executor(compiled.graph, compiled.model)), progress)
    finite = bool(np.isfinite([*scores.bits, scores.divergence]).all())
    kv = compiled.graph.values["keys"].format
    unrounded = compiled.decodes or (model.config.int8_activations and not compiled.integer_activations)     # by --activations f32
    exact = ({placed.format.name for placed in compiled.layout.every()} == {"f32"} == {kv} and "active" not in compiled.graph.values
             and not compiled.graph.cuts and not unrounded and not compiled.model.changed)
    said = ", ".join([compiled.layout.said(), *compiled.model.changed[:1],
                      *([f"keys and values {kv}"] if kv != "f32" else []),
                      *(["tokens left out"] if compiled.graph.cuts else []),
                      *(["activations f32"] if unrounded else [])])
    return Check(NAMES[1], _verdict(finite and (not exact or scores.kl < SAME)),
                 f"{said}: top-1 agreement {100 * scores.agreement:.1f} %, KL {scores.kl:.2e} nats, "
                 f"perplexity {scores.perplexity[0]:.2f} -> {scores.perplexity[1]:.2f} on {counted(scores.tokens, 'token')}",
                 scores.as_json())


# ------------------------------------------------------------------------------------------------ the program


def operations(compiled: Compiled, program: Program, tokens: Sequence[int], make: Callable[..., ReferenceMachine],
               progress: Progress = None, observe: Observer | None = None) -> Check:
    """Step 3."""
    name = NAMES[2]
    try:
        compared, difference = compare(compiled, program, tokens, make, progress, observe)
    except ProgramStopped as stopped:
        return Check(name, "FAIL", str(stopped))
    if difference is None:
        budgets, prompt = _budgets(compiled), prompt_of(len(tokens))
        done = sum(prompt > budget for budget in budgets)
        cuts = "" if not budgets else f", {done} of {counted(len(budgets), 'cut')} of a prompt of {prompt}"
        cuts += f"; --tokens {budgets[0] + BLOCK + BEHIND} for all" if budgets and done < len(budgets) else ""
        return Check(name, "pass", f"{counted(compared, 'operation', ',')} on {counted(len(tokens), 'token')}, bit-exact{cuts}",
                     {"operations": compared})
    text, figures = _tile(compiled, difference)
    return Check(name, "FAIL", f"{difference}{text}", {
        "operations": compared, "token": difference.token, "layer": difference.layer, "operation": difference.op.kind,
        "weights": list(difference.op.weights), "value": difference.value, "index": list(difference.index),
        "expected": difference.expected, "got": difference.got, "differing": difference.count, **figures})


def _tile(compiled: Compiled, difference: Difference) -> tuple[str, dict[str, int]]:
    """The tile in which an element was computed, if its matrix is fetched in tiles: as text and as figures."""
    op, layer = difference.op, difference.layer
    gathered = "active" in op.inputs
    if difference.row is None:
        return "", {}
    stored = "embedding" if op.weights[0] == "head" and compiled.model.config.tied else op.weights[0]
    if not gathered and (compiled.memory.reached or compiled.memory.residency.holds(stored, layer or 0)):
        return "", {}
    role = stored.removeprefix("layer.")
    placed = compiled.layout.once[role] if layer is None else list(compiled.layout.layers())[layer][1][role]
    each = height(compiled.memory.buffer_bytes, placed.row_bytes, placed.row_scale_bytes,
                  out=difference.value in compiled.memory.outside)
    row, rows = difference.row
    tile, tiles = row // each, -(-rows // each)
    what = f"active row {row} of {rows}" if gathered else f"row {row}"
    return f"; {what} is in tile {tile} of {tiles}", {"tile": tile, "tiles": tiles}


def engines(program: Program, preset: Preset, prompt: Sequence[int], count: int, make: Maker = Machine) -> Check:
    """Step 4: both engines read the prompt and generate `count` tokens; a program for several sequences reads `texts_of` it."""
    name, machines, ends = NAMES[3], [], []
    several = _sequences(program)
    texts = texts_of(prompt, several or 1)
    for maker in (make, ReferenceMachine):
        machine = maker(preset, Host(side_by_side(texts) if several else prompt))
        machine.load(program)
        set_parameters(machine, max_tokens=count)
        if several:
            set_sequences(machine, [count] * len(texts))
        result = machine.run().unless_interrupted()
        ends.append(f"{result.trap or result.reason}" + (f", exit code {result.exit_code}" if result.exit_code else ""))
        machines.append(machine)
    fast, reference = machines
    wrong = [f"counter {event}: {fast.counters[event]:,} and {reference.counters[event]:,}" for event in reference.counters
             if fast.counters[event] != reference.counters[event]]
    wrong += [f"register x{number}" for number in range(32) if fast.x[number] != reference.x[number]]
    wrong += [] if fast.host.tokens == reference.host.tokens else [f"tokens {fast.host.tokens} and {reference.host.tokens}"]
    size = 0
    for section in program.sections:
        if "w" not in section.flags or not section.size:
            continue
        ours, theirs = (machine.peek(section.address, section.size) for machine in machines)
        size += section.size
        if differing := np.flatnonzero(ours != theirs)[:1].tolist():
            address = section.address + differing[0]
            wrong.append(f"memory at {address:#x} <{program.symbol_at(address) or section.name}>: "
                         f"{ours[differing[0]]:#04x} and {theirs[differing[0]]:#04x}")
    figures = {"tokens": reference.host.tokens, "instructions": reference.counter("core.instructions"), "bytes": size}
    if set(ends) != {"exit"}:
        return Check(name, "FAIL", f"the fast engine ended with {ends[0]}; the reference engine with {ends[1]}", figures)
    if wrong:
        more = f"; {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Check(name, "FAIL", f"fast and reference differ: {'; '.join(wrong[:3])}{more}", figures)
    return Check(name, "pass", f"{size:,} bytes of memory, all counters and registers after {sum(map(len, texts))} + "
                 f"{len(reference.host.tokens)} tokens, {figures['instructions']:,} instructions", figures)


def dump_to(folder: Path, graph: Graph) -> Observer:
    """Writes each value that is compared as NAME.npy. If the program's value differs, it is written as NAME.got.npy.

    NAME is token, layer, operation with its number there, and value: "t003.layer02.04_gemv_i8.k". Of texts side by side those
    behind the first one have their number in front: "text1.t003.layer02 ...". Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def observe(of: tuple[int, int], layer: int | None, op: Op, value: str, expected: Any, got: Any) -> None:
        section, number = graph.place_of(op, layer)
        place = section if layer is None else f"layer{layer:02}"
        text, token = of
        name = f"{f'text{text}.' if text else ''}t{token:03}.{place}.{number:02}_{op.kind.replace('.', '_')}.{value}"
        np.save(folder / f"{name}.npy", np.asarray(expected))
        if not np.array_equal(np.ascontiguousarray(expected).view(np.uint8), np.ascontiguousarray(got).view(np.uint8)):
            np.save(folder / f"{name}.got.npy", got)
    return observe
