"""The rule of attention in AttAcc's placements: its cycles and energies are those that AttAcc's authors publish.

PUBLISHED has points of the shipped table; all of that are compared, too.
"""

from __future__ import annotations

from math import ceil
from statistics import mean

import numpy as np
import pytest
from both_engines import run_program

from asm.assembler import assemble
from isa.timing import attention as rules
from isa.timing.memories import MEMORIES
from isa.timing.memory_rules import refreshed
from slimulator.validate import attacc
from slimulator.validate.points import SHIPPED, Point, difference, points_of

PUBLISHED = [                           # AttAcc c600051
    #  units    limit  heads     L  dim  bytes   cycles       pJ
    ("BA",      True,   636,   128, 128, 2,       11843,   202397123),
    ("BA",      True,   512,   513, 128, 2,       37523,   635304673),
    ("BA",      True,    84,   777, 128, 2,        9661,   164473078),
    ("BA",      True,   243,   192, 128, 2,        6353,   115175506),
    ("BA",      False,  243,  1024, 128, 2,       23967,   591002337),
    ("BA",      True,   188,  2048, 128, 2,       49199,   896958464),
    ("BA",      False,  188,  4096, 128, 2,       73339,  1790447452),
    ("BA",      True,   157,  3000, 160, 1,       60178,  1092807311),
    ("BA",      True,  4791,   256, 128, 1,       87140,  1478585958),
    ("BA",      True,   562,   128, 128, 1,        6518,    93471212),
    ("BG",      True,   188,  2048, 128, 2,      162803,  2506690396),
    ("BG",      False,  157,  3000, 160, 1,       82915,  1921685504),
    ("BUFFER",  True,   188,  2048, 128, 2,      435461,  2640975340),
    ("BUFFER",  False,  157,  4096, 160, 1,      454299,  2756005043),
]


def point_of(units, limit, heads, tokens, head_dim, size, cycles, pj):
    return Point("AttAcc", f"HBM3 5.2 Gb/s 16 channels, units at {units}, power limit {limit}", "attention of one token",
                 {"heads": heads, "L": tokens, "head_dim": head_dim, "bytes_per_element": size}, cycles, pj)


def ours(point):
    """Cycles and pJ of a point's decode step."""
    memory = attacc.memory_of(point.config)
    shape = tuple(point.parameters[name] for name in ("heads", "L", "head_dim", "bytes_per_element"))
    figures = rules.figures_of(memory)
    now = 0
    for step in (rules.QUERY, rules.SCORES, rules.SOFTMAX, rules.CONTEXT):
        now = refreshed(now, rules.attention_cycles(figures, step, *shape), figures[rules.REFI], rules.lost(figures))
    return int(now), float(rules.attention_pj(memory, *shape))


@pytest.mark.parametrize("row", PUBLISHED)
def test_cycles_and_energy_are_those_of_attacc(row):
    point = point_of(*row)
    cycles, pj = ours(point)
    assert abs(difference(cycles, point.cycles)) <= 0.04
    assert abs(difference(pj, point.energy_pj)) <= 0.02


def test_all_published_points_of_attacc():
    points = list(points_of(SHIPPED, "AttAcc"))
    cycles = sorted(abs(difference(ours(point)[0], point.cycles)) for point in points)
    energy = [abs(difference(ours(point)[1], point.energy_pj)) for point in points]
    assert len(points) == 112
    assert mean(cycles) <= 0.015 and cycles[ceil(0.95 * len(cycles)) - 1] <= 0.04
    assert mean(energy) <= 0.01 and max(energy) <= 0.03


PLACES = ("bank", "group", "buffer")


def memory(place, limit=True):
    return MEMORIES[f"HBM3-AttAcc-{place}" + ("" if limit else "-unlimited")]


def test_a_power_limit_and_a_longer_way_cost_time():
    def cycles(place, limit=True, heads=64, tokens=1024):
        figures = rules.figures_of(memory(place, limit))
        return sum(int(rules.attention_cycles(figures, step, heads, tokens, 128, 2)) for step in range(4))
    for place in ("bank", "group"):
        assert cycles(place) > cycles(place, limit=False)
    assert cycles("buffer") == cycles("buffer", limit=False)
    assert cycles("bank") < cycles("group") < cycles("buffer")
    for place in PLACES:
        assert cycles(place, heads=1) == cycles(place, heads=16)
        assert cycles(place, tokens=1024) < cycles(place, tokens=1040)


