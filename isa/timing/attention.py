"""Attention in memory, as AttAcc places it: units at each bank, at each bank group, or at the buffer die under the stack.

A head of the model has a channel. The channels work on as many heads at once, a round; the next rounds follow. Of a head's keys and
values a channel reads column after column, each for several tokens and several parts of the head at once:

    placement       tokens at once                          parts of a head     a column takes      row changes
    bank            a bank group of each rank and pseudo-   banks of a group    nCCDAB              not hidden
                    channel: 16
    bank group      the same                                1                   nCCDSB              hidden behind other banks
    buffer          a pseudo-channel: 2                     1                   max(nBL, nCCDS)     hidden behind other banks

Two rounds are interleaved. So the softmax of one, and what moves to and from its buffers, hides behind the columns of the other;
only the query of the first round of two has to be written before, and the probabilities of a last, odd round be moved in between.
What the clock calls:

    cycles = attention_cycles(figures, step, heads, tokens, head_dim, element_bytes)
    cycles = listed_cycles(figures, events, step, heads, tokens, head_dim, element_bytes, numbers, stride)      of rows by lists
    end    = refreshed(start, cycles, figures[REFI], lost(figures))         isa/timing/memory_rules.py

        step            QUERY (attn.wrgb), SCORES (attn.mac), SOFTMAX (attn.sfm), CONTEXT (attn.context, attn.macT)
        heads           that are set: attn.model[4]
        tokens          n
        head_dim        attn.model[2]
        element_bytes   4 f32, 2 f16, 1 i8; of a query in f32 2, for the units multiply fp16 (assumed)
        numbers         of rows of the cache: the list of head h begins at h * stride
        cycles          of the memory's clock

All heads of a step belong in one instruction: each by itself has a round of its own. Heads that share keys and values take as long
as heads that do not, for a channel reads them for one head at a time. The scales of int8 keys and values are left out, as AttAcc's
elements of one byte have none. Each rule takes the same time for any length, but that of lists looks at each row of them.

    a row of keys or values     open for max(nRAS, nRCDRD + (columns - 1) nCCD + nRTPL), then nRP
    the last row of a step      the same without nRTPL

The second line is inferred from the cycles that the authors ship (ramulator.out), not from their code: between two heads they lack
nRTPL, and the query of the first of two heads shows. Why, is not known. It matters where heads are short: 8 cycles of some hundred.
Where the number of rounds is odd, the authors' last one takes longer than here: on average 3 % of all with units
at banks, 1.5 % at bank groups, 8 % at the buffer. That is not known either.

**Lists of cache rows** (attn.row_list). Tokens side by side lie in one row of the banks of a group, as many as it has room for: 16
of 128 channels in fp16, with units at banks. The next ones lie in the next group, and behind the last group in the next row. Each
group goes through its part of a list, in the order of the list, by itself: where the next token is in another row than the one
before, that row is opened. Where row changes hide behind other banks a row takes at least (nRAS + nRP) / those banks. A head takes
as long as the group that has most to do, a round as long as its longest head. So which tokens are read together decides how many
rows are opened. Where tokens lie is what STARC (arXiv 2505.05772) says: 16 vectors in a row of a bank group. That groups go on by
themselves is assumed: AttAcc's commands for all banks open the same row in each, and read the same column. A list of all tokens
takes as long as no list, where they fill the groups evenly.

**Events**, of all attention so far: rows opened, of each bank by itself, and columns read there. Without lists all banks that work
together open their row and read each column.

Sources: AttAcc's simulator, c600051: pim_ramulator_src/HBM3-PIM.cpp for figures, trace_gen/*.py for the order and number of
commands, src/config.py for energies: facts.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from isa.timing.memories import AttentionDram
from isa.timing.rates import rule

Words = npt.NDArray[np.int64]

BANK, BANK_GROUP, BUFFER = range(3)                     # placements
PLACEMENTS = {"bank": BANK, "bank group": BANK_GROUP, "buffer": BUFFER}
QUERY, SCORES, SOFTMAX, CONTEXT = range(4)              # steps
STEPS = {"wrgb": QUERY, "mac": SCORES, "sfm": SOFTMAX, "context": CONTEXT, "macT": CONTEXT}
"""The step of an instruction, by the second part of its name. The others take no time in the memory."""



def element_bytes(step: int, form: str) -> int:
    """Bytes of an element that moves in the memory in a step, by the last part of an instruction's name."""
    return 2 if (step, form) == (QUERY, "f32") else {"f32": 4, "f16": 2, "i8": 1}[form]


