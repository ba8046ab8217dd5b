"""A compiled network as a program file: what `infer` needs besides the program stands in the file's metadata, as "network"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.networks.program import CompiledNetwork
from isa.preset import Preset
from isa.program import Program, ProgramError

SCHEMA = 1              # of this part of the metadata


@dataclass(frozen=True)
class SavedNetwork:
    """A program that was compiled from a network."""

    program: Program
    image: tuple[int, int, int]
    outputs: int
    memory: dict[str, Any]

    @property
    def machine(self) -> Preset:
        """The machine that it was compiled for."""
        return self.program.machine

    def as_json(self) -> dict[str, Any]:
        """What "memory" has."""
        return self.memory


def save(compiled: CompiledNetwork, path: Path) -> None:
    """Write the ELF file, whole or not at all. Raises OSError."""
    program = compiled.program
    program.meta["network"] = {"schema": SCHEMA, "source": compiled.network.path.name, "image": list(compiled.image),
                               "outputs": compiled.outputs, "memory": compiled.as_json()}
    program.save(path)


def load_saved(path: Path) -> SavedNetwork:
    """Raises ProgramError for a program that is none of a network, OSError."""
    program = Program.load(path)
    card = program.meta.get("network")
    if not isinstance(card, dict):
        raise ProgramError("it was not compiled from a network", path=str(path),
                           hint="slimulator compile NETWORK -o FILE.elf makes one")
    image, outputs, memory = (card.get(key) for key in ("image", "outputs", "memory"))
    sizes = [*image, outputs] if isinstance(image, list) else []
    if (card.get("schema") != SCHEMA or len(sizes) != 4 or not all(isinstance(size, int) and size > 0 for size in sizes)
            or not isinstance(memory, dict) or not {"image", "logits"} <= {symbol.name for symbol in program.symbols}):
        raise ProgramError("its metadata of a network is of another version", path=str(path), hint="compile it again")
    height, width, channels, outputs = sizes
    return SavedNetwork(program, (height, width, channels), outputs, memory)
