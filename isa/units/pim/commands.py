"""Level 1: DRAM commands. Each is what the memory controller sends to a bank, or to all banks of a channel.

A command that the banks' state does not allow traps: which bank is in which state, and what the command needs. The names are those
of the JEDEC standards and of Samsung's modes; a mode switch is an instruction here, where Samsung's device takes writes to rows
0x17FF (to HAB), 0x1FFF (to SB) and 0x3FFF (HAB_PIM, registers).
"""

from __future__ import annotations

import numpy as np

from isa.instruction import instruction
from isa.units.pim.state import SB, activate, all_banks, check, expect_mode, precharge, selected


def _one_bank(m, bank, what):
    """(channels, banks) of a command to one bank of each selected channel."""
    channels = selected(m)
    check(m, "bank", bank)
    expect_mode(m, channels, what, SB)
    return channels, np.array([bank])


@instruction("pim.act    R  opcode=0x7B funct3=0 funct7=0x00",
             "open a row of a bank; SB, and the bank has no open row",
             operands="bank row", counters="pim.activations",
             example="csrwi pim.channel_mask, 1\nli a0, 3\nli a1, 100\npim.act a0, a1           # row 100 of bank 3 of channel 0")
def pim_act(m, bank, row):
    activate(m, *_one_bank(m, bank, "pim.act"), row)


@instruction("pim.pre    R  opcode=0x7B funct3=0 funct7=0x01",
             "close a bank's open row, if there is one; SB",
             operands="bank", counters="pim.precharges", example="pim.pre a0")
def pim_pre(m, bank):
    precharge(m, *_one_bank(m, bank, "pim.pre"))


@instruction("pim.act.ab R  opcode=0x7B funct3=0 funct7=0x04",
             "open a row of every bank (AiM's ACT16); any mode, and no bank has an open row",
             operands="row", counters="pim.activations", example="pim.act.ab a1")
def pim_act_ab(m, row):
    activate(m, selected(m), all_banks(m), row)


@instruction("pim.pre.ab R  opcode=0x7B funct3=0 funct7=0x05",
             "close the open row of every bank (JEDEC's PREA); any mode",
             counters="pim.precharges", example="pim.pre.ab")
def pim_pre_ab(m):
    precharge(m, selected(m), all_banks(m))
