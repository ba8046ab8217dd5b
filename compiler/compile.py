"""From a checkpoint to a program: passes, plans, the text, the file.

    compiled = compile_model(load("stories260K.bin"), machine="slim", recipe=read_recipe("t2"))
    compiled.save(Path("story.elf"))

The program is the assembler's output of `compiled.text` with what it names: weights, matrices in banks, metadata. `save_source`
writes the same as files of their own; assembling them gives the same program file.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from asm.assembler import assemble
from compiler.errors import ModelError, RoomError, one_of
from compiler.formats.recipe import Recipe
from compiler.graph import Graph
from compiler.lowering.active import scratch as scratch_of_active
from compiler.lowering.banks import scratch as scratch_of_banks
from compiler.lowering.decoded import check_decoded, matrices
from compiler.lowering.decoded import scratch as scratch_of_decoded
from compiler.lowering.pim import scratch as scratch_of_pim
from compiler.lowering.program import BANKS, MOST_STOPS, Files, cache_region, weights_region, weights_section, write_program
from compiler.lowering.sampling import scratch
from compiler.model.model import Model
from compiler.passes.calibrate import with_thresholds
from compiler.passes.kv_cache import KV_FORMATS, with_int8_cache
from compiler.passes.quantise import quantise
from compiler.passes.sparsify import BY_NEURON, sparsify
from compiler.passes.to_banks import to_banks
from compiler.placing.banks import Placement, check_room, computes_in_banks, place
from compiler.placing.made import Made
from compiler.placing.memory_plan import MemoryPlan, plan_memory
from compiler.placing.weights import PAGE, Layout, plan_weights
from compiler.running.neurons import neuron_bytes
from isa.files import check_directory, replacing
from isa.hints import nearest
from isa.preset import Preset, load_preset, presets_with
from isa.program import Program

EMBEDDING_FORMATS = ("f32", "f16", "bf16", "i8")
FEWEST_BITS = ("b1", "t2", "t5", "i2", "c2")
ACTIVATIONS = ("i8", "f32")
LONGEST_CONTEXT = 2048          # positions, unless more are asked for: caches and tables grow with them

Progress = Callable[[int, int], None]
"""Called with the bytes of weights that are written so far, and all."""


@dataclass
class Compiled:
    """A model as a program: the text that the assembler reads, and everything that it was made from."""

    model: Model                # quantised
    graph: Graph                # what the program computes, operation by operation
    layout: Layout
    memory: MemoryPlan
    machine: Preset
    machine_name: str           # of a shipped preset, or a .toml file
    placement: Placement | None = None          # of matrices in banks, on a machine that computes there

    def text(self, files: Files = Files()) -> str:                        # noqa: B008 - frozen
        """The program as assembly. `files` are the names of what it asks for."""
        title = f"{self.model.path.name}: {self.model.config.architecture}"
        return write_program(self.graph, self.layout, self.memory, self.machine, files, title, self.placement)

    def write_files(self, files: Files, progress: Progress | None = None) -> None:
        """What the text asks for, each file whole or not at all: weights, where there are banks the matrices there, metadata."""
        path, banks = Path(files.weights), Path(files.banks)
        parts: list[tuple[Path, Layout | Placement]] = [(path, self.layout), *([(banks, self.placement)] if self.placement else [])]
        before, whole = 0, sum(part.size for _, part in parts)
        for file, part in parts:
            with replacing(file) as stream:
                for done, _ in part.write(stream):
                    _tell(progress, before, whole, done)
            before += part.size
        with replacing(Path(files.meta)) as stream:
            stream.write(json.dumps(self.meta).encode())

    def build(self, folder: Path, progress: Progress | None = None) -> Program:
        """Write what the text asks for to `folder` and assemble. The program refers to the weights there until it is saved."""
        files = Files().within(folder.absolute())       # whatever lies in the current directory under these names
        self.write_files(files, progress)
        return assemble(self.text(files), machine=self.machine_name)

    @property
    def meta(self) -> dict[str, Any]:
        """The program's metadata: model card and tokenizer."""
        from compiler.model.carried_tokenizer import packed
        return {"model": self.card, **({"tokenizer": packed(self.model.tokenizer)} if self.model.tokenizer else {})}

    @property
    def card(self) -> dict[str, Any]:
        """What the program file says of its model."""
        c = self.model.config
        return {"architecture": c.architecture, "source": self.model.path.name, "vocab": c.vocab, "dim": c.dim, "layers": c.layers,
                "heads": c.heads, "kv_heads": c.kv_heads, "hidden": c.hidden, "context": self.memory.context,
                "stop": sorted(c.stop),
                "operations": {section: [f"{', '.join(op.outputs)} = {op.kind} {', '.join((*op.inputs, *op.weights))}"
                                         for op in ops] for section, ops in self.graph.named()},
                "formats": self.formats, "weights": self.layout.said(),
                **({"neuron_bytes": [neuron_bytes(body, c.gated) for body in self.layout.bodies]}
                   if "active" in self.graph.values else {})}

    @property
    def formats(self) -> dict[str, str]:
        """How each tensor is stored, by role; where layers differ, "layer0.q" is that of layer 0 and of those that are like it."""
        once = {role: placed.stored for role, placed in self.layout.once.items()}
        names = ["" if len(self.graph.bodies) == 1 else f"{self.graph.name_of(body)}." for body in self.graph.bodies]
        return once | {f"{name}{role}": placed.stored for name, body in zip(names, self.layout.bodies, strict=True)
                       for role, placed in body.items()}

    def save(self, path: Path, progress: Progress | None = None, source: Path | None = None) -> None:
        """Write the ELF file, whole or not at all. Raises OSError that names it.

        Its source lines are those of `source`, by default a .s of its name: the one that save_source writes for it.
        """
        check_directory(path)
        try:
            with tempfile.TemporaryDirectory(prefix="slimulator-") as folder:
                program = self._without_contents(Path(folder))
                program.lines = [replace(line, file=str(source or path.with_suffix(".s"))) for line in program.lines]
                self._fill(program, progress)
                program.save(path)
        except OSError as error:
            error.filename = str(path)          # not a temporary one that nobody knows
            raise

    def _without_contents(self, folder: Path) -> Program:
        """The program, made of files that have the right size but take no room: holes."""
        files = Files().within(folder)
        for name, part in ((files.weights, self.layout), (files.banks, self.placement)):
            if part:
                with open(name, "wb") as stream:
                    stream.truncate(part.size)
        Path(files.meta).write_text(json.dumps(self.meta), encoding="utf-8")
        return assemble(self.text(files), machine=self.machine_name)

    def _fill(self, program: Program, progress: Progress | None) -> None:
        """Have the contents made when the program is written: they need not lie anywhere before."""
        parts: list[tuple[str, Layout | Placement]] = [(weights_section(self.machine), self.layout)]
        if self.placement and self.placement.size:
            parts.insert(0, (BANKS, self.placement))
        before, whole = 0, sum(part.size for _, part in parts)
        for name, part in parts:
            section = program.section(name)
            assert section is not None and section.size == part.size
            section.chunks = [Made(name, 0, part.size, part, partial(_tell, progress, before, whole))]
            before += part.size

    @property
    def int8_activations(self) -> bool:
        """Whether integer weights are multiplied by int8 activations."""
        return any(".i8" in op.kind and op.kind.startswith(("gemv", "collect")) for _, op in self.graph.steps())

    @property
    def decodes(self) -> bool:
        """Whether integer weights are decoded for fp32 activations."""
        return any(op.kind == "gemv.decoded" for _, op in self.graph.steps())

    def summary(self) -> str:
        """What the program takes of the machine's memories, one line each."""
        memory, c = self.memory, self.model.config
        caches = c.layers * sum(memory.layer_bytes.values())
        lines: list[str] = []
        kinds = self.layout.said(lambda placed: not placed.banked) or "the banks"
        rows = [(weights_region(self.machine), self.layout.size, f"weights: {'' if ' in ' in kinds else 'matrices in '}{kinds}"),
                (cache_region(self.machine), caches, f"keys and values of {c.layers} layers, {memory.context} positions, in "
                               f"{self.graph.values['keys'].format}"),
                ("sram", memory.scratchpad_bytes, f"activations, of {self.machine.region('sram').size:,}"
                 + (f"; two buffers of {memory.buffer_bytes:,} among them" if memory.buffer_bytes else ""))]
        if self.placement and not self.placement.size:
            why = "i8 and f16 (--weights i8 or f16)" if self.placement.int8 else "f16, and i8 with int8 activations"
            lines = [f"  no matrix is in the banks: they compute with {why}; the vector unit reads these"]
        elif self.placement:
            lines = [f"  {line}" for line in str(self.placement).splitlines()]
            at = self.placement.size
            for number, (region, size, text) in enumerate(rows[:2]):
                rows[number] = region, size, f"{text}; {self.placement.rows_of(at, size)}"
                at += size
            rows = [("hbm", self.placement.size, "matrices in the banks, see below"), *rows]
        if self.int8_activations:
            lines.append("  integer weights take int8 activations, one scale for a vector (--activations f32: products in fp32)")
        if self.decodes:
            lines.append("  integer weights are decoded for fp32 activations: products on the vector unit")
        return "\n".join([*(f"  {region:<5} {size:>15,} bytes  {text}" for region, size, text in rows), *lines])

    def save_source(self, path: Path, progress: Progress | None = None) -> None:
        """Write the text to `path` and beside it what it asks for: NAME.weights, NAME.banks, NAME.meta."""
        files = Files(*(path.with_suffix(f".{part.name}").name for part in fields(Files)))
        self.write_files(files.within(path.parent), progress)
        with replacing(path) as stream:
            stream.write(self.text(files).encode())


