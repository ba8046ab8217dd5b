"""From a checkpoint to a program: the passes, the plans, the text, the file.

    compiled = compile_model(load("stories260K.bin"), machine="slim", recipe=read_recipe("t2"))
    compiled.save(Path("story.elf"))

The program is what the assembler makes of `compiled.text()` and of the files that this asks for: weights, matrices in banks,
metadata. `save_source` writes them as files; assembling these gives the same program file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from asm.assembler import assemble
from compiler.errors import ModelError, RoomError, one_of
from compiler.formats.recipe import Recipe, read_recipe
from compiler.graph import Graph
from compiler.lowering.active import neuron_bytes
from compiler.lowering.active import scratch as scratch_of_active
from compiler.lowering.data import MOST_STOPS, data
from compiler.lowering.decoded import check_decoded, matrices
from compiler.lowering.decoded import scratch as scratch_of_decoded
from compiler.lowering.lut_parts import scratch as scratch_of_parts
from compiler.lowering.residency import about
from compiler.lowering.sampling import Room, missing
from compiler.lowering.sampling import scratch as scratch_of_sampling
from compiler.lowering.sampling_tiles import SIZES
from compiler.lowering.search import Choice, choices, scarce
from compiler.model.carried_tokenizer import packed
from compiler.model.model import Model
from compiler.passes.calibrate import with_thresholds
from compiler.passes.kv_cache import KV_FORMATS, with_caches
from compiler.passes.quantise import quantise
from compiler.passes.sparsify import BY_NEURON, BY_ROWS, sparsify
from compiler.placing.made import Made
from compiler.placing.memory_plan import MemoryPlan, plan_memory
from compiler.placing.residency import Residency
from compiler.placing.weights import WeightLayout, plan_weights
from compiler.targets import Target, target_of
from isa.files import check_directory, replacing
from isa.hints import nearest
from isa.preset import Preset, load_preset
from isa.program import FileSlice, Program
from isa.regions import SRAM
from isa.text import counted

EMBEDDING_FORMATS = ("f32", "f16", "bf16", "i8")
ACTIVATIONS = ("i8", "f32")
CARD_SCHEMA = 1                 # of model card and tokenizer; rises when a key goes, is renamed or changes its meaning
LONGEST_CONTEXT = 2048          # positions, unless more are asked for: caches and tables grow with them

A = TypeVar("A")
R = TypeVar("R")
Progress = Callable[[int, int], None]
"""Called with the bytes of weights that are written so far, and all."""


@dataclass(frozen=True)
class Calibration:
    """The tokens of a text on which thresholds are found; `progress` is called with those that are done, and all."""

    tokens: Sequence[int] = ()
    progress: Progress | None = None


@dataclass
class Compiled:
    """A model as a program: its code, and everything that it was made from.

    choice      the code, where weights, values and caches lie, and what the code reads; others: what else there was, the best first
    """

    choice: Choice
    others: Sequence[Choice] = field(default=(), repr=False)

    def alike(self) -> Compiled:
        """The same with nothing that stays in the scratchpad: layers of one format are alike."""
        target, layout = self.choice.whole
        memory = replace(self.memory, buffer_bytes=0, residency=Residency()) if not target.reached else self.memory
        choice, = choices(target, layout, memory, self.sampling, resident=False)
        return Compiled(choice)

    @property
    def target(self) -> Target:
        """What the machine means for the model, and the graph that the program computes."""
        return self.choice.target

    @property
    def layout(self) -> WeightLayout:
        """Where weights lie."""
        return self.choice.layout

    @property
    def memory(self) -> MemoryPlan:
        """Where values and caches lie."""
        return self.choice.memory

    @property
    def sampling(self) -> Room:
        """Where the numbers that a token is chosen by lie."""
        return self.choice.sampling

    @property
    def code(self) -> str:
        return self.choice.code

    @property
    def model(self) -> Model:
        """Quantised."""
        return self.target.model

    @property
    def graph(self) -> Graph:
        return self.target.graph

    @property
    def machine(self) -> Preset:
        return self.target.machine

    def text(self, stem: str = "model") -> str:
        """The program as assembly, which asks for files: `stem`.weights, where there are banks `stem`.banks, `stem`.meta."""
        return data(self.target, self.layout, self.memory, stem) + self.code

    def _files(self, progress: Progress | None) -> dict[str, FileSlice]:
        """The files with weights that the text asks for, by suffix. Their contents are made when they are written."""
        images, before, files = self.target.images(self.layout), 0, dict[str, FileSlice]()
        whole = sum(image.contents.size for image in images)
        for image in images:
            size = image.contents.size
            files[image.name] = Made(image.name, 0, size, image.contents, partial(_tell, progress, before, whole))
            before += size
        return files

    def save(self, path: Path, progress: Progress | None = None, source: Path | None = None) -> None:
        """Write the ELF file, whole or not at all. Raises OSError that names it.

        Its source lines are those of `source`, by default a .s of its name: the one that save_source writes for it.
        """
        check_directory(path)
        files = {f"model.{name}": made for name, made in self._files(progress).items()}
        program = assemble(self.text(), machine=self.machine, files=files | {"model.meta": json.dumps(self.meta).encode()})
        program.lines = [replace(line, file=str(source or path.with_suffix(".s"))) for line in program.lines]
        try:
            program.save(path)
        except OSError as error:
            error.filename = str(path)          # not that of a temporary file
            raise

    def save_source(self, path: Path, progress: Progress | None = None) -> None:
        """Write the text to `path`, and beside it the files that it asks for, each whole or not at all. Raises OSError."""
        for name, made in self._files(progress).items():
            with replacing(path.with_suffix(f".{name}")) as stream:
                stream.writelines(made.blocks())
        with replacing(path.with_suffix(".meta")) as stream:
            stream.write(json.dumps(self.meta).encode())
        with replacing(path) as stream:
            stream.write(self.text(path.stem).encode())

    def build(self, folder: Path, progress: Progress | None = None) -> Program:
        """The program, assembled from files model.* that are written to `folder`. Its weights stay there."""
        self.save_source(folder / "model.s", progress)
        return assemble(folder / "model.s", machine=self.machine)

    @property
    def meta(self) -> dict[str, Any]:
        """The program's metadata: model card and tokenizer, and the number of their schema."""
        tokenizer = {"tokenizer": packed(self.model.tokenizer)} if self.model.tokenizer else {}
        return {"schema": CARD_SCHEMA, "model": self.card, **tokenizer}

    @property
    def card(self) -> dict[str, Any]:
        """The model card: what the program file says of its model."""
        c = self.model.config
        return {"architecture": c.architecture, "source": self.model.path.name, "vocab": c.vocab, "dim": c.dim, "layers": c.layers,
                "heads": c.heads, "kv_heads": c.kv_heads, "hidden": c.hidden, "context": self.memory.context,
                "stop": sorted(c.stop),
                "operations": {section: [f"{', '.join(op.outputs)} = {op.kind} {', '.join((*op.inputs, *op.weights))}"
                                         for op in ops] for section, ops in self.graph.named()},
                "formats": self.formats, "weights": self.layout.said(), "chunk": self.memory.chunk,
                "kv": self.graph.values["keys"].format,
                "missing": missing(self.machine), "reads": self._reads_as_json(),
                **({"neuron_bytes": [neuron_bytes(body, c.gated) for body in self.layout.bodies]}
                   if "active" in self.graph.values else {})}

    @property
    def formats(self) -> dict[str, str]:
        """How each tensor is stored, by role. Where layers differ, "layer0.q" stands for layer 0 and the layers like it."""
        once = {role: placed.stored for role, placed in self.layout.once.items()}
        alike = self.layout.alike()
        return once | {f"{'' if len(alike) == 1 else f'layer{layers[0]}.'}{role}": placed.stored
                       for layers, body in alike for role, placed in body.items()}

    @property
    def int8_activations(self) -> bool:
        """Whether integer weights are multiplied by int8 activations."""
        return any(".i8" in op.kind and op.kind.startswith(("gemv", "collect")) for _, op in self.graph.steps())

    @property
    def could_decode(self) -> bool:
        """Whether integer weights could be decoded instead, by --activations f32."""
        integers = [placed for placed in self.layout.every() if placed.scale_count]
        if "active" in self.graph.values and any(placed.role in BY_ROWS for placed in integers):
            return False
        try:
            for placed in integers:
                check_decoded(self.machine, placed)
        except ModelError:
            return False
        return True

    @property
    def decodes(self) -> bool:
        """Whether integer weights are decoded for fp32 activations."""
        return any(op.kind == "gemv.decoded" for _, op in self.graph.steps())

    def _reads_as_json(self) -> dict[str, Any] | None:
        """What the model card says of what stays and what a token reads; None where units reach weights in their memory."""
        if self.target.reached:
            return None
        choice = self.choice
        return {"stays": about(self.layout, self.memory), "loaded_bytes": choice.loaded, "buffer_bytes": self.memory.buffer_bytes,
                "exact": choice.exact, "memory": self.target.weights.region,
                "outside": choice.formula(near=False).as_json(), "scratchpad": choice.formula(near=True).as_json()}

    def _reads(self) -> list[str]:
        """What stays in the scratchpad and what a token reads, where units do not reach weights in their memory."""
        choice, home = self.choice, self.target.weights.region
        if self.target.reached:
            return []
        stays, context = about(self.layout, self.memory), self.memory.context
        what = f"{choice.loaded:,} bytes of {home} are copied there once, and stay" if stays else "no weights and caches stay there"
        lines = [f"{SRAM}: {what}{'; the rest streams' if stays and self.memory.buffer_bytes else ''}",
                 *(f"  {line}" for line in stays)]
        most = "" if choice.exact else "at most "
        lines += [f"{region}: a generated token that looks at p positions reads {most}{choice.formula(near)} bytes"
                  for region, near in ((home, False), (SRAM, True))]
        others = [other for other in self.others if other.memory.buffer_bytes != self.memory.buffer_bytes]
        for words, each in (("tiles", choice), ("next best", others[0] if others else None)):
            if each:
                lines.append(f"{words}: {each.said(context // 2)}")
        return lines

    def summary(self) -> str:
        """The memory map: what the program takes of each memory, a line each; then what people may want to know about it."""
        memory, target, residency = self.memory, self.target, self.memory.residency
        outside = self.model.config.layers - residency.cached
        kinds = self.layout.said(lambda placed: not placed.banked) or "the banks"
        rows, lines = target.mapped(
            (target.weights.region, self.layout.size, f"weights: {'' if ' in ' in kinds else 'matrices in '}{kinds}"),
            (target.caches.region, outside * sum(memory.layer_bytes.values()), f"keys and values of {counted(outside, 'layer')}, "
             f"{memory.context} positions, in {self.graph.values['keys'].format}"))
        rows.append((SRAM, memory.scratchpad_bytes, f"activations, in a scratchpad of {self.machine.region(SRAM).size:,} bytes"
                     + (f"; includes two tile buffers of {memory.buffer_bytes:,} bytes" if memory.buffer_bytes else "")
                     + (f"; {residency.end - residency.start:,} bytes are what stays there" if residency.end else "")))
        if memory.outside:
            rows.append((target.outside.region, sum(memory.outside.values()),
                         f"{', '.join(memory.outside)}: no room in the scratchpad"
                         + (f"; sampling takes {self.sampling.tile:,} tokens at a time" if self.sampling.tile else "")))
        lines += self._reads()
        lines += [f"no {option}: {why}" for option, why in missing(self.machine).items()]
        lines.append("the prompt runs token by token" if memory.chunk == 1 else
                     f"the prompt runs in chunks of {memory.chunk} tokens, with {memory.frame_bytes:,} bytes of activations each")
        if self.int8_activations:
            instead = " (--activations f32 uses fp32)" if self.could_decode else ""
            lines.append(f"integer weights use int8 activations, one scale per vector{instead}")
        if self.decodes:
            lines.append("integer weights are decoded for fp32 activations: products on the vector unit")
        return "\n".join([*(f"  {region:<5} {size:>15,} bytes  {text}" for region, size, text in rows),
                          *(f"  {line}" for line in lines)])


