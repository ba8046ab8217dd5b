"""The weights of a program as one file: where each tensor lies in it, and how it gets there, block by block.

    plan_weights(model, context) -> WeightLayout          offsets and sizes, nothing is read
    WeightLayout.write(stream)                            packs; resident memory does not grow with the model

The file is what a program has in flash (or DRAM) behind the symbol `weights`. It begins with the tensors that a model has once.
Then come the layers, each at the start of a page. Layers of one body of the graph are laid out alike: a program loops over them
with one base register. Behind a matrix of codes come its scales and, if the codes are indices, its codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np

from compiler.formats.recipe import PAIRS
from compiler.formats.weight_format import WEIGHT_FORMATS, WeightFormat
from compiler.graph import title_of
from compiler.model.model import SIDES, Model, layer_roles, roles
from compiler.model.tensors import BLOCK, Tensor
from compiler.passes.pack import PackedTensor
from compiler.passes.reuse import ReusedTensor
from compiler.passes.sparse_weights import SparseTensor
from compiler.placing.chunked import Chunks
from compiler.placing.chunked import write as write_chunks
from compiler.placing.reused import Reused
from compiler.placing.reused import write as write_reused
from isa.sparse import SparseLayout

ALIGN = 64              # of every tensor: a cache line
PAGE = 4096             # of every layer
CALIBRATED = ("predict_in", "predict_out", "thresholds")        # roles of a layer that calibration adds to a model
ROPE = "rope"           # the role of the table of cosines and sines, (context, head_dim) f32


@dataclass(frozen=True)
class Placed:
    """A tensor in the file. Offsets in bytes, from `weights` or, of a layer's tensor, from the layer's base.

    scale_group  columns that share one of the fp32 scales at `scales`; 0: one scale for all
    by_column    the file has the tensor column by column: `shape` is as in the file, scales are those of the tensor's rows
    layout       of a matrix that is stored without its zeros: values_size bytes of values and meta_bytes of metadata at `meta`, the
                 most of all layers; at `offsets` those of the layout, if it has any
    starts       where u32 are that say how many bytes of values there are before each run of rows and before the end; 0: nobody
                 asked for them. run_most: the most bytes of values that a run has, and what the offsets count in it, at most
    banked       the file has the scales alone: the matrix lies in the banks of a PIM memory (bank_placement.py)
    in_objects   the file has the scales alone: the rows are parts of the objects of neurons (objects.py)
    reused       of a matrix that is stored as centres and differences: `format` is that of the differences
    chunks       of a matrix that is stored as packed chunks
    table, pairs what a recipe says of the codebook, and whether codes are looked up two at a time
    """

    role: str
    shape: tuple[int, ...]
    offset: int
    format: WeightFormat
    scales: int = 0
    scale_group: int = 0
    by_column: bool = False
    banked: bool = False
    in_objects: bool = False
    layout: SparseLayout | None = None
    values_size: int = 0
    meta: int = 0
    meta_bytes: int = 0
    offsets: int = 0
    starts: int = 0
    run_most: tuple[int, int] = (0, 0)
    reused: Reused | None = None
    chunks: Chunks | None = None
    table: str = ""
    pairs: bool = False

    @property
    def row_bytes(self) -> int:
        return self.format.row_bytes(self.shape[-1])

    @property
    def rows(self) -> int:
        return self.shape[0] if len(self.shape) == 2 else 1

    @property
    def scale_count(self) -> int:
        """fp32 scales behind the codes."""
        if not self.format.has_codes:
            return 0
        if self.by_column:
            return self.shape[1] if self.scale_group else 1
        return self.rows * (self.shape[-1] // self.scale_group) if self.scale_group else 1

    @property
    def row_scale_bytes(self) -> int:
        """Bytes of the scales that only a row has; 0: one scale for all rows, or by columns."""
        return 4 * self.scale_count // self.rows if self.scale_group and not self.by_column else 0

    @property
    def stored(self) -> str:
        """Format and scales, as a recipe names them: "f32", "t2:tensor", "i8:row", "i4:32". Codes in banks are i8 there."""
        if not self.scale_count:
            return f"{self.format.name} {self.layout.name}" if self.layout else self.format.name
        name = "i8" if self.banked else self.reused.reuse.format.name if self.reused else self.format.name
        rows = self.by_column or self.scale_group == self.shape[-1]
        table, pairs = (self.table, self.pairs) if name == self.format.name else ("", False)
        columns = "tensor" if not self.scale_group else "row" if rows else str(self.scale_group)
        name = ":".join((name, *filter(None, [table]), columns)) + PAIRS * pairs
        beside = (self.layout.name if self.layout else f"reuse:{self.reused.columns}" if self.reused else
                  f"packed:{self.chunks.weights}" if self.chunks else "")
        return f"{name} {beside}".rstrip()

    @property
    def is_matrix(self) -> bool:
        """Whether a recipe may give it a format."""
        return len(self.shape) == 2 and self.role not in (ROPE, "positions")

    @property
    def codebook(self) -> int:
        """Where the int8 values of a codebook stand, as many as the format can tell apart."""
        return self.scales + 4 * self.scale_count

    @property
    def uniform_row_bytes(self) -> int:
        """Bytes of the stored values of each row, where its layout has rows that are all alike; else 0."""
        return self.layout.row_values(self.shape[1], self.format.packing) if self.layout else 0

    @property
    def offset_bytes(self) -> int:
        """Bytes of the offsets of its layout."""
        return 4 * (self.layout.runs(self.rows) + 1) if self.layout and self.layout.has_offsets else 0

    @property
    def start_bytes(self) -> int:
        """Bytes of what `starts` is the address of."""
        return 4 * (self.layout.runs(self.rows) + 1) if self.layout and self.starts else 0

    @property
    def end(self) -> int:
        if self.layout:
            last = self.offsets + self.offset_bytes if self.offset_bytes else self.meta + self.meta_bytes
            return self.starts + self.start_bytes if self.starts else last
        if self.reused:
            return self.reused.order + 4 * self.rows
        if self.chunks:
            return self.chunks.table + self.chunks.table_bytes
        return self.codebook + self.format.book if self.scale_count else self.offset + self.held

    @property
    def held(self) -> int:
        """Bytes of the matrix or vector that are in the file."""
        if self.layout:
            return self.values_size + self.meta_bytes + self.offset_bytes + self.start_bytes
        if self.reused:
            return self.rows * self.row_bytes + self.reused.bytes_beside(self.rows)
        if self.chunks:
            return self.chunks.size + self.chunks.table_bytes
        return 0 if self.banked or self.in_objects else self.rows * self.row_bytes


@dataclass
class WeightLayout:
    """Where everything is: `once` and, for each body of the graph, `bodies` by role (of a layer: "q").

    groups      the layers of each body
    body_bytes  from a layer of it to the next one; the first layer is at `layers_at`
    """

    model: Model
    context: int
    groups: Sequence[tuple[int, ...]]
    once: dict[str, Placed] = field(default_factory=dict)
    bodies: list[dict[str, Placed]] = field(default_factory=list)
    body_bytes: list[int] = field(default_factory=list)
    layers_at: int = 0

    def split(self, groups: Sequence[tuple[int, ...]]) -> WeightLayout:
        """The same file for other groups, each of them a part of one of these."""
        own = [next(number for number, layers in enumerate(self.groups) if group[0] in layers) for group in groups]
        return replace(self, groups=groups, bodies=[self.bodies[number] for number in own],
                       body_bytes=[self.body_bytes[number] for number in own])

    def alike(self) -> list[tuple[tuple[int, ...], dict[str, Placed]]]:
        """(layers, tensors) of the layers that are laid out alike, in one group or in several."""
        found: list[tuple[tuple[int, ...], dict[str, Placed]]] = []
        for layers, body in zip(self.groups, self.bodies, strict=True):
            same = next((number for number, (_, other) in enumerate(found) if other == body), None)
            if same is None:
                found.append((tuple(layers), body))
            else:
                found[same] = tuple(sorted((*found[same][0], *layers))), body
        return found

    @property
    def layer(self) -> dict[str, Placed]:
        """A layer's, where all are laid out alike."""
        (_, body), = self.alike()
        return body

    @property
    def layer_bytes(self) -> int:
        size, = set(self.body_bytes)
        return size

    def layers(self) -> Iterator[tuple[int, dict[str, Placed]]]:
        """(offset, tensors) of each layer."""
        body_of = {layer: body for body, layers in enumerate(self.groups) for layer in layers}
        at = self.layers_at
        for layer in range(self.model.config.layers):
            yield at, self.bodies[body_of[layer]]
            at += self.body_bytes[body_of[layer]]

    def every(self) -> Iterator[Placed]:
        """The tensors that a model has once, then those of a layer of each body."""
        yield from self.once.values()
        for body in self.bodies:
            yield from body.values()

    def said(self, counts: Callable[[Placed], bool] = lambda placed: True) -> str:
        """The formats of the model's matrices that count: "f32", or "t2:tensor in layers; i8:row in embedding"."""
        where: dict[str, list[str]] = {}
        alike = self.alike()
        for layers, body in alike:
            title = "layers" if len(alike) == 1 else title_of(layers)
            found, beside = dict[str, list[str]](), dict[str, str]()
            for role, placed in body.items():
                if placed.is_matrix and counts(placed) and role not in CALIBRATED:
                    if role.endswith(SIDES):
                        beside[placed.stored] = "repairs" if len(alike) == 1 else f"repairs of {title}"
                    else:
                        found.setdefault(placed.stored, []).append(role)
            for form, roles_of in found.items():
                where.setdefault(form, []).append(title if len(found) == 1 else f"{', '.join(roles_of)} of {title}")
            for form, said in beside.items():
                where.setdefault(form, []).append(said)
        for role, placed in self.once.items():
            if placed.is_matrix and counts(placed):
                where.setdefault(placed.stored, []).append(role)
        return next(iter(where), "") if len(where) < 2 else "; ".join(f"{form} in {', '.join(at)}" for form, at in where.items())

    @property
    def size(self) -> int:
        return self.layers_at + sum(size * len(layers) for size, layers in zip(self.body_bytes, self.groups, strict=True))

    def write(self, stream: IO[bytes]) -> Iterator[tuple[int, int]]:
        """Write the file; yields (bytes so far, all bytes) as it goes on."""
        start = stream.tell()

        def pad(offset: int) -> None:
            stream.write(bytes(start + offset - stream.tell()))

        for role, placed in self.once.items():
            pad(placed.offset)
            yield from self._table(stream) if role == ROPE else self._tensor(stream, placed, self.model.tensor(role))
        for layer, (base, body) in enumerate(self.layers()):
            for role, placed in body.items():
                pad(base + placed.offset)
                yield from self._tensor(stream, placed, self.model.tensor(f"layers.{layer}.{role}"))
        pad(self.size)

    def _table(self, stream: IO[bytes]) -> Iterator[tuple[int, int]]:
        rope = self.model.config.rope
        assert rope is not None
        for position in range(self.context):
            stream.write(rope.table(position).tobytes())
        yield stream.tell(), self.size

    def _sparse(self, stream: IO[bytes], placed: Placed, tensor: SparseTensor) -> Iterator[tuple[int, int]]:
        """Values, scales, metadata, offsets."""
        start, scales, meta, offsets = stream.tell() - placed.offset, list[Any](), list[Any](), [np.zeros(1, np.uint32)]

        def put(at: int, parts: Sequence[Any], kind: str) -> None:
            stream.write(bytes(start + at - stream.tell()))
            stream.write(np.concatenate(parts).astype(kind).tobytes())

        for packed, found in tensor.packed():
            stream.write(packed.values.tobytes())
            meta.append(packed.meta)
            scales += found
            if packed.offsets is not None:
                offsets.append(offsets[-1][-1] + packed.offsets[1:])
            yield stream.tell(), self.size
        if placed.scale_count:
            put(placed.scales, [np.concatenate(scales)[:placed.scale_count]], "<f4")
        put(placed.meta, meta, "u1")
        if placed.offset_bytes:
            put(placed.offsets, offsets, "<u4")
        if placed.starts:
            put(placed.starts, [[0], np.cumsum(tensor.run_bytes)], "<u4")
        yield stream.tell(), self.size

    def _tensor(self, stream: IO[bytes], placed: Placed, tensor: Tensor) -> Iterator[tuple[int, int]]:
        if isinstance(tensor, SparseTensor):
            yield from self._sparse(stream, placed, tensor)
            return
        if isinstance(tensor, ReusedTensor):
            assert placed.reused
            yield from ((at, self.size) for at in write_reused(stream, tensor, placed.reused, placed.offset, placed.scales))
            return
        if isinstance(tensor, PackedTensor):
            assert placed.chunks
            yield from ((at, self.size) for at in write_chunks(stream, tensor, placed.chunks, placed.offset, placed.scales))
            return
        scales: list[Any] = []
        for values, found in (_columns if placed.by_column else _rows)(placed, tensor):
            if placed.held:
                stream.write(placed.format.packing.pack(values).tobytes())
            scales += found
            yield stream.tell(), self.size
        if placed.scale_count:
            stream.write(bytes(placed.scales - placed.offset - placed.held))
            stream.write(np.concatenate(scales)[:placed.scale_count].astype("<f4").tobytes())
        if placed.format.book:          # zeros for what no code needs
            stream.write(np.array(tensor.levels, np.int8).tobytes().ljust(placed.format.book, b"\0"))