def _tell(progress: Progress | None, before: int, whole: int, done: int) -> None:
    if progress:
        progress(before + done, whole)


def compile_model(model: Model, *, machine: Preset | str = "slim", recipe: Recipe | None = None,
                  context: int | None = None, kv: str = "f32", activations: str | None = None, sparse: bool = False,
                  sparsity: float | None = None, calibration: Sequence[int] = (), progress: Progress | None = None) -> Compiled:
    """Lower a model for a machine. Raises ModelError for what does not fit.

    `recipe` gives weight formats (None: as the checkpoint has them), `context` the most positions.
    `kv`: the format of keys and values, one of KV_FORMATS.
    `activations`: what integer weights are multiplied by, one of ACTIVATIONS; None: i8.
    `sparse`: feed-forward layers work for active neurons alone: those that are not zero, or with `sparsity` those above
    the thresholds for it on `calibration`, tokens of a text, or those that the model has.
    """
    preset = load_preset(machine) if isinstance(machine, str) else machine
    _check_units(preset)
    if context and context > model.config.context:
        raise ModelError(model.path, "--context", got=str(context),
                         expected=f"at most the {model.config.context} that the model was made for")
    if len(model.config.stop) > MOST_STOPS:
        raise ModelError(model.path, "tokens that end a text (eos_token_id)", got=str(len(model.config.stop)),
                         expected=f"at most {MOST_STOPS}: programs have room for as many")
    if activations not in (None, *ACTIVATIONS):
        raise ModelError("", "--activations", got=repr(activations), expected=one_of(ACTIVATIONS))
    model, graph = quantise(model, recipe or Recipe(), activations)
    if kv not in KV_FORMATS:
        raise ModelError("", "--kv", got=repr(kv), expected=one_of(KV_FORMATS), hint=nearest(kv, KV_FORMATS))
    if kv == "i8":
        graph = with_int8_cache(graph)
    positions = context or min(model.config.context, LONGEST_CONTEXT)
    if sparse:
        if sparsity is not None and "layers.0.thresholds" not in model.tensors:
            model = with_thresholds(model, graph, calibration, progress)
        graph = sparsify(graph, model, sparsity)
    groups = [body.layers for body in graph.bodies]
    placement = place(model, preset, groups, int8=activations != "f32") if computes_in_banks(preset) else None
    if placement:
        graph = to_banks(graph, placement)
    name = machine if isinstance(machine, str) else machine.name

    def lowered(positions: int) -> Compiled:
        return _lowered(model, graph, preset, name, placement, positions, sparse)

    try:
        return lowered(positions)
    except RoomError as error:
        fits = _context_that_fits(lowered, positions)
        if fits or " fits" not in error.hint:
            error.hint += f"; --context {fits} fits" if fits else "; a shorter --context does not help"
        raise


