"""What each instruction does to the banks, for the rule of time (isa/timing/banks.py): kinds, and where the operands stand.

A row of KINDS says what a memory controller has to do: which banks, which row, what happens to the columns, over which bus, which
figure keeps them away from the activation before and the precharge behind. A row of PLACES says which kind an instruction is, and
which of its operands is the bank, the row and the number of columns. An instruction without a number of columns has one, or, where
`bytes` is given, as many as hold so many bytes of each bank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from isa.timing.bank_state import (
    ACTIVATE,
    ALL,
    AS_OPENED,
    COLUMNS,
    HALF,
    INSIDE,
    NAMED,
    NO_BANK,
    NOTHING,
    ONE_BANK,
    OPERAND,
    OUTSIDE,
    PRECHARGE,
    PRODUCT_RECOVERY,
    RCDAF,
    RCDEWMUL,
    RCDMAC,
    RCDRD,
    RCDRDCP,
    RCDWR,
    RCDWRCP,
    READ_RECOVERY,
    REGISTER,
    REGISTERS,
    TABLE,
    TO_HAB,
    TO_HAB_PIM,
    TO_SB,
    WRITE_RECOVERY,
    Words,
)
from isa.units.pim.banks import COLUMN_BYTES

_READ, _WRITE = 0, 1
_R, _W, _P = READ_RECOVERY, WRITE_RECOVERY, PRODUCT_RECOVERY

KINDS: dict[str, tuple[int, ...]] = {
    #                      does        scope     which    row        writes  bus       row open for  behind  closes  holds
    "nothing":            (NOTHING,    NO_BANK,  OPERAND, AS_OPENED, _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "open a bank":        (ACTIVATE,   ONE_BANK, OPERAND, NAMED,     _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "open a half":        (ACTIVATE,   HALF,     OPERAND, NAMED,     _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "open all":           (ACTIVATE,   ALL,      OPERAND, NAMED,     _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "close a bank":       (PRECHARGE,  ONE_BANK, OPERAND, AS_OPENED, _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "close a half":       (PRECHARGE,  HALF,     OPERAND, AS_OPENED, _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "close all":          (PRECHARGE,  ALL,      OPERAND, AS_OPENED, _READ,  INSIDE,   RCDRD,        _R,     0,      0),
    "read":               (COLUMNS,    ONE_BANK, OPERAND, AS_OPENED, _READ,  OUTSIDE,  RCDRD,        _R,     0,      0),
    "write":              (COLUMNS,    ONE_BANK, OPERAND, AS_OPENED, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "read a half":        (COLUMNS,    HALF,     OPERAND, AS_OPENED, _READ,  OUTSIDE,  RCDRD,        _R,     0,      0),
    "write a half":       (COLUMNS,    HALF,     OPERAND, AS_OPENED, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "registers, even":    (COLUMNS,    HALF,     0,       REGISTERS, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "registers, odd":     (COLUMNS,    HALF,     1,       REGISTERS, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "to SB":              (TO_SB,      HALF,     0,       REGISTERS, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "to HAB":             (TO_HAB,     HALF,     0,       REGISTERS, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "to HAB_PIM":         (TO_HAB_PIM, HALF,     0,       REGISTERS, _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "form reads":         (COLUMNS,    ONE_BANK, OPERAND, NAMED,     _READ,  OUTSIDE,  RCDRD,        _R,     0,      0),
    "form writes":        (COLUMNS,    ONE_BANK, OPERAND, NAMED,     _WRITE, OUTSIDE,  RCDWR,        _W,     0,      0),
    "form writes all":    (COLUMNS,    ALL,      OPERAND, NAMED,     _WRITE, OUTSIDE,  RCDWR,        _W,     1,      0),
    "copy from a bank":   (COLUMNS,    ONE_BANK, OPERAND, NAMED,     _READ,  INSIDE,   RCDRDCP,      _R,     0,      0),
    "copy to a bank":     (COLUMNS,    ONE_BANK, OPERAND, NAMED,     _WRITE, INSIDE,   RCDWRCP,      _W,     0,      0),
    "mac in a bank":      (COLUMNS,    ONE_BANK, OPERAND, NAMED,     _READ,  INSIDE,   RCDMAC,       _R,     0,      0),
    "mac in all":         (COLUMNS,    ALL,      OPERAND, NAMED,     _READ,  INSIDE,   RCDMAC,       _R,     0,      0),
    "product in all":     (COLUMNS,    ALL,      OPERAND, NAMED,     _READ,  INSIDE,   RCDEWMUL,     _P,     0,      0),
    "activation in all":  (COLUMNS,    ALL,      OPERAND, TABLE,     _READ,  INSIDE,   RCDAF,        _R,     0,      0),
    "write registers":    (COLUMNS,    NO_BANK,  OPERAND, AS_OPENED, _WRITE, REGISTER, RCDWR,        _W,     0,      0),
    "read registers":     (COLUMNS,    NO_BANK,  OPERAND, AS_OPENED, _READ,  REGISTER, RCDRD,        _R,     0,      1),
}

KIND_NUMBERS = {name: number for number, name in enumerate(KINDS)}


@dataclass(frozen=True)
class Place:
    """An instruction: its kind, and the names of the operands that are its bank (or parity), row, and number of columns."""

    kind: str
    bank: str = ""
    row: str = ""
    columns: str = ""
    fixed: int = 1                      # columns where no operand says how many
    bytes: int = 0                      # of each bank, where they make up the columns
    every_channel: bool = False         # it works on all channels, whatever the masks are

    def columns_of(self, values: Mapping[str, int], banks: int) -> int:
        """Columns of an operation with these operands, in a channel with so many banks."""
        return values[self.columns] if self.columns else -(-self.bytes * banks // COLUMN_BYTES) if self.bytes else self.fixed


_FORMS = ("f16", "bf16", "i8")

PLACES: dict[str, Place] = {
    "pim.act":          Place("open a bank", "bank", "row"),
    "pim.pre":          Place("close a bank", "bank"),
    "pim.rd":           Place("read", "bank"),
    "pim.wr":           Place("write", "bank"),
    "pim.act.ab":       Place("open all", "", "row"),
    "pim.pre.ab":       Place("close all"),
    "pim.act.hab":      Place("open a half", "parity", "row"),
    "pim.pre.hab":      Place("close a half", "parity"),
    "pim.wr.hab":       Place("write a half", "parity"),
    "pim.mode.sb":      Place("to SB"),
    "pim.mode.hab":     Place("to HAB"),
    "pim.mode.hab_pim": Place("to HAB_PIM"),
    "pim.wr.crf":       Place("registers, odd"),
    "pim.wr.grf_a":     Place("registers, odd"),
    "pim.wr.grf_b":     Place("registers, odd"),
    "pim.wr.srf":       Place("registers, even"),
    "pim.rd.pim":       Place("read a half", "parity"),
    "pim.wr.pim":       Place("write a half", "parity"),
    "pim.wr_sbk":       Place("form writes", "bank", "row"),
    "pim.wr_abk":       Place("form writes all", "", "row"),
    "pim.rd_sbk":       Place("form reads", "bank", "row"),
    "pim.wr_gb":        Place("write registers", columns="opsize"),
    "pim.copy_bkgb":    Place("copy from a bank", "bank", "row", "opsize"),
    "pim.copy_gbbk":    Place("copy to a bank", "bank", "row", "opsize"),
    "pim.wr_aflut":     Place("write registers", fixed=64, every_channel=True),
    "pim.rd_af":        Place("read registers", bytes=2),
    **{f"pim.wr_bias.{form}": Place("write registers", bytes=4 if form == "i8" else 2) for form in _FORMS},
    **{f"pim.rd_mac.{form}": Place("read registers", bytes=4 if form == "i8" else 2) for form in _FORMS},
    **{f"pim.mac_sbk.{form}": Place("mac in a bank", "bank", "row", "opsize") for form in _FORMS},
    **{f"pim.mac_abk.{form}": Place("mac in all", "", "row", "opsize") for form in _FORMS},
    **{f"pim.af.{form}": Place("activation in all", "mode") for form in _FORMS[:2]},
    **{f"pim.ewmul.{form}": Place("product in all", "", "row", "opsize") for form in _FORMS[:2]},
    **{f"pim.ewadd.{form}": Place("nothing") for form in _FORMS[:2]},
}
"""Every instruction of the unit."""


def kind_table() -> Words:
    """(kinds, words of a kind): what `figures_of` of isa/timing/bank_state.py takes."""
    return np.array(list(KINDS.values()), np.int64)
