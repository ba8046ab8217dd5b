"""From a checkpoint to a program: passes, plans, the text, the file.

    compiled = compile_model(open_model(path), machine="slim", weights="t2")
    compiled.save(Path("story.elf"))

The program is the assembler's output of `compiled.text` with the weights file beside it: `write_source` writes both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asm.assembler import assemble
from compiler.errors import ModelError
from compiler.graph import Graph
from compiler.memory_plan import MemoryPlan, plan_memory
from compiler.model import Model
from compiler.program import Mark, write_program
from compiler.quantise import quantise
from compiler.recipe import Recipe
from compiler.sampling import add_sampling
from compiler.weights import Layout, plan_weights
from isa.elf import replacing
from isa.preset import Preset, load_preset
from isa.program import Program

EMBEDDING_FORMATS = ("f32", "f16", "bf16", "i8")
LONGEST_CONTEXT = 2048          # positions, unless more are asked for: caches and tables grow with them

Progress = Callable[[int, int], None]


@dataclass
class Compiled:
    """A model as a program: the text that the assembler reads, and everything that it was made from."""

    text: str
    model: Model                # quantised
    graph: Graph                # what the program computes, operation by operation
    layout: Layout
    memory: MemoryPlan
    machine: Preset
    marks: list[Mark] = field(repr=False, default_factory=list)

    WEIGHTS = "weights.bin"     # the name that the text knows

    def build(self, folder: Path, progress: Progress | None = None) -> Program:
        """Write the weights to `folder` and assemble. The program refers to them there until it is saved."""
        with replacing(folder / self.WEIGHTS) as stream:
            for done, size in self.layout.write(stream):
                if progress:
                    progress(done, size)
        program = assemble(self.text, machine=self.machine.name, include_paths=[folder])
        program.meta["model"] = self.card
        return program

    @property
    def card(self) -> dict[str, Any]:
        """What the program file says of its model."""
        c = self.model.config
        return {"architecture": c.architecture, "vocab": c.vocab, "dim": c.dim, "layers": c.layers, "heads": c.heads,
                "kv_heads": c.kv_heads, "hidden": c.hidden, "context": self.memory.context,
                "formats": {role: placed.format for role, placed in (*self.layout.once.items(), *self.layout.layer.items())}}

    def save(self, path: Path, progress: Progress | None = None) -> None:
        """Write the ELF file, whole or not at all."""
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            self.build(Path(folder), progress).save(path)


def compile_model(model: Model, *, machine: Preset | str = "slim", recipe: Recipe | None = None, context: int | None = None) -> Compiled:
    """Lower a model for a machine. Raises ModelError for what does not fit.

    `recipe` gives weight formats (None: as the checkpoint has them), `context` the most positions.
    """
    preset = load_preset(machine) if isinstance(machine, str) else machine
    model, graph = quantise(model, recipe or Recipe())
    positions = min(model.config.context, context or LONGEST_CONTEXT)
    if context and context > model.config.context:
        raise ModelError(model.path, "--context", got=str(context), expected=f"at most the {model.config.context} that the model was made for")
    layout = plan_weights(model, positions)
    embedding = layout.once["embedding"].format
    if embedding not in EMBEDDING_FORMATS:
        raise ModelError(model.path, "embedding", got=f"weights in {embedding}", expected="one of " + ", ".join(EMBEDDING_FORMATS),
                         hint="rows of it are read one at a time: name it in a recipe")
    memory = plan_memory(graph, positions, preset)
    if embedding != "f32":
        _scratch(memory, "embedded_row", layout.once["embedding"].row_bytes)
    add_sampling(memory, model.config.vocab)
    text, marks = write_program(graph, layout, memory, preset, Compiled.WEIGHTS, f"{model.path.name}: {model.config.architecture}")
    return Compiled(text, model, graph, layout, memory, preset, marks)


def _scratch(memory: MemoryPlan, name: str, size: int) -> None:
    from compiler.memory_plan import Slot
    memory.slots[name] = Slot(name, size, -(-memory.scratchpad_bytes // 64) * 64)
