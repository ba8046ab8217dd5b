"""sp: the operands of kernels, what the unit has loaded, and what an operation counts."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel_words import (
    COUNTED_ENTRIES,
    COUNTED_TABLE,
    COUNTED_WORDS,
    LARGE,
    NOTES,
    NOTES_AT,
    PORT,
    STATE_INDEX,
    count,
    csr,
    csr_number,
    is_fixed,
    readable,
    slot,
    state,
)
from emulator.native.machine_code import load, store
from emulator.units.lut.counts import NEAR
from emulator.units.sp.plain import (
    BL,
    BM,
    COLS,
    CS,
    F16,
    FORM,
    HOST,
    I8,
    KIND,
    KNOWN,
    META,
    META_BYTES,
    NM,
    NONZERO,
    NOTED,
    OFFSETS,
    ROW_BYTES,
    ROWS,
    SIZE,
    SLOTS,
    STORED,
    P,
    Q,
    marked,
    row_meta,
    run_bytes,
    value_align,
)
from emulator.units.vectors import group_count

SP = PORT["sp"]
META_AT, N_OF_M, BLOCK, COLS_SET, SCALES_AT, SCALE_GROUP, SHIFT, VECTORS, CODES_STRIDE, SCALE_STRIDE, RESULT_STRIDE, OFFSETS_AT, \
    BLOCK_ROWS = (csr_number(f"sp.{name}") for name in (
        "meta", "nm", "block", "cols", "scales", "scale_group", "shift", "vectors", "codes_stride", "scale_stride", "result_stride",
        "offsets", "block_rows"))
LOADED, BUILT_VECTORS, LENGTH, ACTIVATIONS, X_GROUP, SCALES, VECTOR = (STATE_INDEX[f"sp.{name}"] for name in (
    "kind", "built_vectors", "length", "activations", "x_group", "scales", "vector"))
VALUES, VALUES_FLOAT, MACS, MACS_FLOAT, MACS_SKIPPED, ZEROS_STORED, WEIGHT_BYTES, META_BYTES_READ, ELEMENTS = (
    slot(f"sp.{name}") for name in ("values", "values_float", "macs", "macs_float", "macs_skipped", "zeros_stored", "weight_bytes",
                                    "meta_bytes", "elements"))
NOTHING, INT8, FLOAT = 0, 1, 2          # sp.kind

u8, u32, i64 = np.uint8, np.uint32, np.int64


@njit
def vectors_of(block, kind):
    """(vectors, elements of each) that were built; the elements are -1 if they are not of this kind."""
    length = load(state(block, LENGTH), i64) if load(state(block, LOADED), u8) == kind else -1
    return max(load(state(block, BUILT_VECTORS), i64), 1), length


@njit
def built(block, kind, n):
    """Note what has been built."""
    store(state(block, LOADED), u8(kind))
    store(state(block, BUILT_VECTORS), csr(block, VECTORS))
    store(state(block, LENGTH), n)


@njit
def layout(block, kind):
    """The parameters (p, q) of a layout, as CSRs say; p = 0: punt."""
    if kind == NM:
        n, m = csr(block, N_OF_M) & 0xFF, csr(block, N_OF_M) >> 8
        return (n, m) if 1 <= n <= m <= 16 else (0, 0)
    if kind == CS:
        return 1, 1
    p, q = csr(block, BLOCK), csr(block, BLOCK_ROWS) if kind == BL else 1
    return (p, q) if 1 <= p <= 1 << 16 and 1 <= q <= 64 else (0, 0)


# ------------------------------------------------------------------------------------------------ a matrix

# What kernels know of a matrix is a table of words, plain.py names the first ones. These are for the functions here: bytes of
# metadata and of offsets, the counter slots of values and these; where the matrix is or will be remembered, and as what.
META_SIZE, OFFSETS_SIZE, VALUES_SLOT, META_SLOT, OFFSETS_SLOT, ENTRY, CODE, MATRIX = range(15, 23)


@njit
def note_words(kind, form, rows, cols, group):
    """Words of notes: of bm and cs the bytes before each row, of int8 in nm int32 sums of the weights of each group of columns. A
    group of 0: all columns."""
    if kind == NM and form == I8:
        return (rows * group_count(cols, group) + 1) // 2
    return rows if kind == BM or kind == CS else 0


@njit
def open_matrix(block, kind, form, W, rows, cols, group, matrix, notes):
    """Look at a matrix with rows and columns: what is known of it goes to matrix (MATRIX,). False: punt. group: see `note_words`.

    notes (note_words,): room for what has no other. Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    p, q = layout(block, kind)
    meta_bytes = row_meta(kind, cols, p, q)
    if p == 0 or cols > LARGE >> 8 or rows > LARGE // max(meta_bytes, 1) >> 3:
        return False
    runs = (rows + q - 1) // q if kind == BL else rows
    matrix[ROWS], matrix[COLS], matrix[P], matrix[Q] = rows, cols, p, q
    matrix[META_BYTES], matrix[NOTED], matrix[KIND], matrix[FORM] = meta_bytes, notes.ctypes.data, kind, form
    matrix[SLOTS] = (cols + q - 1) // q * p if kind == NM else (cols + p - 1) // p * p
    matrix[ROW_BYTES] = run_bytes(form, p * q if kind == BL else matrix[SLOTS])
    matrix[META_SIZE] = rows * meta_bytes
    if kind == CS or kind == BL:
        matrix[OFFSETS_SIZE] = 4 * (runs + 1)
        offsets, matrix[OFFSETS_SLOT] = readable(block, SP, csr(block, OFFSETS_AT), matrix[OFFSETS_SIZE], 4)
        if offsets == 0 or not offsets_rise(offsets, runs):
            return False
        matrix[OFFSETS], matrix[META_SIZE] = offsets, 2 * (i64(load(offsets + 4 * runs, u32)) - i64(load(offsets, u32)))
    matrix[META], matrix[META_SLOT] = readable(block, SP, csr(block, META_AT), matrix[META_SIZE], 1)
    if matrix[META] == 0:
        return False
    recall(block, W, group, matrix)
    if not matrix[KNOWN]:
        matrix[SIZE] = survey(matrix)
    matrix[HOST], matrix[VALUES_SLOT] = readable(block, SP, W, matrix[SIZE], value_align(form))
    return matrix[HOST] != 0


