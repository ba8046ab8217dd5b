"""Macro forms that move columns: into banks and out of them, to global buffers and from there."""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, csr
from emulator.native.inlining import specialised
from emulator.native.machine_code import move
from emulator.simd.lanes import put, take
from emulator.units.pim.bank_words import (
    BROADCASTS,
    COLUMN_BYTES,
    COLUMNS_READ,
    COLUMNS_WRITTEN,
    ENTERED,
    FIRST,
    FIRST_OF_BUFFER,
    O_BANKS,
    O_CHANNELS,
    READS,
    STAYED,
    WRITES,
    banks_to_read,
    banks_to_write,
    buffer_place,
    channels_for,
    column_offset,
    count_commands,
    count_found,
    fits,
    is_selected,
    open_row,
    organisation,
    read_column,
    selected,
    write_column,
)

u16 = np.uint16


@specialised
def write_one_column(x, row, first, end, block):
    """A column of these banks of every channel = 32 bytes of memory."""
    column = csr(block, FIRST)
    if channels_for(block, row) == 0 or not fits(block, column, 1) or not write_column(block, x, first, 1, end, row, column):
        return PUNT
    closed, conflicts = open_row(block, first, 1, end, row)
    count_found(block, closed, conflicts)
    return DONE


@kernel("pim.wr_sbk")
def pim_wr_sbk(x, bank, row, block):
    if not 0 <= bank < organisation(block, O_BANKS):
        return PUNT
    return write_one_column(x, row, bank, bank + 1, block)


@kernel("pim.wr_abk")
def pim_wr_abk(x, row, block):
    if write_one_column(x, row, 0, organisation(block, O_BANKS), block) == PUNT:
        return PUNT
    count(block, BROADCASTS, channels_for(block, row))
    return DONE


@kernel("pim.rd_sbk")
def pim_rd_sbk(dst, bank, row, block):
    column = csr(block, FIRST)
    if channels_for(block, row) == 0 or not fits(block, column, 1) or not 0 <= bank < organisation(block, O_BANKS):
        return PUNT
    if not read_column(block, dst, bank, row, column):
        return PUNT
    closed, conflicts = open_row(block, bank, 1, bank + 1, row)
    count_found(block, closed, conflicts)
    return DONE


@kernel("pim.wr_gb")
def pim_wr_gb(x, opsize, block):
    column = csr(block, FIRST_OF_BUFFER)
    channels = selected(block)
    if channels == 0 or not fits(block, column, opsize):
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            move(buffer_place(block, channel, column), x, COLUMN_BYTES * opsize)
    count(block, BROADCASTS, channels * opsize)
    count_commands(block, WRITES, channels, opsize)
    count(block, ENTERED, channels * opsize * COLUMN_BYTES)
    return DONE


@specialised
def copy(opsize, bank, row, to_buffer, block):
    """A run of a bank goes to the global buffer, or back, in every channel."""
    first, column = csr(block, FIRST), csr(block, FIRST_OF_BUFFER)
    channels = channels_for(block, row)
    if channels == 0 or not fits(block, first, opsize) or not fits(block, column, opsize):
        return PUNT
    host = banks_to_read(block) if to_buffer else banks_to_write(block)
    if not 0 <= bank < organisation(block, O_BANKS) or host == 0:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for i in range(opsize):
                there = host + column_offset(block, channel, bank, row, first + i)
                place = buffer_place(block, channel, column + i)
                if to_buffer:
                    put(place, take(there, u16))
                else:
                    put(there, take(place, u16))
    closed, conflicts = open_row(block, bank, 1, bank + 1, row)
    count_found(block, closed, conflicts)
    count_commands(block, READS if to_buffer else WRITES, channels, opsize)
    count(block, COLUMNS_READ if to_buffer else COLUMNS_WRITTEN, channels * opsize)
    count(block, STAYED, channels * opsize * COLUMN_BYTES)
    return DONE


@kernel("pim.copy_bkgb")
def pim_copy_bkgb(opsize, bank, row, block):
    return copy(opsize, bank, row, True, block)


@kernel("pim.copy_gbbk")
def pim_copy_gbbk(opsize, bank, row, block):
    return copy(opsize, bank, row, False, block)