(CHANNELS, TOKENS, SPLIT, COLUMNS, COLUMN_BYTES, COLUMN, HIDDEN, RCDRD, RP, RAS, RTPL, CCDL, REFI, RFC, MOVERS, PARTS) = range(16)


def figures_of(memory: AttentionDram) -> Words:
    """The figures of a memory with attention units, as the rules read them."""
    placement = PLACEMENTS[memory.placement]
    groups = memory.ranks * memory.bank_groups
    tokens = memory.pseudo_channels * (1 if placement == BUFFER else groups)
    split = memory.banks if placement == BANK else 1
    column = {BANK: memory.nCCDAB, BANK_GROUP: memory.nCCDSB, BUFFER: max(memory.nBL, memory.nCCDS)}[placement]
    movers = 1 if placement == BUFFER else groups               # units of a pseudo-channel that have a buffer of their own
    hidden = {BANK: 0, BANK_GROUP: memory.banks, BUFFER: groups * memory.banks}[placement]      # banks that row changes hide behind
    parts = {BANK: memory.ranks * memory.banks, BANK_GROUP: memory.ranks, BUFFER: 1}[placement]     # MVSB of a column of context
    return np.array([memory.channels, tokens, split, memory.columns, memory.column_bytes, column, hidden,
                     memory.nRCDRD, memory.nRP, memory.nRAS, memory.nRTPL, memory.nCCDL, memory.nREFI, memory.nRFC, movers, parts],
                    np.int64)


@rule
def ceiling(count: int, of: int) -> int:
    """count / of, rounded up."""
    return (count + of - 1) // of


@rule
def columns_of(figures: Words, tokens: int, head_dim: int, element_bytes: int) -> int:
    """Columns that a channel reads for the scores of a head, or for its context."""
    return ceiling(tokens, figures[TOKENS]) * ceiling(head_dim * element_bytes, figures[SPLIT] * figures[COLUMN_BYTES])


@rule
def row_cycles(figures: Words, columns: int, behind: int) -> int:
    """Cycles of a row of which so many columns are read, until the next one can be opened; `behind`: nRTPL, or 0 for the last."""
    return max(figures[RAS], figures[RCDRD] + (columns - 1) * figures[COLUMN] + behind) + figures[RP]


@rule
def step_cycles(figures: Words, columns: int) -> int:
    """Cycles of so many columns, at least one, and of the rows that they are in."""
    if figures[HIDDEN]:
        return columns * figures[COLUMN]
    rows = (columns - 1) // figures[COLUMNS]
    last = columns - rows * figures[COLUMNS]
    return rows * row_cycles(figures, figures[COLUMNS], figures[RTPL]) + row_cycles(figures, last, 0)


@rule
def query_moves(figures: Words, head_dim: int, element_bytes: int) -> int:
    """WRGB: columns of a head's query, written to all units of its channel at once."""
    return figures[SPLIT] * ceiling(head_dim * element_bytes, figures[SPLIT] * figures[COLUMN_BYTES])


@rule
def probability_moves(figures: Words, tokens: int, element_bytes: int) -> int:
    """MVGB: columns of a head's probabilities, moved to its units."""
    return figures[MOVERS] * ceiling(tokens * element_bytes, figures[TOKENS] * figures[COLUMN_BYTES])