def _tell(progress: Progress | None, before: int, whole: int, done: int) -> None:
    if progress:
        progress(before + done, whole)


def compile_model(model: Model, *, machine: Preset | str = "slim", recipe: Recipe | None = None,
                  context: int | None = None, kv: str = "f32", chunk: int | None = None, activations: str | None = None,
                  sparsity: float | str | None = None, calibration: Calibration = Calibration()) -> Compiled:
    """Compile a model for a machine. Raises ModelError for what does not fit.

    recipe       formats of weights; None: as the checkpoint has them
    context      the largest number of positions
    kv           format of keys and values, one of KV_FORMATS
    chunk        tokens of a prompt that go through a layer together, 1: one after the other; None: as the scratchpad has room
    activations  format of what integer weights are multiplied by, one of ACTIVATIONS; None: i8
    sparsity     feed-forward layers compute only active neurons. "exact": those that are not zero. A number: all but this share,
                 by thresholds of the model, or else by thresholds that are found by `calibration`
    """
    preset = load_preset(machine) if isinstance(machine, str) else machine
    kind = target_of(preset)
    if context and context > model.config.context:
        raise ModelError(model.path, "--context", got=str(context),
                         expected=f"at most the {model.config.context} that the model supports")
    if len(model.config.stop) > MOST_STOPS:
        raise ModelError(model.path, "tokens that end a text (eos_token_id)", got=str(len(model.config.stop)),
                         expected=f"at most {MOST_STOPS}: programs have no room for more")
    if activations not in (None, *ACTIVATIONS):
        raise ModelError("", "--activations", got=repr(activations), expected=one_of(ACTIVATIONS))
    if kv not in KV_FORMATS:
        raise ModelError("", "--kv", got=repr(kv), expected=one_of(KV_FORMATS), hint=nearest(kv, KV_FORMATS))
    positions = context or min(model.config.context, LONGEST_CONTEXT)

    def made(recipe: Recipe | None, kv: str) -> Target:
        """The machine as the target of the model with these formats."""
        quantised, graph = quantise(model, recipe or Recipe(), activations)
        graph = with_caches(graph, kv, kind.attention(preset, model.config, kv))
        if sparsity is not None:
            share = None if isinstance(sparsity, str) else sparsity
            if share is not None and "layers.0.thresholds" not in quantised.tensors:
                quantised = with_thresholds(quantised, graph, calibration.tokens, calibration.progress)
            graph = sparsify(graph, quantised, share)
        target = kind(preset, quantised, graph, int8=activations != "f32")
        target.check_units()
        return target

    target = made(recipe, kv)
    try:
        return _lowered(target, positions, chunk)
    except RoomError as error:
        if chunk is not None and (fits := _most_that_fits(lambda tokens: _lowered(target, positions, tokens), chunk)):
            error.hint = "; ".join(filter(None, (error.hint, f"--chunk {fits} fits")))
            raise
        fits = _most_that_fits(lambda context: _lowered(target, context, chunk), positions)
        found = [f"--context {fits} fits"] * bool(fits)
        others = not isinstance(sparsity, float)            # else thresholds would have to be found again
        if others:
            ternary = recipe if error.solved else read_recipe("t2")
            found += _options_that_fit(lambda weights, cache: _lowered(made(weights, cache), positions, chunk),
                                       recipe, kv, ternary)
        if not found and not error.solved:
            found = ["no shorter --context" + ", --kv or --weights" * others + " makes it fit"]
        error.hint = "; ".join(filter(None, (error.hint, *found)))
        raise