def _context_that_fits(lowered: Callable[[int], Compiled], positions: int) -> int:
    """The most positions with which a model fits that does not with so many; 0 where none does."""
    fits, fails = 0, positions
    while fails - fits > 1:                 # less needs less room: the most that fits, by halves
        middle = (fits + fails) // 2
        try:
            lowered(middle)
            fits = middle
        except RoomError:
            fails = middle
    return fits


def _lowered(model: Model, graph: Graph, machine: Preset, name: str, placement: Placement | None, positions: int,
             sparse: bool) -> Compiled:
    """A graph that is ready to be laid out, for so many positions. Raises ModelError, RoomError for what has no room."""
    groups = [body.layers for body in graph.bodies]
    layout = plan_weights(model, positions, groups, (BY_NEURON,) if sparse else (), placement.has if placement else None)
    decoded = matrices(graph, layout)
    for placed in decoded:
        check_decoded(machine, placed)
    embedding = layout.once["embedding"]
    if embedding.format not in EMBEDDING_FORMATS:
        raise ModelError(model.path, "embedding", got=f"weights in {embedding.format}",
                         expected="one of " + ", ".join(EMBEDDING_FORMATS),
                         hint="rows of it are read one at a time: name it in a recipe")
    narrow = [table.row_bytes for role in ("embedding", "positions") if (table := layout.once.get(role)) and table.format != "f32"]
    rows = {"embedded_row": max(narrow)} if narrow else {}
    rows |= scratch_of_decoded(machine, decoded)
    if sparse:
        rows |= scratch_of_active(model.config.hidden, model.config.dim)
    if placement:
        rows |= scratch_of_pim(placement) | scratch_of_banks(placement)
    reached = _reached(machine)
    memory = plan_memory(graph, positions, machine, rows, reached=reached, buffered=sparse or not reached)
    memory.add(scratch(model.config.vocab), beside=("logits", *(scratch_of_pim(placement) if placement else ())))
    compiled = Compiled(model, graph, layout, memory, machine, name, placement)
    _check_machine(compiled)
    compiled.text()                     # raises for what has no room in a tile
    return compiled


