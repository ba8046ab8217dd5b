"""Macro forms of single values: activation by table, element-wise products and sums."""

from __future__ import annotations

import numpy as np

from emulator.kernel_words import DONE, LARGE, PUNT, STATE_INDEX, count, csr, inline, leaf, overlap, readable, state, writable
from emulator.load_kernels import kernel
from emulator.native.machine_code import load, move, store
from emulator.simd.functions import NAN
from emulator.simd.lanes import convert, put, put_part, take, where
from emulator.units.pim.banks import (
    O_BANK_GROUPS,
    O_BANKS,
    O_CHANNELS,
    PORT,
    banks_to_write,
    column_offset,
    is_selected,
    open_row,
    organisation,
    selected,
)
from emulator.units.pim.mac_runs import BF16, F16, bits, numbers
from emulator.units.pim.runs import (
    BROADCASTS,
    COLUMN,
    COLUMNS_READ,
    COLUMNS_WRITTEN,
    COMPUTES,
    ELEMENTS,
    ENTERED,
    FIRST,
    GROUP_MASK,
    LEFT,
    READOUTS,
    READS,
    STAYED,
    WRITES,
    bursts,
    channels_for,
    fits,
    sums,
)
from isa.half import TABLE_LENGTH
from isa.units.pim.macros import TABLES

f32, i32, u16 = np.float32, np.int32, np.uint16
AF_TABLES, AF_RESULTS = STATE_INDEX["pim.af_tables"], STATE_INDEX["pim.af_results"]

# ------------------------------------------------------------------------------------------------ activation


@kernel("pim.wr_aflut")
def pim_wr_aflut(table, mode, _2, _3, block):
    source, reads = readable(block, PORT, table, 2 * TABLE_LENGTH, 1)
    if source == 0 or not 0 <= mode < TABLES:
        return PUNT
    move(state(block, AF_TABLES) + 2 * TABLE_LENGTH * mode, source, 2 * TABLE_LENGTH)
    channels = organisation(block, O_CHANNELS)
    count(block, reads, 2 * TABLE_LENGTH)
    count(block, BROADCASTS, channels * bursts(2 * TABLE_LENGTH))
    count(block, WRITES, channels * bursts(2 * TABLE_LENGTH))
    count(block, ENTERED, channels * 2 * TABLE_LENGTH)
    return DONE


@inline
def activate(form, mode, block):
    channels, banks = selected(block), organisation(block, O_BANKS)
    if channels == 0 or not 0 <= mode < TABLES:
        return PUNT
    table, scratch = state(block, AF_TABLES) + 2 * TABLE_LENGTH * mode, np.zeros(3 * 16, np.uint16)
    arguments = scratch.ctypes.data
    low, high = arguments + 32, arguments + 64
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            results = state(block, AF_RESULTS) + 2 * channel * banks
            for bank in range(0, banks, 4):
                put(arguments, sums(form, block, channel, bank, banks))
                for i in range(4):
                    at = i32(load(arguments + 2 * i, u16)) >> 6
                    store(low + 2 * i, load(table + 2 * at, u16))
                    store(high + 2 * i, load(table + 2 * (at + 1 & TABLE_LENGTH - 1), u16))
                put_part(results + 2 * bank, bits(form, interpolated(form, arguments, low, high)), min(banks - bank, 4))
    scratch[0] = 0              # used to here: its address was
    count(block, COMPUTES, channels)
    count(block, ELEMENTS, channels * banks)
    return DONE


@leaf
def interpolated(form, arguments, low, high):
    """16 values between those at `low` and `high`, as fp32."""
    x, a, b = take(arguments, u16), numbers(form, low), numbers(form, high)
    rest = x & u16(63)
    between = a + (b - a) * (convert(rest, f32) * f32(1 / 64))
    value = where(rest == u16(0), a, between)
    return where((x & u16(0x7FFF)) > u16(0x7C00 if form == F16 else 0x7F80), NAN, value)


