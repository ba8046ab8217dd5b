"""The tensors of a directory by name, without "model." in front, and which of them the model uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.errors import ModelError, shown
from compiler.frontends.shards import Stored, refuse_dtype


@dataclass
class Files:
    """Tensors by name. `used` are the names that were taken; `notes` is for what a user should know."""

    directory: Path
    stored: Mapping[str, Stored]
    notes: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        return name in self.stored

    def take(self, name: str, dtypes: Iterable[str], shape: tuple[int, ...] | None = None, *, why: str = "",
             hint: str = "") -> Stored:
        """A tensor of one of these types and, if one is given, this shape. Raises ModelError.

        why     what it is for, in words: "the scales of q_proj.weight"
        hint    what helps where the type is another one
        """
        self.used.add(name)
        if name not in self.stored:
            raise ModelError(self.directory, f"tensor {name}", got="missing", expected=why or "this tensor")
        found = self.stored[name]
        if found.dtype not in (known := tuple(dtypes)):
            raise refuse_dtype(found, known, hint)
        if shape is not None and found.shape != shape:
            raise ModelError(found.where.file, f"tensor {found.name}", got=f"shape {shown(found.shape)}",
                             expected=shown(shape) + (f", {why}" if why else ""))
        return found
