"""Level 1: DRAM commands. Each is what the memory controller sends to a bank, or to many banks of a channel at once.

A command that the banks' state does not allow traps: which bank is in which state, and what the command needs. The names are those
of the JEDEC standards and of Samsung's modes. A mode switch is an instruction here, where Samsung's device takes writes to rows
0x17FF (to HAB), 0x1FFF (to SB) and 0x3FFF (PIM_OP_MODE). That SB and HAB are left with closed rows only is assumed: those writes
would close them.
"""

from __future__ import annotations

import numpy as np

from isa.instruction import instruction
from isa.units.pim.banks import COLUMN_BYTES
from isa.units.pim.state import (
    CLOSED,
    HAB,
    HAB_PIM,
    SB,
    activate,
    addresses,
    all_banks,
    check,
    count_commands,
    expect_mode,
    expect_open,
    illegal,
    precharge,
    rows_of,
    selected,
    set_modes,
)


def one_bank(m, what, bank):
    """(channels, banks) of a command to one bank of each selected channel."""
    channels = selected(m)
    expect_mode(m, channels, what, SB)
    check(m, "bank", bank)
    return channels, np.array([bank])


def half_of_banks(m, what, parity, *modes):
    """(channels, banks) of a command to the even (0) or odd (1) banks, one for each block, of each selected channel."""
    channels, banks = selected(m), m.preset.banks
    expect_mode(m, channels, what, *modes)
    if parity >= banks.banks_per_block:
        raise illegal(parity, f"parity {parity}; {m.preset.name} has {banks.banks_per_block} banks for each block: expected "
                      + ("0, the even ones, or 1, the odd ones" if banks.banks_per_block == 2 else "0"))
    return channels, np.arange(parity, banks.banks, banks.banks_per_block)


def columns_of(m, what, channels, banks, column):
    """Linear addresses of a column of the open rows, (channels, banks). Counts a hit of each."""
    rows = expect_open(m, channels, banks, what)
    check(m, "column", column)
    m.count("pim.row_hits", rows.size)
    return addresses(m, channels, banks, rows, [column])[..., 0]


# ------------------------------------------------------------------------------------------------ one bank


@instruction("pim.act     R  opcode=0x7B funct3=0 funct7=0x00", "open a row of a bank; in SB, and the bank has no open row",
             operands="bank row",
             example="csrwi pim.channel_mask, 1\nli a0, 3\nli a1, 100\npim.act a0, a1           # row 100 of bank 3 of channel 0")
def pim_act(m, bank, row):
    activate(m, *one_bank(m, "pim.act", bank), row)


@instruction("pim.pre     R  opcode=0x7B funct3=0 funct7=0x01", "close a bank's open row, if there is one; in SB",
             operands="bank", example="pim.pre a0")
def pim_pre(m, bank):
    precharge(m, *one_bank(m, "pim.pre", bank))


@instruction("pim.rd      R  opcode=0x7B funct3=0 funct7=0x02",
             "dst = a column of a bank's open row, one of each selected channel; in SB",
             operands="dst>u8[selected,32] bank column", example="pim.act a1, a3\npim.rd  a0, a1, a2")
def pim_rd(m, dst, bank, column):
    channels, banks = one_bank(m, "pim.rd", bank)
    data = m.read_columns(columns_of(m, "pim.rd", channels, banks, column))
    m.write(dst, data.reshape(-1))
    count_commands(m, "pim.read_commands", channels, 1)
    m.count("pim.columns_read", len(channels))
    m.count("pim.bytes_left", data.size)


@instruction("pim.wr      R4 opcode=0x7B funct3=3 funct2=0", "a column of a bank's open row = src, in each selected channel; in SB",
             operands="src<u8[32] bank column", example="pim.act a1, a3\npim.wr  a0, a1, a2")
def pim_wr(m, src, bank, column):
    channels, banks = one_bank(m, "pim.wr", bank)
    _write(m, "pim.wr", channels, banks, column, src)


def _write(m, what, channels, banks, column, src):
    """Write 32 bytes at `src` to a column of the open row of each of these banks, and count them."""
    places, data = columns_of(m, what, channels, banks, column), m.read(src, COLUMN_BYTES)
    m.write_columns(places, np.broadcast_to(data, (*places.shape, COLUMN_BYTES)))
    count_commands(m, "pim.write_commands", channels, 1)
    m.count("pim.columns_written", places.size)
    m.count("pim.bytes_entered", COLUMN_BYTES * len(channels))


# ------------------------------------------------------------------------------------------------ many banks