@njit
def offsets_rise(offsets, runs):
    """True if offsets do not fall."""
    before, sound = i64(load(offsets, u32)), True
    for r in range(runs):
        after = i64(load(offsets + 4 * (r + 1), u32))
        sound &= after >= before
        before = after
    return sound


@njit
def survey(matrix):
    """Bytes of the values of a matrix, -1 if a mask is malformed. The bytes before each row go to its notes."""
    kind, rows, cols, p, meta, offsets = matrix[KIND], matrix[ROWS], matrix[COLS], matrix[P], matrix[META], matrix[OFFSETS]
    if kind == NM:
        return rows * matrix[ROW_BYTES]
    if kind == BL:
        return matrix[META_SIZE] // 2 * matrix[ROW_BYTES]
    total, blocks = i64(0), (cols + p - 1) // p
    for r in range(rows):
        found = (marked(meta + r * matrix[META_BYTES], blocks) if kind == BM
                 else i64(load(offsets + 4 * (r + 1), u32)) - i64(load(offsets + 4 * r, u32)))
        if found < 0:
            return -1
        store(matrix[NOTED] + 8 * r, total)
        total += run_bytes(matrix[FORM], found * p)
    return total


# ------------------------------------------------------------------------------------------------ remembered

# What is known of a matrix that nothing changes stands among what emulator/units/lut/counts.py remembers. An entry: host addresses
# of values, metadata and offsets, rows, columns, layout, format and group; its values that are not zero, all of them, its bytes of
# values, the host address of its notes. Where there is no room for notes nothing is remembered.