@pytest.mark.parametrize("place", PLACES)
def test_no_tokens_take_no_time(place):
    figures = rules.figures_of(memory(place))
    for step in (rules.SCORES, rules.SOFTMAX, rules.CONTEXT):
        assert rules.attention_cycles(figures, step, 7, 0, 128, 2) == 0


@pytest.mark.parametrize("columns", [1, 2, 31, 32, 33, 64, 65, 1000])
def test_rows_of_a_step_one_by_one(columns):
    """A row is open for its columns, and for nRAS at least; before the last one ends, each waits for nRTPL."""
    stack, left, cycles = memory("bank"), columns, 0
    while left:
        row = min(left, stack.columns)
        left -= row
        cycles += max(stack.nRAS, stack.nRCDRD + (row - 1) * stack.nCCDAB + (stack.nRTPL if left else 0)) + stack.nRP
    assert rules.step_cycles(rules.figures_of(stack), columns) == cycles


def test_a_refresh_and_the_last_round_cost_what_the_figures_say():
    """8 + 19 + 456 + 19 - 6 + 1; the probabilities of an odd last round: 8 groups of 4 columns of 16 of 16 tokens, nCCDL 4 each."""
    figures = rules.figures_of(memory("bank"))
    assert rules.lost(figures) == 497
    for heads, moves in ((1, 8 * 4 * 4), (16, 8 * 4 * 4), (17, 0), (32, 0), (33, 8 * 4 * 4)):
        scores, context = (rules.attention_cycles(figures, step, heads, 1024, 128, 2) for step in (rules.SCORES, rules.CONTEXT))
        assert context - scores == moves
    assert rules.attention_cycles(figures, rules.QUERY, 33, 1024, 128, 2) == 2 * 4 * 2 * 4      # two pairs of rounds, 8 columns


def test_energy_of_a_step_column_by_column():
    """One head of 16 tokens of 128 elements, 2 bytes, units at banks: 2 columns of scores, 2 of context in 16 channels."""
    columns, channels, banks = 2, 16, 64                            # ceil(16 / 16) ceil(256 / (4 * 32)); 16 groups of 4 banks
    read = ((1 + channels) * columns + channels) * banks * 0.55
    queries, probabilities, scores, contexts = 4 * 2, 8 * 1, 8 * 1, channels * 8 * 2
    moved = (queries + probabilities + scores + contexts) * (1.01 + 1.23 + 0.5)
    expected = 8 * 32 * (read + moved + queries * 0.3)
    assert float(rules.attention_pj(memory("bank"), 1, 16, 128, 2)) == pytest.approx(expected, rel=1e-12)


def listed(place, lists, step=rules.SCORES, head_dim=128):
    """(cycles, rows opened, columns read) of lists of cache rows, one a head, with fp16."""
    figures = rules.figures_of(memory(place))
    events = rules.events_of(figures)
    numbers = np.array(lists, np.int64)
    cycles = rules.listed_cycles(figures, events, step, len(lists), len(lists[0]), head_dim, 2, numbers.reshape(-1), len(lists[0]))
    return int(cycles), int(events[rules.OPENED]), int(events[rules.READ])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("heads", [1, 16, 17, 40])
def test_a_list_of_all_tokens_takes_as_long_as_none(place, heads):
    """1,024 tokens fill rows and groups evenly in each place. Row changes that hide take nothing more."""
    figures = rules.figures_of(memory(place))
    whole = rules.events_of(figures)
    rules.count_whole(figures, whole, heads, 1024, 128, 2)
    for step in (rules.SCORES, rules.CONTEXT):
        assert listed(place, [range(1024)] * heads, step) == (rules.attention_cycles(figures, step, heads, 1024, 128, 2),
                                                             *whole[:rules.FIRST_GROUP].tolist())


