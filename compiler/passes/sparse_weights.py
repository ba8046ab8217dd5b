"""Weights with zeros: which sparse layout each matrix gets, where a machine has the sp unit or macros. Zeros are then not stored.

    layout_of(tensor, able) -> Bitmask(1), or None where dense is as good

A layout is chosen by the bytes that it takes: codes and metadata. N of M is there for the smallest N that holds every group of a
matrix, M 4, 8 or 16; bitmasks for single columns and for blocks of 4. Products of a dense matrix are faster, so a sparse layout has
to save a quarter at least. What is chosen belongs to the tensor: layers whose matrices differ get bodies of their own.

A matrix is walked through once to be counted, but only if its first rows promise something: as the checkpoint has them, before they
are rounded to a format. Of a stage of a block-diagonal matrix it is known where the zeros are: nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.formats.layouts import Able
from compiler.graph import Graph, Op, check, role_of
from compiler.model.monarch import StageTensor, stage_of
from compiler.model.tensors import BLOCK, F32, Codes, DerivedTensor, Tensor
from isa.sparse import Bitmask, Columns, Diagonals, NOfM, Packed, SparseLayout
from isa.sparse.layout import FORMS

Wanted = Callable[[str, Tensor], SparseLayout | Able | None]
"""For the role of a matrix, "layers.3.q", and the matrix: its layout, or among which ones it is chosen; None: it stays dense."""

SAVES = 3 / 4               # of the dense bytes, what a sparse layout takes at most
_PROMISE = 1.1              # what the first rows may take beyond that
_FIRST = 1 << 16            # values of these rows
_GROUPS = (4, 8, 16)        # M
_FASTER = 0.85              # N of M may take some more than a bitmask: it is faster, as all groups are alike
_BLOCK = 4                  # columns of a block of a bitmask
_FEW = 0.08                 # density below which columns are listed: a column takes 16 bits, a bitmask one for each column


@dataclass(frozen=True, kw_only=True)
class SparseTensor(DerivedTensor):
    """A matrix that is stored without its zeros: `layout`. Its values are those of its source.

    asked   the layout was asked for, and nobody has looked whether the zeros lie as it needs them
    """

    layout: SparseLayout
    asked: bool = False

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    @property
    def stored(self) -> str:
        return f"{super().stored} {self.layout.name}"

    def _rows(self, first: int, last: int) -> F32:
        return self.source.rows(first, last)

    def _codes(self, first: int, last: int) -> Codes:
        return self.source.codes(first, last)

    @cached_property
    def _bytes(self) -> tuple[int, int]:
        """Bytes of its stored values and of its metadata. The matrix is read for them. Raises ModelError for zeros that lie
        otherwise than the layout needs."""
        sizes = [(packed.values.size, packed.meta.size) for packed, _ in self.packed()]
        return sum(values for values, _ in sizes), sum(meta for _, meta in sizes)

    @property
    def value_bytes(self) -> int:
        row = 0 if self.asked else self.layout.row_values(self.matrix[1], self.format.packing)
        return self.matrix[0] * row or self._bytes[0]

    @property
    def meta_bytes(self) -> int:
        return self._bytes[1] if self.layout.has_offsets else self.layout.meta_bytes(*self.matrix)

    @cached_property
    def run_bytes(self) -> npt.NDArray[np.int64]:
        """Bytes of the stored values of each row, or of the rows that belong together, (runs,)."""
        return np.concatenate([self.layout.bytes_together(packed) for packed, _ in self.packed()])

    @cached_property
    def counted_most(self) -> int:
        """The most that the offsets of its layout count in such a run; 0 where there are none."""
        return max(int(np.diff(packed.offsets.astype(np.int64)).max(initial=0)) for packed, _ in self.packed()
                   if packed.offsets is not None) if self.layout.has_offsets else 0

    def packed(self) -> Iterator[tuple[Packed, list[F32]]]:
        """(values, metadata, offsets; scales) of its rows, block by block. The offsets of a block begin with 0."""
        rows, step = self.matrix[0], -(-max(1, BLOCK // self.matrix[1]) // self.layout.together) * self.layout.together
        for first in range(0, rows, step):
            last = min(first + step, rows)
            codes = self.codes(first, last) if self.format.has_codes else None
            try:
                packed = self.layout.pack(self.rows(first, last) if codes is None else codes.values, self.format.name)
            except ValueError as error:
                raise ModelError(self.file, f"tensor {self.name}", got=f"{error} (rows from {first} on)",
                                 expected=f"zeros as {self.layout.name} needs them", hint="--sparse auto, or --prune") from None
            yield packed, [] if codes is None else [codes.scales.reshape(-1)]


@dataclass(frozen=True, kw_only=True)
class StoredBlocks(SparseTensor):
    """A stage of a block-diagonal matrix, of which the blocks are stored, all of them: they are packed without their zeros."""

    source: StageTensor

    @property
    def value_bytes(self) -> int:
        return self.matrix[0] * self.format.row_bytes(self.source.source.matrix[1])

    def packed(self) -> Iterator[tuple[Packed, list[F32]]]:
        for first, last in self.source.source.blocks():
            codes = self.source.source.codes(first, last) if self.format.has_codes else None
            values = self.format.packing.pack(self.source.source.rows(first, last) if codes is None else codes.values)
            stored = np.zeros((last - first, self.matrix[1] // self.source.squares.block), np.uint8)
            np.put_along_axis(stored, self.source.stored_blocks(first, last), 1, axis=1)
            yield (Packed(self.format.name, last - first, self.matrix[1], values.reshape(-1),
                          np.packbits(stored, axis=1, bitorder="little").reshape(-1)),
                   [] if codes is None else [codes.scales.reshape(-1)])


@dataclass(frozen=True, kw_only=True)
class StoredDiagonals(SparseTensor):
    """A stage of a block-diagonal matrix, block by block, as macros load it (isa/sparse/bd.py)."""

    source: StageTensor

    @property
    def value_bytes(self) -> int:
        return self.matrix[0] * self.source.source.matrix[1]

    def packed(self) -> Iterator[tuple[Packed, list[F32]]]:
        stage, rows = self.source, self.source.source
        size, each = stage.squares.block, stage.squares.side
        step = max(1, BLOCK // (each * rows.matrix[1])) * each                      # whole squares
        for first in range(0, self.matrix[0], step):
            codes = rows.codes(first, min(first + step, self.matrix[0]))
            values = codes.values.reshape(-1, size, size, rows.matrix[1] // size, size)     # (i, r, k, j, c) to (i, j, k, r, c)
            data = np.ascontiguousarray(values.transpose(0, 3, 2, 1, 4)).view(np.uint8).reshape(-1)
            packed = Packed(self.format.name, len(codes.values), self.matrix[1], data, np.zeros(0, np.uint8))
            yield packed, [codes.scales.reshape(-1)]


@dataclass
class Zeros:
    """Counts of a matrix: its columns, elements, those that are not zero, blocks with one of these, the fullest group by M."""

    cols: int
    elements: int = 0
    kept: int = 0
    blocks: int = 0
    fullest: dict[int, int] = field(default_factory=lambda: dict.fromkeys(_GROUPS, 0))

    def see(self, present: npt.NDArray[np.bool_]) -> None:
        """Count rows, (rows, cols): what is not zero."""
        cols = present.shape[1]
        self.elements += present.size
        self.kept += int(np.count_nonzero(present))
        counts = np.pad(present, ((0, 0), (0, -cols % _GROUPS[-1]))).view(np.uint8)      # by group, first by column
        size = 1
        for wanted in _GROUPS:
            while size < wanted:
                counts, size = counts[:, ::2] + counts[:, 1::2], 2 * size
            self.fullest[size] = max(self.fullest[size], int(counts.max(initial=0)))
            if size == _BLOCK:
                self.blocks += int(np.count_nonzero(counts))

    def bits(self, width: int, able: Able) -> dict[SparseLayout, float]:
        """Bits that an element takes, values of `width` bits, in each layout that is allowed. Of N of M those with the least N."""
        found: dict[SparseLayout, float] = {
            Bitmask(1): self.kept * width / self.elements + 1,
            Bitmask(_BLOCK): self.blocks * _BLOCK * width / self.elements + 1 / _BLOCK}
        if self.kept < _FEW * self.elements:
            found[Columns()] = self.kept * (width + 16) / self.elements
        found = {layout: bits for layout, bits in found.items() if able.allows(layout)}
        for m, fullest in self.fullest.items():
            least = next((layout for layout in (NOfM(n, m) for n in range(max(fullest, 1), m)) if able.allows(layout)), None)
            if least:
                found[least] = least.n * -(-self.cols // m) / self.cols * (width + least.index_bits)
        return found


def all_dense(_role: str, _tensor: Tensor) -> None:
    """A Wanted: no matrix is stored without its zeros."""


def layout_of(tensor: Tensor, wanted: SparseLayout | Able | None) -> SparseLayout | None:
    """The sparse layout of a matrix, None: dense. `wanted`: a layout, which is not doubted, or among which ones it is chosen."""
    if wanted is None or tensor.format.name not in FORMS:
        return None
    if isinstance(wanted, SparseLayout):
        return wanted
    if 0 < wanted.most_columns < tensor.matrix[1]:
        return None
    source, width = tensor, int(tensor.format.packing.bits)
    while isinstance(source, DerivedTensor) and source.rounds:
        source = source.source
    if stage := stage_of(source):
        bits_of: list[tuple[SparseLayout, float]] = [(stage.layout, stage.density * width + 1 / stage.squares.block)]
        if isinstance(tensor, StageTensor):             # else it has scales for groups of columns, or a codebook
            bits_of.insert(0, (stage.diagonals, stage.density * width))
        return next((layout for layout, bits in bits_of if wanted.allows(layout) and bits <= SAVES * width), None)
    zeros = Zeros(tensor.matrix[1])
    zeros.see(_present(source, *next(source.blocks(_FIRST))))
    if min(zeros.bits(width, wanted).values(), default=width) > SAVES * width * _PROMISE:
        return None
    zeros = Zeros(tensor.matrix[1])
    for first, last in tensor.blocks():
        zeros.see(_present(tensor, first, last))
    bits = zeros.bits(width, wanted)
    best = min(bits, key=lambda layout: bits[layout] * (_FASTER if isinstance(layout, NOfM) else 1), default=None)
    return best if best and bits[best] <= SAVES * width else None


def _present(tensor: Tensor, first: int, last: int) -> npt.NDArray[np.bool_]:
    """Which elements of some rows are not zero, (last - first, cols)."""
    codes = tensor.format.has_codes
    present: npt.NDArray[np.bool_] = (tensor.codes(first, last).values if codes else tensor.rows(first, last)) != 0
    return present


def with_layouts(tensors: dict[str, Tensor], wanted: Wanted) -> dict[str, Tensor]:
    """The tensors, those of layers in the layouts that are wanted or chosen."""
    found = dict(tensors)
    for role, tensor in tensors.items():
        if role.startswith("layers.") and len(tensor.shape) == 2 and (layout := layout_of(tensor, asked := wanted(role, tensor))):
            if isinstance(tensor, StageTensor) and isinstance(layout, Diagonals):
                found[role] = StoredDiagonals(tensor.name, tensor.shape, tensor.format, tensor.group, source=tensor, layout=layout)
            elif isinstance(tensor, StageTensor) and tensor.layout == layout:
                found[role] = StoredBlocks(tensor.name, tensor.shape, tensor.format, tensor.group, source=tensor, layout=layout)
            else:
                found[role] = SparseTensor(tensor.name, tensor.shape, tensor.format, tensor.group, source=tensor, layout=layout,
                                           asked=isinstance(asked, SparseLayout))
    return found


def with_products(graph: Graph, tensors: Mapping[str, Tensor]) -> Graph:
    """The graph whose products take their matrices as they are stored."""
    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        return [replace(op, kind=f"{op.kind}.sparse") if op.kind in ("gemv", "gemv.i8") and isinstance(
            tensors.get(role_of(op.weights[0], layer)), SparseTensor) else op for op in ops]

    return check(graph.in_layers(converted))


def in_macros(graph: Graph, tensors: Mapping[str, Tensor]) -> Graph:
    """The graph whose products with int8 matrices are those of the cim unit, whatever zeros they have."""
    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        return [replace(op, kind="gemv.i8.cim") if op.kind in ("gemv.i8", "gemv.i8.sparse") and _matrix(
            tensors, op.weights[0], layer).format.name == "i8" else op for op in ops]

    return check(replace(graph.in_layers(converted), start=converted(graph.start), finish=converted(graph.finish)))


def _matrix(tensors: Mapping[str, Tensor], role: str, layer: int | None) -> Tensor:
    """The matrix of a weight of an operation; a head that the file lacks is the embedding."""
    return tensors.get(role_of(role, layer)) or tensors["embedding"]
