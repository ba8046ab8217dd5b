"""Matrices of packed chunks: the fetch unit unpacks rows of them into the buffers, wherever the packets lie.

Before its first row the table of a matrix is copied to the scratchpad. Each tile continues where the one before has ended:
fetch.unpack returns the address. So the core waits until a tile is there, while the other units work on the one before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from compiler.lowering.emit import BUFFER, Want, number
from compiler.passes.pack import PackedTensor
from compiler.placing.weights import Placed, WeightLayout

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

TABLE = "chunk_table"


def scratch(layout: WeightLayout) -> dict[str, int]:
    """Bytes of what unpacking needs beside values, by name."""
    sizes = [placed.chunks.table_bytes for placed in layout.every() if placed.chunks]
    return {TABLE: max(sizes)} if sizes else {}


def load_table(c: Lowering, role: str) -> None:
    """Copy the table of a matrix to the scratchpad, and say what its packets take."""
    e, placed = c.emit, c.tensor(role)
    chunks = placed.chunks
    assert chunks
    at = _table(c, role)
    e.op("fetch.copy", c.at(TABLE), at, number(chunks.table_bytes), writes=(TABLE,), near=c.is_near(at))
    far = 0 if c.is_near(at) else _packets(c, role)
    e.profile.together(_packets(c, role) - far, far)


def _table(c: Lowering, role: str) -> Want:
    """The address of the table."""
    placed = c.tensor(role)
    assert placed.chunks
    weight = c.weight(role)
    further = placed.chunks.table - placed.offset
    value = weight.value + further if isinstance(weight.value, int) else f"{weight.value} + {further}"
    return replace(weight, value=value, text=f"{weight.text} chunks")


def _packets(c: Lowering, role: str) -> int:
    """Bytes of the packets of this matrix in all layers with this code."""
    tensors = [c.layout.model.tensor(f"layers.{layer}.{role.removeprefix('layer.')}") for layer in c.graph.bodies[c.body].layers]
    return sum(tensor.sizes[1] for tensor in tensors if isinstance(tensor, PackedTensor) and tensor.sizes)


def unpack(c: Lowering, placed: Placed, at: str, rows: str | Want) -> None:
    """Rows to the buffer, from the packets at register `at`, which is moved behind them."""
    e, chunks = c.emit, placed.chunks
    assert chunks
    e.csr("fetch.row_bytes", placed.row_bytes)
    e.csr("fetch.chunk_bytes", chunks.bytes)
    e.csr("fetch.table_rows", chunks.count)
    e.csr("fetch.chunk_table", e.register(c.at(TABLE)))
    e.op("fetch.unpack", at, BUFFER, at, rows, reads=(TABLE,))
    e.profile.stored(1, chunks.table_bytes, "fetch.unpack")