@rule
def attention_cycles(figures: Words, step: int, heads: int, tokens: int, head_dim: int, element_bytes: int) -> int:
    """Cycles of a step of so many heads over so many tokens, without refresh."""
    rounds = ceiling(heads, figures[CHANNELS])
    if step == QUERY:
        return (rounds + 1) // 2 * query_moves(figures, head_dim, element_bytes) * figures[CCDL]
    if step == SOFTMAX or tokens == 0:
        return 0
    cycles = rounds * step_cycles(figures, columns_of(figures, tokens, head_dim, element_bytes))
    return cycles + odd_round(figures, step, heads, tokens, element_bytes)


@rule
def odd_round(figures: Words, step: int, heads: int, tokens: int, element_bytes: int) -> int:
    """Cycles in which the probabilities of a last, odd round are moved in."""
    if step != CONTEXT or ceiling(heads, figures[CHANNELS]) % 2 == 0:
        return 0
    return probability_moves(figures, tokens, element_bytes) * figures[CCDL]


@rule
def lost(figures: Words) -> int:
    """Cycles that a refresh takes from the columns: close the rows, refresh both ranks, open a row again."""
    return figures[RTPL] + figures[RP] + figures[RFC] + figures[RCDRD] - figures[COLUMN] + 1


# ------------------------------------------------------------------------------------------------ events, lists of rows

OPENED, READ, FIRST_GROUP = range(3)                    # rows opened, columns read; then of each group, in the head at hand:
ROW, HELD, SPENT = range(3)                             # the row that is open, plus 1; columns of it so far; cycles of those before
GROUP_WORDS = 3


def events_of(figures: Words) -> Words:
    """The events of a memory that has not been used."""
    return np.zeros(FIRST_GROUP + GROUP_WORDS * int(figures[TOKENS]), np.int64)


@rule
def count_whole(figures: Words, events: Words, heads: int, tokens: int, head_dim: int, element_bytes: int) -> None:
    """Count a step without lists."""
    columns, banks = columns_of(figures, tokens, head_dim, element_bytes), figures[TOKENS] * figures[SPLIT]
    events[OPENED] += heads * ceiling(columns, figures[COLUMNS]) * banks
    events[READ] += heads * columns * banks


@rule
def close_row(figures: Words, events: Words, group: int, behind: int) -> None:
    """Give time to the row that a group has open, and count it. A head of more than a row goes on in the next one."""
    held = events[group + HELD]
    if held == 0:
        return
    rows = ceiling(held, figures[COLUMNS])
    events[OPENED] += rows * figures[SPLIT]
    events[READ] += held * figures[SPLIT]
    if figures[HIDDEN]:
        events[group + SPENT] += max(held * figures[COLUMN], rows * ceiling(figures[RAS] + figures[RP], figures[HIDDEN]))
    else:
        last = held - (rows - 1) * figures[COLUMNS]
        events[group + SPENT] += ((rows - 1) * row_cycles(figures, figures[COLUMNS], figures[RTPL])
                                  + row_cycles(figures, last, behind))
    events[group + HELD] = 0


