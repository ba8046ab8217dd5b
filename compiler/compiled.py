"""A compiled model: its code and everything that it was made from, as text, as files, as a program, and in words for people.

    compiled.save(Path("story.elf"))

The program is what the assembler makes of `compiled.text()` and of the files that this asks for: weights, matrices in banks,
metadata. `save_source` writes them as files; assembling these gives the same program file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from asm.assembler import assemble
from compiler.errors import ModelError
from compiler.graph import Graph, title_of
from compiler.lowering import cim, swaps
from compiler.lowering.active import neuron_bytes
from compiler.lowering.data import data
from compiler.lowering.decoded import check_decoded
from compiler.lowering.heads import SCORES, score_bytes
from compiler.lowering.objects import about as about_objects
from compiler.lowering.objects import has_objects
from compiler.lowering.residency import about
from compiler.lowering.sampling import Room, missing
from compiler.lowering.search import Choice, choices
from compiler.lowering.swaps import position_bytes
from compiler.model.carried_tokenizer import packed
from compiler.model.model import Model
from compiler.passes.dataflow import TPHS, is_by_head
from compiler.passes.prune_tokens import PLACES, PROMPT_ENDS, WAITING
from compiler.passes.select import said
from compiler.passes.sparsify import BY_ROWS
from compiler.placing.made import Made
from compiler.placing.memory_plan import CHUNK_LOGITS, MemoryPlan
from compiler.placing.objects import ROLES
from compiler.placing.residency import Residency
from compiler.placing.weights import WeightLayout
from compiler.targets import Target
from isa.files import check_directory, replacing
from isa.preset import Preset
from isa.program import FileSlice, Program
from isa.regions import SRAM
from isa.text import counted

CARD_SCHEMA = 1                 # of model card and tokenizer; rises when a key goes, is renamed or changes its meaning

Progress = Callable[[int, int], None]
"""Called with the bytes of weights that are written so far, and all."""


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
                "heads": c.heads, "kv_heads": c.kv_heads, "hidden": c.hidden, **({"widths": list(c.widths)} if c.widths else {}),
                **({"layer_heads": [list(each) for each in c.layer_heads]} if c.layer_heads else {}),
                "context": self.memory.context,
                "stop": sorted(c.stop),
                "operations": {section: [f"{', '.join(op.outputs)} = {op.kind} {', '.join((*op.inputs, *op.weights))}"
                                         for op in ops] for section, ops in self.graph.named()},
                "formats": self.formats, "weights": self.layout.said(), "chunk": self.memory.chunk,
                "sequences": self.memory.sequences,
                "kv": self.graph.values["keys"].format,
                **({"kv_select": chosen} if (chosen := said(self.graph)) else {}),
                **({"dataflow": TPHS} if is_by_head(self.graph) else {}),
                "missing": missing(self.machine), "reads": self._reads_as_json(),
                **({"pruned": list(self.model.pruned)} if self.model.pruned else {}),
                **({"cuts": {"layers": [cut.layer for cut in self.graph.cuts], "budgets": [cut.budget for cut in self.graph.cuts],
                             "kv_bytes": self.kv_bytes, **({"new_tokens": self.graph.cuts[0].new} if self.memory.rows else {})}}
                   if self.graph.cuts else {}),
                **({"kv_near": {"bytes": near.size, "stays": near.stays, "turns": list(near.turns),
                                "position_bytes": position_bytes(self.graph, self.memory)}}
                   if (near := self.memory.near).size else {}),
                **({"projected": list(self.model.projected)} if self.model.projected else {}),
                **({"neuron_bytes": [neuron_bytes(body, self._by_neuron) for body in self.layout.bodies]}
                   if "active" in self.graph.values else {})}

    @property
    def kv_bytes(self) -> list[int]:
        """Bytes of the keys and values of a token, with their scales, by layer."""
        graph = self.graph
        ops = {layer: body.ops for body in graph.bodies for layer in body.layers}
        return [sum(self.memory.size(graph.values[name]) // self.memory.context for op in ops[layer] if op.kind.startswith("append")
                    for name in op.outputs) for layer in range(graph.config.layers)]

    @property
    def _by_neuron(self) -> tuple[str, ...]:
        """The roles of which only the rows of active neurons are read."""
        gated = self.model.config.gated
        return ROLES[not gated:] if has_objects(self.graph) else BY_ROWS[not gated:]

    @property
    def formats(self) -> dict[str, str]:
        """How each tensor is stored, by role. Where layers differ, "layer0.q" stands for layer 0 and the layers like it."""
        once = {role: placed.stored for role, placed in self.layout.once.items()}
        alike = self.layout.alike()
        return once | {f"{'' if len(alike) == 1 else f'layer{layers[0]}.'}{role}": placed.stored
                       for layers, body in alike for role, placed in body.items()}

    @property
    def integer_activations(self) -> bool:
        """Whether integer weights are multiplied by integer activations."""
        return any({"i8", "i16"} & set(op.kind.split(".")) and op.kind.startswith(("gemv", "collect"))
                   for _, op in self.graph.steps())

    @property
    def could_decode(self) -> bool:
        """Whether integer weights could be decoded instead, by --activations f32."""
        integers = [placed for placed in self.layout.every() if placed.scale_count]
        if any(placed.reused or placed.chunks for placed in integers):
            return False
        if "active" in self.graph.values and any(placed.role in self._by_neuron for placed in integers):
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

    @property
    def _predicts(self) -> bool:
        """Whether what is read is predicted: not behind cuts, nor of several texts in halves that take turns or by head."""
        several = self.memory.sequences > 1
        return not (self.memory.turns or self.graph.cuts or (several and is_by_head(self.graph)))

    def _reads_as_json(self) -> dict[str, Any] | None:
        """What the model card says of what stays and what a token reads, or a step of all sequences; None where units reach weights
        in their memory. What a token reads behind a prompt that is cut is not predicted."""
        if self.target.reached:
            return None
        choice = self.choice
        reads = {} if not self._predicts else {
            "exact": choice.exact,
            "outside": choice.formula(near=False).as_json(), "scratchpad": choice.formula(near=True).as_json()}
        return {"stays": about(self.layout, self.memory), "loaded_bytes": choice.loaded, "buffer_bytes": self.memory.buffer_bytes,
                "memory": self.target.weights.region, **reads}

    def _reads(self) -> list[str]:
        """What stays in the scratchpad and what a token reads, where units do not reach weights in their memory."""
        choice, home = self.choice, self.target.weights.region
        if self.target.reached:
            return []
        stays, context = about(self.layout, self.memory), self.memory.context
        what = f"{choice.loaded:,} bytes of {home} are copied there once, and stay" if stays else "no weights and caches stay there"
        lines = [f"{SRAM}: {what}{'; the rest streams' if stays and self.memory.buffer_bytes else ''}",
                 *(f"  {line}" for line in stays)]
        if not self._predicts:
            return lines
        most, texts = "" if choice.exact else "at most ", self.memory.sequences
        who = (f"a step of {texts} texts that look at p positions each" if texts > 1 else
               "a generated token that looks at p positions")
        lines += [f"{region}: {who} reads {most}{choice.formula(near)} bytes" for region, near in ((home, False), (SRAM, True))]
        if texts > 1:                                   # buffers are chosen by what a token of one text reads
            return lines
        others = [other for other in self.others if other.memory.buffer_bytes != self.memory.buffer_bytes]
        for words, each in (("tiles", choice), ("next best", others[0] if others else None)):
            if each:
                lines.append(f"{words}: {each.said(context // 2)}")
        return lines

    def _sparse(self) -> list[str]:
        """Which matrices are stored without their zeros, and what that saves."""
        lines = []
        alike = self.layout.alike()
        for layers, body in alike:
            title = "each layer" if len(alike) == 1 else title_of(layers)
            for role, placed in body.items():
                if placed.layout:
                    dense, elements = placed.rows * placed.row_bytes, prod(placed.shape)
                    stored = placed.values_size * 8 / int(placed.format.packing.bits) / elements
                    lines.append(f"  {role} of {title}: {placed.layout.name}, {100 * stored:.1f} % of the values, "
                                 f"{placed.held:,} bytes; dense {dense:,}")
        return ["zeros are not stored:", *lines] if lines else []

    def summary(self) -> str:
        """The memory map: what the program takes of each memory, a line each; then what people may want to know about it."""
        memory, target, residency = self.memory, self.target, self.memory.residency
        outside = self.model.config.layers - memory.cached
        kinds = self.layout.said(lambda placed: not placed.banked) or "the banks"
        rows, lines = target.mapped(
            (target.weights.region, self.layout.size, f"weights: {'' if ' in ' in kinds else 'matrices in '}{kinds}"),
            (target.caches.region, memory.cache_bytes - sum(memory.cache_start(base, memory.cached) for base in memory.layer_bytes),
             f"keys and values of {counted(outside, 'layer')}, {memory.context} positions, in {self.graph.values['keys'].format}"))
        rows = [row for row in rows if row[1]]          # of caches that are all near there is none
        if memory.shown:
            rows.append((target.outside.region, memory.outside[CHUNK_LOGITS],
                         f"logits of {memory.shown} tokens of a prompt, where those of every token are asked for (eval)"
                         + (f"; no room for those of {memory.chunk}" if memory.shown < memory.chunk else "")))
        rows.append((SRAM, memory.scratchpad_bytes, f"activations, in a scratchpad of {self.machine.region(SRAM).size:,} bytes"
                     + (f"; includes two tile buffers of {memory.buffer_bytes:,} bytes" if memory.buffer_bytes else "")
                     + (f"; {residency.end - residency.start:,} bytes are what stays there" if residency.end else "")))
        waits = {name: size for name, size in memory.outside.items() if name in (WAITING, PLACES, PROMPT_ENDS)}
        if waits:
            rows.append((target.outside.region, sum(waits.values()),
                         "hidden states and positions of a prompt, which wait before cuts"))
        if moved := {name: size for name, size in memory.outside.items() if name not in (*waits, CHUNK_LOGITS)}:
            rows.append((target.outside.region, sum(moved.values()),
                         f"{', '.join(moved)}: no room in the scratchpad"
                         + (f"; sampling takes {self.sampling.tile:,} tokens at a time" if self.sampling.tile else "")))
        lines += self._sparse()
        lines += self.model.packed
        if has_objects(self.graph):
            objects = target.objects(self.layout)
            rows.insert(1, (target.neurons.region, objects.size, f"objects of {self.model.config.hidden:,} neurons of each layer"))
            lines += about_objects(self.graph, self.layout, objects)
        lines += cim.about(self.machine, self.graph, self.layout)
        lines += self._reads()
        lines += [f"no {option}: {why}" for option, why in missing(self.machine).items()]
        lines += self.model.changed
        lines += filter(None, [said(self.graph)])
        if memory.sequences > 1:
            how = "twice, for half of the texts each" if memory.turns else "once for a token of each"
            lines.append(f"up to {memory.sequences} texts side by side, with keys and values of their own: weights are read {how}"
                         + ("" if memory.finish_together else "; but the head once for each, as there "
                                               "is no room for the logits of all"))
            lines += ["their prompts go through the layers one after the other"] * bool(self.graph.cuts)
        if memory.turns:
            lines.append(f"these halves take turns: while neurons of one come from {target.neurons.region}, the other goes on")
        lines += [f"before layer {cut.layer} at most {cut.budget:,} tokens of a prompt are left"
                  + (f": from there on keys and values have room for {memory.rows[cut.layer]:,} positions" if memory.rows else "")
                  for cut in self.graph.cuts]
        if memory.rows:
            whole = self.model.config.layers * sum(memory.layer_bytes.values())
            lines.append(f"at most {counted(self.graph.cuts[0].new or 0, 'token')} come behind a prompt: "
                         f"room for keys and values is {100 - 100 * memory.cache_bytes / whole:.1f} % less")
        lines += swaps.about(self.graph, memory, target.caches.region)
        if self.model.prune_tokens and (idle := self.model.prune_tokens.idle(self.model.config, memory.context)):
            lines.append(f"before {idle} no cut: the one before leaves as few tokens already")
        lines.append("the prompt runs token by token" if memory.chunk == 1 else
                     f"the prompt runs in chunks of {memory.chunk} tokens, with {memory.frame_bytes:,} bytes of activations each")
        if is_by_head(self.graph):
            tokens = memory.slots[SCORES].size // score_bytes(self.graph, memory.context)
            lines.append(f"a chunk goes through attention by head: keys and values of a head are read once for {tokens} tokens")
        if self.integer_activations:
            instead = " (--activations f32 uses fp32)" if self.could_decode else ""
            done = {op.kind for _, op in self.graph.steps()}
            wide, many = ("int16", "four") if "gemv.i16.parts" in done else ("int8", "two" * ("gemv.i8.parts" in done))
            parts = f", in {many} parts of four bits" * bool(many)
            lines.append(f"integer weights use {wide} activations, one scale per vector{parts}{instead}")
        if target.pairs and any(placed.format.book for _, body in self.layout.alike() for placed in body.values()):
            lines.append("codes of codebooks are looked up two at a time")
        if self.decodes:
            lines.append("integer weights are decoded for fp32 activations: products on the vector unit")
        return "\n".join([*(f"  {region:<5} {size:>15,} bytes  {text}" for region, size, text in rows),
                          *(f"  {line}" for line in lines)])


def _tell(progress: Progress | None, before: int, whole: int, done: int) -> None:
    if progress:
        progress(before + done, whole)
