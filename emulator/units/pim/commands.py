"""Level 1: DRAM commands. What a command needs is checked for every channel before anything is done in one."""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, STATE_INDEX, count, overlap, state, writable
from emulator.native.inlining import specialised
from emulator.native.machine_code import clear_bytes, load, store
from emulator.units.pim.bank_words import (
    BROADCASTS,
    COLUMNS_READ,
    COLUMNS_WRITTEN,
    ENTERED,
    LEFT,
    MODE,
    MODE_SWITCHES,
    O_BANKS,
    O_BLOCKS,
    O_CHANNELS,
    O_COLUMNS,
    PIM,
    READS,
    ROW_HITS,
    WRITES,
    activate,
    all_in_mode,
    all_open,
    banks_to_read,
    banks_to_write,
    column_offset,
    is_selected,
    mode_of,
    organisation,
    precharge,
    row_of,
    selected,
)
from isa.units.pim.banks import COLUMN_BYTES
from isa.units.pim.crf import ENTRIES, REGISTERS
from isa.units.pim.state import HAB, HAB_PIM, SB

CRF_PC, CRF_REPEAT, CRF_JUMPS, GRF_A, GRF_B = (
    STATE_INDEX[f"pim.{name}"] for name in ("crf_pc", "crf_repeat", "crf_jumps", "grf_a", "grf_b"))


@specialised
def is_bank(block, bank):
    """True for a command to one bank that may go to every selected channel."""
    return selected(block) != 0 and 0 <= bank < organisation(block, O_BANKS) and all_in_mode(block, SB, SB)


@specialised
def banks_per_block(block):
    return organisation(block, O_BANKS) // organisation(block, O_BLOCKS)


@specialised
def is_half(block, parity, low, high):
    """True for a command to even or odd banks that may go to every selected channel, in modes low..high."""
    return selected(block) != 0 and 0 <= parity < banks_per_block(block) and all_in_mode(block, low, high)


# ------------------------------------------------------------------------------------------------ rows


@kernel("pim.act")
def pim_act(bank, row, block):
    return DONE if is_bank(block, bank) and activate(block, bank, 1, bank + 1, row) else PUNT


@kernel("pim.pre")
def pim_pre(bank, block):
    if not is_bank(block, bank):
        return PUNT
    precharge(block, bank, 1, bank + 1)
    return DONE


@kernel("pim.act.ab")
def pim_act_ab(row, block):
    return DONE if selected(block) != 0 and activate(block, 0, 1, organisation(block, O_BANKS), row) else PUNT


@kernel("pim.pre.ab")
def pim_pre_ab(block):
    if selected(block) == 0:
        return PUNT
    precharge(block, 0, 1, organisation(block, O_BANKS))
    return DONE


@kernel("pim.act.hab")
def pim_act_hab(parity, row, block):
    if not is_half(block, parity, HAB, HAB_PIM):
        return PUNT
    return DONE if activate(block, parity, banks_per_block(block), organisation(block, O_BANKS), row) else PUNT


@kernel("pim.pre.hab")
def pim_pre_hab(parity, block):
    if not is_half(block, parity, HAB, HAB_PIM):
        return PUNT
    precharge(block, parity, banks_per_block(block), organisation(block, O_BANKS))
    return DONE


# ------------------------------------------------------------------------------------------------ columns


@kernel("pim.rd")
def pim_rd(dst, bank, column, block):
    channels, size = selected(block), COLUMN_BYTES * selected(block)
    if not is_bank(block, bank) or not 0 <= column < organisation(block, O_COLUMNS) or not all_open(block, bank, 1, bank + 1):
        return PUNT
    banks = banks_to_read(block)
    dst_host, dst_slot = writable(block, PIM, dst, size, 1)
    if banks == 0 or dst_host == 0:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            place = banks + column_offset(block, channel, bank, row_of(block, channel, bank), column)
            if overlap(place, COLUMN_BYTES, dst_host, size):
                return PUNT
    place = dst_host
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            source = banks + column_offset(block, channel, bank, row_of(block, channel, bank), column)
            for i in range(0, COLUMN_BYTES, 8):
                store(place + i, load(source + i, np.int64))
            place += COLUMN_BYTES
    count(block, ROW_HITS, channels)
    count(block, READS, channels)
    count(block, COLUMNS_READ, channels)
    count(block, LEFT, size)
    count(block, dst_slot, size)
    return DONE


