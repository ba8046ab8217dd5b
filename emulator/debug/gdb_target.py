"""The Slim machine as gdb sees it: its registers by number, and the description that tells gdb their names.

gdb's numbers: 0..31 integer registers, 32 pc, CSRs from 65 on. A CSR's name has `_` for our `.`, which gdb reads as an operator:
`print $vec_cols`, `info registers lut_lookups`.

Source: Debugging with GDB, appendix "Target Descriptions", section "RISC-V Features"; numbers: gdb/riscv-tdep.h.
"""

from __future__ import annotations

from emulator.debug.access import DebugError, write_csr, write_register
from isa.csrs import BY_ADDRESS, CSRS
from isa.engine.state import WORD
from isa.reference import ReferenceMachine
from isa.registers import ABI_NAMES
from isa.traps import Cause

PC, FIRST_CSR = 32, 65
SIGINT, SIGILL, SIGTRAP, SIGBUS, SIGSEGV, SIGSYS = 2, 4, 5, 10, 11, 12         # gdb's own numbers, include/gdb/signals.def

SIGNALS: dict[Cause, int] = {
    Cause.FETCH_MISALIGNED: SIGBUS, Cause.FETCH_ACCESS: SIGSEGV, Cause.ILLEGAL_INSTRUCTION: SIGILL, Cause.BREAKPOINT: SIGTRAP,
    Cause.LOAD_ACCESS: SIGSEGV, Cause.STORE_ACCESS: SIGSEGV, Cause.ENVIRONMENT_CALL: SIGSYS, Cause.PORT: SIGSEGV,
    Cause.MISALIGNED_OPERAND: SIGBUS, Cause.CAPACITY: SIGILL, Cause.ILLEGAL_OPERAND: SIGILL, Cause.NEVER_SIGNALLED: SIGILL}


def description() -> str:
    """The text of target.xml."""
    kinds = {"ra": "code_ptr", "sp": "data_ptr", "gp": "data_ptr", "tp": "data_ptr", "fp": "data_ptr"}
    core = [(name if name != "s0" else "fp", number) for number, name in enumerate(ABI_NAMES)]
    lines = ['<?xml version="1.0"?>', '<!DOCTYPE target SYSTEM "gdb-target.dtd">', '<target version="1.0">',
             "<architecture>riscv:rv64</architecture>", '<feature name="org.gnu.gdb.riscv.cpu">',
             *(f'<reg name="{name}" bitsize="64" type="{kinds.get(name, "int")}" regnum="{number}"/>' for name, number in core),
             f'<reg name="pc" bitsize="64" type="code_ptr" regnum="{PC}"/>',
             "</feature>", '<feature name="org.gnu.gdb.riscv.csr">',
             *(f'<reg name="{csr.name.replace(".", "_")}" bitsize="64" type="int" regnum="{FIRST_CSR + csr.address}" '
               f'group="{_group(csr.name)}"/>' for csr in CSRS.values()),
             "</feature>", "</target>"]
    return "\n".join(lines)


def _group(name: str) -> str:
    """The group for `info registers lut`. gdb takes `vec` as short for a group of its own, "vector"; so vec's is `vec_unit`."""
    unit, dot, _ = name.partition(".")
    return ("vec_unit" if unit == "vec" else unit) if dot else "csr"


def read_register(machine: ReferenceMachine, number: int) -> int:
    """The value of a register by gdb's number. Raises DebugError for one that is not there."""
    if 0 <= number < 32:
        return machine.x[number]
    if number == PC:
        return machine.pc
    return machine.csr(_csr(number))


def set_register(machine: ReferenceMachine, number: int, value: int) -> None:
    """Set a register by gdb's number; x0 stays 0. Raises DebugError for one that is not there or cannot be set."""
    if 0 < number < 32:
        write_register(machine, number, value)
    elif number == PC:
        machine.pc = value & WORD
    elif number:
        write_csr(machine, _csr(number), value)


def _csr(number: int) -> str:
    csr = BY_ADDRESS.get(number - FIRST_CSR)
    if csr is None:
        raise DebugError(f"there is no register {number}")
    return csr.name
