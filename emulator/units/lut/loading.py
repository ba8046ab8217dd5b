"""lut: what is loaded into the unit, and the small operations around it: codebooks to fp32, planes and parts of
activations."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import IN_PLACE, kernel
from emulator.kernel_words import DONE, PUNT, count, csr, overlap, readable, state
from emulator.native.machine_code import clear_bytes, load, move, store
from emulator.units.lut.operands import (
    ACTIVATIONS,
    BINARY,
    BOOK_F32,
    BOOK_I8,
    BUILT_VECTORS,
    CODES_STRIDE,
    INT8,
    KIND,
    LENGTH,
    LOOKUP,
    LUT,
    MODE,
    SCALE_GROUP,
    SCALE_STRIDE,
    SCALES,
    STEP,
    STEP_LONGEST,
    TABLES_BUILT,
    VECTORS,
    WEIGHT_BYTES,
    X_GROUP,
    cores_for,
    looked_up,
    settings_are_legal,
)
from emulator.units.lut.plain import C3, C4, PLANES, row_bytes
from emulator.units.vectors import Build, group_count, load_vectors, spaced, store_f32, vectors_asked
from isa.units.lut.products import FORMAT_NUMBERS

BUILD = Build(LUT, VECTORS, SCALE_GROUP, CODES_STRIDE, SCALE_STRIDE, ACTIVATIONS, SCALES)

i8, u8, i32, i64, f32 = np.int8, np.uint8, np.int32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ activations, codebooks


@njit
def built(block, kind, vectors, n, group):
    """Note what has been built."""
    store(state(block, KIND), u8(kind))
    store(state(block, BUILT_VECTORS), csr(block, VECTORS))
    store(state(block, LENGTH), n)
    store(state(block, X_GROUP), group)
    mode = csr(block, MODE)
    if mode != 1:
        count(block, TABLES_BUILT, vectors * ((n + 3) >> 2 if mode == 0 else (n + 6) // 7))


@kernel("lut.build.i8")
def lut_build_i8(x, scale, n, block):
    vectors = load_vectors(block, BUILD, x, scale, n) if settings_are_legal(block) else 0
    if vectors == 0:
        return PUNT
    built(block, INT8, vectors, n, csr(block, SCALE_GROUP))
    return DONE


@kernel("lut.build.b1")
def lut_build_b1(x, n, block):
    vectors, size = vectors_asked(block, VECTORS, ACTIVATIONS, n), n + 7 >> 3
    stride, extent = spaced(block, CODES_STRIDE, vectors, size, 1)
    codes, codes_read = readable(block, LUT, x, extent, 1)
    if vectors == 0 or stride < 0 or codes == 0 or not settings_are_legal(block):
        return PUNT
    for v in range(vectors):
        activations, bits = state(block, ACTIVATIONS) + v * n, codes + v * stride
        for i in range(n):
            store(activations + i, i8((load(bits + (i >> 3), u8) >> (i & 7) & 1) * 2 - 1))
        if n > 0:
            store(state(block, SCALES) + 4 * v, f32(1))
    count(block, codes_read, vectors * size)
    built(block, BINARY, vectors, n, 0)
    return DONE


@njit
def load_codebook(block, book, table, n, size):
    """Set a codebook from n entries of `size` bytes; the rest of the 16 become 0."""
    if n != 4 and n != 8 and n != 16:
        return PUNT
    target = state(block, book)
    move(target, table, n * size)
    clear_bytes(target + n * size, (16 - n) * size)
    return DONE


@kernel("lut.codebook.i8")
def lut_codebook_i8(table, n, block):
    return load_codebook(block, BOOK_I8, table, n, 1)


@kernel("lut.codebook.f32")
def lut_codebook_f32(table, n, block):
    return load_codebook(block, BOOK_F32, table, n, 4)


# ------------------------------------------------------------------------------------------------ codebooks to f32


@njit
def decode(block, fmt, dst, codes, scale, n):
    """lut.decode of one codebook format."""
    group = csr(block, SCALE_GROUP)
    size, groups = row_bytes(i64(fmt), n), group_count(n, group)
    if groups <= 1:
        group = n
    scales, scale_slot = readable(block, LUT, scale, 4 * groups, 4)
    if scales == 0 or overlap(dst, 4 * n, scales, 4 * groups):
        return PUNT
    book, high = state(block, BOOK_F32), codes + (n + 3 >> 2)
    for g in range(groups):
        factor = load(scales + 4 * g, f32)
        for i in range(g * group, min((g + 1) * group, n)):
            if fmt == C4:
                code = i64(load(codes + (i >> 1), u8) >> 4 * (i & 1) & 15)
            else:
                code = i64(load(codes + (i >> 2), u8) >> 2 * (i & 3) & 3)
                if fmt == C3:
                    code |= i64(load(high + (i >> 3), u8) >> (i & 7) & 1) << 2
            store_f32(dst + 4 * i, load(book + 4 * code, f32) * factor)
    count(block, scale_slot, 4 * groups)
    lookups = looked_up(block, n)
    count(block, LOOKUP, lookups)
    count(block, STEP, lookups)
    count(block, STEP_LONGEST, group_count(lookups, cores_for(block, n)))
    count(block, WEIGHT_BYTES, size)
    return DONE


def _define_decode(fmt: int, name: str) -> None:
    @kernel(f"lut.decode.{name}")
    def lut_decode(dst, codes, scale, n, block):
        return decode(block, fmt, dst, codes, scale, n)


for _name, _fmt in FORMAT_NUMBERS.items():
    if PLANES[_fmt] == 0:               # codebooks
        _define_decode(_fmt, _name)

# ------------------------------------------------------------------------------------------------ bit planes


@kernel("lut.plane")
def lut_plane(dst, x, bit, n):
    if not 0 <= bit <= 7:
        return PUNT
    for at in range(n + 7 >> 3):
        byte = 0
        for i in range(8 * at, min(8 * at + 8, n)):
            byte |= i64(load(x + i, u8) >> bit & 1) << (i & 7)
        store(dst + at, u8(byte))
    return DONE


@kernel("lut.part.i8", overlap=IN_PLACE)
def lut_part_i8(dst, x, part, n):
    if not 0 <= part <= 1:
        return PUNT
    for i in range(n):
        value = load(x + i, i8)
        store(dst + i, i8(value >> i8(4) if part == 1 else value & i8(15)))
    return DONE


@kernel("lut.part.i16", overlap=IN_PLACE)
def lut_part_i16(dst, x, part, n):
    if not 0 <= part <= 3:
        return PUNT
    for i in range(n):
        value = load(x + 4 * i, i32) >> i32(4 * part)
        store(dst + i, i8((value + i32(8) & i32(15)) - i32(8) if part == 3 else value & i32(15)))
    return DONE
