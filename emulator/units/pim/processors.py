"""What the processors beside four banks do with a run of columns each: multiply and accumulate.

A run is `n` columns of 32 bytes, side by side in host memory; `x` is what all banks multiply with, made ready by `prepare`; `acc`
is where the 16 words of a bank's accumulators lie (isa/units/pim/macros.py). `form` is a constant where these are called from.
"""

from __future__ import annotations

import numpy as np

from emulator.native.inlining import inline
from emulator.native.machine_code import array, load, store
from emulator.simd.folds import dot_bytes, even, fold4, lane_0, odd
from emulator.simd.functions import bf16_bits, canonical, f16_bits, f32_from_bf16, f32_from_f16
from emulator.simd.half import f16_fold4, f16_mac
from emulator.simd.lanes import ask_for, convert, put, spread, take, take_part
from isa.units.pim.banks import COLUMN_BYTES

f32, i8, i32, u32, u16 = np.float32, np.int8, np.int32, np.uint32, np.uint16
F16, BF16, I8 = range(3)
READY = 64                  # bytes, at most, of what `prepare` makes of a column
SIGNS = i32(0x8080_8080 - (1 << 32))


@inline
def numbers(form, address):
    """16 numbers of 16 bits as fp32."""
    return f32_from_f16(take(address, u16)) if form == F16 else f32_from_bf16(take(address, u16))


@inline
def prepare(form, columns, n, x):
    """Make n columns of the global buffer ready at x, (n + 1) * READY bytes: 16-bit numbers as fp32, int8 and zeros behind them.

    Returns 128 times the sum of int8, which is what products with codes + 128 are too large by.
    """
    if form != I8:
        for i in range(n):
            put(x + READY * i, numbers(form, columns + COLUMN_BYTES * i))
        return i32(0)
    total = i32(0)
    for at in range(0, COLUMN_BYTES * n, 16):
        put(x + at, take(columns + at, i8))
    for at in range(COLUMN_BYTES * n, COLUMN_BYTES * n + 32, 16):
        put(x + at, spread(i8(0)))
    for value in array(x, i8, COLUMN_BYTES * n):
        total += i32(value)
    return total << 7


@inline
def accumulators(form, acc):
    """The accumulators of a bank as 16 lanes of fp32."""
    return f32_from_f16(convert(take(acc, u32), u16)) if form == F16 else take(acc, f32)


@inline
def set_accumulators(form, acc, lanes):
    if form == F16:
        put(acc, convert(f16_bits(lanes), u32))
    else:
        put(acc, canonical(lanes))


@inline
def mac(form, lanes, w, x):
    return f16_mac(lanes, w, x) if form == F16 else lanes + w * x


@inline
def add_to(acc, value):
    store(acc, i32(load(acc, i32) + value))


@inline
def macs_of_four(form, w, following, n, x, excess, acc):
    """Multiply the runs of four banks with x. `w`, `acc`: four addresses each; `following`: where the next four runs begin, any
    addresses for none."""
    w0, w1, w2, w3 = w
    next0, next1, next2, next3 = following
    acc0, acc1, acc2, acc3 = acc
    if form == I8:
        p = q = r = s = spread(i32(0))
        for at in range(0, (n & -2) * COLUMN_BYTES, 64):
            v = take(x + at, i32)
            ask_for(next0 + at)
            ask_for(next1 + at)
            ask_for(next2 + at)
            ask_for(next3 + at)
            p, q = dot_bytes(p, take(w0 + at, i32) ^ SIGNS, v), dot_bytes(q, take(w1 + at, i32) ^ SIGNS, v)
            r, s = dot_bytes(r, take(w2 + at, i32) ^ SIGNS, v), dot_bytes(s, take(w3 + at, i32) ^ SIGNS, v)
        if n & 1:
            at = (n - 1) * COLUMN_BYTES
            v = take(x + at, i32)
            p, q = dot_bytes(p, take_part(w0 + at, i32, 8, 0) ^ SIGNS, v), dot_bytes(q, take_part(w1 + at, i32, 8, 0) ^ SIGNS, v)
            r, s = dot_bytes(r, take_part(w2 + at, i32, 8, 0) ^ SIGNS, v), dot_bytes(s, take_part(w3 + at, i32, 8, 0) ^ SIGNS, v)
        sums = fold4(p, q, r, s) - excess
        evens, odds = even(sums, sums), odd(sums, sums)
        add_to(acc0, lane_0(evens))
        if acc1 != acc0:            # the last bank stands for those that are not there
            add_to(acc1, lane_0(odds))
        if acc2 != acc1:
            add_to(acc2, lane_0(odd(evens, evens)))
        if acc3 != acc2:
            add_to(acc3, lane_0(odd(odds, odds)))
    else:
        a, b, c, d = accumulators(form, acc0), accumulators(form, acc1), accumulators(form, acc2), accumulators(form, acc3)
        for i in range(n):
            v, at = take(x + READY * i, f32), COLUMN_BYTES * i
            if i & 1 == 0:
                ask_for(next0 + at)
                ask_for(next1 + at)
                ask_for(next2 + at)
                ask_for(next3 + at)
            a, b = mac(form, a, numbers(form, w0 + at), v), mac(form, b, numbers(form, w1 + at), v)
            c, d = mac(form, c, numbers(form, w2 + at), v), mac(form, d, numbers(form, w3 + at), v)
        set_accumulators(form, acc0, a)
        set_accumulators(form, acc1, b)
        set_accumulators(form, acc2, c)
        set_accumulators(form, acc3, d)


@inline
def sums_of_four(form, acc0, acc1, acc2, acc3):
    """What four banks' accumulators fold to, as fp32 in lanes 0 to 3."""
    a, b, c, d = accumulators(form, acc0), accumulators(form, acc1), accumulators(form, acc2), accumulators(form, acc3)
    return f16_fold4(a, b, c, d) if form == F16 else fold4(a, b, c, d)


@inline
def bits(form, lanes):
    """fp32 as 16-bit numbers."""
    return f16_bits(lanes) if form == F16 else bf16_bits(lanes)
