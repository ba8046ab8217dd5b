"""The threshold unit: which elements matter. Compare, list, select, top-k.

Sources: SLIM, arXiv 2507.09201 (active neurons by comparing predicted gates with a calibrated threshold, without a sort);
SlimInfer, arXiv 2508.06447, and STARC, arXiv 2505.05772 (top-k and budgets for token and KV blocks).
"""

from __future__ import annotations

import numpy as np

from isa.arithmetic import f32_from_bits
from isa.instruction import instruction
from isa.timing.rates import Rate, queue_rates
from isa.traps import Cause, Trap
from isa.unit import Counter, Csr, Unit, spending

UNIT = Unit(
    "thr", "Threshold and selection",
    """\
Decides which elements of a vector are worth working on. Comparing a vector with a threshold gives a bit mask; a mask
becomes a list of indices, and the list drives `fetch.rows`, so that only the weights of active neurons move. The
threshold comes from a table that calibration made: one row per layer, one column per sparsity level (`thr.select`).
`thr.topk.f32` and `thr.bottomk.f32` pick a fixed number instead; `thr.prefix` cuts a ranked list of blocks where a budget
ends, and `thr.ranges` lists what is in ranked ranges up to there: the rows of clusters, with the best one first.

Comparisons are those of IEEE 754: -0.0 and 0.0 are equal, with a NaN nothing is greater. In a ranking a NaN stands as the line of
the instruction says, and of equal elements the one with the lower index comes first; k beyond n is ILLEGAL_OPERAND. Bit i of a
mask is bit i % 8 of its byte i / 8. The bits behind the last element are written as 0, and are ignored where a mask is read.
Of a register that holds an f32 the low 32 bits count. Operands may overlap: all is read before anything is written.

With n = 0 nothing is read or written, and the result is 0; of the unit's counters only `thr.ops` counts. k must then be 0 too. With
k = 0 and n above 0 nothing is written, but x is read, compared and counted as with any other k. `thr.index` looks at `index` after
it has read the mask, for as many numbers as there are 1 bits: if there is none, it may be any address.

The levels of `thr.select` stand in row 0 of its table, and need not rise: the first that is at least the sparsity counts, a NaN
never is, and where none is, also for a sparsity of NaN, it is the last column. The result is the entry's 32 bits as they are, with
zeros above. thr.levels and `row` are numbers without sign, and only memory limits them: what lies beyond it is LOAD_ACCESS. Sizes
and sums of `thr.prefix` are unsigned, and exact; the budget is the whole register, unsigned.

`thr.ranges` goes through the ranks in their order. Range r goes from bounds[r] to bounds[r + 1] - 1, and is empty where
bounds[r + 1] is not above bounds[r]. It ends when there are thr.budget numbers, in the middle of a range too, or no more ranks. Of
`bounds` it reads two entries for each range that it comes to, in that order; those behind the end it does not look at. It looks at
`index` then, for as many numbers as there are. With thr.budget = 0 it reads ranks alone.

What one instruction counts:

    thr.ops          1
    thr.compares     n of gt, absgt, topk, bottomk, prefix, ranges; thr.levels of select
    thr.passes       1 bits of the mask that gt and absgt write
    thr.selected     indices that index, topk, bottomk and ranges write; the result of prefix
    bytes read       of each operand that is read its elements; of the table of select 4 * thr.levels + 4; of bounds 8 a range
    bytes written    of each operand that is written its elements""",
    queue=3,
    csrs=(Csr("thr.levels", 0x820, "sparsity levels of a threshold table: the length of each of its rows"),
          Csr("thr.budget", 0x821, "how many numbers thr.ranges writes at most")),
    counters=spending("compares", (
        Counter("thr.ops",      33, "instructions", "thr instructions retired"),
        Counter("thr.compares", 34, "compares",     "elements compared, levels and entries of a budget included"),
        Counter("thr.passes",   35, "elements",     "elements above the threshold; the rest were rejected"),
        Counter("thr.selected", 36, "elements",     "indices written, or leading entries that fit a budget"),
    )),
    rates=(*queue_rates("thr"), Rate("thr.compares_per_cycle", "compares a cycle", "elements compared", "thr.compares")),
)

# ------------------------------------------------------------------------------------------------ compare, list


def _write_mask(m, mask, passes):
    """Write one bit for each element, `passes` bool (n,): element 0 in bit 0 of the first byte, zeros behind the last."""
    m.write(mask, np.packbits(passes, bitorder="little"))
    m.count("thr.compares", len(passes))
    m.count("thr.passes", np.count_nonzero(passes))


@instruction("thr.gt.f32      R4 opcode=0x5B funct3=1 funct2=0", "mask bit i = x[i] > theta; NaN gives 0",
             operands="mask>b1[n] x<f32[n] theta:f32 n",
             example="thr.gt.f32 a0, a1, a2, a3      # ReLU: which gates are positive, for a2 = 0")
def thr_gt_f32(m, mask, x, theta, n):
    _write_mask(m, mask, m.read_f32(x, n) > f32_from_bits(theta))