@specialised
def write_in_open_rows(block, src, first, step, column):
    """Write the 32 bytes at `src` to a column of the open rows: of the banks first, first + step, ... of every selected channel.
    With a step of 0, of the bank `first` alone."""
    banks = banks_to_write(block)
    end = organisation(block, O_BANKS) if step != 0 else first + 1
    step = max(step, 1)
    if banks == 0 or not 0 <= column < organisation(block, O_COLUMNS) or not all_open(block, first, step, end):
        return 0
    a, b = load(src, np.int64), load(src + 8, np.int64)
    c, d = load(src + 16, np.int64), load(src + 24, np.int64)
    written = 0
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(first, end, step):
                place = banks + column_offset(block, channel, bank, row_of(block, channel, bank), column)
                store(place, a)
                store(place + 8, b)
                store(place + 16, c)
                store(place + 24, d)
                written += 1
    channels = selected(block)
    count(block, ROW_HITS, written)
    count(block, WRITES, channels)
    count(block, COLUMNS_WRITTEN, written)
    count(block, ENTERED, COLUMN_BYTES * channels)
    return written


@kernel("pim.wr")
def pim_wr(src, bank, column, block):
    return DONE if is_bank(block, bank) and write_in_open_rows(block, src, bank, 0, column) != 0 else PUNT


@kernel("pim.wr.hab")
def pim_wr_hab(src, parity, column, block):
    if not is_half(block, parity, HAB, HAB) or write_in_open_rows(block, src, parity, banks_per_block(block), column) == 0:
        return PUNT
    count(block, BROADCASTS, selected(block))
    return DONE


# ------------------------------------------------------------------------------------------------ modes


@specialised
def all_closed_in_sb(block):
    """True if no selected channel that is in SB has an open row."""
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel) and mode_of(block, channel) == SB:
            for bank in range(organisation(block, O_BANKS)):
                if row_of(block, channel, bank) >= 0:
                    return False
    return True


@specialised
def set_modes(block, mode):
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            store(state(block, MODE) + channel, np.uint8(mode))
    count(block, MODE_SWITCHES, selected(block))


@kernel("pim.mode.sb")
def pim_mode_sb(block):
    if selected(block) == 0 or not all_in_mode(block, HAB, HAB):
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            for bank in range(organisation(block, O_BANKS)):
                if row_of(block, channel, bank) >= 0:
                    return PUNT
    set_modes(block, SB)
    return DONE


@kernel("pim.mode.hab")
def pim_mode_hab(block):
    if selected(block) == 0 or not all_closed_in_sb(block):
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel) and mode_of(block, channel) == HAB:
            return PUNT
    set_modes(block, HAB)
    return DONE


@kernel("pim.mode.hab_pim")
def pim_mode_hab_pim(zeroed, block):
    if selected(block) == 0 or not 0 <= zeroed <= 3 or not all_in_mode(block, HAB, HAB):
        return PUNT
    set_modes(block, HAB_PIM)
    size = organisation(block, O_BLOCKS) * REGISTERS * COLUMN_BYTES
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            store(state(block, CRF_PC) + channel, np.uint8(0))
            store(state(block, CRF_REPEAT) + 4 * channel, np.uint32(0))
            clear_bytes(state(block, CRF_JUMPS) + 4 * ENTRIES * channel, 4 * ENTRIES)
            if zeroed & 1:
                clear_bytes(state(block, GRF_A) + size * channel, size)
            if zeroed & 2:
                clear_bytes(state(block, GRF_B) + size * channel, size)
    return DONE
