"""What the rule of banks reads and writes: the figures of a machine, the kinds of operations, the state of channels and banks.

All are words of int64 arrays; their places are listed here. The rule itself: banks.py, and its commands bank_commands.py.

Channels that have had the same operations are one set. The banks of a set are addressed one by one, by halves (the even and the odd
ones), or all together: a slot is what is addressed together, and the set says which slots count now.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from isa.timing.rates import rule

Words = npt.NDArray[np.int64]

# ------------------------------------------------------------------------------------------------ figures

FIGURES = {
    "RL":          "from a read to its data",
    "WL":          "from a write to its data",
    "tBURST":      "data of a column on the channel",
    "tRDREG":      "from a read of registers to the end of its data",
    "tWRREG":      "from a write of registers to the end of its data",
    "tRTRS":       "the channel turns from reading to writing",
    "tWTRL":       "the channel turns from writing to reading",
    "tCCDS":       "between columns of different bank groups, and between registers",
    "tCCDL":       "between columns of a bank group",
    "tRCDRD":      "from the activation of a row to a read",
    "tRCDWR":      "from the activation of a row to a write",
    "tRCDMAC":     "from the activation of a row to a MAC form",
    "tRCDEWMUL":   "from the activation of a row to an element-wise product",
    "tRCDAF":      "from the activation of a table's row to an activation function",
    "tRCDRDCP":    "from the activation of a row to a copy from the bank to the global buffer",
    "tRCDWRCP":    "from the activation of a row to a copy from the global buffer to the bank",
    "tRAS":        "from the activation of a row to its precharge",
    "tRC":         "between activations of a bank",
    "tRP":         "from a precharge to an activation",
    "tRTP":        "from a read to a precharge",
    "tWR":         "from the end of a write's data to a precharge",
    "tRRDS":       "between activations of different bank groups",
    "tRRDL":       "between activations of a bank group",
    "tXAW":        "in which a channel activates four rows at most",
    "tMODCH":      "turn between register access and everything else",
    "tREFI":       "between refreshes; 0: none",
    "tREFI_FIRST": "until the first refresh",
    "tRFC":        "of a refresh",
}
"""What a machine with banks gives: cycles, by name."""

(RL, WL, BURST, RDREG, WRREG, RTRS, WTRL, CCDS, CCDL, RCDRD, RCDWR, RCDMAC, RCDEWMUL, RCDAF, RCDRDCP, RCDWRCP, RAS, RC, RP, RTP, WR,
 RRDS, RRDL, XAW, MODCH, REFI, REFI_FIRST, RFC) = range(len(FIGURES))
BANKS, GROUP, APART, WIDTH = range(len(FIGURES), len(FIGURES) + 4)     # banks a channel, in a group, a block; words of a set
KIND_TABLE = WIDTH + 1                                                  # then the kinds, KIND_WORDS each

# What a kind of operation does; the words of its entry.
DOES, SCOPE, WHICH, ROW_IS, WRITES, BUS, RCD, RECOVERS, CLOSES, HOLDS = range(10)
KIND_WORDS = 10

NOTHING, ACTIVATE, PRECHARGE, COLUMNS, TO_SB, TO_HAB, TO_HAB_PIM = range(7)         # DOES
NO_BANK, ONE_BANK, HALF, ALL = range(4)                                             # SCOPE
OPERAND = -1                                                                        # WHICH: the operand; or this half
AS_OPENED, NAMED, REGISTERS, TABLE = range(4)                                       # ROW_IS: of the program, the operand, ..
OUTSIDE, INSIDE, REGISTER = range(3)                                                # BUS: data go over the channel, or not
READ_RECOVERY, WRITE_RECOVERY, PRODUCT_RECOVERY = range(3)                          # RECOVERS: what the bank needs then

# ------------------------------------------------------------------------------------------------ state

SETS, HELD, BEGAN = range(3)            # sets of like channels; until when the host waits; when the last operation began
HEAD_WORDS = 3

(MASK, NOW, LAST_READ_END, LAST_WRITE_END, LAST_COLUMN, LAST_GROUP, LAST_WRITES, OTHER_COLUMN, OTHER_GROUP, LAST_ACT, ACT_GROUP,
 WINDOW, WINDOW_NEXT, LEVEL, MODE, REGISTER_MODE, OPEN, LATEST_CLOSABLE, LATEST_CLOSED, DUE, SHUT, SHUT_END) = (
     0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27)
SET_WORDS = 28                          # MASK has four words, WINDOW the last four activations
ROW, PROGRAM_ROW, OPENED, CLOSABLE, OPENABLE = range(5)
SLOT_WORDS = 5

SINGLE, HALVES, TOGETHER = range(3)     # LEVEL: a slot for each bank, for the even and the odd ones, for all
CLOSED, REGISTER_ROW, HAB_ROW, SB_ROW, MIXED, TABLE_ROW = -1, -2, -3, -4, -5, -6     # TABLE_ROW, and below: AiM's tables
SB, HAB = 0, 1                          # MODE
NO_GROUP = -1
LONG_AGO = -(1 << 40)


def figures_of(figures: Mapping[str, int], banks: int, bank_groups: int, blocks: int, kinds: Words) -> Words:
    """The figures of a machine as the rule reads them: FIGURES by name, the sizes of a channel, and the kinds (n, KIND_WORDS)."""
    words = [*(figures[name] for name in FIGURES), banks, banks // bank_groups, banks // blocks,
             SET_WORDS + SLOT_WORDS * (banks + 3)]
    return np.array([*words, *kinds.reshape(-1)], np.int64)


def state_of(figures: Words, channels: int) -> Words:
    """The state at cycle 0: all channels alike, no row open."""
    width = int(figures[WIDTH])
    state = np.zeros(HEAD_WORDS + width * channels, np.int64)
    state[SETS] = 1
    one = state[HEAD_WORDS:HEAD_WORDS + width]
    mask = (1 << channels) - 1
    one[MASK:MASK + 4] = np.array([mask >> 64 * i & (1 << 64) - 1 for i in range(4)], np.uint64).view(np.int64)
    one[[NOW, LAST_READ_END, LAST_WRITE_END, LAST_COLUMN, OTHER_COLUMN, LAST_ACT, WINDOW, WINDOW + 1, WINDOW + 2, WINDOW + 3,
         LATEST_CLOSABLE, LATEST_CLOSED, SHUT, SHUT_END]] = LONG_AGO
    one[[LAST_GROUP, OTHER_GROUP, ACT_GROUP]] = NO_GROUP
    one[DUE] = figures[REFI_FIRST]
    slots = one[SET_WORDS:].reshape(-1, SLOT_WORDS)
    slots[:, [ROW, PROGRAM_ROW]] = CLOSED
    slots[:, [OPENED, CLOSABLE, OPENABLE]] = LONG_AGO
    return state


def is_sound(state: Words, figures: Words, channels: int) -> bool:
    """Can operations have left this state? The sets have all channels, each once, and places in tables are in them."""
    width, left = int(figures[WIDTH]), (1 << channels) - 1
    if not 1 <= state[SETS] <= channels:
        return False
    for one in state[HEAD_WORDS:HEAD_WORDS + width * int(state[SETS])].reshape(-1, width):
        mask = int.from_bytes(one[MASK:MASK + 4].astype("<i8").tobytes(), "little")
        if not mask or mask & ~left or not 0 <= one[WINDOW_NEXT] < 4 or not SINGLE <= one[LEVEL] <= TOGETHER:
            return False
        left &= ~mask
    return not left


# ------------------------------------------------------------------------------------------------ slots: banks that act together


@rule
def slot_count(r: Words, level: int) -> int:
    """Slots of a level."""
    if level == SINGLE:
        return r[BANKS]
    if level == HALVES:
        return r[APART]
    return 1


@rule
def slot_of(r: Words, k: int, level: int, number: int) -> int:
    """Where a slot of the set at k stands."""
    first = 0
    if level == HALVES:
        first = r[BANKS]
    if level == TOGETHER:
        first = r[BANKS] + 2
    return k + SET_WORDS + SLOT_WORDS * (first + number)


@rule
def is_open(b: Words, k: int, s: int) -> bool:
    """Whether a slot has an open row: one that no refresh has closed since."""
    return b[s + ROW] != CLOSED and b[s + OPENED] > b[k + SHUT]


@rule
def take_level(b: Words, r: Words, k: int, level: int, row: int) -> None:
    """Have the banks of a set addressed at another level: split their slots, or join them for a row that is to be opened.

    Joined, they have that row open if all have it, none if none has another one. In HAB, banks 0 and 1 stand for the halves.
    """
    old = b[k + LEVEL]
    if old == level:
        return
    many, few = slot_count(r, level), slot_count(r, old)
    b[k + OPEN] = 0
    for i in range(many):
        to = slot_of(r, k, level, i)
        start = slot_of(r, k, old, i % few)
        for word in range(SLOT_WORDS):
            b[to + word] = b[start + word]
        if i >= few and b[to + ROW] < CLOSED:                           # rows of registers and modes: in banks 0 and 1 alone
            b[to + ROW] = CLOSED
        closed, other = not is_open(b, k, start), is_open(b, k, start) and b[start + ROW] != row
        for j in range(i + many, few if level == TOGETHER else 0, many):
            one = slot_of(r, k, old, j)
            closed = closed or not is_open(b, k, one)
            other = other or (is_open(b, k, one) and b[one + ROW] != row)
            if b[one + PROGRAM_ROW] != b[to + PROGRAM_ROW]:
                b[to + PROGRAM_ROW] = row
            b[to + OPENED] = max(b[to + OPENED], b[one + OPENED])
            b[to + CLOSABLE] = max(b[to + CLOSABLE], b[one + CLOSABLE])
            b[to + OPENABLE] = max(b[to + OPENABLE], b[one + OPENABLE])
        if level == TOGETHER:
            b[to + ROW] = MIXED if other else CLOSED if closed else row
        b[k + OPEN] += 1 if is_open(b, k, to) else 0
    b[k + LEVEL] = level