@instruction("thr.absgt.f32   R4 opcode=0x5B funct3=1 funct2=1", "mask bit i = |x[i]| > theta; NaN gives 0",
             operands="mask>b1[n] x<f32[n] theta:f32 n", example="thr.absgt.f32 a0, a1, a2, a3")
def thr_absgt_f32(m, mask, x, theta, n):
    _write_mask(m, mask, np.abs(m.read_f32(x, n)) > f32_from_bits(theta))


@instruction("thr.index       R4 opcode=0x5B funct3=1 funct2=2",
             "index = the positions of the mask's 1 bits, rising; rd = how many",
             operands="=count mask<b1[n] index>u32[count] n",
             example="thr.gt.f32 a0, a1, a2, a3\nthr.index  t0, a0, a4, a3      # t0 active neurons, listed at a4")
def thr_index(m, mask, index, n):
    bits = np.unpackbits(m.read(mask, -(-n // 8)), bitorder="little")[:n]
    positions = np.flatnonzero(bits)
    m.write_u32(index, positions)
    m.count("thr.selected", len(positions))
    return len(positions)


# ------------------------------------------------------------------------------------------------ a fixed number


def _write_first(m, index, keys, k):
    """The positions of the k smallest keys, smallest first, equal keys by position."""
    n = len(keys)
    if k > n:
        raise Trap(Cause.ILLEGAL_OPERAND, k, f"{k} of {n} elements; expected k <= n")
    m.write_u32(index, np.argsort(keys, kind="stable")[:k])
    m.count("thr.compares", n)
    m.count("thr.selected", k)


@instruction("thr.topk.f32    R4 opcode=0x5B funct3=2 funct2=0",
             "index = the k largest x, largest first, equal ones by index; NaN counts as -infinity",
             operands="index>u32[k] x<f32[n] k n", example="li a2, 8\nthr.topk.f32 a0, a1, a2, a3")
def thr_topk_f32(m, index, x, k, n):
    values = m.read_f32(x, n)
    _write_first(m, index, -np.where(np.isnan(values), np.float32(-np.inf), values), k)


@instruction("thr.bottomk.f32 R4 opcode=0x5B funct3=2 funct2=1",
             "index = the k smallest x, smallest first, equal ones by index; NaN counts as +infinity",
             operands="index>u32[k] x<f32[n] k n", example="li a2, 8\nthr.bottomk.f32 a0, a1, a2, a3")
def thr_bottomk_f32(m, index, x, k, n):
    values = m.read_f32(x, n)
    _write_first(m, index, np.where(np.isnan(values), np.float32(np.inf), values), k)


# ------------------------------------------------------------------------------------------------ tables and budgets


@instruction("thr.select      R4 opcode=0x5B funct3=1 funct2=3",
             "levels = table[0]; rd = table[1 + row, first i with levels[i] >= sparsity, else the last]",
             operands="=theta table<f32[1+rows,thr.levels] row sparsity:f32",
             example="csrwi thr.levels, 4\nthr.select a2, a0, s1, a1      # threshold of layer s1 for sparsity a1")
def thr_select(m, table, row, sparsity):
    count = m.csr("thr.levels")
    if count == 0:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "thr.levels is 0; expected the table's number of sparsity levels")
    levels = m.read_f32(table, count)
    reached = np.flatnonzero(levels >= f32_from_bits(sparsity))
    column = int(reached[0]) if len(reached) else count - 1
    m.count("thr.compares", count)
    return int(m.read_u32(table + 4 * (count * (1 + row) + column), 1)[0])


@instruction("thr.prefix      R4 opcode=0x5B funct3=2 funct2=2", "rd = the most leading entries whose sum is at most budget",
             operands="=count sizes<u32[n] budget n",
             example="thr.prefix t0, a0, a1, a2      # how many ranked blocks fit into a1 tokens")
def thr_prefix(m, sizes, budget, n):
    totals = np.cumsum(m.read_u32(sizes, n), dtype=np.uint64)
    count = int(np.count_nonzero(totals <= np.uint64(budget)))
    m.count("thr.compares", n)
    m.count("thr.selected", count)
    return count


@instruction("thr.ranges      R4 opcode=0x5B funct3=2 funct2=3",
             "index = for r of ranks, in order: bounds[r], bounds[r] + 1, ..., bounds[r+1] - 1; up to thr.budget numbers in all",
             operands="index>u32[count] ranks<u32[n] bounds<u32[range_bounds] n",
             example="csrw thr.budget, a4\nthr.topk.f32 a1, a0, a3, a3         # ranges by score\n"
                     "thr.ranges a2, a1, s1, a3           # what is in the best, up to a4 numbers")
def thr_ranges(m, index, ranks, bounds, n):
    total, spans = 0, []
    for rank in m.read_u32(ranks, n).tolist():
        if total == m.csr("thr.budget"):
            break
        start, end = m.read_u32(bounds + 4 * rank, 2).tolist()
        spans.append((start, min(max(end, start), start + m.csr("thr.budget") - total)))
        total += spans[-1][1] - start
    m.check_write(index, 4 * total, 4)
    m.write_u32(index, np.concatenate([np.arange(*span) for span in [(0, 0), *spans]]))
    m.count("thr.compares", n)
    m.count("thr.selected", total)
