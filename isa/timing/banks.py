"""Banks: how long a channel of a DRAM takes for an operation of its banks. One rule for all machines; their figures differ.

The rule knows what a memory controller knows: of each channel what the last commands were, of each bank which row is open and from
when on it may be closed or opened again. An operation is then

    mode turn        where register access follows something else, or the reverse (AiM's TMOD): tMODCH before its first command
    row change       close the row that is open, when the bank may be closed; open the other one, when it may be opened
    run              n columns, one every tCCDL: not before tRCD.. after the row was opened, not too close to the columns before

and takes as long to compute for 64 columns as for one. Columns keep the order of the program. Activations and precharges are
posted: a later command goes on beside them, where it needs another bank. Banks that are always addressed together (all of them, or
the even and the odd ones) are one entry of the state, and so are channels that have had the same operations.

`bank_operation` is what the clock calls. It gives the cycle in which the operation is complete: its last data have come, or its
last command has gone. The next operation on the same channels may begin earlier, right behind the last command; the state knows
when.

    end = bank_operation(banks, figures, kind, mask0, mask1, mask2, mask3, bank, second, row, columns, start)

        banks       int64 state, from `state_of`
        figures     int64 figures of the machine, from `figures_of`
        kind        what the instruction does to the banks: a row of KINDS (isa/units/pim/kinds.py)
        mask0..3    the channels that it works on, 64 bits each
        bank        its bank, or the parity of its half of the banks; not looked at where it has none
        second      a bank whose row it opens as well (AiM's next bank), or -1
        row         its row; not looked at where it works on the row that the program has opened before
        columns     n, at least 1
        start       the cycle in which the operation reaches the controller. banks[BEGAN] is that in which it began then

Refresh is part of time: a controller closes all banks of a channel every tREFI, and waits tRFC. It is due at tREFI_FIRST, then
every tREFI. Commands to banks that cannot be closed yet go first. Refreshes that fall into idle time cost nothing.

HBM-PIM's register and mode commands are writes to a row of their own in bank 0 or 1, so they close the row that is open there. The
program knows nothing of it: what it has opened is opened again when it comes back.

Cycles are those of the memory's clock. Sources: the constraints between commands of PIMSimulator (src/MemoryController.cpp,
src/CommandQueue.cpp, src/tests/PIMKernel.cpp) and of aim_simulator (src/dram/impl/GDDR6.cpp, src/dram_controller/impl): facts.
"""

from __future__ import annotations

import numpy as np

from isa.timing.bank_commands import (
    column_time,
    columns_in,
    completion,
    note_columns,
    open_row,
    precharge,
)
from isa.timing.bank_state import (
    ACT_GROUP,
    ACTIVATE,
    ALL,
    APART,
    AS_OPENED,
    BANKS,
    BEGAN,
    BURST,
    BUS,
    CCDS,
    CLOSABLE,
    CLOSED,
    CLOSES,
    DOES,
    DUE,
    GROUP,
    HAB,
    HAB_ROW,
    HALF,
    HALVES,
    HEAD_WORDS,
    HELD,
    HOLDS,
    KIND_TABLE,
    KIND_WORDS,
    LAST_ACT,
    LAST_COLUMN,
    LAST_GROUP,
    LAST_READ_END,
    LAST_WRITE_END,
    LAST_WRITES,
    LATEST_CLOSABLE,
    LATEST_CLOSED,
    LEVEL,
    MASK,
    MODCH,
    MODE,
    NAMED,
    NO_BANK,
    NO_GROUP,
    NOTHING,
    NOW,
    ONE_BANK,
    OPEN,
    OPENABLE,
    OPENED,
    OPERAND,
    OTHER_COLUMN,
    OTHER_GROUP,
    PRECHARGE,
    PROGRAM_ROW,
    RAS,
    RC,
    RCD,
    RCDRD,
    RCDWR,
    REFI,
    REFI_FIRST,
    REGISTER,
    REGISTER_MODE,
    REGISTER_ROW,
    REGISTERS,
    RFC,
    RL,
    ROW,
    ROW_IS,
    RP,
    RRDS,
    SB,
    SB_ROW,
    SCOPE,
    SET_WORDS,
    SETS,
    SHUT,
    SHUT_END,
    SINGLE,
    SLOT_WORDS,
    TABLE,
    TABLE_ROW,
    TO_HAB,
    TO_SB,
    TOGETHER,
    WHICH,
    WIDTH,
    WINDOW,
    WINDOW_NEXT,
    WL,
    WR,
    XAW,
    Words,
    is_open,
    slot_count,
    slot_of,
    take_level,
)
from isa.timing.rates import rule

# ------------------------------------------------------------------------------------------------ operations


