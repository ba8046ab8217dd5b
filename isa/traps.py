"""Traps: why an instruction could not complete.

A trap is precise: registers, memory and counters are as if the instruction had not started, except that `core.traps`
counts it. Causes 0-11 are those of the RISC-V privileged specification (Volume II, "Machine Cause Register"); 24-31
are the range it leaves to custom use.
"""

from __future__ import annotations

from enum import IntEnum


class Cause(IntEnum):
    """mcause values that the Slim machine raises."""

    FETCH_MISALIGNED = 0
    FETCH_ACCESS = 1
    ILLEGAL_INSTRUCTION = 2
    BREAKPOINT = 3
    LOAD_ACCESS = 5
    STORE_ACCESS = 7
    ENVIRONMENT_CALL = 11
    PORT = 24
    MISALIGNED_OPERAND = 25
    CAPACITY = 26
    ILLEGAL_OPERAND = 27
    NEVER_SIGNALLED = 28


MEANING: dict[Cause, str] = {
    Cause.FETCH_MISALIGNED:    "jump or branch to an address that is not a multiple of 4",
    Cause.FETCH_ACCESS:        "instruction fetch outside executable memory",
    Cause.ILLEGAL_INSTRUCTION: "no such instruction, no such CSR, or a write to a read-only CSR",
    Cause.BREAKPOINT:          "ebreak",
    Cause.LOAD_ACCESS:         "read outside a region or across its end, or in flash outside of one section of the program",
    Cause.STORE_ACCESS:        "write outside a region, across its end, or to read-only memory",
    Cause.ENVIRONMENT_CALL:    "ecall with a number of no service, or while a handler is installed with one below 0x5110",
    Cause.PORT:                "the unit has no port to this region on this machine",
    Cause.MISALIGNED_OPERAND:  "an Xslim memory operand is not aligned to its element size",
    Cause.CAPACITY:            "a length is beyond 2**28, or an operand larger than the unit's storage on this machine",
    Cause.ILLEGAL_OPERAND:     "an operand or a unit CSR has a value that the operation does not define",
    Cause.NEVER_SIGNALLED:     "wait for a tag that nothing has signalled: the machine would stop for ever",
}


class Trap(Exception):
    """Raised by a meaning; the engine turns it into trap entry or into the end of the run.

    `cause` goes to mcause, `value`, taken modulo 2**64, to mtval (the offending address, instruction word or operand), `detail` to
    the report.
    """

    def __init__(self, cause: Cause, value: int = 0, detail: str = "") -> None:
        super().__init__(detail or MEANING[cause])
        self.cause = cause
        self.value = value % (1 << 64)
        self.detail = detail