@kernel("pim.af.f16")
def pim_af_f16(mode, _1, _2, _3, block):
    return activate(F16, mode, block)


@kernel("pim.af.bf16")
def pim_af_bf16(mode, _1, _2, _3, block):
    return activate(BF16, mode, block)


@kernel("pim.rd_af")
def pim_rd_af(dst, _1, _2, _3, block):
    channels, banks = selected(block), organisation(block, O_BANKS)
    if channels == 0:
        return PUNT
    target, writes = writable(block, PORT, dst, channels * banks * 2, 1)
    if target == 0:
        return PUNT
    place = target
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            move(place, state(block, AF_RESULTS) + 2 * channel * banks, 2 * banks)
            place += 2 * banks
    count(block, writes, channels * banks * 2)
    count(block, READOUTS, channels * banks)
    count(block, READS, channels * bursts(banks * 2))
    count(block, LEFT, channels * banks * 2)
    return DONE


# ------------------------------------------------------------------------------------------------ element-wise


@inline
def multiply(form, opsize, row, block):
    """In each bank group of the mask: bank 2 = bank 0 * bank 1."""
    first, channels, host = csr(block, FIRST), channels_for(block, row), banks_to_write(block)
    banks, groups, mask = organisation(block, O_BANKS), organisation(block, O_BANK_GROUPS), csr(block, GROUP_MASK)
    each, chosen = banks // groups, 0
    for group in range(groups):
        chosen += is_in(mask, group)
    if channels == 0 or host == 0 or each < 3 or chosen == 0 or not fits(block, first, opsize):
        return PUNT
    for group in range(groups):
        if is_in(mask, group):
            bank = group * each
            for channel in range(organisation(block, O_CHANNELS)):
                if is_selected(block, channel):
                    for i in range(first, first + opsize):
                        a = numbers(form, host + column_offset(block, channel, bank, row, i))
                        b = numbers(form, host + column_offset(block, channel, bank + 1, row, i))
                        put(host + column_offset(block, channel, bank + 2, row, i), bits(form, a * b))
            open_row(block, bank, 1, bank + 3, row)
    columns = channels * chosen * opsize
    count(block, COMPUTES, channels * opsize)
    count(block, COLUMNS_READ, 2 * columns)
    count(block, COLUMNS_WRITTEN, columns)
    count(block, ELEMENTS, 16 * columns)
    count(block, STAYED, 3 * columns * COLUMN)
    return DONE


@leaf
def is_in(mask, group):
    """1 if a bank group's bit of the mask is set, which has 64."""
    return mask >> group & 1 if group < 64 else 0


@inline
def add(form, y, x, opsize, block):
    if not 0 <= opsize <= LARGE >> 5:
        return PUNT
    size = COLUMN * opsize
    other, other_reads = readable(block, PORT, x, size, 2)
    source, reads = readable(block, PORT, y, size, 2)
    target, writes = writable(block, PORT, y, size, 2)
    if other == 0 or source == 0 or target == 0 or (other != target and overlap(other, size, target, size)):
        return PUNT
    for at in range(0, size, COLUMN):
        put(target + at, bits(form, numbers(form, source + at) + numbers(form, other + at)))
    count(block, other_reads, size)
    count(block, reads, size)
    count(block, writes, size)
    count(block, ELEMENTS, 16 * opsize)
    return DONE


@kernel("pim.ewmul.f16")
def pim_ewmul_f16(opsize, row, _2, _3, block):
    return multiply(F16, opsize, row, block)


@kernel("pim.ewmul.bf16")
def pim_ewmul_bf16(opsize, row, _2, _3, block):
    return multiply(BF16, opsize, row, block)


@kernel("pim.ewadd.f16")
def pim_ewadd_f16(y, x, opsize, _, block):
    return add(F16, y, x, opsize, block)


@kernel("pim.ewadd.bf16")
def pim_ewadd_bf16(y, x, opsize, _, block):
    return add(BF16, y, x, opsize, block)