def _reached(machine: Preset) -> bool:
    """Whether the units compute on weights and caches where these are."""
    units = {"vec", "attn"} if computes_in_banks(machine) else {"vec", "lut"}
    return all(units <= machine.region(name).ports for name in (cache_region(machine), weights_region(machine)))


def _check_units(machine: Preset) -> None:
    """Raise ModelError for a unit that programs of models need and the machine lacks."""
    units = ("vec", "thr", "fetch", "sync", *(("pim", "attn") if computes_in_banks(machine) else ("lut",)))
    for unit in units:
        if not machine.has_unit(unit):
            raise ModelError("", f"machine {machine.name}", got=f"no {unit} unit",
                             expected=f"{one_of(units).replace(' or ', ' and ')}: programs of models use them",
                             hint=presets_with((unit,)))


def _check_machine(compiled: Compiled) -> None:
    """Raise ModelError for what the machine lacks: tables, ports, memory."""
    machine, layout, place = compiled.machine, compiled.layout, f"machine {compiled.machine.name}"
    linear = {weights_region(machine): layout.size}
    caches = compiled.model.config.layers * sum(compiled.memory.layer_bytes.values())
    linear[cache_region(machine)] = linear.get(cache_region(machine), 0) + caches + PAGE
    if compiled.placement:
        if not compiled.memory.reached:
            raise ModelError("", place, got="units vec and attn without ports to hbm",
                             expected="ports to it: scales, keys and values lie there")
        c = compiled.model.config
        for name, needed, what in (("attn.heads", c.heads, "heads"), ("attn.channels", c.q_dim, "channels of all heads")):
            if needed > machine.parameter(name):
                raise ModelError("", place, got=f"{needed:,} {what}",
                                 expected=f"at most the {machine.parameter(name):,} of its attention unit ({name})")
        check_room(compiled.placement, machine, linear.pop("hbm") + PAGE)
    else:
        products = {op.weights[0].removeprefix("layer.") for _, op in compiled.graph.steps() if op.kind.startswith("gemv.i8")}
        widest = max((placed for placed in layout.every() if placed.scale_count and placed.role in products),
                     key=lambda placed: placed.shape[1], default=None)
        tables = machine.parameter("lut.activations")
        if widest and widest.shape[1] > tables:
            raise ModelError("", place, got=f"{widest.role} has {widest.shape[1]:,} columns",
                             expected=f"at most the {tables:,} activations that its tables hold (lut.activations)",
                             hint="weights of floats need no tables: --weights f16, or --activations f32")
    for name, size in linear.items():
        room = machine.region(name).size
        if size > room:
            fewer = [option for option, possible in (
                ("--weights t2", any(placed.format not in FEWEST_BITS for placed in layout.every() if len(placed.shape) == 2)),
                ("--kv i8", name == cache_region(machine) and compiled.graph.values["keys"].format != "i8")) if possible]
            raise RoomError("", place, got=f"weights and caches take {size:,} bytes of {name}", expected=f"at most {room:,}",
                            hint=f"fewer bits take less ({', '.join(fewer)})" if fewer else f"{size - room:,} bytes are missing")