@pytest.mark.parametrize(("rows", "cycles", "opened"), [
    (range(16), 224, 4),                        # one row in each of the 4 banks of a group: 19 + 31 * 6 + 19
    (range(0, 256, 16), 64, 64),                # 16 groups, a row each: nRAS 45 + nRP 19
    (range(0, 4096, 256), 1024, 64),            # 16 rows of one group, one behind the other
    ([0, 256, 1, 257], 256, 16),                # in the order of the list: each time another row
    ([0, 1, 256, 257], 128, 8),
    ([5, 5, 5], 68, 4),                         # a token three times: the row stays open, 19 + 5 * 6 and nRP 19
])
def test_rows_of_lists_one_by_one(rows, cycles, opened):
    """Units at banks, a head of 128 channels in fp16: two columns in each bank of a group, so 16 tokens a row."""
    assert listed("bank", [list(rows)]) == (cycles, opened, 8 * len(rows))


def test_a_round_takes_as_long_as_its_longest_head():
    near, far = list(range(16)), list(range(0, 4096, 256))
    assert listed("bank", [near] * 15 + [far])[0] == 1024
    assert listed("bank", [near] * 16 + [far] * 16)[0] == 224 + 1024
    assert listed("bank", [far] * 2)[1:] == (2 * 64, 2 * 128)


def test_hidden_row_changes_show_where_rows_are_short():
    """At bank groups a head of 128 channels takes 8 columns of a bank, 4 tokens a row; 64 cycles of a row behind 4 banks are 16."""
    assert listed("group", [[0, 64, 128]])[0] == 3 * 8 * 6
    assert listed("group", [[0, 512, 1024]], head_dim=16)[0] == 3 * 16         # a column of 6 each


def test_energy_of_rows_and_columns():
    """A row is 8,192 bits of 0.11 pJ, a column 256 of 0.44 in the bank; a row read whole takes the 0.55 of each bit."""
    assert float(rules.rows_pj(memory("bank"), 1, 0)) == pytest.approx(901.12)
    assert float(rules.rows_pj(memory("bank"), 0, 1)) == pytest.approx(112.64)
    assert rules.rows_pj(memory("bank"), 1, 32) == 8192 * rules.CELL
    assert rules.rows_pj(memory("buffer"), 1, 32) > rules.rows_pj(memory("group"), 1, 32) > rules.rows_pj(memory("bank"), 1, 32)


LISTS = """
    .machine attacc
    .section .hbm
keys:   .zero   2 * 1024 * 3 * 128
    .section .sram
query:  .zero   4 * 3 * 128
scores: .zero   4 * 3 * 20
context: .zero  4 * 3 * 128
rows:   {rows}
    .text
_start:
    li      a0, 3
    li      a2, 128
    attn.setm a0, a0, a2
    la      a0, query
    attn.wrgb.f32 a0
    la      a0, scores
    la      a1, keys
    li      a2, {n}
    la      a4, rows
    csrw    attn.row_list, a4
    li      a4, {stride}
    csrw    attn.list_stride, a4
    attn.mac.f16 a0, a1, a2
    attn.sfm.f32 a0, a0, a2
    la      a3, context
    attn.context.f16 a3, a1, a0, a2
    csrw    attn.row_list, zero
    attn.macT.f16 a3, a1, a0, a2
    sync.fence
    li      a0, 0
    li      a7, 93
    ecall
"""


@pytest.mark.parametrize("one", [False, True])
def test_both_engines_open_the_rows_of_lists(one):
    """Three heads with a list each, or one for all; then a step without."""
    rows = [[3, 900, 4, 4, 20], [0, 1, 2, 3, 4], [1000, 5, 400, 77, 78]]
    words = [number for row in rows for number in (*row, 0, 0)]             # the lists lie 28 bytes apart
    done = run_program(assemble(LISTS.format(rows=".word " + ", ".join(map(str, words)), n=5, stride=0 if one else 28)))
    assert done.reference.time == done.fast.time
    lists = rows[:1] * 3 if one else rows
    figures = rules.figures_of(memory("bank"))
    whole = rules.events_of(figures)
    rules.count_whole(figures, whole, 3, 5, 128, 2)
    _, opened, read = listed("bank", lists)
    assert done.fast.time.attention == {"rows_opened": 2 * opened + whole[rules.OPENED],
                                        "columns_read": 2 * read + whole[rules.READ]}
    now = done.fast.time.regions["hbm"]
    assert now == sum(listed("bank", lists, step)[0] for step in (rules.SCORES, rules.CONTEXT)) + sum(
        int(rules.attention_cycles(figures, step, 3, 5, 128, 2)) for step in (rules.QUERY, rules.CONTEXT))
