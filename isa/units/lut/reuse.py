"""Sums of centres, made once and added to each row that belongs to them."""

from __future__ import annotations

import numpy as np

from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.units.lut.counting import count_longest

_CENTRES = 256                          # that a byte can name


@instruction("lut.reuse.u8     R4 opcode=0x2B funct3=5 funct2=1",
             "acc[r] += sum over p < lut.pieces of sums[p, assigned[r, p]], wraps",
             operands="acc<>i32[rows] sums<i32[lut.pieces,lut.centres] assigned<u8[rows,lut.pieces] rows",
             example="csrwi lut.pieces, 2\ncsrwi lut.centres, 4           # sums of two pieces, four centres each\n"
                     "lut.reuse.u8 a0, a1, a2, a3    # then lut.mac adds the differences")
def lut_reuse_u8(m, acc, sums, assigned, rows):
    pieces, centres = max(m.csr("lut.pieces"), 1), m.csr("lut.centres") or _CENTRES
    if centres > _CENTRES:
        raise Trap(Cause.ILLEGAL_OPERAND, centres, f"lut.centres is {centres}; expected 1..{_CENTRES}, or 0 for {_CENTRES}")
    if not rows:
        return
    m.check_read(sums, 4 * pieces * centres, 4)
    m.check_read(assigned, rows * pieces)
    start, numbers = m.read_i32(acc, rows), m.read_u8(assigned, rows * pieces).reshape(rows, pieces)
    beyond = np.argwhere(numbers >= centres)
    if len(beyond):
        r, p = beyond[0]
        raise Trap(Cause.ILLEGAL_OPERAND, int(numbers[r, p]),
                   f"assigned[{r}, {p}] is {numbers[r, p]}; there are {centres} centres (lut.centres)")
    found = m.read_i32(sums, pieces * centres).reshape(pieces, centres)[np.arange(pieces), numbers]
    m.write_i32(acc, (start + found.sum(axis=1, dtype=np.int64)).astype(np.int32))
    m.count("lut.lookups", rows * pieces)
    m.count("lut.steps", rows * pieces)
    m.count("lut.weight_bytes", rows * pieces)
    count_longest(m, np.full(rows, pieces), 1)
