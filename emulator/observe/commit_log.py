"""The commit log: a line for each retired instruction, in the form of Spike's --log-commits, for tools that compare such logs.

    core   0: 3 0x0000000080000008 (0x00532023) mem 0x0000000080001000 0x00000005

A line has the hart, the privilege mode (3: machine), pc and the word. Then it has what changed: `x5  0x...` is a register by
number, `c832_mscratch 0x...` a CSR, `mem ADDRESS` a load, `mem ADDRESS DATA` a store, with two digits for each byte. Values are
hexadecimal. As in Spike, an instruction that traps has no line. Spike knows no Xslim instructions: their writes to memory are
`mem START..END`, where END is the first address after them, and their reads are not shown.

Source: riscv-isa-sim, riscv/execute.cc, commit_log_print_insn.
"""

from __future__ import annotations

from emulator.observe.trace import csr_written
from isa.csrs import BY_ADDRESS, CSRS
from isa.reference import ReferenceMachine, Step


def commit_line(machine: ReferenceMachine, step: Step) -> str:
    """The line of an instruction, "" for one that trapped. For LineLog.follow."""
    if step.trap is not None or step.row is None or step.word is None:
        return ""
    parts = [f"core   0: 3 0x{step.pc:016x} (0x{step.word:08x})"]
    if step.register is not None:
        parts.append(f"x{step.register[0]:<2} 0x{step.register[1]:016x}")
    csr = CSRS["mstatus"].address if step.row.mnemonic == "mret" else csr_written(step)
    if csr is not None:
        name = BY_ADDRESS[csr].name
        parts.append(f"c{csr}_{name} 0x{machine.csr(name):016x}")
    if step.row.is_xslim:
        parts += [f"mem 0x{address:016x}..0x{address + len(data):016x}" for address, data in step.writes]
    else:
        parts += [f"mem 0x{address:016x}" for address, _ in step.reads]
        parts += [f"mem 0x{address:016x} 0x{int.from_bytes(data.tobytes(), 'little'):0{2 * len(data)}x}"
                  for address, data in step.writes]
    return " ".join(parts)
