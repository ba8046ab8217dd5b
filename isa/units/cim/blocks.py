"""Block-diagonal matrices: loading blocks into square macros, products with the factors of Monarch matrices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isa.arithmetic import group_count, lane_sum
from isa.instruction import LONGEST, instruction
from isa.traps import Cause, Trap
from isa.units.cim.held import BLOCKS, COLS, FORM, KIND, ROWS, WORDS
from isa.units.cim.tiles import macro_cells, macros_of
from isa.units.cim.vectors import (
    built,
    converted,
    count_columns,
    count_macs,
    scale_group,
    shift_of,
    vector_scales,
    weight_scales,
)
from isa.vectors import accumulate, before, check_results, result_stride

SPARSE_MAP, DENSE_MAP = 1, 2                    # cim.map


class Mapping(NamedTuple):
    """Where blocks are in macros."""

    block: int          # rows and columns of one
    of_a_row: int       # blocks that lie side by side in a macro
    kind: int           # cim.map

    @property
    def slots(self):
        """Blocks of a macro."""
        return self.of_a_row ** self.kind

    def place(self, slot):
        """(macro, block row, block column) of a slot."""
        inside = slot % self.slots
        row = inside % self.of_a_row
        return slot // self.slots, row, (row + inside // self.of_a_row) % self.of_a_row

    def cells(self, slot):
        """Which cells of all macros, (macros, columns, cells of a column), are those of a slot."""
        macro, row, column = self.place(slot)
        return np.s_[macro, column * self.block:(column + 1) * self.block, row * self.block:(row + 1) * self.block]


def _mapping(m):
    """What `cim.block` and `cim.map` say. Trap where macros are not square."""
    block, kind, size = m.csr("cim.block"), m.csr("cim.map"), m.parameter("cim.rows")
    if size != m.parameter("cim.columns"):
        raise Trap(Cause.ILLEGAL_OPERAND, m.parameter("cim.columns"),
                   f"the macros of this machine have {m.parameter('cim.columns')} columns of {size} cells; blocks need square ones")
    if not 1 <= block <= size:
        raise Trap(Cause.ILLEGAL_OPERAND, block, f"cim.block is {block}; expected 1..{size}, the rows of a macro (cim.rows)")
    if kind not in (SPARSE_MAP, DENSE_MAP):
        raise Trap(Cause.ILLEGAL_OPERAND, kind, f"cim.map is {kind}; expected 1 (SparseMap) or 2 (DenseMap)")
    return Mapping(block, size // block, kind)


def _blocks_held(m, mapping):
    """Blocks that each macro holds, loaded as `mapping` says, (macros,)."""
    held = m.state["cim.held"].reshape(-1, WORDS)
    alike = (held[:, KIND] == BLOCKS) & (held[:, FORM] == mapping.block) & (held[:, COLS] == mapping.kind)
    return np.where(alike, held[:, ROWS], 0)


# ------------------------------------------------------------------------------------------------ loading


@instruction("cim.load.bd      R opcode=0x5B funct3=0 funct7=0x02",
             "cells of slots cim.first .. cim.first + n - 1 = blocks",
             operands="blocks<i8[n,cim.block,cim.block] n",
             example="csrwi cim.block, 4\ncsrw cim.first, zero\ncim.load.bd a0, a1")
def cim_load_bd(m, blocks, n):
    mapping, first, macros = _mapping(m), m.csr("cim.first"), m.parameter("cim.macros")
    if first + n > macros * mapping.slots:
        raise Trap(Cause.CAPACITY, first + n, f"blocks in slots {first}..{first + n - 1}; the macros of this machine have "
                                              f"{macros * mapping.slots} slots for blocks of {mapping.block}")
    if not n:
        return
    held, start, end = _blocks_held(m, mapping), first // mapping.slots, -(-(first + n) // mapping.slots)
    if first % mapping.slots > held[start]:
        raise Trap(Cause.ILLEGAL_OPERAND, first, f"slot {first} is number {first % mapping.slots} of macro {start}, in which the "
                                                 f"first {held[start]} are loaded; expected rising slots without gaps")
    weights = m.read_i8(blocks, n * mapping.block ** 2).reshape(n, mapping.block, mapping.block)
    cells = macros_of(m, "cim.cells", np.s_[:]).copy()
    cells[start:end][held[start:end] == 0] = 0
    for i in range(n):
        cells[mapping.cells(first + i)] = weights[i]
    m.set_state("cim.cells", cells[start:end], start * macro_cells(m))
    m.set_state("cim.places", np.where(held[start:end, None] == 0, 0, m.state["cim.places"].reshape(
        macros, -1)[start:end]), start * macro_cells(m))
    m.set_state("cim.held", [[BLOCKS, mapping.block, max(held[macro], min(first + n - macro * mapping.slots, mapping.slots)),
                              mapping.kind, 0, 0] for macro in range(start, end)], start * WORDS)
    m.count("cim.lines_written", n * mapping.block)
    m.count("cim.cells_written", weights.size)
    m.count("cim.weight_bytes", weights.size)


# ------------------------------------------------------------------------------------------------ products


class Factors(NamedTuple):
    """Factors: so many, of `blocks` blocks and `n` inputs each, `across` of them side by side."""

    number: int
    blocks: int
    across: int
    n: int


def _some(m, name):
    """A number that a CSR says, at least 1."""
    if not 1 <= m.csr(name) <= LONGEST:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr(name), f"{name} is {m.csr(name)}; expected 1..2**28")
    return m.csr(name)


def _factors(m, mapping, f, length, spread):
    """What `cim.factor` and `cim.across` say of f factors, if the vectors are as long as these need them."""
    blocks, across = _some(m, "cim.factor"), _some(m, "cim.across")
    factors = Factors(f, blocks, across, blocks * mapping.block)
    expected = (factors.across if spread else f) * factors.n
    if length != expected:
        raise Trap(Cause.ILLEGAL_OPERAND, length, f"vectors of {length} elements; expected {expected} for {f} factors of "
                                                  f"{factors.n}, {factors.across} of them side by side")
    return factors


def _check_loaded(m, mapping, first, count):
    """Trap unless so many blocks are loaded from slot `first` on."""
    held, last = _blocks_held(m, mapping), first + count - 1
    start, end = first // mapping.slots, last // mapping.slots
    if count and (end >= len(held) or (held[start:end] < mapping.slots).any() or held[end] <= last % mapping.slots):
        raise Trap(Cause.ILLEGAL_OPERAND, first, f"slots {first}..{last} do not all hold blocks of {mapping.block} as cim.map "
                                                 "says; cim.load.bd must come first")


def _sums(m, mapping, factors, x, first, spread, convert):
    """The sums of each vector and output, int64 (vectors, outputs). Counts the product."""
    cells, block, vectors, n = macros_of(m, "cim.cells", np.s_[:]), mapping.block, len(x), factors.n
    outputs = np.zeros((vectors, factors.number if spread else group_count(factors.number, factors.across), block, factors.blocks),
                       np.int64)
    nonzero, of_macros = 0, {}
    for i in range(factors.number * factors.blocks):
        t, k = divmod(i, factors.blocks)
        weights = cells[mapping.cells(first + i)].astype(np.int64)
        start = (t % factors.across if spread else t) * n + k * block
        outputs[:, t if spread else t // factors.across, :, k] += convert(x[:, start:start + block] @ weights.T)
        nonzero += np.count_nonzero(weights)
        macro = mapping.place(first + i)[0]
        of_macros[macro] = of_macros.get(macro, 0) + 1
    longest, all_blocks, adcs = max(of_macros.values(), default=0), factors.number * factors.blocks, max(m.parameter("cim.adcs"), 1)
    at_once = mapping.kind == SPARSE_MAP
    m.count("cim.tiles", len(of_macros))
    m.count("cim.steps", (len(of_macros) if at_once else all_blocks) * vectors)
    m.count("cim.steps_longest", (min(longest, 1) if at_once else longest) * vectors)
    m.count("cim.rows_on", all_blocks * block * vectors)
    count_macs(m, nonzero * vectors, factors.number * n * n * vectors)
    count_columns(m, all_blocks * block * vectors,
                  (group_count(longest * block, adcs) if at_once else longest * group_count(block, adcs)) * vectors)
    return outputs.reshape(vectors, -1)


def _define(number: int, name: str, spread: bool, inputs: str, outputs: str) -> None:
    @instruction(f"cim.{name}.i32   R opcode=0x5B funct3=0 funct7={number:#04x}",
                 f"acc[v, {outputs} + r * cim.factor + k] += (sum over c of block[t, k][r, c] * vector[v, {inputs} + k * cim.block "
                 "+ c]) << cim.shift, blocks in slots first and on",
                 operands="acc<>i32[vectors,outputs] first f",
                 example=f"csrwi cim.block, 4\ncsrwi cim.factor, 1\ncim.{name}.i32 a0, zero, a1")
    def cim_i32(m, acc, first, f):
        mapping, shift, x, convert = _mapping(m), shift_of(m), built(m), converted(m)
        factors = _factors(m, mapping, f, x.shape[1], spread)
        _check_loaded(m, mapping, first, f * factors.blocks)
        sums = _sums(m, mapping, factors, x, first, spread, convert)
        step = result_stride(m, "cim.result_stride", sums.shape[1])
        start = before(m, acc, len(x), sums.shape[1], step)
        check_results(m, acc, len(x), sums.shape[1], step)
        accumulate(m, acc, start, sums.astype(np.int32), shift, step)

    @instruction(f"cim.{name}.f32   R opcode=0x5B funct3=0 funct7={number + 1:#04x}",
                 f"y[v, o] = f32(sum over t, k, c of block[t, k][r, c] * vector[v, {inputs} + k * cim.block + c]) * (scale[o] * "
                 f"x_scale[v]), o = {outputs} + r * cim.factor + k, blocks in slots first and on",
                 operands="y>f32[vectors,outputs] first f",
                 example=f"csrwi cim.block, 4\ncsrwi cim.factor, 1\ncsrw cim.scales, a2\ncim.{name}.f32 a0, zero, a1")
    def cim_f32(m, y, first, f):
        mapping, x, group, convert = _mapping(m), built(m), scale_group(m), converted(m)
        vectors, length = x.shape
        factors = _factors(m, mapping, f, length, spread)
        if group_count(length, group) > 1:
            raise Trap(Cause.ILLEGAL_OPERAND, group, f"scales for groups of {group} of the {length} elements of a vector; expected "
                                                     "one scale for each vector and each output: groups of all elements, or 0")
        _check_loaded(m, mapping, first, f * factors.blocks)
        sums = _sums(m, mapping, factors, x, first, spread, convert).astype(np.int32).astype(np.float32)
        step = result_stride(m, "cim.result_stride", sums.shape[1])
        scale, x_scale = weight_scales(m, sums.shape[1]), vector_scales(m, vectors, length)
        check_results(m, y, vectors, sums.shape[1], step)
        for v in range(vectors):
            m.write_f32(y + v * step, lane_sum((sums[v] * (scale * x_scale[v]))[:, None]))


_define(0x05, "spread", True, "t mod cim.across * n", "t * n")
_define(0x07, "join", False, "t * n", "t / cim.across * n")