@rule
def mode_row(b: Words, r: Words, k: int, kind: int, bank: int, row: int, earliest: int, write: int) -> None:
    """A bank's part of a mode change: open the row of that mode, or write to it."""
    if bank < r[BANKS]:
        s = slot_of(r, k, SINGLE, bank)
        if write:
            columns_in(b, r, k, kind, s, bank // r[GROUP], 1, earliest, 0)
        else:
            open_row(b, r, k, s, bank // r[GROUP], row, earliest, 0)


@rule
def change_mode(b: Words, r: Words, k: int, kind: int, earliest: int) -> int:
    """HBM-PIM's mode changes: writes to rows of their own. -> the last of them."""
    if r[kind + DOES] == TO_HAB and b[k + MODE] == SB:                  # banks 0, 1 of two groups, the last behind the others
        take_level(b, r, k, SINGLE, CLOSED)
        for place in range(2):
            for i in range(3):
                mode_row(b, r, k, kind, i // 2 + (i % 2) * (r[BANKS] // 2), HAB_ROW, earliest, place)
        mode_row(b, r, k, kind, r[BANKS] // 2 + 1, HAB_ROW, b[k + NOW] + 1, 0)
        mode_row(b, r, k, kind, r[BANKS] // 2 + 1, HAB_ROW, b[k + NOW] + 1, 1)
        b[k + MODE] = HAB
        take_level(b, r, k, HALVES, REGISTER_ROW)
    elif r[kind + DOES] == TO_SB:                                       # banks 0 and 1; in SB when both are closed again
        take_level(b, r, k, SINGLE, CLOSED)
        for bank in range(r[APART]):
            mode_row(b, r, k, kind, bank, SB_ROW, max(earliest, b[k + NOW] + 1), 0)
            mode_row(b, r, k, kind, bank, SB_ROW, earliest, 1)
        closed = b[k + NOW]
        for bank in range(r[APART]):
            closed = max(closed, precharge(b, r, k, slot_of(r, k, SINGLE, bank), earliest, 0))
        b[k + NOW] = closed
        b[k + MODE] = SB
    else:
        take_level(b, r, k, HALVES, REGISTER_ROW)
        s = slot_of(r, k, HALVES, 0)
        open_row(b, r, k, s, 0, REGISTER_ROW, earliest, 0)
        columns_in(b, r, k, kind, s, 0, 1, earliest, 0)
    return b[k + NOW]


@rule
def of_registers(b: Words, r: Words, k: int, kind: int, columns: int, earliest: int, turn: int) -> int:
    """A run of register accesses, which need no bank. -> the cycle of the last command."""
    last = column_time(b, r, k, kind, NO_GROUP, earliest) + turn + (columns - 1) * r[CCDS]
    note_columns(b, r, k, kind, NO_GROUP, last)
    return last


@rule
def of_set(b: Words, r: Words, k: int, kind: int, bank: int, second: int, row: int, columns: int, earliest: int) -> int:
    """An operation on the channels of the set at k. -> the cycle in which it is complete."""
    does, scope = r[kind + DOES], r[kind + SCOPE]
    registers = 1 if r[kind + BUS] == REGISTER else 0
    turn = r[MODCH] if registers != b[k + REGISTER_MODE] else 0
    b[k + REGISTER_MODE] = registers
    if does >= TO_SB:
        return completion(r, kind, change_mode(b, r, k, kind, earliest + turn))
    if scope == NO_BANK:
        return completion(r, kind, of_registers(b, r, k, kind, columns, earliest, turn))
    if r[kind + ROW_IS] == REGISTERS:
        row = REGISTER_ROW
    if r[kind + ROW_IS] == TABLE:
        row = TABLE_ROW - bank
    level = SINGLE if scope == ONE_BANK else HALVES if scope == HALF or b[k + MODE] == HAB else TOGETHER
    take_level(b, r, k, level, row)
    group = bank // r[GROUP] if scope == ONE_BANK else 0 if level == HALVES else NO_GROUP
    first, count = 0, slot_count(r, level)                              # ALL in HAB: the two halves, one after the other
    if scope != ALL:
        first, count = (bank if r[kind + WHICH] == OPERAND else min(r[kind + WHICH], r[APART] - 1)), 1
    end = earliest
    for number in range(first, first + count):
        s = slot_of(r, k, level, number)
        if does == PRECHARGE:
            b[s + PROGRAM_ROW] = CLOSED
            end = max(end, precharge(b, r, k, s, earliest, turn) + 1)
        elif does == ACTIVATE:
            b[s + PROGRAM_ROW] = row
            open_row(b, r, k, s, group, row, earliest, turn)
            end = max(end, b[s + OPENED] + 1)
        else:
            wanted = b[s + PROGRAM_ROW] if r[kind + ROW_IS] == AS_OPENED else row
            if r[kind + ROW_IS] == NAMED:
                b[s + PROGRAM_ROW] = row
            if open_row(b, r, k, s, group, wanted, earliest, turn):
                turn = 0
            if second >= 0:
                beside = slot_of(r, k, level, second)
                b[beside + PROGRAM_ROW] = row
                open_row(b, r, k, beside, second // r[GROUP], row, earliest, turn)
                earliest = max(earliest, b[beside + OPENED] + r[r[kind + RCD]])
            last = columns_in(b, r, k, kind, s, group, columns, earliest, turn)
            if r[kind + CLOSES]:
                precharge(b, r, k, s, last, 0)
            end = max(end, completion(r, kind, last))
    return end


@rule
def chosen(b: Words, k: int, mask0: int, mask1: int, mask2: int, mask3: int) -> bool:
    """Whether a set has a channel of the masks."""
    return ((b[k + MASK] & mask0) | (b[k + MASK + 1] & mask1) | (b[k + MASK + 2] & mask2) | (b[k + MASK + 3] & mask3)) != 0


@rule
def split(b: Words, r: Words, mask0: int, mask1: int, mask2: int, mask3: int) -> None:
    """Have no set with both channels of the masks and others."""
    for number in range(b[SETS]):
        k = HEAD_WORDS + number * r[WIDTH]
        if chosen(b, k, mask0, mask1, mask2, mask3) and chosen(b, k, ~mask0, ~mask1, ~mask2, ~mask3):
            new = HEAD_WORDS + b[SETS] * r[WIDTH]
            for word in range(r[WIDTH]):
                b[new + word] = b[k + word]
            b[SETS] += 1
            b[k + MASK] &= mask0
            b[k + MASK + 1] &= mask1
            b[k + MASK + 2] &= mask2
            b[k + MASK + 3] &= mask3
            b[new + MASK] &= ~mask0
            b[new + MASK + 1] &= ~mask1
            b[new + MASK + 2] &= ~mask2
            b[new + MASK + 3] &= ~mask3


@rule
def settle(b: Words, r: Words, k: int, begin: int) -> None:
    """Forget what can hold up no operation that begins now or later, so that sets with different pasts can be alike."""
    past = begin
    for figure in range(RFC + 1):
        if figure not in (REFI, REFI_FIRST):
            past = min(past, begin - r[figure])
    if r[REFI] > 0:
        past = min(past, b[k + DUE])
    for word in (LAST_READ_END, LAST_WRITE_END, LAST_COLUMN, OTHER_COLUMN, LAST_ACT, LATEST_CLOSABLE, LATEST_CLOSED, SHUT_END):
        b[k + word] = max(b[k + word], past)
    if b[k + LAST_COLUMN] == past:
        b[k + LAST_GROUP], b[k + LAST_WRITES] = NO_GROUP, 0
    if b[k + OTHER_COLUMN] == past:
        b[k + OTHER_GROUP] = NO_GROUP
    if b[k + LAST_ACT] == past:
        b[k + ACT_GROUP] = NO_GROUP
    while b[k + WINDOW_NEXT] > 0:                                       # the oldest activation comes first
        oldest = b[k + WINDOW]
        for place in range(3):
            b[k + WINDOW + place] = b[k + WINDOW + place + 1]
        b[k + WINDOW + 3] = oldest
        b[k + WINDOW_NEXT] -= 1
    for place in range(4):
        b[k + WINDOW + place] = max(b[k + WINDOW + place], past)
    level = b[k + LEVEL]
    for number in range(slot_count(r, level)):
        s = slot_of(r, k, level, number)
        if is_open(b, k, s):
            b[s + OPENED] = max(b[s + OPENED], past)
        else:
            b[s + ROW], b[s + OPENED] = CLOSED, past
        b[s + CLOSABLE] = max(b[s + CLOSABLE], past)
        b[s + OPENABLE] = max(b[s + OPENABLE], past)
    b[k + SHUT] = max(b[k + SHUT], past - 1)


@rule
def alike(b: Words, r: Words, one: int, two: int) -> bool:
    """Whether two sets are in the same state, but for their channels."""
    for word in range(NOW, SET_WORDS):
        if b[one + word] != b[two + word]:
            return False
    level = b[one + LEVEL]
    first, size = slot_of(r, one, level, 0) - one, SLOT_WORDS * slot_count(r, level)
    same = True
    for word in range(first, first + size):
        same = same and b[one + word] == b[two + word]
    return same


@rule
def join(b: Words, r: Words, begin: int, mask0: int, mask1: int, mask2: int, mask3: int) -> None:
    """Make one set of those of the masks that are in the same state as the first of them."""
    first, number = -1, 0
    while number < b[SETS]:
        k = HEAD_WORDS + number * r[WIDTH]
        number += 1
        if not chosen(b, k, mask0, mask1, mask2, mask3):
            continue
        settle(b, r, k, begin)
        if first < 0:
            first = k
        elif alike(b, r, first, k):
            for word in range(4):
                b[first + MASK + word] |= b[k + MASK + word]
            number -= 1
            b[SETS] -= 1
            last = HEAD_WORDS + b[SETS] * r[WIDTH]
            for word in range(r[WIDTH]):
                b[k + word] = b[last + word]


@rule
def bank_operation(b: Words, r: Words, kind: int, mask0: int, mask1: int, mask2: int, mask3: int,
                   bank: int, second: int, row: int, columns: int, start: int) -> int:
    """An operation on the banks of some channels: see above. -> the cycle in which it is complete. Numbers alone: compiled."""
    place = KIND_TABLE + KIND_WORDS * kind
    begin = max(start, b[HELD])
    b[BEGAN] = begin
    if r[place + DOES] == NOTHING:
        return begin
    split(b, r, mask0, mask1, mask2, mask3)
    for number in range(b[SETS]):
        k = HEAD_WORDS + number * r[WIDTH]
        if chosen(b, k, mask0, mask1, mask2, mask3):
            begin = max(begin, b[k + NOW] + 1)
    end, sets = begin, 0
    for number in range(b[SETS]):
        k = HEAD_WORDS + number * r[WIDTH]
        if chosen(b, k, mask0, mask1, mask2, mask3):
            end = max(end, of_set(b, r, k, place, bank, second, row, columns, begin))
            sets += 1
    if sets > 1:
        join(b, r, begin, mask0, mask1, mask2, mask3)
    if r[place + HOLDS]:                                                # a cycle to see the data
        end += 1
        b[HELD] = end
    b[BEGAN] = begin
    return end


@rule
def plain_access(b: Words, r: Words, mask0: int, mask1: int, mask2: int, mask3: int,
                 writes: int, columns: int, rows: int, worst: int, start: int) -> int:
    """Loads, stores and copies by linear addresses, beside the programs of the banks: columns in any order, as a queue of requests
    has them. -> the cycle in which the data have moved. Numbers alone: it is compiled.

    `columns` and `rows` (opened) are those of the busiest channel, `worst` the rows that its busiest bank opens. The longest of the
    three counts: columns of different bank groups every tCCDS, rows as close as the channel opens them, a bank's rows every tRC.
    Then no row is open. A refresh comes between reads of open rows; it waits while a bank needs longer before it may be closed than
    before it may be opened again: behind writes, and where rows are opened all the time.
    """
    begin = start
    split(b, r, mask0, mask1, mask2, mask3)
    for number in range(b[SETS]):
        k = HEAD_WORDS + number * r[WIDTH]
        if chosen(b, k, mask0, mask1, mask2, mask3):
            begin = max(begin, b[k + NOW] + 1, b[k + LATEST_CLOSABLE] + r[RP], b[k + SHUT_END])
    busy = max(columns * max(r[CCDS], r[BURST]), rows * max(r[RRDS], (r[XAW] + 3) // 4), worst * r[RC])
    end, sets = begin, 0
    for number in range(b[SETS]):
        k = HEAD_WORDS + number * r[WIDTH]
        if not chosen(b, k, mask0, mask1, mask2, mask3):
            continue
        first = begin + (r[RCDWR] + r[WL] if writes else r[RCDRD] + r[RL])
        if r[REFI] > 0 and first >= b[k + DUE] + r[REFI]:
            b[k + DUE] += (first - b[k + DUE]) // r[REFI] * r[REFI]
        last, lost = first + busy, r[RFC] + r[RCDRD]
        if r[REFI] > lost and last > b[k + DUE] and not writes and rows * r[RAS] < busy:
            refreshes = (last - b[k + DUE]) // (r[REFI] - lost) + 1
            last += refreshes * lost
            b[k + DUE] += refreshes * r[REFI]
        b[k + NOW], b[k + LAST_COLUMN], b[k + LAST_GROUP], b[k + LAST_WRITES] = last - r[BURST], last - r[BURST], NO_GROUP, writes
        if writes:
            b[k + LAST_WRITE_END] = last
        else:
            b[k + LAST_READ_END] = last
        b[k + SHUT], b[k + OPEN] = last, 0
        b[k + SHUT_END] = last + r[RP] + (r[WR] if writes else 0)
        end = max(end, last)
        sets += 1
    if sets > 1:
        join(b, r, begin, mask0, mask1, mask2, mask3)
    return end


def mask_words(channels: int) -> tuple[int, int, int, int]:
    """Channels (bit c: channel c) as the four masks of the rule: 64 bits each, signed."""
    words = np.array([channels >> 64 * i & (1 << 64) - 1 for i in range(4)], np.uint64).view(np.int64)
    return int(words[0]), int(words[1]), int(words[2]), int(words[3])
