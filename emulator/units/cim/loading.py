"""cim: vectors, tiles and blocks into the unit."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, csr, readable, state
from emulator.native.block import M_COLUMNS, M_MACROS, M_ROWS
from emulator.native.inlining import inline
from emulator.native.machine_code import clear_bytes, move, store
from emulator.units.cim.cells import copy_chunks
from emulator.units.cim.operands import (
    ACTIVATIONS,
    BLOCK,
    BUILT_VECTORS,
    CELLS,
    CELLS_WRITTEN,
    CIM,
    CODES_STRIDE,
    COLS_SET,
    FIRST,
    LENGTH,
    LINES_WRITTEN,
    MAP,
    META,
    META_BYTES,
    N_OF_M,
    PLACES,
    SCALE_GROUP,
    SCALE_STRIDE,
    VECTORS,
    WEIGHT_BYTES,
    X_GROUP,
    X_SCALES,
    X_SCALES_AT,
    cells_of,
    figure,
    held,
    holds,
)
from emulator.units.sp.places import row_places
from emulator.units.sp.plain import NM, row_meta
from emulator.units.sp.rows import CHUNK, counted
from emulator.units.vectors import Build, load_vectors
from isa.instruction import LONGEST
from isa.units.cim.held import BLOCKS, COLS, FORM, KIND, NONZERO, NUMBER, ROWS, TILE

BUILD = Build(CIM, VECTORS, SCALE_GROUP, CODES_STRIDE, SCALE_STRIDE, ACTIVATIONS, X_SCALES)

u8, i64 = np.uint8, np.int64

# ------------------------------------------------------------------------------------------------ vectors


@kernel("cim.build.i8")
def cim_build_i8(x, n, block):
    vectors = load_vectors(block, BUILD, x, csr(block, X_SCALES_AT), n)
    if vectors == 0:
        return PUNT
    store(state(block, BUILT_VECTORS), i64(vectors))
    store(state(block, LENGTH), i64(n))
    store(state(block, X_GROUP), i64(csr(block, SCALE_GROUP)))
    return DONE


# ------------------------------------------------------------------------------------------------ tiles


@njit
def put_columns(target, cells, source, width, columns, size):
    """`size` bytes to each of some columns of cells, zeros behind them; `width` bytes from one to the next at the source."""
    chunks = size >> 6
    for c in range(columns):
        column, start = target + c * cells, source + c * width
        copy_chunks(column, start, chunks)
        if size < cells or size & 63:
            move(column + CHUNK * chunks, start + CHUNK * chunks, size & 63)
            clear_bytes(column + size, cells - size)


@njit
def has_places(words):
    """True if a macro holds places: of anything else than a tile with N < M they are zeros."""
    return words[KIND] == TILE and words[FORM] & 0xFF != words[FORM] >> 8


@kernel("cim.load.nm")
def cim_load_nm(values, rows, block):
    n, q, cols, first = csr(block, N_OF_M) & 0xFF, csr(block, N_OF_M) >> 8, csr(block, COLS_SET), csr(block, FIRST)
    macros, cells, columns = figure(block, M_MACROS), figure(block, M_ROWS), figure(block, M_COLUMNS)
    if not holds(block, n, q) or not 0 <= cols <= LONGEST or not 0 <= first <= macros:
        return PUNT
    groups, per_column = (cols + q - 1) // q, cells // n
    down = (rows + columns - 1) // columns if cols > 0 else 0
    across = (groups + per_column - 1) // per_column if rows > 0 else 0
    if first + down * across > macros:
        return PUNT
    if down * across == 0:
        return DONE
    width, used, bits = cols if n == q else groups * n, per_column * n, 0 if n == q else row_meta(NM, cols, n, q)
    host, values_read = readable(block, CIM, values, rows * width, 1)
    meta, meta_read = readable(block, CIM, csr(block, META), rows * bits, 1)
    if host == 0 or meta == 0:
        return PUNT
    decoded = np.empty(rows * width + CHUNK if n < q else 1, np.uint8)
    places = decoded.ctypes.data
    if n < q:
        for r in range(rows):
            if not row_places(meta + r * bits, width, n, q, cols, host + r * width, places + r * width):
                return PUNT
    for tile in range(down * across):
        i, j = tile // across, tile % across
        here, where, words = cells_of(block, CELLS, first + tile), cells_of(block, PLACES, first + tile), held(block, first + tile)
        height, size, start = min(columns, rows - i * columns), min(used, width - j * used), i * columns * width + j * used
        filled = height * cells
        put_columns(here, cells, host + start, width, height, size)
        clear_bytes(here + filled, columns * cells - filled)
        if n < q:
            put_columns(where, cells, places + start, width, height, size)
            clear_bytes(where + filled, columns * cells - filled)
        elif has_places(words):
            clear_bytes(where, columns * cells)
        words[KIND], words[FORM], words[ROWS], words[COLS], words[NUMBER] = TILE, n | q << 8, rows, cols, tile
        words[NONZERO] = counted(here, here + filled)
    decoded[0] = 0              # keeps its memory alive until here
    count(block, values_read, rows * width)
    count(block, meta_read, rows * bits)
    count(block, LINES_WRITTEN, rows * across)
    count(block, CELLS_WRITTEN, rows * width)
    count(block, WEIGHT_BYTES, rows * width)
    count(block, META_BYTES, rows * bits)
    return DONE


# ------------------------------------------------------------------------------------------------ blocks


@njit
def mapping(block):
    """(rows of a block, blocks side by side in a macro, blocks of a macro), as cim.block and cim.map say; rows 0: punt."""
    size, cells, kind = csr(block, BLOCK), figure(block, M_ROWS), csr(block, MAP)
    if cells != figure(block, M_COLUMNS) or not 1 <= size <= cells or not 1 <= kind <= 2:
        return 0, 1, 1
    return size, cells // size, cells // size if kind == 1 else (cells // size) ** 2


@njit
def blocks_held(block, macro, size):
    """Blocks of `size` that a macro holds, loaded as cim.map says."""
    words = held(block, macro)
    return i64(words[ROWS]) if words[KIND] == BLOCKS and words[FORM] == size and words[COLS] == csr(block, MAP) else 0


@inline
def cell_of(block, size, of_a_row, slots, slot):
    """Host address of the first cell of the block in a slot."""
    inside, cells = slot % slots, figure(block, M_ROWS)
    row = inside % of_a_row
    column = (row + inside // of_a_row) % of_a_row
    return cells_of(block, CELLS, slot // slots) + column * size * cells + row * size


@kernel("cim.load.bd")
def cim_load_bd(blocks, n, block):
    (size, of_a_row, slots), first, cells = mapping(block), csr(block, FIRST), figure(block, M_ROWS)
    if size == 0 or not 0 <= first <= figure(block, M_MACROS) * slots - n:
        return PUNT
    if n == 0:
        return DONE
    host, read = readable(block, CIM, blocks, n * size * size, 1)
    start, end = first // slots, (first + n + slots - 1) // slots
    if host == 0 or first % slots > blocks_held(block, start, size):
        return PUNT
    for macro in range(start, end):
        before = blocks_held(block, macro, size)
        if before == 0:
            clear_bytes(cells_of(block, CELLS, macro), cells * cells)
            if has_places(held(block, macro)):
                clear_bytes(cells_of(block, PLACES, macro), cells * cells)
        words = held(block, macro)
        words[KIND], words[FORM], words[COLS], words[NUMBER], words[NONZERO] = BLOCKS, size, csr(block, MAP), 0, 0
        words[ROWS] = max(before, min(first + n - macro * slots, slots))
    for i in range(n):
        target = cell_of(block, size, of_a_row, slots, first + i)
        for r in range(size):
            move(target + r * cells, host + (i * size + r) * size, size)
    count(block, read, n * size * size)
    count(block, LINES_WRITTEN, n * size)
    count(block, CELLS_WRITTEN, n * size * size)
    count(block, WEIGHT_BYTES, n * size * size)
    return DONE
