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
    end    = refreshed(start, cycles, figures[REFI], lost(figures))         isa/timing/memory_rules.py

        step            QUERY (attn.wrgb), SCORES (attn.mac), SOFTMAX (attn.sfm), CONTEXT (attn.context, attn.macT)
        heads           that are set: attn.model[4]
        tokens          n
        head_dim        attn.model[2]
        element_bytes   4 f32, 2 f16, 1 i8; of a query in f32 2, for the units multiply fp16 (assumed)
        cycles          of the memory's clock

All heads of a step belong in one instruction: each by itself has a round of its own. Heads that share keys and values take as long
as heads that do not, for a channel reads them for one head at a time. So does a list of cache rows: n columns of tokens, whichever.
The scales of int8 keys and values are left out, as AttAcc's elements of one byte have none. Each rule takes the same time for any
length.

    a row of keys or values     open for max(nRAS, nRCDRD + (columns - 1) nCCD + nRTPL), then nRP
    the last row of a step      the same without nRTPL

The second line is inferred from the cycles that the authors ship (ramulator.out), not from their code: between two heads they lack
nRTPL, and the query of the first of two heads shows. Why, is not known. It matters where heads are short: 8 cycles of some hundred.
Where the number of rounds is odd, the authors' last one takes longer than here: on average 3 % of all with units
at banks, 1.5 % at bank groups, 8 % at the buffer. That is not known either.

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
    parts = {BANK: memory.ranks * memory.banks, BANK_GROUP: memory.ranks, BUFFER: 1}[placement]     # MVSB of a column of context
    return np.array([memory.channels, tokens, split, memory.columns, memory.column_bytes, column, int(placement != BANK),
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
def step_cycles(figures: Words, columns: int) -> int:
    """Cycles of so many columns, at least one, and of the rows that they are in."""
    if figures[HIDDEN]:
        return columns * figures[COLUMN]
    rows = (columns - 1) // figures[COLUMNS]
    last = columns - rows * figures[COLUMNS]
    full = figures[RCDRD] + (figures[COLUMNS] - 1) * figures[COLUMN] + figures[RTPL]
    rest = figures[RCDRD] + (last - 1) * figures[COLUMN]
    return rows * (max(figures[RAS], full) + figures[RP]) + max(figures[RAS], rest) + figures[RP]


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
    if step == CONTEXT and rounds % 2 == 1:
        cycles += probability_moves(figures, tokens, element_bytes) * figures[CCDL]
    return cycles


@rule
def lost(figures: Words) -> int:
    """Cycles that a refresh takes from the columns: close the rows, refresh both ranks, open a row again."""
    return figures[RTPL] + figures[RP] + figures[RFC] + figures[RCDRD] - figures[COLUMN] + 1


# ------------------------------------------------------------------------------------------------ energy

CELL, TO_GROUP, TO_IO, TSV, INTERPOSER = (Fraction(pj, 100) for pj in (55, 101, 123, 50, 30))
"""pJ a bit: rows and cells (0.11 + 0.44), bank to the group's multiplexer, that to the stack's, through the stack, to the host.
AttAcc's src/config.py, which cites FGDRAM (MICRO 2017)."""


def attention_pj(memory: AttentionDram, heads: int, tokens: int, head_dim: int, element_bytes: int) -> Fraction:
    """pJ of a decode step in the memory, as AttAcc's authors count them: columns and moves, without the units.

    In the last round all channels read values, those too that have no head, and a run begins with one column more in each: so are
    the published counts. At the buffer the authors count one of the two pseudo-channels (src/ramulator_wrapper.py)."""
    figures, placement = figures_of(memory), PLACEMENTS[memory.placement]
    columns = int(columns_of(figures, tokens, head_dim, element_bytes))
    queries = int(query_moves(figures, head_dim, element_bytes)) * heads
    padded = -(-heads // memory.channels) * memory.channels
    scores = int(figures[MOVERS]) * int(ceiling(tokens, int(figures[TOKENS]) * 16))
    contexts = int(figures[PARTS]) * int(ceiling(head_dim * element_bytes, int(figures[SPLIT]) * memory.column_bytes))
    moves = queries + heads * (int(probability_moves(figures, tokens, element_bytes)) + scores) + padded * contexts
    banks = int(figures[TOKENS] * figures[SPLIT]) if placement != BUFFER else 1
    path = CELL + (TO_GROUP if placement != BANK else 0) + (TO_IO + TSV if placement == BUFFER else 0)
    read = (heads + padded) * columns + memory.channels
    return 8 * memory.column_bytes * (read * banks * path + moves * (TO_GROUP + TO_IO + TSV) + queries * INTERPOSER)
