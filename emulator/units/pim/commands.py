"""Level 1: DRAM commands. What a command needs is checked for every channel before anything is done in one."""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, STATE_INDEX, count, state
from emulator.native.inlining import specialised
from emulator.native.machine_code import clear_bytes, store
from emulator.units.pim.bank_words import (
    BROADCASTS,
    MODE,
    MODE_SWITCHES,
    O_BANKS,
    O_BLOCKS,
    O_CHANNELS,
    O_COLUMNS,
    activate,
    all_closed,
    all_in_mode,
    all_open,
    is_selected,
    mode_of,
    organisation,
    precharge,
    read_column,
    row_of,
    selected,
    write_column,
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


@specialised
def all_ready(block, first, step, end, column):
    """True if the column is there and these banks of every selected channel have an open row."""
    return 0 <= column < organisation(block, O_COLUMNS) and all_open(block, first, step, end)


@kernel("pim.rd")
def pim_rd(dst, bank, column, block):
    ready = is_bank(block, bank) and all_ready(block, bank, 1, bank + 1, column)
    return DONE if ready and read_column(block, dst, bank, -1, column) else PUNT


@kernel("pim.wr")
def pim_wr(src, bank, column, block):
    ready = is_bank(block, bank) and all_ready(block, bank, 1, bank + 1, column)
    return DONE if ready and write_column(block, src, bank, 1, bank + 1, -1, column) else PUNT


@kernel("pim.wr.hab")
def pim_wr_hab(src, parity, column, block):
    apart, banks = banks_per_block(block), organisation(block, O_BANKS)
    if not is_half(block, parity, HAB, HAB) or not all_ready(block, parity, apart, banks, column):
        return PUNT
    if not write_column(block, src, parity, apart, banks, -1, column):
        return PUNT
    count(block, BROADCASTS, selected(block))
    return DONE


# ------------------------------------------------------------------------------------------------ modes


@specialised
def set_modes(block, mode):
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            store(state(block, MODE) + channel, np.uint8(mode))
    count(block, MODE_SWITCHES, selected(block))


@kernel("pim.mode.sb")
def pim_mode_sb(block):
    if selected(block) == 0 or not all_in_mode(block, HAB, HAB) or not all_closed(block, 0, 1, organisation(block, O_BANKS)):
        return PUNT
    set_modes(block, SB)
    return DONE


@kernel("pim.mode.hab")
def pim_mode_hab(block):
    if selected(block) == 0:
        return PUNT
    for channel in range(organisation(block, O_CHANNELS)):
        if is_selected(block, channel):
            mode = mode_of(block, channel)
            if mode == HAB:
                return PUNT
            for bank in range(organisation(block, O_BANKS)):
                if mode == SB and row_of(block, channel, bank) >= 0:
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
