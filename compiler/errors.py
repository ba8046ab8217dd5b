"""What is wrong with a model, a tokenizer or a prompt: the one error class of everything that reads them.

    model/config.json: error: rope_scaling.rope_type: 'yarn'; expected default, linear or llama3
    hint: ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from isa.text import printable


class ModelError(Exception):
    """A model that cannot be used. `place` is the tensor or field of `file` that is wrong; the rest is text."""

    def __init__(self, file: Path | str, place: str, *, got: str, expected: str = "", hint: str = "") -> None:
        self.file, self.place, self.got, self.expected, self.hint = str(file), place, got, expected, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        file = f"{self.file}: " if self.file else ""
        place = f"{self.place}: " if self.place else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        said = printable(f"{file}error: {place}{self.got}{expected}")
        return said + (f"\nhint: {printable(self.hint)}" if self.hint else "")


class RoomError(ModelError):
    """What a model takes of a machine is more than the machine has. The compiler adds the options with which it fits.

    region  the memory that lacks room
    solved  the hint names something with which the model fits: then nothing is said where no option helps
    """

    def __init__(self, file: Path | str, place: str, *, region: str, got: str, expected: str = "", hint: str = "",
                 solved: bool = False) -> None:
        super().__init__(file, place, got=got, expected=expected, hint=hint)
        self.region, self.solved = region, solved


def most(sizes: Mapping[str, int]) -> str:
    """The largest three of what takes bytes, for errors: "the largest are scores (8,192) and logits (6,000)"."""
    *others, last = [f"{name} ({size:,})" for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:3] if size]
    return f"the largest are {', '.join(others)} and {last}" if others else f"of which {last}"


def one_of(names: Iterable[str]) -> str:
    """"a, b or c"."""
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def shown(shape: tuple[int | str, ...]) -> str:
    """A shape as text: [32000, 288]."""
    return f"[{', '.join(map(str, shape))}]"
