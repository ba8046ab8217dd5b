"""Matrices with N of M values: loading them as tiles into macros, products with a whole matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isa import sparse
from isa.arithmetic import group_count, lane_sum
from isa.instruction import LONGEST, instruction
from isa.sparse.layout import placed
from isa.sparse.sound import sound
from isa.traps import Cause, Trap
from isa.units.cim.held import FORM, KIND, NONZERO, TILE, WORDS
from isa.units.cim.patterns import patterns
from isa.units.cim.vectors import (
    built,
    converted,
    count_columns,
    count_macs,
    scale_group,
    shift_of,
    vector_scales,
    weight_scales,
)
from isa.vectors import accumulate, before, check_results, result_stride


class Cut(NamedTuple):
    """How a matrix is cut into tiles."""

    n: int
    m: int
    groups: int         # of M columns in a row of the matrix
    per_column: int     # groups that a column of a macro holds
    down: int           # tiles
    across: int

    @property
    def tiles(self):
        """All of them."""
        return self.down * self.across

    @property
    def cols(self):
        """Columns of the matrix in a tile, but for the last ones across."""
        return self.per_column * self.m


def cut_of(m, form, rows, cols):
    """How a matrix is cut whose values have the form N | M << 8."""
    n, most = form & 0xFF, form >> 8
    groups, per_column = -(-cols // most), m.parameter("cim.rows") // n
    return Cut(n, most, groups, per_column, -(-rows // m.parameter("cim.columns")) if cols else 0,
               -(-groups // per_column) if rows else 0)


def macros_of(m, name, words):
    """Cells or places as (macros, columns, cells of a column)."""
    return m.state[name].reshape(m.parameter("cim.macros"), m.parameter("cim.columns"), m.parameter("cim.rows"))[words]


# ------------------------------------------------------------------------------------------------ loading


def _form(m):
    """What `cim.nm` says, if the cells can hold it."""
    n, most = m.csr("cim.nm") & 0xFF, m.csr("cim.nm") >> 8
    if not 1 <= n <= most <= 16:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("cim.nm"), f"cim.nm says {n} of {most}; expected 1 <= N <= M <= 16")
    if n < most and (n, most) not in patterns(m.preset.settings["cim.patterns"]):
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("cim.nm"),
                   f"cim.nm says {n} of {most}; expected N = M, or what the cells of this machine hold (cim.patterns): "
                   f"{m.preset.settings['cim.patterns']}")
    return m.csr("cim.nm")


def _columns(m):
    """Columns of the matrix that is loaded."""
    if m.csr("cim.cols") > LONGEST:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("cim.cols"), f"cim.cols is {m.csr('cim.cols')}; expected at most 2**28")
    return m.csr("cim.cols")


@instruction("cim.load.nm      R opcode=0x5B funct3=0 funct7=0x01",
             "cells of macros cim.first and on = values of W, in tiles",
             operands="values<i8[rows,stored] rows",
             example="csrw cim.cols, a2\ncsrw cim.meta, a3\ncsrw cim.first, zero\ncim.load.nm a0, a1")
def cim_load_nm(m, values, rows):
    form, cols, first = _form(m), _columns(m), m.csr("cim.first")
    shape = cut_of(m, form, rows, cols)
    if first + shape.tiles > m.parameter("cim.macros"):
        raise Trap(Cause.CAPACITY, first + shape.tiles,
                   f"{shape.tiles} tiles from macro {first} on; the unit of this machine has {m.parameter('cim.macros')} macros "
                   "(cim.macros)")
    if not shape.tiles:
        return
    weights, places, meta_bytes = _stored(m, shape, values, rows, cols)
    m.set_state("cim.cells", _in_cells(m, shape, weights), first * macro_cells(m))
    m.set_state("cim.places", _in_cells(m, shape, places), first * macro_cells(m))
    m.set_state("cim.held", [[TILE, form, rows, cols, tile, nonzero] for tile, nonzero in enumerate(
        np.count_nonzero(_in_cells(m, shape, weights).reshape(shape.tiles, -1), axis=1).tolist())], first * WORDS)
    stored = rows * (cols if shape.n == shape.m else shape.groups * shape.n)
    m.count("cim.lines_written", rows * shape.across)
    m.count("cim.cells_written", stored)
    m.count("cim.weight_bytes", stored)
    m.count("cim.meta_bytes", meta_bytes)


def macro_cells(m):
    """Cells of a macro."""
    return m.parameter("cim.rows") * m.parameter("cim.columns")


def _stored(m, shape, values, rows, cols):
    """The values of a matrix and their places, (rows, groups * N), and bytes of metadata. Of N = M the last group is filled with
    zeros."""
    width = shape.groups * shape.n
    if shape.n == shape.m:
        dense = m.read_i8(values, rows * cols).reshape(rows, cols)
        return np.pad(dense, ((0, 0), (0, width - cols))), np.zeros((rows, width), np.uint8), 0
    layout = sparse.NOfM(shape.n, shape.m)
    size = layout.meta_bytes(rows, cols)
    m.check_read(m.csr("cim.meta"), size)
    m.check_read(values, rows * width)
    meta, weights = m.read(m.csr("cim.meta"), size), m.read_i8(values, rows * width)
    slots = sound(layout.slots, meta, rows, cols)
    sound(placed, slots, weights, rows, cols)
    return weights.reshape(rows, width), slots.columns.reshape(rows, width) % shape.m, size


def _in_cells(m, shape, stored):
    """What belongs into the cells of all tiles, (down, across, columns, cells of a column), of (rows, groups * N); else zeros."""
    columns, cells = m.parameter("cim.columns"), m.parameter("cim.rows")
    rows, used = len(stored), shape.per_column * shape.n
    padded = np.zeros((shape.down * columns, shape.across * used), stored.dtype)
    padded[:rows, :stored.shape[1]] = stored
    tiles = padded.reshape(shape.down, columns, shape.across, used).transpose(0, 2, 1, 3)
    return np.pad(tiles, ((0, 0), (0, 0), (0, 0), (0, cells - used)))


# ------------------------------------------------------------------------------------------------ products


def _held(m, first, rows, cols):
    """How the matrix is cut whose tiles stand in macros from `first` on."""
    held = m.state["cim.held"].reshape(-1, WORDS)
    form = int(held[first, FORM]) if first < len(held) and held[first, KIND] == TILE else 0
    shape = cut_of(m, form, rows, cols) if form else None
    expected = [[TILE, form, rows, cols, tile] for tile in range(shape.tiles)] if form else []
    if not form or held[first:first + len(expected), :NONZERO].tolist() != expected:
        raise Trap(Cause.ILLEGAL_OPERAND, first, f"macros from {first} on do not hold the tiles of a matrix of {rows} rows and "
                                                 f"{cols} columns; cim.load.nm must come first")
    return shape


def _matrix(m, shape, first, rows, cols):
    """The dense matrix in the macros, int64 (rows, cols)."""
    part = np.s_[first:first + shape.tiles, :, :shape.per_column * shape.n]
    values, places = (macros_of(m, name, part).reshape(-1, shape.per_column, shape.n) for name in ("cim.cells", "cim.places"))
    dense = values
    if shape.n < shape.m:
        dense = np.zeros((*values.shape[:2], shape.m), np.int8)
        np.put_along_axis(dense, places.astype(np.int64), values, axis=2)
    tiles = dense.reshape(shape.down, shape.across, m.parameter("cim.columns"), shape.cols)
    return tiles.transpose(0, 2, 1, 3).reshape(-1, shape.across * shape.cols)[:rows, :cols].astype(np.int64)


def _sums(m, x, first, rows, group, convert):
    """The sums of each vector, row and group of scales, int64 (vectors, rows, groups). Counts the product."""
    vectors, length = x.shape
    starts = np.arange(0, length, min(group, length) or length or 1)            # first column of each group
    sums = np.zeros((vectors, rows, len(starts)), np.int64)
    if not rows or not length:
        return sums
    shape = _held(m, first, rows, length)
    dense = _matrix(m, shape, first, rows, length)
    pieces = np.union1d(starts, np.arange(0, length, shape.cols))               # a column of a tile yields a sum for each
    for v in range(vectors):
        of_pieces = convert(np.add.reduceat(dense * x[v], pieces, axis=1))      # (rows, pieces)
        sums[v] = np.add.reduceat(of_pieces, np.searchsorted(pieces, starts), axis=1)
    steps = np.bincount(pieces // shape.cols)                                   # of each tile across
    columns = min(rows, m.parameter("cim.columns"))
    m.count("cim.tiles", shape.tiles)
    m.count("cim.steps", shape.down * len(pieces) * vectors)
    m.count("cim.steps_longest", steps.max() * vectors)
    stored = length if shape.n == shape.m else shape.groups * shape.n
    m.count("cim.rows_on", shape.down * stored * vectors)
    m.count("cim.mux_selects", rows * stored * vectors if shape.n < shape.m else 0)
    count_macs(m, np.count_nonzero(dense) * vectors, dense.size * vectors)
    count_columns(m, rows * len(pieces) * vectors, group_count(columns, max(m.parameter("cim.adcs"), 1)) * steps.max() * vectors)
    return sums


@instruction("cim.mac          R opcode=0x5B funct3=0 funct7=0x03",
             "acc[v, r] += (sum over c of W[r, c] * vector[v, c]) << cim.shift, W in macros first and on",
             operands="acc<>i32[vectors,rows] first rows",
             example="cim.build.i8 a0, a1\ncim.load.nm a2, a5\ncim.mac a3, zero, a5")
def cim_mac(m, acc, first, rows):
    shift, x, convert = shift_of(m), built(m), converted(m)
    sums, step = _sums(m, x, first, rows, 0, convert)[:, :, :1].sum(axis=2), result_stride(m, "cim.result_stride", rows)
    start = before(m, acc, len(x), rows, step)
    check_results(m, acc, len(x), rows, step)
    accumulate(m, acc, start, sums.astype(np.int32), shift, step)


@instruction("cim.gemv         R opcode=0x5B funct3=0 funct7=0x04",
             "y[v, r] = lanesum over g of f32(sum over c in g of W[r, c] * vector[v, c]) * (scale[r, g] * x_scale[v, g]), "
             "W in macros first and on",
             operands="y>f32[vectors,rows] first rows",
             example="cim.build.i8 a0, a1\ncim.load.nm a2, a5\ncsrw cim.scales, a7\ncim.gemv a3, zero, a5")
def cim_gemv(m, y, first, rows):
    x, group, convert = built(m), scale_group(m), converted(m)
    vectors, length = x.shape
    groups = group_count(length, group)
    sums = _sums(m, x, first, rows, group, convert).astype(np.int32).astype(np.float32)
    step = result_stride(m, "cim.result_stride", rows)
    scale, x_scale = weight_scales(m, rows * groups), vector_scales(m, vectors, length)
    check_results(m, y, vectors, rows, step)
    for v in range(vectors if rows else 0):
        factors = (scale.reshape(rows, groups) if m.csr("cim.scale_group") else scale) * x_scale[v]
        m.write_f32(y + v * step, lane_sum(sums[v] * factors))