@njit
def recall(block, W, group, matrix):
    """What is remembered of a matrix: KNOWN is 1 if anything is, ENTRY where it is or will be, 0: nowhere."""
    matrix[ENTRY] = matrix[KNOWN] = 0
    if not is_fixed(block, matrix[META], matrix[META_SIZE]):
        return
    if matrix[OFFSETS] != 0 and not is_fixed(block, matrix[OFFSETS], matrix[OFFSETS_SIZE]):
        return
    host, _ = readable(block, SP, W, 1, 1)
    if host == 0 or not is_fixed(block, host, 1):
        return
    code = ((((1 << 4 | matrix[KIND]) << 4 | matrix[FORM]) << 17 | matrix[P]) << 8 | matrix[Q]) << 28 | group
    number = ((host >> 4) * 0x9E3779B1 + (matrix[META] >> 2) * 0x85EBCA6B + code * 0xC2B2AE35 >> 28) & (COUNTED_ENTRIES - 1)
    table = load(block + 8 * COUNTED_TABLE, i64)
    place = entry = table + 8 * COUNTED_WORDS * number          # that of something else gives way only if none near by is empty
    matrix[HOST], matrix[CODE] = host, code
    for _ in range(min(NEAR, COUNTED_ENTRIES - number)):
        if is_of(entry, matrix):
            matrix[ENTRY], matrix[KNOWN], matrix[SIZE], matrix[NOTED] = entry, 1, load(entry + 64, i64), load(entry + 72, i64)
            return
        if load(entry, i64) == 0:
            place = entry
            break
        entry += 8 * COUNTED_WORDS
    used, words = load(table + 8 * NOTES_AT, i64), note_words(matrix[KIND], matrix[FORM], matrix[ROWS], matrix[COLS], group)
    if words <= NOTES - used:
        matrix[ENTRY], matrix[NOTED] = place, table + 8 * (NOTES_AT + 1 + used)


@njit
def is_of(entry, matrix):
    """True if an entry is that of this matrix."""
    return (load(entry, i64) == matrix[HOST] and load(entry + 8, i64) == matrix[META] and load(entry + 16, i64) == matrix[ROWS]
            and load(entry + 24, i64) == matrix[COLS] and load(entry + 32, i64) == matrix[CODE]
            and load(entry + 40, i64) == matrix[OFFSETS])


@njit
def remember(block, group, matrix, found):
    """Keep what was found in a matrix that is sound, or put what is known of it to `found`."""
    entry, host = matrix[ENTRY], matrix[HOST]
    if matrix[KNOWN]:
        found[NONZERO], found[STORED] = load(entry + 48, i64), load(entry + 56, i64)
    elif entry and is_fixed(block, host, matrix[SIZE]):
        for i, value in enumerate((host, matrix[META], matrix[ROWS], matrix[COLS], matrix[CODE], matrix[OFFSETS], found[NONZERO],
                                   found[STORED], matrix[SIZE], matrix[NOTED])):
            store(entry + 8 * i, i64(value))
        used = load(block + 8 * COUNTED_TABLE, i64) + 8 * NOTES_AT
        store(used, load(used, i64) + note_words(matrix[KIND], matrix[FORM], matrix[ROWS], matrix[COLS], group))


# ------------------------------------------------------------------------------------------------ counters


@njit
def count_matrix(block, matrix, stored):
    """Count a matrix that was read, and `stored` values."""
    count(block, matrix[VALUES_SLOT], matrix[SIZE])
    count(block, matrix[META_SLOT], matrix[META_SIZE])
    count(block, matrix[OFFSETS_SLOT], matrix[OFFSETS_SIZE])
    count(block, VALUES, stored)
    count(block, VALUES_FLOAT, stored if matrix[FORM] >= F16 else 0)
    count(block, WEIGHT_BYTES, matrix[SIZE])
    count(block, META_BYTES_READ, matrix[META_SIZE] + matrix[OFFSETS_SIZE])


@njit
def count_products(block, matrix, found, vectors):
    """Count a matrix that was read, and its products with each vector."""
    elements = matrix[ROWS] * matrix[COLS]
    count_matrix(block, matrix, vectors * found[STORED])
    count(block, MACS, vectors * found[NONZERO])
    count(block, MACS_FLOAT, vectors * found[NONZERO] if matrix[FORM] >= F16 else 0)
    count(block, MACS_SKIPPED, vectors * (elements - found[NONZERO]))
    count(block, ZEROS_STORED, vectors * (found[STORED] - found[NONZERO]))
