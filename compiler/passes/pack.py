"""The pass that packs chunks: integer matrices of layers as numbers of their chunks (formats/packed.py).

    pack_chunks(model, graph, (4, 8), machine) -> model         what is computed stays what it is

A role is packed in all layers of a body alike, with chunks of the length that takes fewer bytes there, or it is not packed: where
its format has no chunks of whole bytes, and where table and packets would take as many bytes as the matrix.

Source: MEADOW, arXiv 2503.11663.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compiler.errors import ModelError, one_of
from compiler.formats.packed import LENGTHS, Packed, chunk_bytes, pack
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.graph import Graph, role_of, title_of
from compiler.model.model import Model
from compiler.model.tensors import F32, Codes, DerivedTensor, Tensor
from isa.preset import Preset, presets_with

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class PackedTensor(DerivedTensor):
    """A matrix that is stored as chunks of so many weights. Its values are those of its source."""

    chunk: int

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    @property
    def stored(self) -> str:
        return f"{super().stored} packed:{self.chunk}"

    @property
    def chunk_bytes(self) -> int:
        return chunk_bytes(self.format, self.chunk)

    def _rows(self, first: int, last: int) -> F32:
        return self.source.rows(first, last)

    def _codes(self, first: int, last: int) -> Codes:
        return self.source.codes(first, last)

    def packed(self) -> Packed | None:
        """Table and packets; the whole matrix is read for them. None: it has too many chunks."""
        values = self.codes().values
        if self.format.book:
            values = np.searchsorted(np.array(self.levels), values).astype(np.int8)
        return pack(self.format.packing.pack(values), self.chunk_bytes)

    @cached_property
    def sizes(self) -> tuple[int, int] | None:
        """(chunks of the table, bytes of the packets). None: it has too many chunks."""
        packed = self.packed()
        return (len(packed.table), packed.stream.size) if packed else None


def parse_pack(text: str) -> tuple[int, ...]:
    """`auto`, `4` or `8`: the lengths of chunks of which the best is taken. Raises ModelError."""
    if text not in (AUTO, *map(str, LENGTHS)):
        raise ModelError("", "--pack", got=repr(text), expected=one_of((AUTO, *map(str, LENGTHS))))
    return LENGTHS if text == AUTO else (int(text),)


def can_pack(tensor: Tensor, lengths: Sequence[int] = LENGTHS) -> bool:
    """Whether a matrix has a format with chunks of whole bytes."""
    return len(tensor.shape) == 2 and any(chunk_bytes(tensor.format, length) for length in lengths)


def pack_chunks(model: Model, graph: Graph, lengths: Sequence[int], machine: Preset) -> Model:
    """The model with the matrices of its layers packed that gain by it; its `packed` says which, and which do not.

    Raises ModelError where none has a format with chunks, and for a machine without the units.
    """
    _check(model, graph, lengths, machine)
    tensors, gained, left = dict(model.tensors), list[str](), list[str]()
    for body in graph.bodies:
        title = "each layer" if len(graph.bodies) == 1 else title_of(body.layers)
        for role in dict.fromkeys(op.weights[0] for op in body.ops if op.kind == "gemv.i8"):
            names = [role_of(role, layer) for layer in body.layers]
            found, name = [tensors[each] for each in names], role.removeprefix("layer.")
            rows, row_bytes = found[0].shape[0], found[0].format.row_bytes(found[0].shape[1])
            choices = [made for length in lengths if chunk_bytes(found[0].format, length)
                       if (made := _packed(found, length)) and bytes_of(made) < rows * row_bytes]
            if not choices:
                left.append(f"{name} of {title}")
                continue
            best = min(choices, key=bytes_of)
            tensors |= dict(zip(names, best, strict=True))
            gained.append(f"  {name} of {title}: chunks of {best[0].chunk}, {rows * row_bytes:,} bytes as {bytes_of(best):,}, "
                          f"{rows * row_bytes / bytes_of(best):.2f} times as fast to fetch")
    said = ["packed chunks:" if gained else "packed chunks: none", *gained]
    if left:
        said.append(f"  not packed, it gains nothing: {', '.join(left)}")
    return replace(model, tensors=tensors, packed=tuple(said))


def _packed(tensors: Sequence[Tensor], length: int) -> list[PackedTensor] | None:
    """The matrices of a role as chunks; None where one has too many."""
    made = [PackedTensor(tensor.name, tensor.shape, tensor.format, tensor.group, source=tensor, chunk=length) for tensor in tensors]
    return made if all(tensor.sizes for tensor in made) else None


def room_of(tensors: Sequence[PackedTensor]) -> tuple[int, int]:
    """(chunks of the table, bytes of the packets) for which each of these layers has room."""
    sizes = [tensor.sizes for tensor in tensors if tensor.sizes]
    return max(chunks for chunks, _ in sizes), max(size for _, size in sizes)


def bytes_of(tensors: Sequence[PackedTensor]) -> int:
    """Bytes that one of these layers has for table and packets."""
    chunks, size = room_of(tensors)
    return chunks * tensors[0].chunk_bytes + size


def _check(model: Model, graph: Graph, lengths: Sequence[int], machine: Preset) -> None:
    for unit, why in (("lut", "it multiplies what was unpacked"), ("fetch", "it unpacks chunks")):
        if not machine.has_unit(unit):
            raise ModelError("", f"machine {machine.name}", got=f"no {unit} unit, and --pack", expected=f"one: {why}",
                             hint=presets_with((unit,)))
    matrices = [model.tensor(role_of(op.weights[0], body.layers[0])) for body in graph.bodies for op in body.ops
                if op.kind == "gemv.i8"]
    if not any(can_pack(tensor, lengths) for tensor in matrices):
        formats = [form.name for form in WEIGHT_FORMATS.values() if any(chunk_bytes(form, length) for length in lengths)]
        stored = dict.fromkeys(tensor.format.name for role, tensor in model.tensors.items()
                               if role.startswith("layers.") and len(tensor.shape) == 2)
        raise ModelError(model.path, "--pack", got=f"weights in {', '.join(stored)}", expected=f"matrices in {one_of(formats)}",
                         hint="chunks begin and end with a byte, and products with int8 activations read them")