def _options_that_fit(lowered: Callable[[Recipe | None, str], Compiled], recipe: Recipe | None, kv: str,
                      ternary: Recipe | None) -> list[str]:
    """Options with which a model fits: of each the widest format that does, of both together only if neither is enough.

    `ternary`: the recipe with which --weights t2 is tried; the one that there is: it is not tried.
    """
    def fits(weights: Recipe | None, cache: str) -> bool:
        try:
            lowered(weights, cache)
        except ModelError:
            return False
        return True

    caches, others = KV_FORMATS[KV_FORMATS.index(kv) + 1:], [ternary] * (ternary != recipe)
    found = [f"--kv {cache} fits" for cache in caches if fits(recipe, cache)][:1]
    found += ["--weights t2 fits" for weights in others if fits(weights, kv)]
    return found or [f"--weights t2 --kv {cache} fits" for weights in others for cache in caches if fits(weights, cache)][:1]


def _most_that_fits(lowered: Callable[[int], Compiled], fails: int) -> int:
    """The largest number with which a model fits that does not fit with the number `fails`; 0 if there is none."""
    fits = 0
    while fails - fits > 1:                 # a smaller number needs less room, so halving finds it
        middle = (fits + fails) // 2
        try:
            lowered(middle)
            fits = middle
        except RoomError:
            fails = middle
    return fits


