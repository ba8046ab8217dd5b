"""Level 1: DRAM commands."""

from __future__ import annotations

from emulator.banks import O_BANKS, activate, all_in_mode, organisation, precharge, selected
from emulator.context import DONE, PUNT
from emulator.kernels import kernel
from isa.units.pim.state import SB


@kernel("pim.act")
def pim_act(bank, row, _2, _3, block):
    if selected(block) == 0 or not 0 <= bank < organisation(block, O_BANKS) or not all_in_mode(block, SB, SB):
        return PUNT
    return DONE if activate(block, bank, 1, bank + 1, row) else PUNT


@kernel("pim.pre")
def pim_pre(bank, _1, _2, _3, block):
    if selected(block) == 0 or not 0 <= bank < organisation(block, O_BANKS) or not all_in_mode(block, SB, SB):
        return PUNT
    precharge(block, bank, 1, bank + 1)
    return DONE


@kernel("pim.act.ab")
def pim_act_ab(row, _1, _2, _3, block):
    if selected(block) == 0:
        return PUNT
    return DONE if activate(block, 0, 1, organisation(block, O_BANKS), row) else PUNT


@kernel("pim.pre.ab")
def pim_pre_ab(_0, _1, _2, _3, block):
    if selected(block) == 0:
        return PUNT
    precharge(block, 0, 1, organisation(block, O_BANKS))
    return DONE
