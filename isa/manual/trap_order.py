"""Which trap an instruction raises when several things are wrong with it: the order of its checks, for docs/isa/traps.md.

The order for Xslim is that of isa/engine/operand_checks.py.
"""

from __future__ import annotations

from typing import NamedTuple

from isa.manual.document import Block, Heading, Paragraph, Table
from isa.traps import Cause

EVERY = """
An instruction raises one trap: the first that applies. Nothing but an instruction traps: there are no interrupts. For every
instruction the machine checks in this order:

1. Its address: FETCH_MISALIGNED if pc is not a multiple of 4. Only a program with a wrong entry comes here: jumps check their
target, and bits 1..0 of mtvec and mepc are 0.
2. The place: FETCH_ACCESS if the 4 bytes do not lie in one region, in one section of flash, or if they lie in mmio.
3. The word: ILLEGAL_INSTRUCTION if it is [no instruction](encoding.md).
4. What follows here, for an instruction of Xslim or of the core. When several operations are in the queues, see
[Order](ordering.md)."""

XSLIM = """
Then every Xslim instruction checks in this order:

1. The unit: ILLEGAL_INSTRUCTION where the machine does not have it.
2. The length operands, in operand order: CAPACITY for one beyond 2**28. Lengths are the operands that a shape names: n in f32[n].
3. The memory operands whose shape is made of numbers and length operands alone: all that are read, in operand order, then all that
are written. Of each operand: first its alignment, MISALIGNED_OPERAND; then whether it lies in one region, LOAD_ACCESS or
STORE_ACCESS; then whether the unit has a port there, PORT; then whether the region has these bytes, LOAD_ACCESS or STORE_ACCESS:
flash has those of the program's sections, to be read alone, and mmio has its registers.
4. What the instruction itself asks of its numbers, index lists, CSRs and state, strides among them: mostly ILLEGAL_OPERAND. The
order is that of the Python text in the instruction's entry.
5. The other memory operands, whose shape names a CSR or state, as W in f32[rows,cols]: all that are read, in operand order, then
all that are written, each as in 3. What attn.row_list or attn.mask points to is checked right before the operand that it is for.
A matrix is one access from its first to its last byte: with the bytes between its rows, in flash within one section, and mtval is
its address.

An operand of no bytes is not checked: a length of 0 never traps for an address."""


class CoreCheck(NamedTuple):
    """What instructions of the core check, in this order."""

    instructions: tuple[str, ...]       # mnemonics
    causes: tuple[Cause, ...]
    text: str


_BRANCHES, _LOADS, _STORES, _CSRS = (tuple(text.split()) for text in (
    "beq bne blt bge bltu bgeu", "lb lh lw ld lbu lhu lwu", "sb sh sw sd", "csrrw csrrs csrrc csrrwi csrrsi csrrci"))
CORE: tuple[CoreCheck, ...] = (
    CoreCheck(("jal", "jalr"), (Cause.FETCH_MISALIGNED,),
              "the target is not a multiple of 4; jalr has cleared its bit 0. Whether code is there is not looked at: the jump is "
              "done, and the fetch traps"),
    CoreCheck(_BRANCHES, (Cause.FETCH_MISALIGNED,), "the branch is taken, and as jal"),
    CoreCheck(_LOADS, (Cause.LOAD_ACCESS,),
              "the bytes do not lie in one region, in flash in one section, in mmio in one register. Alignment does not matter"),
    CoreCheck(_STORES, (Cause.STORE_ACCESS,), "as loads, or they lie in flash"),
    CoreCheck(_CSRS, (Cause.ILLEGAL_INSTRUCTION,),
              "there is no such CSR; then: the instruction [writes](privileged.md) and the CSR is read-only"),
    CoreCheck(("ecall",), (Cause.ENVIRONMENT_CALL, Cause.LOAD_ACCESS),
              "the number is not [served](services.md); then, of write to file 1 or 2: as a load of a2 bytes at a1"),
    CoreCheck(("ebreak",), (Cause.BREAKPOINT,), "always"),
)
"""All others of the core never trap."""


def trap_order() -> list[Block]:
    """The chapter's blocks, without its heading."""
    return [
        Paragraph(EVERY),
        Heading(3, "Instructions of Xslim"),
        Paragraph(XSLIM),
        Heading(3, "Instructions of the core"),
        Table(("instructions", "traps, in this order", "when"), [
            (", ".join(check.instructions), ", ".join(cause.name for cause in check.causes), check.text) for check in CORE]),
        Paragraph("All other instructions of the core never trap."),
    ]
