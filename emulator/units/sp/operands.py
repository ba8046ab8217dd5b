"""sp: the operands of kernels, what the unit has loaded, and what an operation counts."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel_words import (
    COUNTED_ENTRIES,
    COUNTED_TABLE,
    COUNTED_WORDS,
    LARGE,
    POOL,
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
from emulator.units.sp.plain import F16, NM, NONZERO, STORED, marked, row_meta, run_bytes, value_align

SP = PORT["sp"]
META, N_OF_M, BLOCK, COLS, SCALES_AT, SCALE_GROUP, SHIFT, VECTORS, CODES_STRIDE, SCALE_STRIDE, RESULT_STRIDE = (
    csr_number(f"sp.{name}") for name in ("meta", "nm", "block", "cols", "scales", "scale_group", "shift", "vectors",
                                          "codes_stride", "scale_stride", "result_stride"))
KIND, BUILT_VECTORS, LENGTH, ACTIVATIONS, X_GROUP, SCALES, VECTOR = (STATE_INDEX[f"sp.{name}"] for name in (
    "kind", "built_vectors", "length", "activations", "x_group", "scales", "vector"))
VALUES, VALUES_FLOAT, MACS, MACS_FLOAT, MACS_SKIPPED, ZEROS_STORED, WEIGHT_BYTES, META_BYTES, ELEMENTS = (
    slot(f"sp.{name}") for name in ("values", "values_float", "macs", "macs_float", "macs_skipped", "zeros_stored", "weight_bytes",
                                    "meta_bytes", "elements"))
NOTHING, INT8, FLOAT = 0, 1, 2          # sp.kind

u8, i64 = np.uint8, np.int64


@njit
def vectors_of(block, kind):
    """(vectors, elements of each) that were built; the elements are -1 if they are not of this kind."""
    length = load(state(block, LENGTH), i64) if load(state(block, KIND), u8) == kind else -1
    return max(load(state(block, BUILT_VECTORS), i64), 1), length


@njit
def layout(block, kind):
    """The parameters (p, q) of a layout, as CSRs say; p = 0: punt."""
    if kind == NM:
        n, m = csr(block, N_OF_M) & 0xFF, csr(block, N_OF_M) >> 8
        return (n, m) if 1 <= n <= m <= 16 else (0, 0)
    p = csr(block, BLOCK)
    return (p, 0) if 1 <= p <= 1 << 16 else (0, 0)


@njit
def most_slots(kind, cols, p, q):
    """The most values that a row stores."""
    return (cols + q - 1) // q * p if kind == NM else (cols + p - 1) // p * p


@njit
def survey(kind, form, meta, meta_bytes, rows, cols, p, q, starts):
    """Bytes of the values of a matrix, -1 if a mask is malformed. Of a bitmask the bytes before each row go to starts (rows,)."""
    if kind == NM:
        return rows * run_bytes(form, most_slots(kind, cols, p, q))
    total, blocks = 0, (cols + p - 1) // p
    for r in range(rows):
        found = marked(meta + r * meta_bytes, blocks)
        if found < 0:
            return -1
        starts[r] = total
        total += run_bytes(form, found * p)
    return total


@njit
def matrix(block, kind, form, W, rows, cols, p, q, starts, memo):
    """(host address of values, their counter slot, bytes, host address of metadata, its counter slot, bytes a row) of a matrix with
    rows and columns; host address 0: punt. What is remembered of it goes to memo (MEMO,), where RUNNING says whether code that goes
    on from row to row does without `starts`.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    meta_bytes = row_meta(kind, cols, p, q)
    if cols > LARGE >> 8 or rows > LARGE // max(meta_bytes, 1):
        return 0, 0, 0, 0, 0, 0
    meta, meta_slot = readable(block, SP, csr(block, META), rows * meta_bytes, 1)
    if meta == 0:
        return 0, 0, 0, 0, 0, 0
    recall(block, kind, form, W, meta, rows, cols, p, q, memo)
    size, starts[0] = memo[SIZE], 0
    if not (memo[KNOWN] and memo[RUNNING]) or load(block + 8 * POOL, i64):      # threads have to know where their rows begin
        size = survey(kind, form, meta, meta_bytes, rows, cols, p, q, starts)
    host, values_slot = readable(block, SP, W, size, value_align(form))
    memo[SIZE] = size
    return host, values_slot, size, meta, meta_slot, meta_bytes


# ------------------------------------------------------------------------------------------------ remembered

# What is known of a matrix that can never change stands among what emulator/units/lut/counts.py remembers. An entry: host addresses
# of values and metadata, rows, columns, layout and format; its values that are not zero, its bytes of values.
ENTRY, KNOWN, STORED_NONZERO, SIZE, RUNNING, MEMO = range(6)


@njit
def recall(block, kind, form, W, meta, rows, cols, p, q, memo):
    """What is remembered of a matrix, to memo: ENTRY is where it is or will be, 0: nowhere; KNOWN is 1 if it is.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    memo[ENTRY] = memo[KNOWN] = memo[STORED_NONZERO] = memo[SIZE] = 0
    if not is_fixed(block, meta):
        return
    host, _ = readable(block, SP, W, 1, 1)
    if host == 0 or not is_fixed(block, host):
        return
    code = (((1 << 4 | kind) << 4 | form) << 20 | p) << 8 | q
    number = ((host >> 4) * 0x9E3779B1 + (meta >> 2) * 0x85EBCA6B + code >> 8) & (COUNTED_ENTRIES - 1)
    entry = load(block + 8 * COUNTED_TABLE, i64) + 8 * COUNTED_WORDS * number
    memo[ENTRY] = entry
    if (load(entry, i64) == host and load(entry + 8, i64) == meta and load(entry + 16, i64) == rows
            and load(entry + 24, i64) == cols and load(entry + 32, i64) == code):
        memo[KNOWN], memo[STORED_NONZERO], memo[SIZE] = 1, load(entry + 40, i64), load(entry + 48, i64)
        return
    memo[KNOWN], memo[STORED_NONZERO] = 0, code


@njit
def remember(memo, host, meta, rows, cols, found):
    """Keep what was found in a matrix that is sound, or put what is known of it to `found`."""
    if memo[KNOWN]:
        found[NONZERO] = memo[STORED_NONZERO]
    elif memo[ENTRY]:
        for i, value in enumerate((host, meta, rows, cols, memo[STORED_NONZERO], found[NONZERO], memo[SIZE])):
            store(memo[ENTRY] + 8 * i, i64(value))


@njit
def count_matrix(block, form, values_slot, size, meta_slot, meta_size, stored):
    """Count a matrix that was read, and `stored` values."""
    count(block, values_slot, size)
    count(block, meta_slot, meta_size)
    count(block, VALUES, stored)
    count(block, VALUES_FLOAT, stored if form >= F16 else 0)
    count(block, WEIGHT_BYTES, size)
    count(block, META_BYTES, meta_size)


@njit
def count_products(block, form, found, elements, vectors):
    """Count the products of a matrix of so many elements, stored or not, with each vector."""
    count(block, MACS, vectors * found[NONZERO])
    count(block, MACS_FLOAT, vectors * found[NONZERO] if form >= F16 else 0)
    count(block, MACS_SKIPPED, vectors * (elements - found[NONZERO]))
    count(block, ZEROS_STORED, vectors * (found[STORED] - found[NONZERO]))


@njit
def built(block, kind, n):
    """Note what has been built."""
    store(state(block, KIND), u8(kind))
    store(state(block, BUILT_VECTORS), csr(block, VECTORS))
    store(state(block, LENGTH), n)