@instruction("pim.act.ab  R  opcode=0x7B funct3=0 funct7=0x04",
             "open a row of every bank (AiM's ACT16); in any mode, and no bank has an open row",
             operands="row", example="pim.act.ab a1")
def pim_act_ab(m, row):
    activate(m, selected(m), all_banks(m), row)


@instruction("pim.pre.ab  R  opcode=0x7B funct3=0 funct7=0x05", "close the open row of every bank (JEDEC's PREA); in any mode",
             example="pim.pre.ab")
def pim_pre_ab(m):
    precharge(m, selected(m), all_banks(m))


@instruction("pim.act.hab R  opcode=0x7B funct3=0 funct7=0x06",
             "open a row of the even (parity 0) or the odd (1) banks; in HAB or HAB_PIM, and none of them has an open row",
             operands="parity row", example="pim.mode.hab\npim.act.hab zero, a1      # all even banks")
def pim_act_hab(m, parity, row):
    activate(m, *half_of_banks(m, "pim.act.hab", parity, HAB, HAB_PIM), row)


@instruction("pim.pre.hab R  opcode=0x7B funct3=0 funct7=0x07", "close the even (parity 0) or the odd (1) banks; in HAB or HAB_PIM",
             operands="parity", example="pim.pre.hab zero")
def pim_pre_hab(m, parity):
    precharge(m, *half_of_banks(m, "pim.pre.hab", parity, HAB, HAB_PIM))


@instruction("pim.wr.hab  R4 opcode=0x7B funct3=3 funct2=1",
             "a column of the open row of all even (parity 0) or odd (1) banks = src, the same in each; in HAB",
             operands="src<u8[32] parity column", example="pim.wr.hab a0, zero, a2")
def pim_wr_hab(m, src, parity, column):
    channels, banks = half_of_banks(m, "pim.wr.hab", parity, HAB)
    _write(m, "pim.wr.hab", channels, banks, column, src)
    m.count("pim.broadcasts", len(channels))


# ------------------------------------------------------------------------------------------------ modes


def _expect_closed(m, what, channels):
    """Trap for a channel that has an open row, which `what` does not allow."""
    rows = rows_of(m, channels, all_banks(m))
    for i, bank in np.argwhere(rows != CLOSED)[:1]:
        raise illegal(bank, f"bank {bank} of channel {channels[i]} has row {rows[i, bank]} open; {what} needs all banks closed: "
                            "pim.pre.ab first")


@instruction("pim.mode.sb  R opcode=0x7B funct3=0 funct7=0x08", "HAB -> SB: commands go to one bank; all banks are closed",
             example="pim.mode.sb")
def pim_mode_sb(m):
    channels = selected(m)
    expect_mode(m, channels, "pim.mode.sb", HAB)
    _expect_closed(m, "pim.mode.sb", channels)
    set_modes(m, channels, SB)


@instruction("pim.mode.hab R opcode=0x7B funct3=0 funct7=0x09",
             "SB -> HAB: commands go to all even or all odd banks; all banks are closed. Also HAB_PIM -> HAB: no command steps the "
             "micro-program any more",
             example="pim.pre.ab\npim.mode.hab")
def pim_mode_hab(m):
    channels = selected(m)
    expect_mode(m, channels, "pim.mode.hab", SB, HAB_PIM)
    _expect_closed(m, "pim.mode.hab", channels[m.state["pim.mode"][channels] == SB])
    set_modes(m, channels, HAB)


@instruction("pim.mode.hab_pim R opcode=0x7B funct3=0 funct7=0x0A",
             "HAB -> HAB_PIM: column commands step the micro-program, from entry 0 on. Bit 0 of zeroed clears GRF_A, bit 1 GRF_B",
             operands="zeroed", example="li a0, 2\npim.mode.hab_pim a0             # GRF_B = 0")
def pim_mode_hab_pim(m, zeroed):
    channels = selected(m)
    expect_mode(m, channels, "pim.mode.hab_pim", HAB)
    if zeroed > 3:
        raise illegal(zeroed, f"zeroed is {zeroed:#x}; expected bit 0 for GRF_A, bit 1 for GRF_B")
    set_modes(m, channels, HAB_PIM)
    for name in ("pim.crf_pc", "pim.crf_repeat", "pim.crf_jumps", *["pim.grf_a"] * (zeroed & 1), *["pim.grf_b"] * (zeroed >> 1)):
        of_channel = m.state[name].reshape(m.preset.banks.channels, -1)
        for channel in channels:
            m.set_state(name, np.zeros_like(of_channel[channel]), int(channel) * of_channel.shape[1])