def packed_rows(placed: Placed, tensor: Tensor) -> Iterator[Any]:
    """The rows of a dense matrix as they are stored, block by block: uint8 (rows, row_bytes)."""
    for values, _ in (_columns if placed.by_column else _rows)(placed, tensor):
        yield placed.format.packing.pack(values)


def _rows(placed: Placed, tensor: Tensor) -> Iterator[tuple[Any, list[Any]]]:
    """(rows to be packed, their scales), block by block. Of codes with a codebook, indices in it are packed."""
    blocks = tensor.blocks() if not placed.banked or placed.scale_group else list(tensor.blocks())[:bool(placed.scale_count)]
    for block in blocks:
        if placed.scale_count:
            codes = tensor.codes(*block)
            values = codes.values
            if placed.format.book and not placed.banked:
                values = np.searchsorted(np.array(tensor.levels), values).astype(np.int8)
            yield values, [codes.scales.reshape(-1)]
        else:
            yield tensor.rows(*block), []


def _columns(placed: Placed, tensor: Tensor) -> Iterator[tuple[Any, list[Any]]]:
    """The same of columns. The tensor is read once and held, codes as int8."""
    found = list(_rows(placed, tensor))
    values, scales = np.concatenate([block for block, _ in found]), [each for _, block in found for each in block]
    del found                           # the blocks are in `values` now: they need not be held twice
    step = max(1, BLOCK // len(values))
    for first in range(0, values.shape[1], step):
        yield np.ascontiguousarray(values[:, first:first + step].T), scales if first == 0 else []


def plan_weights(model: Model, context: int, groups: Sequence[tuple[int, ...]], by_column: Collection[str] = (),
                 banked: Callable[[str, int], object] = lambda role, layer: None,
                 in_objects: Collection[str] = (), *, fetched: bool = False, pairs: bool = False) -> WeightLayout:
    """Lay out the tensors of a quantised model for at most `context` positions; those roles of a layer column by column.

    groups  the layers of each body of the graph: they are laid out alike
    banked  where the matrix of a role ("layer.q", "head") in a layer lies, if not here: then the file has its scales alone
    in_objects  the roles of a layer whose rows are parts of the objects of neurons
    fetched whether rows are fetched, so that the program has to know where those begin that differ in their bytes
    pairs   whether codes of codebooks are looked up two at a time
    """
    layout, c = WeightLayout(model, context, groups), model.config
    once = [(role, shape) for role, shape in roles(c) if not role.startswith("layers.")]
    if c.rope:
        once.append((ROPE, (context, c.head_dim)))
    at = 0
    for role, shape in once:
        tensor = None if role == ROPE else model.tensor(role)
        placed = _place(role, shape, at, tensor, banked=bool(banked(role, 0)))
        layout.once[role] = _with_book(placed, tensor, pairs) if tensor else placed
        at = layout.once[role].end
    layout.layers_at = _up(at, PAGE)
    found = [(role, model.tensor(f"layers.0.{role}").shape) for role in CALIBRATED if f"layers.0.{role}" in model.tensors]
    for layers in groups:
        body, at = {}, 0
        for role, shape in (*layer_roles(c.of_layer(layers[0])), *found):
            tensors = [model.tensor(f"layers.{layer}.{role}") for layer in layers]
            if isinstance(tensors[0], SparseTensor):
                body[role] = _place_sparse(role, at, [tensor for tensor in tensors if isinstance(tensor, SparseTensor)], fetched)
            elif isinstance(tensors[0], ReusedTensor):
                body[role] = _place_reused(role, at, [tensor for tensor in tensors if isinstance(tensor, ReusedTensor)])
            elif isinstance(tensors[0], PackedTensor):
                body[role] = _place_chunks(role, at, [tensor for tensor in tensors if isinstance(tensor, PackedTensor)])
            else:
                apart = role in in_objects or bool(banked(f"layer.{role}", layers[0]))
                placed = _place(role, shape, at, tensors[0], role in by_column, apart)
                body[role] = replace(placed, banked=False, in_objects=True) if role in in_objects else placed
            body[role] = _with_book(body[role], tensors[0], pairs)
            at = body[role].end
        layout.bodies.append(body)
        layout.body_bytes.append(_up(at, PAGE))
    return layout


def _place(role: str, shape: tuple[int, ...], at: int, tensor: Tensor | None, by_column: bool = False,
           banked: bool = False) -> Placed:
    offset = _up(at, ALIGN)
    form, group = (WEIGHT_FORMATS["f32"], 0) if tensor is None or len(shape) == 1 else (tensor.format, tensor.group)
    if by_column:
        shape, group = shape[::-1], min(group, 1)
    if not form.has_codes:
        return Placed(role, shape, offset, form, by_column=by_column, banked=banked)
    size = 0 if banked else shape[0] * form.row_bytes(shape[1])
    return Placed(role, shape, offset, form, _up(offset + size, ALIGN), group, by_column, banked)


def _with_book(placed: Placed, tensor: Tensor, pairs: bool) -> Placed:
    """The same, if it has a codebook with what a recipe says of that."""
    return replace(placed, table=tensor.table, pairs=pairs) if placed.format.book else placed


def _place_sparse(role: str, at: int, tensors: Sequence[SparseTensor], fetched: bool) -> Placed:
    """A matrix without its zeros, with room for that of each of these layers."""
    first, offset, size = tensors[0], _up(at, ALIGN), max(tensor.value_bytes for tensor in tensors)
    placed = Placed(role, first.shape, offset, first.format, _up(offset + size, ALIGN), first.group, layout=first.layout,
                    values_size=size, meta_bytes=max(tensor.meta_bytes for tensor in tensors))
    placed = replace(placed, meta=_up(placed.scales + 4 * placed.scale_count, ALIGN))
    placed = replace(placed, offsets=_up(placed.meta + placed.meta_bytes, ALIGN) if placed.offset_bytes else 0)
    if not fetched or placed.uniform_row_bytes:
        return placed
    most = (max(int(tensor.run_bytes.max(initial=0)) for tensor in tensors), max(tensor.counted_most for tensor in tensors))
    return replace(placed, starts=_up(placed.end, ALIGN), run_most=most)


def _place_reused(role: str, at: int, tensors: Sequence[ReusedTensor]) -> Placed:
    """A matrix as centres and differences, like that of each of these layers: as many rows for buffer mode as each of them has."""
    first, offset, rows = tensors[0], _up(at, ALIGN), tensors[0].shape[0]
    reused = Reused(first.reuse, first.columns, first.pieces, min(tensor.order.buffered for tensor in tensors))
    form = first.reuse.differences
    placed = Placed(role, first.shape, offset, form, _up(offset + rows * form.row_bytes(first.shape[1]), ALIGN), first.group)
    centres = _up(placed.scales + 4 * placed.scale_count, ALIGN)
    assigned = _up(centres + reused.centres_bytes, ALIGN)
    order = _up(assigned + rows * reused.pieces, ALIGN)
    return replace(placed, reused=replace(reused, centres=centres, assigned=assigned, order=order))


def _place_chunks(role: str, at: int, tensors: Sequence[PackedTensor]) -> Placed:
    """A matrix as packed chunks, with room for that of each of these layers."""
    first, offset, chunks = tensors[0], _up(at, ALIGN), Chunks.of(tensors)
    placed = Placed(role, first.shape, offset, first.format, _up(offset + chunks.size, ALIGN), first.group)
    return replace(placed, chunks=replace(chunks, table=_up(placed.codebook + placed.format.book, ALIGN)))


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