@rule
def head_cycles(figures: Words, events: Words, tokens: int, columns: int, numbers: Words, first: int) -> int:
    """Cycles of a channel for a head whose list begins at this place; each of its tokens takes so many columns."""
    inside, groups, longest = max(1, figures[COLUMNS] // columns), figures[TOKENS], 0
    for i in range(groups):
        place = FIRST_GROUP + GROUP_WORDS * i
        events[place + ROW] = 0
        events[place + HELD] = 0
        events[place + SPENT] = 0
    for i in range(tokens):
        row = numbers[first + i] // inside
        place = FIRST_GROUP + GROUP_WORDS * (row % groups)
        if events[place + ROW] != row // groups + 1:
            close_row(figures, events, place, figures[RTPL])
            events[place + ROW] = row // groups + 1
        events[place + HELD] += columns
    for i in range(groups):
        place = FIRST_GROUP + GROUP_WORDS * i
        close_row(figures, events, place, 0)
        longest = max(longest, events[place + SPENT])
    return longest


@rule
def listed_cycles(figures: Words, events: Words, step: int, heads: int, tokens: int, head_dim: int, element_bytes: int,
                  numbers: Words, stride: int) -> int:
    """Cycles of a step that reads keys or values by lists of cache rows, without refresh. Its events are counted."""
    columns, cycles = ceiling(head_dim * element_bytes, figures[SPLIT] * figures[COLUMN_BYTES]), 0
    for first in range(0, heads, figures[CHANNELS]):
        longest = 0
        for head in range(first, min(heads, first + figures[CHANNELS])):
            longest = max(longest, head_cycles(figures, events, tokens, columns, numbers, head * stride))
        cycles += longest
    return cycles + odd_round(figures, step, heads, tokens, element_bytes)


# ------------------------------------------------------------------------------------------------ energy

OPEN, CELL, TO_GROUP, TO_IO, TSV, INTERPOSER = (Fraction(pj, 100) for pj in (11, 55, 101, 123, 50, 30))
"""pJ a bit: a row that is opened; that and cells (0.11 + 0.44); bank to the group's multiplexer, that to the stack's, through the
stack, to the host. AttAcc's src/config.py, which cites FGDRAM (MICRO 2017)."""


def attention_pj(memory: AttentionDram, heads: int, tokens: int, head_dim: int, element_bytes: int) -> Fraction:
    """pJ of a decode step in the memory, as AttAcc's authors count them: columns and moves, without the units.

    In the last round all channels read values, those too that have no head, and a run begins with one column more in each: so are
    the published counts. At the buffer the authors count one of the two pseudo-channels (src/ramulator_wrapper.py)."""
    figures, placement = figures_of(memory), PLACEMENTS[memory.placement]
    columns = int(columns_of(figures, tokens, head_dim, element_bytes))
    padded = -(-heads // memory.channels) * memory.channels
    banks = int(figures[TOKENS] * figures[SPLIT]) if placement != BUFFER else 1
    read = (heads + padded) * columns + memory.channels
    return (8 * memory.column_bytes * read * banks * (CELL + _path(placement))
            + moves_pj(memory, heads, tokens, head_dim, element_bytes))


def _path(placement: int) -> Fraction:
    """pJ a bit from a bank to the unit."""
    return (TO_GROUP if placement != BANK else Fraction(0)) + (TO_IO + TSV if placement == BUFFER else 0)


def moves_pj(memory: AttentionDram, heads: int, tokens: int, head_dim: int, element_bytes: int) -> Fraction:
    """The part of it that queries, scores, probabilities and context take on their ways."""
    figures = figures_of(memory)
    queries = int(query_moves(figures, head_dim, element_bytes)) * heads
    padded = -(-heads // memory.channels) * memory.channels
    scores = int(figures[MOVERS]) * int(ceiling(tokens, int(figures[TOKENS]) * 16))
    contexts = int(figures[PARTS]) * int(ceiling(head_dim * element_bytes, int(figures[SPLIT]) * memory.column_bytes))
    moves = queries + heads * (int(probability_moves(figures, tokens, element_bytes)) + scores) + padded * contexts
    return 8 * memory.column_bytes * (moves * (TO_GROUP + TO_IO + TSV) + queries * INTERPOSER)


def rows_pj(memory: AttentionDram, rows: int, columns: int) -> Fraction:
    """pJ of so many rows opened and columns read, by the same figures: a row takes its part whether it is read whole or not."""
    path = CELL - OPEN + _path(PLACEMENTS[memory.placement])
    return 8 * memory.column_bytes * (rows * memory.columns * OPEN + columns * path)