def _lowered(target: Target, positions: int, chunk: int | None) -> Compiled:
    """The program for a number of positions. Raises ModelError, RoomError for what has no room."""
    model, graph, machine = target.model, target.graph, target.machine
    groups, sparse = [body.layers for body in graph.bodies], "active" in graph.values
    layout = plan_weights(model, positions, groups, (BY_NEURON,) if sparse else (), target.elsewhere)
    decoded = matrices(graph, layout)
    for placed in decoded:
        check_decoded(machine, placed)
    embedding = layout.once["embedding"]
    if embedding.format.name not in EMBEDDING_FORMATS:
        raise ModelError(model.path, "embedding", got=f"weights in {embedding.format}",
                         expected="one of " + ", ".join(EMBEDDING_FORMATS),
                         hint="its rows are read one at a time: choose its format in a recipe")
    narrow = [table.row_bytes for role in ("embedding", "positions")
              if (table := layout.once.get(role)) and table.format.name != "f32"]
    rows = {"embedded_row": max(narrow)} if narrow else {}
    rows |= scratch_of_decoded(machine, decoded) | scratch_of_parts(machine, matrices(graph, layout, ("gemv.i8", "gemv.i8.active")))
    if sparse:
        rows |= scratch_of_active(model.config.hidden, model.config.dim)
    rows |= target.scratch()

    def planned(room: Room, tokens: int | None) -> MemoryPlan:
        memory = plan_memory(graph, positions, machine, rows, reached=target.reached, outside=room.outside & graph.values.keys(),
                             chunk=tokens)
        if sparse and target.reached:
            memory.fill()
        inside, outside = scratch_of_sampling(machine, model.config.vocab, room)
        memory.outside |= outside
        memory.add(inside, beside=("logits", *target.kept))
        return memory

    def lowered(tokens: int | None) -> Compiled:
        found, refused = list[Choice](), list[RoomError]()
        for rooms in _rooms(target):
            try:
                room, memory = _first_with_room(rooms, lambda room: (room, planned(room, tokens)))
                target.check(layout, memory)
                found += choices(target, layout, memory, room)
            except RoomError as error:
                if error.region != SRAM:
                    raise
                refused.append(error)
            if found and (target.reached or not scarce(memory)):
                break                                   # else those with more outside have room for more weights
        if not found:
            raise refused[-1]
        best, *others = sorted(found, key=lambda choice: choice.score)
        return Compiled(best, others)

    return _first_with_room([chunk] if chunk is not None else [1] if target.by_token else [None, 1], lowered)


def _first_with_room(choices: Sequence[A], made: Callable[[A], R]) -> R:
    """What is made of the first choice for which the scratchpad has room. Raises the RoomError of the last choice, or one about
    another memory: later choices take more of that."""
    for choice in choices[:-1]:
        try:
            return made(choice)
        except RoomError as error:
            if error.region != SRAM:
                raise
    return made(choices[-1])


def _rooms(target: Target) -> list[list[Room]]:
    """Where sampling may keep its numbers, from what needs most of the scratchpad to what needs least. The first of each list that
    the scratchpad has room for is the best one."""
    units, vocab = {unit for unit in ("vec", "thr", "fetch") if target.machine.has_unit(unit)}, target.model.config.vocab
    reached = target.reached and units <= target.machine.region(target.outside.region).ports
    tiles = [0] if reached else [tile for tile in SIZES if tile < 2 * vocab or tile == SIZES[-1]]
    outside = frozenset(("sorted", "order")[:1 if missing(target.machine) else 2])
    return [[Room()], *([Room(names, tile) for tile in tiles] for names in (outside, outside | {"logits"}))]
