"""Macro forms of single values: activation by table, element-wise products and sums."""

from __future__ import annotations

import numpy as np

from emulator.kernel import IN_PLACE, kernel
from emulator.kernel_words import DONE, PUNT, STATE_INDEX, count, csr, state, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, move, store
from emulator.simd.functions import NAN
from emulator.simd.lanes import convert, put, put_part, take, where
from emulator.units.pim.bank_words import (
    BROADCASTS,
    COLUMN_BYTES,
    COLUMNS_READ,
    COLUMNS_WRITTEN,
    COMPUTES,
    ELEMENTS,
    ENTERED,
    FIRST,
    GROUP_MASK,
    LEFT,
    O_BANK_GROUPS,
    O_BANKS,
    O_CHANNELS,
    PIM,
    READOUTS,
    READS,
    STAYED,
    WRITES,
    banks_to_write,
    bursts,
    channels_for,
    column_offset,
    count_commands,
    count_found,
    fits,
    is_selected,
    open_row,
    organisation,
    selected,
    sums,
)
from emulator.units.pim.processors import BF16, F16, bits, numbers
from isa.half import TABLE_LENGTH
from isa.units.pim.macros import TABLES

f32, i32, u16 = np.float32, np.int32, np.uint16
AF_TABLES, AF_RESULTS = STATE_INDEX["pim.af_tables"], STATE_INDEX["pim.af_results"]

# ------------------------------------------------------------------------------------------------ activation


@kernel("pim.wr_aflut")
def pim_wr_aflut(table, mode, block):
    if not 0 <= mode < TABLES:
        return PUNT
    move(state(block, AF_TABLES) + 2 * TABLE_LENGTH * mode, table, 2 * TABLE_LENGTH)
    channels = organisation(block, O_CHANNELS)
    count(block, BROADCASTS, channels * bursts(2 * TABLE_LENGTH))
    count_commands(block, WRITES, channels, bursts(2 * TABLE_LENGTH))
    count(block, ENTERED, channels * 2 * TABLE_LENGTH)
    return DONE


@specialised
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
    scratch[0] = 0              # keeps its memory alive until here
    count_commands(block, COMPUTES, channels, 1)
    count(block, ELEMENTS, channels * banks)
    return DONE


@inline
def interpolated(form, arguments, low, high):
    """16 values between those at `low` and `high`, as fp32."""
    x, a, b = take(arguments, u16), numbers(form, low), numbers(form, high)
    rest = x & u16(63)
    between = a + (b - a) * (convert(rest, f32) * f32(1 / 64))
    value = where(rest == u16(0), a, between)
    return where((x & u16(0x7FFF)) > u16(0x7C00 if form == F16 else 0x7F80), NAN, value)


@kernel("pim.rd_af")
def pim_rd_af(dst, block):
    channels, banks = selected(block), organisation(block, O_BANKS)
    if channels == 0:
        return PUNT
    target, writes = writable(block, PIM, dst, channels * banks * 2, 1)
    if target == 0:
        return PUNT
    place = target
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            move(place, state(block, AF_RESULTS) + 2 * channel * banks, 2 * banks)
            place += 2 * banks
    count(block, writes, channels * banks * 2)
    count(block, READOUTS, channels * banks)
    count_commands(block, READS, channels, bursts(banks * 2))
    count(block, LEFT, channels * banks * 2)
    return DONE


# ------------------------------------------------------------------------------------------------ element-wise


@specialised
def multiply(form, opsize, row, block):
    """In each bank group of the mask: bank 2 = bank 0 * bank 1."""
    first, channels, host = csr(block, FIRST), channels_for(block, row), banks_to_write(block)
    banks, groups, mask = organisation(block, O_BANKS), organisation(block, O_BANK_GROUPS), csr(block, GROUP_MASK)
    each, chosen = banks // groups, 0
    for group in range(groups):
        chosen += is_in(mask, group)
    if channels == 0 or host == 0 or each < 3 or chosen == 0 or not fits(block, first, opsize):
        return PUNT
    closed, conflicts = 0, 0
    for group in range(groups):
        if is_in(mask, group):
            bank = group * each
            for channel in range(organisation(block, O_CHANNELS)):
                if is_selected(block, channel):
                    for i in range(first, first + opsize):
                        a = numbers(form, host + column_offset(block, channel, bank, row, i))
                        b = numbers(form, host + column_offset(block, channel, bank + 1, row, i))
                        put(host + column_offset(block, channel, bank + 2, row, i), bits(form, a * b))
            of_group = open_row(block, bank, 1, bank + 3, row)
            closed, conflicts = closed + of_group[0], conflicts + of_group[1]
    columns = channels * chosen * opsize
    count_found(block, closed, conflicts)
    count_commands(block, COMPUTES, channels, opsize)
    count(block, COLUMNS_READ, 2 * columns)
    count(block, COLUMNS_WRITTEN, columns)
    count(block, ELEMENTS, 16 * columns)
    count(block, STAYED, 3 * columns * COLUMN_BYTES)
    return DONE


@inline
def is_in(mask, group):
    """1 if a bank group's bit of the mask is set, which has 64."""
    return mask >> group & 1 if group < 64 else 0


# ------------------------------------------------------------------------------------------------ by instruction


def _define(name, form):
    @kernel(f"pim.af.{name}")
    def activation(mode, block):
        return activate(form, mode, block)

    @kernel(f"pim.ewmul.{name}")
    def product(opsize, row, block):
        return multiply(form, opsize, row, block)

    @kernel(f"pim.ewadd.{name}", overlap=IN_PLACE)
    def total(y, x, opsize, block):
        for at in range(0, COLUMN_BYTES * opsize, COLUMN_BYTES):
            put(y + at, bits(form, numbers(form, y + at) + numbers(form, x + at)))
        count(block, ELEMENTS, 16 * opsize)
        return DONE


_define("f16",  F16)
_define("bf16", BF16)
